"""The rounds of a search: at which widths runs are made next, and when enough are made."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from companion.training import Ending
from companion.widths.curve import Plausible, Tally


@dataclass(frozen=True)
class Trial:
    """A run that is to be made.

    Attributes:
        width: m.
        number: how many runs of that width are before it in the search.
    """

    width: int
    number: int


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes:
        width: m.
        ending: of its history.
        steps: that it made.
    """

    width: int
    ending: Ending
    steps: int

    @property
    def success(self) -> bool:
        """Whether it has reached what was asked of it, and not only its budget."""
        return self.ending in ("zero-error", "loss")


def tally(outcomes: Sequence[Outcome]) -> Tally:
    """Runs and successes by width, in increasing order."""
    runs = Counter(outcome.width for outcome in outcomes)
    won = Counter(outcome.width for outcome in outcomes if outcome.success)
    widths = sorted(runs)
    rows = [[runs[m] for m in widths], [won[m] for m in widths]]
    return Tally(np.array(widths, dtype=float), *(np.array(row, dtype=float) for row in rows))


def plausible(outcomes: Sequence[Outcome], ladder: Sequence[int]) -> Plausible:
    """What the runs tell about the median."""
    return Plausible(tally(outcomes), ladder[0], ladder[-1])


def next_trials(ladder: Sequence[int], outcomes: Sequence[Outcome], count: int) -> list[Trial]:
    """The runs of the next round: where the median may lie, as it may.

    A run tells the most about the median where it succeeds in half of all cases. So runs are made
    at evenly spaced quantiles of what is known of the median: a coarse ladder at first, and in the
    end its neighbours. They share few widths, as a fleet is the faster the more of its members have
    one shape; simulations found intervals of the same length with as many widths as runs.

    Args:
        ladder: the allowed widths, increasing.
        outcomes: of the runs so far.
        count: of runs.
    """
    places = min(count, max(3, math.isqrt(count)))
    shares = (np.arange(places) + 0.5) / places
    wanted = np.log(plausible(outcomes, ladder).quantiles(shares))
    nearest = np.abs(np.log(ladder) - wanted[:, None]).argmin(axis=1)
    made = Counter(outcome.width for outcome in outcomes)
    trials = []
    for place in np.sort(np.resize(nearest, count)):
        width = ladder[place]
        trials.append(Trial(width, made[width]))
        made[width] += 1
    return trials


Round = Callable[[int, list[Trial]], list[Outcome]]


def search(
    ladder: Sequence[int], runs: int, at_once: int, confidence: float, make: Round
) -> list[Outcome]:
    """Rounds until the runs are spent, or the median surely lies beyond the allowed widths.

    Args:
        ladder: the allowed widths, increasing.
        runs: at most, a multiple of `at_once`.
        at_once: of a round.
        confidence: of the interval.
        make: the rounds: their numbers, from 0, and what is to be run, to how it went.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < runs:
        trials = next_trials(ladder, outcomes, at_once)
        outcomes += make(len(outcomes) // at_once, trials)
        low, high = plausible(outcomes, ladder).interval(confidence)
        if low > ladder[-1] or high < ladder[0]:
            break
    return outcomes
