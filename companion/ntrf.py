"""The linearised networks (NTRF) of Chen et al. (2021): least loss, radii and margins, with gaps.

Each number here is the optimum of a convex problem over the parameters, into which only Gram
matrices enter. It is solved in the dual, in n variables, by SciPy's `trust-exact`: Newton's method
within a trust region. A dual point also gives parameters, and the true optimum lies between the
values that the two reach, whatever the solver did.

Radii are distances rho of parameters; the paper's R is m^alpha rho. From Gram matrices divided by
m^(2 alpha) they come out as R, and margins as the paper's gamma.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from companion.base.arguments import check_tensors, real
from companion.errors import InputError
from companion.losses import check_labels

Ball = Literal["per-layer", "single"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Optimum:
    """An optimal value between two bounds, and the points that prove them.

    Attributes:
        value: what the parameters V reach: `upper` for a loss or a radius, `lower` for a margin.
        lower: at most the true optimum, up to rounding.
        upper: at least the true optimum, up to rounding.
        dual: the dual variables, shape (n,).
        coefficients: c, shape (L, n), of V_l = sum_i c_{l,i} df(x_i)/dW_l. For a `ReLUNetwork`
            that is `network.gradients(network.run(x), c_l)[l]`.
    """

    value: float
    lower: float
    upper: float
    dual: Tensor
    coefficients: Tensor

    @property
    def gap(self) -> float:
        """The duality gap, at least the error of `value`; 0 where both bounds are infinite."""
        return 0.0 if self.lower == self.upper else self.upper - self.lower


def margin_target(max_loss: float) -> float:
    """The margin b above which a cross-entropy is less than `max_loss`: -log(e^max_loss - 1).

    Proposition 4.2 of Chen et al. (2021) asks for `max_loss` = epsilon / 2.

    Raises:
        InputError: `max_loss` is not positive.
    """
    max_loss = real("the largest loss", max_loss)
    if not 0 < max_loss < math.inf:
        raise InputError(f"the largest loss is {max_loss}; it must be positive and finite.")
    return -max_loss - math.log(-math.expm1(-max_loss))


def class_value(
    grams: Sequence[Tensor],
    predictions: Tensor,
    labels: Tensor,
    radius: float,
    *,
    ball: Ball = "per-layer",
) -> Optimum:
    """epsilon_NTRF: the least mean cross-entropy of the class of Definition 4.1.

    The minimum of mean_i l(y_i (f_i + sum_l <df(x_i)/dW_l, V_l>)) over the ball, whose dual is
    the maximum over q in [0, 1]^n, with the binary entropy h in nats and ||.||_l of y o K^(l) o y,
    of mean_i (h(q_i) - q_i y_i f_i) - rho sum_l ||q||_l / n. At the optimum q_i = -l'(margin_i).
    Where the value is below 1e-40 it may stay at an upper bound, with 0 for the lower one.

    Args:
        grams: K^(1), ..., K^(L), each of shape (n, n); `kernels.layer_grams`.
        predictions: f at initialisation, shape (n,).
        labels: y, shape (n,), -1 or +1.
        radius: rho.
        ball: `per-layer` for max_l ||V_l||_F <= rho, as in the paper; `single` for
            sum_l ||V_l||_F^2 <= rho^2.

    Raises:
        InputError: shapes that do not fit, half precision, numbers that are not finite, a Gram
            matrix that is not symmetric positive semidefinite, a label that is neither -1 nor +1,
            a negative radius.
    """
    radius = real("the radius", radius)
    if not 0 <= radius < math.inf:
        raise InputError(f"the radius is {radius}; it must be nonnegative and finite.")
    seminorms = _layers(grams, labels, ball)
    margins = _signs(labels) * _numbers(predictions, "predictions", len(labels))
    # From one radius to the next, four times as large, the optimum moves little.
    uniform = _softened(seminorms, np.ones_like(margins), 0.0).norms.sum() / len(margins)
    logits = -margins
    for quarters in range(math.ceil(math.log2(max(radius * uniform, 1.0)) / 2), -1, -1):
        problem = _LeastLoss(seminorms, margins, radius / 4**quarters)
        problem, logits = _solve(problem, logits, 1e-2 if quarters else 1e-11)
        lower, upper = problem.bounds(logits)
        if quarters and upper < _NEGLIGIBLE:
            lower = 0.0  # as this is a smaller ball
            break
    found = problem.coefficients(logits)
    return _optimum(upper, lower, upper, expit(logits), found, labels, len(grams))


def smallest_radius(
    grams: Sequence[Tensor],
    predictions: Tensor,
    labels: Tensor,
    margin: float,
    *,
    ball: Ball = "per-layer",
) -> Optimum:
    """The least radius rho at which the class has a member with every y_i f(x_i) >= `margin`.

    For the largest loss to be at most epsilon, `margin` is `margin_target(epsilon)`. The dual is
    the maximum over a >= 0 of sum_i a_i (margin - y_i f_i) / sum_l ||a||_l, and `Optimum.dual` is
    scaled to the denominator 1.

    Arguments and errors are those of `class_value`.

    Returns:
        Its value is 0 where the initialisation is such a member already, and infinite where no
        radius is large enough. If both bounds are infinite, that is so up to rounding: a >= 0,
        then scaled to the sum 1, cancels the gradients to 7 digits.
    """
    margin = real("the margin", margin)
    if not math.isfinite(margin):
        raise InputError(f"the margin is {margin}; it must be finite.")
    seminorms = _layers(grams, labels, ball)
    needed = margin - _signs(labels) * _numbers(predictions, "predictions", len(labels))
    lower, upper, a, found = _least_radius(seminorms, needed)
    return _optimum(upper, lower, upper, a, found, labels, len(grams))


def ntrf_margin(gram: Tensor, labels: Tensor) -> Optimum:
    """The margin of Assumption 4.3: max over sum_l ||U_l||_F^2 = 1 of min_i y_i <df(x_i), U>.

    The hard margin of a kernel machine without bias, whose dual is the minimum over the simplex
    of sqrt((q o y)^T K (q o y)). The paper's gamma is m^-alpha times it.

    Args:
        gram: K, shape (n, n); `kernels.empirical_gram`, or `kernels.infinite_width_gram`.
        labels: y, shape (n,), -1 or +1.

    Returns:
        The margin, 0 where the gradients are not separable. `Optimum.dual` is q, and
        `Optimum.coefficients`, of shape (1, n), serve all layers.

    Raises:
        InputError: as `class_value`.
    """
    return _largest_margin(_layers([gram], labels, "single"), labels)


def ji_telgarsky_margin(x: Tensor, labels: Tensor, directions: Tensor) -> Optimum:
    """The margin of Assumption 4.6 of Chen et al. (2021), with a sample in place of N(0, I).

    The greatest gamma such that some u with ||u(z)||_2 <= 1 has, for every i,
    y_i mean_z 1{z . x_i >= 0} <u(z), x_i> >= gamma. Its dual is the minimum over the simplex of
    mean_z ||sum_i q_i y_i 1{z . x_i >= 0} x_i||_2. Exact for the given sample.

    Args:
        x: inputs, shape (n, d).
        labels: y, shape (n,), -1 or +1.
        directions: the sample of z, shape (k, d).

    Returns:
        The margin, 0 where there is no positive one. `Optimum.dual` is q;
        u(z_l) = sum_i c_{l,i} 1{z_l . x_i >= 0} x_i, with `Optimum.coefficients` of shape (k, n).

    Raises:
        InputError: shapes that do not fit, half precision, numbers that are not finite, or a label
            that is neither -1 nor +1.
    """
    check_tensors(x=x, directions=directions)
    points, sample = _numbers(x, "inputs"), _numbers(directions, "directions")
    if points.ndim != 2 or sample.shape != (len(sample), points.shape[1]) or len(sample) == 0:
        raise InputError(
            f"inputs of shape {tuple(x.shape)} do not fit directions of shape "
            f"{tuple(directions.shape)}; (n, d) and (k, d) are needed."
        )
    signs = _signs(labels)
    if len(signs) != len(points):
        raise InputError(f"there are {len(signs)} labels for {len(points)} inputs; give one each.")
    signed = signs[:, None] * points / len(sample)
    active = (sample @ points.T >= 0).astype(np.float64)
    found = _largest_margin(_HalfSpaces(active, signed), labels)
    return replace(found, coefficients=found.coefficients / len(sample))


def regression_radius(gram: Tensor, residual: Tensor) -> Optimum:
    """The least norm ||V||_F of parameters that move every prediction by `residual`, r.

    sqrt(r^T K^-1 r): kernel regression interpolates y from r = y - f_0 at that distance, where
    gradient flow on the linearised squared loss ends too. Dual: max over a of a . r / ||a||_K.
    `Optimum.dual` is K^-1 r; so is `Optimum.coefficients`, of shape (1, n), for all layers.

    Args:
        gram: K, shape (n, n).
        residual: r, shape (n,), any real numbers.

    Returns:
        Infinite bounds where r has a part outside the range of K, by 8 digits. Eigenvalues of K
        below n times the machine's epsilon times the largest count as 0.

    Raises:
        InputError: as `class_value`.
    """
    check_tensors(residual=residual)
    target = _numbers(residual, "residuals", residual.numel())
    kernel = _gram(gram, len(target))
    values, vectors = scipy.linalg.eigh(kernel)
    kept = values > len(values) * torch.finfo(gram.dtype).eps * values[-1]
    parts = vectors.T @ target
    a = vectors[:, kept] @ (parts[kept] / values[kept])
    zeros = torch.zeros(1, len(target), dtype=torch.float64)
    if np.linalg.norm(parts[~kept]) > 1e-8 * np.linalg.norm(target):
        return Optimum(math.inf, math.inf, math.inf, zeros[0], zeros)
    norm = math.sqrt(max(a @ kernel @ a, 0.0))
    if norm == 0:
        return Optimum(0.0, 0.0, 0.0, zeros[0], zeros)
    # What a misses of r costs at most its norm over the root of the least eigenvalue.
    missed = float(np.linalg.norm(target - kernel @ a)) / math.sqrt(values[kept].min())
    dual = torch.from_numpy(a)
    return Optimum(norm, min(a @ target / norm, norm), norm + missed, dual, dual[None])


# Where a quarter of the radius reaches this, the rest would leave the range of floating point.
_NEGLIGIBLE = 1e-40


class _Norms(Protocol):
    """Seminorms ||a||_l = sqrt(a^T G_l a) of vectors of length n, for l = 1, ..., L."""

    def at(self, a: Array) -> tuple[Array, Array]:
        """||a||_l, shape (L,), and G_l a, shape (L, n)."""
        ...

    def combined(self, weights: Array) -> Array:
        """sum_l weights_l G_l, shape (n, n)."""
        ...

    @property
    def sizes(self) -> Array:
        """||e_i||_l of the unit vectors, shape (L, n)."""
        ...

    @property
    def precision(self) -> float:
        """Error of ||a||_l^2 from rounding, relative to what it were if no parts of a cancelled."""
        ...


@dataclass(frozen=True)
class _Layers:
    """G_l = y o K^(l) o y.

    Attributes:
        grams: G_l, shape (L, n, n).
        roots: R_l with G_l = R_l^T R_l, shape (L, n, n): from G_l itself a norm that nearly
            vanishes would have half of the digits.
        precision: of the entries of K^(l), relative to their bound by the diagonal.
    """

    grams: Array
    roots: Array
    precision: float

    def at(self, a: Array) -> tuple[Array, Array]:
        images = self.roots @ a
        products: Array = (images[:, None] @ self.roots)[:, 0]
        return np.linalg.norm(images, axis=1), products

    def combined(self, weights: Array) -> Array:
        combined: Array = np.tensordot(weights, self.grams, 1)
        return combined

    @property
    def sizes(self) -> Array:
        sizes: Array = np.sqrt(np.diagonal(self.grams, axis1=1, axis2=2))
        return sizes


@dataclass(frozen=True)
class _HalfSpaces:
    """||a||_l = ||sum_i a_i 1{z_l . x_i >= 0} s_i||_2, without the k matrices.

    Attributes:
        active: 1{z_l . x_i >= 0}, shape (k, n).
        points: s_i = y_i x_i / k, shape (n, d).
    """

    active: Array
    points: Array

    def at(self, a: Array) -> tuple[Array, Array]:
        sums = self.active @ (a[:, None] * self.points)
        return np.linalg.norm(sums, axis=1), self.active * (sums @ self.points.T)

    def combined(self, weights: Array) -> Array:
        both = self.active.T @ (weights[:, None] * self.active)
        combined: Array = both * (self.points @ self.points.T)
        return combined

    @property
    def sizes(self) -> Array:
        sizes: Array = self.active * np.linalg.norm(self.points, axis=1)
        return sizes

    @property
    def precision(self) -> float:
        return float(np.finfo(float).eps) ** 2  # the norm itself is not taken from its square


@dataclass(frozen=True)
class _Softened:
    """Seminorms of one vector a >= 0, smoothed where they vanish: sqrt(||a||_l^2 + softness^2).

    Attributes:
        seminorms: the ||.||_l.
        products: G_l a, shape (L, n).
        norms: ||a||_l, shape (L,).
        lengths: the smoothed norms, shape (L,).
    """

    seminorms: _Norms
    products: Array
    norms: Array
    lengths: Array

    @property
    def gains(self) -> Array:
        """Gradient of the lengths' sum, shape (n,).

        It is also what U_l = sum_i a_i y_i df(x_i)/dW_l / length_l, of norms up to 1, add to the
        margins y_i f(x_i).
        """
        gains: Array = (1 / self.lengths) @ self.products
        return gains

    @property
    def curvature(self) -> Array:
        """Hessian of the lengths' sum, shape (n, n), positive semidefinite."""
        steep = self.products / self.lengths[:, None] ** 1.5
        return self.seminorms.combined(1 / self.lengths) - steep.T @ steep

    def rounded(self, a: Array) -> tuple[Array, Array]:
        """Above ||a||_l and below the gains, whichever way the Gram matrices are rounded.

        It matters where parts of a cancel in a layer, so that V_l is inside the ball.
        """
        sizes, precision = self.seminorms.sizes, self.seminorms.precision
        whole = sizes @ a
        norms = np.hypot(self.norms, math.sqrt(precision) * whole)
        return norms, self.gains - precision * (whole / self.lengths) @ sizes


