"""Training both layers by gradient flow is at least as fast as exp(-lambda_0 t) (Theorem 3.3).

Refuted by a misfit above that bound, by predictions that do not follow (H + G)(y - u), by a G with
a negative eigenvalue, or by parameters that leave the balls of Lemmas A.4 and A.5 while
lambda_min(H) >= lambda_0 / 2.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.bounds.du2019 import (
    explicit_width,
    lemma_a3_gram_changes,
    lemma_a3_radii,
    lemma_a4_distance,
    lemma_a5_distance,
    theorem_3_3_width,
)
from companion.datasets import DataSet, sphere
from companion.draws import cpu_generator
from companion.dynamics import (
    Layers,
    Observable,
    Trajectory,
    gradient_descent,
    gradient_flow,
)
from companion.experiments.du2019._flows import (
    bound_shares,
    least_ratios,
    linearised,
    velocity_error,
    velocity_evaluations,
)
from companion.experiments.du2019._regime import unmet_width
from companion.kernels import (
    empirical_gram,
    empirical_output_gram,
    gram_change_bound,
    infinite_width_gram,
    infinite_width_output_gram,
    lambda_max,
    lambda_min,
    spectral_norm,
)
from companion.lab.experiment import Cost
from companion.lab.fits import log_log_slope, spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Probability, Size
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import TwoLayer, draw_two_layer
from companion.observables import (
    gram_lambda_min,
    max_distance,
    max_output_distance,
    misfit,
    output_gram_lambda_min,
)

EXPECTED: dict[str, Outcome] = {
    "du2019-thm3.3": "outside-regime",
    "du2019-lemA.2": "holds",
    "du2019-lemA.3": "holds",
    "du2019-lemA.4-5": "outside-regime",
    "du2019-lemA.6": "outside-regime",
}

_RECORD: dict[str, Observable] = {
    "misfit": misfit,
    "lambda_min": gram_lambda_min,
    "output_lambda_min": output_gram_lambda_min,
    "distance": max_distance,
    "output_distance": max_output_distance,
}


class Settings(BaseSettings):
    """What is run.

    Attributes:
        count: n, inputs on the sphere.
        dimension: d.
        widths: m, in increasing order.
        seeds: how many independent draws of data and network.
        horizon: last time of the flow, as a multiple of 1 / lambda_0.
        points: recorded times, 0 included, equally spaced.
        tolerance: of the solver.
        multiples: radii of the perturbed networks, in units of the lemma's R_w and R_a; 1 first.
        delta: failure probability in the radii and in the explicit width.
    """

    count: Annotated[int, Field(ge=2)] = 50
    dimension: Dimension = 50
    widths: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=2)] = (
        200,
        800,
        3200,
    )
    seeds: Size = 3
    horizon: Annotated[float, Field(gt=0)] = 2.0
    points: Annotated[int, Field(ge=5)] = 17
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    multiples: Annotated[tuple[Annotated[float, Field(ge=1)], ...], Field(min_length=3)] = (
        1.0,
        1e1,
        1e2,
        1e3,
        1e4,
    )
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(widths=(200, 800, 3200, 12800), seeds=5, tolerance=5e-6)


def cost(settings: Settings) -> Cost:
    """Velocity evaluations of two flows per network."""
    s = settings
    evaluations = velocity_evaluations(s.points, s.tolerance, s.widths)
    work = sum(
        8 * s.count * s.dimension * width * number
        for width, number in zip(s.widths, evaluations, strict=True)
    )
    return Cost(s.seeds * work, 8 * max(s.widths) * (4 * s.count + (12 + s.points) * s.dimension))


def run(settings: Settings, device: str) -> Result:
    """Integrate both flows from every initialisation; perturb every initialisation."""
    s = settings
    a = sweep("runs", partial(_one_network, s, device), seed=range(s.seeds), width=s.widths)
    n, delta, widths = settings.count, settings.delta, settings.widths
    lambda_0 = float(a["lambda_0"].mean())
    slopes = _distance_exponents(widths, a)
    return Result(
        experiment="du2019/joint_training",
        settings=settings.model_dump(mode="json"),
        values={
            "lambda_0": lambda_0,
            "delta": delta,
            "lambda_joint": float(a["lambda_joint"].mean()),
            "lambda_output": float(a["lambda_output"].mean()),
            "needed_width": explicit_width(theorem_3_3_width, n, lambda_0, delta, n),
            "largest_width": max(widths),
            "weight_radius": lemma_a3_radii(n, lambda_0, delta)[0],
            "output_radius": lemma_a3_radii(n, lambda_0, delta)[1],
            "distance_exponent": slopes[0][0],
            "output_exponent": slopes[1][0],
            "output_gram_exponent": log_log_slope(widths, a["output_gram_error"])[0],
            "least_ratio": float((a["lambda_min"] / a["lambda_0"][..., None]).min()),
            "linearised_ratio": float((a["misfit"] / a["linearised"])[:, -1, -1].mean()),
            "joint_share": float((a["misfit"] / a["misfit_first"])[:, -1, -1].mean()),
            "safe_multiple": _safe_multiple(settings, a),
        },
        arrays=a,
        data=f"uniform on the sphere, n={n}, d={settings.dimension}",
    )


def _one_network(
    settings: Settings, device: str, *, seed: int, width: int
) -> dict[str, np.ndarray]:
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    network = draw_two_layer(width, settings.dimension, seed, dtype, device)
    limit, output_limit = infinite_width_gram(data.x), infinite_width_output_gram(data.x)
    lambda_0 = lambda_min(limit)
    times = np.linspace(0, settings.horizon / lambda_0, settings.points)
    both = _flow(settings, network, data, times, "both", _RECORD)
    first = _flow(settings, network, data, times, "first", {"misfit": misfit})
    middle = gradient_descent(
        network, data.x, data.y, step_size=times[1] / 5, steps=5, record={}, layers="both"
    ).network
    output_gram = empirical_output_gram(network, data.x)
    return {
        "lambda_0": np.array(lambda_0),
        "lambda_joint": np.array(lambda_min(limit + output_limit)),
        "lambda_output": np.array(lambda_min(output_limit)),
        "times": times,
        **both.values,
        "misfit_first": first["misfit"],
        "linearised": linearised(limit + output_limit, network, data, times),
        "velocity_error": np.array([_identity_error(net, data) for net in (network, middle)]),
        "output_gram_error": np.array(spectral_norm(output_gram - output_limit)),
        "output_gram_size": np.array(lambda_max(output_gram)),
        **_perturbed(settings, network, data.x, lambda_0, seed),
    }


def _flow(
    settings: Settings,
    network: TwoLayer,
    data: DataSet,
    times: np.ndarray,
    layers: Layers,
    record: Mapping[str, Observable],
) -> Trajectory:
    return gradient_flow(
        network,
        data.x,
        data.y,
        times=times.tolist(),
        record=record,
        layers=layers,
        tolerance=settings.tolerance,
    )


def _identity_error(network: TwoLayer, data: DataSet) -> float:
    """Relative distance of du/dt along the joint flow from (H + G)(y - u)."""
    gram = empirical_gram(network, data.x) + empirical_output_gram(network, data.x)
    return velocity_error(gram, network, data, "both")


def _perturbed(
    settings: Settings, network: TwoLayer, x: Tensor, lambda_0: float, seed: int
) -> dict[str, np.ndarray]:
    """Lemma A.3 at multiples of its radii, each array of shape (multiples,).

    `weight_change`, `output_change` and `gram_change` are the larger of a random and an adversarial
    perturbation in ||H' - H(0)||, ||H - H'|| and ||H - H(0)||; `weight_certified` bounds the first
    for every W in the ball.
    """
    before, preactivations = empirical_gram(network, x), network.preactivations(x)
    weight_radius, output_radius = lemma_a3_radii(settings.count, lambda_0, settings.delta)
    rows = []
    for multiple in settings.multiples:
        far_w, far_a = multiple * weight_radius, multiple * output_radius
        changes = [
            [spectral_norm(half - before), spectral_norm(full - half), spectral_norm(full - before)]
            for half, full in (
                (empirical_gram(network.moved(w), x), empirical_gram(network.moved(w, a), x))
                for w, a in _neighbours(network, x, preactivations, far_w, far_a, seed)
            )
        ]
        certified = spectral_norm(gram_change_bound(x, preactivations, far_w))
        rows.append([*np.max(changes, axis=0), certified])
    names = ("weight_change", "output_change", "gram_change", "weight_certified")
    return dict(zip(names, np.array(rows).T, strict=True))


def _neighbours(
    network: TwoLayer, x: Tensor, preactivations: Tensor, far_w: float, far_a: float, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """A random and an adversarial (W, a) on the boundary of the two balls.

    The adversary pushes every unit across the kink of its nearest input, and lets every |a_r| grow.
    """
    generator = cpu_generator("perturbation", seed)
    direction = torch.randn(network.weights.shape, generator=generator, dtype=torch.float64)
    direction = (direction / direction.norm(dim=1, keepdim=True)).to(network.weights)
    signs = torch.randint(0, 2, network.outputs.shape, generator=generator).to(network.outputs)
    nearest = preactivations.abs().argmin(dim=0)
    side = preactivations.gather(0, nearest[None, :])[0].sign()
    return [
        (network.weights + far_w * direction, network.outputs + far_a * (2 * signs - 1)),
        (
            network.weights - far_w * side[:, None] * x[nearest],
            network.outputs * (1 + far_a),
        ),
    ]


def _distance_exponents(
    widths: Sequence[int], a: Mapping[str, np.ndarray]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Exponents in m of the distances of W and a over ||y - u(0)||, with standard errors.

    That of a is divided by sqrt(log m) first: the largest of m bell-shaped displacements grows so.
    """
    start = np.sqrt(a["misfit"][..., 0])
    far_w = a["distance"].max(axis=-1) / start
    far_a = a["output_distance"].max(axis=-1) / start / np.sqrt(np.log(widths))
    return log_log_slope(widths, far_w), log_log_slope(widths, far_a)


