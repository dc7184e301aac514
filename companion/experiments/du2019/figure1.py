"""Wider networks converge faster, flip fewer activations and move less (Figure 1).

Refuted by a width order that turns round; the explanation by a least eigenvalue that hardly moves.
Run under two conventions: one step size for all widths, as equations (3)-(4) read, and the step
size 1e-3 sqrt(m), inferred from the published curves.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.draws import cpu_generator
from companion.experiments.du2019._problem import Problem, draw
from companion.kernels import infinite_width_output_gram
from companion.lab.catalog import published
from companion.lab.checks import STANDARD_ERRORS, claim, falls, note
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, Size, Sizes, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.linearised import FrozenKernel
from companion.monitors import (
    Every,
    PatternDifference,
    Record,
    gram_lambda_min,
    misfit,
    unit_distances,
)

EXPECTED: dict[str, Outcome] = {
    "du2019-fig1a": "holds",
    "du2019-fig1a-stated": "fails",
    "du2019-fig1b": "holds",
    "du2019-fig1c": "holds",
    "du2019-fig1-expl": "fails",
}
CONVENTIONS = ("fixed", "inferred")
# Settings with which the paper's figure was drawn.
AS_PUBLISHED = ("count", "dimension", "steps")
# How far a value read off the published figure may be from the one drawn.
READING = 0.014


class Settings(SphereSettings):
    """What is run; count, dimension, steps and widths are the paper's, which shows one draw.

    Attributes:
        widths: m, in increasing order.
        steps: epochs of full-batch gradient descent.
        fixed_step_size: eta for every width; the paper does not state its value.
        inferred_step_size: eta / sqrt(m), inferred from the published curves.
        eigenvalues_every: steps between measurements of lambda_min(H(k)).
        ensemble: initial residuals drawn to tell how much a single run may differ from another.
    """

    dtype: Literal["float32", "float64"] = "float32"
    count: Count = 1000
    dimension: Dimension = 1000
    seeds: Size = 1
    widths: Sizes = (500, 1000, 2000)
    steps: Size = 100
    fixed_step_size: Positive = 0.05
    inferred_step_size: Positive = 1e-3
    eigenvalues_every: Size = 50
    ensemble: Annotated[int, Field(ge=2)] = 200


QUICK = Settings()
PAPER = Settings(widths=(500, 1000, 2000, 4000, 8000), seeds=5, eigenvalues_every=25)


def cost(settings: Settings) -> Cost:
    """Two products a step and run, and an eigenvalue problem of size n at each measurement."""
    s = settings
    step = 4 * s.count * s.dimension
    eigen = 4 / 3 * s.count**3 * (s.steps // s.eigenvalues_every + 1)
    flops = 2 * s.seeds * sum(step * width * s.steps + eigen for width in s.widths)
    return Cost(flops, 4 * max(s.widths) * (4 * s.count + 4 * s.dimension))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every width from every seed under both conventions; predict with H_inf."""
    s = settings
    runs = sweep("runs", partial(_train, s, device), seed=s.each_seed, width=s.widths)
    limits = sweep("limits", partial(_limit, s, device), seed=s.each_seed)
    return runs.merge(limits).assign_coords(convention=list(CONVENTIONS)).assign_attrs(data=s.data)


def step_sizes(settings: Settings, width: int) -> tuple[float, float]:
    """The step sizes under the two conventions."""
    return settings.fixed_step_size, settings.inferred_step_size * math.sqrt(width)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """The three panels and the least eigenvalue of one network, under each convention."""
    problem = draw(settings, device, seed=seed, width=width)
    record: Record = {
        "misfit": misfit,
        "flips": PatternDifference(),
        "distance": unit_distances,
        "lambda_min": Every(settings.eigenvalues_every, gram_lambda_min),
    }
    runs = [
        problem.train(eta, settings.steps, record).stable() for eta in step_sizes(settings, width)
    ]

    return {
        "misfit": (("convention", "step"), [run["misfit"] / settings.count for run in runs]),
        "flips": (("convention", "step"), [run["flips"][:, 0] for run in runs]),
        "distance": (("convention", "step"), [run["distance"][:, 0, 0] for run in runs]),
        "lambda_min": (("convention", "look"), [run["lambda_min"] for run in runs]),
    }


def _limit(settings: Settings, device: str, *, seed: int) -> Variables:
    """Fall of the log misfit from the first step to the last if H-infinity ruled, for an ensemble.

    The initial residual is Gaussian with covariance I + E u(0) u(0)^T, whose second term is the
    limit of the output layer's Gram matrix.
    """
    exact = settings.model_copy(update={"dtype": "float64"})
    problem = draw(exact, device, seed=seed, width=1)
    kernel = FrozenKernel(problem.limit)
    residuals = _initial_residuals(problem, settings.ensemble, seed)

    def fall(step_size: float) -> np.ndarray:
        predicted = kernel.descent(
            residuals,
            torch.zeros_like(problem.y),
            step_size=step_size * settings.count,
            steps=[1, settings.steps],
        )
        first, last = predicted.predictions.square().sum(dim=-1).log().cpu().numpy()
        return np.asarray(last - first)

    drops = [[fall(eta) for eta in step_sizes(settings, width)] for width in settings.widths]
    return {
        "limit_drop": (("width", "convention", "member"), np.array(drops)),
        "lambda_0": float(kernel.eigenvalues[0]),
        "lambda_largest": float(kernel.eigenvalues[-1]),
    }


