"""Deep networks: du/dt = sum_h G^(h) (y - u), each G^(h) semidefinite and stable (section 6).

Refuted by a directional derivative that differs from the sum, by a negative eigenvalue beyond
rounding, or by a drift during training that does not fall with the width.
"""

from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.datasets import DataSet, sphere
from companion.kernels import lambda_max, layer_grams, spectral_norm
from companion.lab.experiment import Cost
from companion.lab.fits import log_log_slope, spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import ReLUNetwork, draw_du

EXPECTED: dict[str, Outcome] = {"du2019-deep-conj": "holds"}


class Settings(BaseSettings):
    """What is run.

    Attributes:
        count: n, inputs on the sphere.
        dimension: d.
        depth: hidden layers, all of them trained; the signs of the output layer are not.
        widths: m, in increasing order.
        seeds: independent draws of data and network.
        step_size: eta as a multiple of 1 / lambda_max(sum_h G^(h)(0)).
        steps: gradient descent steps.
        every: the Gram matrices are looked at every so many steps.
    """

    count: Annotated[int, Field(ge=2)] = 20
    dimension: Dimension = 20
    depth: Size = 3
    widths: Annotated[Sizes, Field(min_length=3)] = (64, 256, 1024)
    seeds: Size = 3
    step_size: Annotated[float, Field(gt=0, lt=2)] = 1.0
    steps: Size = 60
    every: Size = 10


QUICK = Settings()
PAPER = Settings(widths=(64, 256, 1024, 2048), seeds=12)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a hidden layer and step; weights, start and gradient."""
    s = settings
    flops = 12.0 * s.seeds * s.steps * s.count * s.depth * sum(m**2 for m in s.widths)
    return Cost(flops, 8 * 4 * s.depth * max(s.widths) ** 2)


def run(settings: Settings, device: str) -> Result:
    """Check the identity at initialisation, then train and follow each layer's Gram matrix."""
    s = settings
    arrays = sweep("runs", partial(_train, s, device), seed=range(s.seeds), width=s.widths)
    return Result(
        experiment="du2019/deep_gram",
        settings=settings.model_dump(mode="json"),
        values=_values(settings, arrays),
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}",
    )


def _values(settings: Settings, arrays: dict[str, np.ndarray]) -> dict[str, float | int]:
    drift = arrays["drift"].max(axis=-2)
    values: dict[str, float | int] = {
        "depth": settings.depth,
        "misfit_left": float((arrays["misfit"][..., -1] / arrays["misfit"][..., 0]).max()),
        "least_share": float(arrays["least_share"].min()),
    }
    for layer in range(settings.depth):
        values[f"slope_{layer + 1}"] = log_log_slope(settings.widths, drift[..., layer])[0]
        values[f"drift_{layer + 1}"] = float(drift[:, -1, layer].mean())
    return values


def _train(settings: Settings, device: str, *, seed: int, width: int) -> dict[str, np.ndarray]:
    """Gradient descent on all hidden layers, with the drift of each G^(h) along it."""
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    network = draw_du(
        width, settings.dimension, seed, depth=settings.depth, dtype=dtype, device=device
    )
    start = layer_grams(network, data.x)
    total = torch.stack(start).sum(dim=0)
    step_size = settings.step_size / lambda_max(total)
    misfits, steps, drifts, least = [], [], [], [_least_eigenvalues(start)]
    mismatch = derivative_mismatch(network, data)
    shares = []
    for step in range(settings.steps + 1):
        residual = network.predict(data.x) - data.y
        misfits.append(float(residual.square().sum()))
        if step % settings.every == 0 or step == settings.steps:
            grams = layer_grams(network, data.x)
            steps.append(step)
            drifts.append([spectral_norm(g - g0) for g, g0 in zip(grams, start, strict=True)])
            least.append(_least_eigenvalues(grams))
            shares.append(_least(torch.stack(grams).sum(dim=0)) / _least(total))
        network = _stepped(network, data.x, residual, step_size)
    return {
        "misfit": np.array(misfits),
        "steps": np.array(steps),
        "drift": np.array(drifts),
        "least": np.array(least).min(axis=0),
        "norm": np.array([spectral_norm(gram) for gram in start]),
        "least_share": np.array(min(shares)),
        "mismatch": np.array(max(mismatch, derivative_mismatch(network, data))),
    }


