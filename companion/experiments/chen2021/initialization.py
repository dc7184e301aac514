"""Outputs at initialisation, and gradients in the ball around it (Lemmas A.1 and B.1).

Refuted by outputs that grow faster than m^(alpha - 1/2) with the width or than sqrt(log n) with the
number of inputs, or by gradients that outgrow m^alpha at the start, anywhere that we find in a
ball, or along gradient descent.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.draws import independent_seed
from companion.experiments.chen2021._linearity import (
    asked_radius,
    moved,
    random_direction,
    turned_on,
)
from companion.experiments.chen2021._problem import Exponent, HalvesSettings, Layers, draw
from companion.experiments.zou2018._flips import ROOM
from companion.experiments.zou2018._problem import Problem
from companion.kernels import layer_grams
from companion.lab.checks import (
    claim,
    exponent_at_most,
    note,
    probability_at_least,
    slack_factor,
    with_room,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Positive, Probability, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import frobenius_distances
from companion.networks import ReLUNetwork

EXPECTED: dict[str, Outcome] = {
    "chen2021-lemA.1": "holds",
    "chen2021-lemB.1": "outside-regime",
}
CONTROLS = {
    "chen2021-lemA.1": Lie(
        r"every output is multiplied by $m^{1/4}$",
        lambda settings, found: found.assign(output=found.output * found.width**0.25),
    ),
    "chen2021-lemB.1": Lie(
        r"all norms at distance $Rm^{-\alpha}$ are multiplied by $m^{0.2}$",
        lambda settings, found: found.assign(ball=found.ball * found.wide**0.2),
    ),
}
# Where in the ball gradients are looked at, and what it is called.
PLACES = {
    "start": "at initialisation",
    "random": r"in a random direction at distance $Rm^{-\alpha}$",
    "turned": r"with many units turned on, at distance $Rm^{-\alpha}$",
    "path": "along gradient descent",
}
# What the largest of few networks may be off an exponent by, as it is a noisy one.
QUANTILE_ROOM = 0.1


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L, all weight matrices.
        alphas: of the factor m^alpha.
        widths: m, in increasing order.
        counts: n, of training sets whose largest outputs are compared.
        count_width: m, of their networks.
        draws: networks of every seed, size and alpha, whose outputs are looked at.
        delta: failure probability.
        ball_widths: m, of networks whose gradients are looked at.
        reach: R of the ball.
        step_size: eta as a multiple of 1 / (L m^(2 alpha)).
        steps: of gradient descent.
        every: gradients are looked at every so many steps.
    """

    seeds: Size = 5
    layers: Layers = 3
    alphas: tuple[Exponent, ...] = (0.25, 0.5)
    widths: SeveralSizes = (32, 64, 128, 256)
    counts: SeveralSizes = (5, 20, 80, 320)
    count_width: Size = 128
    draws: Count = 30
    delta: Probability = 0.1
    ball_widths: SeveralSizes = (32, 64, 128, 256)
    reach: Positive = 2.0
    step_size: Positive = 1.0
    steps: Size = 40
    every: Size = 8

    @property
    def asked(self) -> float:
        """Lemma A.1's L log(n L / delta), its constant put at 1, over the width it is run at."""

        def needed(count: int) -> float:
            return self.layers * math.log(count * self.layers / self.delta)

        return max(needed(self.count) / self.widths[0], needed(self.counts[-1]) / self.count_width)


QUICK = Settings()
PAPER = Settings(
    seeds=10,
    layers=5,
    widths=(64, 128, 256, 512, 1024),
    counts=(5, 20, 80, 320, 1280),
    count_width=512,
    draws=100,
    ball_widths=(64, 128, 256, 512, 1024),
    steps=200,
    every=20,
)


