"""What a run may spend to succeed: without it, a minimal width means nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from companion.base.arguments import check_type
from companion.draws import Batches, independent_seed
from companion.errors import InputError
from companion.losses import Loss
from companion.training import Optimiser, Schedule, Stop
from companion.training.run import check_budget, check_descent

StepSize = float | Callable[[int], float]


@dataclass(frozen=True)
class Budget:
    """How every run of a search is trained, and when it has succeeded.

    Attributes:
        count: n, of a run's examples.
        total: of all examples.
        loss: of one example.
        step_size: eta, or a function of the width.
        steps: at most.
        optimiser: that makes them.
        schedule: of the step size, or None.
        batches: of SGD, or None.
        stop: `zero_error` and `loss_below` are successes.
    """

    count: int
    total: int
    loss: Loss
    step_size: StepSize
    steps: int
    optimiser: Optimiser
    schedule: Schedule | None
    batches: Batches | None
    stop: Stop

    def at(self, width: int) -> float:
        """The step size at that width."""
        return self.step_size(width) if callable(self.step_size) else self.step_size

    def batches_of(self, seeds: Sequence[int]) -> list[Batches] | None:
        """The batches of runs with those seeds, drawn for each alone; None for full batches."""
        batches = self.batches
        if batches is None:
            return None
        return [replace(batches, seed=independent_seed(batches.seed, seed)) for seed in seeds]

    def check(self, width: int) -> None:
        """Refuse what a run at that width could not be trained with.

        Raises:
            InputError: as of `train`, or a stop that asks for no success.
        """
        check_type("stop", self.stop, Stop, "Stop(zero_error=True)")
        if not self.stop.zero_error and self.stop.loss_below is None:
            raise InputError(
                "stop asks for no success; give Stop(zero_error=True), or a loss_below."
            )
        descent = check_descent(self.at(width), self.batches, self.optimiser, self.schedule)
        check_budget(self.steps, self.stop, descent, self.count)

    def __str__(self) -> str:
        parts = [
            f"{self._success()} within {self.steps} steps",
            f"{self.optimiser!r} at {self._sizes()}",
            self._batches(),
            f"{self.loss.name} loss on {self._examples()}",
        ]
        return ", ".join(parts)

    def _batches(self) -> str:
        batches = self.batches
        return "full batches" if batches is None else f"batches of {batches.size} ({batches.order})"

    def _examples(self) -> str:
        some = f"{self.count} of {self.total} examples, drawn for every run"
        return f"{self.total} examples" if self.count == self.total else some

    def _success(self) -> str:
        stop = self.stop
        goals = ["zero training error"] if stop.zero_error else []
        goals += [] if stop.loss_below is None else [f"mean loss below {stop.loss_below:g}"]
        often = "every step" if self.batches is None else "every epoch"
        looked = often if stop.every is None else f"every {stop.every} steps"
        looked += "" if stop.plateau is None else f", given up after {stop.plateau} without a fall"
        return f"{' or '.join(goals)} (looked for {looked})"

    def _sizes(self) -> str:
        size = self.step_size
        told = f"step size {_told(size)}" + (" of the width" if callable(size) else "")
        return told if self.schedule is None else f"{told} times {_told(self.schedule)}"


def _told(value: object) -> str:
    """A function by its name, as its place in memory says nothing; all else as it is."""
    return getattr(value, "__name__", None) or repr(value)
