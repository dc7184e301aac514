"""Words of captions and alt texts: what they assert comes from the verdicts."""

import math
from collections.abc import Collection, Iterable, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from companion.lab.results import Result
from companion.lab.words import Side, listed, number

# Outcomes that say that a claim's conclusion was seen.
SEEN = ("holds", "outside-regime")


def said(result: Result, sentence: str, *claims: str, outcomes: Collection[str] = SEEN) -> str:
    """A sentence that asserts an outcome, if the verdicts bear it out.

    Args:
        result: judged.
        sentence: what to say if the verdict on every claim is among `outcomes`.
        *claims: ids of the claims that the sentence rests on.
        outcomes: which bear it out.

    Returns:
        `sentence`, or else the sentence of the first verdict that does not bear it out.

    Raises:
        KeyError: the result says nothing about a claim.
    """
    for claim in claims:
        verdict = result.verdict(claim)
        if verdict.outcome not in outcomes:
            return verdict.sentence
    return sentence


def spoken(value: Any, digits: int = 2, rounded: Side = "") -> str:
    """A number for who hears it: in digits, or as digits times a power of 10.

    Args:
        value: a number of any kind.
        digits: how many of it count.
        rounded: as for `companion.lab.words.number`.

    Examples:
        >>> spoken(0.0123), spoken(347.8), spoken(2.11e27, rounded="up")
        ('0.012', '348', '2.2 times 10 to the power 27')
    """
    power = math.floor(math.log10(abs(value))) if value else 0
    plain = f",.{max(0, digits - 1 - power)}f"
    told = number(value, plain if -4 <= power < 6 else f".{digits - 1}e", rounded)
    told = told.replace(r"\times", " times ").replace("10^", "10 to the power ")
    return told.translate(str.maketrans("", "", "${}"))


def ends(values: ArrayLike, digits: int = 2) -> str:
    """Where a curve goes, for who hears it: `from 0.50 to 0.012`."""
    curve = np.asarray(values)
    return f"from {spoken(curve[0], digits)} to {spoken(curve[-1], digits)}"


def powers(values: Iterable[Any]) -> str:
    """The powers of the width m with these exponents, as mathematics in a sentence."""
    return listed(f"$m^{{{value:.2f}}}$" for value in values)


def over_seeds(samples: Sized, middle: str = "mean") -> str:
    """What a curve and its band are: `mean and range over 5 seeds`."""
    return f"{middle} and range over {len(samples)} seeds" if len(samples) > 1 else "one seed"
