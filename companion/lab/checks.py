"""What measurements say about a claim: checks that answer yes, no or unclear, and their verdict.

Noise never decides. A bound is judged at every measured value; an exponent, a mean and a
probability by their confidence interval: all inside the tolerance is yes, all outside no, and
anything between unclear. What is not a number makes a check unclear. Every check tells its slack:
how wrong the claim could be and still pass.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import xarray as xr
from scipy import stats

from companion.lab.fits import PowerLaw, spread
from companion.lab.results import Answer, Check, Outcome, Verdict
from companion.lab.words import listed, number

Samples = xr.DataArray | np.ndarray | Sequence[float] | float
# Standard errors beyond which two means are told apart: some tens of comparisons at once then
# mistake equal ones in less than one run of a hundred.
STANDARD_ERRORS = 4
# Of a one-sided bound on a probability.
CONFIDENCE = 0.95
# By which a mean of equal numbers may miss them, as a share.
_ROUNDING = 16 * np.finfo(float).eps


def anyway(check: Check) -> Check:
    """The check as one that does not rest on the hypothesis of its claim."""
    return replace(check, anyway=True)


def note(measured: str) -> Check:
    """What a reader of the verdict should know, and nothing is asked of."""
    return Check("yes", "", measured, kind="note")


def at_most(what: str, samples: Samples, bound: float = 1.0, form: str = ".3g") -> Check:
    """Whether every sample is at most `bound`.

    Args:
        what: is measured, in words.
        samples: of any shape; the largest of every seed are told.
        bound: a number.
        form: of the numbers.
    """
    return _one_sided(what, samples, bound, form, "most")


def at_least(what: str, samples: Samples, bound: float, form: str = ".3g") -> Check:
    """Whether every sample is at least `bound`; arguments as of `at_most`."""
    return _one_sided(what, samples, bound, form, "least")


def identity(what: str, gaps: Samples, rounding: float, why: str = "rounding") -> Check:
    """Whether the two sides of an identity are apart by rounding alone.

    Args:
        what: is compared, in words.
        gaps: distances of the two sides, of any shape.
        rounding: what they may be apart.
        why: where `rounding` comes from.
    """
    size = np.abs(_flat(gaps))
    tolerance = f"at most {number(rounding, '.0e')}, which is {why}"
    if size.size == 0:
        return Check("unclear", what, "nothing was compared", tolerance, kind="identity")
    largest, kept = float(size.max()), bool((size <= rounding).all())
    told = f"apart by at most {number(largest, '.1e', 'up')}"
    answer = _answer(size, kept, rounding)
    return Check(answer, what, told, tolerance, slack_factor(rounding, largest), kind="identity")


def true(what: str, flags: Samples, otherwise: str = "") -> Check:
    """Whether all of some statements are true.

    Args:
        what: they say.
        flags: of any shape, booleans; where one is NaN, nothing is known of it.
        otherwise: what is measured where one is not; without it, in how many cases it is not.
    """
    every, asked = _flat(flags), "true in every case"
    if every.size == 0 or np.isnan(every).any():
        return Check("unclear", what, f"not known in {_cases(np.isnan(every))}", asked, kind="fact")
    if every.all():
        return Check(
            "yes",
            what,
            f"true in all {every.size}" if every.size > 1 else "true",
            asked,
            kind="fact",
        )
    return Check("no", what, otherwise or f"not true in {_cases(every == 0)}", asked, kind="fact")


def falls(what: str, samples: xr.DataArray, along: str, form: str = ".3g") -> Check:
    """Whether a quantity falls from each size to the next, in every seed and otherwise too.

    Args:
        what: is measured.
        samples: with a dimension `along`, and `seed` if there are several.
        along: the dimension of the sizes, which are its coordinate, at least two of them.
        form: of the numbers.
    """
    tolerance = "falls from each to the next, in every seed"
    if samples.size == 0 or samples.sizes[along] < 2:
        return Check("unclear", what, "fewer than two sizes", tolerance, kind="trend")
    ordered = samples.sortby(along)
    first, last = (
        f"{spread(ordered.isel({along: end}), form)} at {float(ordered.indexes[along][end]):g}"
        for end in (0, -1)
    )
    steps = ordered.diff(along)
    least = -float(steps.max())
    answer = _answer(_flat(samples), bool((steps < 0).all()))
    slack = f"the least fall of all is {number(least, form)}" if answer == "yes" else ""
    return Check(answer, what, f"{first}, {last}", tolerance, slack, kind="trend")


def exponent_near(
    what: str, samples: xr.DataArray, exponent: float, within: float, along: str = "width"
) -> Check:
    """Whether a power law has a given exponent.

    Args:
        what: follows it, in words, such as `drift in m`.
        samples: positive, with a dimension `along` whose coordinate are the sizes; all others
            are samples of their own, each with a factor of its own.
        exponent: that is claimed.
        within: how far the whole confidence interval may be from it.
        along: the dimension of the sizes.
    """
    law = PowerLaw.through(samples, along)
    inside = exponent - within <= law.low and law.high <= exponent + within
    outside = law.high < exponent - within or law.low > exponent + within
    asked = f"{exponent:.3g} within {within:.2g}, with all of the interval"
    least, most = law.high - within, law.low + within
    would_pass = f"{least:.2f} to {most:.2f}" if least <= most else ""
    return _exponent(what, law, inside, outside, asked, would_pass)


def exponent_at_most(
    what: str, samples: xr.DataArray, exponent: float, within: float, along: str = "width"
) -> Check:
    """Whether a power law's exponent is at most a given one; arguments as of `exponent_near`."""
    law = PowerLaw.through(samples, along)
    most = exponent + within
    beyond = f", within {within:.2g}" if within else ""
    asked = f"at most {exponent:.3g}{beyond}, with all of the interval"
    return _exponent(
        what, law, law.high <= most, law.low > most, asked, f"{law.high - within:.2f} and more"
    )


