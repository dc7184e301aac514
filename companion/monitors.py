"""What can be recorded while a `ReLUNetwork` trains. Each takes a `Moment` and returns numbers.

Numbers stay where they are computed until the run is over, so that nothing waits for the device;
`separations` and `gram_lambda_min` do, and cost more than a step.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_type, described, whole
from companion.errors import InputError
from companion.kernels import empirical_gram
from companion.losses import Loss
from companion.networks import Pass, ReLUNetwork
from companion.spectra import bounds_of, least_eigenvalue, start_directions, subspace_step

Number = bool | int | float | complex | np.generic
Monitor = Callable[["Moment"], Tensor | np.ndarray | Number]
# Of other dtypes a history, which holds NumPy arrays, has none.
_OF_NUMPY = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128,
}  # fmt: skip


@runtime_checkable
class Watcher(Protocol):
    """A monitor that looks at every layer during the forward pass, where looking is cheap."""

    def watch(self, moment: "Moment", gate: Tensor) -> None:
        """Take in the next layer's gate, shape (n, m_l); see `Pass.gates`."""


@dataclass
class Moment:
    """A network in training, with what its forward and backward pass computed.

    Training changes the network's tensors in place. What a monitor returns and what it puts in
    `memory` is copied where it would change along; what it keeps elsewhere it has to copy itself.

    Attributes:
        network: after `step` steps.
        initial: the network before the first step.
        x: inputs, shape (n, d): all of them, or a batch.
        y: labels, shape (n,).
        loss: of one example; training minimises its mean.
        step: the number of steps made, or the time of a gradient flow.
        memory: tensors that monitors keep from one record to the next; checkpoints hold them. They
            are replaced, not changed in place, so that a record that fails leaves no trace.
        watchers: monitors to be shown the forward pass.
        watched: what each of them noted of it, layer by layer.
    """

    network: ReLUNetwork
    initial: ReLUNetwork
    x: Tensor
    y: Tensor
    loss: Loss
    step: float
    memory: dict[str, Tensor] = field(default_factory=dict)
    watchers: tuple[Watcher, ...] = ()
    watched: dict[Watcher, list[Tensor]] = field(default_factory=dict)

    @cached_property
    def forward(self) -> Pass:
        """The forward pass over x."""
        return self.network.run(self.x, self._watch if self.watchers else None)

    def adopt(self, forward: Pass) -> None:
        """Take a forward pass that was made elsewhere, and show it to the watchers."""
        self.__dict__["forward"] = forward
        for gate in forward.gates:
            self._watch(gate)

    @cached_property
    def losses(self) -> Tensor:
        """Loss of every example, shape (n,)."""
        return self.loss.values(self.forward.predictions, self.y)

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Gradient of the mean loss in every trained tensor."""
        slopes = self.loss.derivatives(self.forward.predictions, self.y)
        return self.network.gradients(self.forward, slopes / len(self.y))

    def changes(self) -> Iterator[Tensor]:
        """Trained tensors less their initial values, as matrices, made one by one."""
        for now, start in zip(self.network.parameters, self.initial.parameters, strict=True):
            yield (now - start).reshape(-1, now.shape[-1])

    def _watch(self, gate: Tensor) -> None:
        for watcher in self.watchers:
            watcher.watch(self, gate)


def mean_loss(moment: Moment) -> Tensor:
    """L_S, the mean of the examples' losses."""
    return moment.losses.mean()


def largest_loss(moment: Moment) -> Tensor:
    """max_i l_i, the quantity of Assumption 3.2 of Chen et al. (2021)."""
    return moment.losses.max()


def largest_slope(moment: Moment) -> Tensor:
    """max_i |l'|: bounded along a run, it replaces a Lipschitz loss (Zou et al., 2018)."""
    return moment.loss.derivatives(moment.forward.predictions, moment.y).abs().max()


def training_error(moment: Moment) -> Tensor:
    """Share of the examples that are not on the right side, y f <= 0."""
    wrong = ~(moment.forward.predictions * moment.y > 0)  # NaN is wrong, too
    return wrong.to(moment.y.dtype).mean()


def gradient_norms(moment: Moment) -> Tensor:
    """||gradient of L_S in W_l||_F for every trained tensor, shape (L,)."""
    return torch.stack([torch.linalg.vector_norm(gradient) for gradient in moment.gradients])


def frobenius_distances(moment: Moment) -> Tensor:
    """||W_l - W_l(0)||_F for every trained tensor, shape (L,)."""
    return torch.stack([torch.linalg.vector_norm(change) for change in moment.changes()])


