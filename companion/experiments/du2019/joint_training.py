"""Training both layers by gradient flow is at least as fast as exp(-lambda_0 t) (Theorem 3.3).

Refuted by a misfit above that bound, by predictions that do not follow (H + G)(y - u), by a G with
a negative eigenvalue, or by parameters that leave the balls of Lemmas A.4 and A.5 while
lambda_min(H) >= lambda_0 / 2.
"""

from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.bounds.du2019 import (
    lemma_a3_gram_changes,
    lemma_a3_radii,
    lemma_a4_distance,
    lemma_a5_distance,
    theorem_3_3_width,
)
from companion.experiments.du2019._balls import certified, perturbed
from companion.experiments.du2019._flows import (
    FlowSettings,
    bound_shares,
    farthest,
    least_ratios,
    never,
    under,
)
from companion.experiments.du2019._problem import Problem, draw
from companion.experiments.du2019._regime import needed_width, unmet
from companion.kernels import (
    infinite_width_output_gram,
    lambda_max,
    lambda_min,
    layer_grams,
    spectral_norm,
)
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    identity,
    probability_at_least,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed
from companion.linearised import changes
from companion.monitors import Record, layer_lambda_mins, misfit, unit_distances

EXPECTED: dict[str, Outcome] = {
    "du2019-thm3.3": "outside-regime",
    "du2019-lemA.2": "holds",
    "du2019-lemA.3": "holds",
    "du2019-lemA.4-5": "outside-regime",
    "du2019-lemA.6": "outside-regime",
}
CONTROLS = {
    "du2019-thm3.3": Lie(
        "the misfits after time 0 are larger by the factor that brings each run 1 % above the "
        "bound",
        lambda settings, found: _above_the_rate(found),
    ),
    "du2019-lemA.2": Lie(
        "the misfits after time 0 are larger by the factor that brings each run 1 % above the "
        "bound",
        lambda settings, found: _above_the_rate(found),
    ),
    "du2019-lemA.3": Lie(
        r"around every draw the weights may move $H$ by $0.126\,\lambda_0$, more than their half "
        "of a quarter",
        lambda settings, found: found.assign(weight_certified=0.126 * found.ball_lambda_0),
    ),
    "du2019-lemA.4-5": Lie(
        "in every run the output weight that moves most is 1 % outside its ball",
        lambda settings, found: found.assign(
            output_distance=found.output_distance * 1.01 / _radius_shares(settings, found)[1]
        ),
    ),
    "du2019-lemA.6": Lie(
        r"the least $\lambda_{\min}(H(t))$ of every run is $0.49\,\lambda_0$",
        lambda settings, found: found.assign(
            lambda_min=found.lambda_min * 0.49 / least_ratios(found)
        ),
    ),
}
Multiple = Annotated[float, Field(ge=1)]


class Settings(FlowSettings):
    """What is run.

    Attributes:
        multiples: radii of the perturbed networks, in units of the lemma's R_w and R_a; 1 first.
        draws: initialisations whose whole balls are bounded, for a probability.
    """

    horizon: Annotated[float, Field(ge=1)] = 2.0
    points: Annotated[int, Field(ge=5)] = 17
    tolerance: Share = 1e-5
    multiples: Annotated[tuple[Multiple, ...], Field(min_length=3)] = (1.0, 1e1, 1e2, 1e3, 1e4)
    draws: Size = 40


QUICK = Settings()
PAPER = Settings(widths=(200, 800, 3200, 12800), tolerance=5e-6)


def cost(settings: Settings) -> Cost:
    """Velocity evaluations of two flows per network; a forward pass and three Gram matrices."""
    s = settings
    flows = sum(8 * s.count * s.dimension * m * s.evaluations(m) for m in s.widths)
    balls = sum(2 * s.count * m * (s.dimension + 3 * s.count) for m in s.widths)
    size = 8 * max(s.widths) * (4 * s.count + (12 + s.points) * s.dimension)
    return Cost(s.seeds * flows + s.draws * balls, size)