def _stepped(network: ReLUNetwork, x: Tensor, residual: Tensor, step_size: float) -> ReLUNetwork:
    """One step of gradient descent on W_1, ..., W_L."""
    gradients = network.gradients(network.run(x), residual)
    return network.moved(
        [w - step_size * g for w, g in zip(network.weights, gradients, strict=True)]
    )


def derivative_mismatch(network: ReLUNetwork, data: DataSet) -> float:
    """Relative distance between du/dt along the flow and sum_h G^(h) (y - u).

    The left side is the derivative of the predictions along minus the gradient, by automatic
    differentiation: no Gram matrix enters it.
    """
    residual = network.predict(data.x) - data.y
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    predictions = network.moved(weights).predict(data.x)
    # J^T v is linear in v, so its product with a direction, differentiated in v, is J direction.
    v = torch.zeros_like(residual, requires_grad=True)
    transposed = torch.autograd.grad(predictions, weights, v, create_graph=True)
    gradients = network.gradients(network.run(data.x), residual)
    along = [-(rows * g).sum() for rows, g in zip(transposed, gradients, strict=True)]
    (velocity,) = torch.autograd.grad(torch.stack(along).sum(), v)
    predicted = -torch.stack(layer_grams(network, data.x)).sum(dim=0) @ residual
    return float((velocity - predicted).norm() / predicted.norm())


def _least_eigenvalues(grams: list[Tensor]) -> list[float]:
    """Least eigenvalue of each matrix over its largest."""
    return [_least(gram) / lambda_max(gram) for gram in grams]


def _least(gram: Tensor) -> float:
    return float(torch.linalg.eigvalsh(gram.double())[0])


def judge(result: Result) -> list[Verdict]:
    """Identity to the accuracy of the difference, PSD to rounding, exponent per layer."""
    a, widths = result.arrays, result.settings["widths"]
    drift = a["drift"].max(axis=-2)
    fits = [log_log_slope(widths, drift[..., layer]) for layer in range(drift.shape[-1])]
    # O(m^-1/2) is an upper bound: a layer may be steadier than that, not less steady.
    stable = all(slope <= -0.5 + max(0.1, 2 * error) for slope, error in fits)
    rounding = 10 * result.settings["count"] * np.finfo(result.settings["dtype"]).eps
    psd = float(a["least"].min()) >= -rounding
    # Sums over m units round by sqrt(m) eps; the sum's condition number amplifies that.
    precision = 1e5 * np.finfo(result.settings["dtype"]).eps
    identity = float(a["mismatch"].max()) <= precision
    slopes = ", ".join(
        f"h={layer + 1}: {slope:.3f} (s.e. {error:.3f})"
        for layer, (slope, error) in enumerate(fits)
    )
    return [
        Verdict(
            "du2019-deep-conj",
            "holds" if identity and psd and stable else "fails",
            r"$\dot u=\sum_hG^{(h)}(y-u)$, $G^{(h)}\succeq0$, drift $O(m^{-1/2})$",
            f"identity within {float(a['mismatch'].max()):.0e}; least eigenvalue over largest "
            f"{float(a['least'].min()):.1e}; exponents of the drift {slopes}; drift over norm at "
            f"m={max(widths)} {spread((drift / a['norm'])[:, -1].max(axis=-1))}",
            f"identity {precision:.0e} and eigenvalues -{rounding:.0e} (rounding); "
            "exponents at most -1/2, up to 0.1 or two standard errors",
            f"The identity {'is' if identity else 'is not'} exact, the matrices "
            f"{'are' if psd else 'are not'} positive semidefinite, and the drift of every layer's "
            f"matrix {'falls' if stable else 'does not fall'} with the width at least as fast as "
            "Remark 3.1 has it for two layers.",
        )
    ]