def separations(moment: Moment) -> Tensor:
    """Least distance of normalised hidden outputs of different labels, shape (D + 1,).

    phi of the inputs first, then ||x_l,i / ||x_l,i|| - x_l,j / ||x_l,j|| || of every layer: Zou et
    al. (2018), Theorem 5.1 (ii). Costs as much as a Gram matrix of each layer.
    """
    positive = moment.y > 0
    found = []
    for hidden in moment.forward.hidden:
        unit = hidden / torch.linalg.vector_norm(hidden, dim=1, keepdim=True)
        found.append(least_distance(unit[positive], unit[~positive]))
    return torch.stack(found)


def least_distance(a: Tensor, b: Tensor) -> Tensor:
    """Least Euclidean distance of a row of `a`, shape (p, q), to one of `b`, shape (r, q)."""
    # Row by row of tiles; the closest pair of each is measured again without cancellation.
    closest = []
    for rows in torch.split(a, 1024):
        nearest = torch.cdist(rows, b).min(dim=1)
        i = nearest.values.argmin()
        closest.append(torch.linalg.vector_norm(rows[i] - b[nearest.indices[i]]))
    return torch.stack(closest).min()


def gram_lambda_min(moment: Moment) -> Tensor:
    """Least eigenvalue of the empirical NTK's Gram matrix, and a lower bound, shape (2,).

    Costs a Gram matrix and two Cholesky factors.
    """
    least = least_eigenvalue(empirical_gram(moment.network, moment.x))
    bounds = [least.value, least.lower]
    return torch.tensor(bounds, dtype=torch.float64, device=moment.x.device)


@dataclass(frozen=True)
class Distances:
    """Distances of every trained tensor from initialisation, in both norms, shape (L, 3).

    Columns: ||W_l - W_l(0)||_F, and ||W_l - W_l(0)||_2 between a lower and an upper bound. The
    bounds come from one step of subspace iteration that goes on from the last record's
    directions, so each record costs two thin products a layer. They are tight along a run where
    a few directions hold most of the change, as on images; with inputs in random directions the
    first layer's change has no such directions, and its upper bound stays far from the lower one.

    Attributes:
        directions: how many are kept; more of them make the upper bound tighter.
        first: steps of the iteration at the first record that finds a change.
    """

    directions: int = 8
    first: int = 4

    def __call__(self, moment: Moment) -> Tensor:
        """Measure and keep the directions for the next record."""
        if moment.step == 0:
            return moment.x.new_zeros(len(moment.network.parameters), 3)
        numbers = []
        for layer, change in enumerate(moment.changes()):
            key = f"directions/{layer}"
            directions = moment.memory.get(key)
            if directions is None:
                directions = self._first_directions(change)
            found, moment.memory[key] = subspace_step(change, directions)
            numbers.append(found)
        return bounds_of(torch.stack(numbers)).T

    def _first_directions(self, change: Tensor) -> Tensor:
        directions = start_directions(change, self.directions)
        for _ in range(self.first - 1):
            _, directions = subspace_step(change, directions)
        return directions


@dataclass(frozen=True)
class PatternDifference:
    """Share of the pairs (input, unit) of every layer that switched on or off, shape (D,).

    Attributes:
        since: `start` compares with initialisation (the ratio of Zou et al., 2020, Figure 3, layer
            by layer), `last` with the last record: the flips of a step.
    """

    since: Literal["start", "last"] = "start"

    def watch(self, moment: Moment, gate: Tensor) -> None:
        """Compare the next layer's pattern with the one kept."""
        counts = moment.watched.setdefault(self, [])
        key = f"pattern since {self.since}/{len(counts)}"
        pattern = moment.network.pattern(gate)
        if key not in moment.memory:
            moment.memory[key] = pattern.clone()
        kept = moment.memory[key]
        if self.since == "start":
            counts.append(count_true(pattern.bitwise_xor_(kept)))
        else:
            counts.append(count_true(pattern.bitwise_xor(kept)))
            moment.memory[key] = pattern

    def __call__(self, moment: Moment) -> Tensor:
        """The shares of the pass just made."""
        _ = moment.forward
        counts = moment.watched[self]
        pairs = torch.tensor(moment.network.widths, dtype=torch.float64) * len(moment.x)
        return torch.stack(counts) / pairs.to(counts[0].device)


def count_true(flags: Tensor) -> Tensor:
    """Number of true entries of a boolean tensor, any shape, stored densely.

    torch's own count is several times slower, enough to be felt in a training step. Here eight
    flags are added at once as the bytes of a word, at most 128 to a byte, so that none overflows.
    """
    dense = flags.mT if flags.dim() == 2 and flags.stride(0) == 1 else flags
    octets = dense.reshape(-1).view(torch.uint8)
    whole = len(octets) // 1024 * 1024
    sums = octets[:whole].view(torch.int64).view(128, -1).sum(dim=0)
    return sums.view(torch.uint8).sum() + octets[whole:].sum()