def vanishes(what: str, samples: xr.DataArray, along: str, power: float, law: str) -> Check:
    """Whether a quantity goes on vanishing as sizes grow, or levels off.

    By the two largest sizes. What vanishes at least like size^-power falls between them by a factor
    that is known, what levels off keeps its value; half way between the two, on a logarithmic
    scale, is the edge. In every other dimension but `seed` each place is judged by itself, by the
    confidence interval of the mean over seeds: all below the edge is yes, one above it no.

    Args:
        what: is measured.
        samples: positive, with the dimensions `seed` and `along`.
        along: the dimension of the sizes, which are its coordinate, in increasing order.
        power: of the slowest law that counts as vanishing.
        law: that one in words, such as `sqrt(eta)`.
    """
    sizes = np.asarray(samples.indexes[along], dtype=float)[-2:]
    slowest = float(sizes[0] / sizes[-1]) ** power
    asked = (
        f"below {number(math.sqrt(slowest), '.2f')}, half way from the 1 of what levels "
        f"off to the {number(slowest, '.2f')} of {law}, with all of the interval"
    )
    last = samples.isel({along: slice(-2, None)}).transpose(along, "seed", ...).values
    seeds = samples.sizes["seed"]
    if len(sizes) < 2 or seeds < 3 or not ((last > 0) & np.isfinite(last)).all():
        return Check(
            "unclear", what, "too few sizes, seeds or positive numbers", asked, kind="limit"
        )
    logs = np.log(last[1] / last[0]).reshape(seeds, -1)
    error = logs.std(axis=0, ddof=1) / math.sqrt(seeds)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1)) * error
    mean, low, high = (np.exp(logs.mean(axis=0) + side * half) for side in (0, -1, 1))
    edge = math.sqrt(slowest)
    answer: Answer = "yes" if (high < edge).all() else "no" if (low > edge).any() else "unclear"
    told = listed(f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in zip(mean, low, high, strict=True))
    words = f"at the last size {told} times what it is at the size before"
    return Check(answer, what, words, asked, slack_factor(edge, float(high.max())), kind="limit")


