"""Gradient flow contracts ||u - y||^2 at least like exp(-lambda_0 t) at every width (Theorem 3.2).

Refuted by a time at which the misfit lies above that bound, by a weight that leaves the ball of
Lemma 3.3 while lambda_min(H) >= lambda_0 / 2, or by a drift of H that falls more slowly with the
width than Remark 3.1 says. The camera-ready's ball, half as large, is refuted by one input.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
import xarray as xr

from companion.bounds.du2019 import lemma_3_3_distance, theorem_3_2_width
from companion.experiments.du2019._flows import (
    FlowSettings,
    bound_shares,
    farthest,
    least_ratios,
    never,
    under,
)
from companion.experiments.du2019._problem import Problem, draw
from companion.experiments.du2019._regime import needed_width, unmet
from companion.lab.checks import at_least, at_most, claim, exponent_at_most, exponent_near
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import SeveralSizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number, on_sphere
from companion.monitors import Record, gram_lambda_min, layer_gram_drifts, misfit, unit_distances
from companion.networks import draw_du

EXPECTED: dict[str, Outcome] = {
    "du2019-thm3.2": "outside-regime",
    "du2019-rem3.1b": "holds",
    "du2019-lem3.3": "holds",
    "du2019-lem3.3-camera-ready": "fails",
    "du2019-lem3.3-exponent": "holds",
    "du2019-lem3.4": "outside-regime",
}
# What the solver may be off by in the example with one input, as a share.
SOLVER = 1e-3


class Settings(FlowSettings):
    """What is run.

    Attributes:
        euler_steps: numbers of gradient descent steps that cover the first quarter of the times, in
            increasing order.
    """

    euler_steps: SeveralSizes = (10, 30, 90)


QUICK = Settings()
PAPER = Settings(widths=(200, 800, 3200, 12800), tolerance=1e-6, euler_steps=(10, 30, 90, 270))


def cost(settings: Settings) -> Cost:
    """Velocity evaluations of the flow, and Euler steps."""
    s = settings
    euler = sum(s.euler_steps)
    flops = sum(4 * s.count * s.dimension * m * (s.evaluations(m) + euler) for m in s.widths)
    return Cost(s.seeds * flops, 8 * max(s.widths) * (3 * s.count + (12 + s.points) * s.dimension))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Gradient flow on the first layer of networks of width {listed(s.widths)} until "
        rf"$t={number(s.horizon, 'g')}/\lambda_0$, on {on_sphere(s.count, s.dimension)}; data and "
        f"networks are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Integrate the flow at every width from every seed; repeat its start by descent."""
    s = settings
    found = sweep("runs", partial(_train, s, device), seed=s.each_seed, width=s.widths)
    return found.assign(_one_input(s, device)).assign_attrs(data=s.data)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=width)
    times = settings.times(problem.lambda_0)
    record: Record = {
        "misfit": misfit,
        "lambda_min": gram_lambda_min,
        "drift": layer_gram_drifts,
        "distance": unit_distances,
    }
    flow = problem.flow(times, record, settings.tolerance)
    quarter = settings.points // 4
    euler = [
        problem.train(times[quarter] / steps, steps, {"misfit": misfit})["misfit"][-1]
        for steps in settings.euler_steps
    ]
    return {
        "lambda_0": problem.lambda_0,
        "times": ("time", times),
        "misfit": ("time", flow["misfit"]),
        "lambda_min": ("time", flow["lambda_min"]),
        "drift": ("time", flow["drift"][:, 0]),
        "distance": ("time", flow["distance"][:, 0, 0]),
        "linearised_limit": ("time", problem.frozen_misfits(problem.limit, times)),
        "linearised_initial": ("time", problem.frozen_misfits(problem.gram, times)),
        "euler": list(settings.euler_steps),
        "euler_error": ("euler", np.abs(np.log(np.array(euler) / flow["misfit"][quarter]))),
    }


