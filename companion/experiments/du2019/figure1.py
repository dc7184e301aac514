"""Wider networks converge faster, flip fewer activations and move less (Figure 1).

Refuted by a width order that turns round; the explanation by a least eigenvalue that hardly moves.
Run under two conventions: one step size for all widths, as equations (3)-(4) read, and the step
size 1e-3 sqrt(m), inferred from the published curves.
"""

import math
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.datasets import sphere
from companion.draws import cpu_generator
from companion.dynamics import Every, gradient_descent, linearised_misfit
from companion.kernels import infinite_width_gram, infinite_width_output_gram
from companion.lab.catalog import published
from companion.lab.experiment import Cost
from companion.lab.fits import log_log_slope, spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Positive, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import draw_two_layer
from companion.observables import (
    gram_lambda_min,
    max_distance,
    mean_squared_residual,
    pattern_difference,
)

EXPECTED: dict[str, Outcome] = {
    "du2019-fig1a": "holds",
    "du2019-fig1a-stated": "fails",
    "du2019-fig1b": "holds",
    "du2019-fig1c": "holds",
    "du2019-fig1-expl": "fails",
}
CONVENTIONS = ("fixed", "inferred")
FIXED, INFERRED = range(2)


class Settings(BaseSettings):
    """What is run; count, dimension, steps and widths are the paper's.

    Attributes:
        count: n, inputs uniform on the sphere, labels N(0, 1).
        dimension: d.
        widths: m, in increasing order.
        seeds: independent draws of data and network; the paper shows one.
        steps: epochs of full-batch gradient descent.
        fixed_step_size: eta for every width; the paper does not state its value.
        inferred_step_size: eta / sqrt(m), inferred from the published curves.
        eigenvalues_every: steps between measurements of lambda_min(H(k)).
        ensemble: initial residuals drawn to tell how much a single run may differ from another.
    """

    dtype: Literal["float32", "float64"] = "float32"
    count: Annotated[int, Field(ge=2)] = 1000
    dimension: Size = 1000
    widths: Sizes = (500, 1000, 2000)
    seeds: Size = 1
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


def run(settings: Settings, device: str) -> Result:
    """Train every width from every seed under both conventions; predict with H_inf."""
    s = settings
    seeds = range(s.seeds)
    arrays = sweep("runs", partial(_train, s, device), seed=seeds, width=s.widths)
    arrays |= sweep("limits", partial(_limit, s, device), seed=seeds)
    return Result(
        experiment="du2019/figure1",
        settings=s.model_dump(mode="json"),
        values=_summary(arrays, s.widths),
        arrays=arrays,
        data=f"uniform on the sphere, n={s.count}, d={s.dimension}, labels N(0, 1)",
    )


def step_sizes(settings: Settings, width: int) -> tuple[float, float]:
    """The step sizes under the two conventions."""
    return settings.fixed_step_size, settings.inferred_step_size * math.sqrt(width)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> dict[str, np.ndarray]:
    """The three panels and the least eigenvalue of one network, a row per convention."""
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    network = draw_two_layer(width, settings.dimension, seed, dtype, device)
    trajectories = [
        gradient_descent(
            network,
            data.x,
            data.y,
            step_size=step_size,
            steps=settings.steps,
            record={
                "misfit": mean_squared_residual,
                "flips": pattern_difference,
                "distance": max_distance,
                "lambda_min": Every(settings.eigenvalues_every, gram_lambda_min),
            },
        )
        for step_size in step_sizes(settings, width)
    ]
    return {name: np.stack([t[name] for t in trajectories]) for name in trajectories[0].values}


def _limit(settings: Settings, device: str, *, seed: int) -> dict[str, np.ndarray]:
    """Log misfit after the first and the last step if the Gram matrix were H_inf, for an ensemble.

    The initial residual is Gaussian with covariance I + E u(0) u(0)^T, whose second term is the
    limit of the output layer's Gram matrix.
    """
    x = sphere(settings.count, settings.dimension, seed).x.to(device)
    eigenvalues, vectors = torch.linalg.eigh(infinite_width_gram(x))
    residuals = _initial_residuals(x, settings.ensemble, seed)
    coordinates = residuals @ vectors
    ends = torch.tensor([1.0, settings.steps], dtype=x.dtype, device=x.device)
    drops = [
        [_drop(eigenvalues, c, step_size, ends) for c in coordinates]
        for width in settings.widths
        for step_size in step_sizes(settings, width)
    ]
    shape = (len(settings.widths), len(CONVENTIONS), settings.ensemble)
    return {
        "limit_drop": np.array(drops).reshape(shape),
        "lambda_0": np.array(float(eigenvalues[0])),
        "lambda_largest": np.array(float(eigenvalues[-1])),
    }


