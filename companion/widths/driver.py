"""The search for the minimal width of a data set, run by run in fleets."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from companion.base.arguments import check_type, real, whole
from companion.draws import Batches, cpu_generator, independent_seed
from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import Loss, check_labels
from companion.networks import ReLUNetwork, check_network
from companion.training import GRADIENT_DESCENT, Checkpoint, Optimiser, Schedule, Stop
from companion.training.run import check_data
from companion.widths.budget import Budget, StepSize
from companion.widths.record import Record
from companion.widths.result import MinimalWidth, concluded
from companion.widths.rounds import Outcome, Round, Trial, search

Draw = Callable[[int, int], ReLUNetwork]

ZERO_ERROR = Stop(zero_error=True)


def minimal_width(
    x: Tensor,
    y: Tensor,
    *,
    draw: Draw,
    widths: Iterable[int],
    step_size: StepSize,
    steps: int,
    loss: Loss | str = "cross-entropy",
    optimiser: Optimiser = GRADIENT_DESCENT,
    schedule: Schedule | None = None,
    batches: Batches | None = None,
    subset_size: int | None = None,
    stop: Stop = ZERO_ERROR,
    runs: int = 80,
    at_once: int = 20,
    seed: int = 0,
    confidence: float = 0.95,
    folder: str | os.PathLike[str] | None = None,
    memory_budget: float | None = None,
    progress: bool = False,
) -> MinimalWidth:
    """The width at which half of all initialisations reach zero training error within a budget.

    Optimiser, step size, steps and batches decide the number as much as the data do: it means
    nothing without them, and the result tells them. Chen et al. (2021), Figure 1, plots such widths
    without.

    Shares of successes over few initialisations do not rise evenly with the width, so there is no
    bisection. A curve that is logistic in log m is fitted to all runs by maximum likelihood. Its
    median is the answer, with the interval of its profile likelihood. Rounds of `at_once` runs,
    each a fleet, are made at widths where the median may lie after the rounds before. No run shares
    its draws with another one.

    Args:
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels -1 and +1, shape (n,), likewise.
        draw: width and seed -> the network at initialisation.
        widths: that are allowed, increasing, e.g. range(4, 65) or [8, 16, 32].
        step_size: eta, or a function of the width.
        steps: of a run at most; one that has not succeeded by then has failed.
        loss: of one example, or its name.
        optimiser: as in `train`.
        schedule: as in `train`.
        batches: of SGD, with a seed of its own for every run; None for full batches.
        subset_size: of a random part of the data, drawn for every run; without it all have all. A
            curve of minimal widths against n is a loop over it.
        stop: what success is, `zero_error`, a `loss_below` or whichever comes first; how often to
            look for it; and when to give up before the budget is spent.
        runs: of the whole search at most, a multiple of `at_once`. It ends early where the median
            surely lies beyond the allowed widths.
        at_once: runs of a round.
        seed: of all draws.
        confidence: of the interval.
        folder: where finished rounds and the one under way are kept. A search that finds itself
            there goes on, equal bit for bit; with more runs it continues a finished one.
        memory_budget: bytes for training, see `train_fleet`, whose memory is that of this function.
        progress: show a bar for each round.

    Returns:
        The width and its interval, or in `outcome` why there is none; print it for all runs.

    Raises:
        InputError: as `train_fleet`; labels of one kind; fewer than two widths; runs that are no
            multiple of `at_once`; a stop without success, or one that first looks for it after the
            budget; networks that do not depend on the seed; a folder that holds another search.

    Example:
        >>> data = random_labels(sphere(count=24, dimension=4, seed=0), seed=0)
        >>> found = minimal_width(
        ...     data.x.float(), data.y.float(), widths=range(2, 33), step_size=0.02, steps=200,
        ...     draw=lambda width, seed: draw_chen(width, dimension=4, seed=seed, depth=2),
        ...     optimiser=Adam(), runs=48, at_once=16,
        ... )
        >>> found.outcome, found.interval[0] < found.width < found.interval[1]
        ('found', True)
    """
    ladder = _ladder(widths)
    first = _checked_draw(draw, ladder[0], whole("seed", seed))
    x, y, loss = check_data(first, x, y, loss)
    _check_both_classes(y)
    check_data(_checked_draw(draw, ladder[-1], seed), x, y, loss)
    count = len(y) if subset_size is None else _subset_size(subset_size, len(y))
    steps = whole("steps", steps, least=1)
    budget = Budget(count, len(y), loss, step_size, steps, optimiser, schedule, batches, stop)
    for width in ladder:
        budget.check(width)
    runs, at_once = _checked_runs(runs, at_once)
    confidence = _checked_confidence(confidence)
    fleets = _Fleets(x, y, draw, budget, seed, memory_budget, progress)
    make: Round = fleets.make
    if folder is not None:
        check_type("folder", folder, str | os.PathLike, "the path of a folder")
        deciding = {**fleets.deciding(), "widths": ladder, "runs at once": at_once}
        make = Record(Path(folder), deciding, fleets.make, x.device).make
    outcomes = search(ladder, runs, at_once, confidence, make)
    return concluded(outcomes, ladder, confidence, str(budget))


@dataclass(frozen=True)
class _Fleets:
    """Makes rounds of runs."""

    x: Tensor
    y: Tensor
    draw: Draw
    budget: Budget
    seed: int
    memory_budget: float | None
    progress: bool

    def deciding(self) -> dict[str, object]:
        """What decides every round, part by part."""
        return {
            "inputs": self.x, "labels": self.y, "draw": self.draw, "budget": vars(self.budget),
            "seed": self.seed, "memory budget": self.memory_budget,
        }  # fmt: skip

    def make(
        self, number: int, trials: Sequence[Trial], checkpoint: Checkpoint | None = None
    ) -> list[Outcome]:
        """One round."""
        budget = self.budget
        seeds = [independent_seed(self.seed, each.width, each.number) for each in trials]
        histories = train_fleet(
            [self.draw(each.width, seed) for each, seed in zip(trials, seeds, strict=True)],
            self.x,
            self.y,
            loss=budget.loss,
            step_size=[budget.at(each.width) for each in trials],
            steps=budget.steps,
            batches=budget.batches_of(seeds),
            subsets=self._subsets(seeds),
            optimiser=budget.optimiser,
            schedule=budget.schedule,
            stop=budget.stop,
            checkpoint=checkpoint,
            memory_budget=self.memory_budget,
            progress=self.progress,
        )
        return [
            Outcome(trial.width, history.ending, int(history.steps))
            for trial, history in zip(trials, histories, strict=True)
        ]

    def _subsets(self, seeds: Sequence[int]) -> list[Tensor] | None:
        """The examples of each run, or None where all have all."""
        count, total = self.budget.count, self.budget.total
        if count == total:
            return None
        generators = (cpu_generator("subset", seed) for seed in seeds)
        return [torch.randperm(total, generator=each)[:count] for each in generators]


def _ladder(widths: Iterable[int]) -> list[int]:
    """The allowed widths."""
    if not isinstance(widths, Iterable) or not getattr(widths, "ndim", True):
        raise InputError(f"widths is {widths!r}; give all that are allowed, such as range(4, 65).")
    ladder = [whole("a width", width, least=1) for width in widths]
    if len(ladder) < 2 or any(b <= a for a, b in pairwise(ladder)):
        raise InputError(
            f"widths are {ladder}; give at least two of them in increasing order, such as "
            "range(4, 65)."
        )
    return ladder


def _checked_draw(draw: Draw, width: int, seed: int) -> ReLUNetwork:
    """A network of that width, as no run uses it."""
    if not callable(draw):
        raise InputError(
            "draw is no function; give one of width and seed, such as "
            "lambda width, seed: draw_chen(width, 10, seed, depth=4)."
        )
    one, other = (draw(width, independent_seed(seed, width, -k)) for k in (1, 2))
    for network in (one, other):
        check_network(network)
    if all(torch.equal(a, b) for a, b in zip(one.parameters, other.parameters, strict=True)):
        raise InputError(
            f"draw gives the same network of width {width} for two seeds; it must use its seed."
        )
    return one


def _check_both_classes(y: Tensor) -> None:
    check_labels(y)
    if bool((y == y[0]).all()):
        raise InputError(f"all labels are {float(y[0]):+g}; both -1 and +1 are needed.")


def _subset_size(size: int, count: int) -> int:
    size = whole("subset_size", size, least=1)
    if size > count:
        raise InputError(f"subset_size is {size}; there are {count} examples.")
    return size


def _checked_runs(runs: int, at_once: int) -> tuple[int, int]:
    at_once, runs = whole("at_once", at_once, least=1), whole("runs", runs, least=1)
    if runs % at_once:
        raise InputError(
            f"runs is {runs}; with at_once {at_once} it must be a multiple of that, such as "
            f"{(runs // at_once + 1) * at_once}."
        )
    return runs, at_once


def _checked_confidence(confidence: float) -> float:
    confidence = real("confidence", confidence)
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must lie in (0, 1), such as 0.95.")
    return confidence