def _safe_multiple(settings: Settings, a: Mapping[str, np.ndarray]) -> float:
    """Largest multiple of the radii at which no tried perturbation moved H by lambda_0/4."""
    safe = (a["gram_change"] <= a["lambda_0"][..., None] / 4).all(axis=(0, 1))
    return float(np.array(settings.multiples)[safe].max(initial=0.0))


def judge(result: Result) -> list[Verdict]:
    """Bounds at every recorded time; exponents in the width; the pieces of Lemma A.3."""
    return [
        _judge_rate(result),
        _judge_conditional_rate(result),
        _judge_perturbation(result),
        _judge_distances(result),
        _judge_bootstrap(result),
    ]


def _radius_shares(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Largest distances of W and a over R_w' and R_a', each (seeds, widths)."""
    a, n, delta = result.arrays, result.settings["count"], result.settings["delta"]
    widths, start = np.array(result.settings["widths"]), a["misfit"][..., 0]
    far_w = np.vectorize(lemma_a4_distance)(n, widths, a["lambda_0"], start)
    far_a = np.vectorize(lemma_a5_distance)(n, widths, a["lambda_0"], start, delta)
    return a["distance"].max(axis=-1) / far_w, a["output_distance"].max(axis=-1) / far_a


def _judge_rate(result: Result) -> Verdict:
    a = result.arrays
    shares = bound_shares(result)
    faster = (a["misfit"] / a["misfit_first"])[..., 1:]
    rounding = float(np.finfo(result.settings["dtype"]).eps) ** 0.5
    identity = float(a["velocity_error"].max())
    holds = shares.max() <= 1 and identity <= rounding
    return Verdict(
        "du2019-thm3.3",
        "outside-regime" if holds else "fails",
        r"$\lVert u(t)-y\rVert^2\le e^{-\lambda_0t}\lVert u(0)-y\rVert^2$, "
        r"$\dot u=(H+G)(y-u)$ where nothing switches",
        f"largest share of the bound {spread(shares.max(axis=1))}; identity off by {identity:.1e}; "
        f"misfit over that of the first layer alone at most {faster.max():.2f}",
        f"1, exactly, at every recorded time after 0; {rounding:.0e} for the identity",
        "The misfit stays below the bound at every recorded time and width, but "
        f"{unmet_width(result)}."
        if holds
        else "The misfit is above the bound at a recorded time, or its identity is off.",
    )


def _judge_conditional_rate(result: Result) -> Verdict:
    a = result.arrays
    met = least_ratios(result) >= 0.5
    rounding = result.settings["count"] * np.finfo(result.settings["dtype"]).eps
    negative = float((a["output_lambda_min"] / a["output_gram_size"][..., None]).min())
    shares = bound_shares(result)[met]
    if not met.any():
        outcome: Outcome = "inconclusive"
    else:
        outcome = "holds" if shares.max() <= 1 and negative >= -rounding else "fails"
    return Verdict(
        "du2019-lemA.2",
        outcome,
        r"$\lambda_{\min}(H)\ge\lambda_0/2$ and $G\succeq0$ give the rate $e^{-\lambda_0t}$",
        f"hypothesis true in {met.sum()} of {met.size} runs, there largest share of the bound "
        f"{shares.max(initial=0.0):.3f}; least eigenvalue of G over its largest {negative:.2g}",
        f"1, exactly; eigenvalues of G above {-rounding:.0e}, n rounding units",
        {
            "holds": "Where its hypothesis was measured to be true, so is its conclusion, and G is "
            "positive.",
            "fails": "Its hypothesis was measured to be true and its conclusion false, or G has a "
            "negative eigenvalue.",
        }.get(outcome, "Its hypothesis was not met in any run."),
    )


def _judge_perturbation(result: Result) -> Verdict:
    """A bound on every (W, a) in the balls: W by the units near the boundary, a by algebra."""
    a, n, delta = result.arrays, result.settings["count"], result.settings["delta"]
    radii = [lemma_a3_radii(n, lambda_0, delta) for lambda_0 in a["lambda_0"].ravel()]
    pieces = np.array([lemma_a3_gram_changes(n, *radius) for radius in radii])
    by_weights, by_outputs = pieces.T.reshape(2, *a["lambda_0"].shape)
    certified = (a["weight_certified"][..., 0] + by_outputs) / a["lambda_0"]
    kept = (certified <= 0.25) & (a["weight_certified"][..., 0] <= by_weights / delta)
    below = bool((a["output_change"][..., 0] <= by_outputs).all())
    start = a["lambda_min"][..., 0] / a["lambda_0"]
    good = start >= 0.75
    eigenvalue = bool((start - certified > 0.5)[good & kept].all()) and bool(good.any())
    share = float(kept.mean())
    holds = share >= 1 - delta and below and eigenvalue
    tried = (a["gram_change"][..., 0] / a["lambda_0"]).max(axis=1)
    return Verdict(
        "du2019-lemA.3",
        "holds" if holds else "fails",
        r"$\lVert H-H(0)\rVert_2\le\lambda_0/4$ for all $(W,a)$ within $R_w$, $R_a$",
        f"certified in {share:.0%} of the draws, at most {certified.max():.3f} $\\lambda_0$; "
        f"reached by random and adversarial perturbations {spread(tried)} $\\lambda_0$",
        f"1/4, exactly, in a share {1 - delta:g} of the draws",
        "No parameters in the two balls move H by a quarter of lambda_0; the piece for a is "
        "strictly 2 R_a + R_a^2 per entry, and still fits."
        if holds
        else "Parameters in the two balls may move H, or one of the two pieces, by too much.",
    )


def _judge_distances(result: Result) -> Verdict:
    """Lemma A.4 also assumes a within R_a, and A.5 assumes W within R_w: judged apart."""
    a, met = result.arrays, least_ratios(result) >= 0.5
    radii = result.values["weight_radius"], result.values["output_radius"]
    farthest = float(a["distance"].max()), float(a["output_distance"].max())
    within = farthest[0] <= float(radii[0]) and farthest[1] <= float(radii[1])
    shares = [share[met].max(initial=0.0) for share in _radius_shares(result)]
    exponents = _distance_exponents(result.settings["widths"], a)
    (slope_w, error_w), (slope_a, error_a) = exponents
    holds = max(shares) <= 1 and abs(slope_w + 0.5) <= 0.1 and abs(slope_a + 0.5) <= 0.1
    if not met.any():
        outcome: Outcome = "inconclusive"
    elif not holds:
        outcome = "fails"
    else:
        outcome = "holds" if within else "outside-regime"
    return Verdict(
        "du2019-lemA.4-5",
        outcome,
        r"$\max_r\lVert w_r-w_r(0)\rVert\le R_w'$, $\max_r\lvert a_r-a_r(0)\rvert\le R_a'$, "
        r"both $\tilde O(m^{-1/2})$",
        f"shares of the bounds at most {shares[0]:.3f} and {shares[1]:.3f}; exponents in m "
        f"{slope_w:.3f} (s.e. {error_w:.3f}) and {slope_a:.3f} (s.e. {error_a:.3f})",
        r"shares at most 1; exponents, per $\lVert y-u(0)\rVert$ and for $a$ per $\sqrt{\log m}$, "
        "within 0.1 of -1/2",
        {
            "holds": "Both layers stay far inside their balls where the hypotheses were seen.",
            "outside-regime": "Both layers stay far inside their balls where lambda_min(H) >= "
            f"lambda_0/2; but the lemmas also assume distances below R_w = {radii[0]:.1g} and "
            f"R_a = {radii[1]:.1g}, and up to {farthest[0]:.2g} and {farthest[1]:.2g} were seen.",
            "fails": "A layer leaves its ball, or its distance falls with another power of m.",
        }.get(outcome, "lambda_min(H) fell below lambda_0/2 in every run."),
    )


def _judge_bootstrap(result: Result) -> Verdict:
    least, shares = least_ratios(result), bound_shares(result)
    balls = _radius_shares(result)
    holds = least.min() >= 0.5 and shares.max() <= 1 and max(s.max() for s in balls) <= 1
    return Verdict(
        "du2019-lemA.6",
        "outside-regime" if holds else "fails",
        r"$\lambda_{\min}(H(t))\ge\lambda_0/2$, both balls and the rate for all $t$ once "
        r"$R_w'<R_w$ and $R_a'<R_a$",
        rf"least $\lambda_{{\min}}(H(t))/\lambda_0$: {spread(least[:, 0])} at the least width, "
        f"{spread(least[:, -1])} at the largest",
        "1/2, 1 and 1, exactly",
        f"All that the bootstrap carries is true at every recorded time, but {unmet_width(result)}."
        if holds
        else "The eigenvalue bound, a ball or the rate is broken at a recorded time.",
    )
