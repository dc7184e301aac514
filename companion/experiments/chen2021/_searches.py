"""Searches for the minimal width on photographs, behind Figure 1 of Chen et al. (2021)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field

from companion.cifarfiles import CLASSES
from companion.datasets import DataSet
from companion.draws import Batches, independent_seed
from companion.experiments.chen2021._problem import Exponent, Layers
from companion.fleets import train_fleet
from companion.images import cifar10
from companion.lab.settings import SeededSettings, Size, Sizes
from companion.lab.sweep import PARTS, Variables
from companion.networks import ReLUNetwork, draw_chen
from companion.training import GRADIENT_DESCENT, Adam, Checkpoint, Stop
from companion.widths import MinimalWidth, minimal_width

PIXELS = 3_072
# How a search ends, in the order of the numbers that say so; what was left out ends as the first.
ENDINGS = (
    "not run", "found", "too narrow throughout", "wide enough throughout", "undecided",
)  # fmt: skip
FOUND = ENDINGS.index("found")


def _pairs(given: object) -> object:
    """One pair of classes, or several."""
    pairs = list(given) if isinstance(given, list | tuple) else [given]
    if all(isinstance(name, str) for name in pairs):
        pairs = [pairs]
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or len(set(pair)) != 2:
            raise ValueError("two different classes are needed, such as [cat, ship]")
        for name in pair:
            if name not in CLASSES:
                raise ValueError(
                    f"{name!r} is no class of CIFAR-10, which has {', '.join(CLASSES)}"
                )
    return pairs


def _halves(counts: tuple[int, ...]) -> tuple[int, ...]:
    if any(count % 2 for count in counts):
        raise ValueError("the counts must be even, as half of the images are of each class")
    return counts


Pairs = Annotated[
    tuple[tuple[str, str], ...], BeforeValidator(_pairs), Field(min_length=1, max_length=2)
]
EvenSizes = Annotated[Sizes, AfterValidator(_halves)]


class SearchSettings(SeededSettings):
    """Settings of searches for the minimal width, and of the networks in them.

    Attributes:
        layers: L, all weight matrices, all of them trained.
        alpha: of the factor m^alpha of the output.
        widths: the narrowest and the widest m that a search may try.
        seeds: initialisations in a round of a search.
        rounds: of a search, each made where the median may lie after those before it.
        batch: examples in a step of SGD and of Adam.
    """

    dtype: Literal["float32", "float64"] = "float32"
    layers: Layers = 5
    alpha: Exponent = 0.5
    widths: Annotated[Sizes, Field(min_length=2, max_length=2)] = (3, 96)
    seeds: Size = 10
    rounds: Size = 4
    batch: Size = 64

    @property
    def ladder(self) -> range:
        """All widths that a search may try."""
        return range(self.widths[0], self.widths[1] + 1)


@dataclass(frozen=True)
class Training:
    """How every run of a search is trained, without which a minimal width means nothing.

    Attributes:
        optimiser: `sgd` and `adam` on batches, `gd` on all examples.
        step_size: eta; of `gd` the c of Theorem 3.3, eta = c / (L m^(2 alpha)).
        epochs: at most; of `gd` these are its steps.
        batch: examples in a step of `sgd` and `adam`.
        alpha: of the factor m^alpha of the output.
    """

    optimiser: Literal["sgd", "gd", "adam"]
    step_size: float
    epochs: int
    batch: int
    alpha: float

    def steps(self, count: int) -> int:
        """The budget in steps for n = `count`."""
        return self.epochs * (1 if self.optimiser == "gd" else math.ceil(count / self.batch))

    def size(self, layers: int, width: int) -> float:
        """The step size at a width."""
        if self.optimiser != "gd":
            return self.step_size
        return float(self.step_size / (layers * width ** (2 * self.alpha)))


def photographs(pair: Sequence[str], count: int, block: int = 0) -> DataSet:
    """Photographs of two classes in turn, of unit norm: `block` says which n of the training set.

    Raises:
        InputError: there are not so many.
        MissingDataError: they are not on this machine.
    """
    first, second = pair
    data = cifar10((first, second), "train", count // 2 * (block + 1))
    rows = slice(count * block, count * (block + 1))
    return DataSet(data.x[rows], data.y[rows], data.source)


def standardised(data: DataSet) -> DataSet:
    """The same with every pixel at mean 0 and one variance over the examples, not of unit norm.

    The variance is 1 / d, so that the mean squared norm stays 1; a pixel that never changes is 0.
    """
    spread = data.x.std(dim=0, correction=0) * math.sqrt(data.x.shape[1])
    x = (data.x - data.x.mean(dim=0)) / torch.where(spread > 0, spread, 1.0)
    return DataSet(x, data.y, f"{data.source}, standardised")


def search(
    settings: SearchSettings,
    device: str,
    data: DataSet,
    training: Training,
    part: str,
    rounds: int | None = None,
) -> Variables:
    """The minimal width on these data, with every run told by width.

    Args:
        settings: of the networks and the search.
        device: where to compute.
        data: all of which every run has.
        training: of every run.
        part: of the experiment's run; a search that was cut off is found by it.
        rounds: those of the settings, if no others are given.
    """
    s, dtype = settings, getattr(torch, settings.dtype)
    near = data.to(dtype, device)
    count, dimension = near.x.shape
    full = training.optimiser == "gd"
    draw = partial(_draw, dimension, s.layers, training.alpha, dtype, device)
    told = minimal_width(
        near.x,
        near.y,
        draw=draw,
        widths=s.ladder,
        step_size=partial(training.size, s.layers),
        steps=training.steps(count),
        optimiser=Adam() if training.optimiser == "adam" else GRADIENT_DESCENT,
        batches=None if full else Batches(min(training.batch, count)),
        stop=Stop(zero_error=True),
        runs=s.seeds * (rounds or s.rounds),
        at_once=s.seeds,
        seed=independent_seed(s.first_seed, count, s.layers),
        folder=_folder(part),
    )
    return as_arrays(told, s.ladder)


def _draw(
    dimension: int,
    layers: int,
    alpha: float,
    dtype: torch.dtype,
    device: str,
    width: int,
    seed: int,
) -> ReLUNetwork:
    """A network at initialisation, section 3."""
    return draw_chen(
        width, dimension, seed, depth=layers - 1, alpha=alpha, dtype=dtype, device=device
    )


def _folder(part: str) -> Path | None:
    """Where a search keeps its rounds until the experiment's run is done."""
    parts = PARTS.get()
    return None if parts is None else parts.folder / part


