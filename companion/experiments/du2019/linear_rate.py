"""Gradient descent contracts ||u - y||^2 by 1 - eta lambda_0 / 2 per step (Theorem 4.1).

Refuted by a step with a larger ratio, by a distance from initialisation above Corollary 4.1, or by a rate
that depends on the width.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from companion.bounds import (
    corollary_4_1_distance,
    initial_misfit,
    theorem_4_1_step_size,
    theorem_4_1_width,
)
from companion.datasets import sphere
from companion.dynamics import gradient_descent
from companion.fits import log_log_slope, spread
from companion.kernels import empirical_gram, infinite_width_gram, lambda_max, lambda_min
from companion.networks import draw_two_layer
from companion.observables import max_distance, misfit
from companion.results import Cost, Outcome, Result, Verdict, checkpoint, progress
from companion.settings import Settings as BaseSettings

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
        step_sizes: eta as multiples of 1 / lambda_max(H_inf), besides the theorem's lambda_0 / n^2.
        steps: gradient descent steps.
        delta: failure probability in the explicit width.
    """

    count: Annotated[int, Field(ge=2)] = 100
    dimension: Annotated[int, Field(ge=1)] = 100
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (400, 1600, 6400)
    seeds: Annotated[int, Field(ge=1)] = 3
    step_sizes: tuple[Annotated[float, Field(gt=0)], ...] = (0.25, 0.5, 1.0)
    steps: Annotated[int, Field(ge=1)] = 60
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.1


QUICK = Settings()
PAPER = Settings(widths=(400, 1600, 6400, 25600), seeds=5, steps=100)


def cost(settings: Settings) -> Cost:
    """Two products of (n, d) and (d, m) a step; weights, gradient and three (n, m) arrays."""
    s, runs = settings, settings.seeds * (len(settings.step_sizes) + 1)
    flops = runs * s.steps * sum(4 * s.count * s.dimension * width for width in s.widths)
    return Cost(flops, 8 * max(s.widths) * (3 * s.count + 3 * s.dimension))


def run(settings: Settings, device: str) -> Result:
    """Train every width from every seed at every step size, recording misfit and distance."""
    runs = [(seed, width) for seed in range(settings.seeds) for width in settings.widths]
    parts = [
        checkpoint(f"seed{seed}-m{width}", lambda s=seed, m=width: _train(settings, s, m, device))
        for seed, width in progress(runs, "linear rate")
    ]
    shape = (settings.seeds, len(settings.widths))
    arrays = {
        name: np.stack([part[name] for part in parts]).reshape(*shape, *parts[0][name].shape)
        for name in parts[0]
    }
    lambda_0 = arrays["lambda_0"][:, 0]
    needed = theorem_4_1_width(
        settings.count,
        float(lambda_0.mean()),
        settings.delta,
        initial_misfit(settings.count, settings.count) / settings.delta,
    )
    return Result(
        experiment="du2019/linear_rate",
        settings=settings.model_dump(mode="json"),
        values={
            "lambda_0": float(lambda_0.mean()),
            "needed_width": needed,
            "largest_width": max(settings.widths),
            "theorem_step_size": theorem_4_1_step_size(settings.count, float(lambda_0.mean())),
        },
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}",
    )


def _train(settings: Settings, seed: int, width: int, device: str) -> dict[str, np.ndarray]:
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
            record={"misfit": misfit, "distance": max_distance},
        )
        for step_size in step_sizes
    ]
    return {
        "step_sizes": np.array(step_sizes),
        "misfit": np.stack([trajectory["misfit"] for trajectory in runs]),
        "distance": np.stack([trajectory["distance"][-1] for trajectory in runs]),
        "lambda_0": np.array(lambda_0),
        "lambda_min": np.array(lambda_min(empirical_gram(network, data.x))),
    }


def judge(result: Result) -> list[Verdict]:
    """Worst ratio to the bound over all runs; exponent of the distance in the width."""
    a, widths = result.arrays, result.settings["widths"]
    misfits, eta = a["misfit"], a["step_sizes"]
    contraction = 1 - eta * a["lambda_0"][..., None] / 2
    ratios = misfits[..., 1:] / misfits[..., :-1]
    worst_step = float((ratios.max(axis=-1) / contraction).max())
    bound = contraction[..., None] ** np.arange(misfits.shape[-1]) * misfits[..., :1]
    worst_total = float((misfits / bound).max())
    radius = _radii(result)
    share = a["distance"] / radius
    slope, error = log_log_slope(widths, a["distance"][..., -1])
    gap = f"the explicit width is {result.values['needed_width']:.1g}, at most {max(widths)} was run"
    return [
        Verdict(
            "du2019-thm4.1",
            "outside-regime" if worst_step <= 1 else "fails",
            r"ratio of successive $\lVert u-y\rVert^2$ at most $1-\eta\lambda_0/2$ at every step",
            f"largest ratio divided by the bound: {worst_step:.4f}",
            "1, exactly",
            f"Every step of every run contracts at least as fast as the theorem says, but {gap}.",
        ),
        Verdict(
            "du2019-cond4.1",
            "outside-regime" if worst_total <= 1 + 1e-12 else "fails",
            r"$\lVert u(k)-y\rVert^2\le(1-\eta\lambda_0/2)^k\lVert u(0)-y\rVert^2$ for all k",
            f"largest share of the bound: {worst_total:.4f}",
            "1, up to rounding (1e-12)",
            f"The induction hypothesis is true at every recorded step, but {gap}.",
        ),
        Verdict(
            "du2019-cor4.1",
            "holds" if float(share.max()) <= 1 and abs(slope + 0.5) < 0.1 else "fails",
            r"$\max_r\lVert w_r(k)-w_r(0)\rVert\le 4\sqrt n\lVert y-u(0)\rVert/(\sqrt m\lambda_0)$",
            f"share of the bound {spread(share.max(axis=(1, 2)))}; exponent in m {slope:.3f}"
            f" (s.e. {error:.3f})",
            "share below 1; exponent within 0.1 of -1/2",
            "Its hypothesis, Condition 4.1, was measured to be true, and no weight leaves the ball.",
        ),
    ]


def _radii(result: Result) -> np.ndarray:
    """Corollary 4.1's bound for each run, shape (seeds, widths, 1)."""
    a, count = result.arrays, result.settings["count"]
    widths = np.array(result.settings["widths"])[None, :]
    start = a["misfit"][:, :, 0, 0]
    bound = np.vectorize(corollary_4_1_distance)(count, widths, a["lambda_0"], start)
    return np.asarray(bound)[..., None]
