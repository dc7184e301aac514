"""One pass of SGD over real digits errs the less on images held out the more it has seen.

Beside Theorem 3.8; refuted by an error of the uniform iterate whose exponent in the number of
images is above 0, with all of its interval.
"""

from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from scipy import stats

from companion.datafiles import digits_source
from companion.datasets import DataSet, digits
from companion.draws import cpu_generator, independent_seed
from companion.experiments.chen2021._problem import Exponent, Layers, on_data
from companion.experiments.chen2021._streams import FreshExamples, one_pass
from companion.lab.checks import at_most, claim, exponent_at_most, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import SeededSettings, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {"chen2021-thm3.8-digits": "holds"}
DATA = "digits"
PIXELS = 784
Digit = Annotated[int, Field(ge=0, le=9)]


class Settings(SeededSettings):
    """What is run; the images are the same for all seeds, their order and the networks are not.

    Attributes:
        classes: the two digits, labelled +1 and -1.
        per_class: images of each to train on.
        held_out: images of each that follow them, on which errors are measured.
        layers: L, weight matrices.
        width: m, of every hidden layer.
        alpha: the networks' exponent.
        counts: n, images of one pass, in increasing order; at most twice `per_class`.
        each: held-out images at every step, which divides their number.
    """

    dtype: Literal["float32", "float64"] = "float32"
    seeds: Size = 4
    classes: tuple[Digit, Digit] = (3, 8)
    per_class: Size = 400
    held_out: Size = 100
    layers: Layers = 3
    width: Size = 64
    alpha: Exponent = 0.5
    counts: SeveralSizes = (50, 200, 800)
    each: Size = 10


QUICK = Settings()
PAPER = Settings(
    seeds=8, per_class=4500, held_out=500, width=256, counts=(50, 200, 800, 3200, 9000), each=50
)


def summary(settings: Settings) -> str:
    """What is run."""
    s, (plus, minus) = settings, settings.classes
    return (
        f"One pass of SGD with $\\eta=1/(Lm^{{2\\alpha}})$ over $n$ = {listed(s.counts)} images of "
        f"handwritten digits {plus} (label $+1$) and {minus} (label $-1$), $d={PIXELS}$ pixels "
        f"scaled to unit norm, with $L$ = {s.layers} weight matrices, width $m={s.width}$ and "
        f"$\\alpha={s.alpha:g}$. Errors are measured on {2 * s.held_out} images that no run is "
        f"trained on; the order of the images and the networks are drawn anew for each of "
        f"{s.seeds} seeds and every $n$."
    )


def cost(settings: Settings) -> Cost:
    """Six products a step on an image and two on each held-out one."""
    s = settings
    weights = s.width * (PIXELS + 1 + (s.layers - 2) * s.width)
    flops = float(s.seeds) * weights * sum(s.counts) * (8 + 2 * s.each)
    size = 4 if s.dtype == "float32" else 8
    images = 3 * s.seeds * s.counts[-1] * PIXELS * size
    # Images are read as bytes and made numbers in float64.
    return Cost(flops, images + 2 * (s.per_class + s.held_out) * PIXELS * 16)


def run(settings: Settings, device: str) -> xr.Dataset:
    """A fleet of all seeds for every n.

    Raises:
        InputError: there are too few digits here.
    """
    s = settings
    data = digits(digits_source(), s.classes, s.per_class + s.held_out)
    found = sweep("passes", partial(_passes, s, device, data), examples=s.counts)
    return found.assign_coords(seed=list(s.each_seed)).assign_attrs(data=data.source)


def _passes(settings: Settings, device: str, data: DataSet, *, examples: int) -> Variables:
    """Mean error of the iterates on the images held out, and how many of them the last one errs on.

    The classes alternate, so the last rows hold as many of both.
    """
    s, split = settings, 2 * settings.per_class
    problems = []
    for seed in s.each_seed:
        own = independent_seed(seed, examples)
        rows = torch.randperm(split, generator=cpu_generator("order", own))[:examples]
        some = DataSet(data.x[rows], data.y[rows], data.source)
        problems.append(
            on_data(some, s, device, seed=own, width=s.width, layers=s.layers, alpha=s.alpha)
        )
    x, y = data.x[split:].to(problems[0].x), data.y[split:].to(problems[0].y)
    tests = FreshExamples(x.expand(s.seeds, *x.shape), y.expand(s.seeds, len(y)), s.each)
    eta = 1 / (s.layers * s.width ** (2 * s.alpha))
    passes = one_pass(problems, [eta] * s.seeds, tests)
    wrong = [int((y * network.predict(x) < 0).sum()) for network in passes.last]
    return {
        "error": ("seed", passes.errors.mean(axis=1)),
        "online": ("seed", (passes.margins < 0).mean(axis=1)),
        "wrong": ("seed", np.array(wrong)),
    }


def interval(settings: Settings, wrong: float) -> tuple[float, float]:
    """The exact binomial interval of an error, of 95%, from errors on the images held out."""
    found = stats.binomtest(int(wrong), 2 * settings.held_out).proportion_ci(0.95)
    return float(found.low), float(found.high)


def limits(settings: Settings, found: xr.Dataset) -> np.ndarray:
    """Lower and upper ends of the last iterates' intervals at the largest n, shape (seeds, 2)."""
    last = found.wrong.isel(examples=-1).values
    return np.array([interval(settings, wrong) for wrong in last])


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Errors at both ends, and the interval of the last iterates."""
    s, last, ends = settings, found.isel(examples=-1), limits(settings, found)
    return {
        "first_error": found.error.isel(examples=0).mean(),
        "last_error": last.error.mean(),
        "last_iterate": last.wrong.mean() / (2 * s.held_out),
        "low": ends[:, 0].min(),
        "high": ends[:, 1].max(),
        "exponent": exponent(found.error, "examples"),
        "held_out": 2 * s.held_out,
        "fewest": s.counts[0],
        "most": s.counts[-1],
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Whether the error falls, over all seeds; and the last iterates' intervals."""
    s, ends = settings, limits(settings, found)
    share = found.wrong.isel(examples=-1) / (2 * s.held_out)
    return [
        claim(
            "chen2021-thm3.8-digits",
            "on real images held out the error of the uniform iterate of one pass falls as $n$ "
            "grows",
            exponent_at_most(
                "the error of the uniform iterate on images held out, in $n$",
                found.error,
                0,
                0,
                "examples",
            ),
            at_most(
                "upper ends of the 95% binomial intervals of the last iterates' errors",
                ends[:, 1],
                0.5,
            ),
            note(
                f"after {number(s.counts[-1], ',d')} images the last iterates err on "
                f"{spread(share, '.1%')} of the images held out, with intervals from "
                f"{number(ends[:, 0].min(), '.1%', 'down')} to "
                f"{number(ends[:, 1].max(), '.1%', 'up')}"
            ),
            holds="On images held out the error of the uniform iterate falls as $n$ grows.",
            fails="The error of the uniform iterate on images held out does not fall as $n$ grows, "
            "or the last iterates are no better than a guess.",
        )
    ]


def _reversed(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(error=(found.error.dims, found.error.values[::-1]))


CONTROLS = {
    "chen2021-thm3.8-digits": Lie("the errors stand at the numbers of images reversed", _reversed),
}
