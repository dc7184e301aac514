"""Eq. (4) is the gradient of eq. (2); without flips a step multiplies u - y by I - eta H.

Refuted by finite differences or automatic differentiation that disagree with eq. (4), by a Gram
matrix other than J J^T, by a step without a flipped activation that leaves the recursion, or by
one with flips that leaves it by more than the flipped units moved.
"""

import math
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.experiments.du2019._problem import Problem, draw
from companion.kernels import empirical_gram, lambda_max
from companion.lab.checks import claim, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Share, Size, Sizes, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number, on_sphere
from companion.networks import draw_du

EXPECTED: dict[str, Outcome] = {
    "du2019-eq1-4": "holds",
    "du2019-algo-gd": "holds",
    "du2019-algo-gd-flips": "holds",
}


class Settings(SphereSettings):
    """What is run.

    Attributes:
        widths: m, in increasing order.
        differences: h, steps of the central differences.
        directions: random directions in weight space in which differences are taken.
        step_sizes: eta as multiples of 1 / lambda_max(H(0)), in increasing order.
        steps: gradient descent steps.
    """

    count: Count = 20
    dimension: Dimension = 10
    widths: Sizes = (100, 1000, 10000)
    differences: tuple[Share, ...] = tuple(10.0**power for power in range(-9, 0))
    directions: Size = 5
    step_sizes: tuple[Annotated[float, Field(gt=0, lt=2)], ...] = (1e-4, 1e-2, 0.5)
    steps: Size = 20


QUICK = Settings()
PAPER = Settings(widths=(100, 1000, 10000, 30000), seeds=10, directions=20, steps=50)


