"""Near initialisation the network is almost linear in its weights (Lemma 6.1).

Refuted by an error of the linearisation that over its bound grows as the radius falls, with the
width or with the depth, for pairs along the gradient, random pairs, or the worst that we make.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from companion.draws import independent_seed
from companion.experiments.chen2021._linearity import (
    asked_radius,
    linearisation_errors,
    move,
    moved,
    random_direction,
    steepest,
    worst_error,
    worst_pairs,
)
from companion.experiments.chen2021._problem import Exponent, HalvesSettings, Layers
from companion.experiments.chen2021._problem import draw as drawn
from companion.experiments.zou2018._flips import ROOM, bounded
from companion.experiments.zou2018._problem import Problem
from companion.lab.checks import claim, equal, exponent_at_most, exponent_near
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "chen2021-lem6.1": "outside-regime",
    "chen2021-lem6.1-order": "holds",
}
# How pairs W, W' are found, and what it is called.
PAIRS = {"gradient": "along the gradient", "random": "random", "worst": "the worst made"}
CONTROLS = {
    "chen2021-lem6.1": Lie(
        r"the errors of the worst pairs are proportional to $\tau$ alone",
        lambda settings, found: found.assign(
            error=found.error.where(
                found.pair != "worst", found.error / (found.radius / settings.radii[-1]) ** (1 / 3)
            )
        ),
    ),
    "chen2021-lem6.1-order": Lie(
        r"the errors of the worst pairs are proportional to $\tau^{3/2}$",
        lambda settings, found: found.assign(
            wide_error=found.wide_error * (found.near / settings.near[-1]) ** (1 / 6)
        ),
    ),
}
Depths = Annotated[tuple[Layers, ...], Field(min_length=3)]
Radii = Annotated[tuple[Positive, ...], Field(min_length=3)]


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L, of the networks of several radii and of several widths.
        width: m, of the networks of several radii.
        radii: tau, in increasing order.
        alphas: of the networks of several widths; all others have alpha = 1/2.
        widths: m, where tau = reach m^(-alpha).
        reach: R.
        depths: L, of networks of one width and radius.
        deep_width: their m.
        deep_radius: their tau.
        draws: networks of every seed, of those of several widths or depths and of the wide ones.
        wide: m of a single wide hidden layer, L = 2.
        inputs: for so many of them pairs are made there.
        near: tau there, in increasing order: so small that the lemma speaks of it.
    """

    seeds: Size = 6
    layers: Layers = 3
    width: Size = 384
    radii: Radii = (0.01, 0.02, 0.04, 0.08)
    alphas: tuple[Exponent, ...] = (0.25, 0.5)
    widths: SeveralSizes = (32, 64, 128, 256)
    reach: Positive = 2.0
    depths: Depths = (2, 4, 8)
    deep_width: Size = 128
    deep_radius: Positive = 0.02
    draws: Size = 3
    wide: Size = 65536
    inputs: Size = 4
    near: Radii = (0.0001, 0.0002, 0.0004)


QUICK = Settings()
PAPER = Settings(
    seeds=10,
    width=2048,
    radii=(0.003, 0.01, 0.03, 0.1),
    widths=(32, 64, 128, 256, 512, 1024),
    depths=(2, 4, 8, 16),
    deep_width=512,
    draws=5,
    wide=262144,
    near=(0.00004, 0.00008, 0.00016, 0.00032),
)


