"""Training the output layer only is convex, fits all labels if m >= n, learns another function.

Section 6, footnote, of Du et al. (2019). Refuted by a Hessian in the output weights that moves or
has a negative eigenvalue, by gradient descent that ends above the least-squares optimum, by a
misfit left at m >= n, or by the same predictions on fresh inputs as after first-layer training.
"""

from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.datasets import DataSet, sphere
from companion.draws import cpu_generator
from companion.dynamics import gradient_descent
from companion.kernels import (
    empirical_gram,
    empirical_output_gram,
    infinite_width_gram,
    infinite_width_output_gram,
    lambda_max,
)
from companion.lab.experiment import Cost
from companion.lab.fits import spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import TwoLayer, draw_two_layer
from companion.observables import misfit

EXPECTED: dict[str, Outcome] = {"du2019-fn-outputlayer": "holds"}


class Settings(BaseSettings):
    """What is run.

    Attributes:
        count: n, inputs on the sphere.
        dimension: d.
        widths: m, in increasing order.
        seeds: independent draws of data and network.
        steps: gradient descent steps, at 1 / lambda_max of the Gram matrix of the trained layer.
        fresh: test inputs on which the two trained networks are compared.
    """

    count: Annotated[int, Field(ge=10)] = 30
    dimension: Dimension = 10
    widths: Annotated[Sizes, Field(min_length=2)] = (
        2, 4, 8, 15, 30, 60, 250, 2000,
    )  # fmt: skip
    seeds: Size = 3
    steps: Size = 800
    fresh: Annotated[int, Field(ge=2)] = 200


QUICK = Settings()
PAPER = Settings(widths=(*QUICK.widths, 8000), seeds=5, steps=20000)


def cost(settings: Settings) -> Cost:
    """Both layers' products a step; the features of training and fresh inputs."""
    s = settings
    flops = s.seeds * s.steps * sum(4 * s.count * (s.dimension + 1) * m for m in s.widths)
    return Cost(flops, 8 * 4 * (s.count + s.fresh) * max(s.widths))


def run(settings: Settings, device: str) -> Result:
    """Train the output layer and, from the same start, the first layer, at every width."""
    s = settings
    arrays = sweep("runs", partial(_compare, s, device), seed=range(s.seeds), width=s.widths)
    reached = np.asarray((arrays["gd_first"] < 1e-6 * arrays["start"]).all(axis=0))
    return Result(
        experiment="du2019/output_layer",
        settings=settings.model_dump(mode="json"),
        values={
            "count": settings.count,
            "enough_parameters": -(-settings.count // settings.dimension),
            # Least width from which on first-layer training fits the labels; 0 if it never does.
            "first_layer_width": next(
                (m for k, m in enumerate(settings.widths) if reached[k:].all()), 0
            ),
            "largest_width": max(settings.widths),
            "difference": float(arrays["difference"][:, -1].mean()),
            "limit_difference": float(arrays["limit_difference"][:, -1].mean()),
            "limit_error": float(arrays["limit_error"][:, -1].mean()),
        },
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}",
    )


def _compare(settings: Settings, device: str, *, seed: int, width: int) -> dict[str, np.ndarray]:
    dtype = getattr(torch, settings.dtype)
    everything = sphere(settings.count + settings.fresh, settings.dimension, seed).to(dtype, device)
    x, y = everything.x[: settings.count], everything.y[: settings.count]
    data, fresh = DataSet(x, y, everything.source), everything.x[settings.count :]
    network = draw_two_layer(width, settings.dimension, seed, dtype, device)
    first = _train_first(network, data, settings.steps)
    output, predicted = train_output(network, data, settings.steps)
    start = (network.predict(x) - y).square().sum()
    by_output, by_first = (each.predict(fresh) - network.predict(fresh) for each in (output, first))
    limits = _limit_changes(data, fresh, y - network.predict(x))
    found = {
        "start": start,
        "gd_output": (output.predict(x) - y).square().sum(),
        "gd_output_exact": predicted,
        "least_squares": least_squares_misfit(network, data),
        "gd_first": (first.predict(x) - y).square().sum(),
        "hessian_change": _hessian_change(network, data, seed),
        "hessian_least": _hessian_least(network, data),
        "difference": _relative(by_output, by_first),
        "limit_difference": _relative(limits[0], limits[1]),
        "limit_error": torch.maximum(
            _relative(by_output, limits[0]), _relative(by_first, limits[1])
        ),
        "by_output": output.predict(fresh),
        "by_first": first.predict(fresh),
    }
    return {name: value.cpu().numpy() for name, value in found.items()}


def _relative(one: Tensor, other: Tensor) -> Tensor:
    """Root mean square of the difference over that of the second."""
    ratio: Tensor = (one - other).norm() / other.norm()
    return ratio


def _train_first(network: TwoLayer, data: DataSet, steps: int) -> TwoLayer:
    gram = empirical_gram(network, data.x)
    return gradient_descent(
        network,
        data.x,
        data.y,
        step_size=1 / lambda_max(gram),
        steps=steps,
        record={"misfit": misfit},
    ).network


