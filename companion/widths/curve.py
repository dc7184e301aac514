"""How the share of runs that succeed rises with the width: the fitted curve and its median."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

# From 12 to 88 % success takes a factor exp(4 / slope) of the width: more than any ladder at 1/2,
# and at this multiple of the widest width a tenth of the way from there to the next one.
_LEAST_SLOPE, _STEEPEST = 0.5, 40.0
# Slopes and medians at which a likelihood is looked at, and how often it is looked at closer.
_SLOPES, _MEDIANS, _LOOKS = 60, 301, 3
# The share of the likelihood beyond each end of what is looked at closer.
_BEYOND = 1e-6


@dataclass(frozen=True)
class Tally:
    """How many runs were made at each width, and how many of them succeeded.

    Attributes:
        widths: m, shape (k,).
        runs: shape (k,), positive.
        successes: shape (k,).
    """

    widths: np.ndarray
    runs: np.ndarray
    successes: np.ndarray


@dataclass(frozen=True)
class Curve:
    """The share of successes 1 / (1 + (m / median)^(-slope)), logistic in log m.

    Attributes:
        median: the width at which it is 1/2; infinite where no run has succeeded, 0 where all
            have, and NaN for a curve that does not rise.
        slope: of the log odds in log m; infinite for a step, 0 for a curve that does not rise, and
            NaN where all runs ended alike.
    """

    median: float
    slope: float


def fit(tally: Tally) -> Curve:
    """The curve of maximum likelihood among those that do not fall.

    Where no width that failed lies above one that succeeded, that is a step, which may be anywhere
    between the two: its place is then the geometric mean.

    Args:
        tally: of at least one run.
    """
    x, runs, won = np.log(tally.widths), tally.runs, tally.successes
    if not won.any():
        return Curve(math.inf, math.nan)
    if (won == runs).all():
        return Curve(0.0, math.nan)
    failed, succeeded = x[won < runs].max(), x[won > 0].min()
    if failed <= succeeded:
        return Curve(math.exp((failed + succeeded) / 2), math.inf)
    share, middle = won.sum() / runs.sum(), np.average(x, weights=runs)
    if (won - share * runs) @ (x - middle) <= 0:  # what the slope at 0 does to the likelihood
        return Curve(math.nan, 0.0)
    level, slope = _most_likely(x - middle, runs, won)
    return Curve(math.exp(middle - level / slope), slope)


def _most_likely(x: np.ndarray, runs: np.ndarray, won: np.ndarray) -> tuple[float, float]:
    """Log odds at 0 and their slope; the likelihood has one maximum, for it is concave in them."""
    scale = np.sqrt(np.average(x**2, weights=runs))
    design, total = np.stack([np.ones_like(x), x / scale]), runs.sum()

    def value(c: np.ndarray) -> float:
        odds = c @ design
        return float(-(won @ log_expit(odds) + (runs - won) @ log_expit(-odds)) / total)

    def gradient(c: np.ndarray) -> np.ndarray:
        return np.asarray(design @ (runs * expit(c @ design) - won) / total)

    def hessian(c: np.ndarray) -> np.ndarray:
        odds = c @ design
        return np.asarray((design * (runs * expit(odds) * expit(-odds))) @ design.T / total)

    found = minimize(
        value, np.zeros(2), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-9}
    )
    return float(found.x[0]), float(found.x[1] / scale)


class Plausible:
    """What runs tell about the median, whatever the slope: the integrated likelihood.

    The likelihood of the curves is integrated over the slope, and that of the medians normalised to
    1, both on a logarithmic scale: the posterior of a prior that is flat there. Unlike the profile
    likelihood, which it replaces, it is not misled by having chosen the widths of later runs by the
    results of earlier ones, nor by a slope that is infinite at the maximum (see
    tests/test_widths.py for the coverage of both).

    Args:
        tally: of the runs, which may be none.
        least: width that is allowed. The median may lie a factor of two beyond.
        most: likewise.
    """

    def __init__(self, tally: Tally, least: float, most: float) -> None:
        slopes = np.geomspace(_LEAST_SLOPE, _STEEPEST * most, _SLOPES)
        low, high = math.log(least / 2), math.log(most * 2)
        for _ in range(_LOOKS):
            self._at = np.linspace(low, high, _MEDIANS)
            self._below = _share_below(self._at, slopes, tally)
            ends = np.searchsorted(self._below, [_BEYOND, 1 - _BEYOND])
            low, high = self._at[max(ends[0] - 1, 0)], self._at[min(ends[1], _MEDIANS - 1)]

    def quantiles(self, shares: Sequence[float] | np.ndarray) -> np.ndarray:
        """Widths below which the median lies with those probabilities, shape (k,)."""
        return np.exp(np.interp(shares, self._below, self._at))

    def interval(self, confidence: float) -> tuple[float, float]:
        """That holds the median with that probability, half of the rest on either side."""
        low, high = self.quantiles([(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)


def _share_below(at: np.ndarray, slopes: np.ndarray, tally: Tally) -> np.ndarray:
    """Share of the integrated likelihood below each log median, from 0 to 1, shape (k,)."""
    likelihood = np.zeros((len(slopes), len(at)))
    columns = zip(np.log(tally.widths), tally.runs, tally.successes, strict=True)
    for x, runs, won in columns:
        odds = slopes[:, None] * (x - at)
        likelihood += won * log_expit(odds) + (runs - won) * log_expit(-odds)
    density = logsumexp(likelihood, axis=0)
    below = cumulative_trapezoid(np.exp(density - density.max()), at, initial=0)
    return np.asarray(below / below[-1])
