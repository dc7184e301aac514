"""The grid of runs that an experiment computes, each point kept until the whole is done."""

import functools
import itertools
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from companion.base.files import decode, encode, read_checked, write_checked
from companion.lab.results import as_written
from companion.lab.store import kept


@dataclass(frozen=True)
class Parts:
    """The parts of the run under way: their folder, and the names met so far."""

    folder: Path
    names: set[str] = field(default_factory=set)


PARTS: ContextVar[Parts | None] = ContextVar("PARTS", default=None)


def checkpoint(part: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One part of a long run, kept on disk until the whole is done, so that a stopped run resumes.

    Args:
        part: name, unique within the run, fit for a file name.
        compute: returns named arrays; called only if the part is not there yet.

    Raises:
        ValueError: the run has a part of that name already, whose arrays would be taken for it.
    """
    parts = PARTS.get()
    if parts is None:
        return compute()
    if part in parts.names:
        raise ValueError(f"two parts of a run have the name '{part}'")
    parts.names.add(part)
    path = parts.folder / f"{part}.json"
    known = kept(path, functools.partial(_read_part, part))
    if known is not None:
        return known
    arrays = compute()
    encoded = {name: encode(array) for name, array in arrays.items()}
    write_checked(path, {"part": part, "arrays": encoded})
    return arrays


def sweep(
    name: str, compute: Callable[..., dict[str, np.ndarray]], **axes: Iterable[Any]
) -> dict[str, np.ndarray]:
    """Compute every point of a grid, each with a checkpoint, and stack the arrays along its axes.

    Args:
        name: unique within the run, fit for a file name; shown by the progress bar, which is
            silent in notebooks and logs.
        compute: called with one keyword per axis; returns arrays of the same shapes everywhere.
        **axes: name -> values, the slowest first.

    Returns:
        Arrays of shape (length of each axis, ..., shape at a point).
    """
    values = [list(axis) for axis in axes.values()]
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*values)]
    parts = [
        checkpoint(
            "-".join([name, *(f"{axis}{value}" for axis, value in point.items())]),
            functools.partial(compute, **point),
        )
        for point in tqdm(points, desc=name, disable=None, file=sys.stderr)
    ]
    shape = [len(axis) for axis in values]
    return {
        key: np.stack([part[key] for part in parts]).reshape(*shape, *parts[0][key].shape)
        for key in parts[0]
    }


def _read_part(part: str, path: Path) -> dict[str, np.ndarray]:
    with as_written(path):
        payload = read_checked(path)
        if payload["part"] != part:
            raise ValueError
        return {name: decode(array) for name, array in payload["arrays"].items()}
