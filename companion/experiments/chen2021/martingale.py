"""A pass of SGD nears W* (Lemma 6.5), and the errors that it meets bound those expected (6.6).

Refuted by a step number after which the squared distance from W* has fallen by less than the losses
met, or by more runs than a share delta whose expected errors exceed four times those met.
"""

import math
from functools import partial
from itertools import islice

import numpy as np
import torch
import xarray as xr

from companion.draws import independent_seed
from companion.experiments.chen2021._comparators import linearised_fit, squared_distance
from companion.experiments.chen2021._error_bounds import lemma_6_6
from companion.experiments.chen2021._linearity import changes
from companion.experiments.chen2021._problem import Exponent, HalvesSettings, Layers, draw, halves
from companion.experiments.chen2021._streams import ONE_PASS, FreshExamples, one_pass
from companion.lab.checks import at_most, claim, note, probability_at_least, with_room
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Dimension, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.training import descent

EXPECTED: dict[str, Outcome] = {
    "chen2021-lem6.5": "outside-regime",
    "chen2021-lem6.6": "holds",
}
# The probabilities of failure at which the coverage is judged.
DELTAS = (0.5, 0.1, 0.01)
# Of sums of squares of weights that are subtracted.
ROUNDING = 1e-9
# What the companion's own proof puts in place of both 4s of Lemma 6.6.
SHARP = 1 / (1 - math.exp(-1))
# The least l / l'^2 of the cross-entropy is 2.45 and more, so a step with half of that over the
# squared gradient of f takes no more than half of the loss met.
LEAST_RATIO = 2.45


class Settings(HalvesSettings):
    """What is run; `seeds` are those of Lemma 6.5.

    Attributes:
        count: n, examples of a pass.
        layers: L, weight matrices.
        alpha: the networks' exponent.
        widths: m of the runs with W*, in increasing order.
        target: the largest loss that W* is to have on the linearised network.
        runs: passes for Lemma 6.6, each with a network and examples of its own.
        width: m of these.
        each: test examples at every step of these.
        tests: different test examples of a run, a multiple of `each`.
    """

    count: Count = 64
    dimension: Dimension = 5
    gap: Share = 0.4
    seeds: Size = 4
    layers: Layers = 3
    alpha: Exponent = 0.5
    widths: SeveralSizes = (128, 256, 512)
    target: Share = 0.02
    runs: Size = 300
    width: Size = 24
    each: Size = 64
    tests: Size = 1024


QUICK = Settings()
PAPER = Settings(
    count=256, seeds=10, widths=(64, 256, 1024, 4096), runs=2000, width=64, each=128, tests=4096
)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"One pass of SGD over $n={s.count}$ examples with $\\eta=1/(Lm^{{2\\alpha}})$, "
        f"$L$ = {s.layers} weight matrices and $\\alpha={s.alpha:g}$: for widths $m$ = "
        f"{listed(s.widths)} and {s.seeds} seeds beside a point $W^*$ close by, and for "
        f"{number(s.runs, ',d')} networks of width {s.width} with examples of their own. Inputs "
        f"are {s.data}; the expected error of an iterate is estimated on {s.each} fresh examples."
    )