def _initial_residuals(x: Tensor, count: int, seed: int) -> Tensor:
    identity = torch.eye(len(x), dtype=x.dtype, device=x.device)
    factor = torch.linalg.cholesky(identity + infinite_width_output_gram(x))
    normal = torch.randn(
        count, len(x), generator=cpu_generator("residuals", seed), dtype=torch.float64
    )
    residuals: Tensor = normal.to(x.device) @ factor.T
    return residuals


def _drop(eigenvalues: Tensor, coordinates: Tensor, step_size: float, ends: Tensor) -> float:
    first, last = linearised_misfit(eigenvalues, coordinates, step_size, ends).log().tolist()
    return float(last - first)


def drops(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Natural log of the mean squared residual at the last step less that at the first.

    Returns:
        Shape (seeds, widths, conventions); negative where training converges.
    """
    log = np.log(arrays["misfit"])
    return np.asarray(log[..., -1] - log[..., 1])


def _summary(arrays: dict[str, np.ndarray], widths: tuple[int, ...]) -> dict[str, float]:
    drop, eigen = drops(arrays), arrays["lambda_min"]
    narrow, wide = drop[:, 0].mean(axis=0), drop[:, -1].mean(axis=0)
    values = {
        "narrowest": widths[0],
        "widest": widths[-1],
        "lambda_0": float(arrays["lambda_0"].mean()),
        "edge": float(2 / arrays["lambda_largest"].mean()),
        "speed_ratio_fixed": float(wide[FIXED] / narrow[FIXED]),
        "speed_ratio_inferred": float(wide[INFERRED] / narrow[INFERRED]),
        "step_ratio": math.sqrt(widths[-1] / widths[0]),
        "lambda_ratio": float(eigen[:, -1, :, -1].mean() / eigen[:, 0, :, -1].mean()),
        "lambda_narrow": float(eigen[:, 0, INFERRED, -1].mean()),
        "lambda_wide": float(eigen[:, -1, INFERRED, -1].mean()),
        "lambda_narrow_start": float(eigen[:, 0, INFERRED, 0].mean()),
    }
    for name in ("flips", "distance"):
        for index, convention in enumerate(CONVENTIONS):
            ends = arrays[name][:, :, index, -1]
            if len(widths) > 2 and (ends > 0).all():
                values[f"{name}_exponent_{convention}"] = log_log_slope(widths, ends)[0]
    return values


def judge(result: Result) -> list[Verdict]:
    """Order of the widths under both conventions; drop against the published one; eigenvalue."""
    arrays = dict(result.arrays)
    return [
        _judge_reproduction(result, drops(arrays)),
        _judge_stated(result, drops(arrays)),
        _judge_order(result, "b", "flips", 1, "share of activations flipped at the end"),
        _judge_order(result, "c", "distance", 2, "largest distance at the end"),
        _judge_explanation(result),
    ]


def _judge_reproduction(result: Result, drop: np.ndarray) -> Verdict:
    """Does 1e-3 sqrt(m) give the published curves, up to what one run differs from another?"""
    widths, curves = result.settings["widths"], published("du2019_fig1a")
    faster = bool((np.diff(drop[..., INFERRED], axis=1) < 0).all())
    compared = [i for i, width in enumerate(widths) if f"width_{width}" in curves]
    if not compared or result.settings["steps"] != len(curves["epoch"]):
        outcome: Outcome = "inconclusive"
        gaps = [(float("nan"), float("nan"))]
    else:
        gaps = [_gap(result, drop, i, curves) for i in compared]
        close = all(abs(gap) <= allowed for gap, allowed in gaps)
        outcome = "holds" if faster and close else "fails"
    return Verdict(
        "du2019-fig1a",
        outcome,
        r"log training error falls faster for larger $m$, as in the published curves",
        "drop from epoch 1 to the last less the published one, by width: "
        + ", ".join(f"{gap:+.3f}" for gap, _ in gaps),
        "three standard deviations of the difference of two runs, plus 0.014 for reading the "
        "figure: " + ", ".join(f"{allowed:.3f}" for _, allowed in gaps),
        "With the inferred step size 1e-3 sqrt(m) the published picture is reproduced."
        if outcome == "holds"
        else "The inferred step size does not reproduce the published picture."
        if outcome == "fails"
        else "These widths or epochs were not published, so nothing can be compared.",
    )


def _gap(
    result: Result, drop: np.ndarray, index: int, curves: dict[str, np.ndarray]
) -> tuple[float, float]:
    """Mean drop less the published one, and how far apart chance may put them."""
    curve = curves[f"width_{result.settings['widths'][index]}"]
    gap = float(drop[:, index, INFERRED].mean() - (curve[-1] - curve[0]))
    deviation = float(result.arrays["limit_drop"][:, index, INFERRED].std(axis=-1, ddof=1).mean())
    return gap, 3 * deviation * math.sqrt(1 + 1 / len(drop)) + 0.014


def _judge_stated(result: Result, drop: np.ndarray) -> Verdict:
    """Is the effect of the width, at one step size, comparable to the published one?"""
    effect = drop[:, 0].mean(axis=0) - drop[:, -1].mean(axis=0)
    share = float(effect[FIXED] / effect[INFERRED])
    return Verdict(
        "du2019-fig1a-stated",
        "holds" if share > 0.5 else "fails",
        r"with one $\eta$ for all $m$, wider networks converge faster, as in Figure 1a",
        f"drop of log error: {spread(drop[:, 0, FIXED])} at m={result.values['narrowest']}, "
        f"{spread(drop[:, -1, FIXED])} at m={result.values['widest']}",
        "holds if the width makes at least half of the difference that it makes with the inferred "
        f"step size; it makes {share:.0%}",
        "With one step size for all widths, as equations (3) and (4) read, the width effect of "
        + ("the figure appears." if share > 0.5 else "the figure is not there."),
    )


def _judge_order(result: Result, panel: str, name: str, power: int, what: str) -> Verdict:
    """Falling with the width in every seed, under both conventions; told beside the published."""
    ends = result.arrays[name][..., -1]
    falls = bool((np.diff(ends, axis=1) < 0).all())
    told = "; ".join(
        f"{convention} step size: {spread(ends[:, 0, i])} to {spread(ends[:, -1, i])}"
        for i, convention in enumerate(CONVENTIONS)
    )
    curves = published(f"du2019_fig1{panel}")
    shares = [
        f"{(ends[:, i, INFERRED] ** power).mean() / curves[f'width_{width}'][-1]:.2f} (m={width})"
        for i, width in enumerate(result.settings["widths"])
        if f"width_{width}" in curves and result.settings["steps"] == len(curves["epoch"])
    ]
    beside = f"; the inferred, over the published: {', '.join(shares)}" if shares else ""
    return Verdict(
        f"du2019-fig1{panel}",
        "holds" if falls else "fails",
        f"{what} falls with $m$",
        f"m={result.values['narrowest']} to {result.values['widest']}, {told}{beside}",
        "falls from each width to the next, in every seed, under both conventions",
        "Wider networks change less, whichever step size is meant."
        if falls
        else "The order of the widths turns round somewhere.",
    )


def _judge_explanation(result: Result) -> Verdict:
    """The rate is proportional to the least eigenvalue in the paper's explanation."""
    speed = math.log(float(result.values["speed_ratio_inferred"]))
    eigenvalue = math.log(float(result.values["lambda_ratio"]))
    share = eigenvalue / speed
    return Verdict(
        "du2019-fig1-expl",
        "holds" if share > 0.5 else "fails",
        r"the ratio of convergence speeds is that of the $\lambda_{\min}(H(k))$",
        f"speed ratio {result.values['speed_ratio_inferred']:.2f}, eigenvalue ratio "
        f"{result.values['lambda_ratio']:.3f}, step size ratio {result.values['step_ratio']:.2f}",
        "holds if the eigenvalue makes up more than half of the effect (in logarithms); it makes "
        f"up {share:.1%}",
        "The least eigenvalue is larger for wider networks, as the paper says, but by far too "
        "little to explain the figure; the step size explains it."
        if share <= 0.5
        else "The least eigenvalue explains most of the figure.",
    )
