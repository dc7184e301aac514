"""The product of two matrices, by the fastest road this machine has, measured once and kept.

Nothing else in the package knows which road it is. PyTorch's own product goes through MKL, which
leaves half of some processors unused; the oneDNN that PyTorch carries along is reached by name.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from companion.base.machine import Answers, machine_name
from companion.errors import InputError

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS = ("float32", "tf32", "bfloat16")
VARIABLE = "COMPANION_PRODUCT"
# Below so many multiplications the call costs more than the product, and torch's call is cheaper.
_WORTH_ONEDNN = 3 * 2**19

Road = Callable[[Tensor, Tensor, bool], Tensor]


def _torch(a: Tensor, b: Tensor, relu: bool) -> Tensor:
    result = a @ b
    return result.relu_() if relu else result


def _onednn(a: Tensor, b: Tensor, relu: bool) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    # Its own relu would turn NaN into 0, and a diverged run into a healthy one.
    return result.relu_() if relu else result


PRODUCTS: dict[str, Road] = {"torch": _torch, "onednn": _onednn}
# Whether a road was seen to work, by road, dtype, relu and the layouts of both factors.
_seen: dict[tuple[object, ...], bool] = {}


@dataclass
class _Choice:
    """How products are computed now; no product means: not yet measured."""

    product: str | None = None
    precision: Precision = "float32"


_choice = _Choice()


def product(a: Tensor, b: Tensor, *, relu: bool = False) -> Tensor:
    """A b, or relu(a b) in one pass.

    The result is stored the way `a` is, by rows or by columns, so that a chain of products stays
    in one layout and no operand is copied.

    Args:
        a: shape (p, q).
        b: shape (q, r), of the same dtype and device.
        relu: whether to clamp the result at 0.

    Returns:
        Shape (p, r).
    """
    road = PRODUCTS[chosen_product(a.device)]
    if _choice.precision == "bfloat16" and a.dtype == torch.float32:
        return _by_layout(road, a.bfloat16(), b.bfloat16(), relu).float()
    return _by_layout(road, a, b, relu)


def batched_product(a: Tensor, b: Tensor) -> Tensor:
    """A_k B_k for every k: torch's, as batches hold small matrices, in the chosen precision.

    Args:
        a: shape (k, p, q).
        b: shape (k, q, r), of the same dtype and device.

    Returns:
        Shape (k, p, r).
    """
    if _choice.precision == "bfloat16" and a.dtype == torch.float32:
        return torch.bmm(a.bfloat16(), b.bfloat16()).float()
    return torch.bmm(a, b)


def _by_layout(road: Road, a: Tensor, b: Tensor, relu: bool) -> Tensor:
    by_columns = a.stride(0) == 1 and a.stride(1) >= a.shape[0] > 1
    return _by(road, b.T, a.T, relu).T if by_columns else _by(road, a, b, relu)


def _by(road: Road, a: Tensor, b: Tensor, relu: bool) -> Tensor:
    """By that road where it is worth it and was seen to work, else by torch's."""
    if road is _torch or a.shape[0] * a.shape[1] * b.shape[1] < _WORTH_ONEDNN:
        return _torch(a, b, relu)
    if not _is_plain(a, b) or not _works(road, a, b, relu):
        return _torch(a, b, relu)
    try:
        return road(a, b, relu)
    except RuntimeError:  # it lacks these sizes; or the factors do not fit, which torch will say
        return _torch(a, b, relu)


def _is_plain(a: Tensor, b: Tensor) -> bool:
    """Other roads know neither other devices, nor float64, nor derivatives of either mode."""
    differentiated = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    known = a.device.type == "cpu" and a.dtype in (torch.float32, torch.bfloat16)
    return known and not differentiated and _tangent(a) is None and _tangent(b) is None


def _tangent(a: Tensor) -> Tensor | None:
    tangent: Tensor | None = unpack_dual(a).tangent  # type: ignore[no-untyped-call]
    return tangent


def _works(road: Road, a: Tensor, b: Tensor, relu: bool) -> bool:
    """Whether the road is right for factors like these, tried once.

    What a processor lacks is a matter of the combination: without AVX-512, oneDNN has an inner
    product in float32 and none in bfloat16.
    """
    key = (road, a.dtype, relu, _layout(a), _layout(b))
    if key not in _seen:
        _seen[key] = _is_right(road, a.dtype, relu, _layout(a), _layout(b))
    return _seen[key]


def _layout(a: Tensor) -> str:
    if a.is_contiguous():
        return "rows"
    return "columns" if a.T.is_contiguous() else "gaps"


