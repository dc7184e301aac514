"""Runs in files, from which they go on equal bit for bit."""

import contextlib
import io
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from companion import matmul
from companion.base.arguments import check_type, real
from companion.base.files import check_target, write_atomically
from companion.base.identity import identity
from companion.base.interrupts import interruptible
from companion.errors import InputError
from companion.monitors import Every
from companion.training.run import Descent, Run


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept so that it can be stopped and go on, equal bit for bit.

    A run is known by what decides it: its inputs and labels, network, loss, step size, batches,
    precision and monitors, each by what it computes and not by its name, and by the minor version
    of Python, in whose instructions that is told. The device is none of them: on another one a run
    goes on, too, equal up to rounding.

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


class Resumable(Protocol):
    """What a checkpoint can hold: a run, or a fleet of them."""

    @property
    def step(self) -> float:
        """Steps made, or the time of a flow."""

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that it takes to go on: what fits JSON, and tensors by name."""

    def restore(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""


class Kept:
    """A run in a file. It is taken up from there if the file holds the same run.

    Args:
        checkpoint: where.
        run: at its start.
        deciding: what decides the run, part by part, beside the versions and the precision.
        steps: asked for, or the last time.

    Raises:
        InputError: a file that cannot be written, is damaged, or holds another run or more steps.
    """

    def __init__(
        self, checkpoint: Checkpoint, run: Resumable, deciding: Mapping[str, object], steps: float
    ) -> None:
        check_type("checkpoint", checkpoint, Checkpoint, "Checkpoint('run.npz')")
        self._path, self._seconds, self._run = Path(checkpoint.path), checkpoint.seconds, run
        check_target(self._path)
        self._parts = parts_by_content(deciding)
        self._written = time.monotonic()
        if self._path.exists():
            self._restore(steps)

    @property
    def begun(self) -> bool:
        """Whether there is more to keep than where the run starts."""
        return self._run.step > 0

    def save_when_due(self) -> None:
        """Write the file if the last time is long enough ago."""
        if time.monotonic() - self._written >= self._seconds:
            self.save()

    def save(self) -> None:
        """Write the run as it is now."""
        state, tensors = self._run.state()
        told = {"parts": self._parts, "step": self._run.step, "tensors": [*tensors], "state": state}
        arrays = {f"{place}": t.detach().cpu().numpy() for place, t in enumerate(tensors.values())}
        buffer = io.BytesIO()
        np.savez(buffer, told=np.array(json.dumps(told)), **arrays)  # type: ignore[arg-type]
        write_atomically(self._path, buffer.getvalue())
        self._written = time.monotonic()

    def _restore(self, steps: float) -> None:
        path = self._path
        told, tensors = _read(path)
        differing = differing_parts(self._parts, told["parts"])
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
        with _readable(path):
            self._run.restore(told["state"], tensors)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint tells, and its tensors by name."""
    with _readable(path):
        if not path.is_file():  # a pipe would be waited for
            raise ValueError
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            told = json.loads(str(stored["told"]))
            if not told.keys() >= {"parts", "step", "state"}:
                raise ValueError
            arrays = {name: stored[f"{place}"] for place, name in enumerate(told["tensors"])}
    return told, {name: torch.from_numpy(array) for name, array in arrays.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one sentence that a file is not what it should be."""
    try:
        yield
    except _UNREADABLE:
        raise InputError(
            f"{path} is not a readable checkpoint of this version; delete it to start anew, or "
            "name another file."
        ) from None


_UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def deciding(run: Run, **settings: object) -> dict[str, object]:
    """What decides a run but its budget and how it ends, part by part, for `Kept`."""
    network = [*vars(run.initial).values()]
    return {
        "inputs": run.x, "labels": run.y, "network": network, **settings, "loss": run.loss,
        **monitors_by_content(run.log.record),
    }  # fmt: skip


def stepping(descent: Descent) -> dict[str, object]:
    """What decides a run's steps, part by part, for `Kept`."""
    return {
        "step size": descent.step_size, "batches": descent.batches,
        "optimiser": descent.optimiser, "schedule": descent.schedule,
    }  # fmt: skip


def monitors_by_content(record: Mapping[str, Every]) -> dict[str, str]:
    """What every monitor of a record computes and when, under its name."""
    names = {name: f"monitor '{name}'" for name in record}
    return {
        names[name]: identity(item.steps, names[name]) + identity(item.monitor, names[name])
        for name, item in record.items()
    }


def parts_by_content(deciding: Mapping[str, object]) -> dict[str, str]:
    """Hashes of the parts that decide a run, and of what decides every run.

    Raises:
        InputError: a part has no identity.
    """
    always = {
        "Python version": sys.version_info[:2], "precision": matmul.chosen_precision()
    }  # fmt: skip
    parts = {**always, **deciding}
    return {name: identity(part, f"the {name}") for name, part in parts.items()}


def differing_parts(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The parts in which a run differs from a checkpoint's."""
    names = dict.fromkeys([*ours, *theirs])
    differing = [name for name in names if ours.get(name) != theirs.get(name)]
    # Another Python writes other instructions, and all hashes of functions differ along.
    return differing[:1] if "Python version" in differing else differing


@contextmanager
def nothing_lost(history: Callable[[], object], kept: Kept | None = None) -> Iterator[None]:
    """What stops a run, Ctrl-C too, carries its history along and leaves a checkpoint behind.

    A monitor that fails has left no trace in the log, and a step changes all parameters or none:
    so what is there is a state to go on from.

    Args:
        history: so far, of the run or of the members of a fleet.
        kept: the file, if there is one.
    """
    try:
        with interruptible():
            yield
    except BaseException as error:
        error.history = history()  # type: ignore[attr-defined]
        if kept is not None and kept.begun:
            with contextlib.suppress(InputError):  # what stopped the run is what is to be told
                kept.save()
        raise
