"""Gradient descent with eta = c/(m L^3) reaches a loss epsilon in O(1/epsilon) steps (Theorem 4.4).

Refuted by a step that raises the loss, by a number of steps that grows faster than 1/epsilon or
with the width, or by a largest stable step size that falls faster than 1/(m L^3).
"""

from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.bounds.zou2020 import (
    remark_4_1_accuracy,
    theorem_4_4_iterations,
    theorem_4_4_step_size,
    theorem_4_4_width,
)
from companion.experiments.du2019.step_size import largest_stable_step_size
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw
from companion.lab.checks import anyway, at_most, claim, exponent_at_most, note, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.linearised import FrozenKernel
from companion.losses import CROSS_ENTROPY
from companion.monitors import least_distance, mean_loss, training_error

EXPECTED: dict[str, Outcome] = {"zou2020-thm4.4": "outside-regime", "zou2020-rem4.1": "holds"}
# How far an exponent may exceed the theorem's, which hides logarithms: that of x looks like a power
# 1 / log(x), and here x, a width or 1/epsilon, is about 100.
LOGARITHM = 0.2


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L of the runs.
        widths: m of the runs, and of the largest stable step size at that depth.
        constant: c of the step size c / (m L^3); the theorem does not name it.
        steps: of each run.
        shares: losses to be reached, as multiples of log(2)/n, decreasing.
        depths: L of the largest stable step size.
        depths_width: m of the same.
        hard_count: n of the same, on inputs so many for their dimension that a few steps do not
            separate the labels: past that the cross-entropy has hardly any curvature.
        hard_dimension: d of the same.
        stable_steps: over which a stable run must lower the loss at every step.
        resolution: relative width at which the bisection for the largest stable step size stops.
    """

    count: Count = 10
    seeds: Size = 8
    depth: Size = 2
    widths: SeveralSizes = (64, 128, 256)
    constant: Positive = 64.0
    steps: Count = 200
    shares: Annotated[tuple[Positive, ...], Field(min_length=3)] = (1.0, 0.5, 0.25)
    depths: SeveralSizes = (1, 2, 4, 8)
    depths_width: Size = 64
    hard_count: Count = 20
    hard_dimension: Dimension = 5
    stable_steps: Count = 12
    resolution: Share = 0.05


QUICK = Settings()
PAPER = Settings(
    widths=(128, 256, 512, 1024), seeds=10, depths=(1, 2, 4, 8, 16), depths_width=256,
    stable_steps=50,
)  # fmt: skip


def summary(settings: Settings) -> str:
    """Step size, data, networks, seeds, and what is bisected for."""
    s = settings
    return (
        f"{s.steps} steps of gradient descent with $\\eta={number(s.constant)}/(mL^3)$ on the "
        f"cross-entropy of networks with $L={s.depth}$ hidden layers of width {listed(s.widths)}; "
        f"a bisection, to within {100 * s.resolution:g} %, for the largest step size at which the "
        f"loss falls at each of {s.stable_steps} steps, for these and for $L$ = "
        f"{listed(s.depths)} at $m={s.depths_width}$; inputs of norm 1 with $\\mu={s.mu:g}$ and "
        f"random labels, $n={s.count}$ in dimension $d={s.dimension}$ for the runs and "
        f"$n={s.hard_count}$ in $d={s.hard_dimension}$ for the bisections, {s.seeds} draws of data "
        "and networks."
    )


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a hidden layer and step; weights, start and gradient."""
    s = settings
    runs = s.steps * s.depth * sum(m**2 for m in s.widths)
    trials = 1 + np.log2(np.log(8 * s.hard_count) / s.resolution)
    edges = trials * s.stable_steps * sum(depth * m**2 for m, depth in _cells(s))
    edges *= s.hard_count / s.count
    memory = 8 * 4 * max(depth * m**2 for m, depth in _cells(s))
    return Cost(6 * s.count * s.seeds * float(runs + edges), memory)


