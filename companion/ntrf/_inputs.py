"""Tensors and arrays of a caller's, checked, as numbers in float64."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from companion.base.arguments import tensor
from companion.errors import InputError
from companion.losses import check_labels

Array = NDArray[np.float64]


def gram_numbers(gram: Tensor, count: int) -> Array:
    """A Gram matrix in float64, checked."""
    if gram.shape != (count, count):
        raise InputError(
            f"a Gram matrix has shape {tuple(gram.shape)}; for {count} labels or residuals it "
            f"must be ({count}, {count})."
        )
    found = numbers_of(gram, "Gram matrices")
    rounding = math.sqrt(torch.finfo(gram.dtype).eps) * float(np.abs(found).max())
    if np.abs(found - found.T).max() > rounding:
        raise InputError("a Gram matrix is not symmetric; it must equal its transpose.")
    symmetric: Array = (found + found.T) / 2
    try:
        np.linalg.cholesky(symmetric + max(rounding, np.finfo(float).tiny) * np.eye(count))
    except np.linalg.LinAlgError:
        raise InputError(
            "a Gram matrix has a negative eigenvalue; it must be positive semidefinite."
        ) from None
    return symmetric


def signs_of(labels: Tensor) -> Array:
    """Labels in float64, checked."""
    labels = tensor("labels", labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise InputError(f"labels have shape {tuple(labels.shape)}; (n,) with n >= 1 is needed.")
    check_labels(labels)
    signs: Array = labels.detach().cpu().double().numpy()
    return signs


def numbers_of(given: Tensor, name: str, count: int | None = None) -> Array:
    """A tensor or an array in float64, checked; a vector of `count` if that is given."""
    found = tensor(name, given)
    if found.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{name} are {found.dtype}; float32 or float64 is needed.")
    if count is not None and found.shape != (count,):
        raise InputError(f"{name} have shape {tuple(found.shape)}; ({count},) is needed.")
    if not bool(found.isfinite().all()):
        raise InputError(f"{name} hold a number that is not finite; all must be finite.")
    numbers: Array = found.detach().cpu().double().numpy()
    return numbers
