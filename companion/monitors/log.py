"""What a run has recorded so far, step by step."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_type, described, whole
from companion.base.interrupts import uninterrupted
from companion.errors import InputError
from companion.monitors.moment import Moment, Watcher

Number = bool | int | float | complex | np.generic
Monitor = Callable[["Moment"], Tensor | np.ndarray | Number]
# Of other dtypes a history, which holds NumPy arrays, has none.
_OF_NUMPY = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128,
}  # fmt: skip


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
        leading: dimensions of every value that count members of a fleet; 0 for one network.

    Raises:
        InputError: an interval below 1, or what is no monitor with a name.
    """

    def __init__(self, record: Record, leading: int = 0) -> None:
        check_type("record", record, Mapping, "a mapping, name -> monitor")
        self._record = {name: _every(name, item) for name, item in record.items()}
        self._leading = leading
        self._shapes: dict[str, torch.Size] = {}
        self.at: dict[str, list[float]] = {name: [] for name in record}
        self.values: dict[str, list[Tensor]] = {name: [] for name in record}
        self.latest: dict[str, float] = {}

    @property
    def record(self) -> dict[str, Every]:
        """Name -> monitor and steps between records."""
        return dict(self._record)

    def follow(self, other: "Log") -> None:
        """Go on where another log is, of which these members were a part."""
        self.latest, self._shapes = dict(other.latest), dict(other._shapes)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that it takes to go on from here: what fits JSON, and tensors by name."""
        shapes = {name: list(shape) for name, shape in self._shapes.items()}
        told = {"at": self.at, "latest": self.latest, "shapes": shapes}
        return told, {name: torch.stack(values) for name, values in self.values.items() if values}

    def restore(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.at, self.latest = told["at"], told["latest"]
        self._shapes = {name: torch.Size(shape) for name, shape in told["shapes"].items()}
        self.values = {name: list(tensors[name]) if at else [] for name, at in self.at.items()}

    def due(self, step: float, last: bool = False) -> dict[str, Monitor]:
        """The monitors to record at that step: none of them twice, all of them at the last."""
        return {
            name: item.monitor
            for name, item in self._record.items()
            if (last or step % item.steps == 0) and self.latest.get(name) != step
        }

    def watchers(self, step: float, last: bool = False) -> dict[str, Watcher]:
        """Those of them that have to see the forward pass."""
        due: Mapping[str, object] = self.due(step, last)
        return {name: monitor for name, monitor in due.items() if isinstance(monitor, Watcher)}

    def note(self, moment: Moment, last: bool = False) -> None:
        """Record copies of what is due: all of it, or where a monitor fails nothing.

        Raises:
            InputError: a monitor gives no numbers, or another shape than before, or keeps what is
                no tensor.
        """
        due = self.due(moment.step, last)
        if not due:
            return
        before = {name: dict(kept) for name, kept in moment.memories.items()}
        try:
            found = {}
            for name, monitor in due.items():
                moment.name = name
                found[name] = self._copied(name, monitor(moment), moment.step)
            _settle(moment, before)
        except BaseException:
            moment.memories.clear()
            moment.memories.update(before)
            raise
        with uninterrupted():
            for name, value in found.items():
                self.at[name].append(moment.step)
                self.values[name].append(value)
                self.latest[name] = moment.step

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> recorded values, shape (k, ...), on the CPU."""
        return {
            name: torch.stack(values).cpu().numpy() if values else np.zeros(0)
            for name, values in self.values.items()
        }

    def _copied(self, name: str, value: object, step: float) -> Tensor:
        """What a monitor gave, where the values before it are, and alike in shape."""
        tensor = as_numbers(name, value)
        shape = tensor.shape[self._leading :]
        known = self._shapes.setdefault(name, shape)
        if shape != known:
            raise InputError(
                f"monitor '{name}' gives shape {tuple(shape)} at step {step} and gave "
                f"{tuple(known)} before; it must keep one shape along a run."
            )
        values = self.values[name]
        return tensor.detach().clone().to(values[0].device if values else tensor.device)


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


def as_numbers(name: str, value: object) -> Tensor:
    """What a monitor gave, as numbers that a history can hold: Python's in their full precision.

    Args:
        name: of the monitor.
        value: a tensor, an array or a number.

    Raises:
        InputError: none of them.
    """
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


def _settle(moment: Moment, before: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Copy what monitors put into memory and training would change there."""
    live = {_storage(parameter) for parameter in moment.network.parameters}
    for name, memory in moment.memories.items():
        old = before.get(name, {})
        for key, kept in [*memory.items()]:
            if old.get(key) is kept:
                continue
            if (
                not isinstance(kept, Tensor)
                or kept.layout != torch.strided
                or kept.dtype not in _OF_NUMPY
            ):
                raise InputError(
                    f"memory['{key}'] is {described(kept)}; monitors can keep dense tensors of "
                    "dtypes that NumPy has."
                )
            if _storage(kept) in live:
                memory[key] = kept.detach().clone()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
