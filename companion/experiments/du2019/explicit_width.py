"""Theorems 3.2 and 4.1 inside their own regime: R' < R at the explicit width, and all follows.

Also a table of the widths that Lemma 3.1 and both theorems need. Refuted by a run at its own
explicit width in which the events of the proof happen and R' < R, the eigenvalue bound, the
distance bound or the rate does not follow; or by events that fail more often than delta.
"""

import math
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from companion.bounds.du2019 import (
    corollary_4_1_distance,
    initial_misfit,
    lemma_3_1_width,
    lemma_3_2_radius,
    lemma_3_3_distance,
    lemma_4_1_flips,
    theorem_3_2,
    theorem_3_2_width,
    theorem_4_1,
    theorem_4_1_free_step_size,
    theorem_4_1_radius,
    theorem_4_1_width_at,
)
from companion.datafiles import digits_source
from companion.datasets import DataSet, digits, sphere
from companion.dynamics import Every, Trajectory, gradient_descent, gradient_flow
from companion.errors import InputError
from companion.kernels import infinite_width_gram, lambda_min
from companion.lab.experiment import Cost
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Positive, Probability, Size
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import draw_two_layer
from companion.observables import gram_lambda_min, max_distance, misfit

EXPECTED: dict[str, Outcome] = {"du2019-width-explicit": "holds"}
DATA = "digits"
# Orthonormal inputs have H_inf = I / 2.
ORTHOGONAL_LAMBDA_0 = 0.5


class Settings(BaseSettings):
    """What is run.

    Attributes:
        spheres: n = d of the data sets on the sphere in the table.
        digits_per_class: images of each of two digits in the table.
        table_delta: failure probability in the table.
        flow_counts: n of the gradient flows run at their explicit width, on orthonormal inputs.
        descent_counts: the same for gradient descent.
        delta: failure probability of these runs; one half of it for each event bounded by Markov.
        label_norm: ||y|| of these runs.
        seeds: independent initialisations of each run.
        duration: time of the flow, and eta times the number of steps of descent.
        step_share: share of the proof's budget that the step size takes, eta n^2 / (lambda_0 / 2).
        tolerance: of the solver of gradient flow.
        memory_limit: in GiB; settings that need more are refused.
    """

    spheres: tuple[Annotated[int, Field(ge=2)], ...] = (10, 30, 100, 300, 1000)
    digits_per_class: Size = 500
    table_delta: Probability = 0.1
    flow_counts: tuple[Size, ...] = (1,)
    descent_counts: tuple[Size, ...] = (1,)
    delta: Probability = 0.5
    label_norm: Positive = 0.1
    seeds: Size = 5
    duration: Positive = 4.0
    step_share: Annotated[float, Field(gt=0, lt=1)] = 0.146
    tolerance: Positive = 1e-7
    memory_limit: Positive = 2.0


QUICK = Settings()
PAPER = Settings(flow_counts=(1, 2), descent_counts=(1, 2), seeds=2, duration=2.0, memory_limit=6.0)


def cost(settings: Settings) -> Cost:
    """Eigenvalues of the table; some hundred right-hand sides of the flow; the steps of descent."""
    table = sum(10 * n**3 for n in (*settings.spheres, 2 * settings.digits_per_class))
    flow = sum(3e3 * n * n * _flow_width(settings, n) for n in settings.flow_counts)
    descent = sum(
        _steps(settings, n) * 8 * n * n * _descent_width(settings, n)
        for n in settings.descent_counts
    )
    return Cost(table + settings.seeds * (flow + descent), _bytes(settings))


