"""Training both layers by gradient flow is at least as fast as exp(-lambda_0 t) (Theorem 3.3).

Refuted by a misfit above that bound, by predictions that do not follow (H + G)(y - u), by a G with
a negative eigenvalue, by parameters that leave the balls of Lemmas A.4 and A.5 while
lambda_min(H) >= lambda_0 / 2, or, in more than a share delta of the draws, by balls in which H may
move by lambda_0 / 4 (Lemma A.3).
"""

from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.bounds.du2019 import (
    lemma_3_1_width,
    lemma_a3_gram_changes,
    lemma_a3_radii,
    lemma_a4_distance,
    lemma_a5_distance,
    theorem_3_3_width,
)
from companion.experiments.du2019._balls import (
    BISECTIONS,
    adversary,
    at_random,
    certificate,
    certified,
    change,
    change_bounds,
    largest,
)
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
    near_boundary,
    spectral_norm,
)
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    identity,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.linearised import changes
from companion.monitors import Record, layer_lambda_mins, misfit, unit_distances

EXPECTED: dict[str, Outcome] = {
    "du2019-thm3.3": "outside-regime",
    "du2019-lemA.2": "holds",
    "du2019-lemA.3": "holds",
    "du2019-lemA.4-5": "outside-regime",
    "du2019-lemA.4-5-order": "holds",
    "du2019-lemA.5-frozen": "holds",
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
        r"in every third draw some parameters in the two balls move $H$ by $0.26\,\lambda_0$",
        lambda settings, found: found.assign(
            ball_change=found.ball_change.where(found.start % 3 > 0, 0.26)
        ),
    ),
    "du2019-lemA.4-5": Lie(
        "in every run the output weight that moves most is 1 % outside its ball",
        lambda settings, found: found.assign(
            output_distance=found.output_distance * 1.01 / _radius_shares(settings, found)[1]
        ),
    ),
    "du2019-lemA.4-5-order": Lie(
        "all distances in $W$ are multiplied by $m^{0.25}$",
        lambda settings, found: found.assign(distance=found.distance * found.width**0.25),
    ),
    "du2019-lemA.5-frozen": Lie(
        "all distances in $a$ are multiplied by $m^{0.25}$",
        lambda settings, found: found.assign(
            output_distance=found.output_distance * found.width**0.25
        ),
    ),
    "du2019-lemA.6": Lie(
        r"the least $\lambda_{\min}(H(t))$ of every run is $0.49\,\lambda_0$",
        lambda settings, found: found.assign(
            lambda_min=found.lambda_min * 0.49 / least_ratios(found)
        ),
    ),
}
# Pairs of a unit and an input that some W in the ball switches, on average over the draws. With
# fewer, what is certified about W would be that nothing can happen.
ENOUGH_PAIRS = 10
Multiple = Annotated[float, Field(ge=1)]


class Settings(FlowSettings):
    """What is run.

    Attributes:
        draws: of data and network whose whole balls are bounded, for a probability: 29 good ones
            of 29 show 0.9.
        ball_count: n of the data on which that is done: the balls shrink like 1 / n^2.
        ball_width: m there; so many units that some lie within R_w of a kink, and that Lemma 3.1's
            explicit width is met.
        multiples: radii of larger balls around the first `seeds` draws, in units of the lemma's
            R_w and R_a, in increasing order; 1 first.
    """

    seeds: Size = 4
    widths: SeveralSizes = (300, 1200, 4800)
    horizon: Annotated[float, Field(ge=1)] = 2.0
    points: Annotated[int, Field(ge=5)] = 17
    tolerance: Share = 1e-5
    draws: Size = 30
    ball_count: Count = 10
    ball_width: Size = 100_000
    multiples: Annotated[tuple[Multiple, ...], Field(min_length=3)] = (1.0, 1e1, 1e2, 1e3)


# At the first seed the looser solver moves the farthest distance by 0.15 % and lambda_min by 0.7 %.
QUICK = Settings(tolerance=2e-5)
PAPER = Settings(seeds=6, widths=(300, 1200, 4800, 19200), tolerance=5e-6)