def cost(settings: Settings) -> Cost:
    """A step computes predictions thrice and a gradient twice; the Jacobian has n m d entries."""
    s, total = settings, sum(settings.widths)
    step = 2 * s.count * total * (5 * s.dimension + s.count)
    differences = 4 * s.count * s.dimension * total * len(s.differences) * s.directions
    jacobian = 2 * s.count**2 * s.dimension * total
    flops = s.seeds * (len(s.step_sizes) * s.steps * step + differences + jacobian)
    return Cost(flops, 8 * max(s.widths) * s.count * (2 * s.dimension + 4))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    sizes = listed([number(multiple) for multiple in s.step_sizes])
    return (
        f"The gradient of networks of width {listed(s.widths)} by three roads, and {s.steps} steps "
        rf"of gradient descent with step size $\eta$ = {sizes} times "
        rf"$1/\lambda_{{\max}}(H(0))$, on {on_sphere(s.count, s.dimension)}; data and networks are "
        f"drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Check the gradient at initialisation and the recursion along training, width by width."""
    s = settings
    found = sweep("runs", partial(_check, s, device), seed=s.each_seed, width=s.widths)
    return found.assign_attrs(data=s.data)


def _check(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=width)
    runs = [_descend(problem, multiple, settings.steps) for multiple in settings.step_sizes]
    return {**_gradient_gaps(settings, problem, seed), **xr.concat(runs, "eta")}


def _gradient_gaps(settings: Settings, problem: Problem, seed: int) -> Variables:
    """Relative distance of eq. (4) from autograd and from central differences, of H from J J^T."""
    network, x = problem.network, problem.x
    (gradient,) = network.gradients(network.run(x), problem.residual)
    leaf = network.weights[0].clone().requires_grad_()
    (automatic,) = torch.autograd.grad(_loss(problem, leaf), leaf)
    predictions = network.moved([leaf]).predict(x)
    rows = torch.stack(
        [torch.autograd.grad(value, leaf, retain_graph=True)[0].flatten() for value in predictions]
    )
    drawn = [
        draw_du(len(leaf), settings.dimension, 1 + seed + 1000 * number, dtype=torch.float64)
        for number in range(settings.directions)
    ]
    directions = [(each.weights[0] / each.weights[0].norm()).to(gradient) for each in drawn]
    gaps = [
        [_difference_gap(problem, gradient, direction, step) for direction in directions]
        for step in settings.differences
    ]
    return {
        "loss_over_gradient": float(problem.residual.square().sum() / 2 / gradient.norm()),
        "autograd_gap": _gap(automatic, gradient),
        "gram_gap": _gap(rows @ rows.T, problem.gram),
        "difference_gap": ("difference", np.array(gaps).max(axis=1)),
    }


def _loss(problem: Problem, weights: Tensor) -> Tensor:
    """Eq. (2), from the weights alone."""
    return 0.5 * (problem.network.moved([weights]).predict(problem.x) - problem.y).square().sum()


def _gap(found: Tensor, known: Tensor) -> float:
    return float((found - known).norm() / known.norm())


def _difference_gap(problem: Problem, gradient: Tensor, direction: Tensor, step: float) -> float:
    """Central difference along a unit direction against eq. (4), over the gradient's norm."""
    (weights,) = problem.network.weights
    ahead, behind = (_loss(problem, weights + h * direction) for h in (step, -step))
    slope = float((gradient * direction).sum())
    return abs(float(ahead - behind) / (2 * step) - slope) / float(gradient.norm())


def _descend(problem: Problem, multiple: float, steps: int) -> xr.Dataset:
    """Per step: flips, distance from the recursion, and its excess over the flip bound."""
    step_size, size = multiple / lambda_max(problem.gram), float(problem.residual.norm())
    moments = problem.moments(step_size)
    moment = next(moments)
    flips, gaps, excesses = [], [], []
    for _ in range(steps):
        before, gram = moment.forward, empirical_gram(moment.network, problem.x)
        residual = before.predictions - problem.y
        moment = next(moments)
        after, network = moment.forward, moment.network
        error = after.predictions - problem.y - (residual - step_size * gram @ residual)
        old, new = before.gates[0], after.gates[0]
        flipped = network.pattern(old) != network.pattern(new)
        bound = network.output_gain * ((new - old).abs() * flipped).sum(dim=1)
        flips.append(int(flipped.sum()))
        gaps.append(float(error.norm()) / size)
        excesses.append(float((error.abs() - bound).clamp(min=0).max()) / size)
    again = problem.train(step_size, steps).network.weights[0]
    return xr.Dataset(
        {
            "flips": ("step", flips),
            "recursion_gap": ("step", gaps),
            "flip_excess": ("step", excesses),
            "repeats": torch.equal(again, moment.network.weights[0]),
        }
    )


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The largest gaps, and how many steps had no flip."""
    still = found.flips == 0
    return {
        "autograd_gap": found.autograd_gap.max(),
        "gram_gap": found.gram_gap.max(),
        "difference_gap": found.difference_gap.min("difference").max(),
        "still_steps": int(still.sum()),
        "all_steps": still.size,
        "still_gap": found.recursion_gap.where(still, 0.0).max(),
        "moved_gap": found.recursion_gap.where(~still, 0.0).max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Three roads to the gradient, the recursion where nothing flips, and what flips add."""
    return [_gradient(settings, found), _recursion(settings, found), _flips(settings, found)]


def _gradient(settings: Settings, found: xr.Dataset) -> Verdict:
    in_gram, _ = _rounding(settings)
    return claim(
        "du2019-eq1-4",
        r"Equation (4) is $\partial L/\partial w_r$, and the Gram matrix of the gradients of the "
        r"predictions is $H$",
        # Between kinks the loss is quadratic and central differences are exact but for rounding
        # over h.
        identity(
            "the gradient by central differences, at the best $h$ of each network, and by equation "
            "(4), as a share",
            found.difference_gap.min("difference"),
            math.sqrt(np.finfo(settings.dtype).eps),
            "rounding over $h$",
        ),
        identity(
            "the gradient by automatic differentiation and by equation (4), as a share",
            found.autograd_gap,
            in_gram,
            "rounding of sums",
        ),
        identity(
            r"$JJ^\top$ by automatic differentiation and $H$, as a share",
            found.gram_gap,
            in_gram,
            "rounding of sums",
        ),
        holds="Central differences, automatic differentiation and equation (4) give one gradient.",
        fails="Central differences, automatic differentiation and equation (4) do not all agree.",
    )


def _recursion(settings: Settings, found: xr.Dataset) -> Verdict:
    _, in_prediction = _rounding(settings)
    still = found.flips == 0
    repeated = f"{int(found.repeats.sum())} of {found.repeats.size}"
    return claim(
        "du2019-algo-gd",
        r"$u(k+1)-y=(I-\eta H(k))(u(k)-y)$ in every step in which no activation flips",
        identity(
            f"the residual and the recursion after each of the {int(still.sum())} steps (of "
            f"{still.size}) without a flip, as a share of the initial residual",
            found.recursion_gap.values[still],
            in_prediction,
            "rounding of sums",
        ),
        note(f"Run a second time, {repeated} runs gave the same weights bit by bit"),
        holds="While no activation flips, the recursion is exact to rounding.",
        fails="A step without a flip leaves the recursion by more than rounding.",
        unclear="Every step flipped an activation, so nothing is decided.",
    )


def _flips(settings: Settings, found: xr.Dataset) -> Verdict:
    _, in_prediction = _rounding(settings)
    moved = found.recursion_gap.where(found.flips > 0, 0.0).max(["width", "eta", "step"])
    return claim(
        "du2019-algo-gd-flips",
        "A step with flips leaves the recursion by no more than the preactivations of the flipped "
        r"units moved, over $\sqrt m$",
        identity(
            "the distance of the residual from the recursion, and what of it is within that bound, "
            "as a share of the initial residual",
            found.flip_excess,
            in_prediction,
            "rounding of sums",
        ),
        note(
            "The worst step of each seed leaves the recursion by "
            f"{spread(moved, '.1e')} of the initial residual"
        ),
        holds="Flips add no more to a step than the flipped units moved.",
        fails="A step leaves the recursion by more than its flips explain.",
    )


def _rounding(settings: Settings) -> tuple[float, float]:
    """What rounding may do to a Gram matrix or a gradient, and to predictions; relative.

    Rounding errors of a sum of k terms add up like a random walk; ten standard deviations of it.
    """
    eps, width = float(np.finfo(settings.dtype).eps), max(settings.widths)
    return 10 * math.sqrt(width * settings.dimension) * eps, 10 * math.sqrt(width) * eps


CONTROLS = {
    "du2019-eq1-4": Lie(
        "automatic differentiation is off by twice what rounding explains",
        lambda settings, found: found.assign(
            autograd_gap=found.autograd_gap * 0 + 2 * _rounding(settings)[0]
        ),
    ),
    "du2019-algo-gd-flips": Lie(
        "every step is off by twice what rounding explains beyond what its flips allow",
        lambda settings, found: found.assign(
            flip_excess=found.flip_excess + 2 * _rounding(settings)[1]
        ),
    ),
    "du2019-algo-gd": Lie(
        "every step is off by twice what rounding explains",
        lambda settings, found: found.assign(
            recursion_gap=found.recursion_gap + 2 * _rounding(settings)[1]
        ),
    ),
}