def cost(settings: Settings) -> Cost:
    """Six products a step on an example and two on each test example; W* takes Gram matrices."""
    s = settings
    own = s.width * (s.dimension + 1 + (s.layers - 2) * s.width)
    passes = float(s.runs) * s.count * own * (8 + 2 * s.each)
    near = sum(m * (s.dimension + 1 + (s.layers - 2) * m) for m in s.widths)
    grams = sum(m for m in s.widths) * s.layers * 2 * s.count**2
    starred = float(s.seeds) * (s.count * near * (10 + 8) + grams)
    tested = 8.0 * s.runs * (s.dimension + 1) * (s.tests + 2 * s.count)
    hidden = 8.0 * s.runs * s.width * s.each * s.layers
    return Cost(passes + starred, tested + hidden)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Passes beside W*, one by one, and many passes as a fleet."""
    s = settings
    near = sweep("near", partial(_near, s, device), seed=s.each_seed, width=s.widths)
    passes = xr.Dataset(_many(s, device))
    return xr.merge([near, passes]).assign_attrs(data=s.data)


def _near(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """One pass beside W*: both sides of Lemma 6.5 after every step, and what its proof asks."""
    s = settings
    problem = draw(s, device, seed=seed, width=width, layers=s.layers, alpha=s.alpha)
    star = linearised_fit(problem, s.target)
    at_star = star.network.predict(problem.x)
    first = squared_distance(problem.network, star.network)
    eta = 1 / (s.layers * width ** (2 * s.alpha))
    distances, met, errors, reach = [], [], [], []
    moments = descent(
        problem.network, problem.x, problem.y, loss=problem.loss, step_size=eta, batches=ONE_PASS
    )
    for moment in islice(moments, s.count + 1):
        away = changes(star.network, moment.network)
        distances.append(squared_distance(moment.network, star.network))
        step = int(moment.step)
        if step == s.count:
            break
        x, y = problem.x[step : step + 1], problem.y[step]
        forward = moment.network.run(x)
        slopes = moment.network.gradients(forward, torch.ones_like(forward.predictions))
        along = -sum(float((g * a).sum()) for g, a in zip(slopes, away, strict=True))
        met.append(float(problem.loss.values(forward.predictions, y[None])))
        # (B.2): the change of f from here to W*, by its gradient here and as it is.
        errors.append(abs(along - float(at_star[step] - forward.predictions)))
        reach.append(eta * sum(float(g.square().sum()) for g in slopes))
    earned = eta * np.cumsum(met)
    after = np.arange(1, s.count + 1)
    fall, room = distances[0] - np.array(distances[1:]), 2 * after * eta * star.epsilon
    return {
        "earned": ("step", earned / first),
        "fall": ("step", fall / first),
        "room": ("step", room / first),
        "share": ("step", share(earned, fall + room)),
        "error": ("step", errors),
        "reach": max(reach),
        "radius": star.radius,
        "accuracy": star.epsilon,
    }


def share(earned: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The losses met over what Lemma 6.5 allows, infinite where that is negative."""
    return np.where(allowed > 0, earned / np.where(allowed > 0, allowed, 1), np.inf)


def _many(settings: Settings, device: str) -> Variables:
    """Errors met, and errors expected, each a mean over the iterates of a pass."""
    s, dtype = settings, getattr(torch, settings.dtype)
    seeds = [independent_seed(s.first_seed, s.runs, number) for number in range(s.runs)]
    problems = [
        draw(s, device, seed=seed, width=s.width, layers=s.layers, alpha=s.alpha) for seed in seeds
    ]
    drawn = [halves(s.tests, s.dimension, s.gap, independent_seed(seed, s.tests)) for seed in seeds]
    tests = FreshExamples(
        torch.stack([data.x for data in drawn]).to(device, dtype),
        torch.stack([data.y for data in drawn]).to(device, dtype),
        s.each,
    )
    eta = 1 / (s.layers * s.width ** (2 * s.alpha))
    passes = one_pass(problems, [eta] * s.runs, tests)
    return {
        "seen": ("run", (1 / (1 + np.exp(passes.margins))).mean(axis=1)),
        "expected": ("run", passes.slopes.mean(axis=1)),
        "wrong": ("run", passes.errors.mean(axis=1)),
    }


def covered(
    settings: Settings, found: xr.Dataset, delta: float, factor: float = 4.0
) -> xr.DataArray:
    """In which passes the errors expected are within those that Lemma 6.6 allows."""
    within: xr.DataArray = found.expected <= lemma_6_6(found.seen, settings.count, delta, factor)
    return within


def needed(settings: Settings, found: xr.Dataset, delta: float) -> float:
    """The factor in place of both 4s that a share 1 - delta of the passes need at most."""
    factors = found.expected / lemma_6_6(found.seen, settings.count, delta, 1.0)
    return float(factors.quantile(1 - delta))


