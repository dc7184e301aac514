"""How the share of runs that succeed rises with the width: the fitted curve and its median."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit, log_expit, logit, logsumexp, xlogy
from scipy.stats import chi2

# A slope of a step between neighbouring widths, and one that is hardly any, as logarithms.
_STEP, _FLAT = math.log(1e6), math.log(1e-4)
# How far beyond the widths tried an end of an interval is looked for, as a logarithm.
_FAR = 50.0
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

    Where no width at which a run failed lies above one at which a run succeeded, that is a step. If
    it may be anywhere between two widths, its place is their geometric mean.

    Args:
        tally: of at least one run.
    """
    x, runs, won = np.log(tally.widths), tally.runs, tally.successes
    if not won.any():
        return Curve(math.inf, math.nan)
    if (won == runs).all():
        return Curve(0.0, math.nan)
    failed, succeeded = x[won < runs].max(), x[won > 0].min()
    if failed < succeeded:
        return Curve(math.exp((failed + succeeded) / 2), math.inf)
    if failed == succeeded:
        share = (won / runs)[x == failed].item()
        # So close to the width that its share is what it is on a curve as steep as a step.
        return Curve(math.exp(failed - logit(share) / math.exp(_STEP)), math.inf)
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


def interval(tally: Tally, confidence: float) -> tuple[float, float]:
    """Where the median lies, by the profile likelihood: the largest one of any slope.

    Those medians are in it whose profile likelihood is not too far below the maximum by the
    quantile of chi-square. It is an interval, as the likelihood is concave in level and slope. An
    infinite slope does not upset it. An end is 0 or infinite where no width excludes it.

    Args:
        tally: of at least one run.
        confidence: of the interval.
    """
    x = np.log(tally.widths)
    most, allowance = _largest(tally), float(chi2.ppf(confidence, 1)) / 2

    def lacking(at: float) -> float:
        return most - _profile(tally, at) - allowance

    far = x.min() - _FAR, x.max() + _FAR
    likeliest = _log_median(tally, far)
    low, high = (
        math.nan if lacking(end) <= 0 else math.exp(brentq(lacking, *sorted((end, likeliest))))
        for end in far
    )
    return 0.0 if math.isnan(low) else low, math.inf if math.isnan(high) else high


def _log_median(tally: Tally, far: tuple[float, float]) -> float:
    """The likeliest log median; of a curve that does not rise one far off, on its side."""
    median = fit(tally).median
    if math.isnan(median):
        return far[0] if tally.successes.sum() > tally.runs.sum() / 2 else far[1]
    return float(np.clip(math.log(median) if median else -math.inf, *far))


def _largest(tally: Tally) -> float:
    """The largest log-likelihood of any curve that does not fall."""
    curve, runs, won = fit(tally), tally.runs, tally.successes
    if 0 < curve.slope < math.inf:
        return _log_likelihood(tally, curve.slope, math.log(curve.median))
    if curve.slope == 0:
        runs, won = runs.sum(), won.sum()
    # Of a step, the one width at which both happened has its own share, and all others 0 or 1.
    return float(np.sum(xlogy(won, won / runs) + xlogy(runs - won, 1 - won / runs)))


def _profile(tally: Tally, at: float) -> float:
    """The largest log-likelihood of a log median: concave in the slope, so it has one maximum."""
    found = minimize_scalar(
        lambda log_slope: -_log_likelihood(tally, math.exp(log_slope), at),
        bounds=(_FLAT, _STEP),
        method="bounded",
    )
    return -float(found.fun)


def _log_likelihood(tally: Tally, slope: float, at: float) -> float:
    odds = slope * (np.log(tally.widths) - at)
    failed = tally.runs - tally.successes
    return float(tally.successes @ log_expit(odds) + failed @ log_expit(-odds))


class Plausible:
    """Where the median may lie, for choosing the next runs: the likelihood over all slopes.

    It is integrated over the slope, and normalised over the median, both on a logarithmic scale:
    the posterior of a prior that is flat there. It is there before any run is made.

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


def _share_below(at: np.ndarray, slopes: np.ndarray, tally: Tally) -> np.ndarray:
    """Share of the integrated likelihood below each log median, from 0 to 1, shape (k,)."""
    likelihood = np.zeros((len(slopes), len(at)))
    columns = zip(np.log(tally.widths), tally.runs, tally.successes, strict=True)
    for x, runs, won in columns:
        odds = slopes[:, None] * (x - at)
        likelihood += won * log_expit(odds) + (runs - won) * log_expit(-odds)
    likelihood[[0, -1]] -= math.log(2)  # the trapezoidal rule
    density = logsumexp(likelihood, axis=0)
    below = cumulative_trapezoid(np.exp(density - density.max()), at, initial=0)
    return np.asarray(below / below[-1])
