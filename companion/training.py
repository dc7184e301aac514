"""Gradient descent, stochastic gradient descent and gradient flow on deep ReLU networks."""

import contextlib
import io
import json
import math
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm import tqdm

from companion import matmul
from companion.base.arguments import check_finite, check_tensors, check_type, real, whole
from companion.base.files import check_target, write_atomically
from companion.base.identity import identity
from companion.draws import Batches
from companion.errors import InputError
from companion.losses import LOSSES, Loss, check_labels
from companion.monitors import Log, Moment, Record, mean_loss, training_error
from companion.networks import ReLUNetwork, check_inputs, check_network

Ending = Literal["budget", "loss", "zero-error", "diverged", "interrupted"]
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


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept so that it can be stopped and go on, equal bit for bit.

    A run is known by what decides it: its inputs and labels, network, loss, step size, batches,
    precision and monitors, each by what it computes and not by its name, and by the minor version
    of Python, in whose instructions that is told.

    Attributes:
        path: an .npz file, written atomically. A run that finds its own file goes on from there;
            with a larger budget of steps it continues a finished one.
        seconds: between two writes; 0 writes after every step.

    Raises:
        InputError: `path` is no path, or `seconds` is negative.
    """

    path: str | os.PathLike[str]
    seconds: float = 60.0

    def __post_init__(self) -> None:
        check_type("path", self.path, str | os.PathLike, "the path of an .npz file")
        if not real("seconds", self.seconds) >= 0:
            raise InputError(f"seconds is {self.seconds}; it must be at least 0.")


@dataclass(frozen=True)
class History:
    """What a run recorded and how it ended.

    Attributes:
        at: name -> steps (or times) at which it was recorded, shape (k,).
        values: name -> recorded values, shape (k, ...).
        network: at the end.
        steps: steps made, or the time a flow has run.
        ending: `budget`, `loss`, `zero-error` or `diverged`; `interrupted` for the history so far
            that an exception carries along.
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
        InputError: arguments of another type, inputs, labels, step size, steps or batches that do
            not fit, a checkpoint that cannot be written, is damaged or is of another run, or a
            monitor that gives no numbers; all before the first step. Later, a monitor that gives
            numbers of another shape.

    Whatever is raised once steps were made has an attribute `history`, a `History` of the run so
    far, and the checkpoint, if there is one, has been written.
    """
    step_size, steps = check_run(network, x, y, loss, step_size, steps, batches, stop)
    run = _Run.of(network, x, y, loss, record)
    kept = None
    if checkpoint is not None:
        check_type("checkpoint", checkpoint, Checkpoint, "Checkpoint('run.npz')")
        kept = _Kept(checkpoint, run, {"step size": step_size, "batches": batches}, steps)
    ending: Ending | None = None
    with (
        torch.no_grad(),
        matmul.using(product=run.product),
        tqdm(total=steps, initial=run.step, disable=not progress) as bar,
        _nothing_lost(run, kept),
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
    times: Iterable[float],
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
        InputError: arguments of another type, inputs or labels that do not fit, times that do not
            start at 0 or increase, a tolerance that is not positive, or a monitor as in `train`.

    Whatever is raised later has an attribute `history`, as in `train`.
    """
    _check_data(network, x, y, loss)
    check_type("times", times, Iterable, "a list of numbers")
    grid = torch.tensor([real("a time", time) for time in times], dtype=torch.float64)
    if len(grid) < 2 or grid[0] != 0 or not bool((grid.diff() > 0).all()):
        raise InputError("times must start at 0 and increase, with at least two of them.")
    tolerance = real("tolerance", tolerance)
    if not tolerance > 0:
        raise InputError(f"tolerance is {tolerance}; it must be positive.")
    run = _Run.of(network, x, y, loss, record)
    run.log.note(run.moment())

    def velocity(_: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        moment = replace(run.moment(), network=run.initial.moved(parameters), watchers=())
        return tuple(-gradient for gradient in moment.gradients)

    with torch.no_grad(), _nothing_lost(run):
        # Interval by interval: recorded states are steps of the solver, not its interpolation.
        for span in grid.to(x.device).unfold(0, 2, 1):
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
    check_network(network)
    copies = 2 if network.on_at_zero else 1
    units = copies * sum(network.widths) + 2 * max(network.widths)
    parameters = sum(parameter.numel() for parameter in network.parameters)
    return network.outputs.element_size() * (count * (network.dimension + units) + 2 * parameters)


def history_of(log: Log, moment: Moment, ending: Ending) -> History:
    """The history of a run that ends at `moment`, where all monitors are recorded once more."""
    log.note(moment, last=True)
    return recorded(log, moment.network, moment.step, ending)


def recorded(log: Log, network: ReLUNetwork, step: float, ending: Ending) -> History:
    """What a log holds, as the history of a run that ends, or has come, so far."""
    at = {name: np.array(steps) for name, steps in log.at.items()}
    return History(at, log.arrays(), network, step, ending)


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
    _check_data(network, x, y, loss)
    step_size, steps = check_step_size(step_size), whole("steps", steps, least=0)
    if batches is not None:
        size = batches if isinstance(batches, int) else 32
        check_type("batches", batches, Batches, f"Batches(size={size})")
        batches.check(len(x), steps)
    if stop is not None:
        check_type("stop", stop, Stop, "Stop(...) or None")
    return step_size, steps


def check_step_size(step_size: float) -> float:
    """The step size as a float; `InputError` for one that is not a positive number."""
    step_size = real("step_size", step_size)
    if not 0 < step_size < float("inf"):
        raise InputError(f"step_size is {step_size}; it must be a positive number.")
    return step_size


def _check_data(network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss) -> None:
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

    @classmethod
    def of(
        cls, network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss, record: Record | None
    ) -> "_Run":
        """A run at its start, without the derivatives that its tensors may come with."""
        log = Log({} if record is None else record)
        return cls(network.detached(), x.detach(), y.detach(), loss, log)

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


@contextmanager
def _nothing_lost(run: _Run, kept: "_Kept | None" = None) -> Iterator[None]:
    """What stops a run carries its history along, and leaves a checkpoint behind."""
    try:
        yield
    except Exception as error:
        # A monitor that fails has left no trace in the log, and all that a step can fail at comes
        # before it changes the first parameter: so this is a state to go on from.
        network = run.initial.moved(run.parameters)
        error.history = recorded(  # type: ignore[attr-defined]
            run.log, network, run.step, "interrupted"
        )
        if kept is not None and run.step > 0:
            with contextlib.suppress(InputError):  # what stopped the run is what is to be told
                kept.save()
        raise


class _Kept:
    """A run in a file. It is taken up from there if the file holds the same run."""

    def __init__(
        self, checkpoint: Checkpoint, run: _Run, settings: Mapping[str, object], steps: int
    ) -> None:
        self._path, self._seconds, self._run = Path(checkpoint.path), checkpoint.seconds, run
        check_target(self._path)
        self._parts = _parts(run, settings)
        self._written = time.monotonic()
        if self._path.exists():
            self._restore(steps)

    def save_when_due(self) -> None:
        if time.monotonic() - self._written >= self._seconds:
            self.save()

    def save(self) -> None:
        run = self._run
        told = {
            "parts": self._parts,
            "step": run.step,
            "start": run.start,
            "product": run.product,
            "at": run.log.at,
            "parameters": len(run.parameters),
        }
        arrays = {"told": np.array(json.dumps(told))}
        for name, tensors in _tensors(run).items():
            for key, tensor in tensors.items():
                arrays[f"{name}/{key}"] = tensor.detach().cpu().numpy()
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(self._path, buffer.getvalue())
        self._written = time.monotonic()

    def _restore(self, steps: int) -> None:
        path, run = self._path, self._run
        told, arrays = _read(path)
        differing = _differing(self._parts, told["parts"])
        if differing:
            raise InputError(
                f"{path} is the checkpoint of another run: it differs in its "
                f"{' and '.join(differing)}; name another file or delete it."
            )
        if told["step"] > steps:
            raise InputError(
                f"{path} holds {told['step']} steps of this run and steps is {steps}; ask for at "
                "least as many or name another file."
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


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a checkpoint tells, and its arrays, with all that a run needs to go on."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        told = json.loads(str(arrays.pop("told")))
        needed = {f"parameter/{key}" for key in range(told["parameters"])}
        needed |= {f"value/{name}" for name, at in told["at"].items() if at}
        if not needed <= arrays.keys() or not told.keys() >= _TOLD:
            raise ValueError
    except _UNREADABLE:
        raise InputError(
            f"{path} is not a readable checkpoint of this version; delete it to start anew, or "
            "name another file."
        ) from None
    return told, arrays


_TOLD = {"parts", "step", "start", "product", "parameters", "at"}
_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def _tensors(run: _Run) -> dict[str, dict[str, Tensor]]:
    return {
        "parameter": {str(k): parameter for k, parameter in enumerate(run.parameters)},
        "memory": run.memory,
        "value": {name: torch.stack(values) for name, values in run.log.values.items() if values},
    }


def _parts(run: _Run, settings: Mapping[str, object]) -> dict[str, str]:
    """Hashes of all that decides a run but its budget and how it ends, part by part."""
    net = run.initial
    deciding = {
        "Python version": sys.version_info[:2],
        "inputs": run.x,
        "labels": run.y,
        "network": [*vars(net).values()],
        "precision": matmul.chosen_precision(),
        **settings,
        "loss": run.loss,
    }
    monitors = {f"monitor '{name}'": item for name, item in run.log.record.items()}
    hashes = {name: identity(part, f"the {name}") for name, part in deciding.items()}
    for name, item in monitors.items():
        hashes[name] = identity(item.steps, name) + identity(item.monitor, name)
    return hashes


def _differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The parts in which a run differs from a checkpoint's."""
    names = dict.fromkeys([*ours, *theirs])
    differing = [name for name in names if ours.get(name) != theirs.get(name)]
    # Another Python writes other instructions, and all hashes of functions differ along.
    return differing[:1] if "Python version" in differing else differing
