"""The width of Theorem 3.3, what suffices beside it, and Remark 4.11 on two widths.

Refuted by another width at which the path of the proof meets its radius, by a run that needs more
than the theorem's width, or by a depth at which the remark names the wrong one of two widths.
"""

import itertools
import math
from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.bounds.chen2021 import (
    equation_6_3_distance,
    equation_6_4_polynomial,
    lemma_6_1_width,
    lemma_6_2_radius,
    proposition_4_10_width,
    remark_4_11_layers,
    remark_4_11_width,
    separated_radius,
    theorem_3_3_iterations,
    theorem_3_3_step_size,
    theorem_3_3_width,
)
from companion.bounds.zou2020 import remark_4_1_accuracy, theorem_4_4_width
from companion.experiments.chen2021._problem import Exponent, HalvesSettings, Layers, draw
from companion.lab.checks import anyway, at_least, at_most, claim, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import (
    Dimension,
    Positive,
    Probability,
    SeveralSizes,
    Share,
    Size,
    Sizes,
)
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.losses import CROSS_ENTROPY
from companion.ntrf import margin_target, smallest_radius
from companion.training import Stop, train

EXPECTED: dict[str, Outcome] = {"chen2021-thm3.3-width": "holds", "chen2021-rem4.11": "holds"}
MAY_BE_MISSING = ("sufficient",)  # where no width was enough
# Of powers up to the 40th, whose logarithms are some hundred.
ROUNDING = 1e3 * np.finfo(float).eps
# Depths at which two widths are compared, over the remark's; and what two terms may add.
BELOW, ABOVE = (0.25, 0.5, 0.9, 1.0), (1.0, 1.1, 2.0, 4.0)
TWO_TERMS = 2 ** (1 / 6)
# n at which both depths are told, for the figure.
EDGE_COUNTS = tuple(round(10 ** (1 + power / 4)) for power in range(21))


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        counts: n of the runs, in increasing order.
        widths: m of the runs, in increasing order.
        reference: m, of the networks whose R is taken.
        layers: L, of the runs.
        accuracy: eps; a run has to come to the mean loss 3 eps.
        delta: failure probability.
        alphas: scaling exponents at which (6.4) is closed.
        radii: R at which it is.
        grid_layers: L at which it is.
        grid_counts: n at which widths are compared.
        accuracies: eps at which widths are compared.
    """

    counts: SeveralSizes = (10, 20, 40)
    widths: SeveralSizes = (2, 4, 8, 16, 32)
    reference: Size = 256
    dimension: Dimension = 10
    layers: Layers = 3
    accuracy: Share = 0.1
    delta: Probability = 0.1
    alphas: Annotated[tuple[Exponent, ...], Field(min_length=1)] = (0.1, 0.25, 0.5)
    radii: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 10.0, 100.0)
    grid_layers: Sizes = (2, 5, 20)
    grid_counts: Sizes = (10, 1000, 100_000)
    accuracies: Annotated[tuple[Share, ...], Field(min_length=1)] = (1e-2, 1e-6, 1e-10)


QUICK = Settings()
PAPER = Settings(seeds=10, counts=(10, 20, 40, 80, 160))


def summary(settings: Settings) -> str:
    """The grids, and the runs."""
    s = settings
    return (
        rf"Powers at $\alpha=$ {listed(s.alphas)}, $R=$ {listed(f'{r:g}' for r in s.radii)} and "
        rf"$L=$ {listed(s.grid_layers)}, and two widths at $n=$ "
        rf"{listed(f'{n:,}' for n in s.grid_counts)} and $\epsilon=$ "
        f"{listed(number(eps, '.0e') for eps in s.accuracies)}, at depths near the remark's, every "
        rf"constant being 1; and gradient descent with $\eta=L^{{-1}}m^{{-1}}$, $\alpha=1/2$ and "
        rf"$L={s.layers}$ on $n=$ {listed(s.counts)} inputs of two halves of the sphere, up to the "
        rf"mean loss $3\epsilon={3 * s.accuracy:g}$, with networks of width {listed(s.widths)}, "
        f"{s.seeds} draws each."
    )


def cost(settings: Settings) -> Cost:
    """Runs that take some hundred steps, and the radii of wide networks."""
    s = settings
    weights = sum(m * (s.dimension + (s.layers - 2) * m) for m in s.widths)
    wide = s.reference * (s.dimension + (s.layers - 2) * s.reference)
    runs = sum(n * (6.0 * 200 * weights + 6 * wide) + 4 * n**2 * s.reference for n in s.counts)
    largest = max(s.counts) * (s.dimension + 4 * s.reference) + 2 * s.reference**2
    return Cost(s.seeds * runs, 8 * largest)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Powers on two grids, and the runs."""
    s = settings
    powers = itertools.product(s.radii, s.grid_layers, s.alphas)
    near = itertools.product(s.grid_counts, s.accuracies, [*BELOW, *[-f for f in ABOVE]])
    parts = [
        _table("width", [_closed(*at) for at in powers]),
        _table("depth", [_compared(*at) for at in near]),
        _edges(s),
        sweep("runs", partial(_train, s, device), seed=s.each_seed, count=s.counts),
    ]
    found = xr.merge(parts).assign_coords(m=list(s.widths))
    # From the least width on, no run of a wider network fails.
    safe = found.reached.all("seed").sortby("m", ascending=False).cumprod("m").sortby("m")
    least = safe.m.where(safe == 1).min("m")
    return found.assign(sufficient=least).assign_attrs(data=s.data)


