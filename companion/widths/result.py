"""What a search for the minimal width has found, and how it is told."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from companion.widths.curve import fit
from companion.widths.rounds import Outcome, plausible, tally

Found = Literal["found", "too narrow throughout", "wide enough throughout", "undecided"]


@dataclass(frozen=True)
class Row:
    """The runs of one width.

    Attributes:
        width: m.
        runs: made.
        successes: among them.
        diverged: among them: where there are any, a failure may be that of the step size.
        median_steps: to success, of those that succeeded; NaN if none did.
    """

    width: int
    runs: int
    successes: int
    diverged: int
    median_steps: float


@dataclass(frozen=True)
class MinimalWidth:
    """The width at which half of all initialisations succeed within a budget, or why there is none.

    Attributes:
        outcome: `found`; `too narrow throughout` where the fitted curve, or its interval, lies
            above the largest width allowed, `wide enough throughout` where it lies below the
            smallest; `undecided` where the interval reaches out of the allowed widths or the share
            of successes does not rise.
        width: the median of the fitted curve, between two whole widths as a rule; None unless
            found.
        interval: that holds it with probability `confidence`.
        confidence: of the interval.
        slope: of the log odds of success in log m; infinite for a step between two widths, NaN
            where all runs ended alike.
        allowed: the smallest and the largest width that the search could try.
        table: of all runs, by width.
        budget: within which they had to succeed, in words.
    """

    outcome: Found
    width: float | None
    interval: tuple[float, float]
    confidence: float
    slope: float
    allowed: tuple[int, int]
    table: tuple[Row, ...]
    budget: str

    def __str__(self) -> str:
        return f"{self._sentence()}\nBudget: {self.budget}.\n{self._rows()}"

    def _sentence(self) -> str:
        low, high = self.interval
        least, most = self.allowed
        runs = sum(row.runs for row in self.table)
        within = f"{self.confidence:.0%} interval {low:.3g} to {high:.3g}, {runs} runs"
        if self.outcome == "found":
            return f"Minimal width {self.width:.3g} ({within})."
        reason = {
            "too narrow throughout": f"the share of successes does not reach one half by width "
            f"{most}; allow wider networks or a larger budget",
            "wide enough throughout": f"it is above one half from width {least} on; allow narrower "
            "networks or a smaller budget",
            "undecided": f"the runs leave it open within widths {least} to {most}; make more runs "
            "or allow other widths",
        }[self.outcome]
        return f"No minimal width, {self.outcome}: {reason} ({within})."

    def _rows(self) -> str:
        lines = ["width  runs  successes  diverged  median steps to success"]
        for row in self.table:
            steps = "-" if math.isnan(row.median_steps) else f"{row.median_steps:g}"
            lines.append(
                f"{row.width:5d}  {row.runs:4d}  {row.successes:9d}  {row.diverged:8d}  {steps}"
            )
        return "\n".join(lines)


def concluded(
    outcomes: Sequence[Outcome], ladder: Sequence[int], confidence: float, budget: str
) -> MinimalWidth:
    """What the runs of a search tell.

    Args:
        outcomes: of all runs.
        ladder: the allowed widths, increasing.
        confidence: of the interval.
        budget: in words.
    """
    curve = fit(tally(outcomes))
    interval = plausible(outcomes, ladder).interval(confidence)
    outcome = _outcome(curve.median, interval, ladder)
    width = curve.median if outcome == "found" else None
    table = tuple(_row(width, outcomes) for width in sorted({each.width for each in outcomes}))
    allowed = (ladder[0], ladder[-1])
    return MinimalWidth(outcome, width, interval, confidence, curve.slope, allowed, table, budget)


def _outcome(median: float, interval: tuple[float, float], ladder: Sequence[int]) -> Found:
    (low, high), least, most = interval, ladder[0], ladder[-1]
    if median > most or low > most:
        return "too narrow throughout"
    if median < least or high < least:
        return "wide enough throughout"
    # NaN, of a curve that does not rise, is not between.
    return "found" if least <= low <= median <= high <= most else "undecided"


def _row(width: int, outcomes: Sequence[Outcome]) -> Row:
    own = [outcome for outcome in outcomes if outcome.width == width]
    steps = [outcome.steps for outcome in own if outcome.success]
    diverged = sum(outcome.ending == "diverged" for outcome in own)
    return Row(
        width, len(own), len(steps), diverged, statistics.median(steps) if steps else math.nan
    )
