"""Assumption 4.3 and Corollary 4.4: the margin of the gradients, and the radius that it gives.

Refuted by a margin that vanishes with the width, or falls below what the distance between the
halves guarantees; or by a radius that is not affine in log(1 / eps), or grows like a power of n.
"""

import math
from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import AfterValidator, Field

from companion.datasets import DataSet
from companion.experiments.chen2021._increments import increment
from companion.experiments.chen2021._problem import HalvesSettings, Labels, Layers, draw, on_data
from companion.experiments.zou2018._problem import Problem
from companion.kernels import infinite_width_ntk, lambda_max, lambda_min
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    identity,
    note,
    true,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Dimension, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.ntrf import Optimum, margin_target, ntrf_margin, smallest_radius

EXPECTED: dict[str, Outcome] = {
    "chen2021-ass4.3": "holds",
    "chen2021-ass4.3-excluded": "holds",
    "chen2021-cor4.4": "holds",
}

LABELS: tuple[Labels, ...] = ("halves", "random")
GAP = 1e-8
# The slowest power of a size that counts as growth: ten times the size make 26 per cent.
GROWTH = 0.1
# Networks of finite width have this share of what is guaranteed in the limit.
HALF = 0.5
# By how much the last slope in log(1 / eps) may exceed the first: to a tenth, affine.
BEND = 1.1


def _decreasing(losses: tuple[float, ...]) -> tuple[float, ...]:
    if any(next_one >= loss for loss, next_one in pairwise(losses)):
        raise ValueError("the losses must decrease")
    return losses


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L, all weight matrices.
        counts: n, in increasing order.
        width: m, where the number of inputs varies.
        widths: m, in increasing order, for `count` inputs.
        losses: eps, in decreasing order; the smallest also where the number of inputs varies.
    """

    seeds: Size = 4
    dimension: Dimension = 20
    gap: Share = 0.3
    layers: Layers = 3
    counts: SeveralSizes = (10, 20, 40, 80)
    width: Size = 256
    widths: SeveralSizes = (64, 128, 256, 512, 1024)
    losses: Annotated[tuple[Share, ...], Field(min_length=3), AfterValidator(_decreasing)] = (
        *(1e-1, 1e-2, 1e-3, 1e-4),
    )


QUICK = Settings()
PAPER = Settings(
    seeds=8,
    counts=(*QUICK.counts, 160, 320),
    width=1024,
    widths=(*QUICK.widths, 2048),
    losses=(*QUICK.losses, 1e-6, 1e-8, 1e-12),
)


def cost(settings: Settings) -> Cost:
    """Products of (n, m) and (m, m) for Gram matrices and one V; Newton steps with (n, n)."""
    s = settings
    hidden = s.layers - 2  # the matrices that are square
    grams = (
        4
        * hidden
        * (len(LABELS) * sum(s.counts) * s.width**2 + 2.5 * s.count * sum(m**2 for m in s.widths))
    )
    # The products of signals and outputs with each other.
    pairs = 4 * s.layers * s.width * len(LABELS) * sum(n**2 for n in s.counts)
    return Cost(s.seeds * (grams + pairs), 8 * hidden * 3 * max(s.width, s.widths[-1]) ** 2)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"The margin of the gradients of networks of $L={s.layers}$ weight matrices: for $n$ = "
        f"{listed(s.counts)} inputs at $m={s.width}$, labelled by their half or at random, and for "
        f"$n={s.count}$ at $m$ = {listed(s.widths)}; and the radius for losses below $\\epsilon$ = "
        f"{listed(map(number, s.losses))}. Data ({s.data}) and networks are drawn anew for each of "
        f"{s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Margins over n and m, radii over eps and n, and a problem that cannot be separated."""
    s, seeds = settings, settings.each_seed
    by_count = sweep(
        "counts", partial(_by_count, s, device), seed=seeds, labels=LABELS, count=s.counts
    )
    by_width = sweep("widths", partial(_by_width, s, device), seed=seeds, width=s.widths)
    by_loss = sweep("losses", partial(_by_loss, s, device), seed=seeds)
    twins = sweep("twins", partial(_contradiction, s, device), seed=seeds)
    return xr.merge([by_count, by_width, by_loss, twins]).assign_attrs(data=s.data)


