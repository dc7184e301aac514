"""Inputs with different labels stay half as far apart, and none become opposite (Thm 5.1 ii).

Refuted by a pair that comes closer than phi/2 in a network that is as wide and as shallow as the
theorem asks in more draws than delta, or by an inner product below mu^2 / 2.
"""

import math
from functools import partial

import numpy as np
import torch
import xarray as xr

from companion.datasets import DataSet, twins, with_bias
from companion.experiments.zou2018._layers import (
    asked_width,
    correlation_above,
    kept_separation,
    least_products,
    separation_check,
    separation_limits,
    twin_distances,
)
from companion.experiments.zou2018._problem import DeepSettings, draw_twins, on_data
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    equal,
    note,
    probability_at_least,
    slack_factor,
    with_room,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Positive, Probability, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "zou2018-thm5.1ii": "holds",
    "zou2018-thm5.1ii-depth": "holds",
    "zou2018-lemA.11-13": "holds",
    "zou2018-lemA.13-opposites": "holds",
}
GRID = 2001  # correlations at which kappa_1 is compared with the identity


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, of the networks in the theorem's regime.
        separation: phi, of their inputs; at most mu and 1 / L.
        delta: failure probability; 14 good draws of 14 show a probability of 0.8.
        deep: L, of the networks that are deeper than the theorem allows.
        deep_width: their width.
        separations: phi, of their inputs.
        opposites: mu, of pairs that are opposite but for that coordinate.
        opposites_width: m, of the one layer that they pass.
    """

    seeds: Count = 14
    count: Count = 6
    mu: Share = 0.6
    depth: Size = 2
    separation: Share = 0.5
    delta: Probability = 0.2
    deep: Size = 26
    deep_width: Size = 512
    separations: tuple[Positive, ...] = (0.7, 0.9, 1.2)
    opposites: tuple[Share, ...] = (0.3, 0.4, 0.5)
    opposites_width: Size = 4096

    @property
    def width(self) -> int:
        """M of (5.1) with constant 1, the next even number."""
        asked = asked_width(self.count, self.depth, self.separation, self.delta)
        return 2 * math.ceil(asked / 2)

    @property
    def crossings(self) -> list[int]:
        """For every phi the first layer at which the limit of phi_l is below phi / 2."""
        found = (separation_limits(phi, 40 * math.ceil(1 / phi)) for phi in self.separations)
        return [int(np.argmax(limits < limits[0] / 2)) for limits in found]


QUICK = Settings()
PAPER = Settings(seeds=40, count=10, deep_width=1024, delta=0.1)


def cost(settings: Settings) -> Cost:
    """Forward passes."""
    s = settings
    wide = 2.0 * s.count * s.width * (s.dimension + (s.depth - 1) * s.width)
    inputs = s.count * len(s.separations)
    deep = 2.0 * inputs * s.deep_width * (s.dimension + (s.deep - 1) * s.deep_width)
    opposites = 4.0 * s.dimension * s.opposites_width * len(s.opposites)
    largest = max(s.width**2 * max(1, s.depth - 1), s.deep_width**2 * s.deep)
    return Cost(s.seeds * (wide + deep + opposites), 8 * 1.5 * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{s.count // 2} pairs of inputs with different labels on the unit sphere of "
        rf"$\mathbb R^{{{s.dimension}}}$ with last coordinate $\mu={s.mu:g}$, {s.seeds} draws each:"
        rf" at distance $\phi={s.separation:g}$ in networks with $L={s.depth}$ hidden layers of "
        rf"width {s.width}, and at $\phi$ = {listed(s.separations)} in networks with {s.deep} "
        f"layers of width {s.deep_width}. Nothing is trained."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Networks in the regime, deeper ones, and one layer on inputs that are nearly opposite."""
    s = settings
    regime = sweep("regime", partial(_regime, s, device), seed=s.each_seed)
    deep = sweep("deep", partial(_deep, s, device), seed=s.each_seed)
    opposite = sweep("opposites", partial(_opposite, s, device), seed=s.each_seed, mu=s.opposites)
    rho = np.linspace(-1, 1, GRID)
    growth = xr.Dataset({"growth": ("rho", correlation_above(rho) - rho)}, {"rho": rho})
    return xr.merge([regime, deep, opposite, growth]).assign_attrs(data=s.paired_data)


def _regime(settings: Settings, device: str, *, seed: int) -> Variables:
    s = settings
    problem = draw_twins(
        s, device, seed=seed, width=s.width, depth=s.depth, separation=s.separation
    )
    return kept_separation(problem)


