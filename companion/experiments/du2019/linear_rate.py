"""Gradient descent contracts ||u - y||^2 by 1 - eta lambda_0 / 2 per step (Theorem 4.1).

Refuted by a residual above the bound, by a step with a larger ratio, or by a distance from
initialisation above Corollary 4.1; what the companion adds, by a rate that depends on the width or
a distance with another power of it.
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
from companion.lab.checks import at_least, at_most, claim, exponent_near, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import contraction, exponent, spread
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Positive, Probability, SeveralSizes, Size, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number, on_sphere
from companion.linearised import changes
from companion.monitors import Record, misfit, unit_distances

EXPECTED: dict[str, Outcome] = {
    "du2019-thm4.1": "outside-regime",
    "du2019-cond4.1": "outside-regime",
    "du2019-thm4.1-rate": "holds",
    "du2019-cor4.1": "holds",
    "du2019-cor4.1-exponent": "holds",
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
    return (
        f"Gradient descent for {s.steps} steps at {listed(_step_sizes(s))} on networks with "
        f"$m$ = {listed(s.widths)} hidden units, from each of {s.seeds} seeds; every seed draws "
        f"its own {on_sphere(s.count, s.dimension)}, and every width its own network."
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
    record: Record = {"misfit": misfit, "distance": unit_distances}
    runs = [problem.train(eta, settings.steps, record).stable() for eta in step_sizes]
    far = np.array([history["distance"][:, 0] for history in runs])  # step sizes, steps, kinds
    return {
        "step_size": ("eta", step_sizes),
        "misfit": (("eta", "step"), [history["misfit"] for history in runs]),
        "farthest": ("eta", far[:, :, 0].max(axis=1)),
        "distance": ("eta", far[:, -1, 0]),
        "rms_distance": ("eta", far[:, -1, 1]),
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
        "least_speed": _speed(_ratios(settings, found), found).min(),
        "max_over_rms_first": excess.isel(width=0),
        "max_over_rms_last": excess.isel(width=-1),
        "ball_share": (found.farthest / _ball(settings, found)).max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The bound and the steps, step size by step size; what the companion adds, by exponents."""
    speed = _speed(_ratios(settings, found), found)
    outside = unmet(needed_width(theorem_4_1_width, settings, found), max(settings.widths))
    sampled = f"{settings.seeds} draws of inputs and networks at each of {len(found.width)} widths"
    return [
        claim(
            "du2019-thm4.1",
            r"$\lVert u(k)-y\rVert^2\le(1-\eta\lambda_0/2)^k\lVert u(0)-y\rVert^2$ at every step "
            "$k$: the logarithm of the squared residual falls at least as much as the bound's.",
            *_each_step_size(
                settings,
                r"the fall of $\ln\lVert u(k)-y\rVert^2$ up to any step $k$, over the bound's",
                speed,
            ),
            outside=outside,
            holds=f"The squared residual is below the theorem's bound at every step, in {sampled}",
            fails="At some step the squared residual is above the theorem's bound.",
        ),
        _induction(settings, found, outside),
        _rate(settings, found),
        _corollary(settings, found, bool((speed >= 1).all())),
        _exponents(found),
    ]


def _induction(settings: Settings, found: xr.Dataset, outside: str) -> Verdict:
    """Of the hypothesis at step k follows that at k + 1 because a step contracts."""
    ratios = _measured(_ratios(settings, found))
    usual = found.isel(eta=-1)
    allowed = float((1 - usual.step_size * usual.lambda_0 / 2).mean())
    left = number(ratios.isel(eta=-1).max(), ".3f", "up")
    return claim(
        "du2019-cond4.1",
        r"Condition 4.1 at step $k$ is carried on to $k+1$, since a step leaves at most "
        r"$1-\eta\lambda_0/2$ of $\lVert u(k)-y\rVert^2$.",
        *_each_step_size(
            settings,
            r"the share of $\lVert u(k)-y\rVert^2$ that a step removes, over $\eta\lambda_0/2$",
            (1 - ratios) / (found.step_size * found.lambda_0 / 2),
        ),
        note(
            f"At the last of these step sizes, that of the figure, a step leaves at most {left} of "
            f"the squared residual, where {allowed:.3f} is allowed on average"
        ),
        note(
            r"The draft misprints the right side as $\lVert y-u(k)\rVert^2$, which for $k\ge1$ is "
            "true of a residual of zero only; the camera-ready is judged"
        ),
        outside=outside,
        holds="Every step contracts at least as much as the induction needs",
        fails="A step contracts less than the induction needs.",
    )