def run(settings: Settings, device: str) -> Result:
    """Fill the table, then run the theorems at their own widths.

    Raises:
        InputError: the runs need more than `memory_limit`.
    """
    _check_memory(settings)
    rows, real = _table(settings, device)
    arrays = {f"table_{name}": np.array([row[name] for row in rows]) for name in rows[0]}
    runs = [("flow", n) for n in settings.flow_counts]
    runs += [("descent", n) for n in settings.descent_counts]
    for kind, count in runs:
        train = partial(_RUNS[kind], settings, count, device)
        found = sweep(f"{kind}{count}", train, seed=range(settings.seeds))
        arrays |= {f"{kind}{count}_{name}": array for name, array in found.items()}
    return Result(
        experiment="du2019/explicit_width",
        settings=settings.model_dump(mode="json"),
        values=_values(settings, rows),
        arrays=arrays,
        data=f"uniform on the sphere; orthonormal inputs; {real}",
    )


def _table(settings: Settings, device: str) -> tuple[list[dict[str, float]], str]:
    """One row of explicit numbers per data set, real digits last, and the name of their source."""
    real = digits(digits_source(), (3, 8), settings.digits_per_class)
    sets = [sphere(n, n, seed=0) for n in settings.spheres] + [real]
    return [_explicit(data.to(torch.float64, device), settings.table_delta) for data in sets], (
        real.source
    )


def _explicit(data: DataSet, delta: float) -> dict[str, float]:
    """Theory calculator: lambda_0, R and the widths, delta split over the two Markov events."""
    count, half = len(data.y), delta / 2
    lambda_0 = lambda_min(infinite_width_gram(data.x))
    start = initial_misfit(float(data.y.square().sum()), count) / half
    step_size = theorem_4_1_free_step_size(count, lambda_0)
    return {
        "count": count,
        "lambda_0": lambda_0,
        "radius": lemma_3_2_radius(count, lambda_0, half),
        "lemma_3_1": lemma_3_1_width(count, lambda_0, delta),
        "flow": theorem_3_2_width(count, lambda_0, half, start),
        "descent": theorem_4_1_width_at(count, lambda_0, half, start, step_size),
        "step_size": step_size,
    }


def _values(settings: Settings, rows: list[dict[str, float]]) -> dict[str, float | int]:
    names = [f"sphere{n}" for n in settings.spheres] + ["digits"]
    named = dict(zip(names, rows, strict=True))
    values: dict[str, float | int] = {
        f"{name}_{key}": value for name, row in named.items() for key, value in row.items()
    }
    # n = 2 is named even where it is not run: it shows how fast the width grows.
    for n in sorted({1, 2, *settings.flow_counts, *settings.descent_counts}):
        values[f"flow_width_{n}"] = _flow_width(settings, n)
        values[f"descent_width_{n}"] = _descent_width(settings, n)
        values[f"descent_step_size_{n}"] = _step_size(settings, n)
    least = min(_flow_width(settings, n) / n**2 for n in settings.flow_counts)
    # The proof's third event, Lemma 3.1, fails with Hoeffding's exp(-m lambda_0^2 / 8 n^2).
    values["lemma_3_1_digits"] = least * ORTHOGONAL_LAMBDA_0**2 / 8 / math.log(10)
    return values


def _start(settings: Settings, count: int) -> float:
    """Markov's bound on ||y - u(0)||^2, which fails with probability at most delta / 2."""
    return initial_misfit(settings.label_norm**2, count) / (settings.delta / 2)


def _flow_width(settings: Settings, count: int) -> int:
    half = settings.delta / 2
    return math.floor(
        theorem_3_2_width(count, ORTHOGONAL_LAMBDA_0, half, _start(settings, count)) + 1
    )


def _step_size(settings: Settings, count: int) -> float:
    return settings.step_share * ORTHOGONAL_LAMBDA_0 / (2 * count**2)


def _steps(settings: Settings, count: int) -> int:
    return math.ceil(settings.duration / _step_size(settings, count))


def _descent_width(settings: Settings, count: int) -> int:
    half, step_size = settings.delta / 2, _step_size(settings, count)
    start = _start(settings, count)
    width = theorem_4_1_width_at(count, ORTHOGONAL_LAMBDA_0, half, start, step_size)
    return math.floor(width + 1)


