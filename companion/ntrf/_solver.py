"""Newton's method within a trust region, stage by stage, until the bounds meet."""

import math

import numpy as np
import scipy.optimize
from torch import Tensor

from companion.ntrf._inputs import Array
from companion.ntrf._norms import Norms, root_of
from companion.ntrf._problems import LeastRadius, P, Problem
from companion.ntrf.optimum import Optimum, optimum_of

_STAGES = 13
# Below this relative gap, bounds that come apart again do so by rounding, not by a stage cut short.
_WORSENING = 1e-3
# The relative gap of a stage that is solved, times what it is smoothed less than the first: a stage
# before it that was stopped early may be nearer by chance.
_SMOOTHED = 100.0
# Below this share of what the seminorms could be, they are rounding.
_CANCELLED = 1e-7


def solve(problem: P, start: Array, tolerance: float) -> tuple[P, Array]:
    """Less and less smoothing, until the bounds meet or rounding drives them apart again.

    Returns:
        The problem and the point with the best bounds.
    """
    best, found, point = math.inf, (problem, start), start
    for stage in range(1, _STAGES + 1):
        problem = problem.tightened(point)
        point = _minimise(problem, point, tolerance)
        gap = _relative_gap(problem.bounds(point))
        if gap <= best:
            best, found = gap, (problem, point)
        by_smoothing = gap <= _SMOOTHED / 10**stage
        if gap <= tolerance or (gap > best < _WORSENING and not by_smoothing):
            break
    return found


def _minimise(problem: Problem, start: Array, tolerance: float) -> Array:
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


def least_radius(seminorms: Norms, needed: Array) -> tuple[float, float, Array, Array]:
    """Lower and upper bound on the radius, a of shape (n,), and coefficients over y, (L, n)."""
    shape = seminorms.sizes.shape
    if needed.max() <= 0:
        return 0.0, 0.0, np.zeros(len(needed)), np.zeros(shape)
    a = _cancelling(seminorms, needed)
    if a is not None:
        return math.inf, math.inf, a / a.sum(), np.zeros(shape)
    start = np.maximum(needed, needed.max() / 1000)
    start /= seminorms.at(start)[0].sum()
    initial = LeastRadius(seminorms, needed, 1 / shape[0], 1 / len(needed))
    problem, point = solve(initial, np.log(start), 1e-8)
    lower, upper = problem.bounds(point)
    a = np.exp(point)
    return lower, upper, a / seminorms.at(a)[0].sum(), problem.coefficients(point)


def _cancelling(seminorms: Norms, needed: Array) -> Array | None:
    """A vector a >= 0 with needed . a = 1 and every ||a||_l = 0 up to rounding, if there is one.

    By Farkas' lemma no parameters do what is needed if and only if there is one. It takes a
    singular Gram matrix; then one exists if least squares with a >= 0 leaves no residual.
    """
    sizes = seminorms.sizes
    root = root_of(
        seminorms.combined(np.ones(len(sizes))), len(needed) * float(np.finfo(float).eps)
    )
    if root[-1].any():
        return None
    rows = np.vstack([root / max(np.abs(root).max(), np.finfo(float).tiny), needed / needed.max()])
    a, _ = scipy.optimize.nnls(rows, np.append(np.zeros(len(root)), 1.0))
    norms, _ = seminorms.at(a)
    whole = sizes.sum(0).max() * a.sum()
    return a if norms.sum() <= _CANCELLED * whole else None


def largest_margin(seminorms: Norms, labels: Tensor) -> Optimum:
    """The reciprocal of the least radius that gives every input the margin 1."""
    least, most, a, found = least_radius(seminorms, np.ones(len(labels)))
    lower, upper = 1 / most, 1 / least
    return optimum_of(lower, lower, upper, a / a.sum(), found * lower, labels, len(found))