def _table(axis: str, rows: list[dict[str, float]]) -> xr.Dataset:
    return xr.Dataset({name: (axis, [row[name] for row in rows]) for name in rows[0]})


def _closed(radius: float, layers: int, alpha: float) -> dict[str, float]:
    """Where (6.3) meets the radius of Lemma 6.2: their quotient falls like m^(-alpha / 4)."""
    far = equation_6_3_distance(radius, 1.0, layers, alpha)
    return {
        "printed": equation_6_4_polynomial(radius, layers, alpha),
        "closed": math.pow(far / lemma_6_2_radius(1.0, layers, alpha), 4 / alpha),
    }


def _compared(count: int, accuracy: float, factor: float) -> dict[str, float]:
    """Two widths at a depth below the remark's (factor positive) or above it.

    Their quotient does not hang on phi, which is 1/2 here.
    """
    phi, edge = 0.5, remark_4_11_layers(count, accuracy)
    below = factor > 0
    layers = max(1, math.floor(factor * edge)) if below else math.ceil(-factor * TWO_TERMS * edge)
    own = remark_4_11_width(count, phi, layers)
    return {
        "grid_n": count,
        "grid_layers": layers,
        "below": below,
        "quotient": own / theorem_4_4_width(count, layers, phi, accuracy),
        "expected": layers**6 / (float(count) ** 2 + 1 / accuracy),
        "own": own,
        "by_radius": equation_6_4_polynomial(separated_radius(count, phi), layers, 0.5),
        "other_condition": own / proposition_4_10_width(count, phi, layers, 0.5),
    }


def _edges(settings: Settings) -> xr.Dataset:
    """The remark's depth, and that at which the two widths are equal, against n."""
    s = settings
    edges = [[remark_4_11_layers(n, eps) for n in EDGE_COUNTS] for eps in s.accuracies]
    even = [[(n**2 + 1 / eps) ** (1 / 6) for n in EDGE_COUNTS] for eps in s.accuracies]
    axes = ("accuracy", "edge_n")
    return xr.Dataset(
        {"edge": (axes, edges), "even": (axes, even)},
        {"accuracy": list(s.accuracies), "edge_n": list(EDGE_COUNTS)},
    )