def equal(what: str, means: Samples, errors: Samples, target: Samples, precision: float) -> Check:
    """Whether means are what they are claimed to be, as far as their statistical errors tell.

    No, if one is off by more than `STANDARD_ERRORS` of its own; unclear, if that many standard
    errors are not small enough for the answer to mean something.

    Args:
        what: is averaged.
        means: of any shape.
        errors: their standard errors, of the same shape.
        target: what they are claimed to be, none of them 0, of a shape that fits.
        precision: share of the target that `STANDARD_ERRORS` standard errors may make up.
    """
    tolerance = f"{STANDARD_ERRORS} standard errors, which may be {precision:.0%} of the value"
    mean, error, known = np.broadcast_arrays(*(_array(each) for each in (means, errors, target)))
    if mean.size == 0 or not np.isfinite([mean, error, known]).all() or (known == 0).any():
        return Check(
            "unclear", what, "not every mean and target is a number", tolerance, kind="mean"
        )
    # Samples that do not scatter still have been rounded.
    off = np.abs(mean - known) / np.maximum(error, _ROUNDING * np.abs(known))
    precise = bool((STANDARD_ERRORS * error <= precision * np.abs(known)).all())
    close = off.max() <= STANDARD_ERRORS
    blind = float(((np.abs(mean - known) + STANDARD_ERRORS * error) / np.abs(known)).max())
    return Check(
        "no" if not close else "yes" if precise else "unclear",
        what,
        f"off by at most {off.max():.1f} standard errors; measured over claimed "
        f"{float(np.mean(mean / known)):.3f} on average",
        tolerance,
        f"a value off by {number(blind, '.2%', 'up')} could pass" if close else "",
        kind="mean",
    )


def probability_at_least(what: str, good: Samples, least: float) -> Check:
    """Whether an event has at least a given probability, by a one-sided confidence bound.

    Args:
        what: the event.
        good: whether it was seen, a boolean a trial.
        least: the probability that is claimed.
    """
    trials = _flat(good)
    size = trials.size
    tolerance = f"a probability of at least {least:g}, with {CONFIDENCE:.0%} confidence"
    if size == 0 or np.isnan(trials).any():
        return Check(
            "unclear",
            what,
            f"not known in {_cases(np.isnan(trials))}",
            tolerance,
            kind="probability",
        )
    count = int(np.count_nonzero(trials))
    low = stats.binomtest(count, size, alternative="greater").proportion_ci(CONFIDENCE).low
    high = stats.binomtest(count, size, alternative="less").proportion_ci(CONFIDENCE).high
    answer: Answer = "yes" if low >= least else "no" if high < least else "unclear"
    slack = f"probabilities up to {number(low, '.2f', 'down')} would pass"
    told = f"in {count} of {size}"
    return Check(
        answer, what, told, tolerance, slack if answer == "yes" else "", kind="probability"
    )


def with_room(check: Check, told: str, room: str) -> Check:
    """A check of a probability that also tells how far its event is from its limit.

    Args:
        check: by `probability_at_least`.
        told: how far the event's quantity went.
        room: which factor it has left.
    """
    slack = f"{check.slack}; {room}" if check.slack else ""
    return replace(check, measured=f"{check.measured}; {told}", slack=slack)


def claim(
    claim: str,
    predicted: str,
    *checks: Check,
    holds: str,
    fails: str,
    outside: str = "",
    unclear: str = "",
) -> Verdict:
    """The verdict that some checks give a claim.

    All yes: the claim holds, or, with its hypothesis unmet, its conclusion was seen outside of its
    regime. Any no: it fails; but with its hypothesis unmet a conclusion that is not seen says
    nothing about the claim, unless the check stands anyway. Any other: inconclusive.

    Args:
        claim: id in `book/claims.csv`.
        predicted: what the statement says.
        *checks: at least one.
        holds: the sentence if all is seen; with `outside`, it goes on with that.
        fails: the sentence if not.
        outside: in which way the hypothesis is unmet, or nothing where it is met.
        unclear: the sentence if the measurement cannot tell; without it, which check could not.

    Raises:
        ValueError: no check, of which everything would follow.
    """
    if not checks:
        raise ValueError(f"the claim {claim} is given no check")

    def those(answer: Answer) -> list[Check]:
        return [check for check in checks if check.answer == answer]

    outcome: Outcome
    if [check for check in those("no") if check.anyway or not outside]:
        outcome, sentence = "fails", fails
    elif those("no"):
        outcome = "inconclusive"
        sentence = f"The conclusion was not seen, of which nothing follows: {outside}."
    elif doubtful := those("unclear"):
        outcome = "inconclusive"
        sentence = unclear or (
            f"The measurement cannot tell: {doubtful[0].what}, {doubtful[0].measured}."
        )
    elif outside:
        outcome, sentence = "outside-regime", f"{holds.rstrip('.')}, but {outside}."
    else:
        outcome, sentence = "holds", holds
    return Verdict(claim, outcome, predicted, sentence, checks)