def summary(settings: Settings) -> str:
    """The joint flow, and the balls of Lemma A.3."""
    s = settings
    return (
        rf"Gradient flow of both layers, and of the first alone, to $t={s.horizon:g}/\lambda_0$ "
        f"for networks of width $m$ = {listed(s.widths)} on {s.seeds} data sets of $n$ = {s.count} "
        f"inputs uniform on the sphere in dimension $d$ = {s.dimension} with labels $N(0,1)$; the "
        f"balls of Lemma A.3 around networks of these widths on {s.draws} data sets."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Integrate both flows from every initialisation and perturb it; bound the balls of others."""
    s = settings
    runs = sweep("runs", partial(_one_network, s, device), seed=s.each_seed, width=s.widths)
    starts = range(s.first_seed, s.first_seed + s.draws)
    balls = sweep("balls", partial(_one_ball, s, device), start=starts, width=s.widths)
    return xr.merge([runs, balls]).assign_attrs(data=s.data)


def _one_network(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=width, trained="all")
    network, x, limit = problem.network, problem.x, problem.limit
    output_limit, output_gram = infinite_width_output_gram(x), layer_grams(network, x)[1]
    times = settings.times(problem.lambda_0)
    record: Record = {"misfit": misfit, "least": layer_lambda_mins, "distances": unit_distances}
    both = problem.flow(times, record, settings.tolerance)
    one = replace(problem, network=network.training("hidden"))
    first = one.flow(times, {"misfit": misfit}, settings.tolerance)
    later = problem.train(times[1] / 5, 5).network
    return {
        "lambda_0": problem.lambda_0,
        "lambda_joint": lambda_min(limit + output_limit),
        "lambda_output": lambda_min(output_limit),
        "times": ("time", times),
        "misfit": ("time", both["misfit"]),
        "lambda_min": ("time", both["least"][:, 0]),
        "output_lambda_min": ("time", both["least"][:, 1]),
        "distance": ("time", both["distances"][:, 0, 0]),
        "output_distance": ("time", both["distances"][:, 1, 0]),
        "misfit_first": ("time", first["misfit"]),
        "linearised": ("time", problem.frozen_misfits(limit + output_limit, times)),
        "frozen_output_distance": _frozen(problem, limit + output_limit, times[-1]),
        "velocity_error": ("place", [problem.velocity_error(), problem.velocity_error(later)]),
        "output_gram_error": spectral_norm(output_gram - output_limit),
        "output_gram_size": lambda_max(output_gram),
        "multiple": list(settings.multiples),
        **perturbed(problem, _radii(settings, problem), settings.multiples, seed),
    }


def _frozen(problem: Problem, gram: Tensor, time: float) -> float:
    """Largest |a_r - a_r(0)| if no activation flipped and `gram` ruled."""
    impulse = problem.frozen_flow(gram, np.array([time])).impulses[-1]
    return float(changes(problem.network, problem.x, impulse)[-1].abs().max())


def _one_ball(settings: Settings, device: str, *, start: int, width: int) -> Variables:
    problem = draw(settings, device, seed=start, width=width)
    return {
        "weight_certified": certified(problem, _radii(settings, problem)[0]),
        "ball_lambda_0": problem.lambda_0,
        "ball_lambda_min": lambda_min(problem.gram),
    }


def _radii(settings: Settings, problem: Problem) -> tuple[float, float]:
    return lemma_a3_radii(settings.count, problem.lambda_0, settings.delta)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Means over the seeds; exponents in m."""
    last = found.isel(width=-1, time=-1)
    lambda_0 = float(found.lambda_0.mean())
    weight_radius, output_radius = lemma_a3_radii(settings.count, lambda_0, settings.delta)
    safe = (found.gram_change <= found.lambda_0 / 4).all(["seed", "width"])
    return {
        "lambda_0": lambda_0,
        "delta": settings.delta,
        "lambda_joint": found.lambda_joint.mean(),
        "lambda_output": found.lambda_output.mean(),
        "needed_width": needed_width(theorem_3_3_width, settings, found),
        "largest_width": max(settings.widths),
        "weight_radius": weight_radius,
        "output_radius": output_radius,
        "distance_exponent": exponent(farthest(found)),
        "output_exponent": exponent(_output_distances(found)),
        "output_gram_exponent": exponent(found.output_gram_error),
        "least_ratio": least_ratios(found).min(),
        "linearised_ratio": (last.misfit / last.linearised).mean(),
        "joint_share": (last.misfit / last.misfit_first).mean(),
        "safe_multiple": found.multiple.where(safe, 0.0).max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Bounds at every recorded time; exponents in the width; the pieces of Lemma A.3."""
    outside = unmet(needed_width(theorem_3_3_width, settings, found), max(settings.widths))
    shares, least = bound_shares(found), least_ratios(found)
    balls = _radius_shares(settings, found)
    met = least >= 0.5
    faster = (found.misfit / found.misfit_first).isel(time=slice(1, None)).max()
    rounding = float(np.finfo(settings.dtype).eps)
    negative = (found.output_lambda_min / found.output_gram_size).min("time")
    return [
        claim(
            "du2019-thm3.3",
            r"$\lVert u(t)-y\rVert^2\le e^{-\lambda_0t}\lVert u(0)-y\rVert^2$ at every $t$; "
            r"$\dot u=(H+G)(y-u)$ where nothing switches",
            at_most("share of the bound after time 0", shares),
            anyway(
                identity("velocities", found.velocity_error, rounding**0.5, "root of rounding")
            ),
            outside=outside,
            holds="From the same start, training both layers leaves at most "
            f"{float(faster):.2f} times the misfit of training the first alone at any time. The "
            "misfit stays below the bound at every recorded time and width.",
            fails="The misfit is above the bound at a recorded time, or its identity is off.",
        ),
        claim(
            "du2019-lemA.2",
            r"$\lambda_{\min}(H)\ge\lambda_0/2$ and $G\succeq0$ give the rate $e^{-\lambda_0t}$",
            at_most(
                f"in the {int(met.sum())} of {met.size} runs that meet the hypothesis, share of "
                "the bound",
                under(met, shares),
            ),
            anyway(
                at_least(
                    "least eigenvalue of G over its largest (0 to n rounding units)",
                    negative, -settings.count * rounding, ".2g",
                )
            ),
            outside=never(met),
            holds="Where its hypothesis was measured to be true, so is its conclusion, and G is "
            "positive semidefinite.",
            fails="Its hypothesis was measured to be true and its conclusion false, or G has a "
            "negative eigenvalue.",
        ),
        _perturbation(settings, found),
        _distances(settings, found, met, balls),
        claim(
            "du2019-lemA.6",
            r"$\lambda_{\min}(H(t))\ge\lambda_0/2$, both balls and the rate for all $t$ once "
            r"$R_w'<R_w$ and $R_a'<R_a$",
            at_least(
                r"$\lambda_{\min}(H(t))/\lambda_0$ at the least width", least.isel(width=0), 0.5
            ),
            at_least("at the others", least.isel(width=slice(1, None)), 0.5),
            at_most("share of the rate's bound", shares),
            *(
                at_most(f"share of ${name}$", share)
                for name, share in zip(("R_w'", "R_a'"), balls, strict=True)
            ),
            outside=outside,
            holds="All that the bootstrap carries is true at every recorded time.",
            fails="The eigenvalue bound, a ball or the rate is broken at a recorded time.",
        ),
    ]  # fmt: skip


def _perturbation(settings: Settings, found: xr.Dataset) -> Verdict:
    """A bound on every (W, a) in the balls: W by the units near the boundary, a by algebra."""
    n, delta = settings.count, settings.delta
    by_weights, by_outputs = _pieces(found.ball_lambda_0, n, delta)
    change = (found.weight_certified + by_outputs) / found.ball_lambda_0
    start = found.ball_lambda_min / found.ball_lambda_0
    kept = (change <= 0.25) & (found.weight_certified <= by_weights / delta)
    # The lemma's second conclusion rests on a good start, which Lemma 3.1 gives.
    left = (start - change).values[(kept & (start >= 0.75)).values]
    first = found.isel(multiple=0)
    reached = (first.gram_change / first.lambda_0).max("width")
    output_piece = first.output_change / _pieces(first.lambda_0, n, delta)[1]
    return claim(
        "du2019-lemA.3",
        r"$\lVert H-H(0)\rVert_2\le\lambda_0/4$ and $\lambda_{\min}(H)>\lambda_0/2$ for all "
        "$(W,a)$ within $R_w$, $R_a$",
        probability_at_least(
            r"H certified to move by at most $\lambda_0/4$ in the balls, each piece of it by what "
            "the proof says, at every width:",
            kept.all("width"),
            1 - delta,
        ),
        at_least(
            r"$\lambda_{\min}(H)/\lambda_0$ there, where that of $H(0)$ is 3/4 or more,", left, 0.5
        ),
        at_most("share of the piece of a that perturbations reach", output_piece),
        holds=rf"No parameters in the two balls move H by more than {float(change.max()):.3f} "
        rf"$\lambda_0$; random and adversarial ones reach {spread(reached)} $\lambda_0$. The balls "
        f"are so small that {float((found.weight_certified == 0).mean()):.0%} of the networks have "
        "no unit within $R_w$ of a kink. The piece for a is strictly $2R_a+R_a^2$ per entry, and "
        "still fits.",
        fails="Parameters in the two balls may move H, or one of the two pieces, by too much.",
    )


def _distances(
    settings: Settings,
    found: xr.Dataset,
    met: xr.DataArray,
    balls: tuple[xr.DataArray, xr.DataArray],
) -> Verdict:
    """Lemma A.4 also assumes a within R_a, and A.5 assumes W within R_w: judged apart.

    The largest of m bell-shaped moves of output weights grows with m by itself, differently from
    draw to draw: it is compared with what frozen activations and the Gram matrices of infinite
    width give for the same draw, which is m^-1/2 times the largest of m terms without m.
    """
    lambda_0 = float(found.lambda_0.mean())
    radii = lemma_a3_radii(settings.count, lambda_0, settings.delta)
    far = float(found.distance.max()), float(found.output_distance.max())
    apart = ""
    if far[0] > radii[0] or far[1] > radii[1]:
        apart = (
            f"the lemmas also assume distances below $R_w$ = {radii[0]:.1g} and $R_a$ = "
            f"{radii[1]:.1g}, and up to {far[0]:.2g} and {far[1]:.2g} were seen"
        )
    return claim(
        "du2019-lemA.4-5",
        r"$\max_r\lVert w_r-w_r(0)\rVert\le R_w'$, $\max_r\lvert a_r-a_r(0)\rvert\le R_a'$, "
        r"both $\tilde O(m^{-1/2})$; with frozen activations and Gram matrices of infinite width "
        r"$a$ moves by $m^{-1/2}$ times the largest of $m$ terms without $m$",
        at_most("share of $R_w'$", under(met, balls[0])),
        at_most("share of $R_a'$", under(met, balls[1])),
        exponent_at_most(
            r"the distance of W over $\lVert y-u(0)\rVert$ in m", farthest(found), -0.5, 0.1
        ),
        exponent_at_most(
            "that of a over the same with frozen activations in m",
            found.output_distance.isel(time=-1) / found.frozen_output_distance,
            0,
            0.1,
        ),
        outside=never(met) or apart,
        holds=r"Both layers stay far inside their balls where $\lambda_{\min}(H)\ge\lambda_0/2$.",
        fails="A layer leaves its ball, or its distance falls more slowly with m.",
    )


def _pieces(lambda_0: xr.DataArray, count: int, delta: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Lemma A.3's bounds on ||H' - H(0)|| in expectation and on ||H - H'|| at its radii."""
    by_weights, by_outputs = xr.apply_ufunc(
        lambda least: lemma_a3_gram_changes(count, *lemma_a3_radii(count, least, delta)),
        lambda_0,
        output_core_dims=[[], []],
    )
    return by_weights, by_outputs


def _radius_shares(settings: Settings, found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Largest distances of W and a over R_w' and R_a'."""
    known = settings.count, found.width, found.lambda_0, found.misfit.isel(time=0)
    far_w = xr.apply_ufunc(lemma_a4_distance, *known, vectorize=True)
    far_a = xr.apply_ufunc(lemma_a5_distance, *known, settings.delta, vectorize=True)
    return found.distance.max("time") / far_w, found.output_distance.max("time") / far_a


def _above_the_rate(found: xr.Dataset) -> xr.Dataset:
    """A lie: after time 0 the largest misfit of every run is 1 % above the theorem's bound."""
    higher = found.misfit * 1.01 / bound_shares(found)
    return found.assign(misfit=higher.where(found.times > 0, found.misfit))


def _output_distances(found: xr.Dataset) -> xr.DataArray:
    """Those of a over ||y - u(0)|| sqrt(log m), as the largest of m bell-shaped moves grows."""
    distances = farthest(found, "output_distance")
    slowed: xr.DataArray = distances / np.sqrt(np.log(found.width.clip(min=2)))
    return slowed