def _deep(settings: Settings, device: str, *, seed: int) -> Variables:
    """Mean over pairs of phi_l / phi, for all phi in one network, with its limit."""
    s = settings
    rows = [
        with_bias(twins(s.count, s.dimension - 1, phi / (1 - s.mu**2) ** 0.5, seed).x, s.mu)
        for phi in s.separations
    ]
    data = DataSet(torch.cat(rows), torch.ones(s.count * len(rows)), s.data)
    problem = on_data(data, s, device, seed=seed, width=s.deep_width, depth=s.deep)
    apart = twin_distances(problem.network.run(problem.x))
    each = apart.reshape(1 + s.deep, len(rows), -1) / apart[0].reshape(len(rows), -1)
    limits = np.stack([separation_limits(phi, s.deep) / phi for phi in s.separations])
    return {
        "ratio": (("phi", "depth"), each.mean(dim=2).T.cpu().numpy()),
        "limit": (("phi", "depth"), limits),
        "phi": ("phi", list(s.separations)),
        "depth": ("depth", list(range(1 + s.deep))),
    }


def _opposite(settings: Settings, device: str, *, seed: int, mu: float) -> Variables:
    """Inner product, after one layer, of inputs that are opposite but for their last coordinate."""
    s = settings
    one = twins(2, s.dimension - 1, 1.0, seed).x[:1]
    data = DataSet(with_bias(torch.cat([one, -one]), mu), torch.tensor([1.0, -1.0]), s.data)
    problem = on_data(data, s, device, seed=seed, width=s.opposites_width, depth=1)
    product = float(least_products(problem.network.run(problem.x))[1])
    return {"opposite": product, "opposite_limit": float(correlation_above(2 * mu**2 - 1))}


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Ratios at their ends, the depths at which half is left, and the least inner products."""
    s, floor = settings, found.mu**2 / 2
    return {
        "width": s.width,
        "kept": found.kept.min(),
        "crossing": s.crossings[0],
        "crossing_separation": s.separations[0],
        "opposite_share": (found.opposite / floor).isel(mu=0).mean(),
        "opposite_mu": s.opposites[0],
        "threshold": _threshold(),
    }


def _threshold() -> float:
    """The mu below which inputs that are opposite but for it have kappa_1 below mu^2 / 2."""
    mus = np.linspace(0.3, 1, 7001)
    return float(mus[np.argmax(correlation_above(2 * mus**2 - 1) >= mus**2 / 2)])


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """In the regime by frequency, beyond it by what recursion says of half and twice a depth."""
    return [
        _kept(settings, found),
        _half(settings, found),
        _products(settings, found),
        _opposites(settings, found),
    ]


def _kept(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    return claim(
        "zou2018-thm5.1ii",
        r"$\lVert\bar x_{l,i}-\bar x_{l,i'}\rVert_2\ge\phi/2$ for all $l$ and all $i$, $i'$ with "
        rf"different labels, with probability $1-\delta={1 - s.delta:g}$, at the width of (5.1) "
        r"with constant 1 and $\phi\le\min\{1/L,\mu\}$",
        separation_check(found.kept, s.delta),
        outside=_outside(s),
        holds=f"In all networks that are as wide as the theorem asks with its constants put at 1, "
        f"{s.width} units, inputs with different labels keep more than half of their distance.",
        fails="Inputs with different labels come closer than half of their distance too often.",
    )


def _outside(settings: Settings) -> str:
    """In which way a separation is too large for the theorem."""
    s, largest = settings, min(1 / settings.depth, settings.mu)
    return f"$\\phi={s.separation:g}$ is above {largest:g}" if s.separation > largest else ""


def _half(settings: Settings, found: xr.Dataset) -> Verdict:
    """At half of the depth that recursion gives and at twice it, as noise blurs the edge itself."""
    s = settings
    before, after = (
        _at(found.ratio, [min(round(factor * each), s.deep) for each in s.crossings])
        for factor in (0.5, 2)
    )
    listed_depths = listed(
        rf"{crossing} ($\phi={phi:g}$)"
        for crossing, phi in zip(s.crossings, s.separations, strict=True)
    )
    return claim(
        "zou2018-thm5.1ii-depth",
        r"In the limit of great width $\phi_l=\sqrt{2-2\rho_l}$ with $\rho_l=\kappa_1(\rho_{l-1})$,"
        r" close to $\phi/(1+l\phi/3\pi)$: half of the distance is left up to about "
        r"$L\phi=3\pi$ and no deeper",
        *(
            check
            for phi in s.separations
            for check in (
                probability_at_least(
                    rf"networks with $\phi_l/\phi\ge\frac12$ at half of the depth that recursion "
                    rf"gives for $\phi={phi:g}$",
                    (before >= 0.5).sel(phi=phi),
                    0.5,
                ),
                probability_at_least(
                    r"networks with $\phi_l/\phi<\frac12$ at twice that depth",
                    (after < 0.5).sel(phi=phi),
                    0.5,
                ),
            )
        ),
        note(rf"By recursion one half is reached at the depths {listed_depths}"),
        holds="In most networks the distance is more than half of the first one at half of the "
        r"depth that recursion gives, and less at twice that depth: a condition like $\phi=O(1/L)$ "
        "is needed.",
        fails="The depth at which half of the distance is left is not that of the recursion.",
    )


def _at(ratio: xr.DataArray, depths: list[int]) -> xr.DataArray:
    """The ratio at a depth of its own for every phi, dimensions `seed` and `phi`."""
    places = {"phi": range(len(depths)), "depth": depths}
    chosen = {name: xr.DataArray(list(each), dims="phi") for name, each in places.items()}
    found: xr.DataArray = ratio.isel(chosen)
    return found


def _products(settings: Settings, found: xr.Dataset) -> Verdict:
    s, floor = settings, settings.mu**2 / 2
    least = found["product"].min("layer", skipna=False)
    return claim(
        "zou2018-lemA.11-13",
        r"$\mathbb E\,\sigma(Z_1)\sigma(Z_2)\ge\frac12\mathbb EZ_1Z_2$, and hence "
        r"$\bar x_{l,i}^\top\bar x_{l,i'}\ge\mu^2/2$ in every layer",
        anyway(
            at_least(
                rf"$2\,\mathbb E\sigma(Z_1)\sigma(Z_2)-\mathbb EZ_1Z_2$ at {found.sizes['rho']} "
                "correlations, by the closed form",
                found.growth,
                -1e-12,
                ".1e",
            )
        ),
        with_room(
            probability_at_least(
                r"networks in which all inner products are at least $\mu^2/2$ in every layer",
                (least >= floor).where(least.notnull()),
                1 - s.delta,
            ),
            f"the least of all is {number(least.min(), '.3f', 'down')}, with "
            rf"$\mu^2/2={floor:g}$",
            f"the least of all has room for {slack_factor(float(least.min()), floor)}",
        ),
        outside=_outside(s),
        holds="Two directions come closer from layer to layer in the mean, and on inputs uniform "
        r"on the sphere but for their last coordinate no inner product falls below $\mu^2/2$.",
        fails=r"The inequality of expectations is wrong, or inner products fall below $\mu^2/2$.",
    )


def _opposites(settings: Settings, found: xr.Dataset) -> Verdict:
    floor, drawn = found.mu**2 / 2, found.sizes["seed"]
    error = found.opposite.std("seed", ddof=1, skipna=False) / math.sqrt(drawn)
    mean = found.opposite.mean("seed", skipna=False)
    shares = listed(
        rf"{number(share, '.2f')} (at $\mu={mu:g}$)"
        for share, mu in zip((mean / floor).values, found.mu.values, strict=True)
    )
    return claim(
        "zou2018-lemA.13-opposites",
        r"The inputs $(\pm\sqrt{1-\mu^2}\,u,\mu)$ satisfy Assumption 3.4, and at great width their "
        r"inner product after one layer is $\kappa_1(2\mu^2-1)$, which is below $\mu^2/2$ for "
        rf"$\mu<{_threshold():.3f}$",
        equal(
            r"inner product after one layer, against $\kappa_1(2\mu^2-1)$",
            mean, error, found.opposite_limit.isel(seed=0), 0.3,
        ),
        at_most(r"the closed form over $\mu^2/2$", found.opposite_limit.isel(seed=0) / floor),
        holds=rf"For inputs that are opposite but for their last coordinate it is {shares} of "
        r"$\mu^2/2$: the lemma needs more than that coordinate, such as $x_i^\top x_{i'}\ge\mu^2$, "
        "with which its induction starts.",
        fails="Inputs that are opposite but for their last coordinate keep the lemma's inner "
        "product, or have another one than the closed form.",
    )  # fmt: skip


CONTROLS = {
    "zou2018-thm5.1ii": Lie(
        "in every second draw the closest pair loses another half of its distance",
        lambda settings, found: found.assign(
            kept=found.kept.where(found.seed % 2 > 0, found.kept / 2)
        ),
    ),
    "zou2018-thm5.1ii-depth": Lie(
        "distances stay as they are at the inputs",
        lambda settings, found: found.assign(ratio=xr.ones_like(found.ratio)),
    ),
    "zou2018-lemA.11-13": Lie(
        "in every second draw all inner products are a third as large",
        lambda settings, found: found.assign(
            product=found["product"].where(found.seed % 2 > 0, found["product"] / 3)
        ),
    ),
    "zou2018-lemA.13-opposites": Lie(
        r"all of these inner products are $\mu^2$",
        lambda settings, found: found.assign(opposite=0 * found.opposite + found.mu**2),
    ),
}
