"""Gradient descent contracts ||u - y||^2 by 1 - eta lambda_0 / 2 per step (Theorem 4.1).

Refuted by a step with a larger ratio, by a distance from initialisation above Corollary 4.1, or
by a rate that depends on the width.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from companion.bounds.du2019 import (
    corollary_4_1_distance,
    explicit_width,
    theorem_4_1_step_size,
    theorem_4_1_width,
)
from companion.datasets import sphere
from companion.dynamics import Every, gradient_descent, linearised_distances
from companion.experiments.du2019._regime import unmet_width
from companion.kernels import empirical_gram, infinite_width_gram, lambda_max, lambda_min
from companion.lab.experiment import Cost
from companion.lab.fits import contraction, log_log_slope, spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Positive, Probability, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import draw_two_layer
from companion.observables import max_distance, mean_distance, misfit

EXPECTED: dict[str, Outcome] = {
    "du2019-thm4.1": "outside-regime",
    "du2019-cond4.1": "outside-regime",
    "du2019-cor4.1": "holds",
}


class Settings(BaseSettings):
    """What is run.

    Attributes:
        count: n, inputs on the sphere.
        dimension: d.
        widths: m, in increasing order.
        seeds: how many independent draws of data and network.
        step_sizes: eta as multiples of 1 / lambda_max(H_inf), besides the theorem's lambda_0 / n^2;
            in increasing order.
        steps: gradient descent steps.
        delta: failure probability in the explicit width.
    """

    count: Annotated[int, Field(ge=2)] = 50
    dimension: Dimension = 50
    widths: Annotated[Sizes, Field(min_length=3)] = (400, 1600, 6400)
    seeds: Size = 3
    step_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1.0)
    steps: Size = 50
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(
    count=100,
    dimension=100,
    widths=(400, 1600, 6400, 25600),
    seeds=5,
    step_sizes=(0.25, 0.5, 1.0),
    steps=100,
)


def cost(settings: Settings) -> Cost:
    """Two products of (n, d) and (d, m) a step; weights, gradient and three (n, m) arrays."""
    s, runs = settings, settings.seeds * (len(settings.step_sizes) + 1)
    flops = runs * s.steps * sum(4 * s.count * s.dimension * width for width in s.widths)
    return Cost(flops, 8 * max(s.widths) * (3 * s.count + 3 * s.dimension))


def run(settings: Settings, device: str) -> Result:
    """Train every width from every seed at every step size, recording misfit and distance."""
    s = settings
    arrays = sweep("runs", partial(_train, s, device), seed=range(s.seeds), width=s.widths)
    return Result(
        experiment="du2019/linear_rate",
        settings=settings.model_dump(mode="json"),
        values=_values(settings, arrays),
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}",
    )


def _train(settings: Settings, device: str, *, seed: int, width: int) -> dict[str, np.ndarray]:
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    network = draw_two_layer(width, settings.dimension, seed, dtype, device)
    limit = infinite_width_gram(data.x)
    lambda_0, largest = lambda_min(limit), lambda_max(limit)
    step_sizes = [theorem_4_1_step_size(settings.count, lambda_0)]
    step_sizes += [multiple / largest for multiple in settings.step_sizes]
    runs = [
        gradient_descent(
            network,
            data.x,
            data.y,
            step_size=step_size,
            steps=settings.steps,
            record={
                "misfit": misfit,
                "distance": Every(settings.steps, max_distance),
                "rms": Every(settings.steps, mean_distance),
            },
        )
        for step_size in step_sizes
    ]
    frozen = [
        linearised_distances(network, data.x, data.y, limit, step_size=eta, steps=settings.steps)
        for eta in step_sizes
    ]
    return {
        "step_sizes": np.array(step_sizes),
        "misfit": np.stack([trajectory["misfit"] for trajectory in runs]),
        "distance": np.array([trajectory["distance"][-1] for trajectory in runs]),
        "rms_distance": np.array([trajectory["rms"][-1] for trajectory in runs]),
        "frozen_distance": np.array([float(distances.max()) for distances in frozen]),
        "lambda_0": np.array(lambda_0),
        "lambda_min": np.array(lambda_min(empirical_gram(network, data.x))),
    }


def _values(settings: Settings, arrays: dict[str, np.ndarray]) -> dict[str, float | int]:
    misfits, eta, lambda_0 = arrays["misfit"], arrays["step_sizes"], arrays["lambda_0"].mean()
    ratios = _ratios(settings.model_dump(), arrays)[:, -1, -1]  # largest width and step size
    return {
        "lambda_0": float(lambda_0),
        "needed_width": explicit_width(
            theorem_4_1_width, settings.count, float(lambda_0), settings.delta, settings.count
        ),
        "largest_width": max(settings.widths),
        "steps": settings.steps,
        "theorem_step_size": float(eta[..., 0].mean()),
        "largest_step_size": float(eta[..., -1].mean()),
        "theorem_progress": float((1 - misfits[..., 0, -1] / misfits[..., 0, 0]).mean()),
        "late_ratio": float(np.nanmax(ratios, axis=-1).mean()),
        "late_prediction": float(((1 - eta[:, -1, -1] * arrays["lambda_min"][:, -1]) ** 2).mean()),
        "bound_ratio": float((1 - eta[:, -1, -1] * arrays["lambda_0"][:, -1] / 2).mean()),
        "max_over_rms_first": float(_max_over_rms(arrays)[:, 0].mean()),
        "max_over_rms_last": float(_max_over_rms(arrays)[:, -1].mean()),
    }


def _max_over_rms(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Largest distance over the root mean square one at the largest step size, (seeds, widths)."""
    return np.asarray(arrays["distance"][..., -1] / arrays["rms_distance"][..., -1])