def as_arrays(told: MinimalWidth | None, ladder: Sequence[int]) -> Variables:
    """A search as arrays; None is one that was left out.

    Args:
        told: by the search.
        ladder: all widths that it might have tried.
    """
    rows = {row.width: row for row in told.table} if told else {}
    low, high = told.interval if told else (np.nan, np.nan)

    def tried(name: str, missing: Any) -> tuple[str, list[Any]]:
        return "tried", [getattr(rows[m], name) if m in rows else missing for m in ladder]

    return {
        "ending": ENDINGS.index(told.outcome if told else "not run"),
        "width": told.width if told and told.width is not None else np.nan,
        "low": low,
        "high": high,
        "runs": tried("runs", 0),
        "successes": tried("successes", 0),
        "diverged": tried("diverged", 0),
        "median_steps": tried("median_steps", np.nan),
    }


# NaN in these says that there is no minimal width, or that nothing was run.
MAY_BE_MISSING = ("width", "low", "high", "median_steps")


def epochs_to_success(
    settings: SearchSettings,
    device: str,
    data: DataSet,
    training: Training,
    widths: Sequence[int],
    part: str,
) -> np.ndarray:
    """Epochs until every run has zero training error, NaN for one that has not within its budget.

    Arguments as of `search`; every width is trained from every seed, with batches of its own.

    Returns:
        Shape (widths, seeds).
    """
    s, dtype = settings, getattr(torch, settings.dtype)
    near = data.to(dtype, device)
    count, dimension = near.x.shape
    places = [(m, independent_seed(seed, count, m)) for m in widths for seed in s.each_seed]
    folder, batch = _folder(part), min(training.batch, count)
    full = training.optimiser == "gd"
    histories = train_fleet(
        [_draw(dimension, s.layers, training.alpha, dtype, device, *place) for place in places],
        near.x,
        near.y,
        loss="cross-entropy",
        step_size=[training.size(s.layers, m) for m, _ in places],
        steps=training.steps(count),
        optimiser=Adam() if training.optimiser == "adam" else GRADIENT_DESCENT,
        batches=None if full else [Batches(batch, seed=seed) for _, seed in places],
        stop=Stop(zero_error=True),
        checkpoint=None if folder is None else Checkpoint(folder.with_suffix(".npz")),
    )
    per_epoch = training.steps(count) / training.epochs
    epochs = [
        run.steps / per_epoch if run.ending == "zero-error" else math.nan for run in histories
    ]
    return np.array(epochs).reshape(len(widths), s.seeds)


def flops(settings: SearchSettings, training: Training, count: int, width: float) -> float:
    """A run that takes three quarters of its budget, which is half way between all and half.

    Three products a layer and step is what training takes; SGD looks at all examples after every
    epoch.
    """
    inner = PIXELS if training.optimiser == "adam" else min(count, PIXELS)
    weights = inner * width + (settings.layers - 2) * width**2
    passes = 3 if training.optimiser == "gd" else 4
    return 0.75 * 2 * passes * training.epochs * count * weights


def memory(settings: SearchSettings, count: int, units: int) -> float:
    """Bytes: the images in float64 as they are read, the same as they are trained on, a fleet.

    Args:
        settings: of the networks.
        count: n.
        units: widths of all networks that train at once, together.
    """
    size = 4 if settings.dtype == "float32" else 8
    fleet = units * (6 * min(count, PIXELS) + PIXELS + count * settings.layers)
    return count * PIXELS * (2.0 * 8 + 2.0 * size) + size * fleet


def told_width(search: Mapping[str, Any]) -> str:
    """A search in words: `6.2 (5.5 to 7.0)`, or why there is no number.

    Args:
        search: `ending`, `width`, `low` and `high`, a number each.
    """
    ending = int(search["ending"])
    if ending == FOUND:
        ends = f"{float(search['low']):.1f} to {float(search['high']):.1f}"
        return f"{float(search['width']):.1f} ({ends})"
    return f"none, {ENDINGS[ending]}" if ending else "not run"