def _softened(seminorms: _Norms, a: Array, softness: float) -> _Softened:
    norms, products = seminorms.at(a)
    return _Softened(seminorms, products, norms, np.hypot(norms, softness))


class _Problem(Protocol):
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

    def tightened(self: "_P", point: Array) -> "_P":
        """The problem with less smoothing, to start from `point`."""
        ...


_P = TypeVar("_P", bound=_Problem)


@dataclass(frozen=True)
class _LeastLoss:
    """`class_value` in the logits of q, times n / `scale`.

    Attributes:
        seminorms: of the ball.
        margins: y_i f_i, shape (n,).
        radius: rho.
        level: share that the softness has of the seminorms of all parts of q.
        softness: of the smoothed norms.
        scale: near the optimum, so that slopes are relative.
    """

    seminorms: _Norms
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

    def tightened(self, point: Array) -> "_LeastLoss":
        q, level = expit(point), self.level / 10
        softness = level * (float((self.seminorms.sizes @ q).sum()) or 1.0)
        return replace(self, level=level, softness=softness, scale=float(q.sum()) or 1.0)

    def coefficients(self, point: Array) -> Array:
        """Of V_l, over y; shape (L, n)."""
        q, soft = self._at(point)
        return self.radius * q / soft.lengths[:, None]

    def _at(self, point: Array) -> tuple[Array, _Softened]:
        q = expit(point)
        return q, _softened(self.seminorms, q, self.softness)

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
class _LeastRadius:
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

    seminorms: _Norms
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

    def tightened(self, point: Array) -> "_LeastRadius":
        return replace(self, softness=self.softness / 10, barrier=self.barrier / 10)

    def coefficients(self, point: Array) -> Array:
        """Of V_l, over y; shape (L, n). Zero where `bounds` has no finite upper one."""
        a, soft = self._at(point)
        factor = self._factor(soft.rounded(a)[1])
        return (factor if factor < math.inf else 0.0) * a / soft.lengths[:, None]

    def _at(self, point: Array) -> tuple[Array, _Softened]:
        a = np.exp(point)
        return a, _softened(self.seminorms, a, self.softness)

    def _factor(self, gains: Array) -> float:
        """Least t with t gains >= needed; infinite where there is none."""
        lacking, falling = self.needed > 0, gains < 0
        if (gains[lacking] <= 0).any():
            return math.inf
        least = float((self.needed[lacking] / gains[lacking]).max())
        most = (self.needed[falling] / gains[falling]).min(initial=math.inf)
        return least if least <= most else math.inf


