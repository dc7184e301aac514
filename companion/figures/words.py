"""Words of captions and alt texts: what they assert comes from the verdicts."""

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike

from companion.lab.results import Result

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


def ends(values: ArrayLike, form: str = ".2g") -> str:
    """Where a curve goes: `from 0.5 to 0.01`."""
    curve = np.asarray(values)
    return f"from {curve[0]:{form}} to {curve[-1]:{form}}"