def _one_sided(
    what: str, samples: Samples, bound: float, form: str, side: Literal["most", "least"]
) -> Check:
    every, tolerance = _array(samples), f"at {side} {number(bound, form)}"
    if every.size == 0:
        return Check("unclear", what, "nothing was measured", tolerance)
    if isinstance(samples, xr.DataArray) and "seed" in samples.dims:
        rest = [name for name in samples.dims if name != "seed"]
        reduce = samples.max if side == "most" else samples.min
        told = reduce(rest, skipna=False)
    else:
        told = every.max() if side == "most" else every.min()
    if side == "most":
        kept, slack = bool((every <= bound).all()), slack_factor(bound, float(every.max()))
    else:
        kept, slack = bool((every >= bound).all()), slack_factor(float(every.min()), bound)
    words = f"at {side} {_extreme(told, form, side)}"
    return Check(_answer(every, kept, bound), what, words, tolerance, slack)


def _extreme(told: xr.DataArray | np.ndarray, form: str, side: Literal["most", "least"]) -> str:
    """The extreme of all runs, rounded to the side on which it is true, and the seeds' mean."""
    values = np.asarray(told, dtype=float).ravel()
    if side == "most":
        extreme = number(values.max(), form, "up")
    else:
        extreme = number(values.min(), form, "down")
    if values.size == 1:
        return extreme
    return f"{extreme}, the worst of {values.size} seeds, {number(values.mean(), form)} on average"


def slack_factor(large: float, small: float) -> str:
    """By which factor a bound is kept to or missed; by how much where factors say nothing.

    Args:
        large: the bound of something that may be at most that, or what must reach a bound.
        small: the other one of both.
    """
    if not np.isfinite([large, small]).all():
        return ""
    if large > 0 and small > 0:
        factor = large / small
        if factor >= 1:
            return f"a factor {number(factor, '.3g', 'down')}"
        return f"missed by a factor {number(1 / factor, '.3g', 'up')}"
    if large >= small:
        return f"{number(large - small, '.2g', 'down')} in value"
    return f"missed by {number(small - large, '.2g', 'up')} in value"


def _exponent(
    what: str, law: PowerLaw, inside: bool, outside: bool, tolerance: str, would_pass: str
) -> Check:
    answer: Answer = "yes" if inside else "no" if outside else "unclear"
    told = f"{law.exponent:.3f} ({law.low:.3f} to {law.high:.3f})"
    known = bool(np.isfinite(law.error)) and law.sizes >= 3
    return Check(
        answer if known else "unclear",
        f"exponent of {what}",
        told if known else "not known, for want of sizes or positive numbers",
        tolerance,
        f"claimed exponents of {would_pass} would pass" if known and would_pass else "",
        kind="exponent",
    )


def _answer(samples: np.ndarray, kept: bool, bound: float = 0.0) -> Answer:
    if samples.size == 0 or np.isnan(samples).any() or np.isnan(bound):
        return "unclear"
    return "yes" if kept else "no"


def _cases(which: np.ndarray) -> str:
    return f"{which.sum()} of {which.size}" if which.size else "any case, as there is none"


def _array(samples: Samples) -> np.ndarray:
    return np.asarray(samples, dtype=float)


def _flat(samples: Samples) -> np.ndarray:
    return _array(samples).ravel()