def judge(result: Result) -> list[Verdict]:
    """Worst ratio to the bound over all runs; exponents of rate and distance in the width."""
    return [_theorem(result), _condition(result), _corollary(result)]


def _theorem(result: Result) -> Verdict:
    a, widths = result.arrays, result.settings["widths"]
    ratios = _ratios(result.settings, a)
    worst = float(np.nanmax(ratios / _promised(a)[..., None]))
    slope, error = log_log_slope(widths, -np.nanmean(np.log(ratios[:, :, -1]), axis=-1))
    slowest = (1 - a["step_sizes"][..., -1] * a["lambda_min"]) ** 2
    late = np.nanmax(ratios[:, :, -1], axis=-1) / slowest
    seen = worst <= 1 and abs(slope) <= _width_allowance(result)
    return Verdict(
        "du2019-thm4.1",
        "outside-regime" if seen else "fails",
        r"ratio of successive $\lVert u-y\rVert^2$ at most $1-\eta\lambda_0/2$ at every step, at a "
        r"rate without $m$; as the companion adds, tending to $(1-\eta\lambda_{\min}(H))^2$",
        f"largest ratio divided by the bound: {worst:.6f}; exponent of the rate in m {slope:.3f} "
        f"(s.e. {error:.3f}); largest over $(1-\\eta\\lambda_{{\\min}}(H(0)))^2$: "
        f"{spread(late.mean(axis=1), '.3f')}",
        f"1, exactly; exponent within {_width_allowance(result):.2f} of 0, what "
        r"$\lambda_{\min}(H(0))$ lacks at the least width allows; a step $\propto\sqrt m$ gives "
        "1/2",
        f"Every step of every run contracts at least as much as the theorem says, but "
        f"{unmet_width(result)}."
        if seen
        else "A step contracts less than the theorem says, or the rate depends on the width.",
    )


def _condition(result: Result) -> Verdict:
    worst = _share_of_condition(result)
    seen = worst <= 1
    return Verdict(
        "du2019-cond4.1",
        "outside-regime" if seen else "fails",
        r"$\lVert u(k)-y\rVert^2\le(1-\eta\lambda_0/2)^k\lVert u(0)-y\rVert^2$ for all k",
        f"largest share of the bound after the first step: {worst:.6f}",
        "1, exactly",
        f"The induction hypothesis is true at every recorded step, but {unmet_width(result)}."
        if seen
        else "The induction hypothesis is false at a recorded step.",
    )


