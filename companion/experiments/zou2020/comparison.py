"""The width of Theorem 4.4 closes its proof; beside it stand two other theorems' (Remark 4.2).

Refuted by another width at which the path bound is the radius, by other quotients of the powers, or
by a least eigenvalue of the deep Gram matrix that does not shrink as inputs are added.
"""

import itertools
import math
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.bounds.zou2018 import theorem_4_1_width
from companion.bounds.zou2020 import (
    allen_zhu_iterations,
    allen_zhu_width,
    du_deep_width,
    lemma_5_2_radius,
    lemma_5_2_width,
    proof_depth,
    proof_distance,
    proof_radius,
    proof_time,
    remark_4_1_accuracy,
    remark_4_1_iterations,
    remark_4_1_width,
    theorem_4_4_width,
)
from companion.datafiles import digits_source
from companion.datasets import DataSet, digits, random_labels, sphere, with_bias
from companion.draws import independent_seed
from companion.kernels import infinite_width_ntk, lambda_min
from companion.lab.checks import anyway, at_least, at_most, claim, exponent_at_most, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, exponent
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import (
    Dimension,
    SeededSettings,
    SeveralSizes,
    Share,
    Size,
    Sizes,
)
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import least_distance

EXPECTED: dict[str, Outcome] = {"zou2020-thm4.4-width": "holds", "zou2020-rem4.2": "holds"}
DATA = "digits"
# The exponent in n of an eigenvalue that just counts as shrinking: ten times as many inputs take a
# fifth off it.
SLOWEST = -0.1
# Of a few powers up to the 24th, whose logarithms are some hundred.
_ROUNDING = 1e3 * np.finfo(float).eps


class Settings(SeededSettings):
    """What is computed; nothing is trained.

    Attributes:
        counts: n of the data sets on the sphere, in increasing order.
        dimension: d of these, the bias coordinate included.
        mu: that coordinate, of the digits, too.
        depth: L of the Gram matrices and widths.
        digits_per_class: images of the digits 3 and 8 each, in increasing order; each set holds the
            one before.
        grid_counts: n at which powers are compared.
        grid_depths: L of the same.
        separations: phi of the same, at most 1.
        accuracies: epsilon of the same.
    """

    seeds: Size = 8
    counts: SeveralSizes = (16, 32, 64, 128, 256)
    dimension: Dimension = 10
    mu: Share = 0.3
    depth: Size = 3
    digits_per_class: SeveralSizes = (8, 16, 32, 64, 128, 256)
    grid_counts: Sizes = (2, 10, 1000)
    grid_depths: Sizes = (1, 3, 15)
    separations: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.05, 0.5)
    accuracies: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.1, 1e-3, 1e-6)


QUICK = Settings()
PAPER = Settings(
    seeds=20,
    counts=(16, 32, 64, 128, 256, 512, 1024),
    digits_per_class=(8, 16, 32, 64, 128, 256, 500),
)


def summary(settings: Settings) -> str:
    """The grid, and the data sets of the eigenvalues."""
    s = settings
    return (
        f"Powers at $n$ = {listed(s.grid_counts)}, $L$ = {listed(s.grid_depths)}, $\\phi$ = "
        f"{listed(s.separations)} and $\\epsilon$ = "
        f"{listed(number(eps, '.0e') for eps in s.accuracies)}, every constant being 1; the least "
        f"eigenvalue of the infinite-width kernel of $L={s.depth}$ hidden layers for $n$ = "
        f"{listed(s.counts)} inputs of norm 1 in dimension $d={s.dimension}$ with $\\mu={s.mu:g}$, "
        f"{s.seeds} draws each, and for $n$ = {listed(2 * k for k in s.digits_per_class)} digits "
        "3 and 8. Nothing is trained."
    )


