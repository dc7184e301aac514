"""Gradient descent, stochastic gradient descent and gradient flow on deep ReLU networks."""

import hashlib
import io
import json
import math
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm import tqdm

from companion import matmul
from companion.draws import Batches
from companion.errors import InputError
from companion.files import write_atomically
from companion.losses import Loss, check_labels
from companion.monitors import Log, Moment, Record, mean_loss, training_error
from companion.networks import ReLUNetwork, check_inputs

Ending = Literal["budget", "loss", "zero-error", "diverged"]
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
    """

    loss_below: float | None = None
    zero_error: bool = False
    every: int | None = None

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


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept so that it can be stopped and go on, equal bit for bit.

    Attributes:
        path: an .npz file, written atomically. A run that finds its own file goes on from there;
            with a larger budget of steps it continues a finished one.
        seconds: between two writes.
    """

    path: Path
    seconds: float = 60.0


@dataclass(frozen=True)
class History:
    """What a run recorded and how it ended.

    Attributes:
        at: name -> steps (or times) at which it was recorded, shape (k,).
        values: name -> recorded values, shape (k, ...).
        network: at the end.
        steps: steps made, or the time a flow has run.
        ending: `budget`, `loss`, `zero-error` or `diverged`.
    """

    at: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    network: ReLUNetwork
    steps: float
    ending: Ending

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def train(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    step_size: float,
    steps: int,
    batches: Batches | None = None,
    record: Record | None = None,
    stop: Stop | None = DIVERGENCE_ONLY,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> History:
    """Gradient descent on the mean loss, W <- W - eta grad L_S(W), or SGD on batches.

    Zou et al. (2018, 2020), section 3; Chen et al. (2021), Algorithms 1 and 2.

    Args:
        network: at initialisation; it is not changed. Its convention decides what is trained.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example.
        step_size: eta > 0, for the mean loss; n times the one for a sum, as in Du et al. (2019).
        steps: the budget.
        batches: of SGD; None for full batches.
        record: name -> monitor, or `Every(steps, monitor)`. Monitors see all examples. With full
            batches they share the forward pass of the step; with batches each record costs one.
        stop: when to end early; None never looks, so that nothing waits for the device.
        checkpoint: where to keep the run.
        progress: show a bar.

    Raises:
        InputError: inputs, labels, step size, steps or batches that do not fit, or a checkpoint
            that is damaged or of another run.
    """
    check_run(network, x, y, loss, step_size, steps, batches)
    run = _Run(network, x, y, loss, Log(record or {}))
    kept = None if checkpoint is None else _Kept(checkpoint, run, [step_size, batches])
    ending: Ending | None = None
    with (
        torch.no_grad(),
        matmul.using(product=run.product),
        tqdm(total=steps, initial=run.step, disable=not progress) as bar,
    ):
        while ending is None:
            moment = run.moment()
            run.log.note(moment)
            ending = run.ending(moment, stop, steps, batches)
            if ending is None:
                run.descend(moment, step_size, batches)
                bar.update()
                if kept is not None:
                    kept.save_when_due()
        if kept is not None:
            kept.save()
        return history_of(run.log, run.moment(last=True), ending)


def flow(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    times: Sequence[float],
    record: Record,
    tolerance: float = 1e-5,
) -> History:
    """Gradient flow dW/dt = -grad L_S(W) by an adaptive Dormand-Prince solver (torchdiffeq).

    Args:
        network: at time 0; it is not changed.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example; the flow decreases its mean.
        times: increasing, starting at 0; monitors are recorded at each.
        record: name -> monitor.
        tolerance: relative and absolute error the solver keeps per step. The right-hand side
            jumps where a unit switches, so narrow networks cost more.

    Raises:
        InputError: inputs or labels that do not fit; times that do not start at 0 or increase.
    """
    _check_data(network, x, y, loss)
    grid = torch.tensor(times, dtype=torch.float64, device=x.device)
    if len(times) < 2 or times[0] != 0 or not bool((grid.diff() > 0).all()):
        raise InputError("times must start at 0 and increase, with at least two of them.")
    run = _Run(network, x, y, loss, Log(record))
    run.log.note(run.moment())

    def velocity(_: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        moment = replace(run.moment(), network=network.moved(parameters), watchers=())
        return tuple(-gradient for gradient in moment.gradients)

    with torch.no_grad():
        # Interval by interval: recorded states are steps of the solver, not its interpolation.
        for span in grid.unfold(0, 2, 1):
            solution = odeint(
                velocity, tuple(run.parameters), span, rtol=tolerance, atol=tolerance,
                method="dopri5", options={"step_t": span[1:]},
            )  # fmt: skip
            run.parameters = [values[-1] for values in solution]
            run.step = float(span[1])
            run.log.note(run.moment(last=True), last=True)
    return history_of(run.log, run.moment(last=True), "budget")


def training_memory(network: ReLUNetwork, count: int) -> int:
    """Bytes that `train` takes for n = `count` inputs, monitors apart, said before it runs.

    A `PatternDifference` adds one byte a unit and input.

    Args:
        network: to be trained.
        count: n.
    """
    copies = 2 if network.on_at_zero else 1
    units = copies * sum(network.widths) + 2 * max(network.widths)
    parameters = sum(parameter.numel() for parameter in network.parameters)
    return network.outputs.element_size() * (count * (network.dimension + units) + 2 * parameters)


def history_of(log: Log, moment: Moment, ending: Ending) -> History:
    """The history of a run that ends at `moment`, where all monitors are recorded once more."""
    log.note(moment, last=True)
    at = {name: np.array(steps) for name, steps in log.at.items()}
    return History(at, log.arrays(), moment.network, moment.step, ending)


def check_run(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    step_size: float,
    steps: int,
    batches: Batches | None,
) -> None:
    """Refuse what `train` cannot run.

    Raises:
        InputError: inputs, labels, step size, steps or batches that do not fit.
    """
    _check_data(network, x, y, loss)
    check_step_size(step_size)
    if steps < 0:
        raise InputError(f"steps is {steps}; it must be at least 0.")
    if batches is not None:
        batches.check(len(x), steps)


def check_step_size(step_size: float) -> None:
    """Raise `InputError` for a step size that is not a positive number."""
    if not 0 < step_size < float("inf"):
        raise InputError(f"step_size is {step_size}; it must be a positive number.")


def _check_data(network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss) -> None:
    check_inputs(network, x)
    if y.shape != x.shape[:1] or y.device != x.device or y.dtype != x.dtype:
        raise InputError(
            f"labels have shape {tuple(y.shape)}, {y.dtype} on {y.device}; ({len(x)},), {x.dtype} "
            f"on {x.device} is needed."
        )
    if loss.of_margin:
        check_labels(y)


@dataclass
class _Run:
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

    def __post_init__(self) -> None:
        self.parameters = [parameter.clone() for parameter in self.initial.parameters]
        # The layout in which no product of a step copies a large factor.
        self.by_columns = self.x.T.contiguous().T

    def moment(self, last: bool = False) -> Moment:
        network = self.initial.moved(self.parameters)
        watchers = self.log.watchers(self.step, last)
        return Moment(
            network, self.initial, self.by_columns, self.y, self.loss, self.step, self.memory,
            watchers,
        )  # fmt: skip

    def ending(
        self, moment: Moment, stop: Stop | None, steps: int, batches: Batches | None
    ) -> Ending | None:
        if stop is not None and stop.looks(self.step, len(self.x), batches):
            loss, error = float(mean_loss(moment)), float(training_error(moment))
            if self.step == 0:
                self.start = loss
            found = stop.ending(loss, error, self.start)
            if found is not None:
                return found
        return "budget" if self.step >= steps else None

    def descend(self, moment: Moment, step_size: float, batches: Batches | None) -> None:
        if batches is not None:
            rows = batches.rows(int(self.step), len(self.x)).to(self.x.device)
            moment = replace(moment, x=self.x[rows], y=self.y[rows], watchers=())
        for parameter, gradient in zip(self.parameters, moment.gradients, strict=True):
            parameter.sub_(gradient, alpha=step_size)
        self.step += 1


class _Kept:
    """A run in a file. It is taken up from there if the file holds the same run."""

    def __init__(self, checkpoint: Checkpoint, run: _Run, settings: list[object]) -> None:
        self._checkpoint, self._run = checkpoint, run
        self._identity = _identity(run, settings)
        self._written = time.monotonic()
        if checkpoint.path.exists():
            self._restore()

    def save_when_due(self) -> None:
        if time.monotonic() - self._written >= self._checkpoint.seconds:
            self.save()

    def save(self) -> None:
        run = self._run
        told = {
            "identity": self._identity,
            "step": run.step,
            "start": run.start,
            "product": run.product,
            "at": run.log.at,
        }
        arrays = {"told": np.array(json.dumps(told))}
        for name, tensors in _tensors(run).items():
            arrays |= {f"{name}/{key}": tensor.cpu().numpy() for key, tensor in tensors.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(self._checkpoint.path, buffer.getvalue())
        self._written = time.monotonic()

    def _restore(self) -> None:
        path, run = self._checkpoint.path, self._run
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            told = json.loads(str(arrays.pop("told")))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise InputError(
                f"{path} is not a readable checkpoint; delete it to start anew."
            ) from None
        if told["identity"] != self._identity:
            raise InputError(
                f"{path} is the checkpoint of another run; name another file or delete it."
            )
        run.step, run.start, run.product = told["step"], told["start"], told["product"]
        run.log.at = told["at"]
        for name, array in arrays.items():
            kind, key = name.split("/", 1)
            tensor = torch.from_numpy(array).to(run.x.device)
            if kind == "parameter":
                run.parameters[int(key)] = tensor
            elif kind == "memory":
                run.memory[key] = tensor
            else:
                run.log.values[key] = list(tensor)


def _tensors(run: _Run) -> dict[str, dict[str, Tensor]]:
    return {
        "parameter": {str(k): parameter for k, parameter in enumerate(run.parameters)},
        "memory": run.memory,
        "value": {name: torch.stack(values) for name, values in run.log.values.items() if values},
    }


def _identity(run: _Run, settings: list[object]) -> str:
    """Hash of all that decides a run but its budget and how it ends."""
    digest = hashlib.sha256()
    told: list[object] = [settings, run.loss.name, run.log.intervals, matmul.chosen_precision()]
    net = run.initial
    told += [net.gains, net.output_gain, net.trained, net.on_at_zero]
    digest.update(json.dumps(told, default=str).encode())
    for tensor in (run.x, run.y, *net.weights, net.outputs):
        digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
