"""The lemmas of the proof of Theorem 4.4: gradients, sufficient descent, and the trajectory.

Refuted by gradients outside of their bounds' orders in m and L; by a part of a step that outgrows
the term that Lemma 5.3 has for it; by a step that takes less than eta/2 ||gradient||^2 off the
loss, or a largest such step that falls faster than 1/(m L^3); or by a distance above the proof's.
"""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.experiments.zou2018._gradients import beyond, gradient_radius, product_radius
from companion.experiments.zou2018._paths import HALF, HALF_WAY
from companion.experiments.zou2018._problem import DeepSettings
from companion.experiments.zou2018._problem import draw as drawn
from companion.experiments.zou2020._steps import BRACKET, along, anatomy, largest_step_size
from companion.kernels import lambda_max
from companion.lab.checks import anyway, at_least, at_most, claim, exponent_at_most, note, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed

EXPECTED: dict[str, Outcome] = {
    "zou2020-lem5.2a": "outside-regime",
    "zou2020-lem5.2b": "outside-regime",
    "zou2020-lem5.3": "outside-regime",
    "zou2020-eq5.1": "outside-regime",
    "zou2020-traj": "holds",
}
# Draws of which the worst is taken: what flips add to a step of one of them may be nothing.
BLOCK = 4
# Over what counts as one: quotients are known to about eight digits.
ROUNDING = 1e-6


class Settings(DeepSettings):
    """What is run.

    Attributes:
        draws: of data and networks of which a single step is taken apart; `seeds` of them are
            trained, and twice as many searched for the largest step size.
        depth: L, hidden layers, where the depth does not vary.
        widths: m, in increasing order.
        depths: L of the networks of width `narrow`, in increasing order.
        narrow: m of those, on which `seeds` of all draws are trained and twice as many looked at.
        steps: of gradient descent.
        step_size: eta of the runs as a multiple of 1 / (m L).
        multiples: of 1 / (m L), for steps that are taken apart, in increasing order.
        at: after so many steps of the run they are.
        every: quotients and spectral distances are looked at every so many steps.
        edge_steps: that must all descend by half, in the search for the largest step size.
        resolution: of that search.
    """

    count: Count = 12
    dimension: Dimension = 12
    seeds: Size = 4
    draws: Annotated[int, Field(ge=2 * BLOCK)] = 16
    depth: Size = 3
    widths: SeveralSizes = (48, 96, 192, 384)
    depths: SeveralSizes = (2, 5, 12)
    narrow: Size = 96
    steps: Size = 20
    step_size: Positive = 1.0
    multiples: Annotated[tuple[Positive, ...], Field(min_length=3)] = (1.0, 3.0, 10.0)
    at: Size = 5
    every: Size = 10
    edge_steps: Size = 8
    resolution: Share = 0.1


QUICK = Settings()
PAPER = Settings(
    count=50,
    dimension=50,
    seeds=8,
    draws=40,
    widths=(*QUICK.widths, 768, 1536),
    depths=(2, 4, 8, 16, 32),
    narrow=512,
    steps=200,
    multiples=(0.1, 0.3, 1.0, 3.0, 10.0),
    every=20,
    edge_steps=40,
)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a layer and step, of a run and of a search for an edge."""
    s = settings
    # About half of the tries are stopped after a step.
    tries = np.log2(np.log(BRACKET[1] / BRACKET[0]) / np.log(1 + s.resolution))
    run = 6 * s.steps + 8 * (2 + s.steps / s.every)
    edge, step = 3 * tries * s.edge_steps, 6 * s.at + 4 * len(s.multiples)
    wide, deep = s.depth * sum(m**2 for m in s.widths), sum(s.depths) * s.narrow**2
    steps = (wide + deep) * s.seeds * (run + 2 * edge) + (
        s.draws * wide + 2 * s.seeds * deep
    ) * step
    largest = max(s.depth * s.widths[-1] ** 2, s.depths[-1] * s.narrow**2)
    return Cost(float(s.count * steps), 8 * 5 * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{s.steps} steps of gradient descent on the cross-entropy with $\\eta$ = "
        f"${s.step_size:g}/(mL)$, for networks of $L={s.depth}$ hidden layers of width $m$ = "
        f"{listed(s.widths)}, and of width {s.narrow} with $L$ = {listed(s.depths)}, from "
        f"{s.seeds} seeds; besides, single steps of {s.draws} draws taken apart, and the largest "
        f"step size searched for in {2 * s.seeds}. Each of them has data of its own ({s.data}) "
        "and networks of its own."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every width and depth; take single steps apart, and look for the largest one."""
    s = settings
    draws = range(s.first_seed, s.first_seed + s.draws)
    trials = range(s.first_seed, s.first_seed + 2 * s.seeds)
    wide = [
        sweep("run", partial(_train, s, device, s.depth), seed=s.each_seed, width=s.widths),
        sweep("step", partial(_step, s, device, s.depth), draw=draws, width=s.widths),
        sweep("edge", partial(_edge, s, device, s.depth), trial=trials, width=s.widths),
    ]
    deep = xr.merge(
        [
            sweep("deep-run", partial(_deep, _train, s, device), seed=s.each_seed, depth=s.depths),
            sweep("deep-step", partial(_deep, _step, s, device), trial=trials, depth=s.depths),
            sweep("deep-edge", partial(_deep, _edge, s, device), trial=trials, depth=s.depths),
        ]
    )
    deep = deep.rename({name: f"deep_{name}" for name in deep.data_vars})
    return xr.merge([*wide, deep]).assign_attrs(data=s.data)


