"""Drawn inputs in the place of photographs, and results as searches might have found them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

from companion.datasets import DataSet, sphere
from companion.errors import InputError
from companion.experiments.chen2021 import figure1
from companion.experiments.chen2021._searches import ENDINGS

DIMENSION = 6
# Of each class, as CIFAR-10 has 5,000 for training.
MOST = 40


def inputs(classes: tuple[str, str], split: str, per_class: int) -> DataSet:
    """Inputs on the sphere with the classes in turn, in the place of `cifar10`."""
    assert split == "train"
    if per_class > MOST:
        raise InputError(f"{split} has {MOST} images of the class {classes[0]}.")
    seed = sum(map(ord, "".join(classes)))
    x = sphere(2 * MOST, DIMENSION, seed).x[: 2 * per_class]
    y = torch.tensor([1.0, -1.0] * per_class, dtype=torch.float64)
    return DataSet(x, y, f"drawn {classes[0]} and {classes[1]}")


def found_by(
    settings: figure1.Settings, widths: Mapping[str, Sequence[float]], error: float = 0.05
) -> xr.Dataset:
    """A result with these widths in the main reading, and intervals of two errors of log m.

    Args:
        settings: whose counts and pairs they are of.
        widths: pair -> m at every n, NaN where a search has found networks too narrow throughout.
        error: standard error of log m.
    """
    shape = (len(settings.pairs), len(settings.counts), 3)
    width = np.full(shape, np.nan)
    for place, pair in enumerate(settings.pairs):
        width[place, :, 0] = widths[pair]
    ending = np.zeros(shape, dtype=int)
    ending[:, :, 0] = ENDINGS.index("too narrow throughout")
    ending[np.isfinite(width)] = ENDINGS.index("found")
    low, high = width * np.exp(-1.959964 * error), width * np.exp(1.959964 * error)
    narrow = ending == ENDINGS.index("too narrow throughout")
    low[narrow], high[narrow] = settings.widths[1] + 1, np.inf
    axes = ("pair", "count", "reading")
    arrays = {"ending": ending, "width": width, "low": low, "high": high}
    places = {
        "pair": settings.pairs,
        "count": list(settings.counts),
        "reading": ["sgd", "gd", "adam"],
    }
    return xr.Dataset({name: (axes, array) for name, array in arrays.items()}, places)