def _solve(problem: _P, start: Array, tolerance: float) -> tuple[_P, Array]:
    """Less and less smoothing, until the bounds meet or rounding drives them apart again.

    Returns:
        The problem and the point with the best bounds.
    """
    best, found, point = math.inf, (problem, start), start
    for _ in range(_STAGES):
        problem = problem.tightened(point)
        point = _minimise(problem, point, tolerance)
        gap = _relative_gap(problem.bounds(point))
        if gap <= best:
            best, found = gap, (problem, point)
        if gap <= tolerance or gap > best < _WORSENING:
            break
    return found


_STAGES = 13
# Below this relative gap, bounds that come apart again do so by rounding, not by a stage cut short.
_WORSENING = 1e-3


def _minimise(problem: _Problem, start: Array, tolerance: float) -> Array:
    """Minimum by SciPy, which stops early where the bounds meet."""

    def stop(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        if _relative_gap(problem.bounds(intermediate_result.x)) <= tolerance:
            raise StopIteration

    unit = math.sqrt(len(start))
    options = {
        "initial_trust_radius": unit,
        "max_trust_radius": 100 * unit,
        "gtol": problem.slope_tolerance,
        "maxiter": 100,
    }
    found = scipy.optimize.minimize(
        problem.value_and_slope,
        start,
        jac=True,
        hess=problem.curvature,
        method="trust-exact",
        callback=stop,
        options=options,
    )
    point: Array = found.x
    return point


def _relative_gap(bounds: tuple[float, float]) -> float:
    lower, upper = bounds
    if lower == upper:
        return 0.0
    return (upper - lower) / upper if upper < math.inf else math.inf


def _least_radius(seminorms: _Norms, needed: Array) -> tuple[float, float, Array, Array]:
    """Lower and upper bound on the radius, a of shape (n,), and coefficients over y, (L, n)."""
    shape = seminorms.sizes.shape
    if needed.max() <= 0:
        return 0.0, 0.0, np.zeros(len(needed)), np.zeros(shape)
    a = _cancelling(seminorms, needed)
    if a is not None:
        return math.inf, math.inf, a / a.sum(), np.zeros(shape)
    start = np.maximum(needed, needed.max() / 1000)
    start /= seminorms.at(start)[0].sum()
    initial = _LeastRadius(seminorms, needed, 1 / shape[0], 1 / len(needed))
    problem, point = _solve(initial, np.log(start), 1e-8)
    lower, upper = problem.bounds(point)
    a = np.exp(point)
    return lower, upper, a / seminorms.at(a)[0].sum(), problem.coefficients(point)


def _cancelling(seminorms: _Norms, needed: Array) -> Array | None:
    """A vector a >= 0 with needed . a = 1 and every ||a||_l = 0 up to rounding, if there is one.

    By Farkas' lemma no parameters do what is needed if and only if there is one. It takes a
    singular Gram matrix; then one exists if least squares with a >= 0 leaves no residual.
    """
    sizes = seminorms.sizes
    root = _root(seminorms.combined(np.ones(len(sizes))), len(needed) * float(np.finfo(float).eps))
    if root[-1].any():
        return None
    rows = np.vstack([root / max(np.abs(root).max(), np.finfo(float).tiny), needed / needed.max()])
    a, _ = scipy.optimize.nnls(rows, np.append(np.zeros(len(root)), 1.0))
    norms, _ = seminorms.at(a)
    whole = sizes.sum(0).max() * a.sum()
    return a if norms.sum() <= _CANCELLED * whole else None


# Below this share of what the seminorms could be, they are rounding.
_CANCELLED = 1e-7


def _largest_margin(seminorms: _Norms, labels: Tensor) -> Optimum:
    """The reciprocal of the least radius that gives every input the margin 1."""
    least, most, a, found = _least_radius(seminorms, np.ones(len(labels)))
    lower, upper = 1 / most, 1 / least
    return _optimum(lower, lower, upper, a / a.sum(), found * lower, labels, len(found))


def _optimum(
    value: float,
    lower: float,
    upper: float,
    dual: Array,
    found: Array,
    labels: Tensor,
    layers: int,
) -> Optimum:
    """With the labels in the coefficients, and a row of them for every layer."""
    rows = np.broadcast_to(found * _signs(labels), (layers, len(dual)))
    return Optimum(value, lower, upper, torch.from_numpy(dual), torch.from_numpy(rows.copy()))


def _layers(grams: Sequence[Tensor], labels: Tensor, ball: Ball) -> _Layers:
    """The seminorms of a ball, from checked Gram matrices and labels."""
    if ball not in ("per-layer", "single"):
        raise InputError(f"the ball is {ball!r}; it must be 'per-layer' or 'single'.")
    if len(grams) == 0:
        raise InputError("there is no Gram matrix; give one per layer.")
    signs = _signs(labels)
    signed = np.stack([_gram(gram, len(signs)) for gram in grams]) * np.outer(signs, signs)
    if ball == "single":
        signed = signed.sum(0, keepdims=True)
    precision = 4 * max(torch.finfo(gram.dtype).eps for gram in grams)
    return _Layers(signed, np.stack([_root(gram, precision) for gram in signed]), precision)


def _root(gram: Array, precision: float) -> Array:
    """R with R^T R = `gram`, by Cholesky's method with pivots, to a precision relative to sizes."""
    sizes = np.sqrt(np.diagonal(gram))
    units = np.where(sizes > 0, sizes, 1.0)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(
        gram / np.outer(units, units), tol=precision
    )
    root = np.zeros_like(gram)
    root[:rank, pivots - 1] = np.triu(factor)[:rank]
    return root * units


def _gram(gram: Tensor, count: int) -> Array:
    """A Gram matrix in float64, checked."""
    check_tensors(gram=gram)
    if gram.shape != (count, count):
        raise InputError(
            f"a Gram matrix has shape {tuple(gram.shape)}; for {count} labels or residuals it "
            f"must be ({count}, {count})."
        )
    found = _numbers(gram, "Gram matrices")
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


def _signs(labels: Tensor) -> Array:
    """Labels in float64, checked."""
    check_tensors(labels=labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise InputError(f"labels have shape {tuple(labels.shape)}; (n,) with n >= 1 is needed.")
    check_labels(labels)
    signs: Array = labels.detach().cpu().double().numpy()
    return signs


def _numbers(tensor: Tensor, name: str, count: int | None = None) -> Array:
    """A tensor in float64, checked; a vector of `count` if that is given."""
    check_tensors(**{name: tensor})
    if tensor.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{name} are {tensor.dtype}; float32 or float64 is needed.")
    if count is not None and tensor.shape != (count,):
        raise InputError(f"{name} have shape {tuple(tensor.shape)}; ({count},) is needed.")
    if not bool(tensor.isfinite().all()):
        raise InputError(f"{name} hold a number that is not finite; all must be finite.")
    numbers: Array = tensor.detach().cpu().double().numpy()
    return numbers
