"""Training on images: far from its linearisation where narrow, and better on images held out.

Refuted by narrow networks whose linearisation error stays below 1/4; by errors, or shares of
changed activations, that do not fall with the width; by a test error that does not fall with n, or
that rises with the width.
"""

from functools import partial
from typing import Literal

import numpy as np
import torch
import xarray as xr
from scipy import stats

from companion.datasets import DataSet
from companion.draws import cpu_generator
from companion.experiments.chen2021._images import (
    PIXELS,
    ImageSettings,
    chosen,
    held_out,
    pool_of,
)
from companion.experiments.chen2021._problem import on_data
from companion.experiments.chen2021._tangent import linearisation_error
from companion.experiments.zou2018._problem import Problem
from companion.fleets import train_fleet
from companion.lab.checks import (
    CONFIDENCE,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    note,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import (
    Every,
    Monitor,
    PatternDifference,
    frobenius_distances,
    mean_loss,
    training_error,
)
from companion.networks import ReLUNetwork

EXPECTED: dict[str, Outcome] = {
    "chen2021-regime-linearisation": "holds",
    "chen2021-regime-test-error": "holds",
}
DATA = ("digits", "cifar10")
# Of Lemma 6.2: above it the proof says nothing of a step.
ALLOWED = 0.25
# The widths of Figure 1 of the paper lie below.
NARROW = 24
# The exponent in m of what just counts as falling: ten times the width take a fifth off it.
SLOWEST = -0.1


class Settings(ImageSettings):
    """What is run.

    Attributes:
        dtype: of the training.
        widths: m, in increasing order, from those that suffice in practice on.
        step_size: eta m^(2 alpha), of full-batch gradient descent on the cross-entropy.
        steps: of every run.
        every: what a run has come to is looked at every so many steps.
        signs: draws of the signs in Rademacher's average.
    """

    dtype: Literal["float32", "float64"] = "float32"
    counts: SeveralSizes = (20, 40, 80)
    widths: SeveralSizes = (8, 16, 64, 256)
    step_size: Positive = 2.0
    steps: Size = 150
    every: Size = 25
    signs: Size = 50


QUICK = Settings()
PAPER = Settings(
    dataset="cifar10", pool=1000, held_out=500, counts=(50, 100, 200),
    widths=(12, 20, 64, 256), steps=800,
)  # fmt: skip
# Rounding errors grow a thousandfold within some hundred steps of the narrow networks.
REPLAY = {
    "one_of": ({"steps": 25},),
    "few": {"seeds": 1},
    "hangs_on": {
        "complexity": (("steps",), "they are of the last step"),
        "[lu]*er": (("steps",), "they are of the last step"),
        "wrong": (("steps",), "they are of the last step"),
    },
}


def summary(settings: Settings) -> str:
    """What is trained on which images, and what is looked at."""
    s = settings
    return (
        rf"{s.steps} steps of gradient descent at $\eta={s.step_size:g}m^{{-{2 * s.alpha:g}}}$ on "
        f"the cross-entropy of $n$ = {listed(s.counts)} {s.kind}, with networks of {s.layers} "
        f"weight matrices and width $m$ = {listed(s.widths)}; images and networks are drawn anew "
        f"for each of {s.seeds} seeds, and tested on {2 * s.held_out} images held out."
    )


def cost(settings: Settings) -> Cost:
    """Six products a layer and step, and four more where a run is looked at."""
    s, pixels = settings, PIXELS[settings.dataset]
    square = sum((s.layers - 2) * m**2 for m in s.widths)
    looked, each = s.steps * (6 + 4 / s.every), sum(s.widths)
    steps = looked * sum(n * (min(n, pixels) * each + square) for n in s.counts)
    tests = 4 * s.held_out * len(s.counts) * (pixels * each + square)
    flops = s.seeds * (steps + tests)
    size = 4 if s.dtype == "float32" else 8
    images = 8 * 2 * (s.pool + s.held_out) * pixels
    return Cost(flops, images + size * s.widths[-1] * 4 * (pixels + s.layers * s.widths[-1]))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every width on every number of images, and test it.

    Raises:
        InputError: there are not so many images.
        MissingDataError: the images are not on this machine.
    """
    s, pool = settings, pool_of(settings)
    dtype: torch.dtype = getattr(torch, s.dtype)
    test = held_out(s).to(dtype, device)
    train = partial(_train, s, device, pool, test)
    found = sweep("runs", train, seed=s.each_seed, count=s.counts)
    looks = [*range(0, s.steps, s.every), s.steps]
    told = f"{pool.source}, and to test on {test.source}"
    return found.assign_coords(look=looks, width=[*s.widths]).assign_attrs(data=told)


def _train(
    settings: Settings,
    device: str,
    pool: DataSet,
    test: DataSet,
    *,
    seed: int,
    count: int,
) -> Variables:
    """Every width on the same images, and the images held out that each gets wrong."""
    s, data = settings, chosen(pool, count, seed)
    scales = np.array(s.widths) ** s.alpha
    problems = [
        on_data(data, s, device, seed=seed, width=m, layers=s.layers, alpha=s.alpha)
        for m in s.widths
    ]
    record: dict[str, Monitor] = {
        "loss": mean_loss,
        "error": training_error,
        "linearisation": linearisation_error,
        "flips": PatternDifference(),
        "distance": frobenius_distances,
    }
    looked = {name: Every(s.every, monitor) for name, monitor in record.items()}
    # With fewer images than pixels a fleet trains in the span of the images, which is quicker.
    histories = train_fleet(
        [problem.network for problem in problems], problems[0].x, problems[0].y,
        loss=problems[0].loss, step_size=[s.step_size / scale**2 for scale in scales],
        steps=s.steps, record=looked,
    )  # fmt: skip
    series = {
        name: np.array([history.stable()[name] for history in histories], float) for name in record
    }
    distances = scales[:, None] * series["distance"].max(axis=-1)
    terms = np.array([rademacher(problem, s.signs, seed) for problem in problems])
    wrong = np.array([_mistakes(history.network, test) for history in histories])
    lower, upper = interval(wrong, len(test.y))
    along = ("width", "look")
    return {
        "loss": (along, series["loss"]),
        "error": (along, series["error"]),
        "linearisation": (along, series["linearisation"]),
        "flips": (along, series["flips"].mean(axis=-1)),
        "distance": (along, distances),
        "wrong": ("width", wrong),
        "lower": ("width", lower),
        "upper": ("width", upper),
        "complexity": ("width", distances[:, -1] * terms / scales),
    }


def _mistakes(network: ReLUNetwork, test: DataSet) -> int:
    right = test.y * network.predict(test.x) > 0
    return len(right) - int(right.sum())


def rademacher(problem: Problem, signs: int, seed: int) -> float:
    """Of the linear class in the ball of radius 1: E (1/n) sum_l sqrt(xi^T K^(l) xi), Lemma 6.4.

    Args:
        problem: n examples and a network.
        signs: how many draws of xi stand for the expectation.
        seed: of these.
    """
    count = len(problem.y)
    draws = torch.randint(0, 2, (signs, count), generator=cpu_generator("signs", seed))
    xi = (2 * draws - 1).to(problem.x)
    squares = [((xi @ gram) * xi).sum(dim=1) for gram in problem.layer_grams]
    return float(sum(square.clamp(min=0).sqrt().mean() for square in squares)) / count


def values(settings: Settings, found: xr.Dataset) -> Values:
    """How far from the lazy regime runs are, and their test errors."""
    s, error = settings, _errors(settings, found)
    largest = found.linearisation.max("look")
    law, flips = PowerLaw.through(largest), PowerLaw.through(_flips(found))
    by_count, by_width = PowerLaw.through(error, "count"), PowerLaw.through(error)
    most = found.isel(count=-1)
    ends, last = largest.isel(count=-1), most.isel(look=-1)
    told: dict[str, object] = {
        "narrow": s.widths[0],
        "wide": s.widths[-1],
        "least_count": s.counts[0],
        "most_count": s.counts[-1],
        "tested": 2 * s.held_out,
        "linearisation_narrow": ends.isel(width=0).mean(),
        "linearisation_wide": ends.isel(width=-1).mean(),
        "linearisation_exponent": law.exponent,
        "linearisation_low": law.low,
        "linearisation_high": law.high,
        # Where the law through these widths comes down to what the proof allows.
        "lazy_width": s.widths[-1]
        * (ends.isel(width=-1).mean() / ALLOWED) ** (-1 / min(law.exponent, -1e-2)),
        "first_crossing": _first_crossing(found),
        "flips_narrow": last.flips.isel(width=0).mean(),
        "flips_wide": last.flips.isel(width=-1).mean(),
        "flips_exponent": flips.exponent,
        "distance_narrow": last.distance.isel(width=0).mean(),
        "distance_wide": last.distance.isel(width=-1).mean(),
        "fitted_narrow": (last.error.isel(width=0) == 0).mean(),
        "fitted_wide": (last.error.isel(width=-1) == 0).mean(),
        "count_exponent": by_count.exponent,
        "count_low": by_count.low,
        "count_high": by_count.high,
        "width_exponent": by_width.exponent,
        "width_low": by_width.low,
        "width_high": by_width.high,
        "complexity_least": found.complexity.min(),
        "complexity_wide": last.complexity.isel(width=-1).mean(),
    }
    for name, place in {"narrow": 0, "wide": -1}.items():
        for end, count in {"few": 0, "many": -1}.items():
            chosen_runs = found.wrong.isel(width=place, count=count)
            told[f"{end}_{name}"] = _told(chosen_runs, 2 * s.held_out)
    return told


def _errors(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """The share of the images held out that a run gets wrong."""
    share: xr.DataArray = found.wrong / (2.0 * settings.held_out)
    return share


def _flips(found: xr.Dataset) -> xr.DataArray:
    changed: xr.DataArray = found.flips.isel(look=-1)
    return changed


def _first_crossing(found: xr.Dataset) -> float:
    """The look at which the last of all runs has come above what Lemma 6.2 allows."""
    above = (found.linearisation > ALLOWED).argmax("look")
    return float(found["look"].values[int(above.max())])


def interval(wrong: int | np.ndarray, tested: int) -> np.ndarray:
    """Clopper's and Pearson's, of the probability of a mistake, shape (2, ...).

    Args:
        wrong: how many were mistaken.
        tested: of how many.
    """
    wrong, tail = np.asarray(wrong), (1 - CONFIDENCE) / 2
    low = stats.beta.ppf(tail, wrong, tested - wrong + 1)
    high = stats.beta.isf(tail, wrong + 1, tested - wrong)
    return np.stack([np.where(wrong > 0, low, 0.0), np.where(wrong < tested, high, 1.0)])


def _told(wrong: xr.DataArray, tested: int) -> str:
    """The mean error of some runs, and the least and the largest end of their intervals."""
    low, high = interval(wrong.values, tested)
    return f"{float(wrong.mean()) / tested:.1%} ({low.min():.1%} to {high.max():.1%})"


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Levels and exponents in the width; exponents of the test error in n and m."""
    return [_linearisation(settings, found), _test_error(settings, found)]


def _linearisation(settings: Settings, found: xr.Dataset) -> Verdict:
    largest = found.linearisation.max("look", skipna=False)
    narrow = [width for width in settings.widths if width <= NARROW]
    return claim(
        "chen2021-regime-linearisation",
        r"at the widths that suffice the linearisation error is above the $\frac14$ of Lemma 6.2; "
        r"it falls with the width no more slowly than the $m^{-\alpha/3}$ of Lemma 6.1, and the "
        "share of changed activations falls too",
        at_least(
            f"the largest linearisation error of a run at $m$ = {listed(narrow)}",
            largest.sel(width=narrow),
            ALLOWED,
        ),
        exponent_at_most(
            "the largest linearisation error of a run in $m$", largest, -settings.alpha / 3, 0
        ),
        exponent_at_most(
            "the share of activations that differ after the last step in $m$",
            _flips(found),
            SLOWEST,
            0,
        ),
        note(
            f"At $m={settings.widths[-1]}$ the error is still at least "
            f"{number(float(largest.isel(width=-1).min()), '.2g', 'down')}"
        ),
        holds="Networks of the widths that suffice are far from their linearisation; wider ones "
        "are closer to theirs, and change fewer activations.",
        fails="Networks of the widths that suffice stay near their linearisation, or wider ones "
        "are no closer to theirs.",
    )


def _test_error(settings: Settings, found: xr.Dataset) -> Verdict:
    error, tested = _errors(settings, found), 2 * settings.held_out
    most = found.isel(count=-1)
    upper = most.wrong.copy(data=interval(most.wrong.values, tested)[1])
    fitted = upper.where(most.error.isel(look=-1) == 0, 0.0)
    return claim(
        "chen2021-regime-test-error",
        "the error on images held out falls with $n$ and does not rise with the width, and with "
        "the most images networks without training error are better than chance",
        exponent_at_most("the test error in $n$", error, 0, 0, "count"),
        exponent_at_most("the test error in $m$", error, 0, 0),
        at_most(
            "the upper end of the test error's interval where no training error is left, at "
            f"$n={settings.counts[-1]}$",
            fitted,
            0.5,
        ),
        note(
            r"What Lemma 6.4 takes of the linear class, $\frac Rn\sum_l\mathbb E\lVert\sum_i\xi_i"
            r"\nabla_{W_l}f(x_i)\rVert_Fm^{-\alpha}$, is at least "
            f"{number(float(found.complexity.min()), '.2f', 'down')} at the runs' own distances"
        ),
        holds="More images to train on make fewer mistakes on others, and more width does not make "
        "more.",
        fails="More images to train on do not make fewer mistakes on others, or more width makes "
        "more.",
    )


def _as_far(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    first = found.linearisation.isel(width=0, drop=True)
    told = first.broadcast_like(found.linearisation)
    return found.assign(linearisation=told.transpose(*found.linearisation.dims))


def _turned(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(wrong=found.wrong.copy(data=found.wrong.values[:, ::-1]))


CONTROLS = {
    "chen2021-regime-linearisation": Lie(
        "every width has the linearisation error of the narrowest", _as_far
    ),
    "chen2021-regime-test-error": Lie(
        "the test errors of the fewest and of the most images change places", _turned
    ),
}