def ball(settings: Settings, width: int) -> float:
    """The radius of Lemma 6.5 with the constant 1, times m^alpha."""
    s = settings
    return float(s.layers ** (-9 / 4) * width ** (s.alpha / 4) * math.log(width) ** -1.5)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """How much room both lemmas leave."""
    s, last = settings, found.isel(width=-1)
    return {
        "share": found.share.max(),
        "final_share": found.share.isel(step=-1).max(),
        "error": found.error.max("step").mean("seed").isel(width=0),
        "wide_error": last.error.max("step").mean("seed"),
        "reach": found.reach.max(),
        "radius": found.radius.mean(),
        "accuracy": found.accuracy.max(),
        "covered": float(covered(s, found, DELTAS[0]).mean()),
        "needed": needed(s, found, DELTAS[0]),
        "sharp": SHARP,
        "sharp_covered": float(covered(s, found, DELTAS[0], SHARP).mean()),
        "least_ratio": LEAST_RATIO,
        "step_limit": LEAST_RATIO / 2,
        "ball": ball(s, s.widths[-1]),
        "each": s.each,
        "runs": s.runs,
        "count": s.count,
        "width": s.width,
        "widest": s.widths[-1],
        "narrowest": s.widths[0],
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The telescoped inequality after every step, and the coverage at several delta."""
    return [_telescoping(settings, found), _conversion(settings, found)]


def _telescoping(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "chen2021-lem6.5",
        r"$\sum_l\lVert W_l^{(0)}-W_l^*\rVert_F^2-\sum_l\lVert W_l^{(n')}-W_l^*\rVert_F^2\ge"
        r"\eta\big(\sum_{i\le n'}L_i(W^{(i-1)})-2n'\epsilon\big)$ for every $n'$",
        at_most(
            r"$\eta\sum_iL_i$ over the fall of the squared distance and $2n'\eta\epsilon$",
            found.share,
            1 + ROUNDING,
        ),
        note(
            r"$f_{W^*}-f_{W^{(i-1)}}$ misses what the gradient says of it by up to "
            f"{listed(number(e, '.2f', 'up') for e in found.error.max(['step', 'seed']).values)} "
            f"for the widths {listed(settings.widths)}, where the proof asks for $\\frac14$; and "
            r"$\eta\lVert\nabla f\rVert_F^2$ is "
            f"{number(found.reach.max(), '.2f', 'up')} or less, where its last step needs "
            f"{LEAST_RATIO / 2:g}"
        ),
        outside="the ball of radius $O(L^{-9/4}m^{-3\\alpha/4}\\log^{-3/2}m)$ in which the lemma "
        "has the iterates is, with the constant 1, smaller than the distance of $W^*$",
        holds="After every step the squared distance from $W^*$ has fallen by as much as the "
        "lemma says",
        fails="After some step the squared distance from $W^*$ has fallen by less than the lemma "
        "says.",
    )


def _conversion(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "chen2021-lem6.6",
        r"$\frac1n\sum_i\mathcal E_{\mathcal D}(W^{(i-1)})\le"
        r"\frac4n\sum_i\mathcal E_i(W^{(i-1)})+\frac{4\log(1/\delta)}n$ with probability at least "
        r"$1-\delta$",
        *(_coverage(settings, found, delta) for delta in DELTAS),
        holds="The errors expected are within four times those met, and the logarithm, at least "
        "as often as the lemma says.",
        fails="The errors expected exceed what the lemma allows more often than with probability "
        r"$\delta$.",
    )


def _coverage(settings: Settings, found: xr.Dataset, delta: float) -> Check:
    """Of the lemma at one delta, with the factor that would have been enough."""
    enough = needed(settings, found, delta)
    return with_room(
        probability_at_least(
            f"passes whose errors keep to the lemma, with $\\delta$ = {delta:g}",
            covered(settings, found, delta),
            1 - delta,
        ),
        f"in place of 4, {number(enough, '.2f', 'up')} is enough for a share of {1 - delta:g}",
        f"the factor has room for {number(4 / enough, '.2f', 'down')}",
    )


CONTROLS = {
    "chen2021-lem6.5": Lie(
        "the iterates come no nearer to $W^*$",
        lambda settings, found: found.assign(share=found.earned / found.room),
    ),
    "chen2021-lem6.6": Lie(
        r"every pass errs a tenth more than the lemma allows with the least $\delta$",
        lambda settings, found: found.assign(
            expected=1.1 * lemma_6_6(found.seen, settings.count, DELTAS[-1])
        ),
    ),
}
