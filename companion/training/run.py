"""The state of a run, what it refuses, and when it ends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from companion import matmul
from companion.base.arguments import check_finite, check_tensors, check_type, positive, real, whole
from companion.draws import Batches
from companion.errors import InputError
from companion.losses import LOSSES, Loss, check_labels
from companion.monitors import Log, Moment, Record, mean_loss, training_error
from companion.networks import ReLUNetwork, check_inputs
from companion.training.history import Ending

# The mean loss of a stable run never grows by this much; past it the run is called diverged.
DIVERGENCE_FACTOR = 1e6


@dataclass(frozen=True)
class Stop:
    """When a run ends before its budget of steps. Each look waits for the device.

    Attributes:
        loss_below: end once the mean loss over all examples is below this.
        zero_error: end once y f > 0 for all examples.
        every: steps between looks, also for divergence, which always ends a run; without it every
            step for full batches, which have what it takes at hand, and once an epoch for SGD,
            where a look costs a pass over all examples.

    Raises:
        InputError: `loss_below` is no number, or `every` no whole number of at least 1.
    """

    loss_below: float | None = None
    zero_error: bool = False
    every: int | None = None

    def __post_init__(self) -> None:
        if self.loss_below is not None:
            object.__setattr__(self, "loss_below", real("loss_below", self.loss_below))
        if self.every is not None:
            object.__setattr__(self, "every", whole("every", self.every, least=1))

    def looks(self, step: float, count: int, batches: Batches | None) -> bool:
        """Whether to look after that many steps of a run on `count` examples."""
        epoch = 1 if batches is None else math.ceil(count / batches.size)
        return step % (self.every or epoch) == 0

    def ending(self, loss: float, error: float, start: float) -> Ending | None:
        """How a run of that mean loss and training error ends, or None.

        Args:
            loss: mean loss over all examples.
            error: share of them that are misclassified.
            start: mean loss before the first step.
        """
        if not loss <= max(start, 1e-12) * DIVERGENCE_FACTOR:  # nan is divergence too
            return "diverged"
        if self.loss_below is not None and loss < self.loss_below:
            return "loss"
        if self.zero_error and error == 0:
            return "zero-error"
        return None


DIVERGENCE_ONLY = Stop()


def check_run(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    step_size: float,
    steps: int,
    batches: Batches | None,
    stop: Stop | None,
) -> tuple[float, int]:
    """Refuse what `train` cannot run; step size and steps as Python's numbers.

    Raises:
        InputError: arguments of another type, or that do not fit.
    """
    check_data(network, x, y, loss)
    step_size, steps = positive("step_size", step_size), whole("steps", steps, least=0)
    if batches is not None:
        size = batches if isinstance(batches, int) else 32
        check_type("batches", batches, Batches, f"Batches(size={size})")
        batches.check(len(x), steps)
    if stop is not None:
        check_type("stop", stop, Stop, "Stop(...) or None")
    return step_size, steps


def check_data(network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss) -> None:
    """Refuse a network, inputs, labels and a loss that do not fit each other."""
    check_inputs(network, x)
    check_tensors(y=y)
    check_finite("input", x)
    example = loss if isinstance(loss, str) and loss in LOSSES else "cross-entropy"
    check_type("loss", loss, Loss, f"a Loss, such as losses.LOSSES['{example}']")
    if y.shape != x.shape[:1] or y.device != x.device or y.dtype != x.dtype:
        raise InputError(
            f"labels have shape {tuple(y.shape)}, {y.dtype} on {y.device}; ({len(x)},), {x.dtype} "
            f"on {x.device} is needed."
        )
    check_finite("label", y)
    if loss.of_margin:
        check_labels(y)


@dataclass
class Run:
    """The state of a run."""

    initial: ReLUNetwork
    x: Tensor
    y: Tensor
    loss: Loss
    log: Log
    step: float = 0
    start: float = float("nan")
    memory: dict[str, Tensor] = field(default_factory=dict)
    product: str = field(default_factory=matmul.chosen_product)

    @classmethod
    def of(
        cls, network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss, record: Record | None
    ) -> "Run":
        """A run at its start, without the derivatives that its tensors may come with."""
        log = Log({} if record is None else record)
        return cls(network.detached(), x.detach(), y.detach(), loss, log)

    def __post_init__(self) -> None:
        self.parameters = [parameter.clone() for parameter in self.initial.parameters]
        # The layout in which no product of a step copies a large factor.
        self.by_columns = self.x.T.contiguous().T

    def moment(self, last: bool = False) -> Moment:
        """The network as it is, for the monitors that are due; for all of them at the last."""
        network = self.initial.moved(self.parameters)
        watchers = self.log.watchers(self.step, last)
        return Moment(
            network, self.initial, self.by_columns, self.y, self.loss, self.step, self.memory,
            watchers,
        )  # fmt: skip

    def ending(
        self, moment: Moment, stop: Stop | None, steps: int, batches: Batches | None
    ) -> Ending | None:
        """How the run ends here, or None."""
        if stop is not None and stop.looks(self.step, len(self.x), batches):
            loss, error = float(mean_loss(moment)), float(training_error(moment))
            if self.step == 0:
                self.start = loss
            found = stop.ending(loss, error, self.start)
            if found is not None:
                return found
        return "budget" if self.step >= steps else None

    def moments(self, step_size: float, batches: Batches | None) -> Iterator[Moment]:
        """The moment now, after one step more, and so on; each is over when the next begins."""
        while True:
            moment = self.moment()
            yield moment
            with torch.no_grad():
                self.descend(moment, step_size, batches)

    def descend(self, moment: Moment, step_size: float, batches: Batches | None) -> None:
        """One step, in place."""
        if batches is not None:
            rows = batches.rows(int(self.step), len(self.x)).to(self.x.device)
            moment = replace(moment, x=self.x[rows], y=self.y[rows], watchers=())
        for parameter, gradient in zip(self.parameters, moment.gradients, strict=True):
            parameter.sub_(gradient, alpha=step_size)
        self.step += 1
