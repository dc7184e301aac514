"""Assumption 3.5: how far apart inputs are, of different labels (version 3) or all (version 1).

Refuted by a pair of different labels that is closer than all pairs, or by copies of inputs under
their own label that change the separation of different labels.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.datasets import random_labels, sphere, twins, with_bias
from companion.draws import independent_seed
from companion.experiments.zou2018._problem import DeepSettings
from companion.lab.checks import at_least, at_most, claim, identity, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Dimension, Share, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.nearest import separation

EXPECTED: dict[str, Outcome] = {"zou2018-ass3.5": "holds"}
CONTROLS = {
    "zou2018-ass3.5": Lie(
        "inputs repeated under their own label halve the separation of different labels",
        lambda settings, found: found.assign(
            different=found.different.where(found.kind != "repeated", found.different / 2)
        ),
    ),
}
# Training sets, in the order of `_training_sets`.
KINDS = ("uniform", "copies", "twins", "repeated", "contradictory")


class Settings(DeepSettings):
    """What is run.

    Attributes:
        counts: n, even, in increasing order; few inputs could all have one label.
        copy_distance: of two inputs of one label, in training sets made of such copies.
        separation: phi of twins, two inputs of different labels.
    """

    dimension: Dimension = 10
    seeds: Size = 5
    counts: Sizes = (32, 64, 128, 256, 512)
    copy_distance: Share = 0.01
    separation: Share = 0.1


QUICK = Settings()
PAPER = Settings(counts=(*QUICK.counts, 1024, 2048), seeds=10)


def cost(settings: Settings) -> Cost:
    """Distances of all pairs of all sets, of which the last two are twice as large."""
    s = settings
    pairs = 11 * sum(count**2 for count in s.counts)
    return Cost(s.seeds * pairs * s.dimension, 16 * max(s.counts) ** 2)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Distances in training sets of $n$ = {listed(s.counts)} inputs in dimension $d$ = "
        rf"{s.dimension} with last coordinate $\mu$ = {s.mu:g}: uniform on the sphere with random "
        f"labels; copies of one label, {number(s.copy_distance)} apart; twins of different labels, "
        f"{number(s.separation)} apart; and uniform inputs that occur twice. They are drawn anew "
        f"for each of {s.seeds} seeds; nothing is trained."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Measure both separations of every training set; they are small, and stay on the CPU."""
    s = settings
    found = sweep("sets", partial(_separations, s), seed=s.each_seed, count=s.counts)
    told = f"uniform on the sphere, copies, twins and repeated inputs, d={s.dimension}"
    return found.assign_coords(kind=list(KINDS)).assign_attrs(data=told)


def _separations(settings: Settings, *, seed: int, count: int) -> Variables:
    """Phi of Assumption 3.5 in version 3, and of Assumption 3.6 in version 1."""
    found = [separation(x, y) for x, y in _training_sets(settings, count, seed)]
    return {
        "different": ("kind", [each.cross_class for each in found]),
        "all_pairs": ("kind", [each.all_pairs for each in found]),
    }


def _training_sets(settings: Settings, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs with a bias coordinate, and labels, kind by kind."""
    s, own = settings, independent_seed(seed, count)
    before = 1 / (1 - s.mu**2) ** 0.5  # the bias coordinate shrinks distances
    uniform = random_labels(sphere(count, s.dimension - 1, own), own)
    copies = twins(count, s.dimension - 1, s.copy_distance * before, own)
    pairs = twins(count, s.dimension - 1, s.separation * before, own)
    coins = uniform.y[: count // 2].repeat_interleave(2)
    x = with_bias(uniform.x, s.mu)
    yield x, uniform.y
    yield with_bias(copies.x, s.mu), coins
    yield with_bias(pairs.x, s.mu), pairs.y
    yield torch.cat([x, x]), torch.cat([uniform.y, uniform.y])
    yield torch.cat([x, x]), torch.cat([uniform.y, -uniform.y])


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Mean separations of the largest training sets."""
    largest = found.isel(count=-1).mean("seed")
    return {
        "count": settings.counts[-1],
        "dimension": settings.dimension,
        "uniform_different": largest.different.sel(kind="uniform"),
        "uniform_all": largest.all_pairs.sel(kind="uniform"),
        "copies_different": largest.different.sel(kind="copies"),
        "copies_all": largest.all_pairs.sel(kind="copies"),
        "least_different": found.different.sel(kind=["uniform", "copies"]).min(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """One inequality, and what copies do to either separation."""
    rounding = 100 * float(np.finfo("float64").eps)  # of data, drawn in float64
    different, every = (
        {kind: found[name].sel(kind=kind) for kind in KINDS} for name in ("different", "all_pairs")
    )
    separated = found.sel(kind=[kind for kind in KINDS if kind != "contradictory"])
    return [
        claim(
            "zou2018-ass3.5",
            r"version 3 asks $\lVert x_i-x_{i'}\rVert_2\ge\phi>0$ where $y_i\ne y_{i'}$, version 1 "
            "of all pairs; so version 3 asks less, and inputs of one label may be close or equal",
            at_most(
                r"$\phi$ over all pairs, over $\phi$ over pairs of different labels, in every set "
                "that has one",
                separated.all_pairs / separated.different,
                1 + rounding,
            ),
            identity(
                r"$\phi$ over all pairs, once every input is repeated under its label, and 0",
                every["repeated"],
                0.0,
                "exact",
            ),
            identity(
                r"$\phi$ over pairs of different labels, before and after that",
                different["repeated"] - different["uniform"],
                rounding,
            ),
            at_least(
                r"$\phi$ over pairs of different labels, over that of all pairs, where inputs of "
                "one label are copies",
                different["copies"] / every["copies"],
                1,
            ),
            identity(
                r"$\phi$ of twins of different labels and their distance, both ways",
                xr.concat([different["twins"], every["twins"]], "way") - settings.separation,
                rounding,
            ),
            true(
                r"an input that occurs with both labels leaves no $\phi>0$",
                different["contradictory"] == 0,
            ),
            holds="No pair of different labels is closer than all pairs are; copies under one "
            "label bring the separation of version 1 to their distance, or to 0, and leave that of "
            "version 3 as large as it was.",
            fails="A pair of different labels is closer than all pairs are, or copies under one "
            "label change the separation of different labels.",
        )
    ]
