"""Controls: lies about a result, and whether its judge sees them.

A verdict is worth what could have refuted it. Every experiment declares a lie for each of its
claims; whenever the result is judged, the doctored one is judged too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr

from companion.lab.results import Control, Verdict


@dataclass(frozen=True)
class Lie:
    """What is written into a result to see that a judge answers otherwise.

    Attributes:
        words: e.g. "every distance is twice as large".
        told: the doctored result, from the settings and the true one, which it leaves as it is.
    """

    words: str
    told: Callable[[Any, xr.Dataset], xr.Dataset]


def with_controls(
    verdicts: Sequence[Verdict],
    lies: Mapping[str, Lie],
    settings: Any,
    found: xr.Dataset,
    judge: Callable[[Any, xr.Dataset], Sequence[Verdict]],
) -> list[Verdict]:
    """The verdicts, each with what becomes of it if its lie is told.

    Args:
        verdicts: on the true result.
        lies: claim -> lie.
        settings: of the run.
        found: by the run.
        judge: of the experiment.
    """

    def outcome(claim: str) -> Control:
        lie = lies[claim]
        (answer,) = (v for v in judge(settings, lie.told(settings, found)) if v.claim == claim)
        return Control(lie.words, answer.outcome)

    return [replace(verdict, control=outcome(verdict.claim)) for verdict in verdicts]


def unseen(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those whose lie the judge did not see: with it, it says the same."""
    return [v for v in verdicts if v.control and v.control.outcome == v.outcome]