def _one_input(settings: Settings, device: str) -> Variables:
    """A network for Lemma 3.3 with one input, where H(t) = lambda_0/2 at all times.

    One unit of four is active, and the label pulls it further into its half space, so nothing
    switches. Of the flow: how far the active unit moves in the end, and the misfit at the start.
    """
    dtype = getattr(torch, settings.dtype)
    network = draw_du(4, 1, 0, dtype=dtype, device=device)
    signs = torch.tensor([1, -1, -1, -1], dtype=dtype, device=device)
    network = replace(network, weights=(signs[:, None],), outputs=torch.ones_like(signs))
    problem = Problem(network, torch.ones_like(signs[:1, None]), 2 * torch.ones_like(signs[:1]))
    record = {"distance": unit_distances, "misfit": misfit}
    flow = problem.flow([0.0, 30 / problem.lambda_0], record, 1e-5)
    return {"one_input_distance": flow["distance"][-1, 0, 0], "one_input_misfit": flow["misfit"][0]}


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Means over the seeds, at the least and the largest width; exponents in m and in eta."""
    rates = _rates(found).mean("seed")
    draft = _one_input_radius(found)
    frozen = (found.misfit / found.linearised_limit).isel(width=-1, time=-1)
    return {
        "lambda_0": found.lambda_0.isel(width=0).mean(),
        "delta": settings.delta,
        "needed_width": needed_width(theorem_3_2_width, settings, found),
        "largest_width": max(settings.widths),
        "euler_order": -exponent(found.euler_error, "euler"),
        "drift_exponent": exponent(farthest(found, "drift")),
        "distance_exponent": exponent(farthest(found)),
        "least_ratio": least_ratios(found).min(),
        "linearised_ratio": frozen.mean(),
        "rate_smallest_width": rates.isel(width=0),
        "rate_largest_width": rates.isel(width=-1),
        "one_input_distance": found.one_input_distance,
        "one_input_camera_ready": draft / 2,
        "one_input_draft": draft,
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Bounds at every recorded time; exponents in the width."""
    outside = unmet(needed_width(theorem_3_2_width, settings, found), max(settings.widths))
    return [
        _rate(found, outside),
        _drift(found),
        _distances(settings, found),
        _camera_ready(settings, found),
        _exponent(found),
        _bootstrap(settings, found, outside),
    ]


def _rate(found: xr.Dataset, outside: str) -> Verdict:
    rates = _rates(found)
    return claim(
        "du2019-thm3.2",
        r"At every time $t$, $\lVert u(t)-y\rVert^2\le e^{-\lambda_0t}\lVert u(0)-y\rVert^2$",
        at_most("share of the bound that the misfit reaches after time 0", bound_shares(found)),
        outside=outside,
        holds="In every flow the misfit is below the bound at every recorded time. At the end its "
        rf"rate is $2\lambda_{{\min}}(H(t))$ times {spread(rates.isel(width=0))} at the least "
        f"width and {spread(rates.isel(width=-1))} at the largest.",
        fails="At a recorded time the misfit is above the bound.",
    )


def _drift(found: xr.Dataset) -> Verdict:
    widest = found.drift.max("time").isel(width=-1)
    return claim(
        "du2019-rem3.1b",
        r"$\sup_t\lVert H(t)-H(0)\rVert_2=O(m^{-1/2})$, with a constant that is not named",
        exponent_at_most(
            r"$\sup_t\lVert H(t)-H(0)\rVert_2$, over $\lVert y-u(0)\rVert$, in the width $m$",
            farthest(found, "drift"),
            -0.5,
            0.1,
        ),
        holds="The Gram matrix moves less in wider networks, and falls with the width at least as "
        f"fast as the remark says; in the widest it moves by {spread(widest)}.",
        fails="The drift of the Gram matrix falls more slowly with the width than the remark says.",
    )


def _distances(settings: Settings, found: xr.Dataset) -> Verdict:
    """The lemma with the draft's factor 2, in the flows that meet its hypothesis."""
    met = least_ratios(found) >= 0.5
    return claim(
        "du2019-lem3.3",
        r"While $\lambda_{\min}(H)\ge\lambda_0/2$, no weight moves farther than "
        r"$R'=2\sqrt n\,\lVert y-u(0)\rVert/(\sqrt m\,\lambda_0)$, and the rate of Theorem 3.2 "
        "holds",
        at_most(
            "share of $R'$ that the farthest weight moves",
            under(met, _ball_shares(settings, found)),
        ),
        at_most(
            "share of the rate's bound that the misfit reaches", under(met, bound_shares(found))
        ),
        at_most(
            f"share of $R'$ in an example with one input, where it is sharp and {SOLVER:g} is "
            "allowed for the solver",
            _one_input_share(found),
            1 + SOLVER,
            ".5f",
        ),
        outside=never(met),
        holds=f"In all of the {int(met.sum())} flows that meet the hypothesis ({met.size} were "
        "run) no weight leaves the ball and the misfit stays below its bound. An example with one "
        "input reaches the radius, so that no smaller constant would do.",
        fails="A weight leaves the ball or the misfit its bound although the hypothesis was "
        "measured to be true.",
    )


def _camera_ready(settings: Settings, found: xr.Dataset) -> Verdict:
    """The same with half the radius, as the camera-ready prints it."""
    met, share = least_ratios(found) >= 0.5, 2 * _one_input_share(found)
    return claim(
        "du2019-lem3.3-camera-ready",
        r"The same with $R'=\sqrt n\,\lVert y-u(0)\rVert/(\sqrt m\,\lambda_0)$, half the radius",
        at_most(
            "share of that radius that the farthest weight moves in the flows on drawn data",
            under(met, 2 * _ball_shares(settings, found)),
        ),
        at_most("share of it in the example with one input", share, 1 + SOLVER, ".5f"),
        holds="Neither the flows on drawn data nor the example with one input leave the smaller "
        "ball.",
        fails="The flows on drawn data stay far inside, but with one input and four units, where "
        r"$\lambda_{\min}(H(t))=\lambda_0/2$ at all times, a weight moves "
        f"{number(share, '.4f')} times that radius: the factor 2, which the draft has, is needed. "
        "Nothing else in the paper changes, as its widths are stated up to constants.",
    )