def _rate(settings: Settings, found: xr.Dataset) -> Verdict:
    left, usual = _ratios(settings, found).isel(eta=-1), found.isel(eta=-1)
    late = left.max("step") / (1 - usual.step_size * usual.lambda_min) ** 2
    allowance = _width_allowance(found)
    return claim(
        "du2019-thm4.1-rate",
        r"The rate $-\ln(\lVert u(k+1)-y\rVert^2/\lVert u(k)-y\rVert^2)$, averaged over the steps, "
        r"has the exponent 0 in $m$; a step size proportional to $\sqrt m$ would give 1/2. "
        f"{_why(allowance)}",
        exponent_near("the mean rate in $m$", -xr.ufuncs.log(left).mean("step"), 0, allowance),
        note(
            r"What the slowest step leaves, over $(1-\eta\lambda_{\min}(H(0)))^2$, which the late "
            f"steps tend to: {spread(late.mean('width'), '.3f')}"
        ),
        holds="Not only the bound but the rate itself is the same at every width.",
        fails="The rate depends on the width.",
    )


def _corollary(settings: Settings, found: xr.Dataset, hypothesis: bool) -> Verdict:
    return claim(
        "du2019-cor4.1",
        r"$\lVert w_r(k)-w_r(0)\rVert\le R'=4\sqrt n\lVert y-u(0)\rVert/(\sqrt m\lambda_0)$ for "
        "every unit $r$, where Condition 4.1 is true.",
        at_most(
            "the distance of the farthest unit at any step, over $R'$",
            found.farthest / _ball(settings, found),
        ),
        outside="" if hypothesis else "its hypothesis, Condition 4.1, was not met",
        holds="Its hypothesis, Condition 4.1, was measured to be true, and no unit leaves the "
        "ball of radius $R'$.",
        fails="A unit leaves the ball of radius $R'$.",
    )


def _exponents(found: xr.Dataset) -> Verdict:
    """Of the root mean square over units, and of the maximum, which grows with their number."""
    start = found.misfit.isel(eta=-1, step=0)
    far = found.isel(eta=-1) / np.sqrt(start)  # R' is proportional to ||y - u(0)||
    allowance, frozen = _width_allowance(found), exponent(far.frozen_distance)
    return claim(
        "du2019-cor4.1-exponent",
        r"The distances, and not only $R'$, fall like $m^{-1/2}$: the root mean square over units "
        rf"with the exponent $-1/2$, the farthest unit with {frozen:.3f}, which is computed with "
        rf"the activations of the start and $H^\infty$. {_why(allowance)}",
        exponent_near(r"the root mean square distance in $m$", far.rms_distance, -0.5, allowance),
        exponent_near("the largest distance in $m$", far.distance, frozen, allowance),
        holds="Four times the width halves the distance from initialisation.",
        fails="The distances from initialisation follow another power of the width.",
    )


def _each_step_size(settings: Settings, what: str, shares: xr.DataArray) -> list[Check]:
    """Whether shares are at least 1, step size by step size: a tiny one would hide the others."""
    return [
        at_least(f"{what}, at {name}", shares.isel(eta=index), 1.0)
        for index, name in enumerate(_step_sizes(settings))
    ]


def _step_sizes(settings: Settings) -> list[str]:
    """The theorem's, then the others."""
    others = [rf"$\eta={each:g}/\lambda_{{\max}}(H^\infty)$" for each in settings.step_sizes]
    return [r"$\eta=\lambda_0/n^2$", *others]


