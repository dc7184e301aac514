"""Equation (4) is the gradient of eq. (2), and descent along it follows u - y -> (I - eta H)(u - y).

Refuted by finite differences or automatic differentiation that disagree with eq. (4), by a Gram
matrix other than J J^T, or by a step without a flipped activation that leaves the recursion.
"""

import math
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.datasets import DataSet, sphere
from companion.dynamics import gradient_descent
from companion.fits import spread
from companion.kernels import empirical_gram, lambda_max
from companion.networks import TwoLayer, draw_two_layer
from companion.results import Cost, Outcome, Result, Verdict, checkpoint, progress
from companion.settings import Settings as BaseSettings

EXPECTED: dict[str, Outcome] = {
    "du2019-eq1-4": "holds",
    "du2019-algo-gd": "holds",
}


class Settings(BaseSettings):
    """What is run.

    Attributes:
        count: n, inputs on the sphere.
        dimension: d.
        widths: m, in increasing order.
        seeds: how many independent draws of data and network.
        differences: h, steps of the central differences.
        directions: random directions in weight space in which differences are taken.
        step_size: eta as a multiple of 1 / lambda_max(H(0)).
        steps: gradient descent steps.
    """

    count: Annotated[int, Field(ge=1)] = 20
    dimension: Annotated[int, Field(ge=1)] = 10
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (100, 1000, 10000)
    seeds: Annotated[int, Field(ge=1)] = 3
    differences: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = tuple(
        10.0**power for power in range(-9, 0)
    )
    directions: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[float, Field(gt=0, lt=2)] = 0.5
    steps: Annotated[int, Field(ge=1)] = 60


QUICK = Settings()
PAPER = Settings(widths=(100, 1000, 10000, 100000), seeds=10, directions=20, steps=200)


def cost(settings: Settings) -> Cost:
    """A step computes predictions thrice and a Gram matrix; the Jacobian has n m d entries."""
    s, total = settings, sum(settings.widths)
    step = 2 * s.count * total * (5 * s.dimension + s.count)
    differences = 4 * s.count * s.dimension * total * len(s.differences) * s.directions
    jacobian = 2 * s.count**2 * s.dimension * total
    flops = s.seeds * (s.steps * step + differences + jacobian)
    return Cost(flops, 8 * max(s.widths) * s.count * (2 * s.dimension + 4))


def run(settings: Settings, device: str) -> Result:
    """Check the gradient at initialisation and the recursion along training, width by width."""
    runs = [(seed, width) for seed in range(settings.seeds) for width in settings.widths]
    parts = [
        checkpoint(f"seed{seed}-m{width}", partial(_check, settings, seed, width, device))
        for seed, width in progress(runs, "gradient")
    ]
    shape = (settings.seeds, len(settings.widths))
    arrays = {
        name: np.stack([part[name] for part in parts]).reshape(*shape, *parts[0][name].shape)
        for name in parts[0]
    }
    still = arrays["flips"] == 0
    return Result(
        experiment="du2019/gradient",
        settings=settings.model_dump(mode="json"),
        values={
            "autograd_gap": float(arrays["autograd_gap"].max()),
            "gram_gap": float(arrays["gram_gap"].max()),
            "difference_gap": float(arrays["difference_gap"].min(axis=-1).max()),
            "still_steps": int(still.sum()),
            "all_steps": int(still.size),
            "still_gap": float(arrays["recursion_gap"][still].max(initial=0.0)),
            "moved_gap": float(arrays["recursion_gap"][~still].max(initial=0.0)),
        },
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}",
    )


def _check(settings: Settings, seed: int, width: int, device: str) -> dict[str, np.ndarray]:
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    network = draw_two_layer(width, settings.dimension, seed, dtype, device)
    return {**_gradient_gaps(settings, network, data, seed), **_descend(settings, network, data)}


def _loss(weights: Tensor, network: TwoLayer, data: DataSet) -> Tensor:
    """Eq. (2), from the weights alone."""
    return 0.5 * (network.moved(weights).predict(data.x) - data.y).square().sum()


def _gradient_gaps(
    settings: Settings, network: TwoLayer, data: DataSet, seed: int
) -> dict[str, np.ndarray]:
    """Relative distance of eq. (4) from autograd and from central differences, of H from J J^T."""
    residual = network.predict(data.x) - data.y
    gradient = network.weight_gradient(data.x, network.preactivations(data.x), residual)
    leaf = network.weights.clone().requires_grad_()
    automatic = torch.autograd.grad(_loss(leaf, network, data), leaf)[0]
    rows = torch.func.jacrev(lambda weights: network.moved(weights).predict(data.x))(
        network.weights
    ).flatten(1)
    gram = empirical_gram(network, data.x)
    drawn = [
        draw_two_layer(network.width, settings.dimension, 1 + seed + 1000 * number).weights
        for number in range(settings.directions)
    ]
    gaps = [
        [_difference_gap(network, data, gradient, direction.to(gradient) / direction.norm(), step)
         for direction in drawn]
        for step in settings.differences
    ]  # fmt: skip
    return {
        "autograd_gap": _gap(automatic, gradient),
        "gram_gap": _gap(rows @ rows.T, gram),
        "difference_gap": np.array(gaps).max(axis=1),
    }