def _share_of_condition(result: Result) -> float:
    """Largest ||u(k) - y||^2 over Condition 4.1's bound, all runs, k >= 1."""
    ratios = _ratios(result.settings, result.arrays) / _promised(result.arrays)[..., None]
    return float(np.nanmax(np.cumprod(ratios, axis=-1)))


def _ratios(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a step leaves of the squared residual, shape (seeds, widths, step sizes, steps)."""
    widths = np.array(settings["widths"])[:, None, None]
    return contraction(arrays["misfit"], widths, settings["dtype"])


def _promised(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """1 - eta lambda_0 / 2, shape (seeds, widths, step sizes)."""
    promised: np.ndarray = 1 - arrays["step_sizes"] * arrays["lambda_0"][..., None] / 2
    return promised


def _corollary(result: Result) -> Verdict:
    """The bound, and the exponents: of the root mean square, and of the maximum over m units."""
    a, widths = result.arrays, result.settings["widths"]
    size = np.sqrt(a["misfit"][:, :, -1, 0])  # ||y - u(0)||, which the bound divides out
    slope, error = log_log_slope(widths, a["rms_distance"][..., -1] / size)
    largest, largest_error = log_log_slope(widths, a["distance"][..., -1] / size)
    frozen, _ = log_log_slope(widths, a["frozen_distance"][..., -1] / size)
    share = (a["distance"] / _radii(result)).max(axis=(1, 2))
    allowance = _width_allowance(result)
    exponents = abs(slope + 0.5) <= allowance and abs(largest - frozen) <= allowance
    outcome: Outcome = "holds" if share.max() <= 1 and exponents else "fails"
    if _share_of_condition(result) > 1:
        outcome = "inconclusive"
    return Verdict(
        "du2019-cor4.1",
        outcome,
        r"$\max_r\lVert w_r(k)-w_r(0)\rVert\le 4\sqrt n\lVert y-u(0)\rVert/(\sqrt m\lambda_0)$; "
        r"exponent in m: -1/2 for the root mean square over units; for the maximum over m units "
        f"{frozen:.3f}, computed with frozen activations and the Gram matrix of infinite width",
        f"share of the bound {spread(share)}; exponents {slope:.3f} (s.e. {error:.3f}) and "
        f"{largest:.3f} (s.e. {largest_error:.3f})",
        f"share at most 1, exactly; exponents within {allowance:.2f}, what "
        r"$\lambda_{\min}(H(0))$ lacks at the least width allows",
        {
            "holds": "Its hypothesis, Condition 4.1, was measured to be true, and no weight leaves "
            "the ball.",
            "fails": "A weight leaves the ball, or the distance falls with another power of m.",
        }.get(outcome, "Its hypothesis, Condition 4.1, was not met."),
    )


def _width_allowance(result: Result) -> float:
    """Exponent that finite width can add by itself.

    At the least width lambda_min(H(0)) may be short of lambda_0 by the quarter that Lemma 3.1
    leaves open, or by more where that width is below the lemma's.
    """
    a, widths = result.arrays, result.settings["widths"]
    shortfall = max(4 / 3, float((a["lambda_0"] / a["lambda_min"])[:, 0].max()))
    return math.log(shortfall) / math.log(max(widths) / min(widths))


def _radii(result: Result) -> np.ndarray:
    """Corollary 4.1's bound for each run, shape (seeds, widths, 1)."""
    a, count = result.arrays, result.settings["count"]
    widths = np.array(result.settings["widths"])[None, :]
    start = a["misfit"][:, :, 0, 0]
    bound = np.vectorize(corollary_4_1_distance)(count, widths, a["lambda_0"], start)
    return np.asarray(bound)[..., None]
