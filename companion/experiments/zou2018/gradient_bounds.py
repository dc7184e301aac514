"""Gradients near initialisation lie between m phi / n^5 and L^4 M (Theorem 5.3 (vii), (viii)).

Refuted by a least quotient that grows slower than the width, or falls faster than n^-3 or phi; by a
largest one that outgrows the width, or L^4; by a gradient outside of the two.
"""

from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.draws import Batches, independent_seed
from companion.experiments.zou2018._gradients import (
    QUOTIENTS,
    GradientQuotients,
    beyond,
    gradient_radius,
    least_quotient,
    product_radius,
)
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw_twins
from companion.kernels import infinite_width_layer_ntks, layer_grams
from companion.lab.checks import anyway, at_least, at_most, claim, exponent_at_most, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import Distances, Every

EXPECTED: dict[str, Outcome] = {
    "zou2018-thm5.3vii": "outside-regime",
    "zou2018-thm5.3viii": "outside-regime",
}
CONTROLS = {
    "zou2018-thm5.3vii": Lie(
        "every least quotient is divided by the fourth root of the width",
        lambda settings, found: found.assign(least=found.least / found.width**0.25),
    ),
    "zou2018-thm5.3viii": Lie(
        "every largest quotient is multiplied by the fourth root of the width",
        lambda settings, found: found.assign(largest=found.largest * found.width**0.25),
    ),
}
Separations = Annotated[tuple[Share, ...], Field(min_length=3)]
# What an exponent over few sizes may be off, from noise and from the next order.
NEXT_ORDER = 0.1
# Over what counts as one: the least quotient is known to about eight digits.
ROUNDING = 1e-6


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, hidden layers, where the depth does not vary.
        separation: phi, of twins, where it does not vary.
        widths: m of the training runs, in increasing order.
        counts: n at the middle width, all of them even.
        separations: phi at the largest width, in increasing order.
        small: phi at which the limit of infinite width is looked at, in increasing order; up to
            phi = 0.03 the next order adds less than 0.05 to the exponent.
        depths: L of shorter, narrower runs.
        narrow: m of those.
        steps: of gradient descent, and of SGD.
        step_size: eta as a multiple of 1 / (m L).
        batch: B, of SGD.
        every: quotients are looked at every so many steps.
    """

    count: Count = 8
    dimension: Dimension = 20
    seeds: Size = 5
    depth: Size = 2
    separation: Share = 0.2
    widths: SeveralSizes = (128, 256, 512, 1024)
    counts: Annotated[tuple[Count, ...], Field(min_length=3)] = (4, 8, 16, 32)
    separations: Separations = (0.05, 0.1, 0.2, 0.4)
    small: Separations = (0.003, 0.01, 0.03)
    depths: SeveralSizes = (2, 4, 8, 16)
    narrow: Size = 128
    steps: Size = 8
    step_size: Positive = 1.0
    batch: Size = 2
    every: Size = 4

    @property
    def data(self) -> str:
        """What is computed on, in words."""
        return (
            f"pairs of unit inputs of different labels at distance phi, last coordinate "
            f"{self.mu:g}, d={self.dimension}"
        )


QUICK = Settings()
PAPER = Settings(
    seeds=10,
    depth=3,
    widths=(*QUICK.widths, 2048, 4096),
    depths=(*QUICK.depths, 32),
    narrow=512,
    steps=60,
    every=20,
)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a layer and step, a Gram matrix a look, four at starts."""
    s = settings
    middle, widest = s.widths[len(s.widths) // 2], s.widths[-1]
    looks = 2 + s.steps / s.every
    runs = 2 * (6 * s.steps + 4 * looks) * s.count
    squares = s.depth * sum(m**2 for m in s.widths) + sum(s.depths) * s.narrow**2
    starts = sum(4 * n * middle**2 for n in s.counts) + len(s.separations) * 4 * s.count * widest**2
    largest = max(s.depth * widest**2, max(s.depths) * s.narrow**2)
    return Cost(s.seeds * (runs * squares + s.depth * starts), 8 * 4 * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Gram matrices of the gradients of {s.depth} hidden layers, on pairs of inputs with "
        rf"different labels at distance $\phi$: $m$ = {listed(s.widths)} at $n={s.count}$ and "
        rf"$\phi={s.separation:g}$, during {s.steps} steps of gradient descent and of SGD with "
        f"$B={s.batch}$ on the cross-entropy; $n$ = {listed(s.counts)}; $\\phi$ = "
        f"{listed(s.separations)}; and $L$ = {listed(s.depths)} at $m={s.narrow}$. Data and "
        f"networks are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Extreme quotients along runs over widths and depths, at starts over counts and distances."""
    s, draws = settings, settings.each_seed
    found = sweep("widths", partial(_wide, s, device), seed=draws, width=s.widths)
    counted = sweep("counts", partial(_many, s, device), seed=draws, count=s.counts)
    apart = sweep("separations", partial(_near, s, device), seed=draws, separation=s.separations)
    small = sweep("limits", partial(_limit, s), seed=draws, small=s.small)
    deep = sweep("depths", partial(_deep, s, device), seed=draws, depth=s.depths)
    deep = deep.rename({name: f"deep_{name}" for name in deep.data_vars})
    return xr.merge([found, counted, apart, small, deep]).assign_attrs(data=s.paired_data)


def _wide(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    s = settings
    problem = draw_twins(s, device, seed=seed, width=width, depth=s.depth, separation=s.separation)
    return _along(s, problem, seed)


def _deep(settings: Settings, device: str, *, seed: int, depth: int) -> Variables:
    s = settings
    problem = draw_twins(s, device, seed=seed, width=s.narrow, depth=depth, separation=s.separation)
    return _along(s, problem, seed)


def _along(settings: Settings, problem: Problem, seed: int) -> Variables:
    """Quotients along gradient descent and along SGD, each with its looks."""
    s = settings
    eta = s.step_size / (problem.network.widths[-1] * problem.network.depth)
    runs = []
    for batches in (None, Batches(s.batch, "subsets", seed)):
        record = {
            "quotients": Every(s.every, GradientQuotients(batches)),
            "distances": Every(s.steps, Distances()),
        }
        history = problem.train(eta, s.steps, record, batches=batches).stable()
        told = dict(zip(QUOTIENTS, history["quotients"].T, strict=True))
        runs.append({**told, "distance": history["distances"][..., 2].max()})
    dims = dict.fromkeys(QUOTIENTS, ("way", "look")) | {"distance": ("way",)}
    return {name: (dims[name], np.array([each[name] for each in runs])) for name in dims}


def _many(settings: Settings, device: str, *, seed: int, count: int) -> Variables:
    s = settings.override({"count": count})
    width, own = s.widths[len(s.widths) // 2], independent_seed(seed, count)
    problem = draw_twins(s, device, seed=own, width=width, depth=s.depth, separation=s.separation)
    return {"least_by_count": _least(problem)}


def _near(settings: Settings, device: str, *, seed: int, separation: float) -> Variables:
    s = settings
    own = independent_seed(seed, s.separations.index(separation))
    problem = draw_twins(
        s, device, seed=own, width=s.widths[-1], depth=s.depth, separation=separation
    )
    limit = infinite_width_layer_ntks(problem.x, depth=s.depth)[-1]
    least = _least(problem)
    return {
        "least_by_separation": least,
        "least_over_limit": least / least_quotient(limit, problem.y),
    }


def _limit(settings: Settings, *, seed: int, small: float) -> Variables:
    """At infinite width, where no unit has to be counted and phi may be as small as one likes."""
    s = settings
    own = independent_seed(seed, s.small.index(small))
    problem = draw_twins(s, "cpu", seed=own, width=2, depth=s.depth, separation=small)
    limit = infinite_width_layer_ntks(problem.x, depth=s.depth)[-1]
    return {"limit_by_separation": least_quotient(limit, problem.y)}


def _least(problem: Problem) -> float:
    """Of the last layer at initialisation, over its width."""
    gram = layer_grams(problem.network, problem.x)[-1]
    return least_quotient(gram, problem.y) / problem.network.widths[-1]


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents and extremes."""
    s, least = settings, _least_of_runs(found)
    scale = s.separation / s.count**3
    return {
        "width_exponent": exponent(least * found.width),
        "count_exponent": exponent(found.least_by_count, "count"),
        "separation_exponent": exponent(found.limit_by_separation, "small"),
        "over_limit": found.least_over_limit.mean(),
        "smallest": s.small[0],
        "constant": (least / scale).min(),
        "kept": (least / found.least.isel(look=0).min("way")).min(),
        "own_over_least_mean": (found.last / found.least).mean(),
        "root": np.sqrt(found.largest.max()),
        "root_deepest": np.sqrt(found.deep_largest.isel(depth=-1)).max(("way", "look")).mean(),
        "deepest": s.depths[-1],
        "depth_exponent": exponent(np.sqrt(found.deep_largest.max(("way", "look"))), "depth"),
        "distance": found.distance.max(),
        "radius": _radius(s),
    }


def _radius(settings: Settings) -> float:
    """In which Theorem 5.3 (vii) holds, with the constant 1."""
    s = settings
    near = gradient_radius(s.count, s.depth, s.separation)
    return min(near, product_radius(s.depth, s.widths[-1]))


def _least_of_runs(found: xr.Dataset) -> xr.DataArray:
    """The least quotient over m at any moment of either run, shape (seeds, widths)."""
    least: xr.DataArray = found.least.min(("way", "look"), skipna=False)
    return least


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Exponents of both extremes, from one side; and every gradient between them."""
    outside = beyond(float(found.distance.max()), _radius(settings))
    return [_lower(settings, found, outside), _upper(settings, found, outside)]


def _lower(settings: Settings, found: xr.Dataset, outside: str) -> Verdict:
    s, least = settings, _least_of_runs(found)
    constant = float((least / (s.separation / s.count**3)).min())
    return claim(
        "zou2018-thm5.3vii",
        r"$\lVert\nabla_{W_L}L_S(\tilde W)\rVert_F^2\ge C\frac{m_L\phi}{n^5}"
        r"\big(\sum_i\ell'(y_i\tilde y_i)\big)^2$ within $\tau$ of the start, for every loss: the "
        r"least quotient of $K^{(L)}$ over its cone is at least $Cm_L\phi/n^3$",
        exponent_at_most(
            "the reciprocal of the least quotient of a run in $m$",
            1 / (least * found.width),
            -1,
            NEXT_ORDER,
        ),
        exponent_at_most(
            "the reciprocal of the least quotient in $n$", 1 / found.least_by_count, 3, 0, "count"
        ),
        exponent_at_most(
            r"the least quotient in $\phi$, in the limit of infinite width",
            found.limit_by_separation,
            1,
            NEXT_ORDER,
            "small",
        ),
        exponent_at_most(
            r"the least quotient over that of its limit in $\phi$",
            found.least_over_limit,
            0,
            2 * NEXT_ORDER,
            "separation",
        ),
        anyway(
            at_least(
                r"the gradient's own quotient along gradient descent and SGD, over the least",
                found.last / found.least,
                1 - ROUNDING,
                ".4g",
            )
        ),
        note(
            r"Over $m\phi/n^3$ the least quotient is at least "
            f"{number(constant, '.2g', 'down')}; the paper names no constant"
        ),
        outside=outside,
        holds="The least that a gradient can be grows like the width or faster, and falls no "
        r"faster than $n^{-3}$ and $\phi$, at every moment of the runs",
        fails="The least that a gradient can be grows slower than the width, or falls faster with "
        r"$n$ or $\phi$, or a gradient is smaller than that.",
    )


def _upper(settings: Settings, found: xr.Dataset, outside: str) -> Verdict:
    s = settings
    root, deep = (
        np.sqrt(each.max(("way", "look"), skipna=False))
        for each in (found.largest, found.deep_largest)
    )
    reached = np.maximum(
        (found.reached / found.largest).max(("way", "look", "width"), skipna=False),
        (found.deep_reached / found.deep_largest).max(("way", "look", "depth"), skipna=False),
    )
    return claim(
        "zou2018-thm5.3viii",
        r"$\lVert\nabla_{W_l}L_S(\tilde W)\rVert_2\le"
        r"-\frac{CL^2M^{1/2}}n\sum_i\ell'(y_i\tilde y_i)$ within $\tau$ of the start, for every "
        "layer and loss, and the same of stochastic gradients",
        exponent_at_most(
            r"the root of a run's largest quotient, over $\sqrt M$, in $m$",
            root,
            0,
            NEXT_ORDER,
        ),
        exponent_at_most("the same in $L$", deep, 2, 0, "depth"),
        anyway(
            at_most(
                "the squared gradient of a layer, by gradient descent and by SGD, over the largest "
                "that it can be",
                reached,
                1 + ROUNDING,
            )
        ),
        note(
            r"Over $\sqrt M$ the root is at most "
            f"{number(np.sqrt(float(found.largest.max())), '.2f', 'up')}, where one example's "
            r"gradient has $1/\sqrt2$ in the limit; at $L="
            f"{s.depths[-1]}$ at most {number(float(deep.max()), '.2f', 'up')}"
        ),
        outside=outside,
        holds=r"The largest that a gradient can be is of order $\sqrt M$ at every moment of the "
        r"runs, and grows much slower than $L^2$",
        fails=r"The largest that a gradient can be outgrows $\sqrt M$ or $L^2$, or a gradient is "
        "larger than that.",
    )
