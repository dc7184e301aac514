"""Extreme eigenvalues of symmetric matrices."""

import math

import torch
from torch import Tensor

from companion.base.arguments import check_finite, tensor
from companion.errors import InputError


def lambda_min(matrix: Tensor) -> float:
    """Least eigenvalue of a symmetric matrix, computed in float64.

    Args:
        matrix: a tensor or a NumPy array, shape (n, n), symmetric but for rounding.

    Raises:
        InputError: no square matrix, entries that are not finite, or entries (i, j) and (j, i)
            farther apart than half of their dtype's digits, which no rounding explains.

    Example:
        >>> lambda_min(torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
        0.5
    """
    return float(_eigenvalues(matrix)[0])


def lambda_max(matrix: Tensor) -> float:
    """Largest eigenvalue of a symmetric matrix; arguments and errors as of `lambda_min`."""
    return float(_eigenvalues(matrix)[-1])


def spectral_norm(matrix: Tensor) -> float:
    """Operator norm of a symmetric matrix; arguments and errors as of `lambda_min`."""
    return float(_eigenvalues(matrix)[[0, -1]].abs().max())


def _eigenvalues(matrix: Tensor) -> Tensor:
    matrix = tensor("matrix", matrix).detach()
    if matrix.dim() != 2 or len(matrix) == 0 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"matrix has shape {tuple(matrix.shape)}; it must be square, (n, n).")
    matrix = matrix if matrix.is_floating_point() else matrix.double()
    check_finite("row", matrix)
    _check_symmetric(matrix)
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix.double())
    return eigenvalues


def _check_symmetric(matrix: Tensor) -> None:
    """Refuse what differs from its transpose: of that only one triangle would be looked at."""
    gaps = (matrix - matrix.mT).abs_()
    gap, largest = torch.stack([gaps.max(), matrix.abs().max()]).tolist()
    if gap > math.sqrt(torch.finfo(matrix.dtype).eps) * largest:
        i, j = divmod(int(gaps.argmax()), len(matrix))
        raise InputError(
            f"matrix is not symmetric: entries ({i}, {j}) and ({j}, {i}) differ by {gap:.3g}."
        )