def _deep(
    one: Callable[..., Variables], settings: Settings, device: str, *, depth: int, **draw: int
) -> Variables:
    """What `one` measures of a narrow network of another depth."""
    return one(settings, device, depth, *draw.values(), settings.narrow)


def _train(settings: Settings, device: str, depth: int, seed: int, width: int) -> Variables:
    """Quotients and path along a run."""
    problem = drawn(settings, device, seed=seed, width=width, depth=depth)
    return along(problem, settings.step_size / (width * depth), settings.steps, settings.every)


def _step(settings: Settings, device: str, depth: int, draw: int, width: int) -> Variables:
    """The parts of a step some way along a run, at several step sizes."""
    s, unit = settings, 1 / (width * depth)
    problem = drawn(s, device, seed=draw, width=width, depth=depth)
    moment = next(islice(problem.moments(s.step_size * unit), s.at, None))
    parts = anatomy(problem, moment, [multiple * unit for multiple in s.multiples])
    return {
        "multiple": ("multiple", list(s.multiples)),
        **{name: ("multiple", parts[name]) for name in parts},
    }


def _edge(settings: Settings, device: str, depth: int, trial: int, width: int) -> Variables:
    """The largest step size that descends by half, in two units."""
    s = settings
    problem = drawn(s, device, seed=trial, width=width, depth=depth)
    edge = largest_step_size(problem, s.edge_steps, s.resolution)
    return {
        "edge": edge * width * depth,
        "edge_over_curvature": edge * lambda_max(problem.gram) / (4 * len(problem.y)),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents and extremes."""
    s, least = settings, found.least.min("look")
    root, deep_root = np.sqrt(found.largest.max("look")), np.sqrt(found.deep_largest.max("look"))
    scale = found.separation / s.count**3
    flips, smooth = (found[part].isel(multiple=-1).mean("draw") for part in ("flips", "smooth"))
    return {
        "depth": s.depth,
        "deepest": s.depths[-1],
        "least_exponent": exponent(least * found.width),
        "constant": (least / scale).min(),
        "own_over_least": (found.last / found.least).min(),
        "own_over_least_mean": (found.last / found.least).mean(),
        "largest_form": (found.least_of_largest / least).mean(),
        "root": root.max(),
        "root_depth_exponent": exponent(deep_root, "depth"),
        "smooth_exponent": exponent(found.smooth.mean("multiple")),
        "smooth_depth_exponent": exponent(found.deep_smooth.mean("multiple"), "depth"),
        "flips_narrow": flips.isel(width=0) / smooth.isel(width=0),
        "flips_wide": flips.isel(width=-1) / smooth.isel(width=-1),
        "flips_power": 2 + exponent(found.flips.mean("draw"), "multiple"),
        "flips_exponent": exponent(_worst_of_blocks(found)),
        "flips_of_bound": found.flips_of_bound.max(),
        "descent": found.descent.min(),
        "edge_exponent": exponent(found.edge),
        "edge_depth_exponent": exponent(found.deep_edge, "depth"),
        "edge_over_curvature": found.edge_over_curvature.mean(),
        "edge_over_curvature_deepest": found.deep_edge_over_curvature.isel(depth=-1).mean(),
        "path": found.path.max(),
        "spectral_slack": (1 / found.spectral_path.max("looked")).mean(),
        "spectral_slack_least": 1 / found.spectral_path.max(),
        "far": found.far.max(),
        "far_exponent": exponent(found.far),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Bounds with an open constant by their exponents, the others at every step."""
    s, far = settings, float(found.far.max())
    near = beyond(far, gradient_radius(s.count, s.depth, float(found.separation.min())))
    nearer = beyond(far, product_radius(s.depth, s.widths[0]))
    return [
        _lower(found, near),
        _upper(found, near),
        _sufficient_descent(found, nearer),
        _half(s, found, nearer),
        _trajectory(found),
    ]


def _lower(found: xr.Dataset, outside: str) -> Verdict:
    least = found.least.min("look", skipna=False)
    return claim(
        "zou2020-lem5.2a",
        r"$\lVert\nabla_{W_L}L_S(\tilde W)\rVert_F^2\ge C\frac{m\phi}{n^5}"
        r"\big(\sum_i\ell'(y_i\tilde y_i)\big)^2$ within $\tau$ of the start; in the proof, "
        r"$\ge C\frac{m\phi}{n^3}\max_i\ell'(y_i\tilde y_i)^2$",
        exponent_at_most(
            "the reciprocal of a run's least quotient of $K^{(L)}$ in $m$",
            1 / (least * found.width),
            -1,
            HALF_WAY,
        ),
        exponent_at_most(
            r"the same with $\max_i\lvert c_i\rvert$ in place of $\sum_i\lvert c_i\rvert$",
            1 / (found.least_of_largest * found.width),
            -1,
            HALF_WAY,
        ),
        anyway(
            at_least(
                "the gradient's own quotient along the run, over the least",
                found.last / found.least,
                1 - ROUNDING,
                ".4g",
            )
        ),
        outside=outside,
        holds="The least that the last layer's gradient can be grows like the width or faster, at "
        "every moment of the runs, in the form of the lemma and in that of its proof",
        fails="The least that the last layer's gradient can be grows slower than the width, or the "
        "gradient is smaller than that.",
    )


def _upper(found: xr.Dataset, outside: str) -> Verdict:
    root, deep = (
        np.sqrt(each.max("look", skipna=False)) for each in (found.largest, found.deep_largest)
    )
    reached = np.maximum(
        (found.reached / found.largest).max(("look", "width"), skipna=False),
        (found.deep_reached / found.deep_largest).max(("look", "depth"), skipna=False),
    )
    return claim(
        "zou2020-lem5.2b",
        r"$\lVert\nabla_{W_l}L_S(\tilde W)\rVert_F\le"
        r"-\frac{C'LM^{1/2}}n\sum_i\ell'(y_i\tilde y_i)$ within $\tau$ of the start",
        exponent_at_most(
            r"the root of a run's largest quotient, over $\sqrt M$, in $m$", root, 0, HALF_WAY
        ),
        exponent_at_most("the same in $L$", deep, 1, 0, "depth"),
        anyway(
            at_most(
                "the squared gradient of a layer over the largest that it can be",
                reached,
                1 + ROUNDING,
            )
        ),
        outside=outside,
        holds=r"The largest that a layer's gradient can be is of order $\sqrt M$ at every moment "
        "of the runs, and grows slower than $L$",
        fails=r"The largest that a layer's gradient can be outgrows $\sqrt M$ or $L$, or a "
        "gradient is larger than that.",
    )


def _sufficient_descent(found: xr.Dataset, outside: str) -> Verdict:
    smooth = found.smooth.mean("multiple", skipna=False)
    return claim(
        "zou2020-lem5.3",
        r"$L_S(W^{(k+1)})-L_S(W^{(k)})\le-(\eta-C'ML^3\eta^2)\lVert\nabla L_S\rVert_F^2-"
        r"\frac{C''L^{8/3}\tau^{1/3}\sqrt{M\log M}\,\eta\lVert\nabla L_S\rVert_F}n"
        r"\sum_i\ell'(y_i\hat y_i^{(k)})$",
        exponent_at_most(
            r"the smooth part over $M(\eta\lVert\nabla L_S\rVert_F)^2$ in $m$", smooth, 0, HALF_WAY
        ),
        exponent_at_most(r"its reciprocal in $\eta$", 1 / found.smooth, 0, HALF_WAY, "multiple"),
        exponent_at_most(
            "the same part in $L$", found.deep_smooth.mean("multiple", skipna=False), 3, 0, "depth"
        ),
        exponent_at_most(
            r"what flips add, over the lemma's last term without $C''L^{8/3}$ and in the worst of "
            rf"each {BLOCK} draws, in $m$",
            _worst_of_blocks(found),
            0,
            HALF_WAY,
        ),
        outside=outside,
        holds=r"A step is short of $\eta\lVert\nabla L_S\rVert_F^2$ by two parts, a quadratic "
        "one and what flips add, and neither outgrows the lemma's term for it",
        fails="What a step is short of outgrows the lemma's terms.",
    )


def _worst_of_blocks(found: xr.Dataset) -> xr.DataArray:
    """The largest size of what flips add over its bound, at any step, shape (blocks, widths)."""
    size = np.abs(found.flips_of_bound).max("multiple", skipna=False).transpose("draw", "width")
    worst: xr.DataArray = size.coarsen(draw=BLOCK, boundary="trim").reduce(np.max)
    return worst


def _half(settings: Settings, found: xr.Dataset, outside: str) -> Verdict:
    s = settings
    beyond_quadratic = found.edge_over_curvature.mean("width").rename(trial="seed")
    return claim(
        "zou2020-eq5.1",
        r"for $\eta\le\frac1{4C'ML^3}$ every step has "
        r"$L_S(W^{(k+1)})-L_S(W^{(k)})\le-\frac\eta2\lVert\nabla L_S(W^{(k)})\rVert_F^2$",
        at_least(
            r"what a step takes off the loss, over $\eta\lVert\nabla L_S\rVert_F^2$, with $\eta$ = "
            f"${s.step_size:g}/(mL)$",
            found.descent,
            HALF,
        ),
        exponent_at_most(
            "the reciprocal of the largest such $\\eta$ in $m$",
            found.width / found.edge,
            1,
            HALF_WAY,
        ),
        exponent_at_most("the same in $L$", found.depth / found.deep_edge, 3, 0, "depth"),
        note(
            r"The largest such $\eta$ is, times $\lambda_{\max}(K)/4n$, "
            f"{spread(beyond_quadratic, '.2f', 'draws')}, where a quadratic with the largest "
            "curvature that the cross-entropy can have has 1"
        ),
        outside=outside,
        holds="Every step of the runs takes off half or more of what a smooth loss would give, and "
        "the largest step that does so falls no faster than $1/(mL^3)$",
        fails=r"A step takes off less than $\frac\eta2\lVert\nabla L_S\rVert_F^2$, or the largest "
        "that does not falls faster than $1/(mL^3)$.",
    )


def _trajectory(found: xr.Dataset) -> Verdict:
    descends = (found.descent >= HALF).all("step")
    short = int((~descends).sum())
    outside = (
        f"in {short} of {descends.size} runs a step descends by less than half" if short else ""
    )
    return claim(
        "zou2020-traj",
        r"while eq. (5.1) holds, $\lVert W_l^{(k)}-W_l^{(0)}\rVert_2\le\eta\sum_t\lVert\nabla "
        r"L_S(W^{(t)})\rVert_F\le\sqrt{2k\eta L_S(W^{(0)})}$",
        anyway(
            at_most(
                r"$\lVert W^{(k)}-W^{(0)}\rVert_F$ of all layers over "
                r"$\sqrt{2k\eta(L_S(0)-L_S(k))}$, at any step",
                found.path.where(descends, 0),
                1.0,
            )
        ),
        true("every step of the runs satisfies eq. (5.1)", descends),
        note(
            "The largest spectral distance of a layer has room for a factor of "
            f"{spread((1 / found.spectral_path.max('looked')).mean('width'), '.2f')}"
        ),
        outside=outside,
        holds="All layers together stay within the bound at every step, with what the loss has "
        "lost in place of the whole of it.",
        fails="Iterates go farther than steps that satisfy eq. (5.1) can lead.",
    )


def _one_short(descent: xr.DataArray) -> xr.DataArray:
    """With one step of one run at the largest width that takes too little off."""
    told = descent.copy()
    told[{"seed": 0, "width": -1, "step": 0}] = 0.49
    return told


CONTROLS = {
    "zou2020-lem5.2a": Lie(
        "every least quotient is divided by the square root of the width",
        lambda settings, found: found.assign(least=found.least / found.width**0.5),
    ),
    "zou2020-lem5.2b": Lie(
        "every largest quotient is multiplied by the width",
        lambda settings, found: found.assign(largest=found.largest * found.width),
    ),
    "zou2020-lem5.3": Lie(
        "what flips add is multiplied by the width",
        lambda settings, found: found.assign(flips_of_bound=found.flips_of_bound * found.width),
    ),
    "zou2020-eq5.1": Lie(
        r"at the largest width one step takes off $0.49\,\eta\lVert\nabla L_S\rVert_F^2$",
        lambda settings, found: found.assign(descent=_one_short(found.descent)),
    ),
    "zou2020-traj": Lie(
        "every distance is half as large again",
        lambda settings, found: found.assign(path=1.5 * found.path),
    ),
}
