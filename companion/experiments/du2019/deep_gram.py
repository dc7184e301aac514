"""Deep networks: du/dt = sum_h G^(h) (y - u), each G^(h) semidefinite and stable (section 6).

Refuted by a directional derivative that differs from the sum, by a negative eigenvalue beyond
rounding, or by a drift during training that does not fall with the width.
"""

from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from companion.datasets import sphere
from companion.draws import independent_seed
from companion.experiments.du2019._problem import Problem
from companion.kernels import lambda_max, layer_grams, spectral_norm
from companion.lab.checks import at_least, claim, exponent_at_most, identity
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, SeveralSizes, Size, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number, on_sphere
from companion.monitors import (
    Every,
    Moment,
    Record,
    gram_lambda_min,
    layer_gram_drifts,
    layer_lambda_mins,
    misfit,
)
from companion.networks import draw_du

EXPECTED: dict[str, Outcome] = {"du2019-deep-conj": "holds"}
# The exponent in m of a drift that just counts as falling: ten times the width take a fifth off it.
SLOWEST = -0.1


class Settings(SphereSettings):
    """What is run.

    Attributes:
        depth: hidden layers, all of them trained; the signs of the output layer are not.
        widths: m, in increasing order; in much narrower networks a matrix moves by most of its
            norm, and what is claimed is claimed of large widths.
        step_size: eta as a multiple of 1 / lambda_max(sum_h G^(h)(0)).
        steps: gradient descent steps.
        every: the Gram matrices are looked at every so many steps.
    """

    count: Count = 20
    dimension: Dimension = 20
    depth: Size = 3
    seeds: Size = 8
    widths: SeveralSizes = (128, 256, 512, 1024)
    step_size: Annotated[float, Field(gt=0, lt=2)] = 1.0
    steps: Size = 60
    every: Size = 10


QUICK = Settings()
PAPER = Settings(widths=(*QUICK.widths, 2048, 4096), seeds=12)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a hidden layer and step; weights, start and gradient."""
    s = settings
    flops = 12.0 * s.seeds * s.steps * s.count * s.depth * sum(m**2 for m in s.widths)
    return Cost(flops, 8 * 4 * s.depth * max(s.widths) ** 2)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{s.steps} steps of gradient descent on all {s.depth} hidden layers of networks of width "
        rf"{listed(s.widths)}, with step size {number(s.step_size)} times "
        rf"$1/\lambda_{{\max}}(\sum_hG^{{(h)}}(0))$, on {on_sphere(s.count, s.dimension)}; data "
        f"and networks are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Check the identity at initialisation, then train and follow each layer's Gram matrix."""
    s = settings
    found = sweep("runs", partial(_train, s, device), seed=s.each_seed, width=s.widths)
    return found.assign_attrs(data=s.data)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """Gradient descent on all hidden layers, with the drift of each G^(h) along it."""
    s, dtype = settings, getattr(torch, settings.dtype)
    data = sphere(s.count, s.dimension, seed).to(dtype, device)
    own = independent_seed(seed, s.depth, width)
    network = draw_du(width, s.dimension, own, depth=s.depth, dtype=dtype, device=device)
    problem = Problem(network, data.x, data.y)
    record: Record = {
        "misfit": misfit,
        "drift": Every(s.every, layer_gram_drifts),
        "least": Every(s.every, _least_over_largest),
        "lambda_min": Every(s.every, gram_lambda_min),
    }
    history = problem.train(s.step_size / lambda_max(problem.gram), s.steps, record).stable()
    return {
        "misfit": ("step", history["misfit"]),
        "steps": ("look", history.at["drift"]),
        "drift": (("look", "layer"), history["drift"]),
        "least": ("layer", history["least"].min(axis=0)),
        "norm": ("layer", [spectral_norm(gram) for gram in layer_grams(network, data.x)]),
        "least_share": (history["lambda_min"] / history["lambda_min"][0]).min(),
        "mismatch": max(problem.velocity_error(), problem.velocity_error(history.network)),
    }


def _least_over_largest(moment: Moment) -> np.ndarray:
    """Least eigenvalue over the largest, for the Gram matrix of every layer."""
    return layer_lambda_mins(moment) / [lambda_max(gram) for gram in moment.layer_grams]


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents of the drift, its means at both ends of the widths, extremes over all runs."""
    drift = found.drift.max("look")
    share = (drift / found.norm).max("layer").mean("seed")
    layers = range(settings.depth)
    return {
        "depth": settings.depth,
        "misfit_left": (found.misfit.isel(step=-1) / found.misfit.isel(step=0)).max(),
        "least_share": found.least_share.min(),
        "narrow_share": share.isel(width=0),
        "wide_share": share.isel(width=-1),
        **{f"slope_{h + 1}": exponent(drift.isel(layer=h)) for h in layers},
        **{f"drift_{h + 1}": drift.isel(layer=h, width=-1).mean() for h in layers},
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identity and eigenvalues to rounding, one exponent per layer."""
    eps, drift = float(np.finfo(settings.dtype).eps), found.drift.max("look")
    layers = range(settings.depth)
    share = (drift / found.norm).isel(width=-1).max("layer")
    told = listed(f"{exponent(drift.isel(layer=h)):.2f}" for h in layers)
    return [
        claim(
            "du2019-deep-conj",
            r"$\dot u=\sum_hG^{(h)}(y-u)$ with every $G^{(h)}\succeq0$, and at large width every "
            "$G^{(h)}$ stays close to its start; no rate is stated",
            # Sums over m units round by sqrt(m) eps; the sum's condition number amplifies that.
            identity(
                r"$\dot u$ by automatic differentiation and $\sum_hG^{(h)}(y-u)$, before and after "
                "training, as a share",
                found.mismatch,
                1e5 * eps,
                "rounding, amplified by the condition number",
            ),
            at_least(
                "least eigenvalue of a $G^{(h)}$ over its largest, along the run",
                found.least,
                -10 * settings.count * eps,
                ".1e",
            ),
            *(
                exponent_at_most(
                    rf"the largest drift of $G^{{({h + 1})}}$ along the run in the width $m$",
                    drift.isel(layer=h),
                    SLOWEST,
                    0,
                )
                for h in layers
            ),
            holds="The identity is exact, the matrices are positive semidefinite, and every "
            f"layer's matrix moves less in wider networks, with the exponents {told} from the "
            f"first layer to the last; in the widest the least steady moves by {spread(share)} of "
            "its norm.",
            fails="The identity is not exact, a matrix is not positive semidefinite, or one moves "
            "no less in wider networks.",
            unclear="The identity is exact and the matrices are positive semidefinite, but whether "
            "each moves less in wider networks, these widths and seeds cannot tell.",
        )
    ]


CONTROLS = {
    "du2019-deep-conj": Lie(
        r"every drift is multiplied by $\sqrt m$",
        lambda settings, found: found.assign(drift=found.drift * found.width**0.5),
    )
}