def _is_right(road: Road, dtype: torch.dtype, relu: bool, *layouts: str) -> bool:
    """A product of random matrices, large enough for the road, against float64; NaN stays NaN."""
    # NumPy's draws, as torch's would be refused within a vmap.
    drawn = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 128, 128)))
    drawn[0, 0, 0], drawn[0, 1, 1], drawn[0, 2, 2] = math.nan, math.inf, -math.inf
    a, b = (_stored(m.to(dtype), layout) for m, layout in zip(drawn, layouts, strict=True))
    try:
        found = road(a, b, relu)
    except (RuntimeError, AttributeError):  # this build of torch may not know it by name
        return False
    exact = _torch(a.double(), b.double(), relu)
    if found.shape != exact.shape or found.dtype != dtype:
        return False
    allowed = 4 * torch.finfo(dtype).eps * float(exact[3:].abs().max())
    return torch.allclose(found.double(), exact, rtol=0, atol=allowed, equal_nan=True)


def _stored(a: Tensor, layout: str) -> Tensor:
    if layout == "gaps":
        return torch.cat([a, a], dim=1)[:, : a.shape[1]]
    return a.T.contiguous().T if layout == "columns" else a


def chosen_product(device: str | torch.device = "cpu") -> str:
    """Name of the product in use: `using`, else COMPANION_PRODUCT, else the faster one measured.

    It is measured once on a machine, so that later runs of a script give the same bits, and kept
    in `product.json` of this user's cache. Other devices than the CPU have torch's only, and
    nothing is measured for them.

    Args:
        device: on which products are computed.

    Raises:
        InputError: COMPANION_PRODUCT names none.
    """
    if torch.device(device).type != "cpu":
        return "torch"
    if _choice.product is None:
        named = os.environ.get(VARIABLE)
        _choice.product = _checked(named, VARIABLE) if named else _fastest_here()
    return _choice.product


def chosen_precision() -> Precision:
    """Precision of products of float32 matrices now."""
    return _choice.precision


@contextmanager
def using(product: str | None = None, precision: Precision | None = None) -> Iterator[None]:
    """Compute products a named way for a while.

    Args:
        product: `torch` or `onednn` (float32 on the CPU; elsewhere torch's is used).
        precision: of products of float32 matrices: `float32`; `bfloat16` rounds factors and
            results to 8 significant bits; `tf32` rounds factors to 11 bits, on CUDA only.

    What is None stays as it is.

    Raises:
        InputError: unknown product or precision, or tf32 without CUDA.
    """
    settings = torch.backends.cuda.matmul
    before = _choice.product, _choice.precision, settings.fp32_precision
    if product is not None:
        _choice.product = _checked(product, "product")
    try:
        if precision is not None:
            _choice.precision = _checked_precision(precision)
            settings.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        _choice.product, _choice.precision, settings.fp32_precision = before


def _checked_precision(precision: Precision) -> Precision:
    if precision not in PRECISIONS:
        raise InputError(f"precision is '{precision}'; choose {', '.join(PRECISIONS)}.")
    # A CUDA device without tf32 would compute in float32 and say nothing.
    if precision == "tf32" and not torch.cuda.is_tf32_supported():
        raise InputError(
            "precision 'tf32' needs a CUDA device that has it; use float32 or bfloat16 here."
        )
    return precision


def _checked(name: str, what: str) -> str:
    if name not in PRODUCTS:
        raise InputError(f"{what} is '{name}'; choose {' or '.join(PRODUCTS)}.")
    return name


def _fastest_here() -> str:
    """The product that was the faster one on this machine when it was first asked for."""
    answers, question = Answers("product"), f"{machine_name()}, torch {torch.__version__}"
    found = answers.find(question)
    if found not in PRODUCTS:
        measured = _fastest()
        found = answers.find(question)  # another process may have measured meanwhile
    if found not in PRODUCTS:
        answers.note(question, found := measured)
    return found


def _fastest() -> str:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "torch"
    a, b = torch.ones(1024, 512), torch.ones(512, 512)
    roads = {name: road for name, road in PRODUCTS.items() if _works(road, a, b, False)}
    seconds: dict[str, list[float]] = {name: [] for name in roads}
    # In turns, and the least of each: what else runs on the machine can only add time.
    for _ in range(20):
        for name, road in roads.items():
            start = time.perf_counter()
            _by(road, a, b, False)
            seconds[name].append(time.perf_counter() - start)
    return min(seconds, key=lambda name: min(seconds[name]))
