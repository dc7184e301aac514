"""Correlations of the layers' outputs for pairs of inputs, to full relative precision.

Kept is z = (1 - rho) / 2 = sin(theta / 2)^2, since rho of close inputs would lose half of the
digits of their angle theta: at depth 15 all inputs are close. All is done in place, as buffers of
a tile stay in the cache.
"""

import functools
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

# z, theta / 2, sin(theta / 2) cos(theta / 2), rho, kappa_0(rho): what is worked on for a tile.
BUFFERS = 5

# |rho| from which on angles are taken from differences: there the inner product's rounding costs
# an angle about one digit, and beyond it rounding could make a correlation more than 1.
_NEAR = 0.99

Filling = Callable[[Tensor, Tensor, bool, list[Tensor], Tensor, int, bool], object]


def fill(
    x: Tensor,
    y: Tensor,
    diagonal: bool,
    buffers: list[Tensor],
    terms: Tensor,
    depth: int,
    separate: bool,
) -> None:
    """The terms of a tile, and rho^(depth), which is left in the fourth buffer.

    Args:
        x: unit rows, shape (r, d).
        y: unit rows, shape (c, d).
        diagonal: whether `y` is `x`.
        buffers: five, each of shape (r, c); the first one holds the products of the rows.
        terms: where 2 K^(l) go: one for each l = 1, ..., depth if `separate`, else one for their
            sum, or none; shape (terms, r, c).
        depth: D, at least 1.
        separate: whether terms are kept apart.
    """
    start(x, y, diagonal, buffers)
    recursion(buffers, terms, depth, separate)


def start(x: Tensor, y: Tensor, diagonal: bool, buffers: list[Tensor], near: float = _NEAR) -> None:
    """The first three buffers at rho^(0) of the rows of `x` and `y`, from their products."""
    z, half_angle, sin_cos = buffers[0], buffers[1], buffers[2]
    torch.sub(torch.ones((), dtype=z.dtype, device=z.device), z, out=z).mul_(0.5)
    if diagonal:
        z.copy_(torch.minimum(z, z.mT)).fill_diagonal_(0)
    close = (z - 0.5).abs_() > 0.5 * near
    if diagonal:
        close.fill_diagonal_(False)
    torch.sqrt(z, out=half_angle).asin_()
    torch.addcmul(z, z, z, value=-1, out=sin_cos).sqrt_()
    # Some pairs at a time, so that their differences take no more than two buffers.
    for some in torch.split(close.nonzero(), 1 + 2 * z.numel() // x.size(1)):
        take_from_differences(x, y, some[:, 0], some[:, 1], buffers)


def take_from_differences(
    x: Tensor, y: Tensor, rows: Tensor, columns: Tensor, buffers: list[Tensor]
) -> None:
    """For nearly parallel inputs, all from the diagonals of the rhombus that they span.

    The inner product has lost half of the digits of the angle between them or their lines.
    """
    z, half_angle, sin_cos = buffers[0], buffers[1], buffers[2]
    left, right = x.index_select(0, rows), y.index_select(0, columns)
    minus = torch.linalg.vector_norm(left - right, dim=1)
    plus = torch.linalg.vector_norm(left.add_(right), dim=1)
    square = minus.square() + plus.square()
    half_angle[rows, columns] = torch.atan2(minus, plus)
    sin_cos[rows, columns] = minus * plus / square
    z[rows, columns] = minus.square() / square


def recursion(buffers: list[Tensor], terms: Tensor, depth: int, separate: bool) -> None:
    """From rho^(0), as `start` leaves the buffers, to rho^(depth).

    Args:
        buffers: z, theta / 2, sin(theta / 2) cos(theta / 2), rho and kappa_0(rho) of all pairs.
        terms: where 2 K^(l) go: each l apart if `separate`, else their sum; or none.
        depth: D, at least 1.
        separate: whether terms are kept apart.
    """
    z, half_angle, sin_cos, rho, both_on = buffers
    one = torch.ones((), dtype=z.dtype, device=z.device)
    right_angle = torch.full((), math.pi / 2, dtype=z.dtype, device=z.device)
    count = terms.size(0)
    torch.sub(one, z, alpha=2, out=rho)
    terms.zero_()
    for layer in range(depth):
        if layer > 0:
            torch.sqrt(z, out=half_angle).asin_()
            torch.addcmul(z, z, z, value=-1, out=sin_cos).sqrt_()
        if count > 0:
            # kappa_0 = 1 - theta / pi, in this order exactly 0 for antipodes, 1 for equal inputs.
            torch.sub(right_angle, half_angle, out=both_on).mul_(2 / math.pi)
            if separate:
                terms[layer].copy_(rho)
                terms[: layer + 1].mul_(both_on)
            else:
                terms[0].add_(rho).mul_(both_on)
        # (1 - kappa_1) / 2 = z - (sin(theta) - theta cos(theta)) / (2 pi)
        sin_cos.addcmul_(half_angle, rho, value=-1)
        # Below 0 by rounding, where inputs differ in the last digit of a small coordinate.
        z.sub_(sin_cos, alpha=1 / math.pi).clamp_(min=0)
        torch.sub(one, z, alpha=2, out=rho)


def filling_on(device: torch.device) -> Filling:
    """`fill` in the form that lets other threads go on meanwhile, if there is one here.

    It is many small operations, and between any two Python's lock changes hands: two threads
    would take as long as one. TorchScript, though deprecated, runs them without Python, and they
    are the same ones; a torch that has it no more costs time only.
    """
    return _scripted() if device.type == "cpu" else fill


@functools.cache
def _scripted() -> Filling:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            scripted: Filling = torch.jit.script(fill)
        except Exception:  # whatever a future torch, or Python, has against it
            return fill
    return scripted