def _initial_residuals(problem: Problem, count: int, seed: int) -> Tensor:
    identity = torch.eye(problem.count, dtype=problem.x.dtype, device=problem.x.device)
    factor = torch.linalg.cholesky(identity + infinite_width_output_gram(problem.x))
    generator = cpu_generator("residuals", seed)
    normal = torch.randn(count, problem.count, generator=generator, dtype=torch.float64)
    residuals: Tensor = normal.to(problem.x.device) @ factor.T
    return residuals


def drops(found: xr.Dataset) -> xr.DataArray:
    """Natural log of the mean squared residual at the last step less that at the first.

    Negative where training converges.
    """
    log: xr.DataArray = np.log(found.misfit)
    return log.isel(step=-1) - log.isel(step=1)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Ratios of the widest network to the narrowest, and exponents in the width."""
    drop, eigen = drops(found).mean("seed"), found.lambda_min.mean("seed")
    speed = (drop / drop.isel(width=0)).isel(width=-1)
    last = eigen.isel(look=-1).mean("convention")
    inferred = eigen.sel(convention="inferred")
    told: dict[str, object] = {
        "narrowest": settings.widths[0],
        "widest": settings.widths[-1],
        "lambda_0": found.lambda_0.mean(),
        "edge": 2 / found.lambda_largest.mean(),
        "speed_ratio_fixed": speed.sel(convention="fixed"),
        "speed_ratio_inferred": speed.sel(convention="inferred"),
        "step_ratio": math.sqrt(settings.widths[-1] / settings.widths[0]),
        "lambda_ratio": last.isel(width=-1) / last.isel(width=0),
        "lambda_narrow": inferred.isel(width=0, look=-1),
        "lambda_wide": inferred.isel(width=-1, look=-1),
        "lambda_narrow_start": inferred.isel(width=0, look=0),
    }
    for name in ("flips", "distance"):
        for convention in CONVENTIONS:
            ends = found[name].isel(step=-1).sel(convention=convention)
            if len(settings.widths) > 2 and (ends > 0).all():
                told[f"{name}_exponent_{convention}"] = exponent(ends)
    return told


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Order of the widths under both conventions; drop against the published one; eigenvalue."""
    return [
        _reproduction(settings, found),
        _stated(found),
        _order(settings, found, "b", "flips", 1, "share of activations flipped at the end"),
        _order(settings, found, "c", "distance", 2, "largest distance at the end"),
        _explanation(settings, found),
    ]


def _reproduction(settings: Settings, found: xr.Dataset) -> Verdict:
    """Does 1e-3 sqrt(m) give the published curves, up to what one run differs from another?"""
    predicted = r"log training error falls faster for larger $m$, as in the published curves"
    drop = drops(found).sel(convention="inferred")
    order = falls("log training error falls by, in m:", drop, "width", "+.3f")
    deviation = found.limit_drop.sel(convention="inferred").std("member", ddof=1).mean("seed")
    allowed = 3 * deviation * math.sqrt(1 + 1 / found.sizes["seed"]) + READING
    gaps = {
        width: float(drop.sel(width=width).mean() - (curve[-1] - curve[0]))
        for width, curve in _published("a", settings).items()
    }
    if not gaps:
        return _not_comparable("du2019-fig1a", predicted, order)
    close = all(abs(gap) <= float(allowed.sel(width=width)) for width, gap in gaps.items())
    compared = Check(
        "yes" if close else "no",
        "fall of the log training error from epoch 1 to the last, less the published one",
        ", ".join(f"{gap:+.3f} ($m={width}$)" for width, gap in gaps.items()),
        "three standard deviations of the difference of two runs, plus "
        f"{READING} for reading the figure: "
        + ", ".join(f"{float(allowed.sel(width=width)):.3f}" for width in gaps),
    )
    return claim(
        "du2019-fig1a",
        predicted,
        compared,
        order,
        holds="With the inferred step size 1e-3 sqrt(m) the published picture is reproduced.",
        fails="The inferred step size does not reproduce the published picture.",
    )


