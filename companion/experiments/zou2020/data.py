"""The data of section 6: how many images, of which norm, how far apart (Assumptions 4.1, 4.2).

Refuted by other counts than the printed ones, by an input that is not of norm 1 or lacks the
constant coordinate, or by two equal images of different labels.
"""

from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.cifarfiles import CLASSES, TRAINING, read_cifar10
from companion.datasets import with_bias
from companion.images import cifar10, mnist
from companion.lab.checks import anyway, at_least, claim, identity, note, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Share
from companion.lab.settings import Settings as Plain
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.nearest import Separation, separation

EXPECTED: dict[str, Outcome] = {
    "zou2020-ass4.1": "holds",
    "zou2020-ass4.2": "holds",
    "zou2020-datacount": "fails",
}
DATA = ("digits", "cifar10")
# What the paper prints, section 6.
PRINTED = {"mnist": 9_943, "cifar10": 7_931}
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
PIXELS = {"mnist": 784, "cifar10": 3_072}
# Of the distances to the nearest image of either kind, that many quantiles are kept.
LEVELS = 201
# Of a sum of squares over all pixels, relative to its value of 1.
ROUNDING = (max(PIXELS.values()) + 1) * float(np.finfo(float).eps)


class Settings(Plain):
    """What is looked at; all images, in float64, and no seeds, as nothing is drawn.

    Attributes:
        mu: the constant last coordinate, which the paper does not state.
        sample: images of each data set, the first, all of whose pairs are measured before and
            after the coordinate is put in.
    """

    mu: Share = 0.1
    sample: Count = 200


QUICK = Settings()
PAPER = Settings(sample=1000)
REPLAY = {
    "one_of": ({"sample": 200},),
    "hangs_on": {"scaling_gap": (("sample",), "it is the largest of all pairs of the sample")},
}


def cost(settings: Settings) -> Cost:
    """A product of n^2 / 2 pairs of images; the images in both precisions, and with mu."""
    sizes = {name: (PRINTED[name], PIXELS[name]) for name in PRINTED}
    flops = sum(float(count**2 * pixels) for count, pixels in sizes.values())
    return Cost(flops, max(20.0 * count * pixels for count, pixels in sizes.values()))


