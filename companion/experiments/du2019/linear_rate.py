"""Gradient descent contracts ||u - y||^2 by 1 - eta lambda_0 / 2 per step (Theorem 4.1).

Refuted by a step with a larger ratio, by a distance from initialisation above Corollary 4.1, or
by a rate that depends on the width.
"""

import math
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from companion.bounds.du2019 import (
    corollary_4_1_distance,
    theorem_4_1_step_size,
    theorem_4_1_width,
)
from companion.experiments.du2019._problem import Problem, draw
from companion.experiments.du2019._regime import needed_width, unmet
from companion.kernels import lambda_min
from companion.lab.checks import at_most, claim, exponent_near, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import contraction, exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, Probability, SeveralSizes, Size, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed
from companion.linearised import changes
from companion.monitors import Every, Record, misfit, unit_distances

EXPECTED: dict[str, Outcome] = {
    "du2019-thm4.1": "outside-regime",
    "du2019-cond4.1": "outside-regime",
    "du2019-cor4.1": "holds",
}


class Settings(SphereSettings):
    """What is run.

    Attributes:
        widths: m, in increasing order.
        step_sizes: eta as multiples of 1 / lambda_max(H_inf), besides the theorem's lambda_0 / n^2;
            in increasing order.
        steps: gradient descent steps.
        delta: failure probability in the explicit width.
    """

    seeds: Size = 5
    widths: SeveralSizes = (400, 1600, 6400)
    step_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1.0)
    steps: Size = 50
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(
    count=100,
    dimension=100,
    widths=(400, 1600, 6400, 25600),
    step_sizes=(0.25, 0.5, 1.0),
    steps=100,
)


def summary(settings: Settings) -> str:
    """Steps, widths, step sizes, seeds and data."""
    s = settings
    multiples = listed([rf"${each:g}/\lambda_{{\max}}(H^\infty)$" for each in s.step_sizes])
    return (
        rf"Gradient descent for {s.steps} steps at $\eta=\lambda_0/n^2$, {multiples} on networks "
        f"with $m$ = {listed(s.widths)} hidden units, from each of {s.seeds} seeds; every seed "
        f"draws its own $n={s.count}$ inputs, uniform on the sphere in dimension "
        f"$d={s.dimension}$, with labels from $N(0,1)$, and every width its own network."
    )


