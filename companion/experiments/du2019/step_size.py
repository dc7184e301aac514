"""A step size of order lambda_0 / n^2 suffices, whatever the width (Theorem 4.1).

Refuted by a run at eta = lambda_0 / n^2 that contracts less than the theorem says; what the
companion adds, by a largest stable step size below a floor without the width.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.bounds.du2019 import explicit_width, theorem_4_1_step_size, theorem_4_1_width
from companion.datasets import sphere
from companion.experiments.du2019._problem import Problem, on_data
from companion.experiments.du2019._regime import unmet
from companion.kernels import empirical_gram, lambda_max
from companion.lab.checks import at_least, claim, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, contraction, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import (
    Count,
    Dimension,
    Probability,
    SeededSettings,
    SeveralSizes,
    Share,
)
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import misfit

EXPECTED: dict[str, Outcome] = {
    "du2019-thm4.1-eta": "outside-regime",
    "du2019-thm4.1-eta-edge": "holds",
}


class Settings(SeededSettings):
    """What is run.

    Attributes:
        counts: n of the sweep at the middle width, in increasing order.
        widths: m of the sweep at the middle count, in increasing order.
        dimension: d, the length of an input.
        steps: over which a stable run must decrease at every step.
        resolution: relative width at which the bisection for the largest stable step size stops.
        delta: failure probability in the explicit width.
    """

    counts: Annotated[tuple[Count, ...], Field(min_length=3)] = (10, 20, 40, 80)
    widths: SeveralSizes = (250, 1000, 4000)
    dimension: Dimension = 20
    steps: Count = 40
    resolution: Share = 0.02
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(
    counts=(10, 20, 40, 80, 160),
    widths=(250, 1000, 4000, 16000),
    seeds=5,
    steps=100,
    resolution=0.01,
)


def summary(settings: Settings) -> str:
    """What is bisected for, counts, widths, seeds and data."""
    s = settings
    count, width = (sizes[len(sizes) // 2] for sizes in (s.counts, s.widths))
    return (
        f"A bisection, to within {100 * s.resolution:g} %, for the largest step size at which the "
        f"squared residual falls at each of {s.steps} steps, for $n$ = {listed(s.counts)} inputs "
        f"at $m={width}$ and for $m$ = {listed(s.widths)} hidden units at $n={count}$, from each "
        f"of {s.seeds} seeds; every seed draws its own inputs, uniform on the sphere in dimension "
        f"$d={s.dimension}$, with labels from $N(0,1)$."
    )


def cost(settings: Settings) -> Cost:
    """About ten trainings a network; two products of (n, d) and (d, m) a step."""
    s = settings
    pairs = sum(n * m for n, m in _cells(s))
    steps = s.seeds * s.steps * (1 + np.log2(np.log(8 * max(s.counts)) / s.resolution))
    largest = max(n * m for n, m in _cells(s))
    return Cost(
        float(steps) * pairs * 4 * s.dimension, 8 * (3 * largest + 3 * s.dimension * max(s.widths))
    )


def _cells(settings: Settings) -> list[tuple[int, int]]:
    """Pairs (n, m): the sweep over counts, then the sweep over widths."""
    count = settings.counts[len(settings.counts) // 2]
    width = settings.widths[len(settings.widths) // 2]
    return [(n, width) for n in settings.counts] + [(count, m) for m in settings.widths]


def run(settings: Settings, device: str) -> xr.Dataset:
    """Bisect for the largest stable step size of every network, and try the theorem's."""
    s, cells = settings, _cells(settings)
    found = sweep(
        "cells", partial(_one_network, s, device), seed=s.each_seed, cell=range(len(cells))
    )
    counts, widths = zip(*cells, strict=True)
    found = found.assign(counts=("cell", list(counts)), widths=("cell", list(widths)))
    return found.assign_attrs(data=f"uniform on the sphere, n={s.counts}, d={s.dimension}")


def _one_network(settings: Settings, device: str, *, seed: int, cell: int) -> Variables:
    count, width = _cells(settings)[cell]
    data = sphere(count, settings.dimension, seed)
    problem = on_data(data, settings, device, seed=seed, width=width)
    theorem = theorem_4_1_step_size(count, problem.lambda_0)
    worst = partial(worst_ratio, problem, steps=settings.steps)
    largest = largest_stable_step_size(worst, count, settings.resolution)
    trained = problem.train(largest, settings.steps).network
    return {
        "lambda_0": problem.lambda_0,
        "edge": 2 / lambda_max(problem.gram),
        "limit_edge": 2 / problem.lambda_largest,
        "theorem": theorem,
        "theorem_ratio": worst(theorem),
        "largest": largest,
        "final_edge": 2 / lambda_max(empirical_gram(trained, problem.x)),
    }


def worst_ratio(problem: Problem, step_size: float, *, steps: int) -> float:
    """Largest ||u(k+1) - y||^2 / ||u(k) - y||^2 of a run; infinite if it diverges."""
    history = problem.train(step_size, steps, {"misfit": misfit})
    if history.ending == "diverged":
        return float("inf")
    misfits = xr.DataArray(history["misfit"], dims="step")
    dtype = str(problem.x.dtype).removeprefix("torch.")
    return float(contraction(misfits, problem.network.widths[0], dtype).max())


