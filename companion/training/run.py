"""The state of a run, what it refuses, and when it ends."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from companion import matmul
from companion.base.arguments import (
    check_finite,
    check_type,
    described,
    finite,
    positive,
    tensor,
    whole,
)
from companion.base.interrupts import uninterrupted
from companion.draws import Batches
from companion.errors import InputError
from companion.losses import Loss, check_labels, loss_of
from companion.monitors import Log, Moment, mean_loss, training_error
from companion.networks import ReLUNetwork, check_inputs
from companion.training.history import Ending, History, recorded
from companion.training.optimisers import GRADIENT_DESCENT, Optimiser, Schedule

# The mean loss of a stable run never grows by this much; past it the run is called diverged.
DIVERGENCE_FACTOR = 1e6


@dataclass(frozen=True)
class Stop:
    """When a run ends before its budget of steps. Each look waits for the device once.

    Attributes:
        loss_below: end once the mean loss over all examples is below this.
        zero_error: end once y f > 0 for all examples.
        every: steps between looks, also for divergence, which always ends a run; without it every
            step for full batches, which have what it takes at hand, and once an epoch for SGD,
            where a look costs a pass over all examples.
        plateau: end once so many steps have not lowered the least mean loss seen by `fall`.
        fall: the share of it that counts as lower.

    Raises:
        InputError: a number that is none, is not finite, or is out of range.
    """

    loss_below: float | None = None
    zero_error: bool = False
    every: int | None = None
    plateau: int | None = None
    fall: float = 1e-3

    def __post_init__(self) -> None:
        if self.loss_below is not None:
            object.__setattr__(self, "loss_below", finite("loss_below", self.loss_below))
        for name in ("every", "plateau"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(name, getattr(self, name), least=1))
        object.__setattr__(self, "fall", finite("fall", self.fall))
        if not 0 <= self.fall < 1:
            raise InputError(f"fall is {self.fall}; it must lie in [0, 1).")

    def looks(self, step: float, count: int, batches: Batches | None) -> bool:
        """Whether to look after that many steps of a run on `count` examples."""
        epoch = 1 if batches is None else math.ceil(count / batches.size)
        return step % (self.every or epoch) == 0

    def ending(self, course: "Course", step: float, loss: float, error: float) -> Ending | None:
        """How a run of that mean loss and training error ends, or None.

        Args:
            course: what was seen at the looks before; it takes this one in.
            step: at which it is looked.
            loss: mean loss over all examples.
            error: share of them that are misclassified.
        """
        if math.isnan(course.start):
            course.start = loss
        if not loss <= max(course.start, 1e-12) * DIVERGENCE_FACTOR:  # nan is divergence too
            return "diverged"
        if self.loss_below is not None and loss < self.loss_below:
            return "loss"
        if self.zero_error and error == 0:
            return "zero-error"
        if loss < course.least * (1 - self.fall):
            course.least, course.lowered = loss, step
        if self.plateau is not None and step - course.lowered >= self.plateau:
            return "plateau"
        return None


@dataclass
class Course:
    """What the looks at a run have seen.

    Attributes:
        start: mean loss before the first step.
        least: mean loss, the least but for falls too small to count.
        lowered: the step at which it was seen.
    """

    start: float = math.nan
    least: float = math.inf
    lowered: float = 0


DIVERGENCE_ONLY = Stop()


@dataclass(frozen=True)
class Descent:
    """How a run descends.

    Attributes:
        step_size: eta, or one for every member of a fleet.
        batches: of SGD, one for all members of a fleet or one for each; none for full batches.
        optimiser: what a step does with the gradient.
        schedule: the factor of the step size at every step, or None.
    """

    step_size: float | tuple[float, ...]
    batches: tuple[Batches, ...] = ()
    optimiser: Optimiser = GRADIENT_DESCENT
    schedule: Schedule | None = None

    def factor(self, step: int) -> float:
        """Of the step size at that step."""
        return 1.0 if self.schedule is None else float(self.schedule(step))

    def rows(self, step: int, count: int, device: torch.device) -> Tensor:
        """Indices of the step's examples, shape (B,), or (F, B) where members differ."""
        chosen = [batches.rows(step, count) for batches in self.batches]
        rows = chosen[0] if len(chosen) == 1 else torch.stack(chosen)
        if device.type == "cuda":  # so that the copy does not wait for the device
            rows = rows.pin_memory()
        return rows.to(device, non_blocking=True)


