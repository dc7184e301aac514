"""The dual problems: smooth, convex, and less and less smoothed on the way to their optimum."""

import math
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from scipy.special import expit

from companion.ntrf._inputs import Array
from companion.ntrf._norms import Norms, Softened, softened


class Problem(Protocol):
    """A smooth convex problem in the dual variables, seen through their logits or logarithms."""

    @property
    def slope_tolerance(self) -> float:
        """Norm of the gradient that is small enough."""
        ...

    def value_and_slope(self, point: Array) -> tuple[float, Array]:
        """The objective, to be minimised, and its gradient in `point`."""
        ...

    def curvature(self, point: Array) -> Array:
        """The Hessian in the dual variables, in the coordinates of `point`.

        Without the term of the slope, which the coordinates add and which vanishes at the optimum,
        it is positive definite everywhere.
        """
        ...

    def bounds(self, point: Array) -> tuple[float, float]:
        """Values between which the unsmoothed optimum lies."""
        ...

    def tightened(self: "P", point: Array) -> "P":
        """The problem with less smoothing, to start from `point`."""
        ...


P = TypeVar("P", bound=Problem)


@dataclass(frozen=True)
class LeastLoss:
    """`class_value` in the logits of q, times n / `scale`.

    Attributes:
        seminorms: of the ball.
        margins: y_i f_i, shape (n,).
        radius: rho.
        level: share that the softness has of the seminorms of all parts of q.
        softness: of the smoothed norms.
        scale: near the optimum, so that slopes are relative.
    """

    seminorms: Norms
    margins: Array
    radius: float
    level: float = 1.0
    softness: float = 1.0
    scale: float = 1.0

    @property
    def slope_tolerance(self) -> float:
        return 1e-12

    def value_and_slope(self, point: Array) -> tuple[float, Array]:
        _, soft = self._at(point)
        value = self.radius * soft.lengths.sum() - self._entropies(point).sum()
        slope = point + self.margins + self.radius * soft.gains
        return float(value) / self.scale, _spread(point) * slope / self.scale

    def curvature(self, point: Array) -> Array:
        _, soft = self._at(point)
        spread = _spread(point)
        found = self.radius * spread[:, None] * soft.curvature * spread
        return _with_diagonal(found, spread) / self.scale

    def bounds(self, point: Array) -> tuple[float, float]:
        q, soft = self._at(point)
        norms, gains = soft.rounded(q)
        lower = self._entropies(point).sum() - self.radius * norms.sum()
        upper = np.logaddexp(0, -self.margins - self.radius * gains).sum()
        return min(max(float(lower), 0.0), float(upper)) / len(point), float(upper) / len(point)

    def tightened(self, point: Array) -> "LeastLoss":
        q, level = expit(point), self.level / 10
        softness = level * (float((self.seminorms.sizes @ q).sum()) or 1.0)
        return replace(self, level=level, softness=softness, scale=float(q.sum()) or 1.0)

    def coefficients(self, point: Array) -> Array:
        """Of V_l, over y; shape (L, n)."""
        q, soft = self._at(point)
        return self.radius * q / soft.lengths[:, None]

    def _at(self, point: Array) -> tuple[Array, Softened]:
        q = expit(point)
        return q, softened(self.seminorms, q, self.softness)

    def _entropies(self, point: Array) -> Array:
        """h(q_i) - q_i y_i f_i, shape (n,)."""
        entropies: Array = np.logaddexp(0, point) - expit(point) * (point + self.margins)
        return entropies


def _with_diagonal(matrix: Array, diagonal: Array | float) -> Array:
    """Sum of a semidefinite and a positive diagonal matrix, definite in spite of rounding."""
    entries = np.diagonal(matrix)
    rounding = len(matrix) * np.finfo(float).eps * entries.max() + np.finfo(float).tiny
    matrix[np.diag_indices_from(matrix)] = entries + diagonal + rounding
    return matrix


def _spread(logits: Array) -> Array:
    """Derivative of q in its logit: q (1 - q)."""
    spread: Array = expit(logits) * expit(-logits)
    return spread


@dataclass(frozen=True)
class LeastRadius:
    """`smallest_radius` in the logarithms of a.

    Minimised is sum_l ||a||_l - log(needed . a) - barrier sum_i log a_i.

    At its optimum the gains are needed / (needed . a) + barrier / a, enough everywhere, for a
    radius greater than the least one by a factor of about 1 + 2 n barrier.

    Attributes:
        seminorms: of the ball.
        needed: what the margins lack, shape (n,), one of them positive.
        softness: of the smoothed norms.
        barrier: weight of the barrier that keeps a positive.
    """

    seminorms: Norms
    needed: Array
    softness: float
    barrier: float

    @property
    def slope_tolerance(self) -> float:
        return self.barrier / 2

    def value_and_slope(self, point: Array) -> tuple[float, Array]:
        if point.max() > 300 or self.needed @ np.exp(point) <= 0:  # overflow, or no logarithm
            return math.inf, np.zeros_like(point)
        a, soft = self._at(point)
        gained = self.needed @ a
        value = soft.lengths.sum() - math.log(gained) - self.barrier * point.sum()
        return float(value), a * (soft.gains - self.needed / gained) - self.barrier

    def curvature(self, point: Array) -> Array:
        a, soft = self._at(point)
        share = self.needed / (self.needed @ a)
        found = soft.curvature + share[:, None] * share
        found *= a[:, None] * a
        return _with_diagonal(found, self.barrier)

    def bounds(self, point: Array) -> tuple[float, float]:
        a, soft = self._at(point)
        norms, gains = soft.rounded(a)
        upper = self._factor(gains) * float((soft.norms / soft.lengths).max())
        return min(float(self.needed @ a / norms.sum()), upper), upper

    def tightened(self, point: Array) -> "LeastRadius":
        return replace(self, softness=self.softness / 10, barrier=self.barrier / 10)

    def coefficients(self, point: Array) -> Array:
        """Of V_l, over y; shape (L, n). Zero where `bounds` has no finite upper one."""
        a, soft = self._at(point)
        factor = self._factor(soft.rounded(a)[1])
        return (factor if factor < math.inf else 0.0) * a / soft.lengths[:, None]

    def _at(self, point: Array) -> tuple[Array, Softened]:
        a = np.exp(point)
        return a, softened(self.seminorms, a, self.softness)

    def _factor(self, gains: Array) -> float:
        """Least t with t gains >= needed; infinite where there is none."""
        lacking, falling = self.needed > 0, gains < 0
        if (gains[lacking] <= 0).any():
            return math.inf
        least = float((self.needed[lacking] / gains[lacking]).max())
        most = (self.needed[falling] / gains[falling]).min(initial=math.inf)
        return least if least <= most else math.inf