def cost(settings: Settings) -> Cost:
    """Two products of (n, d) and (d, m) a step; weights, gradient and three (n, m) arrays."""
    s, runs = settings, settings.seeds * (len(settings.step_sizes) + 1)
    flops = runs * s.steps * sum(4 * s.count * s.dimension * width for width in s.widths)
    return Cost(flops, 8 * max(s.widths) * (3 * s.count + 3 * s.dimension))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every width from every seed at every step size, recording misfit and distance."""
    s = settings
    found = sweep("runs", partial(_train, s, device), seed=s.each_seed, width=s.widths)
    return found.assign_attrs(data=s.data)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=width)
    step_sizes = [theorem_4_1_step_size(settings.count, problem.lambda_0)]
    step_sizes += [multiple / problem.lambda_largest for multiple in settings.step_sizes]
    record: Record = {"misfit": misfit, "distance": Every(settings.steps, unit_distances)}
    runs = [problem.train(eta, settings.steps, record).stable() for eta in step_sizes]
    far = np.array([history["distance"][-1, 0] for history in runs])
    return {
        "step_size": ("eta", step_sizes),
        "misfit": (("eta", "step"), [history["misfit"] for history in runs]),
        "distance": ("eta", far[:, 0]),
        "rms_distance": ("eta", far[:, 1]),
        "frozen_distance": ("eta", [_frozen(problem, eta, settings.steps) for eta in step_sizes]),
        "lambda_0": problem.lambda_0,
        "lambda_min": lambda_min(problem.gram),
    }


def _frozen(problem: Problem, step_size: float, steps: int) -> float:
    """Largest distance of a unit if no activation flipped and H-infinity ruled."""
    impulse = problem.frozen_descent(problem.limit, step_size, [steps]).impulses[-1]
    (moved,) = changes(problem.network, problem.x, impulse)
    return float(torch.linalg.vector_norm(moved, dim=1).max())


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Means over the seeds, mostly at the largest width and step size."""
    usual = found.isel(eta=-1)
    widest = usual.isel(width=-1)
    theorem = found.isel(eta=0)
    left = theorem.misfit.isel(step=-1) / theorem.misfit.isel(step=0)
    late = _ratios(settings, found).isel(eta=-1, width=-1).max("step")
    excess = (usual.distance / usual.rms_distance).mean("seed")
    return {
        "lambda_0": found.lambda_0.mean(),
        "needed_width": needed_width(theorem_4_1_width, settings, found),
        "largest_width": max(settings.widths),
        "steps": settings.steps,
        "theorem_step_size": theorem.step_size.mean(),
        "largest_step_size": usual.step_size.mean(),
        "theorem_progress": (1 - left).mean(),
        "late_ratio": late.mean(),
        "late_prediction": ((1 - widest.step_size * widest.lambda_min) ** 2).mean(),
        "bound_ratio": (1 - widest.step_size * widest.lambda_0 / 2).mean(),
        "max_over_rms_first": excess.isel(width=0),
        "max_over_rms_last": excess.isel(width=-1),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Worst ratio to the bound over all runs; exponents of rate and distance in the width."""
    ratios = _ratios(settings, found) / (1 - found.step_size * found.lambda_0 / 2)
    induction = ratios.cumprod("step", skipna=False)  # ||u(k) - y||^2 over Condition 4.1's bound
    outside = unmet(needed_width(theorem_4_1_width, settings, found), max(settings.widths))
    return [
        _theorem(settings, found, ratios, outside),
        claim(
            "du2019-cond4.1",
            r"$\lVert u(k)-y\rVert^2\le(1-\eta\lambda_0/2)^k\lVert u(0)-y\rVert^2$ for all k",
            at_most("share of the bound after the first step", _measured(induction), form=".6f"),
            outside=outside,
            holds="The induction hypothesis is true at every recorded step.",
            fails="The induction hypothesis is false at a recorded step.",
        ),
        _corollary(settings, found, bool((_measured(induction) <= 1).all())),
    ]


def _theorem(settings: Settings, found: xr.Dataset, ratios: xr.DataArray, outside: str) -> Verdict:
    left = _ratios(settings, found).isel(eta=-1)
    rate = -xr.ufuncs.log(left)
    usual = found.isel(eta=-1)
    late = left.max("step") / (1 - usual.step_size * usual.lambda_min) ** 2
    slack = _width_allowance(found)
    return claim(
        "du2019-thm4.1",
        r"ratio of successive $\lVert u-y\rVert^2$ at most $1-\eta\lambda_0/2$ at every step, at a "
        "rate without $m$",
        at_most("ratio divided by the bound", _measured(ratios), form=".6f"),
        exponent_near("the rate in m", rate.mean("step"), 0, slack),
        note(
            r"largest ratio over $(1-\eta\lambda_{\min}(H(0)))^2$, where it tends to: "
            + spread(late.mean("width"), ".3f")
        ),
        outside=outside,
        holds="Every step of every run contracts at least as much as the theorem says.",
        fails="A step contracts less than the theorem says, or the rate depends on the width.",
    )


def _corollary(settings: Settings, found: xr.Dataset, hypothesis: bool) -> Verdict:
    """The bound, and the exponents: of the root mean square, and of the maximum over m units."""
    start, radius = found.misfit.isel(eta=-1, step=0), _ball(settings, found)
    far = found.isel(eta=-1) / np.sqrt(start)  # the bound is proportional to ||y - u(0)||
    slack, frozen = _width_allowance(found), exponent(far.frozen_distance)
    return claim(
        "du2019-cor4.1",
        r"$\max_r\lVert w_r(k)-w_r(0)\rVert\le 4\sqrt n\lVert y-u(0)\rVert/(\sqrt m\lambda_0)$; "
        r"exponent in m: -1/2 for the root mean square over units; for the maximum over m units "
        f"{frozen:.3f}, computed with frozen activations and the Gram matrix of infinite width",
        at_most("share of the bound", found.distance / radius),
        exponent_near("the root mean square in m", far.rms_distance, -0.5, slack),
        exponent_near("the maximum in m", far.distance, frozen, slack),
        outside="" if hypothesis else "its hypothesis, Condition 4.1, was not met",
        holds="Its hypothesis, Condition 4.1, was measured to be true, and no weight leaves the "
        "ball.",
        fails="A weight leaves the ball, or the distance falls with another power of m.",
    )


def _ball(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Right side of Corollary 4.1."""
    start = found.misfit.isel(eta=-1, step=0)
    radius: xr.DataArray = xr.apply_ufunc(
        corollary_4_1_distance, settings.count, found.width, found.lambda_0, start, vectorize=True
    )
    return radius


def _too_slow(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    share = 0.99 * found.step_size * found.lambda_0 / 2
    bound = found.misfit.isel(step=0) * (1 - share) ** xr.DataArray(
        np.arange(settings.steps + 1), dims="step"
    )
    return found.assign(misfit=bound.transpose(*found.misfit.dims))


def _too_far(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    radius = _ball(settings, found)
    return found.assign(distance=(1.01 * radius).broadcast_like(found.distance))


SLOW = r"every step removes 1 % less of the squared residual than $\eta\lambda_0/2$"
CONTROLS = {
    "du2019-thm4.1": Lie(SLOW, _too_slow),
    "du2019-cond4.1": Lie(SLOW, _too_slow),
    "du2019-cor4.1": Lie("in every run one unit is 1 % outside the ball", _too_far),
}


def _ratios(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """What a step leaves of the squared residual; NaN where that is down at rounding."""
    return contraction(found.misfit, found.width, settings.dtype)


def _measured(ratios: xr.DataArray) -> xr.DataArray:
    """Without the steps that say nothing, as 0 is below every bound."""
    return ratios.fillna(0.0)


def _width_allowance(found: xr.Dataset) -> float:
    """Exponent that finite width can add by itself.

    At the least width lambda_min(H(0)) may be short of lambda_0 by the quarter that Lemma 3.1
    leaves open, or by more where that width is below the lemma's.
    """
    shortfall = float((found.lambda_0 / found.lambda_min).isel(width=0).max())
    widths = found.width.values
    return math.log(max(4 / 3, shortfall)) / math.log(widths[-1] / widths[0])
