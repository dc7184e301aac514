"""Eq. (4) is the gradient of eq. (2); without flips a step multiplies u - y by I - eta H.

Refuted by finite differences or automatic differentiation that disagree with eq. (4), by a Gram
matrix other than J J^T, or by a step without a flipped activation that leaves the recursion.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.datasets import DataSet, sphere
from companion.dynamics import gradient_descent
from companion.kernels import empirical_gram, lambda_max
from companion.lab.experiment import Cost
from companion.lab.fits import spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import TwoLayer, draw_two_layer

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
        step_sizes: eta as multiples of 1 / lambda_max(H(0)), in increasing order.
        steps: gradient descent steps.
    """

    count: Size = 20
    dimension: Dimension = 10
    widths: Sizes = (100, 1000, 10000)
    seeds: Size = 3
    differences: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = tuple(
        10.0**power for power in range(-9, 0)
    )
    directions: Size = 5
    step_sizes: tuple[Annotated[float, Field(gt=0, lt=2)], ...] = (1e-4, 1e-2, 0.5)
    steps: Size = 20


QUICK = Settings()
PAPER = Settings(widths=(100, 1000, 10000, 30000), seeds=10, directions=20, steps=50)


def cost(settings: Settings) -> Cost:
    """A step computes predictions thrice and a Gram matrix; the Jacobian has n m d entries."""
    s, total = settings, sum(settings.widths)
    step = 2 * s.count * total * (5 * s.dimension + s.count)
    differences = 4 * s.count * s.dimension * total * len(s.differences) * s.directions
    jacobian = 2 * s.count**2 * s.dimension * total
    flops = s.seeds * (len(s.step_sizes) * s.steps * step + differences + jacobian)
    return Cost(flops, 8 * max(s.widths) * s.count * (2 * s.dimension + 4))


def run(settings: Settings, device: str) -> Result:
    """Check the gradient at initialisation and the recursion along training, width by width."""
    s = settings
    arrays = sweep("runs", partial(_check, s, device), seed=range(s.seeds), width=s.widths)
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


def _check(settings: Settings, device: str, *, seed: int, width: int) -> dict[str, np.ndarray]:
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    network = draw_two_layer(width, settings.dimension, seed, dtype, device)
    runs = [_descend(network, data, multiple, settings.steps) for multiple in settings.step_sizes]
    along = {name: np.stack([found[name] for found in runs]) for name in runs[0]}
    return {**_gradient_gaps(settings, network, data, seed), **along}


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
    predictions = network.moved(leaf).predict(data.x)
    rows = torch.stack(
        [torch.autograd.grad(value, leaf, retain_graph=True)[0].flatten() for value in predictions]
    )
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
        "loss_over_gradient": np.array(float(residual.square().sum() / 2 / gradient.norm())),
        "autograd_gap": _gap(automatic, gradient),
        "gram_gap": _gap(rows @ rows.T, gram),
        "difference_gap": np.array(gaps).max(axis=1),
    }


def _difference_gap(
    network: TwoLayer, data: DataSet, gradient: Tensor, direction: Tensor, step: float
) -> float:
    """Central difference along a unit direction against eq. (4), over the gradient's norm."""
    ahead = _loss(network.weights + step * direction, network, data)
    behind = _loss(network.weights - step * direction, network, data)
    slope = float((gradient * direction).sum())
    return abs(float(ahead - behind) / (2 * step) - slope) / float(gradient.norm())


def _gap(found: Tensor, known: Tensor) -> np.ndarray:
    return np.array(float((found - known).norm() / known.norm()))


