"""Table 1: what nine theorems need, and two slopes of this paper's rows, measured.

Refuted by a row that is not what its theorem says, by iterations of gradient descent that grow
faster than 1/epsilon, or by errors of SGD that fall more slowly than 1/n.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from companion.bounds.chen2021 import (
    TABLE_1,
    THIS_PAPER,
    Row,
    cao_gu_2019a_width,
    theorem_3_3_iterations,
    theorem_3_3_step_size,
    theorem_3_5_samples,
    theorem_3_8_samples,
)
from companion.draws import Batches, independent_seed
from companion.experiments.chen2021._problem import HalvesSettings, Layers, draw, halves, on_data
from companion.experiments.zou2018._descents import united
from companion.fleets import train_fleet
from companion.lab.checks import anyway, claim, exponent_at_most, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, exponent
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Positive, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import number
from companion.losses import CROSS_ENTROPY
from companion.monitors import mean_loss
from companion.training import descent

EXPECTED: dict[str, Outcome] = {"chen2021-tab1": "outside-regime"}
MAY_BE_MISSING = ("first", "average")  # where the steps are too few
# How far an exponent may be above the table's: R^2 grows like log^2(1/eps), which would add 0.4 and
# more at the accuracies at hand.
NEAR = 0.15
# Of quotients of small powers.
ROUNDING = 1e-12
# Where powers are read off: two accuracies far apart.
POWERS_AT = (1e-2, 1e-6)


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L.
        width: m of all networks.
        step_size: eta as a multiple of L^-1 m^(-2 alpha), alpha being 1/2.
        accuracies: eps, decreasing; iterations are counted up to a loss of 3 eps.
        steps: of gradient descent.
        samples: n of SGD, in increasing order; the last is the number of its steps.
        every: iterates of SGD between two looks at the test error.
        tests: examples that the test error is measured on.
    """

    seeds: Size = 4
    count: Count = 20
    layers: Layers = 3
    width: Size = 64
    step_size: Positive = 4.0
    accuracies: Annotated[tuple[Share, ...], Field(min_length=3)] = (0.04, 0.02, 0.01, 0.005)
    steps: Size = 4000
    samples: SeveralSizes = (256, 512, 1024, 2048)
    every: Size = 8
    tests: Size = 2000


QUICK = Settings()
PAPER = Settings(
    seeds=12, width=256, accuracies=(*QUICK.accuracies, 0.0025, 0.00125), steps=12_000,
    samples=(*QUICK.samples, 4096, 8192), tests=10_000,
)  # fmt: skip


def summary(settings: Settings) -> str:
    """The rows, and the runs."""
    s = settings
    return (
        f"The powers of $1/\\epsilon$ in the {len(TABLE_1)} rows of the table; "
        f"{number(s.steps, ',d')} steps of gradient descent on $n={s.count}$ inputs, and one pass "
        f"of SGD over {number(s.samples[-1], ',d')}, of two halves of the sphere in dimension "
        f"$d={s.dimension}$, at least {s.gap:g} from the plane between them, with networks with "
        f"$L={s.layers}$ and $m={s.width}$; {s.seeds} draws each, and "
        f"{number(s.tests, ',d')} test examples."
    )