def _speed(ratios: xr.DataArray, found: xr.Dataset) -> xr.DataArray:
    """Fall of ln ||u(k) - y||^2 up to step k over that of the bound; at least 1 in the theorem.

    Args:
        ratios: what every step leaves of ||u - y||^2, NaN where that is down at rounding.
        found: by the run.

    Returns:
        Infinite where the residual is down at rounding, which is below every bound.
    """
    left = ratios.cumprod("step", skipna=False)  # ||u(k) - y||^2 over its start
    steps = xr.DataArray(np.arange(1, left.sizes["step"] + 1), dims="step")
    asked = -steps * np.log1p(-found.step_size * found.lambda_0 / 2)
    speed: xr.DataArray = (-xr.ufuncs.log(left) / asked).fillna(np.inf)
    return speed


def _ball(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Right side of Corollary 4.1."""
    start = found.misfit.isel(eta=-1, step=0)
    radius: xr.DataArray = xr.apply_ufunc(
        corollary_4_1_distance, settings.count, found.width, found.lambda_0, start, vectorize=True
    )
    return radius


def _ratios(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """What a step leaves of the squared residual; NaN where that is down at rounding."""
    return contraction(found.misfit, found.width, settings.dtype)


def _measured(ratios: xr.DataArray) -> xr.DataArray:
    """Without the steps that say nothing, as 0 is below every bound."""
    return ratios.fillna(0.0)


def _why(allowance: float) -> str:
    return (
        rf"A finite width may add {allowance:.2f} to an exponent or take it away, as "
        r"$\lambda_{\min}(H(0))$ falls short of $\lambda_0$ at the least width."
    )


def _width_allowance(found: xr.Dataset) -> float:
    """Exponent that finite width can add by itself.

    At the least width lambda_min(H(0)) may be short of lambda_0 by the quarter that Lemma 3.1
    leaves open, or by more where that width is below the lemma's.
    """
    shortfall = float((found.lambda_0 / found.lambda_min).isel(width=0).max())
    widths = found.width.values
    return math.log(max(4 / 3, shortfall)) / math.log(widths[-1] / widths[0])


def _too_slow(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    steps = xr.DataArray(np.arange(settings.steps + 1), dims="step")
    bound = (1 - found.step_size * found.lambda_0 / 2) ** (0.99 * steps)
    slow = found.misfit.isel(step=0) * bound
    return found.assign(misfit=slow.transpose(*found.misfit.dims))


def _stumbling(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """The first step of one run at the largest step size."""
    one = {"seed": 0, "width": 0, "eta": -1}
    share = (0.99 * found.step_size * found.lambda_0 / 2).isel(one)
    misfit = found.misfit.copy()
    misfit[one | {"step": 1}] = (1 - share) * found.misfit.isel(one | {"step": 0})
    return found.assign(misfit=misfit)


def _faster(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    power = (found.width / found.width.min()) ** 0.25
    return found.assign(
        misfit=found.misfit.isel(step=0) * (found.misfit / found.misfit.isel(step=0)) ** power
    )


def _too_far(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    radius = _ball(settings, found)
    return found.assign(farthest=(1.01 * radius).broadcast_like(found.farthest))


def _nearer(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    power = (found.width / found.width.min()) ** -0.25
    return found.assign({name: found[name] * power for name in ("distance", "rms_distance")})


CONTROLS = {
    "du2019-thm4.1": Lie("the squared residual falls at 99 % of the bound's rate", _too_slow),
    "du2019-cond4.1": Lie(
        r"in one run the first step removes 1 % less of the squared residual than "
        r"$\eta\lambda_0/2$",
        _stumbling,
    ),
    "du2019-thm4.1-rate": Lie("the rate grows with the width like $m^{1/4}$", _faster),
    "du2019-cor4.1": Lie("in every run one unit is 1 % outside the ball", _too_far),
    "du2019-cor4.1-exponent": Lie("the distances fall like $m^{-3/4}$", _nearer),
}
