"""Arguments of the numerics checked once, in one place: a slip is one sentence, not a traceback."""

import math
import operator
from types import UnionType
from typing import SupportsFloat, SupportsIndex, cast

import numpy as np
import torch
from torch import Tensor

from companion.errors import InputError


def whole(name: str, value: object, least: int | None = None) -> int:
    """`value` as an int, from whatever Python, NumPy or torch calls a whole number; True is 1.

    Args:
        name: of the argument, for the sentence.
        value: e.g. 8, np.int64(8) or a 0-dimensional tensor of integers.
        least: the least value allowed.

    Raises:
        InputError: a float, even a whole one, anything else that is no integer, or less than
            `least`.
    """
    try:
        number = operator.index(cast(SupportsIndex, value))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} is {described(value)}; it must be a whole number.") from None
    if least is not None and number < least:
        raise InputError(f"{name} is {number}; it must be at least {least}.")
    return number


def real(name: str, value: object) -> float:
    """`value` as a float, from whatever Python, NumPy or torch calls a number.

    Args:
        name: of the argument, for the sentence.
        value: e.g. 0.1, np.float32(0.1) or a 0-dimensional tensor.

    Raises:
        InputError: not one real number; text is none, even '0.1'.
    """
    try:
        if not isinstance(value, str | bytes):
            return float(cast(SupportsFloat, value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise InputError(f"{name} is {described(value)}; it must be a number.")


def finite(name: str, value: object) -> float:
    """`value` as a float that is finite; arguments and errors as of `real`."""
    number = real(name, value)
    if not math.isfinite(number):
        raise InputError(f"{name} is {number}; it must be a finite number.")
    return number


def positive(name: str, value: object) -> float:
    """`value` as a float that is positive and finite; arguments and errors as of `real`."""
    number = real(name, value)
    if not 0 < number < math.inf:
        raise InputError(f"{name} is {number}; it must be a positive number.")
    return number


def check_type(name: str, value: object, kind: type | UnionType, instead: str) -> None:
    """Refuse an argument of another type.

    Args:
        name: of the argument.
        value: what was given for it.
        kind: the type it must have.
        instead: what would be right, e.g. `Batches(size=32)`.

    Raises:
        InputError: `value` is no `kind`.
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} is {described(value)}; give {instead}.")


def check_tensors(**tensors: object) -> None:
    """Refuse the first argument that is no torch tensor.

    Raises:
        InputError: e.g. a list; the sentence says how to make a tensor of it.
    """
    for name, value in tensors.items():
        recipe = "from_numpy" if isinstance(value, np.ndarray) else "tensor"
        check_type(name, value, Tensor, f"a torch tensor, torch.{recipe}({name})")


def tensor(name: str, value: object, like: Tensor | None = None) -> Tensor:
    """An argument as a torch tensor: tensors as they are, NumPy arrays converted.

    NumPy computes in float64 whatever it is for; so an array takes on the dtype and the device of
    what it meets. A tensor keeps its own, and has to be there already: a copy between devices is
    for the caller to decide on.

    Args:
        name: of the argument.
        value: a tensor, or an array of real numbers; what becomes of it shares no memory with it.
        like: what it meets; gives an array its dtype and device. Without it that is the CPU,
            floats keep their precision and whole numbers become float64.

    Raises:
        InputError: neither of the two, a tensor on another device than `like`, or an array of what
            is no real number of up to 64 bits, or with masked entries, of which a tensor would
            know nothing.
    """
    if isinstance(value, Tensor):
        if like is not None and value.device != like.device:
            raise InputError(
                f"{name} is on {value.device} but meets tensors on {like.device}; move one to the "
                "other."
            )
        return value
    if not isinstance(value, np.ndarray):
        raise InputError(
            f"{name} is {described(value)}; give a torch tensor, torch.tensor({name})."
        )
    if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
        raise InputError(f"{name} is an array of {value.dtype}; float32 or float64 is needed.")
    if np.ma.is_masked(value):
        raise InputError(f"{name} is an array with masked entries; every number is needed.")
    dtype = value.dtype.newbyteorder("=") if value.dtype.kind == "f" else np.dtype(float)
    found = torch.from_numpy(np.array(value, dtype=dtype, order="C", subok=False))
    return found if like is None else found.to(like.device, like.dtype)


def check_finite(name: str, numbers: Tensor) -> None:
    """Refuse rows, or labels, that hold a number that is not finite.

    Args:
        name: of one of them, e.g. `input`.
        numbers: shape (n, ...). On the `meta` device there is nothing to look at.

    Raises:
        InputError: names the first of them.
    """
    if numbers.device.type == "meta" or numbers.numel() == 0:
        return
    ends = torch.stack(numbers.detach().aminmax())  # nan if there is one; takes no memory
    if not all(map(math.isfinite, ends.tolist())):  # both in one journey from the device
        row = int((~numbers.isfinite()).nonzero()[0, 0])
        raise InputError(f"{name} {row} holds a number that is not finite; all must be finite.")


def described(value: object) -> str:
    """A value in a sentence: small ones as they are, others by their type, `a numpy.ndarray`."""
    if value is None or isinstance(value, bool | int | float | complex | str | np.generic):
        return repr(value)
    if isinstance(value, Tensor):
        layout = "" if value.layout == torch.strided else f", {value.layout}"
        return f"a torch.Tensor of {value.dtype}{layout}"
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
