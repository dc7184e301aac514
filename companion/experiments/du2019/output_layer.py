"""Training the output layer only is convex, fits all labels if m >= n, learns another function.

Section 6, footnote, of Du et al. (2019). Refuted by a Hessian in the output weights that moves or
has a negative eigenvalue, by gradient descent that ends above the least-squares optimum, by a
misfit left at m >= n, or by the same predictions on fresh inputs as after first-layer training.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.datasets import DataSet, sphere
from companion.draws import cpu_generator
from companion.experiments.du2019._problem import Problem, on_data
from companion.kernels import (
    infinite_width_gram,
    infinite_width_output_gram,
    lambda_max,
    lambda_min,
)
from companion.lab.checks import at_least, at_most, claim, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Size, Sizes, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, on_sphere
from companion.networks import ReLUNetwork

EXPECTED: dict[str, Outcome] = {
    "du2019-fn-outputlayer": "holds",
    "du2019-fn-outputlayer-fit": "holds",
    "du2019-fn-outputlayer-function": "holds",
}
# A share of the first misfit that is none: squares of rounding errors amplified by the condition
# number of the features.
NOTHING = 1e-12


class Settings(SphereSettings):
    """What is run.

    Attributes:
        widths: m, in increasing order.
        steps: gradient descent steps, at 1 / lambda_max of the Gram matrix of the trained layer.
        fresh: test inputs on which the two trained networks are compared.
    """

    count: Annotated[int, Field(ge=10)] = 30
    dimension: Dimension = 10
    widths: Annotated[Sizes, Field(min_length=2)] = (2, 4, 8, 15, 30, 60, 250, 2000, 8000)
    steps: Size = 800
    fresh: Count = 200


QUICK = Settings()
PAPER = Settings(widths=(*QUICK.widths, 32000), seeds=5, steps=20000)


def cost(settings: Settings) -> Cost:
    """Both layers' products a step; the features of training and fresh inputs."""
    s = settings
    flops = s.seeds * s.steps * sum(s.count * (6 * s.dimension + 4) * m for m in s.widths)
    return Cost(flops, 8 * 4 * (s.count + s.fresh) * max(s.widths))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{s.steps} steps of gradient descent on the output layer and, from the same start, on the "
        rf"first layer of networks of width {listed(s.widths)}, each at the step size "
        rf"$1/\lambda_{{\max}}$ of its Gram matrix, on {on_sphere(s.count, s.dimension)}, compared "
        f"on {s.fresh} fresh inputs; data and networks are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train the output layer and, from the same start, the first layer, at every width."""
    s = settings
    found = sweep("runs", partial(_compare, s, device), seed=s.each_seed, width=s.widths)
    return found.assign_attrs(data=s.data)