def largest_stable_step_size(
    worst_ratio: Callable[[float], float], count: int, resolution: float
) -> float:
    """Bisect, on a logarithmic scale, for the step size at which a run stops decreasing.

    The entries of H are at most 1 and its trace is near n/2, so 2 / lambda_max(H) lies between 2/n
    and about 4; the search spans twice that on each side and knows nothing else of the edge.

    Args:
        worst_ratio: step size -> largest ratio of successive squared residuals.
        count: n, of inputs.
        resolution: relative distance at which to stop.
    """
    low, high = 1 / count, 8.0
    while high > low * (1 + resolution):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if worst_ratio(middle) < 1 else (low, middle)
    return low


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Factors by which the largest stable step size exceeds the theorem's and other marks."""
    slack, ratio = (found.largest / found[mark] for mark in ("theorem", "edge"))
    last_count, first_width = len(settings.counts) - 1, len(settings.counts)
    return {
        "least_count": settings.counts[0],
        "most_count": settings.counts[-1],
        "least_slack": slack.isel(cell=0).mean(),
        "most_slack": slack.isel(cell=last_count).mean(),
        "edge_ratio": ratio.mean(),
        "edge_ratio_widest": ratio.isel(cell=-1).mean(),
        "edge_ratio_narrowest": ratio.isel(cell=first_width).mean(),
        "final_edge_ratio": (found.largest / found.final_edge).mean(),
        "least_over_trace": (found.largest * found.counts / 4).min(),
        "least_over_floor": (found.largest / floor(found)).min(),
        "needed_width": _needed_width(settings, found),
        "largest_width": max(settings.widths),
        "steps": settings.steps,
    }


def _needed_width(settings: Settings, found: xr.Dataset) -> float:
    """The theorem's explicit width at the least n, where it is least."""
    n, lambda_0 = settings.counts[0], float(found.lambda_0.isel(cell=0).mean())
    return explicit_width(theorem_4_1_width, n, lambda_0, settings.delta, n)


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """An upper bound is claimed: does lambda_0 / n^2 do? And how much more would do as well?"""
    s, smaller = settings, (found.largest / found.theorem).mean("seed")
    removed = (1 - found.theorem_ratio) / (found.theorem * found.lambda_0 / 2)
    least, most = (number(smaller[cell], ",.0f") for cell in (0, len(s.counts) - 1))
    return [
        claim(
            "du2019-thm4.1-eta",
            r"A step of size $\eta=\lambda_0/n^2$ removes at least the share $\eta\lambda_0/2$ of "
            r"$\lVert u(k)-y\rVert^2$, at every $n$ and every $m$.",
            at_least(
                r"the share of $\lVert u(k)-y\rVert^2$ that a step of that size removes, over "
                r"$\eta\lambda_0/2$",
                removed,
                1.0,
            ),
            outside=unmet(_needed_width(s, found), max(s.widths)),
            holds=f"The theorem's step size is enough at every $n$ and $m$, in {s.seeds} draws of "
            f"inputs and networks; the largest one that would do is {least} times as large at "
            f"$n={s.counts[0]}$ and {most} times at $n={s.counts[-1]}$",
            fails=r"A step of size $\lambda_0/n^2$ removes less than the theorem says.",
        ),
        _edge(settings, found),
    ]


def _edge(settings: Settings, found: xr.Dataset) -> Verdict:
    """What the companion adds: a floor under the largest stable step size, without a width."""
    s, first_width = settings, len(settings.counts)
    over_widths = found.largest.isel(cell=slice(first_width, None)).rename(cell="size")
    law = PowerLaw.through(over_widths.assign_coords(size=list(s.widths)), "size")
    edge = (found.largest / found.edge).mean("cell")
    return claim(
        "du2019-thm4.1-eta-edge",
        r"The largest stable step size is at least $2/(\lambda_{\max}(H^\infty)+\lambda_0/4)$, in "
        f"which no width appears; the bisection finds it to within {100 * s.resolution:g} %.",
        at_least(
            "the largest stable step size, over that floor",
            found.largest / floor(found),
            1 - s.resolution,
        ),
        note(
            r"Over $2/\lambda_{\max}(H(0))$, the edge of stability of the start, it is "
            f"{spread(edge)}; its exponent in $m$ is {law.exponent:.3f} ({law.low:.3f} to "
            f"{law.high:.3f})"
        ),
        holds="The range of stable step sizes reaches beyond the floor, which has no $m$, at every "
        "$n$ and $m$.",
        fails="The range of stable step sizes ends below the floor.",
    )


def floor(found: xr.Dataset) -> xr.DataArray:
    """The edge of stability of a matrix that is off the limit by lambda_0/4, as in Lemma 3.1."""
    limit: xr.DataArray = 2 / (2 / found.limit_edge + found.lambda_0 / 4)
    return limit


def _too_slow(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(theorem_ratio=1 - 0.99 * found.theorem * found.lambda_0 / 2)


def _too_early(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """At the largest width."""
    ends = found.largest.copy()
    ends[{"cell": -1}] = (1 - 2 * settings.resolution) * floor(found).isel(cell=-1)
    return found.assign(largest=ends)


CONTROLS = {
    "du2019-thm4.1-eta": Lie(
        r"at $\eta=\lambda_0/n^2$ a step removes 1 % less of the squared residual than "
        r"$\eta\lambda_0/2$",
        _too_slow,
    ),
    "du2019-thm4.1-eta-edge": Lie(
        "at the largest width the stable range ends below the floor by twice what the bisection "
        "leaves open",
        _too_early,
    ),
}