def cost(settings: Settings) -> Cost:
    """A dozen passes of all inputs for every network and radius, and norms of square matrices."""
    s = settings

    def one(width: int, layers: int, radii: int) -> float:
        weights = width * (s.dimension + (layers - 2) * width)
        norms = 2.0 * (layers - 2) * width**3 * (1 + radii)
        return radii * 26.0 * s.count * weights + norms

    flops = one(s.width, s.layers, len(s.radii))
    many = len(s.alphas) * sum(one(width, s.layers, 1) for width in s.widths)
    many += sum(one(s.deep_width, layers, 1) for layers in s.depths)
    many += 2.0 * s.inputs * s.wide * s.dimension * 3 * len(s.near)
    flops += s.draws * many
    largest = max(8 * (s.layers - 2) * s.width**2, 8 * s.inputs * s.wide)
    return Cost(s.seeds * flops, 8.0 * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        rf"Pairs of weights $W,W'$ within $\tau$ of $W^{{(0)}}$ on $n$ = {s.count} inputs "
        f"{s.data}: from initialisation along the gradient, in random directions, and the worst "
        rf"pairs that we make. $L$ = {s.layers} matrices at $m$ = {s.width} with $\tau$ from "
        rf"{s.radii[0]:g} to {s.radii[-1]:g}, and at $m$ = {listed(s.widths)} with $\tau="
        rf"{s.reach:g}\cdot m^{{-\alpha}}$, $\alpha$ = {listed(f'{each:g}' for each in s.alphas)}; "
        rf"$L$ = {listed(s.depths)} at $m$ = {s.deep_width}, $\tau$ = {s.deep_radius:g}; and one "
        f"hidden layer of {s.wide} units with {listed(number(each) for each in s.near)}. "
        f"All is drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Errors of the linearisation over the radius, the width and the depth, and in a wide layer."""
    s = settings
    axes = {"seed": s.each_seed, "draw": range(s.draws)}
    radii = sweep("radii", partial(_radii, s, device), seed=s.each_seed)
    widths = sweep("widths", partial(_width, s, device), **axes, alpha=s.alphas, width=s.widths)
    depths = sweep("depths", partial(_depth, s, device), **axes, depth=s.depths)
    wide = sweep("wide", partial(_wide, s, device), **axes)
    found = xr.merge([radii, widths, depths, wide])
    return found.assign_coords(pair=list(PAIRS)).assign_attrs(data=s.data)


def _radii(settings: Settings, device: str, *, seed: int) -> Variables:
    s = settings
    problem = drawn(s, device, seed=seed, width=s.width, layers=s.layers)
    found = np.array(_errors(problem, s.radii, seed))  # pairs, radii, error and move
    return {
        "radius": ("radius", list(s.radii)),
        "error": (("pair", "radius"), found[..., 0]),
        "move": (("pair", "radius"), found[..., 1]),
    }


def _width(
    settings: Settings, device: str, *, seed: int, draw: int, alpha: float, width: int
) -> Variables:
    s, own = settings, independent_seed(seed, draw)
    problem = drawn(s, device, seed=own, width=width, layers=s.layers, alpha=alpha)
    found = np.array(_errors(problem, [s.reach * width**-alpha], own))[:, 0]
    return {"width_error": ("pair", found[:, 0]), "width_move": ("pair", found[:, 1])}


def _depth(settings: Settings, device: str, *, seed: int, draw: int, depth: int) -> Variables:
    s, own = settings, independent_seed(seed, draw)
    problem = drawn(s, device, seed=own, width=s.deep_width, layers=depth)
    found = np.array(_errors(problem, [s.deep_radius], own))[:, 0]
    return {"depth_error": ("pair", found[:, 0]), "depth_move": ("pair", found[:, 1])}


def _errors(problem: Problem, radii: Sequence[float], seed: int) -> list[list[list[float]]]:
    """For every kind of pair and every radius, the error, and how far the hidden layers are apart.

    The error is the root mean square over the inputs. The largest is at most sqrt(n) times that,
    and n is the same throughout: exponents are the same, with less noise.
    """
    network, x = problem.network, problem.x
    own = independent_seed(seed, *network.widths)
    first, second = (random_direction(network, independent_seed(own, k)) for k in range(2))
    down = steepest(problem)
    ahead = move(network, moved(network, down, 1.0))
    apart = move(moved(network, first, 1.0), moved(network, second, 1.0))
    found: list[list[list[float]]] = [[], [], []]
    for radius in radii:
        there = moved(network, down, radius)
        both = torch.stack([
            linearisation_errors(network, there, x), linearisation_errors(there, network, x)
        ])  # fmt: skip
        one, other = (moved(network, each, radius) for each in (first, second))
        worst, moves = worst_pairs(network, x, radius)
        found[0].append([_size(both), radius * ahead])
        found[1].append([_size(linearisation_errors(one, other, x)), radius * apart])
        found[2].append([_size(worst), float(moves.mean())])
    return found


def _size(errors: torch.Tensor) -> float:
    """Root mean square over the inputs; of two orders of a pair, that of the larger."""
    return float(errors.square().mean(dim=-1).max().sqrt())


def _wide(settings: Settings, device: str, *, seed: int, draw: int) -> Variables:
    """The worst pairs of one wide hidden layer."""
    s = settings
    problem = drawn(s, device, seed=independent_seed(seed, draw), width=s.wide, layers=2)
    few = problem.x[: s.inputs]
    errors = [worst_pairs(problem.network, few, radius)[0] for radius in s.near]
    return {
        "near": ("near", list(s.near)),
        "wide_error": ("near", [_size(each) / math.sqrt(s.wide) for each in errors]),
        "wide_derived": ("near", [worst_error(radius) for radius in s.near]),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents in tau and in m, and how far the runs are beyond the lemma's radius."""
    s = settings
    told: dict[str, object] = {
        "layers": s.layers,
        "width": s.width,
        "wide": s.wide,
        "asked": asked_radius(s.layers, s.width),
        "asked_wide": asked_radius(2, s.wide),
        "least_radius": s.radii[0],
        "largest_near": s.near[-1],
        # Of the bound at tau = R m^(-alpha), whose logarithm counts at such widths.
        "bound_width": exponent(found.width ** (-s.alphas[-1] / 3) * np.log(found.width) ** 0.5),
        "wide_exponent": exponent(found.wide_error, "near"),
        "wide_ratio": (found.wide_error / found.wide_derived).mean(),
    }
    for pair in PAIRS:
        told[f"{pair}_exponent"] = exponent(found.error.sel(pair=pair), "radius")
        told[f"{pair}_width"] = exponent(found.width_error.sel(pair=pair, alpha=s.alphas[-1]))
    return told


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Errors over their bound in tau, m and L; the worst pairs' error as it is derived."""
    return [_lemma(settings, found), _order(settings, found)]


def _outside(settings: Settings) -> str:
    """How far the radii are beyond those that the lemma asks for."""
    s = settings
    asked, largest = asked_radius(s.layers, s.width), s.radii[-1]
    if largest <= asked:
        return ""
    return (
        rf"with its constant read as 1 the lemma asks for $\tau$ of at most {number(asked, '.0e')} "
        f"at $m={s.width}$, and it is up to {largest:g} here"
    )


def _over_bound(
    error: xr.DataArray, move: xr.DataArray, radius: Any, width: Any, layers: Any, alpha: Any
) -> xr.DataArray:
    """The error over tau^(1/3) L^2 m^alpha sqrt(log m) times the sum of the layers' moves."""
    scale = radius ** (1 / 3) * layers**2 * width**alpha * np.log(width) ** 0.5
    ratio: xr.DataArray = error / (scale * move)
    return ratio


def _lemma(settings: Settings, found: xr.Dataset) -> Verdict:
    s, f = settings, found
    in_radius = _over_bound(f.error, f.move, f.radius, s.width, s.layers, 0.5)
    reach = s.reach * f.width**-f.alpha
    in_width = _over_bound(f.width_error, f.width_move, reach, f.width, s.layers, f.alpha)
    in_depth = _over_bound(f.depth_error, f.depth_move, s.deep_radius, s.deep_width, f.depth, 0.5)
    checks = []
    for pair, called in PAIRS.items():
        told = f"the error over its bound, pairs {called}"
        checks += [
            bounded(told, in_radius.sel(pair=pair), 0, "radius"),
            *(
                exponent_at_most(
                    rf"the same at $\tau=Rm^{{-\alpha}}$, $\alpha={alpha:g}$, in $m$",
                    in_width.sel(pair=pair, alpha=alpha), 0, ROOM,
                )
                for alpha in s.alphas
            ),
        ]  # fmt: skip
    checks.append(
        exponent_at_most(
            "the error over its bound, of the kind of pairs where that is largest, in $L$",
            in_depth.max("pair", skipna=False), 0, ROOM, "depth",
        )
    )  # fmt: skip
    powers = [exponent(f.error.sel(pair=pair), "radius") for pair in PAIRS]
    return claim(
        "chen2021-lem6.1",
        r"$\lvert f_{W'}(x_i)-f_W(x_i)-\langle\nabla f_W(x_i),W'-W\rangle\rvert\le C\tau^{1/3}L^2"
        r"m^\alpha\sqrt{\log m}\sum_{l<L}\lVert W_l'-W_l\rVert_2$, the constant unknown: over that "
        r"the error grows neither as $\tau$ falls, nor with $m$, nor with $L$",
        *checks,
        outside=_outside(s),
        holds=r"Over its bound the error grows with nothing. It goes like $\tau^{p}$ with $p$ = "
        f"{listed(f'{each:.2f}' for each in powers)} for pairs {listed(PAIRS.values())}",
        fails="Over its bound the error of the linearisation grows.",
    )


def _order(settings: Settings, found: xr.Dataset) -> Verdict:
    s, f = settings, found
    asked = asked_radius(2, s.wide)
    outside = (
        rf"$\tau$ is up to {number(s.near[-1])} where {number(asked, '.1e')} is asked for"
        if s.near[-1] > asked
        else ""
    )
    # Squares, whose expectation is derived; the root of a mean of few would be too small.
    square = f.wide_error**2
    return claim(
        "chen2021-lem6.1-order",
        r"in one wide hidden layer some pairs have an error of $\frac34m^\alpha\tau\sqrt{p/2}$ "
        r"with $p\approx(\frac{3\tau^2}{8\pi})^{1/3}$: of order $\tau^{4/3}$, as the bound with "
        r"$\lVert W'-W\rVert_2\approx\tau$ allows",
        equal(
            "mean square error of the worst pairs, against the derived one",
            square.mean(["seed", "draw"], skipna=False),
            square.std(["seed", "draw"], ddof=1, skipna=False)
            / math.sqrt(square.sizes["seed"] * square.sizes["draw"]),
            f.wide_derived.isel(seed=0, draw=0) ** 2,
            0.5,
        ),
        exponent_near(r"the error of the worst pairs in $\tau$", f.wide_error, 4 / 3, ROOM, "near"),
        outside=outside,
        holds=r"The worst pairs have the derived error, of order $\tau^{4/3}$, within the lemma's "
        "radius: its power of $\\tau$ cannot be improved.",
        fails="The worst pairs have another error than is derived.",
    )