def _bytes(settings: Settings) -> float:
    """Peak memory, measured: about 40 copies of the parameters for the solver, 12 for descent."""
    size = torch.finfo(getattr(torch, settings.dtype)).bits // 8
    flow = [40 * size * (n + 1) * _flow_width(settings, n) for n in settings.flow_counts]
    descent = [12 * size * n * _descent_width(settings, n) for n in settings.descent_counts]
    return float(max([*flow, *descent, 8 * 8 * max(settings.spheres) ** 2]))


def _check_memory(settings: Settings) -> None:
    needed = _bytes(settings) / 2**30
    if needed > settings.memory_limit:
        raise InputError(
            f"these widths need about {needed:.1f} GiB where memory_limit is "
            f"{settings.memory_limit:g}; raise memory_limit, or choose a larger delta or fewer "
            "inputs."
        )


def _orthonormal(settings: Settings, count: int, device: str) -> DataSet:
    """The unit vectors of R^n with labels of alternating sign and norm `label_norm`."""
    x = torch.eye(count, dtype=torch.float64)
    y = (-1.0) ** torch.arange(count, dtype=torch.float64) * settings.label_norm / math.sqrt(count)
    dtype = getattr(torch, settings.dtype)
    return DataSet(x, y, f"orthonormal, n={count}").to(dtype, device)


def _flow(settings: Settings, count: int, device: str, *, seed: int) -> dict[str, np.ndarray]:
    """Gradient flow at the width of Theorem 3.2."""
    data, width = _orthonormal(settings, count, device), _flow_width(settings, count)
    network = draw_two_layer(width, count, seed, data.x.dtype, device)
    trajectory = gradient_flow(
        network,
        data.x,
        data.y,
        times=np.linspace(0, settings.duration, 9).tolist(),
        record={"misfit": misfit, "distance": max_distance, "lambda_min": gram_lambda_min},
        tolerance=settings.tolerance,
    )
    radius = lemma_3_2_radius(count, ORTHOGONAL_LAMBDA_0, settings.delta / 2)
    start = float(trajectory["misfit"][0])
    return _recorded(trajectory, network.preactivations(data.x), radius) | {
        "reach": np.array(lemma_3_3_distance(count, width, ORTHOGONAL_LAMBDA_0, start)),
        "bound": theorem_3_2(trajectory.at["misfit"], ORTHOGONAL_LAMBDA_0, start),
    }