def cost(settings: Settings) -> Cost:
    """Six products a step, two for every test example at a look."""
    s = settings
    weights = s.width * (s.dimension + (s.layers - 2) * s.width)
    looks = s.samples[-1] / s.every
    examples = 6.0 * s.count * s.steps + 6 * s.samples[-1] + 2 * s.tests * looks
    rows = s.tests * (s.dimension + s.layers * s.width)
    return Cost(s.seeds * examples * weights, 8 * (rows + 4 * s.seeds * weights))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Powers, gradient descent on all seeds as a fleet, SGD seed by seed."""
    s = settings
    descents = sweep("descent", partial(_descend, s, device), algorithm=["GD"])
    passes = sweep("sgd", partial(_pass, s, device), seed=s.each_seed)
    iterations = descents.squeeze("algorithm", drop=True).assign_coords(seed=list(s.each_seed))
    parts = [
        iterations.assign_coords(accuracy=list(s.accuracies)),
        passes.assign_coords(samples=list(s.samples)),
        _powers(),
    ]
    return xr.merge(parts).assign_attrs(data=s.data)


def _powers() -> xr.Dataset:
    """Powers of 1/eps in every row, and of this paper's theorems as they are read off."""
    needs = ("width", "iterations", "samples")
    told = [[getattr(row, need).accuracy for need in needs] for row in TABLE_1]
    read = {
        "iterations": _read_off(partial(theorem_3_3_iterations, 3, 2.0)),
        "gd_samples": _read_off(partial(theorem_3_5_samples, 3, 2.0)),
        "sgd_samples": _read_off(partial(theorem_3_8_samples, 3, 2.0)),
        "cao_gu_width": _read_off(lambda eps: cao_gu_2019a_width(eps**-2)),
    }
    return xr.Dataset(
        {
            "power": (("row", "need"), np.nan_to_num(told, nan=-1.0)),
            **{f"{name}_power": value for name, value in read.items()},
        },
        {"need": list(needs)},
    )


def _read_off(need: Callable[[float], float]) -> float:
    """The power of 1/eps in a need, from two accuracies."""
    one, other = POWERS_AT
    return math.log(need(other) / need(one)) / math.log(one / other)


def _descend(settings: Settings, device: str, *, algorithm: str) -> Variables:
    """Iterations up to 3 eps of gradient descent: of an iterate, and of the mean over iterates."""
    s = settings
    problems = [draw(s, device, seed=seed, width=s.width, layers=s.layers) for seed in s.each_seed]
    x, y, subsets = united(problems)
    histories = train_fleet(
        [problem.network for problem in problems], x, y, loss=CROSS_ENTROPY, steps=s.steps,
        step_size=_eta(s), subsets=subsets, record={"loss": mean_loss},
    )  # fmt: skip
    losses = np.stack([history.stable()["loss"] for history in histories])
    average = np.cumsum(losses, axis=1) / np.arange(1, 1 + losses.shape[1])
    return {
        "first": (("seed", "accuracy"), _first(s, losses)),
        "average": (("seed", "accuracy"), _first(s, average)),
    }


def _eta(settings: Settings) -> float:
    return settings.step_size * theorem_3_3_step_size(settings.width, settings.layers, 0.5)


def _first(settings: Settings, curves: np.ndarray) -> np.ndarray:
    """The first step at which each curve is at most 3 eps, NaN where there is none."""
    low = curves[:, None, :] <= 3 * np.array(settings.accuracies)[:, None]
    return np.where(low.any(axis=-1), low.argmax(axis=-1), np.nan)


