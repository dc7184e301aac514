"""Correlations of the layers' outputs for pairs of inputs, to full relative precision."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from companion.matmul import product


class Correlations:
    """The correlations rho^(l) of a tile of pairs of inputs, layer after layer.

    Kept is z = (1 - rho) / 2 = sin(theta / 2)^2, since rho of close inputs would lose half of the
    digits of their angle theta: at depth 15 all inputs are close. All is done in place, as
    buffers of a tile stay in the cache.
    """

    BUFFERS = 5

    def __init__(self, x: Tensor, y: Tensor, diagonal: bool, buffers: Tensor) -> None:
        """The correlations rho^(0) of the rows of `x` and `y`; of one with itself if `diagonal`."""
        self._z, self._half_angle, self._sin_cos, self._rho, self._both_on = buffers
        self._one, self._right_angle = x.new_ones(()), x.new_full((), math.pi / 2)
        torch.sub(self._one, product(x, y.T), out=self._z).mul_(0.5)
        if diagonal:
            self._z.copy_(torch.minimum(self._z, self._z.mT)).fill_diagonal_(0)
        near = (self._z - 0.5).abs_() > 0.5 * _NEAR
        if diagonal:
            near.fill_diagonal_(False)
        self._find_angles()
        # Some pairs at a time, so that their differences take no more than two buffers.
        for some in near.nonzero().split(1 + 2 * self._z.numel() // x.shape[1]):
            self._take_from_differences(x, y, some[:, 0], some[:, 1])

    def layers(self, depth: int) -> Iterator[int]:
        """Be at rho^(0), ..., rho^(depth - 1) in turn, and in the end at rho^(depth)."""
        for layer in range(depth):
            if layer > 0:
                self._find_angles()
            yield layer
            # (1 - kappa_1) / 2 = z - (sin(theta) - theta cos(theta)) / (2 pi)
            excess = self._sin_cos.addcmul_(self._half_angle, self.rho(), value=-1)
            # Below 0 by rounding, where inputs differ in the last digit of a small coordinate.
            self._z.sub_(excess, alpha=1 / math.pi).clamp_(min=0)

    def rho(self) -> Tensor:
        """cos(theta), in a buffer that the next call overwrites."""
        return torch.sub(self._one, self._z, alpha=2, out=self._rho)

    def both_on(self) -> Tensor:
        """kappa_0(rho) = 1 - theta / pi, in a buffer that the next call overwrites.

        In this order it is exactly 0 for antipodes and 1 for equal inputs.
        """
        rest = torch.sub(self._right_angle, self._half_angle, out=self._both_on)
        return rest.mul_(2 / math.pi)

    def _find_angles(self) -> None:
        """From z, theta / 2 and sin(theta / 2) cos(theta / 2)."""
        torch.sqrt(self._z, out=self._half_angle).asin_()
        torch.addcmul(self._z, self._z, self._z, value=-1, out=self._sin_cos).sqrt_()

    def _take_from_differences(self, x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> None:
        """For nearly parallel inputs, all from the diagonals of the rhombus that they span.

        The inner product has lost half of the digits of the angle between them or their lines.
        """
        left, right = x.index_select(0, i), y.index_select(0, j)
        minus, plus = (left - right).norm(dim=1), left.add_(right).norm(dim=1)
        square = minus.square() + plus.square()
        self._half_angle[i, j] = torch.atan2(minus, plus)
        self._sin_cos[i, j] = minus * plus / square
        self._z[i, j] = minus.square() / square


# |rho| from which on angles are taken from differences: there the inner product's rounding costs
# an angle about one digit, and beyond it rounding could make a correlation more than 1.
_NEAR = 0.99