def _stated(found: xr.Dataset) -> Verdict:
    """Is the effect of the width, at one step size, comparable to the published one?"""
    drop, ends = drops(found).mean("seed"), {"width": [0, -1]}
    effect = -drop.isel(ends).diff("width").squeeze("width")
    runs = found.limit_drop.isel(ends).var("member", ddof=1).mean("seed") / found.sizes["seed"]
    error = np.sqrt(runs.sum("width"))  # of the difference of two runs' means
    inferred, fixed = (effect.sel(convention=name) for name in ("inferred", "fixed"))
    predicted = r"with one $\eta$ for all $m$, wider networks converge faster, as in Figure 1a"
    if float(inferred) == 0:  # of one width, say
        return _no_effect("du2019-fig1a-stated", predicted)
    share = float(fixed / inferred)
    doubt = STANDARD_ERRORS * float(error.sel(convention="fixed") / abs(inferred))
    narrow, wide = (drops(found).sel(convention="fixed").isel(width=end) for end in ends["width"])
    return claim(
        "du2019-fig1a-stated",
        predicted,
        Check(
            "yes" if share - doubt >= 0.5 else "no" if share + doubt < 0.5 else "unclear",
            "fall of the log training error",
            f"{spread(narrow)} at $m={found.width.values[0]}$, {spread(wide)} at "
            f"$m={found.width.values[-1]}$: {share:.0%} of the difference that the width makes "
            "with the inferred step size",
            f"at least half of that difference, beyond {STANDARD_ERRORS} standard errors "
            f"({doubt:.0%})",
        ),
        holds="With one step size for all widths, as equations (3) and (4) read, the width effect "
        "of the figure appears.",
        fails="With one step size for all widths, as equations (3) and (4) read, the width effect "
        "of the figure is not there.",
    )


def _order(
    settings: Settings, found: xr.Dataset, panel: str, name: str, power: int, what: str
) -> Verdict:
    """Falling with the width in every seed, under both conventions; told beside the published."""
    ends = found[name].isel(step=-1)
    predicted = f"{what} falls with $m$"
    orders = [
        falls(f"{convention} step size:", ends.sel(convention=convention), "width")
        for convention in CONVENTIONS
    ]
    inferred = (ends.sel(convention="inferred") ** power).mean("seed")
    shares = [
        f"{float(inferred.sel(width=width)) / curve[-1]:.2f} (m={width})"
        for width, curve in _published(panel, settings).items()
    ]
    if not shares:
        return _not_comparable(f"du2019-fig1{panel}", predicted, *orders)
    return claim(
        f"du2019-fig1{panel}",
        predicted,
        *orders,
        note(f"the inferred, over the published: {', '.join(shares)}"),
        holds="Wider networks change less, whichever step size is meant.",
        fails="The order of the widths turns round somewhere.",
    )


def _explanation(settings: Settings, found: xr.Dataset) -> Verdict:
    """The rate is proportional to the least eigenvalue in the paper's explanation."""
    told = values(settings, found)
    speed, eigenvalue = float(told["speed_ratio_inferred"]), float(told["lambda_ratio"])
    predicted = r"the ratio of convergence speeds is that of the $\lambda_{\min}(H(k))$"
    if min(speed, eigenvalue) <= 0 or speed == 1:
        return _no_effect("du2019-fig1-expl", predicted)
    share = math.log(eigenvalue) / math.log(speed)
    return claim(
        "du2019-fig1-expl",
        predicted,
        Check(
            "yes" if share > 0.5 else "no",
            "what the width changes",
            f"speed ratio {speed:.2f}, eigenvalue ratio {eigenvalue:.3f}, step size ratio "
            f"{told['step_ratio']:.2f}: the eigenvalue makes up {share:.1%} of the effect",
            "more than half of the effect, in logarithms",
        ),
        holds="The least eigenvalue explains most of the figure.",
        fails="The least eigenvalue is larger for wider networks, as the paper says, but by far "
        "too little to explain the figure; the step size explains it.",
    )


def _not_comparable(identifier: str, predicted: str, *seen: Check) -> Verdict:
    """The verdict where nothing was published: what was seen is told, nothing is asked of it."""
    return claim(
        identifier,
        predicted,
        Check("unclear", "published curves", "none", "curves of what was run"),
        *(replace(check, answer="yes", tolerance="", slack="") for check in seen),
        holds="",
        fails="",
        unclear="Not comparable: of these widths, inputs and epochs no curve was published.",
    )


def _no_effect(identifier: str, predicted: str) -> Verdict:
    """The verdict where nothing can be a share of what the width changes, since that is nothing."""
    return claim(
        identifier,
        predicted,
        Check("unclear", "effect of the width", "none to compare with", "two widths that differ"),
        holds="",
        fails="",
        unclear="Between the narrowest and the widest network there is no effect to explain.",
    )


def _published(panel: str, settings: Settings) -> dict[int, np.ndarray]:
    """Width -> published curve, of the widths that were run, if the rest is as in the paper."""
    curves = published(f"du2019_fig1{panel}")
    if any(getattr(settings, name) != getattr(PAPER, name) for name in AS_PUBLISHED):
        return {}
    return {m: curves[f"width_{m}"] for m in settings.widths if f"width_{m}" in curves}