def train_output(network: TwoLayer, data: DataSet, steps: int) -> tuple[TwoLayer, Tensor]:
    """Gradient descent on `a`, and the misfit that linear theory gives it.

    Predictions are linear in `a`, so u(k) - y = (I - eta G)^k (u(0) - y) with a G that never moves.

    Returns:
        The trained network; sum_j (1 - eta lambda_j)^(2k) c_j^2, a scalar.
    """
    preactivations = network.preactivations(data.x)
    gram = empirical_output_gram(network, data.x)
    step_size = 1 / lambda_max(gram)
    trained = network
    for _ in range(steps):
        residual = trained.predict_from(preactivations) - data.y
        gradient = trained.output_gradient(preactivations, residual)
        trained = trained.moved(trained.weights, trained.outputs - step_size * gradient)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    coordinates = vectors.T @ (network.predict(data.x) - data.y)
    factors = (1 - step_size * eigenvalues.clamp(min=0)) ** steps
    return trained, (factors * coordinates).square().sum()


def least_squares_misfit(network: TwoLayer, data: DataSet) -> Tensor:
    """min_a ||u - y||^2 by a least-squares solver that knows no kernel, a scalar."""
    features, labels = network.preactivations(data.x).relu().cpu(), data.y.cpu()
    # gelsd is the driver that allows a unit which no input activates.
    outputs = torch.linalg.lstsq(features, labels[:, None], driver="gelsd").solution
    optimum: Tensor = (features @ outputs[:, 0] - labels).square().sum()
    return optimum


def _hessian_change(network: TwoLayer, data: DataSet, seed: int) -> Tensor:
    """Relative distance from Phi^T Phi v of a difference of gradients at two far points v apart."""
    generator = cpu_generator("output weights", seed)
    points = torch.randn(2, network.width, generator=generator, dtype=torch.float64)
    here, there = points.to(data.x.device, data.x.dtype)
    preactivations = network.preactivations(data.x)

    def gradient(outputs: Tensor) -> Tensor:
        moved = network.moved(network.weights, outputs)
        return moved.output_gradient(preactivations, moved.predict_from(preactivations) - data.y)

    features = preactivations.relu() / network.width**0.5
    return _relative(gradient(there) - gradient(here), features.T @ (features @ (there - here)))


def _hessian_least(network: TwoLayer, data: DataSet) -> Tensor:
    """Least eigenvalue of Phi Phi^T over its largest; Phi^T Phi has the same but for zeros."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(empirical_output_gram(network, data.x))
    return eigenvalues[0] / eigenvalues[-1]


def _limit_changes(data: DataSet, fresh: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """K(x, X) K^-1 (y - u(0)), the change of f at infinite width by training either layer."""
    everything, count = torch.cat([data.x, fresh]), len(data.y)
    output, first = (
        kernel(everything)[count:, :count]
        @ torch.linalg.solve(kernel(everything)[:count, :count], target)
        for kernel in (infinite_width_output_gram, infinite_width_gram)
    )
    return output, first


def judge(result: Result) -> list[Verdict]:
    """Convexity to rounding; the optimum; zero misfit exactly from m = n on; two functions."""
    a, s = result.arrays, result.settings
    widths = np.array(s["widths"])
    eps = float(np.finfo(s["dtype"]).eps)
    rounding = 100 * s["count"] * eps
    # Directions that hardly contract keep the rounding of every step.
    accumulated = rounding + s["steps"] * eps
    convex = (
        float(a["hessian_change"].max()) <= rounding
        and float(a["hessian_least"].min()) >= -rounding
    )
    optimum = a["least_squares"] / a["start"]
    law = np.abs(a["gd_output"] - a["gd_output_exact"]) / a["start"]
    reached = float(law.max()) <= accumulated and bool(
        (a["gd_output"] >= a["least_squares"] - accumulated * a["start"]).all()
    )
    # Squares of rounding errors amplified by the condition number of the features.
    fits = bool((optimum[:, widths >= s["count"]] <= 1e-12).all())
    short = bool((optimum[:, widths < s["count"]] > 1e-12).all())
    gap, noise = a["difference"][:, -1], a["limit_error"][:, -1]
    # Two networks near one limit would be closer than the sum of their distances from it.
    differ = bool((gap > 2 * noise).all())
    good = convex and reached and fits and short and differ
    return [
        Verdict(
            "du2019-fn-outputlayer",
            "holds" if good else "fails",
            r"constant Hessian $\Phi^\top\Phi\succeq0$; descent to the least-squares optimum, zero "
            r"for $m\ge n$; not the function that first-layer training finds",
            f"Hessian constant within {float(a['hessian_change'].max()):.0e}, least eigenvalue "
            f"over largest {float(a['hessian_least'].min()):.0e}; descent within "
            f"{float(law.max()):.0e} of the linear law; relative optimum for m >= n at most "
            f"{float(optimum[:, widths >= s['count']].max(initial=0)):.0e}, below n at least "
            f"{float(optimum[:, widths < s['count']].min(initial=1)):.2g}; predictions differ by "
            f"{spread(gap)} of their change at m={widths[-1]}",
            f"rounding ({rounding:.0e}, along descent {accumulated:.0e}); 1e-12; difference "
            f"above twice the distance ({float(noise.max()):.2g}) from the infinite-width limits",
            "Training the output layer only is a linear least-squares problem; it fits all labels "
            "from m = n on, and finds another function than training the first layer does."
            if good
            else "A link of the footnote, or of what follows from it, was not seen; see measured.",
        )
    ]