def check_descent(
    step_size: float,
    batches: Batches | None = None,
    optimiser: Optimiser = GRADIENT_DESCENT,
    schedule: Schedule | None = None,
) -> Descent:
    """How a run descends, of arguments as `train` takes them.

    Raises:
        InputError: one of another type, or out of range.
    """
    if batches is not None:
        size = batches if isinstance(batches, int) else 32
        check_type("batches", batches, Batches, f"Batches(size={size})")
    check_type("optimiser", optimiser, Optimiser, "an optimiser, such as Adam()")
    if schedule is not None:
        if not callable(schedule):
            raise InputError(
                f"schedule is {described(schedule)}; give a function of the step, such as "
                "Cosine(1000)."
            )
        positive("the schedule's factor at step 0", schedule(0))
    own = () if batches is None else (batches,)
    return Descent(positive("step_size", step_size), own, optimiser, schedule)


def check_budget(steps: int, stop: Stop | None, descent: Descent, count: int) -> int:
    """The steps as Python's number.

    Raises:
        InputError: steps, a stop or batches that do not fit a run on `count` examples.
    """
    steps = whole("steps", steps, least=0)
    for batches in descent.batches:
        batches.check(count, steps)
    check_stop(stop)
    return steps


def check_stop(stop: Stop | None) -> None:
    """Raise `InputError` for what is neither a `Stop` nor None."""
    if stop is not None:
        check_type("stop", stop, Stop, "Stop(...) or None")


Data = tuple[Tensor, Tensor, Loss]


def check_data(network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss | str) -> Data:
    """Inputs, labels and the loss, as tensors and a `Loss`.

    Args:
        network: that is to be trained.
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), likewise.
        loss: or its name.

    Raises:
        InputError: they do not fit each other.
    """
    x, loss = check_inputs(network, x), loss_of(loss)
    y = tensor("y", y, x)
    check_finite("input", x)
    if y.shape != x.shape[:1] or y.dtype != x.dtype:
        raise InputError(
            f"labels have shape {tuple(y.shape)}, {y.dtype}; ({len(x)},), {x.dtype} is needed."
        )
    check_finite("label", y)
    if loss.of_margin:
        check_labels(y)
    return x.detach(), y.detach(), loss