def _descend(
    network: TwoLayer, data: DataSet, multiple: float, steps: int
) -> dict[str, np.ndarray]:
    """Per step: flips, distance from the recursion, and its excess over the flip bound."""
    step_size = multiple / lambda_max(empirical_gram(network, data.x))
    train = partial(gradient_descent, x=data.x, y=data.y, step_size=step_size, record={})
    now, size = network, float((network.predict(data.x) - data.y).norm())
    found: dict[str, list[float]] = {"flips": [], "recursion_gap": [], "flip_excess": []}
    for _ in range(steps):
        after = train(now, steps=1).network
        old, new = now.preactivations(data.x), after.preactivations(data.x)
        residual = now.predict_from(old) - data.y
        recursion = residual - step_size * empirical_gram(now, data.x) @ residual
        error = after.predict_from(new) - data.y - recursion
        flipped = (old >= 0) != (new >= 0)
        bound = ((new - old).abs() * flipped).sum(dim=1) / math.sqrt(network.width)
        found["flips"].append(int(flipped.sum()))
        found["recursion_gap"].append(float(error.norm()) / size)
        found["flip_excess"].append(float((error.abs() - bound).clamp(min=0).max()) / size)
        now = after
    repeats = torch.equal(train(network, steps=steps).network.weights, now.weights)
    return {
        **{name: np.array(values) for name, values in found.items()},
        "repeats": np.array(repeats),
    }


def judge(result: Result) -> list[Verdict]:
    """Three roads to the gradient, and the recursion where nothing flips."""
    a, s = result.arrays, result.settings
    v = {name: float(value) for name, value in result.values.items()}
    eps, width = float(np.finfo(s["dtype"]).eps), max(s["widths"])
    # Rounding errors of a sum of k terms add up like a random walk; ten standard deviations of it.
    in_gram, in_prediction = (
        10 * math.sqrt(width * s["dimension"]) * eps,
        10 * math.sqrt(width) * eps,
    )
    # Between kinks the loss is quadratic and central differences are exact but for rounding over h.
    in_difference = math.sqrt(eps)
    identities = max(v["autograd_gap"], v["gram_gap"])
    gradient_right = identities <= in_gram and v["difference_gap"] <= in_difference
    excess = float(a["flip_excess"].max())
    recursion_right = max(v["still_gap"], excess) <= in_prediction and bool(a["repeats"].all())
    recursion = _outcome(v["still_steps"], recursion_right)
    return [
        Verdict(
            "du2019-eq1-4",
            "holds" if gradient_right else "fails",
            r"eq. (4) is $\partial L/\partial w_r$ by differences and by autograd; $JJ^\top=H$",
            f"relative gap to differences {v['difference_gap']:.1e}, to autograd "
            f"{v['autograd_gap']:.1e}, of $H$ to $JJ^\\top$ {v['gram_gap']:.1e}",
            f"differences {in_difference:.1e} (rounding over h), identities {in_gram:.1e}",
            "Finite differences, automatic differentiation and eq. (4) give one gradient."
            if gradient_right
            else "Finite differences, automatic differentiation and eq. (4) do not all agree.",
        ),
        Verdict(
            "du2019-algo-gd",
            recursion,
            r"$u(k+1)-y=(I-\eta H(k))(u(k)-y)$ in every step without a flip",
            f"off by {v['still_gap']:.1e} of the initial residual in {v['still_steps']:.0f} steps "
            f"without a flip, by {spread(_moved(a), '.1e')} in the worst step with flips",
            f"{in_prediction:.1e} (rounding), with flips on top of what the flipped units moved",
            {
                "holds": "While no activation flips the recursion is exact to rounding, and flips "
                "add no more than the flipped units moved.",
                "fails": "A step leaves the recursion by more than rounding and its flips explain, "
                "or a run does not repeat.",
            }.get(recursion, "Every step flipped an activation, so nothing is decided."),
        ),
    ]


def _outcome(still_steps: float, right: bool) -> Outcome:
    if not right:
        return "fails"
    return "holds" if still_steps else "inconclusive"


def _moved(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Largest distance from the recursion in a step with flips, per seed."""
    gaps = np.where(arrays["flips"] > 0, arrays["recursion_gap"], 0.0)
    largest: np.ndarray = gaps.max(axis=(1, 2, 3))
    return largest
