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
from companion.experiments.du2019._curves import READING, beside_published, published_curves
from companion.experiments.du2019._problem import Problem, draw
from companion.kernels import infinite_width_output_gram
from companion.lab.checks import STANDARD_ERRORS, claim, falls, slack_factor
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, Size, Sizes, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed
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
CONTROLS = {
    "du2019-fig1a": Lie(
        "with the inferred step size the training error falls to $e^{-1}$ of what was measured",
        lambda settings, found: found.assign(misfit=found.misfit * np.exp(-_ending(found))),
    ),
    "du2019-fig1a-stated": Lie(
        "one step size for all widths gives the curves of the inferred one",
        lambda settings, found: found.assign(
            misfit=found.misfit.sel(convention="inferred").broadcast_like(found.misfit)
        ),
    ),
    "du2019-fig1b": Lie(
        "twice as many activations differ from initialisation",
        lambda settings, found: found.assign(flips=2 * found.flips),
    ),
    "du2019-fig1c": Lie(
        "every unit is one and a half times as far from initialisation",
        lambda settings, found: found.assign(distance=1.5 * found.distance),
    ),
    "du2019-fig1-expl": Lie(
        "the least eigenvalue grows with the width as much as the speed",
        lambda settings, found: found.assign(
            lambda_min=found.lambda_min.isel(width=0) * np.sqrt(found.width / found.width[0])
        ),
    ),
}


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


QUICK = Settings(seeds=2)
PAPER = Settings(widths=(500, 1000, 2000, 4000, 8000), seeds=5, eigenvalues_every=25)

REPLAY = {"few": {"seeds": 1, "widths": 1}}


def summary(settings: Settings) -> str:
    """What is run, in one sentence."""
    s = settings
    return (
        f"{s.steps} epochs of full-batch gradient descent on the first layer of networks of widths "
        f"$m=$ {listed(s.widths)}, on $n={s.count}$ inputs uniform on the unit sphere in "
        f"$d={s.dimension}$ dimensions with labels $N(0,1)$, from {s.seeds} seeds, once with "
        rf"$\eta={s.fixed_step_size:g}$ for all widths and once with "
        rf"$\eta={s.inferred_step_size:g}\sqrt m$."
    )


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
    effect = _effects(found)
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
        "share_fixed": effect.sel(convention="fixed") / effect.sel(convention="inferred"),
        "gain_fixed": effect.sel(convention="fixed"),
        "seeds": settings.seeds,
        "seeds_wider_faster": int((_ends(drops(found).sel(convention="fixed")) > 0).sum()),
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
        _panel(settings, found, "b", found.flips, 1 / 2, "share of activations that differ"),
        _panel(settings, found, "c", found.distance**2, 1, "squared largest distance of a unit"),
        _explanation(settings, found),
    ]


def _reproduction(settings: Settings, found: xr.Dataset) -> Verdict:
    """Does 1e-3 sqrt(m) give the published curves, up to what one run differs from another?"""
    predicted = r"log training error falls faster for larger $m$, as in the published curves"
    drop = drops(found).sel(convention="inferred")
    order = falls("fall of the log training error, in $m$", drop, "width", "+.3f")
    deviation = found.limit_drop.sel(convention="inferred").std("member", ddof=1).mean("seed")
    allowed = 3 * deviation * math.sqrt(1 + 1 / found.sizes["seed"]) + READING
    gaps = {
        width: float(drop.sel(width=width).mean() - (curve[-1] - curve[0]))
        for width, curve in published_curves("a", settings).items()
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
        slack_factor(1, max(abs(gap) / float(allowed.sel(width=m)) for m, gap in gaps.items())),
        kind="picture",
    )
    return claim(
        "du2019-fig1a",
        predicted,
        compared,
        order,
        holds=r"With the inferred step size $10^{-3}\sqrt m$ the published picture is reproduced.",
        fails="The inferred step size does not reproduce the published picture.",
    )


def _stated(found: xr.Dataset) -> Verdict:
    """Is the effect of the width, at one step size, comparable to the published one?"""
    effect, ends = _effects(found), {"width": [0, -1]}
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
        fails="With one step size for all widths, as equations (3) and (4) read, the width has "
        f"{share:.0%} of the effect that it has with the inferred step size.",
    )


def _panel(
    settings: Settings,
    found: xr.Dataset,
    panel: str,
    quantity: xr.DataArray,
    power: float,
    what: str,
) -> Verdict:
    """Near the published curves with the inferred step size; falling with the width with both.

    Args:
        settings: of the run.
        found: by the run.
        panel: b or c.
        quantity: that it shows.
        power: of the misfit at the start, which is random, that the quantity is proportional to.
        what: it is.
    """
    start = found.misfit.isel(step=1)
    # A run that starts from twice the misfit would turn the order of two widths round.
    ends = quantity.isel(step=-1) * (start.mean() / start) ** power
    identifier = f"du2019-fig1{panel}"
    predicted = f"{what} from initialisation follows the published curves, and falls with $m$"
    orders = [
        falls(
            f"{what} at the last epoch, scaled to one misfit after the first, with the "
            f"{convention} step size, in $m$",
            ends.sel(convention=convention),
            "width",
        )
        for convention in CONVENTIONS
    ]
    if not published_curves(panel, settings):
        return _not_comparable(identifier, predicted, *orders)
    return claim(
        identifier,
        predicted,
        beside_published(settings, found, panel, quantity, power, what),
        *orders,
        holds="With the inferred step size the published curves are reproduced, and wider networks "
        "change less, whichever step size is meant.",
        fails="The published curves are not reproduced, or the order of the widths turns round.",
    )


def _ends(samples: xr.DataArray) -> xr.DataArray:
    """The narrowest network's less the widest's."""
    return samples.isel(width=0) - samples.isel(width=-1)


def _effects(found: xr.Dataset) -> xr.DataArray:
    """By how much more the widest network's log error falls than the narrowest's, on average."""
    effects: xr.DataArray = _ends(drops(found)).mean("seed")
    return effects


def _ending(found: xr.Dataset) -> xr.DataArray:
    """0 at the first epoch, 1 at the last one."""
    share = xr.DataArray(np.linspace(0, 1, found.sizes["step"]), dims="step")
    ending: xr.DataArray = share * (found.convention == "inferred")
    return ending


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
        fails="Given the inferred step size, the least eigenvalue is larger for wider networks, as "
        "the paper says, but by far too little to explain the figure; the step size explains it.",
    )


def _not_comparable(identifier: str, predicted: str, *seen: Check) -> Verdict:
    """The verdict where nothing was published: what was seen is told, nothing is asked of it."""
    return claim(
        identifier,
        predicted,
        Check("unclear", "published curves", "none", "curves of what was run", kind="picture"),
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