def _train(settings: Settings, device: str, *, seed: int, count: int) -> Variables:
    """R of a wide network, m* with it, and which widths come to 3 eps in the theorem's steps."""
    s = settings.model_copy(update={"count": count})
    wide = draw(s, device, seed=seed, width=s.reference, layers=s.layers)
    target = margin_target(s.accuracy)
    rho = smallest_radius(wide.layer_grams, wide.network.predict(wide.x), wide.y, target).value
    radius = rho * math.sqrt(s.reference)
    budget = math.floor(theorem_3_3_iterations(s.layers, radius, s.accuracy))
    steps = []
    for width in s.widths:
        own = draw(s, device, seed=seed, width=width, layers=s.layers)
        history = train(
            own.network, own.x, own.y, loss=CROSS_ENTROPY, steps=budget,
            step_size=theorem_3_3_step_size(width, s.layers, 0.5),
            stop=Stop(loss_below=3 * s.accuracy, every=1),
        )  # fmt: skip
        steps.append(history.steps if history.ending == "loss" else budget + 1)
    return {
        "radius": radius,
        "budget": budget,
        "asked": theorem_3_3_width(radius, s.layers, 0.5, count, s.delta),
        "steps": ("m", steps),
        "reached": ("m", [taken <= budget for taken in steps]),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Widths at the ends of n, the hidden logarithms, and the remark for one and the same net."""
    s, largest = settings, found.isel(count=-1)
    n, log = 1000, math.log(1000 / (s.delta * 1e-3))
    return {
        "count": s.counts[-1],
        "layers": s.layers,
        "accuracy": s.accuracy,
        "radius": largest.radius.mean(),
        "asked": largest.asked.mean(),
        "sufficient": largest.sufficient,
        "budget": largest.budget.min(),
        "steps": largest.steps.isel(m=-1).max(),
        "log_count": n,
        "log_factor": log**8,
        "rest": TWO_TERMS,
        **{f"even_{hidden}": _even(hidden) for hidden in (1, 4)},
        "remark_even_5": 5**3,
        "remark_even_2": 2**3,
    }


def _even(hidden: int) -> int:
    """The least n from which Remark 4.11's width is the less for zero training error.

    For one and the same network: L of the remark is the hidden layers and one more.
    """
    n = 2
    while remark_4_11_width(n, 0.5, hidden + 1) > theorem_4_4_width(
        n, hidden, 0.5, remark_4_1_accuracy(n)
    ):
        n += 1
    return n


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities of powers to rounding; inequalities at every point."""
    return [_width(settings, found), _remark(found)]


def _width(settings: Settings, found: xr.Dataset) -> Verdict:
    s, asked = settings, found.asked.min("seed")
    other = [
        theorem_3_3_width(radius, layers, alpha, n, s.delta)
        / lemma_6_1_width(layers, alpha, n, s.delta)
        for radius, layers, alpha, n in itertools.product(
            s.radii, s.grid_layers, s.alphas, s.grid_counts
        )
        if radius >= 1
    ]
    told = listed(f"{width:.0f}" for width in found.sufficient.values)
    return claim(
        "chen2021-thm3.3-width",
        r"$m^*=\tilde O([R^4L^{11}]^{1/\alpha}\log^{2/(2-\alpha)}(n/\delta))$: from there on the "
        r"path $L^{1/2}Rm^{-\alpha}$ is within $\tau=L^{-9/4}m^{-3\alpha/4}$",
        anyway(
            identity(
                "the printed polynomial and the width at which the path is the radius, as a share",
                np.log(found.printed / found.closed),
                ROUNDING,
            )
        ),
        anyway(at_least("the printed width over that of (6.2)", np.array(other), 1)),
        at_most("the least width that was enough, over the printed one", found.sufficient / asked),
        note(f"for $n$ = {listed(s.counts)} the widths {told} were enough"),
        holds="The printed width is where the proof closes. With its constant put at 1 it is "
        f"{number(asked[-1], '.0e')} at least for $n={s.counts[-1]}$, where "
        f"{number(found.sufficient[-1], '.0f')} units were enough.",
        fails="The printed width is not where the proof closes, or runs need more.",
    )


def _remark(found: xr.Dataset) -> Verdict:
    below = found.below == 1
    return claim(
        "chen2021-rem4.11",
        r"$m=\tilde\Omega(L^{22}n^{12}\phi^{-4})$ at $\alpha=\frac12$, which is less than "
        r"$n^{14}L^{16}\phi^{-4}+n^{12}L^{16}\phi^{-4}\epsilon^{-1}$ if and only if "
        r"$L\le\tilde O(n^{1/3}\vee\epsilon^{-1/6})$",
        anyway(
            identity(
                r"the printed width and (6.4) at $R=n^{3/2}\phi^{-1/2}$, as a share",
                np.log(found.own / found.by_radius),
                ROUNDING,
            )
        ),
        anyway(
            identity(
                r"the quotient of the two widths and $L^6/(n^2+\epsilon^{-1})$, as a share",
                np.log(found.quotient / found.expected),
                ROUNDING,
            )
        ),
        anyway(
            at_most(
                r"that quotient for $L\le\max(n^{1/3},\epsilon^{-1/6})$",
                found.quotient.where(below, drop=True),
                1 + ROUNDING,
            )
        ),
        anyway(
            at_least(
                r"that quotient for $L\ge2^{1/6}\max(n^{1/3},\epsilon^{-1/6})$",
                found.quotient.where(~below, drop=True),
                1 - ROUNDING,
            )
        ),
        anyway(
            at_least("the printed width over that of Proposition 4.10", found.other_condition, 1)
        ),
        note(
            rf"between the two depths, a factor {TWO_TERMS:.2f} apart, the answer hangs on "
            "constants"
        ),
        holds="The printed width is that of (6.4), and it is the less up to the depth that the "
        r"remark names, and the more from $2^{1/6}$ times that on.",
        fails="The printed width is not that of (6.4), or the remark names the wrong depth.",
    )


CONTROLS = {
    "chen2021-thm3.3-width": Lie(
        "the printed width has one more power of $R$",
        lambda settings, found: found.assign(
            printed=found.printed * np.resize(settings.radii[-1:], found.printed.shape)
        ),
    ),
    "chen2021-rem4.11": Lie(
        "the printed width has one more power of $L$",
        lambda settings, found: found.assign(
            own=found.own * found.grid_layers, quotient=found.quotient * found.grid_layers
        ),
    ),
}