@dataclass
class Run:
    """The state of a run: of one network, or of a fleet's members of one shape as a `Stack`.

    Attributes:
        initial: before the first step; it is not changed.
        x: inputs, shape (n, d), or (F, n, d) where members have their own.
        y: labels, shape (n,) or (F, n).
        loss: of one example.
        log: what was recorded so far.
        descent: how it descends; None for a flow.
        step: steps made, or the time of a flow.
        courses: what the looks have seen, of every member.
        memories: of the monitors, by their names.
        product: by which matrices are multiplied.
    """

    initial: ReLUNetwork
    x: Tensor
    y: Tensor
    loss: Loss
    log: Log
    descent: Descent | None = None
    step: float = 0
    courses: list[Course] = field(default_factory=lambda: [Course()])
    memories: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    product: str = field(init=False)

    def __post_init__(self) -> None:
        self.product = matmul.chosen_product(self.x.device)
        # One for the whole run, as steps change its tensors in place.
        self.network = self.initial.moved([p.clone() for p in self.initial.parameters])
        copies = 0 if self.descent is None else self.descent.optimiser.copies
        self.kept = [[torch.zeros_like(p) for _ in range(copies)] for p in self.parameters]
        size = None if self.descent is None else self.descent.step_size
        self.size = self.y.new_tensor(size) if isinstance(size, tuple) else size
        # The layout in which no product of a step copies a large factor.
        self.by_columns = self.x.mT.contiguous().mT

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The trained tensors as they are."""
        return self.network.parameters

    def moment(self, last: bool = False) -> Moment:
        """The network as it is, for the monitors that are due; for all of them at the last."""
        watchers = self.log.watchers(self.step, last)
        return Moment(
            self.network, self.initial, self.by_columns, self.y, self.loss, self.step,
            self.memories, watchers,
        )  # fmt: skip

    def endings(
        self, moment: Moment, stop: Stop | None, most: float, count: int | None = None
    ) -> list[Ending | None]:
        """How the run of every member ends here, or None.

        Args:
            moment: now.
            stop: when to end before that.
            most: steps, or the last time.
            count: of steps, where `step` is a time.
        """
        budget: Ending | None = "budget" if self.step >= most else None
        at = int(self.step) if count is None else count
        batches = self.descent.batches[0] if self.descent and self.descent.batches else None
        if stop is None or not stop.looks(at, self.y.shape[-1], batches):
            return [budget] * len(self.courses)
        seen = torch.stack([mean_loss(moment).double(), training_error(moment).double()])
        # Both in one journey from the device.
        looked = zip(self.courses, *seen.reshape(2, -1).tolist(), strict=True)
        return [stop.ending(course, at, *each) or budget for course, *each in looked]

    def moments(self) -> Iterator[Moment]:
        """The moment now, after one step more, and so on; each is over when the next begins."""
        while True:
            moment = self.moment()
            yield moment
            with torch.no_grad():
                self.descend(moment)

    def descend(self, moment: Moment) -> None:
        """One step, in place."""
        descent, step = self.descent, int(self.step)
        if descent is None or self.size is None:
            raise TypeError("a flow makes no steps")
        if descent.batches:
            x, y = self._batch(descent.rows(step, self.y.shape[-1], self.x.device))
            moment = replace(moment, x=x, y=y, watchers={})
        gradients, size = moment.gradients, descent.factor(step) * self.size
        with uninterrupted():
            for parameter, gradient, kept in zip(
                self.parameters, gradients, self.kept, strict=True
            ):
                descent.optimiser.step(parameter, gradient, kept, size, step)
            self.step += 1

    def history(self, ending: Ending = "interrupted") -> History:
        """What was recorded, and the network as it is; its tensors go on changing."""
        return recorded(self.log, self.network, self.step, ending)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that it takes to go on from here: what fits JSON, and tensors by name."""
        log, values = self.log.state()
        memory = [(name, key) for name, kept in self.memories.items() for key in kept]
        told = {
            "step": self.step, "courses": [vars(course) for course in self.courses],
            "product": self.product, "log": log, "memory": memory,
        }  # fmt: skip
        tensors = {f"parameter/{k}": tensor for k, tensor in enumerate(self.parameters)}
        for k, own in enumerate(self.kept):
            tensors |= {f"kept/{k}/{c}": tensor for c, tensor in enumerate(own)}
        tensors |= {f"memory/{k}": self.memories[name][key] for k, (name, key) in enumerate(memory)}
        return told, tensors | below("value", values)

    def restore(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        here = {name: tensor.to(self.x.device) for name, tensor in tensors.items()}
        self.step, self.product = told["step"], told["product"]
        self.courses = [Course(**course) for course in told["courses"]]
        parameters = [here[f"parameter/{k}"] for k in range(len(self.parameters))]
        self.network = self.initial.moved(parameters)
        self.kept = [
            [here[f"kept/{k}/{c}"] for c in range(len(own))] for k, own in enumerate(self.kept)
        ]
        self.memories.clear()
        for k, (name, key) in enumerate(told["memory"]):
            self.memories.setdefault(name, {})[key] = here[f"memory/{k}"]
        self.log.restore(told["log"], within("value", here))

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Those examples, shapes (B, d) and (B,), or (F, B, d) and (F, B) where members differ."""
        if self.y.dim() == 1:
            return self.x[rows], self.y[rows]
        members = torch.arange(len(self.y), device=self.y.device)[:, None]
        return self.x[members, rows], self.y[members, rows]


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A part's tensors, named within those of the whole."""
    return {f"{name}/{key}": tensor for key, tensor in tensors.items()}


def within(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `below` has put there."""
    start = f"{name}/"
    return {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
