"""What the two sides of a comparison share: the case, the numbers it is drawn from, the clock.

Every program here runs in a process of its own and takes one case as JSON. It makes ready, says on
one line of JSON what it computes, and then measures whenever it reads a line: so two sides take
turns and a machine's moods hit both. This file is imported in the peers' environment too: Python
and numpy, no more.
"""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

Case = dict[str, Any]
MOST_REPETITIONS = 200


@dataclass(frozen=True)
class Prepared:
    """A side that is ready.

    Attributes:
        run: the work to be timed.
        check: what the outcome of the work comes to, in a few numbers that both sides share.
        units: how often the case's work is done in one run; its time is a run's through this.
        clocked: seconds of each of them, read off the outcome, where the side has a clock inside.
        told: what else the table is to say about this side.
    """

    run: Callable[[], Any]
    check: Callable[[Any], Sequence[float]]
    units: float = 1.0
    clocked: Callable[[Any], Sequence[float]] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def inputs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Unit-norm inputs, shape (n, d), and labels -1 or +1, shape (n,), in float32."""
    draws = np.random.default_rng(1)
    x = draws.standard_normal((case["n"], case["d"]))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32), draws.choice([-1.0, 1.0], case["n"]).astype(np.float32)


def hidden_weights(case: Case, member: int = 0) -> list[np.ndarray]:
    """W_1, ..., W_D of shapes (m, d), (m, m), ..., entries N(0, 2/m), in float32."""
    draws, m = np.random.default_rng([2, member]), case["m"]
    return [
        (draws.standard_normal((m, below)) * math.sqrt(2 / m)).astype(np.float32)
        for below in [case["d"], *[m] * (case["depth"] - 1)]
    ]


def gaussian_outputs(case: Case, member: int = 0) -> np.ndarray:
    """Output weights N(0, 1/m), shape (m,): the ones that Chen et al. train too."""
    draws = np.random.default_rng([3, member]).standard_normal(case["m"])
    return (draws / math.sqrt(case["m"])).astype(np.float32)


def sign_outputs(case: Case) -> np.ndarray:
    """Half of the output weights +1, half -1, shape (m,): fixed in Zou et al."""
    return np.where(np.arange(case["m"]) % 2, 1, -1).astype(np.float32)


def of_matrix(matrix: np.ndarray) -> list[float]:
    """A symmetric matrix in three numbers: Frobenius norm, trace, and a bilinear form."""
    left, right = np.random.default_rng(4).random((2, len(matrix)), dtype=np.float32)
    return [
        float(np.linalg.norm(matrix)),
        float(np.trace(matrix, dtype=np.float64)),
        float(left @ (matrix @ right)),
    ]


def of_descent(mean_loss: float, *weights: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Gradient descent in a few numbers: the loss at the end, and how far layers have moved.

    Each of `weights` is a layer at the end and at the start.
    """
    return [mean_loss, *(float(np.linalg.norm(now - start)) for now, start in weights)]


def gram_flops(case: Case) -> int:
    """Floating-point operations of the factorised Gram matrix: n^2 sum_l (m_{l-1} + m_l).

    Per trained hidden layer two products of n x n entries, of inputs of length m_{l-1} and of
    signals of length m_l, and one product of outputs of length m_D for the output layer; a
    multiplication and an addition count as 2, and only the lower triangle is counted, n^2 / 2
    entries. Forward pass, back-propagation and the entrywise products come free.
    """
    inputs_of = [case["d"], *[case["m"]] * case["depth"]]
    signals_of = [case["m"]] * case["depth"]
    return case["n"] ** 2 * (sum(inputs_of) + sum(signals_of))


def step_flops(case: Case) -> int:
    """Floating-point operations of a step in all hidden layers, those of its large products.

    For n inputs and p trained weights 2 n p of the forward pass, as many of the gradients, and
    of the signals 2 n m^2 for every hidden layer but the first.
    """
    n, d, m, above = case["n"], case["d"], case["m"], case["depth"] - 1
    return 4 * n * (d * m + above * m**2) + 2 * n * above * m**2


def report(
    prepare: Callable[[Case], Prepared], *packages: str, peak: Callable[[], int] | None = None
) -> None:
    """Speak for one side: what it computes, then seconds per unit for every line read."""
    case = json.loads(sys.argv[1])
    keep_to_cores(case["cores"])
    side = prepare(case)
    outcome = side.run()
    peak_bytes = (peak or peak_memory)()
    check = [float(number) for number in side.check(outcome)]
    del outcome
    versions = {package: version(package) for package in packages}
    _say({"check": check, "peak_bytes": peak_bytes, "versions": versions, **side.told})
    for _ in sys.stdin:
        _say({"seconds": _timed(side, case["budget"])})


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes (macOS counts bytes, Linux KiB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_to_cores(cores: int) -> None:
    """Not every library asks the environment how many threads it may start."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def _say(told: Mapping[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def _timed(side: Prepared, budget: float) -> list[float]:
    """Seconds of each repetition: one run at least, more while the budget of seconds lasts."""
    taken: list[float] = []
    begun = time.perf_counter()
    while not taken or (time.perf_counter() - begun < budget and len(taken) < MOST_REPETITIONS):
        started = time.perf_counter()
        outcome = side.run()
        seconds = time.perf_counter() - started
        taken += side.clocked(outcome) if side.clocked else [seconds / side.units]
        del outcome
    return taken
