"""Results with something else written into them, to see that a judge can say no."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from companion.figures.words import SEEN
from companion.lab.experiment import Experiment
from companion.lab.results import Outcome, Result
from companion.lab.settings import Settings

Array = xr.DataArray | np.ndarray | float | Callable[[np.ndarray], np.ndarray]


def doctored(found: xr.Dataset, **arrays: Array) -> xr.Dataset:
    """`found` with some arrays replaced, each by one of its shape.

    An array is replaced by the one given, or by what the function given makes of a copy.
    """
    changed = {}
    for name, new in arrays.items():
        known = found[name]
        value = new(known.values.copy()) if callable(new) else new
        changed[name] = (known.dims, np.broadcast_to(value, known.shape).copy())
    return found.assign(changed)


def outcomes(
    experiment: Experiment, settings: Settings, found: xr.Dataset, **changes: Any
) -> dict[str, Outcome]:
    """Claim -> outcome of a doctored result, whose sentences must not be those of other outcomes.

    Args:
        experiment: the module.
        settings: of the run.
        found: by the run, before it is doctored.
        **changes: as `doctored` takes them.
    """
    before = {verdict.claim: verdict for verdict in experiment.judge(settings, found)}
    after = experiment.judge(settings, doctored(found, **changes))
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