def _compare(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    n, everything = (
        settings.count,
        sphere(settings.count + settings.fresh, settings.dimension, seed),
    )
    data = DataSet(everything.x[:n], everything.y[:n], everything.source)
    output = on_data(data, settings, device, seed=seed, width=width, trained="output")
    first = on_data(data, settings, device, seed=seed, width=width)
    fresh = everything.x[n:].to(first.x)
    step_size = 1 / lambda_max(output.gram)
    by_output = output.train(step_size, settings.steps).stable().network
    by_first = first.train(1 / lambda_max(first.gram), settings.steps).stable().network
    law = output.frozen_descent(output.gram, step_size, [settings.steps]).predictions[-1]
    limit_output = _limit_change(infinite_width_output_gram, output, fresh)
    limit_first = _limit_change(infinite_width_gram, first, fresh)
    start = output.network.predict(fresh)
    change_output, change_first = by_output.predict(fresh) - start, by_first.predict(fresh) - start
    return {
        "start": float(output.residual.square().sum()),
        "gd_output": _misfit(by_output, output),
        "gd_output_exact": float((law - output.y).square().sum()),
        "least_squares": _least_squares_misfit(output),
        "gd_first": _misfit(by_first, first),
        "hessian_change": _hessian_change(output, seed),
        "hessian_least": lambda_min(output.gram) / lambda_max(output.gram),
        "difference": _relative(change_output, change_first),
        "limit_difference": _relative(limit_output, limit_first),
        "limit_error": (
            "layer",
            [
                float((change - limit).norm() / change_first.norm())
                for change, limit in ((change_output, limit_output), (change_first, limit_first))
            ],
        ),
        "by_output": ("fresh", by_output.predict(fresh).cpu()),
        "by_first": ("fresh", by_first.predict(fresh).cpu()),
    }


def _misfit(network: ReLUNetwork, problem: Problem) -> float:
    return float((network.predict(problem.x) - problem.y).square().sum())


def _relative(one: Tensor, other: Tensor) -> float:
    """Root mean square of the difference over that of the second."""
    return float((one - other).norm() / other.norm())


def _features(problem: Problem) -> Tensor:
    """Phi, shape (n, m): predictions are Phi a."""
    forward = problem.network.run(problem.x)
    return problem.network.output_gain * forward.hidden[-1]


def _least_squares_misfit(problem: Problem) -> float:
    """min_a ||u - y||^2 by a least-squares solver that knows no kernel."""
    features, labels = _features(problem).cpu(), problem.y.cpu()
    # gelsd is the driver that allows a unit which no input activates.
    outputs = torch.linalg.lstsq(features, labels[:, None], driver="gelsd").solution
    return float((features @ outputs[:, 0] - labels).square().sum())


def _hessian_change(problem: Problem, seed: int) -> float:
    """Relative distance from Phi^T Phi v of a difference of gradients at two far points v apart."""
    generator, network = cpu_generator("output weights", seed), problem.network
    drawn = torch.randn(2, len(network.outputs), generator=generator, dtype=torch.float64)
    here, there = drawn.to(network.outputs)

    def gradient(outputs: Tensor) -> Tensor:
        forward = network.moved([outputs]).run(problem.x)
        return network.gradients(forward, forward.predictions - problem.y)[0]

    features = _features(problem)
    return _relative(gradient(there) - gradient(here), features.T @ (features @ (there - here)))


def _limit_change(kernel: Callable[[Tensor], Tensor], problem: Problem, fresh: Tensor) -> Tensor:
    """-K(x, X) K^-1 (u(0) - y): how training to the end changes f at infinite width."""
    gram, n = kernel(torch.cat([problem.x, fresh])), problem.count
    weights: Tensor = torch.linalg.solve(gram[:n, :n], problem.residual)
    return -gram[n:, :n] @ weights


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Widths at which the labels are fitted; means at the largest width."""
    fitted = (found.gd_first < 1e-6 * found.start).all("seed").values
    widest = found.isel(width=-1)
    return {
        "count": settings.count,
        "enough_parameters": -(-settings.count // settings.dimension),
        # Least width from which on first-layer training fits the labels; 0 if it never does.
        "first_layer_width": next(
            (m for k, m in enumerate(settings.widths) if fitted[k:].all()), 0
        ),
        "largest_width": max(settings.widths),
        "difference": widest.difference.mean(),
        "limit_difference": widest.limit_difference.mean(),
        "limit_error": widest.limit_error.max("layer").mean(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Convexity to rounding; the optimum; zero misfit exactly from m = n on; two functions."""
    return [_convex(settings, found), _fit(settings, found), _two_functions(settings, found)]


def _rounding(settings: Settings) -> float:
    """What rounding may do to a share of the largest eigenvalue, or of the misfit at the start."""
    return 100 * settings.count * float(np.finfo(settings.dtype).eps)


def _convex(settings: Settings, found: xr.Dataset) -> Verdict:
    rounding = _rounding(settings)
    return claim(
        "du2019-fn-outputlayer",
        r"The loss is convex in $a$: its Hessian $\Phi^\top\Phi$ is the same everywhere and "
        "positive semidefinite",
        identity(
            "a difference of gradients at two points far apart, and $\\Phi^\\top\\Phi$ times the "
            "difference of the points, as a share",
            found.hessian_change,
            rounding,
            "rounding of sums",
        ),
        at_least(
            "least eigenvalue of the Hessian over its largest",
            found.hessian_least,
            -rounding,
            ".0e",
        ),
        holds="The Hessian in the output weights is the same at points far apart, and positive "
        "semidefinite: the problem is linear least squares.",
        fails="The Hessian in the output weights is not the same everywhere, or has a negative "
        "eigenvalue.",
    )


def _fit(settings: Settings, found: xr.Dataset) -> Verdict:
    # Directions that hardly contract keep the rounding of every step.
    accumulated = _rounding(settings) + settings.steps * float(np.finfo(settings.dtype).eps)
    optimum, enough = found.least_squares / found.start, found.width >= settings.count
    return claim(
        "du2019-fn-outputlayer-fit",
        "Gradient descent on the output layer follows its linear law down to the least-squares "
        r"optimum, which is zero from $m=n$ on and not before",
        identity(
            "the misfit after descent and that of the linear law, as a share of the first misfit",
            (found.gd_output - found.gd_output_exact) / found.start,
            accumulated,
            "the rounding of every step",
        ),
        at_most(
            "the optimum less the misfit that descent leaves, as a share of the first misfit",
            (found.least_squares - found.gd_output) / found.start,
            accumulated,
            ".1e",
        ),
        at_most(
            r"share of the first misfit that the optimum leaves where $m\ge n$",
            optimum.isel(width=enough),
            NOTHING,
            ".0e",
        ),
        at_least(
            "share of the first misfit that the optimum leaves where $m<n$",
            optimum.isel(width=~enough),
            NOTHING,
            ".2g",
        ),
        holds="Descent follows the linear law and never falls below the optimum; from $m=n$ on, "
        "and not before, the optimum fits all labels.",
        fails="Descent leaves the linear law, falls below the optimum, or the optimum fits all "
        "labels elsewhere than from $m=n$ on.",
    )


def _two_functions(settings: Settings, found: xr.Dataset) -> Verdict:
    widest = found.isel(width=-1)
    return claim(
        "du2019-fn-outputlayer-function",
        "Training the output layer finds another function than training the first layer, in the "
        "limit of infinite width too",
        # Two networks of one limit are no farther apart than their distances from it add up to.
        at_least(
            rf"distance of the two trained networks on fresh inputs at $m={max(settings.widths)}$, "
            "over the sum of their distances from their infinite-width limits",
            widest.difference / widest.limit_error.sum("layer", skipna=False),
            1,
        ),
        note(
            f"The two differ by {spread(widest.difference, '.2f')} of what training changed, their "
            f"limits by {spread(widest.limit_difference, '.2f')}"
        ),
        holds="On fresh inputs the two trained networks differ by more than they would if both "
        "had one limit.",
        fails="On fresh inputs the two trained networks differ by no more than they could if both "
        "had one limit.",
    )


CONTROLS = {
    "du2019-fn-outputlayer": Lie(
        "between two points the Hessian changes by twice what rounding explains",
        lambda settings, found: found.assign(
            hessian_change=found.hessian_change + 2 * _rounding(settings)
        ),
    ),
    "du2019-fn-outputlayer-fit": Lie(
        r"the optimum leaves $2\times10^{-12}$ more of the misfit, at $m\ge n$ too",
        lambda settings, found: found.assign(
            least_squares=found.least_squares + 2 * NOTHING * found.start
        ),
    ),
    "du2019-fn-outputlayer-function": Lie(
        "the two trained networks are 0.99 times as far apart as their distances from their limits "
        "add up to",
        lambda settings, found: found.assign(difference=0.99 * found.limit_error.sum("layer")),
    ),
}