def _pass(settings: Settings, device: str, *, seed: int) -> Variables:
    """One pass of SGD: mean test error of its first n iterates, which a uniform draw has."""
    s = settings
    stream = halves(s.samples[-1], s.dimension, s.gap, independent_seed(seed, 1))
    test = halves(s.tests, s.dimension, s.gap, independent_seed(seed, 2)).to(torch.float64, device)
    problem = on_data(stream, s, device, seed=seed, width=s.width, layers=s.layers)
    errors = []
    for moment in descent(
        problem.network, problem.x, problem.y, loss=CROSS_ENTROPY, step_size=_eta(s),
        batches=Batches(1, "once"),
    ):  # fmt: skip
        if moment.step % s.every == 0 and moment.step < s.samples[-1]:
            wrong = moment.network.predict(test.x) * test.y < 0
            errors.append(float(wrong.double().mean()))
    means = [np.mean(errors[: n // s.every]) for n in s.samples]
    return {"error": ("samples", means)}


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The measured exponents, and errors at both ends."""
    s, by_accuracy = settings, found.assign_coords(accuracy=1 / found.accuracy)
    return {
        "rows": len(TABLE_1),
        "checked": sum(row.checked for row in TABLE_1),
        "width": s.width,
        "layers": s.layers,
        "step_size": s.step_size,
        "first_exponent": exponent(by_accuracy["first"], "accuracy"),
        "average_exponent": exponent(by_accuracy.average, "accuracy"),
        "error_exponent": exponent(found.error, "samples"),
        "least_accuracy": s.accuracies[-1],
        "first_steps": found["first"].isel(accuracy=-1).mean(),
        "average_steps": found.average.isel(accuracy=-1).mean(),
        "least_samples": s.samples[0],
        "most_samples": s.samples[-1],
        "first_error": found.error.isel(samples=0).mean(),
        "last_error": found.error.isel(samples=-1).mean(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Powers to rounding, slopes by their confidence intervals."""
    by_accuracy = found.assign_coords(accuracy=1 / found.accuracy)
    hidden = np.log(found.samples) ** 2
    slopes = [
        PowerLaw.through(by_accuracy.average, "accuracy").exponent,
        PowerLaw.through(found.error, "samples").exponent,
    ]
    return [
        claim(
            "chen2021-tab1",
            r"this paper's rows: $O(\epsilon^{-1})$ iterations of gradient descent, and "
            r"$\tilde O(\epsilon^{-1})$ examples for SGD, so an error of $\tilde O(n^{-1})$",
            anyway(_rows_check(found)),
            exponent_at_most(
                r"iterations in $1/\epsilon$ until the mean loss over iterates is $3\epsilon$",
                by_accuracy.average, 1, NEAR, "accuracy",
            ),
            exponent_at_most(
                r"the same until an iterate's loss is $3\epsilon$",
                by_accuracy["first"], 1, NEAR, "accuracy",
            ),
            exponent_at_most(
                r"test error of a uniform iterate of SGD over the hidden $\log^2n$ of $R^2$, in "
                "$n$",
                found.error / hidden, -1, 0, "samples",
            ),
            note(f"without that factor the exponent is {slopes[1]:.2f}"),
            outside=f"$m={settings.width}$ is far below the width of Theorem 3.3",
            holds="The powers of both rows are those of the paper's theorems; the iterations grow "
            rf"like $\epsilon^{{-{slopes[0]:.2f}}}$, and the error of SGD falls like "
            f"$n^{{{slopes[1]:.2f}}}$",
            fails="A power is not that of its theorem, or iterations or errors have another order "
            "than the table's.",
        )
    ]  # fmt: skip


def _rows_check(found: xr.Dataset) -> Check:
    """Powers of the table against those of the theorems that it rests on, where they are here."""
    told = [
        (_row(THIS_PAPER, "GD").iterations.accuracy, found.iterations_power),
        (_row(THIS_PAPER, "SGD").iterations.accuracy, found.iterations_power),
        (_row(THIS_PAPER, "GD").samples.accuracy, found.gd_samples_power),
        (_row(THIS_PAPER, "SGD").samples.accuracy, found.sgd_samples_power),
        (_row("Cao-Gu 2019a", "SGD").width.accuracy, found.cao_gu_width_power),
    ]
    return identity(
        "powers of $1/\\epsilon$ in the table, and in the theorems",
        [power - float(read) for power, read in told],
        ROUNDING,
    )


def _row(work: str, algorithm: str) -> Row:
    return next(row for row in TABLE_1 if (row.work, row.algorithm) == (work, algorithm))


CONTROLS = {
    "chen2021-tab1": Lie(
        r"every number of iterations is multiplied by $\epsilon^{-1/3}$",
        lambda settings, found: found.assign(
            average=found.average / found.accuracy ** (1 / 3),
            first=found["first"] / found.accuracy ** (1 / 3),
        ),
    ),
}