@dataclass(frozen=True)
class Every:
    """Record a monitor only at multiples of `steps`, and when the run ends."""

    steps: int
    monitor: Monitor


Record = Mapping[str, Monitor | Every]


class Log:
    """What a run has recorded so far.

    Args:
        record: name -> monitor, or `Every(steps, monitor)`.

    Raises:
        InputError: an interval below 1, or what is no monitor with a name.
    """

    def __init__(self, record: Record) -> None:
        check_type("record", record, Mapping, "a mapping, name -> monitor")
        self._record = {name: _every(name, item) for name, item in record.items()}
        self.at: dict[str, list[float]] = {name: [] for name in record}
        self.values: dict[str, list[Tensor]] = {name: [] for name in record}

    @property
    def record(self) -> dict[str, Every]:
        """Name -> monitor and steps between records."""
        return dict(self._record)

    def due(self, step: float, last: bool = False) -> dict[str, Monitor]:
        """The monitors to record at that step: none of them twice, all of them at the last."""
        return {
            name: item.monitor
            for name, item in self._record.items()
            if (last or step % item.steps == 0) and self.at[name][-1:] != [step]
        }

    def watchers(self, step: float, last: bool = False) -> tuple[Watcher, ...]:
        """Those of them that have to see the forward pass."""
        due: Iterable[object] = self.due(step, last).values()
        return tuple(monitor for monitor in due if isinstance(monitor, Watcher))

    def note(self, moment: Moment, last: bool = False) -> None:
        """Record copies of what is due: all of it, or where a monitor fails nothing.

        Raises:
            InputError: a monitor gives no numbers, or another shape than before, or keeps what is
                no tensor.
        """
        due = self.due(moment.step, last)
        before = dict(moment.memory)
        try:
            found = {name: self._copied(name, do(moment), moment.step) for name, do in due.items()}
            _settle(moment, before)
        except BaseException:
            moment.memory.clear()
            moment.memory.update(before)
            raise
        for name, value in found.items():
            self.at[name].append(moment.step)
            self.values[name].append(value)

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> recorded values, shape (k, ...), on the CPU."""
        return {
            name: torch.stack(values).cpu().numpy() if values else np.zeros(0)
            for name, values in self.values.items()
        }

    def _copied(self, name: str, value: object, step: float) -> Tensor:
        """What a monitor gave, where the values before it are, and alike in shape."""
        tensor = _as_tensor(name, value)
        first = self.values[name][0] if self.values[name] else tensor
        if tensor.shape != first.shape:
            raise InputError(
                f"monitor '{name}' gives shape {tuple(tensor.shape)} at step {step} and gave "
                f"{tuple(first.shape)} before; it must keep one shape along a run."
            )
        return tensor.detach().clone().to(first.device)


def _every(name: object, item: object) -> Every:
    """A checked entry of a record."""
    check_type("the name of a monitor", name, str, "text")
    steps, monitor = (item.steps, item.monitor) if isinstance(item, Every) else (1, item)
    if not callable(monitor):
        raise InputError(
            f"monitor '{name}' is {described(monitor)}; give a function of a Moment, or "
            "Every(steps, function)."
        )
    return Every(whole(f"Every(steps) of monitor '{name}'", steps, least=1), monitor)


def _as_tensor(name: str, value: object) -> Tensor:
    """Numbers that a history can hold: Python's in their full precision."""
    if isinstance(value, Tensor) and value.layout == torch.strided:
        if value.dtype in _OF_NUMPY:
            return value
        if value.is_floating_point():  # of less precision
            return value.float()
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        with contextlib.suppress(TypeError, ValueError):  # text, objects, or foreign byte orders
            return torch.from_numpy(np.array(value, order="C"))
    raise InputError(
        f"monitor '{name}' gives {described(value)}; it must give a dense tensor, a NumPy array "
        "or a number."
    )


def _settle(moment: Moment, before: Mapping[str, Tensor]) -> None:
    """Copy what monitors put into memory and training would change there."""
    new = {key: kept for key, kept in moment.memory.items() if before.get(key) is not kept}
    live = {_storage(parameter) for parameter in moment.network.parameters} if new else set()
    for key, kept in new.items():
        if (
            not isinstance(kept, Tensor)
            or kept.layout != torch.strided
            or (kept.dtype not in _OF_NUMPY)
        ):
            raise InputError(
                f"memory['{key}'] is {described(kept)}; monitors can keep dense tensors of dtypes "
                "that NumPy has."
            )
        if _storage(kept) in live:
            moment.memory[key] = kept.detach().clone()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
