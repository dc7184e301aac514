"""The grid of runs that an experiment computes, each point kept until the whole is done."""

import functools
import itertools
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from companion.base.files import read_checked, write_checked
from companion.lab.results import as_written, decode_dataset, encode_dataset
from companion.lab.store import kept


@dataclass(frozen=True)
class Parts:
    """The parts of the run under way: their folder, and the names met so far."""

    folder: Path
    names: set[str] = field(default_factory=set)


PARTS: ContextVar[Parts | None] = ContextVar("PARTS", default=None)

Variables = Mapping[Hashable, Any]


def checkpoint(part: str, compute: Callable[[], Variables]) -> xr.Dataset:
    """One part of a long run, kept on disk until the whole is done, so that a stopped run resumes.

    Args:
        part: name, unique within the run, fit for a file name.
        compute: returns what an `xarray.Dataset` is made of: name -> number, or a pair of
            dimensions' names and array; called only if the part is not there yet.

    Raises:
        ValueError: the run has a part of that name already, whose arrays would be taken for it.
    """
    parts = PARTS.get()
    if parts is None:
        return xr.Dataset(compute())
    if part in parts.names:
        raise ValueError(f"two parts of a run have the name '{part}'")
    parts.names.add(part)
    path = parts.folder / f"{part}.json"
    known = kept(path, functools.partial(_read_part, part))
    if known is not None:
        return known
    found = xr.Dataset(compute())
    write_checked(path, {"part": part, **encode_dataset(found)})
    return found


def sweep(name: str, compute: Callable[..., Variables], **axes: Iterable[Any]) -> xr.Dataset:
    """Compute every point of a grid, each with a checkpoint, and stack what is found.

    Args:
        name: unique within the run, fit for a file name; shown by the progress bar, which is
            silent in notebooks and logs.
        compute: called with one keyword per axis; returns the same as in `checkpoint`, of the same
            shapes everywhere.
        **axes: name -> values, the slowest first.

    Returns:
        Every variable with the axes before its own dimensions, and their values as coordinates.

    Raises:
        ValueError: an axis without values, a variable with a dimension that is an axis, or a point
            that gives other variables, dimensions, shapes or coordinates than the first.
    """
    values = {axis: list(points) for axis, points in axes.items()}
    grid = [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]
    if not grid:
        raise ValueError(f"sweep '{name}' has an axis without values")
    parts = [
        checkpoint(
            "-".join([name, *(f"{axis}{value}" for axis, value in point.items())]),
            functools.partial(compute, **point),
        )
        for point in tqdm(grid, desc=name, disable=None, file=sys.stderr)
    ]
    if taken := values.keys() & {str(dimension) for dimension in parts[0].dims}:
        raise ValueError(f"sweep '{name}' has axes that are dimensions already: {sorted(taken)}")
    for part, point in zip(parts, grid, strict=True):
        if _shape(part) != _shape(parts[0]) or not part.coords.equals(parts[0].coords):
            raise ValueError(f"sweep '{name}' gives other arrays at {point} than at {grid[0]}")
    lengths = [len(points) for points in values.values()]

    def stacked(key: Hashable) -> tuple[list[Hashable], np.ndarray]:
        first = parts[0][key]
        array = np.stack([part[key].values for part in parts])
        return [*values, *first.dims], array.reshape(*lengths, *first.shape)

    stacks = {key: stacked(key) for key in parts[0].data_vars}
    return xr.Dataset(stacks, parts[0].coords).assign_coords(values)


def _shape(part: xr.Dataset) -> dict[Hashable, object]:
    return {key: (array.dims, array.shape) for key, array in part.data_vars.items()}


def _read_part(part: str, path: Path) -> xr.Dataset:
    with as_written(path):
        payload = read_checked(path)
        if payload["part"] != part:
            raise ValueError
        return decode_dataset(payload)
