"""Results with something else written into them, to see that a judge can say no."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from companion.figures.words import SEEN
from companion.lab.results import Outcome, Result, Verdict

Judge = Callable[[Result], list[Verdict]]
Array = np.ndarray | Callable[[np.ndarray], np.ndarray]


def doctored(
    result: Result,
    *,
    settings: Mapping[str, object] | None = None,
    values: Mapping[str, float] | None = None,
    **arrays: Array,
) -> Result:
    """`result` with some settings, values and arrays replaced.

    An array is replaced by the one given, or by what the function given makes of a copy.
    """
    changed = {
        name: new(result.arrays[name].copy()) if callable(new) else new
        for name, new in arrays.items()
    }
    return dataclasses.replace(
        result,
        settings={**result.settings, **(settings or {})},
        values={**result.values, **(values or {})},
        arrays={**result.arrays, **changed},
    )


def outcomes(judge: Judge, result: Result, **changes: Any) -> dict[str, Outcome]:
    """Claim -> outcome of a doctored result, whose sentences must not be those of other outcomes.

    Args:
        judge: of the experiment.
        result: before it is doctored.
        **changes: as `doctored` takes them.
    """
    before = {verdict.claim: verdict for verdict in judge(result)}
    after = judge(doctored(result, **changes))
    for verdict in after:
        known = before[verdict.claim]
        assert verdict.outcome == known.outcome or verdict.sentence != known.sentence
    return {verdict.claim: verdict.outcome for verdict in after}


def contradicted(result: Result, claim: str) -> Result:
    """`result` with the other verdict on one claim: `fails` where it was seen, else `holds`."""
    verdicts = []
    for verdict in result.verdicts:
        if verdict.claim == claim:
            outcome: Outcome = "fails" if verdict.outcome in SEEN else "holds"
            sentence = f"{claim} is doctored."
            verdict = dataclasses.replace(verdict, outcome=outcome, sentence=sentence)
        verdicts.append(verdict)
    return dataclasses.replace(result, verdicts=tuple(verdicts))