def _difference_gap(
    network: TwoLayer, data: DataSet, gradient: Tensor, direction: Tensor, step: float
) -> float:
    """Central difference along a unit direction against eq. (4), in units of a typical slope."""
    ahead = _loss(network.weights + step * direction, network, data)
    behind = _loss(network.weights - step * direction, network, data)
    slope = float((gradient * direction).sum())
    typical = float(gradient.norm()) / math.sqrt(gradient.numel())
    return abs(float(ahead - behind) / (2 * step) - slope) / typical


def _gap(found: Tensor, known: Tensor) -> np.ndarray:
    return np.array(float((found - known).norm() / known.norm()))


def _descend(settings: Settings, network: TwoLayer, data: DataSet) -> dict[str, np.ndarray]:
    """Per step: flipped activations, distance from the recursion, and its share of the flip bound."""
    step_size = settings.step_size / lambda_max(empirical_gram(network, data.x))
    first, size = network, float((network.predict(data.x) - data.y).norm())
    flips, gaps, shares = [], [], []
    for _ in range(settings.steps):
        after = gradient_descent(
            network, data.x, data.y, step_size=step_size, steps=1, record={}
        ).network
        old, new = network.preactivations(data.x), after.preactivations(data.x)
        residual = network.predict_from(old) - data.y
        recursion = residual - step_size * empirical_gram(network, data.x) @ residual
        error = after.predict_from(new) - data.y - recursion
        flipped = (old >= 0) != (new >= 0)
        bound = ((new - old).abs() * flipped).sum(dim=1) / math.sqrt(network.width)
        flips.append(int(flipped.sum()))
        gaps.append(float(error.norm()) / size)
        shares.append(float((error.abs()[bound > 0] / bound[bound > 0]).max()) if flips[-1] else 0)
        network = after
    again = gradient_descent(
        first, data.x, data.y, step_size=step_size, steps=settings.steps, record={}
    ).network
    return {
        "flips": np.array(flips),
        "recursion_gap": np.array(gaps),
        "flip_share": np.array(shares),
        "repeats": np.array(torch.equal(again.weights, network.weights)),
    }


def judge(result: Result) -> list[Verdict]:
    """Three roads to the gradient, and the recursion where nothing flips."""
    a, s = result.arrays, result.settings
    eps = float(np.finfo(s["dtype"]).eps)
    exact, best, still = 100 * eps, result.values["difference_gap"], a["flips"] == 0
    # A central difference has no truncation error between kinks; rounding of the loss, divided by h,
    # is what remains, and the best h lies where the first kinks are met: eps^(1/2) is generous.
    within = math.sqrt(eps)
    identities = max(result.values["autograd_gap"], result.values["gram_gap"])
    rounding = 10 * math.sqrt(max(s["widths"])) * eps
    still_gap, share = result.values["still_gap"], float(a["flip_share"].max())
    gradient_right = identities <= exact and best <= within
    recursion_right = still_gap <= rounding and share <= 1 + 1e4 * exact and a["repeats"].all()
    return [
        Verdict(
            "du2019-eq1-4",
            "holds" if gradient_right else "fails",
            r"eq. (4) is $\partial L/\partial w_r$ by differences and by autograd; $JJ^\top=H$",
            f"relative gap to differences {best:.1e}, to autograd and of the Gram matrix "
            f"{identities:.1e}",
            f"differences {within:.1e} (rounding over h); identities {exact:.1e} (100 roundings)",
            "Finite differences, automatic differentiation and eq. (4) give one gradient.",
        ),
        Verdict(
            "du2019-algo-gd",
            "inconclusive" if not still.any() else "holds" if recursion_right else "fails",
            r"$u(k+1)-y=(I-\eta H(k))(u(k)-y)$ in every step without a flip",
            f"off by {still_gap:.1e} of the initial residual in the {still.sum()} steps without a "
            f"flip, by {spread(_moved(a), '.1e')} at most in the others",
            f"{rounding:.1e} without a flip (rounding of sums of m terms); the flip bound otherwise",
            "While no activation flips the recursion is exact to rounding; a flip adds no more than "
            "the flipped units moved.",
        ),
    ]


def _moved(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Largest distance from the recursion in a step with flips, per seed."""
    gaps = np.where(arrays["flips"] > 0, arrays["recursion_gap"], 0.0)
    largest: np.ndarray = gaps.max(axis=(1, 2))
    return largest