def cost(settings: Settings) -> Cost:
    """Forward passes of many networks; gradients, and steps of gradient descent, of few."""
    s = settings

    def weights(width: int) -> float:
        return width * (s.dimension + (s.layers - 2) * width)

    outputs = len(s.alphas) * s.count * sum(weights(width) for width in s.widths)
    outputs += sum(s.counts) * weights(s.count_width)
    looks = 3 + s.steps // s.every
    norms = 2 * s.layers * s.count * sum(s.ball_widths)
    passes = looks * 2 + 3 * s.steps + 4
    ball = s.count * (passes * sum(weights(width) for width in s.ball_widths) + looks * norms)
    flops = 2.0 * s.seeds * (s.draws * outputs + len(s.alphas) * ball)
    largest = max(
        5 * weights(s.ball_widths[-1]), 2 * weights(s.widths[-1]), 4 * s.counts[-1] * s.count_width
    )
    return Cost(flops, 8 * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Networks of $L$ = {s.layers} weight matrices, $m$ = {listed(s.widths)}, on $n$ = "
        f"{s.count} inputs {s.data}, and $m$ = {s.count_width} on {listed(s.counts)} inputs, drawn "
        f"{s.draws * s.seeds} times each, with "
        rf"$\alpha$ = {listed(f'{each:g}' for each in s.alphas)}. Gradients of {s.seeds} networks "
        rf"of width {listed(s.ball_widths)}: at initialisation, at a distance of {s.reach:g} "
        rf"$m^{{-\alpha}}$ from it, and along {s.steps} steps of gradient descent with "
        rf"$\eta={s.step_size:g}/(Lm^{{2\alpha}})$."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Outputs over widths and numbers of inputs; norms of gradients in the ball, over widths."""
    s = settings
    axes = {"seed": s.each_seed}
    outputs = sweep("outputs", partial(_outputs, s, device), **axes, alpha=s.alphas, width=s.widths)
    counts = sweep("counts", partial(_largest, s, device), **axes, count=s.counts)
    ball = sweep("ball", partial(_ball, s, device), **axes, alpha=s.alphas, wide=s.ball_widths)
    found = xr.merge([outputs, counts, ball])
    return found.assign_coords(place=list(PLACES)).assign_attrs(data=s.data)


def _outputs(settings: Settings, device: str, *, seed: int, alpha: float, width: int) -> Variables:
    s = settings
    rows = [
        draw(s, device, seed=own, width=width, layers=s.layers, alpha=alpha)
        for own in (independent_seed(seed, k, round(1000 * alpha)) for k in range(s.draws))
    ]
    found = [problem.network.predict(problem.x).cpu().numpy() for problem in rows]
    return {"output": (("draw", "input"), np.stack(found))}


def _largest(settings: Settings, device: str, *, seed: int, count: int) -> Variables:
    """max_i |f(x_i)| of so many inputs at alpha = 1/2, network by network."""
    s = settings.override({"count": count})
    largest = []
    for number_ in range(s.draws):
        own = independent_seed(seed, number_)
        problem = draw(s, device, seed=own, width=s.count_width, layers=s.layers)
        largest.append(float(problem.network.predict(problem.x).abs().max()))
    return {"largest": ("draw", largest)}


def _ball(settings: Settings, device: str, *, seed: int, alpha: float, wide: int) -> Variables:
    """Largest gradient norms over m^alpha at four places, and along gradient descent."""
    s = settings
    problem = draw(s, device, seed=seed, width=wide, layers=s.layers, alpha=alpha)
    network, x, scale = problem.network, problem.x, wide**alpha
    radius = s.reach / scale
    there = moved(network, random_direction(network, seed), radius)
    turned = [gradient_norms(turned_on(network, row, radius), row).max() for row in x[:, None]]
    reached, norms = _path(s, problem, s.step_size / (s.layers * scale**2))
    places = [
        float(gradient_norms(network, x).max()),
        float(gradient_norms(there, x).max()),
        float(max(turned)),
        max(norms),
    ]
    return {
        "ball": ("place", np.array(places) / scale),
        "reached": ("look", np.array(reached) * scale),
        "along": ("look", np.array(norms) / scale),
    }


def _path(settings: Settings, problem: Problem, eta: float) -> tuple[list[float], list[float]]:
    """Along gradient descent the largest distance of a layer, and the largest gradient norm."""
    reached, norms = [], []
    for moment in problem.moments(eta):
        if moment.step % settings.every == 0:
            reached.append(float(frobenius_distances(moment).max()))
            norms.append(float(gradient_norms(moment.network, problem.x).max()))
        if moment.step >= settings.steps:
            break
    return reached, norms


def gradient_norms(network: ReLUNetwork, x: Tensor) -> Tensor:
    """||grad_{W_l} f(x_i)||_F of every layer and input, shape (L, n)."""
    return torch.stack([gram.diagonal().sqrt() for gram in layer_grams(network, x)])


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents of outputs and of gradients, and how far training goes."""
    s = settings
    path = found.isel(alpha=-1)
    told: dict[str, object] = {
        "reach": s.reach,
        "counts_exponent": exponent(_quantile(settings, found), "count"),
        "asked": s.asked,
        "asked_radius": asked_radius(s.layers, s.ball_widths[-1]),
        "least_radius": s.reach * s.ball_widths[-1] ** -s.alphas[-1],
        "reached": path.reached.isel(look=-1, wide=-1).mean(),
        "along_first": path.along.isel(look=0, wide=-1).mean(),
        "along_last": path.along.isel(look=-1, wide=-1).mean(),
        "turned": path.ball.sel(place="turned").isel(wide=-1).mean(),
    }
    for name, alpha in (("least_alpha", s.alphas[0]), ("largest_alpha", s.alphas[-1])):
        told[f"output_{name}"] = exponent(_root_mean_square(found.output).sel(alpha=alpha))
    return told


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Exponents one-sided, and the outputs of all inputs by their frequency."""
    return [_lemma_a_1(settings, found), _lemma_b_1(settings, found)]


def _root_mean_square(outputs: xr.DataArray) -> xr.DataArray:
    """Over the inputs and the networks of a seed."""
    return (outputs**2).mean(["draw", "input"], skipna=False) ** 0.5


def _quantile(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """What max_i |f(x_i)| exceeds in a share delta of the networks, over sqrt(log(n/delta))."""
    most = found.largest.quantile(1 - settings.delta, "draw", skipna=False)
    ratio: xr.DataArray = most / np.log(found["count"] / settings.delta) ** 0.5
    return ratio


def _kept(
    settings: Settings, sizes: str, largest: xr.DataArray, count: xr.DataArray | int, scale: Any
) -> Check:
    """How often all outputs keep to the union bound of Gaussian ones."""
    s = settings
    bound = scale * np.log(2 * count / s.delta) ** 0.5 * math.sqrt(2)
    share = largest / bound
    usual = float(share.quantile(1 - s.delta, skipna=False))
    return with_room(
        probability_at_least(
            rf"networks of {sizes} in which no output is larger than "
            r"$m^{\alpha-1/2}\sqrt{2\log(2n/\delta)}$",
            share <= 1,
            1 - s.delta,
        ),
        f"the largest output of all is {number(share.max(), '.2f', 'up')} of that",
        rf"the quantile at $1-\delta$ has room for {slack_factor(1.0, usual)}",
    )


def _lemma_a_1(settings: Settings, found: xr.Dataset) -> Verdict:
    s, root = settings, _root_mean_square(found.output)
    most = np.abs(found.output).max("input", skipna=False)
    asked = f"{number(s.asked, '.2g')} times the widths that were run are asked for"
    return claim(
        "chen2021-lemA.1",
        r"$\lvert f_{W^{(0)}}(x_i)\rvert\le Cm^{\alpha-1/2}\sqrt{\log(n/\delta)}$ for all $i$ with "
        r"probability $1-\delta$ if $m\ge\bar CL\log(nL/\delta)$; the companion puts the constant "
        "to that of Gaussian outputs",
        *(
            exponent_at_most(
                rf"the root mean square output at $\alpha={alpha:g}$ in $m$",
                root.sel(alpha=alpha), alpha - 0.5, QUANTILE_ROOM,
            )
            for alpha in s.alphas
        ),
        exponent_at_most(
            r"what $\max_i\lvert f(x_i)\rvert$ exceeds with probability $\delta$, over "
            r"$\sqrt{\log(n/\delta)}$, in $n$",
            _quantile(s, found), 0, QUANTILE_ROOM, "count",
        ),
        _kept(s, "all widths", most, s.count, found.width ** (found.alpha - 0.5)),
        _kept(s, "all numbers of inputs", found.largest, found["count"], 1.0),
        outside=asked if s.asked > 1 else "",
        holds=r"Outputs at initialisation are of order $m^{\alpha-1/2}$, the largest of them grows "
        r"no faster than $\sqrt{\log n}$, and all keep to the bound of Gaussian ones as often as "
        "they should.",
        fails="Outputs at initialisation are larger than is claimed.",
    )  # fmt: skip


def _lemma_b_1(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    along = found.along.isel(wide=-1, alpha=-1)
    asked = asked_radius(s.layers, s.ball_widths[-1])
    least = s.reach * s.ball_widths[-1] ** -max(s.alphas)
    outside = (
        f"with its constant read as 1 the ball of Lemma 6.1 has a radius of {number(asked, '.0e')}"
        f" at $m={s.ball_widths[-1]}$, and that of these runs is {number(least, '.2g')} and more"
        if least > asked
        else ""
    )
    return claim(
        "chen2021-lemB.1",
        r"$\lVert\nabla_{W_l}f_W(x_i)\rVert_F\le Cm^\alpha$ for all $l$ and $i$ and all $W$ in a "
        "ball around initialisation, the constant unknown: over $m^\\alpha$ the largest norm does "
        "not grow with $m$",
        *(
            exponent_at_most(
                rf"the largest norm over $m^\alpha$, {called}, $\alpha={alpha:g}$, in $m$",
                found.ball.sel(place=place, alpha=alpha), 0, ROOM, "wide",
            )
            for place, called in PLACES.items()
            for alpha in s.alphas
        ),
        note(
            r"along gradient descent the largest norm over $m^\alpha$ goes from "
            f"{spread(along.isel(look=0), '.2f')} to {spread(along.isel(look=-1), '.2f')} in the "
            "widest networks"
        ),
        outside=outside,
        holds=r"Over $m^\alpha$ the largest gradient norm does not grow with the width, at "
        "initialisation, in the ball, or along gradient descent",
        fails=r"Somewhere in the ball gradients grow faster with the width than $m^\alpha$.",
    )  # fmt: skip