def cost(settings: Settings) -> Cost:
    """Kernels and their eigenvalues."""
    s, images = settings, 2 * max(settings.digits_per_class)
    spheres = s.seeds * sum(10 * n**3 + 200 * s.depth * n**2 for n in s.counts)
    largest = max(images, *s.counts)
    return Cost(float(spheres + 20 * images**3), 8 * (784 * images + 6 * largest**2))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Powers on the grid, eigenvalues and separations on the sphere and of digits."""
    s = settings
    spheres = sweep("sphere", partial(_sphere, s, device), seed=s.each_seed, count=s.counts)
    real = digits(digits_source(), (3, 8), max(s.digits_per_class))
    some = sweep("digits", partial(_digits, s, device, real), per_class=s.digits_per_class)
    some = some.rename({name: f"digits_{name}" for name in some.data_vars})
    found = xr.merge([_powers(s), spheres, some])
    told = f"uniform on the sphere with last coordinate {s.mu:g}, d={s.dimension}; {real.source}"
    return found.assign_attrs(data=told)


def _powers(settings: Settings) -> xr.Dataset:
    """Printed and closed widths, and the quotients of Remark 4.2, at every point of the grid."""
    s = settings
    grid = [*itertools.product(s.grid_counts, s.grid_depths, s.separations, s.accuracies)]
    rows = [_point(*at) for at in grid]
    return xr.Dataset({name: ("point", [row[name] for row in rows]) for name in rows[0]})


def _point(count: int, depth: int, separation: float, accuracy: float) -> dict[str, float]:
    at = count, depth, separation
    radius = proof_radius(*at)
    # The path bound falls like 1 / sqrt(m), the radius stays.
    path = proof_distance(proof_time(count, 1.0, separation, accuracy))
    printed = theorem_4_4_width(*at, accuracy)
    return {
        "grid_n": count,
        "grid_depth": depth,
        "grid_phi": separation,
        "printed": printed,
        "closed": (path / radius) ** 2,
        "radius_share": radius / lemma_5_2_radius(*at),
        "width_share": printed / lemma_5_2_width(count, separation),
        "depth_share": depth / proof_depth(count, separation),
        "width_quotient": allen_zhu_width(*at) / remark_4_1_width(*at),
        "steps_quotient": allen_zhu_iterations(*at) / remark_4_1_iterations(*at),
    }


def _sphere(settings: Settings, device: str, *, seed: int, count: int) -> Variables:
    """Inputs of their own for each n, so that sizes are independent."""
    s, own = settings, independent_seed(seed, count, settings.dimension)
    plain = random_labels(sphere(count, s.dimension - 1, own), own)
    return _measured(s, device, plain)


def _digits(settings: Settings, device: str, real: DataSet, *, per_class: int) -> Variables:
    """The first images of the largest set, in which the classes alternate."""
    some = slice(2 * per_class)
    return _measured(settings, device, DataSet(real.x[some], real.y[some], real.source))


def _measured(settings: Settings, device: str, plain: DataSet) -> Variables:
    """Lambda_0, the separations of unlike and of all pairs, and the widths with constant 1."""
    s, x, y = settings, with_bias(plain.x, settings.mu).to(device), plain.y.to(device)
    count, lambda_0 = len(y), lambda_min(infinite_width_ntk(x, depth=s.depth))
    unlike, every = float(least_distance(x[y > 0], x[y < 0])), _closest(x)
    asks = count, s.depth, unlike
    return {
        "lambda_0": lambda_0,
        "separation": unlike,
        "closest": every,
        "zou2018": theorem_4_1_width(*asks, remark_4_1_accuracy(count), 1.0, 0.5),
        "zou2020": remark_4_1_width(*asks),
        "allen_zhu": allen_zhu_width(count, s.depth, every),
        "du_deep": du_deep_width(count, s.depth, lambda_0),
    }


def _closest(x: Tensor) -> float:
    """Least distance of two inputs, whatever their labels."""
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return float(apart.fill_diagonal_(math.inf).min())


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents in n, the widths for the largest data sets, where conditions of the proof end."""
    s, images = settings, found.isel(per_class=-1)
    largest = found.isel(count=-1).mean("seed")
    count, real = max(s.counts), 2 * max(s.digits_per_class)
    on_digits = found.digits_lambda_0.assign_coords(per_class=2 * found.per_class)
    names = "lambda_0", "separation", "closest", "zou2018", "zou2020", "allen_zhu", "du_deep"
    return {
        "depth": s.depth,
        "count": count,
        "dimension": s.dimension,
        "digits_count": real,
        "least_digits_count": 2 * min(s.digits_per_class),
        **{f"sphere_{name}": largest[name] for name in names},
        **{f"digits_{name}": images[f"digits_{name}"] for name in names},
        "first_digits_lambda_0": found.digits_lambda_0.isel(per_class=0),
        "sphere_slope": -exponent(found.lambda_0, "count"),
        "sphere_phi_slope": -exponent(found.separation, "count"),
        "digits_slope": -np.polyfit(np.log(2 * found.per_class), np.log(on_digits), 1)[0],
        **{f"power_{name}": exponent(found[name], "count") for name in names[3:]},
        "allowed_depth": proof_depth(count, float(largest.separation)),
        "closed_within": np.abs(np.log(found.printed / found.closed)).max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Widths and quotients to rounding; whether the eigenvalue shrinks."""
    return [_width(settings, found), _remark(settings, found)]


def _width(settings: Settings, found: xr.Dataset) -> Verdict:
    beyond = found.depth_share > 1
    return claim(
        "zou2020-thm4.4-width",
        r"$m=\tilde\Omega(n^{14}L^{16}\phi^{-4}+n^{12}L^{16}\phi^{-4}\epsilon^{-1})$ is where the "
        r"path bound is $\tau=n^{-9/2}L^{-8}\phi^{3/2}$",
        identity(
            "the printed width and the one at which the path bound is the radius, as a share",
            np.log(found.printed / found.closed),
            _ROUNDING,
        ),
        at_most("the radius over the largest of Lemma 5.2", found.radius_share, 1.0),
        at_least("the width over the least of Lemma 5.2", found.width_share, 1.0),
        note(
            f"Lemma 5.3 allows for the radius at {int((~beyond).sum())} of {beyond.size} points, "
            r"those with $L\le n^{3/2}\phi^{-1/2}$"
        ),
        holds="The printed width is the one at which the path bound of the proof is its radius, "
        "and Lemma 5.2 allows for both.",
        fails="The printed width is not the one at which the proof closes, or it lies outside of "
        "Lemma 5.2.",
    )


def _remark(settings: Settings, found: xr.Dataset) -> Verdict:
    f, law = found, PowerLaw.through(found.lambda_0, "count")
    expected = 10 * np.log(f.grid_n) - 4 * np.log(f.grid_depth) - 4 * np.log(f.grid_phi)
    real = f.digits_lambda_0
    return claim(
        "zou2020-rem4.2",
        r"Allen-Zhu et al. need $n^{10}L^{-4}\phi^{-4}$ times the width and $nL^{-1}$ times the "
        r"steps; and $\lambda_0$, on which Du et al. rest, shrinks as $n$ grows",
        anyway(
            identity(
                r"the quotient of the widths and $n^{10}L^{-4}\phi^{-4}$, as a share",
                np.log(f.width_quotient) - expected,
                _ROUNDING,
            )
        ),
        anyway(
            at_least(
                r"the quotient of the steps over $nL^{-1}$",
                f.steps_quotient / (f.grid_n / f.grid_depth),
                1.0,
            )
        ),
        exponent_at_most(r"$\lambda_0$ in $n$, on the sphere", found.lambda_0, SLOWEST, 0, "count"),
        note(
            rf"on digits $\lambda_0$ goes from {number(real[0], '.2g')} at "
            f"$n={2 * int(real.per_class[0])}$ to {number(real[-1], '.2g')} at "
            f"$n={2 * int(real.per_class[-1])}$"
        ),
        holds="The quotients are those of the quoted theorems, the steps with a further "
        rf"$\phi^{{-1}}$; and $\lambda_0$ falls with the exponent {law.exponent:.2f} in $n$.",
        fails=r"A quotient is not that of the quoted theorems, or $\lambda_0$ does not shrink.",
        unclear=r"The quotients are right; whether $\lambda_0$ shrinks, these data cannot tell.",
    )


def _wider(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(printed=found.printed * found.grid_n / 2)


def _flat(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(lambda_0=found.lambda_0.isel(count=0) + 0 * found.lambda_0)


CONTROLS = {
    "zou2020-thm4.4-width": Lie("the printed width has one more power of $n$", _wider),
    "zou2020-rem4.2": Lie(r"$\lambda_0$ stays what it is for the fewest inputs", _flat),
}