def _exponent(found: xr.Dataset) -> Verdict:
    """What the lemma does not say: that distances follow the shape of its radius."""
    return claim(
        "du2019-lem3.3-exponent",
        r"The farthest weight moves like $m^{-1/2}$, as the radius $R'$ does",
        exponent_near(
            r"$\max_r\lVert w_r(t)-w_r(0)\rVert$, over $\lVert y-u(0)\rVert$, in the width $m$",
            farthest(found),
            -0.5,
            0.1,
        ),
        holds="The farthest weight moves by a small share of the radius, but with its power of "
        "the width.",
        fails="The farthest weight moves with another power of the width than the radius.",
    )


def _bootstrap(settings: Settings, found: xr.Dataset, outside: str) -> Verdict:
    least = least_ratios(found)
    return claim(
        "du2019-lem3.4",
        r"At all times $\lambda_{\min}(H(t))\ge\lambda_0/2$, the distances of Lemma 3.3 and the "
        "rate of Theorem 3.2, once $R'<R$",
        at_least(
            r"$\lambda_{\min}(H(t))/\lambda_0$ at the least width", least.isel(width=0), 0.5, ".2f"
        ),
        at_least("the same at the larger widths", least.isel(width=slice(1, None)), 0.5, ".2f"),
        at_most("share of the rate's bound that the misfit reaches", bound_shares(found)),
        at_most("share of $R'$ that the farthest weight moves", _ball_shares(settings, found)),
        outside=outside,
        holds=r"At all recorded times the least eigenvalue is far above $\lambda_0/2$, and both "
        "bounds are kept.",
        fails=r"The least eigenvalue falls below $\lambda_0/2$, a weight leaves the ball, or "
        "the misfit exceeds its bound.",
    )


def _ball_shares(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Largest distance of each run over the draft's R'."""
    radius = xr.apply_ufunc(
        lemma_3_3_distance, settings.count, found.width, found.lambda_0,
        found.misfit.isel(time=0), vectorize=True,
    )  # fmt: skip
    shares: xr.DataArray = found.distance.max("time") / radius
    return shares


def _one_input_radius(found: xr.Dataset) -> float:
    """The draft's R' of that network; the camera-ready's is half of it."""
    return lemma_3_3_distance(1, 4, 0.5, float(found.one_input_misfit))


def _one_input_share(found: xr.Dataset) -> float:
    """Of the draft's R'."""
    return float(found.one_input_distance) / _one_input_radius(found)


def _rates(found: xr.Dataset) -> xr.DataArray:
    """-d log ||u - y||^2 / dt over the last quarter, over 2 lambda_min(H) at its end."""
    late = found.isel(time=[-1 - found.sizes["time"] // 4, -1])
    fall, duration = -np.log(late.misfit).diff("time"), late.times.diff("time")
    rates: xr.DataArray = (fall / duration).isel(time=-1) / (2 * late.lambda_min.isel(time=-1))
    return rates


def _above_the_bound(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    after = xr.DataArray(np.arange(found.sizes["time"]) > 0, dims="time")
    raised = found.misfit * 1.01 / float(bound_shares(found).max())
    return found.assign(misfit=raised.where(after, found.misfit))


def _outside_the_ball(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(distance=found.distance * 1.01 / float(_ball_shares(settings, found).max()))


CONTROLS = {
    "du2019-thm3.2": Lie(
        "after the start every misfit is multiplied by what puts the largest 1 % above the bound",
        _above_the_bound,
    ),
    "du2019-rem3.1b": Lie(
        "every drift of the Gram matrix is multiplied by $m^{1/3}$",
        lambda settings, found: found.assign(drift=found.drift * found.width ** (1 / 3)),
    ),
    "du2019-lem3.3": Lie(
        "all distances are multiplied by what puts the largest 1 % outside the ball",
        _outside_the_ball,
    ),
    "du2019-lem3.3-camera-ready": Lie(
        "in the example with one input the weight moves half as far",
        lambda settings, found: found.assign(one_input_distance=found.one_input_distance / 2),
    ),
    "du2019-lem3.3-exponent": Lie(
        "every distance is multiplied by $m^{1/4}$",
        lambda settings, found: found.assign(distance=found.distance * found.width**0.25),
    ),
    "du2019-lem3.4": Lie(
        r"all eigenvalues are multiplied by what brings the least down to $0.49\,\lambda_0$",
        lambda settings, found: found.assign(
            lambda_min=found.lambda_min * 0.49 / float(least_ratios(found).min())
        ),
    ),
}