def _descent(settings: Settings, count: int, device: str, *, seed: int) -> dict[str, np.ndarray]:
    """Gradient descent at the width and the step size of Theorem 4.1."""
    data, width = _orthonormal(settings, count, device), _descent_width(settings, count)
    network = draw_two_layer(width, count, seed, data.x.dtype, device)
    step_size, steps = _step_size(settings, count), _steps(settings, count)
    seldom = max(1, steps // 8)
    trajectory = gradient_descent(
        network,
        data.x,
        data.y,
        step_size=step_size,
        steps=steps,
        record={
            "misfit": misfit,
            "distance": Every(seldom, max_distance),
            "lambda_min": Every(seldom, gram_lambda_min),
        },
    )
    radius = theorem_4_1_radius(count, ORTHOGONAL_LAMBDA_0, settings.delta / 2, step_size)
    start = float(trajectory["misfit"][0])
    recorded = _recorded(trajectory, network.preactivations(data.x), radius)
    scaled = {name: step_size * recorded[name] for name in ("time", "sparse_time")}
    return (
        recorded
        | scaled
        | {
            "reach": np.array(corollary_4_1_distance(count, width, ORTHOGONAL_LAMBDA_0, start)),
            "bound": theorem_4_1(trajectory.at["misfit"], step_size, ORTHOGONAL_LAMBDA_0, start),
        }
    )


_RUNS = {"flow": _flow, "descent": _descent}


def _recorded(
    trajectory: Trajectory, preactivations: torch.Tensor, radius: float
) -> dict[str, np.ndarray]:
    return {
        "time": trajectory.at["misfit"],
        "sparse_time": trajectory.at["distance"],
        **trajectory.values,
        "near": np.array(float((preactivations.abs() < radius).sum())),
        "radius": np.array(radius),
        "width": np.array(preactivations.shape[1]),
    }


def judge(result: Result) -> list[Verdict]:
    """Every link of the proof in every run; how often its events failed."""
    s = result.settings
    runs = [("flow", n) for n in s["flow_counts"]] + [("descent", n) for n in s["descent_counts"]]
    chains = {(kind, n): _chain(result, kind, n) for kind, n in runs}
    failed = [np.flatnonzero(~chain["events"]) for chain in chains.values()]
    # Conclusions may be missed only where an event failed, which it may with probability delta.
    broken = sum(int((chain["events"] & ~chain["conclusions"]).sum()) for chain in chains.values())
    unlucky = min(_tail(s["seeds"], len(which), s["delta"]) for which in failed)
    widest = ", ".join(
        f"{kind} n={n} at m={int(result.arrays[f'{kind}{n}_width'][0]):,}" for kind, n in runs
    )
    often = unlucky > 0.01
    share = np.concatenate([chain["share"] for chain in chains.values()])
    least = min(float(chain["eigenvalue"].min()) for chain in chains.values())
    return [
        Verdict(
            "du2019-width-explicit",
            "holds" if broken == 0 and often else "fails",
            rf"with probability at least ${1 - s['delta']:g}$: $R'<R$, distance at most $R'$, "
            r"$\lambda_{\min}(H(t))\ge\lambda_0/2$ and the rate",
            f"{widest}: events failed in {sum(map(len, failed))} of {len(runs) * s['seeds']} runs, "
            f"conclusions in {broken} of the others; distance over $R'$ {share.mean():.3f} "
            f"({share.min():.3f} to {share.max():.3f}); "
            rf"least $\lambda_{{\min}}(H(t))/\lambda_0$ {least:.4f}",
            "no broken link; failed events not rarer than 1 in 100 at rate delta",
            "At the explicit width of its own proof, on orthonormal inputs, "
            + (
                "a theorem's chain of bounds is broken."
                if broken
                else "each theorem's chain of bounds was seen link by link."
                if often
                else "the events of the proof fail more often than delta allows."
            ),
        )
    ]


def _chain(result: Result, kind: str, count: int) -> dict[str, np.ndarray]:
    """Which events and which conclusions were seen, per seed; shapes (seeds,)."""
    a = {
        name: result.arrays[f"{kind}{count}_{name}"]
        for name in (
            "misfit", "bound", "distance", "lambda_min", "reach", "radius", "near", "width",
        )
    }  # fmt: skip
    half = result.settings["delta"] / 2
    start = initial_misfit(result.settings["label_norm"] ** 2, count) / half
    flips = lemma_4_1_flips(count, int(a["width"][0]), float(a["radius"][0])) / half
    eigenvalue = a["lambda_min"] / ORTHOGONAL_LAMBDA_0
    return {
        "events": (a["misfit"][:, 0] <= start) & (eigenvalue[:, 0] >= 0.75) & (a["near"] <= flips),
        "conclusions": (a["reach"] < a["radius"])
        & (a["distance"].max(axis=1) <= a["reach"])
        & (eigenvalue.min(axis=1) >= 0.5)
        & (a["misfit"] <= a["bound"]).all(axis=1),
        "share": a["distance"].max(axis=1) / a["reach"],
        "eigenvalue": eigenvalue.min(axis=1),
    }


def _tail(trials: int, failures: int, rate: float) -> float:
    """P(at least `failures` of `trials` fail) where each fails with probability `rate`."""
    return sum(
        math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k)
        for k in range(failures, trials + 1)
    )
