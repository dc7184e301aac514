"""Runs in files, from which they go on equal bit for bit."""

import contextlib
import io
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from companion import matmul
from companion.base.arguments import check_type, real
from companion.base.files import check_target, write_atomically
from companion.base.identity import identity
from companion.errors import InputError
from companion.training.history import recorded
from companion.training.run import Run


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


class Kept:
    """A run in a file. It is taken up from there if the file holds the same run."""

    def __init__(
        self, checkpoint: Checkpoint, run: Run, settings: Mapping[str, object], steps: int
    ) -> None:
        self._path, self._seconds, self._run = Path(checkpoint.path), checkpoint.seconds, run
        check_target(self._path)
        self._parts = _parts(run, settings)
        self._written = time.monotonic()
        if self._path.exists():
            self._restore(steps)

    def save_when_due(self) -> None:
        """Write the file if the last time is long enough ago."""
        if time.monotonic() - self._written >= self._seconds:
            self.save()

    def save(self) -> None:
        """Write the run as it is now."""
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


def _tensors(run: Run) -> dict[str, dict[str, Tensor]]:
    return {
        "parameter": {str(k): parameter for k, parameter in enumerate(run.parameters)},
        "memory": run.memory,
        "value": {name: torch.stack(values) for name, values in run.log.values.items() if values},
    }


def _parts(run: Run, settings: Mapping[str, object]) -> dict[str, str]:
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


@contextmanager
def nothing_lost(run: Run, kept: Kept | None = None) -> Iterator[None]:
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