def summary(settings: Settings) -> str:
    """What is looked at."""
    return (
        "The digits 3 and 8 among the first 50,000 training images of MNIST, and the cats and "
        "ships of the first four training batches of CIFAR-10, each image scaled to unit norm and "
        rf"given the last coordinate $\mu={number(settings.mu)}$; distances of all pairs, of which "
        f"those of the first {settings.sample} images are measured with the coordinate, too."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Count, scale, put the coordinate in, and measure.

    Raises:
        MissingDataError: a file of either data set is not on this machine.
    """
    found = sweep("sets", partial(_look, settings, device), images=PRINTED)
    batches = [_cats_and_ships(f"batch{k}") for k in range(1, len(TRAINING) + 1)]
    told = "MNIST, first 50,000, digits 3 and 8; CIFAR-10, batches 1 to 4, cats and ships"
    return found.assign(batches=(("batch", "label"), batches)).assign_attrs(data=told)


def _look(settings: Settings, device: str, *, images: str) -> Variables:
    """One data set."""
    data = (mnist() if images == "mnist" else cifar10()).to(torch.float64, device)
    apart, mapped = separation(data.x, data.y), with_bias(data.x, settings.mu)
    first = slice(0, settings.sample)
    before, after = _distances(data.x[first]), _distances(mapped[first])
    shrunk = (1 - settings.mu**2) ** 0.5
    return {
        "count": ("label", [int((data.y == label).sum()) for label in (1, -1)]),
        **_separations(apart, mapped),
        "norm_gap": float((torch.linalg.vector_norm(mapped, dim=1) - 1).abs().max()),
        "coordinate_gap": float((mapped[:, -1] - settings.mu).abs().max()),
        "scaling_gap": float((after / before / shrunk - 1).abs().max()),
    }


def _separations(apart: Separation, mapped: Tensor) -> Variables:
    """Least distances before and after the coordinate, and all images' to their nearest."""
    levels = np.linspace(0, 1, LEVELS)
    pairs = [apart.across_pair, apart.within_pair]
    (a, b), (c, d) = ((mapped[list(pair)]) for pair in pairs if pair is not None)
    across = float(torch.linalg.vector_norm(a - b))
    return {
        "across": ("level", np.quantile(apart.across.cpu().numpy(), levels)),
        "within": ("level", np.quantile(apart.within.cpu().numpy(), levels)),
        "cross_class": apart.cross_class,
        "all_pairs": apart.all_pairs,
        "mapped_cross_class": across,
        "mapped_all_pairs": min(across, float(torch.linalg.vector_norm(c - d))),
        "pair": (("kind", "end"), pairs),
        "duplicates": sum(len(group) - 1 for group in apart.duplicates),
    }


def _distances(x: Tensor) -> Tensor:
    """Of every two different inputs, by differences of their coordinates."""
    every = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    upper = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    return every[upper[0], upper[1]]


def _cats_and_ships(batch: str) -> list[int]:
    labels = read_cifar10(batch)[1]
    return [int((labels == CLASSES.index(name)).sum()) for name in ("cat", "ship")]


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Counts and separations of either data set."""
    told: dict[str, object] = {"mu": settings.mu, "sample": settings.sample}
    for images in PRINTED:
        one = found.sel(images=images)
        cross, every = float(one.cross_class), float(one.all_pairs)
        told |= {
            f"{images}_count": int(one["count"].sum()),
            f"{images}_plus": one["count"].isel(label=0),
            f"{images}_minus": one["count"].isel(label=1),
            f"{images}_cross_class": cross,
            f"{images}_all_pairs": every,
            f"{images}_mapped_cross_class": one.mapped_cross_class,
            f"{images}_mapped_all_pairs": one.mapped_all_pairs,
            f"{images}_duplicates": one.duplicates,
            f"{images}_median_across": one.across.isel(level=LEVELS // 2),
            f"{images}_median_within": one.within.isel(level=LEVELS // 2),
            # Theorem 4.4 asks for a width that grows like phi^-4.
            f"{images}_width_gained": (cross / every) ** 4 if every else np.nan,
        }
    fewest, most = min(_fours(found)), max(_fours(found))
    return told | {
        "printed_cifar10": PRINTED["cifar10"],
        "more_than_printed": int(told["cifar10_count"]) - PRINTED["cifar10"],  # type: ignore[call-overload]
        "fewest_of_four": fewest,
        "most_of_four": most,
    }


def _fours(found: xr.Dataset) -> list[int]:
    """How many cats and ships any four of the five batches hold, the last left out first."""
    of_batch = found.batches.sum("label").values
    return [int(of_batch.sum() - left_out) for left_out in of_batch[::-1]]


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Counts against the printed ones; norms, coordinates and separations to rounding."""
    return [_judge_norms(found), _judge_separation(settings, found), _judge_counts(found)]


def _judge_norms(found: xr.Dataset) -> Verdict:
    return claim(
        "zou2020-ass4.1",
        r"$\lVert x_i\rVert_2=1$ and $(x_i)_d=\mu$ for every input",
        anyway(identity("norms of the inputs, and 1", found.norm_gap, ROUNDING)),
        anyway(identity(r"last coordinates and $\mu$", found.coordinate_gap, ROUNDING)),
        holds="Scaled to unit norm and given the constant coordinate, every image of both data "
        "sets is an input as the assumption has it.",
        fails="An input is not of norm 1, or its last coordinate is not the constant.",
    )


def _judge_separation(settings: Settings, found: xr.Dataset) -> Verdict:
    cross, every = (
        listed(f"{number(found[kind].sel(images=name), '.3f')} on {NAMES[name]}" for name in NAMES)
        for kind in ("cross_class", "all_pairs")
    )
    return claim(
        "zou2020-ass4.2",
        r"some $\phi>0$ is at most the distance of any two inputs of different labels",
        at_least("least distance of two images of different labels", found.cross_class, ROUNDING),
        at_least("the same with the constant coordinate", found.mapped_cross_class, ROUNDING),
        anyway(
            identity(
                r"distances with the coordinate over those without, and $\sqrt{1-\mu^2}$, for all "
                f"pairs of the first {settings.sample} images, as a share",
                found.scaling_gap,
                ROUNDING,
            )
        ),
        note(f"Any two images are at least {every} apart"),
        holds=rf"The assumption is met with $\phi=$ {cross}, and the constant coordinate shrinks "
        "all distances alike.",
        fails="Two images of different labels are equal, or the constant coordinate does not "
        "shrink all distances alike.",
    )


def _judge_counts(found: xr.Dataset) -> Verdict:
    counts = {name: int(found["count"].sel(images=name).sum()) for name in PRINTED}
    digits, both = counts["mnist"], counts["cifar10"]
    others = _fours(found)[1:]
    return claim(
        "zou2020-datacount",
        "9,943 digits 3 and 8 of MNIST, and 7,931 cats and ships of CIFAR-10",
        true(
            "the digits 3 and 8 among the first 50,000 images are the printed 9,943",
            [digits == PRINTED["mnist"]],
            f"they are {digits:,}",
        ),
        true(
            "the cats and ships of batches 1 to 4 are the printed 7,931",
            [both == PRINTED["cifar10"]],
            f"they are {both:,}",
        ),
        note(f"Any other four batches hold {min(others):,} to {max(others):,} cats and ships"),
        holds="Both numbers are those of the official files.",
        fails=f"The digits are {digits:,} and the cats and ships {both:,}, where 9,943 and 7,931 "
        "are printed.",
    )


def _one_less_normal(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(norm_gap=found.norm_gap + 1e-10)


def _twins(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    apart = found.images != "mnist"
    return found.assign(cross_class=found.cross_class.where(apart, 0.0))


def _fewer_ships(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    surplus = found["count"].sel(images="cifar10").sum() - PRINTED["cifar10"]
    ships = (found.images == "cifar10") & (xr.DataArray([0, 1], dims="label") == 1)
    return found.assign(count=found["count"] - surplus * ships)


CONTROLS = {
    "zou2020-ass4.1": Lie("the norm of one input is off 1 by a ten-billionth", _one_less_normal),
    "zou2020-ass4.2": Lie("a digit 3 and a digit 8 are the same image", _twins),
    "zou2020-datacount": Lie(
        "the cats and ships of batches 1 to 4 are as many as the paper prints",
        _fewer_ships,
    ),
}
