"""Two laws for minimal widths, a power of log n and a power of n: do points tell them apart?

Both have two parameters, a factor and a power, so that their fits may be compared as they are.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from companion.lab.checks import note
from companion.lab.results import Check
from companion.lab.words import listed

LAWS = {"log": r"$(\log n)^k$", "power": "$n^p$"}
CONFIDENCE = 0.95
# A chi^2 beyond this quantile is not explained by errors.
_UNLIKELY = 0.99
_NORMAL = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
# A difference of the information criterion at which a law is given up: the other one is then
# e^5 = 148 times as likely.
DECISIVE = 10.0


@dataclass(frozen=True)
class Points:
    """Minimal widths at several n.

    Attributes:
        counts: n, shape (k,).
        widths: m, shape (k,).
        errors: standard errors of log m, shape (k,); ones where they are not known.
        known: whether they are.
    """

    counts: np.ndarray
    widths: np.ndarray
    errors: np.ndarray
    known: bool

    @classmethod
    def of(cls, search: xr.Dataset) -> "Points":
        """Those of searches along `count`; a search without a width is left out.

        The error is that of a normal log m with the search's interval, which is of 95 %.
        """
        found = np.isfinite(search.width.values)
        counts, low, high = search.indexes["count"].values, search.low.values, search.high.values
        errors = np.log(high[found] / low[found]) / (2 * _NORMAL)
        return cls(counts[found].astype(float), search.width.values[found], errors, True)

    @classmethod
    def read_off(cls, counts: np.ndarray, widths: np.ndarray) -> "Points":
        """Points of a published curve, whose errors are not known and taken to be alike."""
        return cls(counts, widths, np.ones(len(counts)), False)

    def without(self, place: int) -> "Points":
        """All but one."""
        rest = np.arange(len(self.counts)) != place
        return Points(self.counts[rest], self.widths[rest], self.errors[rest], self.known)


@dataclass(frozen=True)
class Fit:
    """A law through points, by least squares on log m that weights every point by its error.

    Attributes:
        power: k or p.
        low: the end of its interval of 95 %.
        high: likewise.
        misfit: chi^2, the sum of the squared residuals over their errors.
        scatter: root mean square of the residuals of log m, unweighted.
        left_out: root mean square of what log m is off by at a point that the law has not seen.
        fitted: m of the law at every n, shape (k,).
    """

    power: float
    low: float
    high: float
    misfit: float
    scatter: float
    left_out: float
    fitted: np.ndarray


def fit(points: Points, law: str) -> Fit:
    """One of `LAWS` through at least three points.

    The power's error is that of the points; but what their scatter says where they scatter more
    than their errors explain, or these are not known.
    """
    factor, power, error = _line(points, law)
    fitted = factor + power * _place(points.counts, law)
    residuals = np.log(points.widths) - fitted
    misfit, free = float(((residuals / points.errors) ** 2).sum()), len(residuals) - 2
    if points.known and misfit <= stats.chi2.ppf(_UNLIKELY, free):
        half = _NORMAL * error
    else:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, free)) * error * math.sqrt(misfit / free)
    scatter = math.sqrt((residuals**2).mean())
    return Fit(
        power, power - half, power + half, misfit, scatter, _left_out(points, law), np.exp(fitted)
    )


def fits(points: Points) -> Mapping[str, Fit]:
    """Both laws; none where there are fewer than three points."""
    return {law: fit(points, law) for law in LAWS} if len(points.counts) >= 3 else {}


def evidence(points: Points) -> float:
    """By how much the information criterion favours the power of log n; negative: that of n.

    Twice the difference of the log likelihoods, as both laws have as many parameters. The variance
    is that of the errors; where the better of the two laws scatters more, or the errors are not
    known, it is that law's scatter.
    """
    misfits = {law: found.misfit for law, found in fits(points).items()}
    least = min(misfits.values()) / (len(points.counts) - 2)
    variance = max(1.0, least) if points.known else least
    return (misfits["power"] - misfits["log"]) / variance


def _place(counts: np.ndarray, law: str) -> np.ndarray:
    """What log m is linear in."""
    logs = np.log(counts)
    place: np.ndarray = np.log(logs) if law == "log" else logs
    return place


def _line(points: Points, law: str) -> tuple[float, float, float]:
    """Level, slope and the slope's standard error of the weighted line."""
    x, y, weights = _place(points.counts, law), np.log(points.widths), points.errors**-2
    middle, level = np.average(x, weights=weights), np.average(y, weights=weights)
    square = float((weights * (x - middle) ** 2).sum())
    slope = float((weights * (x - middle) * y).sum() / square)
    return level - slope * middle, slope, 1 / math.sqrt(square)


def _left_out(points: Points, law: str) -> float:
    """Leave one out: root mean square of the errors of prediction of log m."""
    off = []
    for place, count in enumerate(points.counts):
        level, slope, _ = _line(points.without(place), law)
        predicted = level + slope * _place(np.array([count]), law)[0]
        off.append(math.log(points.widths[place]) - predicted)
    return math.sqrt(float(np.square(off).mean()))


def told(key: str, points: Points) -> Mapping[str, float]:
    """Powers, intervals, residuals and the comparison of both laws, under names that begin so."""
    named: dict[str, float] = {}
    for law, found in fits(points).items():
        named |= {f"{key}_{law}": found.power, f"{key}_{law}_low": found.low}
        named |= {f"{key}_{law}_high": found.high, f"{key}_{law}_scatter": found.scatter}
        named[f"{key}_{law}_left_out"] = found.left_out
    return named | {f"{key}_evidence": evidence(points)} if named else {}


def told_apart(curves: Mapping[str, Points]) -> str:
    """In words, which of the curves tell the laws apart.

    Args:
        curves: by name.
    """
    telling = [
        name
        for name, points in curves.items()
        if len(points.counts) >= 3 and abs(evidence(points)) >= DECISIVE
    ]
    if not telling:
        return "none of the curves tells them apart"
    return f"only these tell them apart: {listed(telling)}"


def compared(curves: Mapping[str, Points], own: Collection[str]) -> list[Check]:
    """Whether every curve favours the power of log n; no where all of our own favour the other.

    Args:
        curves: by name.
        own: names of those that are ours.
    """
    favour = {
        name: evidence(points) if len(points.counts) >= 3 else math.nan
        for name, points in curves.items()
    }
    yes = all(value >= DECISIVE for value in favour.values())
    no = all(favour[name] <= -DECISIVE for name in own)
    words = [
        f"{round(value, 1) + 0.0:+.1f} ({name})"
        for name, value in favour.items()
        if math.isfinite(value)
    ]
    question = Check(
        "yes" if yes else "no" if no else "unclear",
        "by how much the information criterion favours the power of the logarithm",
        listed(words),
        f"at least {DECISIVE:g} on every curve, which makes one law {math.exp(DECISIVE / 2):.0f} "
        "times as likely as the other",
        kind="trend",
    )
    return [question, *(note(_missed(name, each)) for name, each in curves.items() if fits(each))]


def _missed(name: str, points: Points) -> str:
    """What both laws make of a point that they have not seen."""
    words = (f"{found.left_out:.1%} by {LAWS[law]}" for law, found in fits(points).items())
    return f"The width at an $n$ that was left out is missed by {listed(words)} ({name})"