def cost(settings: Settings) -> Cost:
    """Velocity evaluations of two flows per network; Gram matrices of the balls."""
    s = settings
    flows = sum(8 * s.count * s.dimension * m * s.evaluations(m) for m in s.widths)
    per_gram = 2 * s.ball_width * s.ball_count * (s.dimension + s.ball_count)
    grams = 6 * s.draws + s.seeds * (6 * len(s.multiples) + 5 * BISECTIONS)
    size = max(s.widths) * (4 * s.count + (12 + s.points) * s.dimension)
    ball = s.ball_width * (6 * s.ball_count + 6 * s.dimension)
    return Cost(s.seeds * flows + grams * per_gram, 8 * max(size, ball))


def summary(settings: Settings) -> str:
    """The joint flow, and the balls of Lemma A.3."""
    s = settings
    return (
        rf"Gradient flow of both layers, and of the first alone, to $t={s.horizon:g}/\lambda_0$ "
        f"for networks of width $m$ = {listed(s.widths)} on {s.seeds} data sets of $n$ = {s.count} "
        f"inputs uniform on the sphere in dimension $d$ = {s.dimension} with labels $N(0,1)$. "
        f"Without training, the balls of Lemma A.3 around {s.draws} draws of $n$ = {s.ball_count} "
        f"inputs in the same dimension and of a network of width $m$ = {s.ball_width}."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Integrate both flows from every initialisation; bound and search the balls of others."""
    s = settings
    starts = range(s.first_seed, s.first_seed + s.draws)
    found = [
        sweep("runs", partial(_one_network, s, device), seed=s.each_seed, width=s.widths),
        sweep("balls", partial(_one_ball, s, device), start=starts),
        sweep("larger", partial(_larger_balls, s, device), seed=s.each_seed),
    ]
    return xr.merge(found).assign_attrs(data=s.data)


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
    }


def _frozen(problem: Problem, gram: Tensor, time: float) -> float:
    """Largest |a_r - a_r(0)| if no activation flipped and `gram` ruled."""
    impulse = problem.frozen_flow(gram, np.array([time])).impulses[-1]
    return float(changes(problem.network, problem.x, impulse)[-1].abs().max())


def _one_ball(settings: Settings, device: str, *, start: int) -> Variables:
    """What Lemma A.3 and its proof say of one draw, at the lemma's own radii."""
    problem = _drawn(settings, device, start)
    count, radii = problem.count, _radii(settings, problem)
    by_weights, by_outputs = change_bounds(problem, *radii)
    pieces = lemma_a3_gram_changes(count, *radii)
    most = spectral_norm(by_weights + by_outputs)
    (z,) = problem.network.preactivations(problem.x)
    return {
        "ball_change": most / problem.lambda_0,
        "ball_least": (lambda_min(problem.gram) - most) / problem.lambda_0,
        "ball_pairs": int(near_boundary(z, radii[0]).sum()),
        "ball_weight_share": float(by_weights.sum()) / pieces[0],
        "ball_output_share": spectral_norm(by_outputs) / pieces[1],
        "lemma_3_1_width": lemma_3_1_width(count, problem.lambda_0, settings.delta),
    }


def _larger_balls(settings: Settings, device: str, *, seed: int) -> Variables:
    """The certified change in balls of larger radii, and what perturbations reach of it."""
    problem = _drawn(settings, device, seed)
    far_w, far_a = _radii(settings, problem)
    limit, most = problem.lambda_0 / 4, 1 / far_a  # where |a_r| may double, and H grow fourfold

    def bound(multiple: float) -> float:
        return certified(problem, multiple * far_w, multiple * far_a)

    def adverse(multiple: float) -> float:
        return change(problem, adversary(problem, multiple * far_w, multiple * far_a))

    def random(multiple: float) -> float:
        return change(problem, at_random(problem, multiple * far_w, multiple * far_a, seed))

    return {
        "multiple": list(settings.multiples),
        "ball_lambda_0": problem.lambda_0,
        "weight_radius": far_w,
        "output_radius": far_a,
        "certified": ("multiple", [bound(multiple) for multiple in settings.multiples]),
        "adversary": ("multiple", [adverse(multiple) for multiple in settings.multiples]),
        "random": ("multiple", [random(multiple) for multiple in settings.multiples]),
        "safe_multiple": largest(bound, limit, most),
        "broken_multiple": largest(adverse, limit, most),
    }


def _drawn(settings: Settings, device: str, seed: int) -> Problem:
    """Data and network whose balls are bounded."""
    s = settings
    return draw(s, device, seed=seed, width=s.ball_width, count=s.ball_count)


def _radii(settings: Settings, problem: Problem) -> tuple[float, float]:
    return lemma_a3_radii(problem.count, problem.lambda_0, settings.delta)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Means over the seeds; exponents in m."""
    last = found.isel(width=-1, time=-1)
    frozen = _over_frozen(found)
    return {
        "lambda_0": found.lambda_0.mean(),
        "delta": settings.delta,
        "lambda_joint": found.lambda_joint.mean(),
        "lambda_output": found.lambda_output.mean(),
        "needed_width": needed_width(theorem_3_3_width, settings, found),
        "largest_width": max(settings.widths),
        "weight_radius": found.weight_radius.mean(),
        "output_radius": found.output_radius.mean(),
        "ball_count": settings.ball_count,
        "ball_width": settings.ball_width,
        "ball_pairs": found.ball_pairs.mean(),
        "ball_change": found.ball_change.max(),
        "safe_multiple": found.safe_multiple.min(),
        "broken_multiple": found.broken_multiple.max(),
        "distance_exponent": exponent(farthest(found)),
        "frozen_narrow": frozen.isel(width=0).mean(),
        "frozen_wide": frozen.isel(width=-1).mean(),
        "output_gram_exponent": exponent(found.output_gram_error),
        "least_ratio": least_ratios(found).min(),
        "linearised_ratio": (last.misfit / last.linearised).mean(),
        "joint_share": (last.misfit / last.misfit_first).mean(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Bounds at every recorded time; the balls of Lemma A.3; exponents in the width."""
    outside = unmet(needed_width(theorem_3_3_width, settings, found), max(settings.widths))
    shares, balls = bound_shares(found), _radius_shares(settings, found)
    met = least_ratios(found) >= 0.5
    return [
        _rate(settings, found, shares, outside),
        _rate_while_good(settings, found, shares, met),
        _balls(settings, found),
        _distances(settings, found, met, balls),
        _order(found),
        _frozen_activations(found),
        _bootstrap(found, shares, balls, outside),
    ]


def _rate(settings: Settings, found: xr.Dataset, shares: xr.DataArray, outside: str) -> Verdict:
    faster = (found.misfit / found.misfit_first).isel(time=slice(1, None)).max()
    # Both sides of the identity add a term per unit, each of them rounded.
    rounding = max(settings.widths) * float(np.finfo(settings.dtype).eps)
    return claim(
        "du2019-thm3.3",
        r"$\lVert u(t)-y\rVert^2\le e^{-\lambda_0t}\lVert u(0)-y\rVert^2$ at every $t$; "
        r"$\dot u=(H+G)(y-u)$ where nothing switches",
        at_most("share of the bound that the misfit reaches at any time after 0", shares),
        anyway(
            identity(
                r"the two sides of $\dot u=(H+G)(y-u)$, at the start and a little later, over "
                "their size",
                found.velocity_error,
                rounding,
                "one rounding for every unit",
            )
        ),
        outside=outside,
        holds="From the same start, training both layers leaves at most "
        f"{number(faster, '.2f', 'up')} times the misfit of training the first alone at any time. "
        "The misfit stays below the bound at every recorded time and width.",
        fails="The misfit is above the bound at a recorded time, or its identity is off.",
    )


def _rate_while_good(
    settings: Settings, found: xr.Dataset, shares: xr.DataArray, met: xr.DataArray
) -> Verdict:
    negative = (found.output_lambda_min / found.output_gram_size).min("time")
    rounding = settings.count * float(np.finfo(settings.dtype).eps)
    return claim(
        "du2019-lemA.2",
        r"$\lambda_{\min}(H(s))\ge\lambda_0/2$ up to $t$, with $G\succeq0$, gives the rate "
        r"$e^{-\lambda_0t}$",
        at_most(
            f"share of the bound that the misfit reaches after time 0 in the {int(met.sum())} of "
            f"{met.size} runs in which the hypothesis was measured to be true",
            under(met, shares),
        ),
        anyway(
            at_least(
                "least eigenvalue of $G$ at any time, over its largest at the start; as many "
                "roundings as inputs are allowed",
                negative, -rounding, ".2g",
            )
        ),
        outside=never(met),
        holds="Where its hypothesis was measured to be true, so is its conclusion, and $G$ is "
        "positive semidefinite.",
        fails="Its hypothesis was measured to be true and its conclusion false, or $G$ has a "
        "negative eigenvalue.",
    )  # fmt: skip


def _balls(settings: Settings, found: xr.Dataset) -> Verdict:
    """For every (W, a) in the balls at once, and where larger balls would break the conclusion."""
    outside = unmet(float(found.lemma_3_1_width.max()), settings.ball_width)
    tried = xr.concat([found[kind] for kind in ("random", "adversary")], "kind")
    safe, broken = found.safe_multiple.min(), found.broken_multiple.max()
    return claim(
        "du2019-lemA.3",
        r"with probability $1-\delta$, $\lVert H-H(0)\rVert_2\le\lambda_0/4$ and "
        r"$\lambda_{\min}(H)>\lambda_0/2$ for all $(W,a)$ within $R_w$ and $R_a$; in the proof, "
        r"$\mathbb E\sum_{ij}\lvert H'_{ij}-H_{ij}(0)\rvert\le4n^2R_w/\sqrt{2\pi}$ and "
        r"$\lVert H-H'\rVert_2\le n^2(2R_a+R_a^2)$, where $H'$ has $W$ and $a(0)$",
        certificate(
            "draws of data and network with both conclusions certified for every choice of "
            "parameters",
            found.ball_change,
            found.ball_least,
            settings.delta,
        ),
        _enough(found.ball_pairs),
        at_most(
            r"share of $4n^2R_w/\sqrt{2\pi}$ that the certified sum of all changes by $W$ makes up "
            "on average",
            found.ball_weight_share.mean(skipna=False),
        ),
        at_most(
            r"share of $n^2(2R_a+R_a^2)$ that the certified change by $a$ makes up in any draw",
            found.ball_output_share,
        ),
        anyway(
            at_most(
                "share of the certified change that any perturbation reached, at any multiple of "
                "the radii",
                tried / found.certified,
            )
        ),
        outside=outside,
        holds=f"Around each of {found.sizes['start']} draws of data and network, the conclusion is "
        "certified for all parameters in the two balls. It stays certified in balls "
        f"{number(safe, '.0f', 'down')} times as large, and an adversary breaks it in balls "
        f"{number(broken, '.0f', 'up')} times as large.",
        fails="Parameters in the two balls may move $H$, or one of the two pieces, by too much.",
    )


def _enough(pairs: xr.DataArray) -> Check:
    """Whether the ball of W holds enough to be a test; if it does not, nothing is known."""
    mean = float(pairs.mean())
    return Check(
        "yes" if mean >= ENOUGH_PAIRS else "unclear",
        "pairs of a unit and an input that some $W$ within $R_w$ switches, on average over the "
        "draws",
        number(mean, ".1f"),
        f"at least {ENOUGH_PAIRS}, so that the lemma has something to say",
    )


def _distances(
    settings: Settings,
    found: xr.Dataset,
    met: xr.DataArray,
    balls: tuple[xr.DataArray, xr.DataArray],
) -> Verdict:
    """Lemma A.4 also assumes a within R_a, and A.5 assumes W within R_w: judged apart."""
    lambda_0 = float(found.lambda_0.mean())
    radii = lemma_a3_radii(settings.count, lambda_0, settings.delta)
    far = float(found.distance.max()), float(found.output_distance.max())
    apart = ""
    if far[0] > radii[0] or far[1] > radii[1]:
        apart = (
            f"the lemmas also assume distances below $R_w$ = {number(radii[0], '.1g')} and $R_a$ = "
            f"{number(radii[1], '.1g')}, and up to {number(far[0], '.2g', 'up')} and "
            f"{number(far[1], '.2g', 'up')} were seen"
        )
    return claim(
        "du2019-lemA.4-5",
        r"$\max_r\lVert w_r(t)-w_r(0)\rVert\le R_w'$ and $\max_r\lvert a_r(t)-a_r(0)\rvert\le "
        r"R_a'$ while $\lambda_{\min}(H)\ge\lambda_0/2$",
        *(
            at_most(f"share of ${name}$ that the farthest {what} reaches", under(met, share))
            for name, what, share in zip(
                ("R_w'", "R_a'"), ("unit", "output weight"), balls, strict=True
            )
        ),
        outside=never(met) or apart,
        holds=r"Both layers stay inside their balls where $\lambda_{\min}(H)\ge\lambda_0/2$.",
        fails="A layer leaves its ball.",
    )


def _order(found: xr.Dataset) -> Verdict:
    return claim(
        "du2019-lemA.4-5-order",
        r"the farthest unit moves by $O(m^{-1/2})$, as $R_w'$ does",
        exponent_at_most(
            r"$\max_r\lVert w_r(t)-w_r(0)\rVert$, divided by $\lVert u(0)-y\rVert$, in $m$",
            farthest(found),
            -0.5,
            0.1,
        ),
        holds="The farthest unit moves less in wider networks, at least as the root of the width.",
        fails="The distance of the farthest unit falls more slowly than the root of the width.",
    )


def _frozen_activations(found: xr.Dataset) -> Verdict:
    """The largest of m bell-shaped moves grows with m by itself, from draw to draw differently.

    With frozen activations and the Gram matrices of infinite width the same draw moves by m^-1/2
    times the largest of m terms without m; over that, nothing of it is left.
    """
    return claim(
        "du2019-lemA.5-frozen",
        r"the farthest output weight moves by $m^{-1/2}$ times the largest of $m$ terms without "
        "$m$, as with frozen activations",
        exponent_at_most(
            r"$\max_r\lvert a_r(t)-a_r(0)\rvert$, divided by what frozen activations and the Gram "
            "matrices of infinite width give, in $m$",
            _over_frozen(found),
            0,
            0.1,
        ),
        holds="Over what frozen activations give, the farthest output weight does not grow with "
        "the width.",
        fails="Over what frozen activations give, the farthest output weight grows with the width.",
    )


def _bootstrap(
    found: xr.Dataset,
    shares: xr.DataArray,
    balls: tuple[xr.DataArray, xr.DataArray],
    outside: str,
) -> Verdict:
    return claim(
        "du2019-lemA.6",
        r"$\lambda_{\min}(H(t))\ge\lambda_0/2$, both balls and the rate for all $t$ once "
        r"$R_w'<R_w$ and $R_a'<R_a$",
        at_least(
            r"$\lambda_{\min}(H(t))/\lambda_0$ at any time, of any width", least_ratios(found), 0.5
        ),
        at_most("share of the rate's bound that the misfit reaches after time 0", shares),
        *(
            at_most(f"share of ${name}$ that the farthest {what} reaches", share)
            for name, what, share in zip(
                ("R_w'", "R_a'"), ("unit", "output weight"), balls, strict=True
            )
        ),
        outside=outside,
        holds="All that the bootstrap carries is true at every recorded time.",
        fails="The eigenvalue bound, a ball or the rate is broken at a recorded time.",
    )


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


def _over_frozen(found: xr.Dataset) -> xr.DataArray:
    """Largest distance of a at the end, over that with frozen activations."""
    ratio: xr.DataArray = found.output_distance.isel(time=-1) / found.frozen_output_distance
    return ratio