def _cells(settings: Settings) -> list[tuple[int, int]]:
    """Pairs (m, L) of the bisections: the widths, then the depths."""
    s = settings
    return [(m, s.depth) for m in s.widths] + [(s.depths_width, depth) for depth in s.depths]


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train at every width, and bisect for the largest stable step size over widths and depths."""
    s = settings
    found = sweep("runs", partial(_train, s, device), seed=s.each_seed, width=s.widths)
    cells = range(len(_cells(s)))
    edges = sweep("edges", partial(_edge, s, device), seed=s.each_seed, cell=cells)
    return found.merge(edges).assign_attrs(data=s.data)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """One run, and what it would be if its kernel did not move."""
    s = settings
    problem = draw(s, device, seed=seed, width=width, depth=s.depth)
    step_size = s.constant * theorem_4_4_step_size(width, s.depth)
    record = {"loss": mean_loss, "error": training_error}
    history = problem.train(step_size, s.steps, record).stable()
    start, every = problem.network.predict(problem.x), range(s.steps + 1)
    frozen = FrozenKernel(problem.gram).descent(
        start, problem.y, step_size=step_size, steps=every, loss=problem.loss
    )
    positive = problem.y > 0
    return {
        "loss": ("step", history["loss"]),
        "error": ("step", history["error"]),
        "frozen": ("step", problem.loss.values(frozen.predictions, problem.y).mean(-1).cpu()),
        "separation": float(least_distance(problem.x[positive], problem.x[~positive])),
    }


def _edge(settings: Settings, device: str, *, seed: int, cell: int) -> Variables:
    """The largest stable step size of one network, and the one that its frozen kernel has."""
    s, (width, depth) = settings, _cells(settings)[cell]
    hard = s.override({"count": s.hard_count, "dimension": s.hard_dimension})
    problem = draw(hard, device, seed=seed, width=width, depth=depth)
    # The diagonal of K is about m L / 2, so 8 n / lambda_max(K) is between 16 / (m L) and n times
    # that; the bisection is from 1/n to 8, half of the one end to four times the other.
    unit = 8 * hard.count / (width * depth)

    def worst(share: float) -> float:
        return worst_ratio(problem, share * unit, s.stable_steps)

    return {
        "largest": unit * largest_stable_step_size(worst, hard.count, s.resolution),
        "predicted": FrozenKernel(problem.gram).stable_step_size(CROSS_ENTROPY),
    }


def worst_ratio(problem: Problem, step_size: float, steps: int) -> float:
    """Largest L_S(k+1) / L_S(k) of a run; infinite if it diverges."""
    history = problem.train(step_size, steps, {"loss": mean_loss})
    if history.ending == "diverged":
        return float("inf")
    return float((history["loss"][1:] / history["loss"][:-1]).max())


def first_steps(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """K, the first step with a loss of at most epsilon; NaN where no step of a run has it.

    Returns:
        With the dimensions seed, width and `inverse`, whose coordinate is 1/epsilon.
    """
    zero_error = remark_4_1_accuracy(settings.count)
    asked = [share * zero_error for share in settings.shares]
    each = [_first(found.loss <= epsilon) for epsilon in asked]
    return xr.concat(each, "inverse").assign_coords(inverse=[1 / epsilon for epsilon in asked])


def _first(flags: xr.DataArray) -> xr.DataArray:
    return flags.argmax("step").where(flags.any("step"))


def over_widths(settings: Settings, edges: xr.DataArray) -> xr.DataArray:
    """The part of the bisections that goes over widths, with their coordinate."""
    sizes = settings.widths
    part = edges.isel(cell=slice(len(sizes))).rename(cell="width")
    return part.assign_coords(width=[*sizes])


def over_depths(settings: Settings, edges: xr.DataArray) -> xr.DataArray:
    """The part that goes over depths."""
    part = edges.isel(cell=slice(len(settings.widths), None)).rename(cell="depth")
    return part.assign_coords(depth=[*settings.depths])


def zero_error(settings: Settings, found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """First step without an error, and the loss there in units of log(2)/n; NaN if there is none.

    Returns:
        Two arrays with the dimensions seed and width.
    """
    first = _first(found.error == 0)
    loss = found.loss.isel(step=first.fillna(0).astype(int)).where(first.notnull())
    return first, loss / remark_4_1_accuracy(settings.count)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents, numbers of steps, step sizes, and what the theorem asks for with constant 1."""
    s, steps = settings, first_steps(settings, found)
    first, last = steps.isel(inverse=0), steps.isel(inverse=-1)
    frozen = first_steps(settings, found.assign(loss=found.frozen)).isel(inverse=-1)
    separation, epsilon = float(found.separation.min()), remark_4_1_accuracy(s.count)
    no_error, loss_there = zero_error(settings, found)
    return {
        "depth": s.depth,
        "count": s.count,
        "constant": s.constant,
        "least_share": s.shares[-1],
        "zero_error_loss": epsilon,
        "slope_accuracy": exponent(steps, "inverse"),
        "slope_accuracy_narrowest": exponent(steps.isel(width=0), "inverse"),
        "slope_accuracy_widest": exponent(steps.isel(width=-1), "inverse"),
        "slope_width": exponent(first),
        "slope_width_last": exponent(last),
        "narrowest_last": last.isel(width=0).mean(),
        "widest_last": last.isel(width=-1).mean(),
        "frozen_last": frozen.isel(width=-1).mean(),
        "steps_to_zero_error": no_error.mean(),
        "steps_to_loss": first.mean(),
        "least_loss_there": loss_there.min(),
        "edge_ratio": (found.largest / found.predicted).mean(),
        "logarithm": LOGARITHM,
        "edge_width": -exponent(over_widths(s, found.largest)),
        "edge_depth": -exponent(over_depths(s, found.largest), "depth"),
        "separation": separation,
        "needed_width": theorem_4_4_width(s.count, s.depth, separation, epsilon),
        "needed_steps": theorem_4_4_iterations(s.count, s.depth, separation, epsilon),
        "narrowest": min(s.widths),
        "widest": max(s.widths),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The theorem's powers, from one side each; the implication of the remark."""
    return [_theorem(settings, found), _remark(settings, found)]


def _theorem(settings: Settings, found: xr.Dataset) -> Verdict:
    s, steps = settings, first_steps(settings, found)
    ratios = found.loss.isel(step=slice(1, None)) / found.loss.isel(step=slice(-1)).values
    wide, deep = over_widths(s, found.largest), over_depths(s, found.largest)
    law = PowerLaw.through(deep, "depth")
    return claim(
        "zou2020-thm4.4",
        r"With $\eta=c/(mL^3)$ the loss is at most $\epsilon$ after $K=\tilde O(1/\epsilon)$ "
        "steps, in which no width appears",
        at_most("$L_S$ after a step over $L_S$ before it", ratios, 1.0, ".4f"),
        exponent_at_most(r"$K$ in $1/\epsilon$", steps, 1, LOGARITHM, "inverse"),
        exponent_at_most(
            r"$K$ in the width $m$, at $\epsilon=\log(2)/n$",
            steps.isel(inverse=0),
            0,
            LOGARITHM,
        ),
        exponent_at_most(
            r"$1/(\eta_{\max}mL^3)$ in $m$, $\eta_{\max}$ being the largest stable step size",
            1 / (wide * wide.width),
            0,
            LOGARITHM,
        ),
        exponent_at_most(
            "the same in the depth $L$", 1 / (deep * deep.depth**3), 0, LOGARITHM, "depth"
        ),
        note(
            r"$\eta_{\max}$ falls in $L$ with the exponent "
            f"{law.exponent:.2f} ({law.low:.2f} to {law.high:.2f}), and is "
            r"$8n/\lambda_{\max}(K)$ times "
            f"{spread((found.largest / found.predicted).mean('cell'))}"
        ),
        outside=_unmet(s, found),
        holds=r"The loss falls at every step; the number of steps to a loss $\epsilon$ grows no "
        r"faster than $1/\epsilon$ and not with the width; and the largest stable step size falls "
        "no faster than $1/(mL^3)$.",
        fails=r"A step raises the loss, or the number of steps to a loss $\epsilon$ grows faster "
        "than the theorem says, or step sizes have to be smaller.",
    )


def _unmet(settings: Settings, found: xr.Dataset) -> str:
    """In which way the hypothesis on the width is not met."""
    s, separation = settings, float(found.separation.min())
    epsilon = s.shares[-1] * remark_4_1_accuracy(s.count)
    needed = theorem_4_4_width(s.count, s.depth, separation, epsilon)
    if max(s.widths) >= needed:
        return ""
    return (
        f"the theorem asks, with constant 1, for a width of {number(needed, '.0e')}, and at most "
        f"{max(s.widths)} was run"
    )


def _remark(settings: Settings, found: xr.Dataset) -> Verdict:
    s, (first, there) = settings, zero_error(settings, found)
    below = found.loss <= remark_4_1_accuracy(s.count)
    kept = (~below | (found.error == 0)).all("step")
    ahead = first_steps(s, found).isel(inverse=s.shares.index(1.0)) - first
    return claim(
        "zou2020-rem4.1",
        r"$L_S\le\log(2)/n$ leaves no example on the wrong side",
        anyway(
            true(
                r"in each run there is no error from the first step with $L_S\le\log(2)/n$ on",
                kept.where(below.any("step")),
            )
        ),
        note(
            f"the errors end {spread(ahead.mean('width'), '.0f')} steps earlier, at a loss of "
            rf"{spread(there.mean('width'))} times $\log(2)/n$"
        ),
        holds=r"Wherever the loss is at most $\log(2)/n$ no example is on the wrong side; the "
        "errors end earlier.",
        fails=r"An example is on the wrong side although the loss is at most $\log(2)/n$.",
        unclear=r"Not each run has reached a loss of $\log(2)/n$.",
    )


def _slower(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """As if the number of steps to each loss grew like the square root of the width."""
    loss, steps = found.loss.copy(), np.arange(settings.steps + 1)
    for place, width in enumerate(settings.widths):
        earlier = (steps * (settings.widths[0] / width) ** 0.5).astype(int)
        loss[{"width": place}] = found.loss.isel(width=place, step=earlier).values
    return found.assign(loss=loss)


def _one_error(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    error = found.error.copy()
    error[{"seed": 0, "width": 0, "step": -1}] = 1 / settings.count
    return found.assign(error=error)


CONTROLS = {
    "zou2020-thm4.4": Lie(
        "the number of steps to each loss grows like the square root of the width", _slower
    ),
    "zou2020-rem4.1": Lie("after the last step of one run an example is wrong", _one_error),
}