def _by_count(
    settings: Settings, device: str, *, seed: int, labels: Labels, count: int
) -> Variables:
    """The margin for n inputs, what bounds it, and the radius for the smallest loss."""
    s = settings.model_copy(update={"count": count})
    problem = draw(s, device, seed=seed, width=s.width, layers=s.layers, labels=labels)
    margin, scale = ntrf_margin(problem.gram, problem.y), problem.network.output_gain
    return {
        "margin": margin.value / scale,
        "margin_gap": margin.gap / margin.value,
        "least": math.sqrt(lambda_min(problem.gram) / count) / scale,
        "most": math.sqrt(lambda_max(problem.gram) / count) / scale,
        "reach": _radius(problem, s.losses[-1]).value * margin.value,
    }


def _by_width(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """The margin at width m, its limit, and the network that the proof of Corollary 4.4 builds."""
    s = settings
    problem = draw(s, device, seed=seed, width=width, layers=s.layers)
    margin, scale = ntrf_margin(problem.gram, problem.y), problem.network.output_gain
    limit = infinite_width_ntk(problem.x, depth=s.layers - 1, parameterisation="chen")
    built = increment(
        problem.network, problem.x, problem.y, margin.coefficients,
        _needed(problem, s.losses[0]) / margin.value,
    )  # fmt: skip
    return {
        "wide_margin": margin.value / scale,
        "limit": ntrf_margin(limit, problem.y).value,
        "built_loss": float(built.losses.max()) / s.losses[0],
        "built_error": built.error,
    }


def _by_loss(settings: Settings, device: str, *, seed: int) -> Variables:
    """The least radius for every eps, times the margin, and the proof's."""
    s = settings
    problem = draw(s, device, seed=seed, width=s.width, layers=s.layers)
    margin = ntrf_margin(problem.gram, problem.y).value
    radii = [_radius(problem, loss) for loss in s.losses]
    needed = np.array([_needed(problem, loss) for loss in s.losses])
    return {
        "radius": ("loss", margin * np.array([radius.value for radius in radii])),
        "radius_gap": ("loss", [radius.gap / radius.value for radius in radii]),
        "proof": ("loss", needed),
    }


def _contradiction(settings: Settings, device: str, *, seed: int) -> Variables:
    """The same inputs, the first two equal with different labels; the dual variables as a proof."""
    s = settings
    plain = draw(s, device, seed=seed, width=s.width, layers=s.layers)
    x, y = plain.x.clone(), plain.y.clone()
    x[1], y[1] = x[0], -y[0]
    problem = on_data(DataSet(x, y, s.data), s, device, seed=seed, width=s.width, layers=s.layers)
    margin = ntrf_margin(problem.gram, y)
    proof = increment(problem.network, x, y, (margin.dual.to(y) * y)[None])
    alone = increment(problem.network, x, y, torch.eye(s.count).to(y)[:1])
    together = float(torch.linalg.vector_norm(proof.norms))
    return {
        "contradiction": margin.upper / problem.network.output_gain,
        "certificate": together / float(torch.linalg.vector_norm(alone.norms)),
        "infinite": math.isinf(_radius(problem, s.losses[0]).value),
    }


def _radius(problem: Problem, loss: float) -> Optimum:
    """The least rho for losses at most eps / 2 of a member of the class."""
    predictions = problem.network.predict(problem.x)
    return smallest_radius(problem.layer_grams, predictions, problem.y, margin_target(loss / 2))


def _needed(problem: Problem, loss: float) -> float:
    """The margin that the proof asks of <df/dW, V>: that of eps / 2, and what f may lack of 0."""
    lacking = float((-problem.y * problem.network.predict(problem.x)).max())
    return margin_target(loss / 2) + max(lacking, 0.0)


def guaranteed(gap: float, layers: int) -> float:
    """A floor of the limit margin, whatever n is: the gap times the root of K'(0).

    The limit kernel is a power series in x . x' with coefficients that are not negative. What it
    has beyond its linear term K'(0) x . x' is therefore a kernel, too, and x_1 / sqrt(K'(0)) is a
    function of norm 1 at most, whose margin that is.

    Args:
        gap: the least distance from the plane between the halves.
        layers: L.
    """
    step = 1e-4
    ends = [(step * sign, math.sqrt(1 - step**2)) for sign in (1, -1)]
    x = torch.tensor([(1.0, 0.0), *ends], dtype=torch.float64)
    kernel = infinite_width_ntk(x, depth=layers - 1, parameterisation="chen")
    return gap * math.sqrt(float(kernel[0, 1] - kernel[0, 2]) / (2 * step))


def local_slopes(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Slopes of R gamma in log(1 / eps) between neighbouring losses, dims (seed, loss)."""
    slopes: xr.DataArray = found.radius.diff("loss") / np.diff(-np.log(settings.losses))
    return slopes


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Margins at both ends, their exponents, and the slope of the radius."""
    s, halves = settings, found.sel(labels="halves")
    random, slopes = found.sel(labels="random"), local_slopes(settings, found)
    floor = guaranteed(s.gap, s.layers)
    widest = found.isel(width=-1)
    return {
        "gap": s.gap,
        "fewest": s.counts[0],
        "inputs": s.counts[-1],
        "true_exponent": exponent(halves.margin, "count"),
        "random_exponent": exponent(random.margin, "count"),
        "true_first": halves.margin.isel(count=0).mean(),
        "true_last": halves.margin.isel(count=-1).mean(),
        "random_first": random.margin.isel(count=0).mean(),
        "random_last": random.margin.isel(count=-1).mean(),
        "guaranteed": floor,
        "over_guaranteed": (halves.margin / floor).min(),
        "margin_gap": found.margin_gap.max(),
        "over_least": (found.margin / found.least).mean(),
        "below_most": (found.most / found.margin).mean(),
        "off_limit": abs(widest.wide_margin / widest.limit - 1).max(),
        "contradiction": found.contradiction.max(),
        "certificate": found.certificate.max(),
        "slope": slopes.mean(),
        "bend": (slopes.isel(loss=-1) / slopes.isel(loss=0)).max(),
        "root": 1 / math.sqrt(s.layers),
        "reach_exponent": exponent(halves.reach, "count"),
        "random_reach_exponent": exponent(random.reach, "count"),
        "built_loss": widest.built_loss.max(),
        "built_error": widest.built_error.max(),
        "first_loss": s.losses[0],
        "last_loss": s.losses[-1],
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Bounds at every margin, exponents from one side, the shape of the radius."""
    return [
        _assumption(settings, found),
        _excluded(settings, found),
        _corollary(settings, found),
    ]


def _assumption(settings: Settings, found: xr.Dataset) -> Verdict:
    s, halves = settings, found.sel(labels="halves")
    return claim(
        "chen2021-ass4.3",
        r"some $U^*$ with $\sum_l\lVert U_l^*\rVert_F^2=1$ has $y_i\langle\nabla f_{W^{(0)}}(x_i),"
        r"U^*\rangle\ge m^\alpha\gamma$ for all $i$, with an absolute constant $\gamma>0$",
        identity("duality gap as a share of the margin", found.margin_gap, GAP, "asked for"),
        anyway(
            at_least(
                r"the margin over $m^{-\alpha}\sqrt{\lambda_{\min}/n}$",
                found.margin / found.least,
                1 - GAP,
            )
        ),
        anyway(
            at_most(
                r"the margin over $m^{-\alpha}\sqrt{\lambda_{\max}/n}$",
                found.margin / found.most,
                1 + GAP,
            )
        ),
        at_least(
            "margin of the halves over what their gap guarantees in the limit, for every $n$",
            halves.margin / guaranteed(s.gap, s.layers),
            HALF,
        ),
        exponent_at_most("the reciprocal of the margin in $m$", 1 / found.wide_margin, 0, GROWTH),
        note(
            "The margin in the widest networks is "
            f"{spread((found.wide_margin / found.limit).isel(width=-1), '.3f')} of its limit"
        ),
        holds="The halves have a margin that vanishes neither with the width nor with the number "
        "of inputs.",
        fails="The margin of the halves vanishes with the width or the number of inputs, or is "
        "not between its bounds.",
    )


def _excluded(settings: Settings, found: xr.Dataset) -> Verdict:
    random = found.sel(labels="random")
    return claim(
        "chen2021-ass4.3-excluded",
        "the margin is 0 where two equal inputs have different labels, and that of random labels "
        r"falls at least like $n^{-1/2}$",
        identity("the margin of contradictory labels and 0", found.contradiction, 1e-6, "rounding"),
        identity(
            "the combination of gradients that proves it and 0, over one gradient",
            found.certificate,
            1e-6,
            "rounding",
        ),
        true("with them no radius is large enough for losses below $\\epsilon$", found.infinite),
        exponent_at_most(
            "the margin of random labels in $n$", random.margin, -0.5, 0.05, along="count"
        ),
        holds="Contradictory labels have margin 0, with a proof; and random labels have margins "
        r"that fall like $n^{-1/2}$ or faster.",
        fails="Contradictory labels have a margin, or the margin of random labels falls more "
        r"slowly than $n^{-1/2}$.",
    )


def _corollary(settings: Settings, found: xr.Dataset) -> Verdict:
    slopes, halves = local_slopes(settings, found), found.sel(labels="halves")
    bend = slopes.isel(loss=-1, drop=True) / slopes.isel(loss=0, drop=True)
    return claim(
        "chen2021-cor4.4",
        r"under Assumption 4.3, Assumption 3.2 is met with $R=C\gamma^{-1}"
        r"[\log^{1/2}(n/\delta)+\log(1/\epsilon)]$",
        identity("duality gap as a share of the radius", found.radius_gap, GAP, "asked for"),
        anyway(
            at_most(
                r"$R\gamma$ over the margin of $\epsilon/2$ plus what $f_{W^{(0)}}$ lacks of 0",
                found.radius / found.proof,
                1 + GAP,
            )
        ),
        at_most(r"slope of $R\gamma$ in $\log(1/\epsilon)$", slopes, BEND),
        at_most("its last slope over its first", bend, BEND),
        exponent_at_most(
            rf"$R\gamma$ in $n$ at $\epsilon={settings.losses[-1]:g}$",
            halves.reach,
            0,
            GROWTH,
            along="count",
        ),
        at_most(
            r"largest loss of the widest networks with $W^{(0)}+V$, $V$ the proof's, over "
            r"$\epsilon$",
            found.built_loss.isel(width=-1),
            1,
        ),
        holds=rf"$R\gamma$ is affine in $\log(1/\epsilon)$, with a slope of "
        f"{spread(slopes.mean('loss'), '.2f')}, and no power of $n$; the networks of the proof "
        r"have losses below $\epsilon$.",
        fails=r"$R\gamma$ is not affine in $\log(1/\epsilon)$, or grows like a power of $n$, or a "
        r"network of the proof has a loss above $\epsilon$.",
    )


CONTROLS = {
    "chen2021-ass4.3": Lie(
        "every margin is multiplied by $m^{-1/4}$",
        lambda settings, found: found.assign(wide_margin=found.wide_margin / found.width**0.25),
    ),
    "chen2021-ass4.3-excluded": Lie(
        "every margin of random labels is multiplied by $n^{1/3}$",
        lambda settings, found: found.assign(
            margin=found.margin * (found["count"] ** (1 / 3)).where(found.labels == "random", 1.0)
        ),
    ),
    "chen2021-cor4.4": Lie(
        r"every radius is multiplied by $\sqrt{\log(1/\epsilon)}$, and that of the proof with it",
        lambda settings, found: found.assign(
            radius=found.radius * np.sqrt(-np.log(settings.losses)),
            proof=found.proof * np.sqrt(-np.log(settings.losses)),
        ),
    ),
}
