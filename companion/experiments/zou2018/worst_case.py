"""One wide layer: how many units the worst perturbation switches, and how many a random one.

Refuted by shares that are not those derived, or by other powers of tau.
"""

from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.experiments.zou2018._flips import (
    ROOM,
    attack_patterns,
    attack_together,
    directions,
    moved,
    patterns,
    random_share,
    switched,
    united,
    worst_share,
)
from companion.experiments.zou2018._problem import DeepSettings, draw
from companion.lab.checks import claim, equal, exponent_near
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Dimension, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import number

EXPECTED: dict[str, Outcome] = {"zou2018-thm5.3iii-order": "holds"}
CONTROLS: dict[str, Lie] = {
    "zou2018-thm5.3iii-order": Lie(
        "the worst perturbation switches 3 % more",
        lambda settings, found: found.assign(worst=1.03 * found.worst),
    ),
}
ATTACKED = 4  # inputs whose units are sorted; a wide layer has enough of them


class Settings(DeepSettings):
    """What is run.

    Attributes:
        seeds: draws of data and network.
        width: m of the only layer.
        radii: tau, in increasing order.
        counts: numbers of inputs whose units one perturbation switches, at most n and d.
    """

    seeds: Count = 20
    dimension: Dimension = 24
    width: Size = 8192
    radii: Annotated[tuple[Share, ...], Field(min_length=3)] = (0.01, 0.02, 0.05, 0.1)
    counts: SeveralSizes = (1, 2, 4, 8)


QUICK = Settings()
PAPER = Settings(seeds=40, width=65536, radii=(0.003, 0.01, 0.03, 0.1))


def cost(settings: Settings) -> Cost:
    """Products of inputs and the layer, and an orthogonal matrix of the layer's shape."""
    s = settings
    passes = s.count * (2 * len(s.radii) + 1) + 2 * ATTACKED * len(s.radii) + sum(s.counts)
    flops = 2.0 * s.seeds * s.width * s.dimension * (passes + 2 * s.dimension)
    return Cost(flops, 8 * s.width * (3 * s.count + 4 * s.dimension))


def summary(settings: Settings) -> str:
    """The layer, and how far it is moved."""
    s = settings
    return (
        f"Networks of one layer of width $m$ = {s.width} on $n$ = {s.count} inputs in dimension "
        rf"$d$ = {s.dimension}, {s.seeds} draws of both. The layer is moved by $\tau$ from "
        f"{s.radii[0]:g} to {s.radii[-1]:g} in spectral norm, in the worst direction for each of "
        f"{ATTACKED} inputs, in the worst for several at once, and at random. Nothing is trained, "
        "and labels play no part."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Count the units that switch."""
    s = settings
    found = sweep("runs", partial(_one, s, device), seed=s.each_seed)
    return found.assign_attrs(data=s.data)


def _one(settings: Settings, device: str, *, seed: int) -> Variables:
    """Shares switched by the worst and by a random perturbation, and unions over inputs."""
    s = settings
    problem = draw(s, device, seed=seed, width=s.width, depth=1)
    network, x = problem.network, problem.x
    (on,), units = patterns(network, x), directions(network, seed)
    few = x[:ATTACKED]
    worst = [attack_patterns(network, few, radius).patterns for radius in s.radii]
    blind = [patterns(moved(network, units, radius), x) for radius in s.radii]
    together = [attack_together(network, x[:count], s.radii[0]).any(dim=0) for count in s.counts]
    return {
        "radius": ("radius", list(s.radii)),
        "inputs": ("inputs", list(s.counts)),
        "worst": ("radius", np.concatenate([switched([on[:ATTACKED]], each) for each in worst])),
        "blind": ("radius", np.concatenate([switched([on], each) for each in blind])),
        "worst_derived": ("radius", [worst_share(radius) for radius in s.radii]),
        "blind_derived": ("radius", [random_share(radius) for radius in s.radii]),
        "worst_union": ("inputs", [float(each.double().mean()) for each in together]),
        "blind_union": ("inputs", united(on != blind[0][0], s.counts)),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents in tau and in n, shares at the least tau."""
    f, s = found, settings
    return {
        "width": s.width,
        "inputs": s.counts[-1],
        "least_radius": s.radii[0],
        "worst_exponent": exponent(f.worst, "radius"),
        "blind_exponent": exponent(f.blind, "radius"),
        "worst_least": f.worst.isel(radius=0).mean(),
        "blind_least": f.blind.isel(radius=0).mean(),
        "worst_union": exponent(f.worst_union, "inputs"),
        "blind_union": exponent(f.blind_union, "inputs"),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The derived shares at the statistical error, and their powers of tau."""
    worst, blind = found.worst_derived.isel(seed=0), found.blind_derived.isel(seed=0)
    least = found.isel(radius=0)
    return [
        claim(
            "zou2018-thm5.3iii-order",
            r"in one wide layer the worst perturbation switches a share $(3\tau^2/\pi)^{1/3}$ of "
            r"the units for one input as $\tau\to0$, a random one $\frac1\pi\arctan(\tau/\sqrt2)$",
            _meets("share of the units that the worst perturbation switches", found.worst, worst),
            exponent_near(r"that share in $\tau$", found.worst, 2 / 3, ROOM, "radius"),
            _meets("share of the units that a random move switches", found.blind, blind),
            exponent_near(r"that share in $\tau$", found.blind, 1, ROOM, "radius"),
            holds=r"The power $\tau^{2/3}$ cannot be improved: the worst perturbation attains it "
            rf"with the derived constant. At $\tau$ = {settings.radii[0]:g} it switches "
            f"{number(least.worst.mean(), '.1%')} of the units, and a random move of that norm, "
            rf"in proportion to $\tau$, {number(least.blind.mean(), '.2%')}.",
            fails="One wide layer does not switch the share that was derived.",
        )
    ]


def _meets(what: str, samples: xr.DataArray, limit: xr.DataArray) -> Check:
    """Whether shares are their limits, to 10 %: of 8192 units a random move switches some 20.

    Draws are independent, the inputs of one draw are not.
    """
    errors = samples.std("seed", ddof=1, skipna=False) / np.sqrt(samples.sizes["seed"])
    return equal(what, samples.mean("seed", skipna=False), errors, limit, 0.1)
