"""What the figures of the theorems side by side show, computed once more: see `curves`."""

import math
from collections.abc import Mapping
from statistics import fmean

from companion.lab.results import Result
from tests.figures.curves import Curves

ROWS = {"sphere": "sphere", "digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}
NAMES = {
    "du": "Du et al. (2019), constants known",
    "chen": "Chen et al. (2021), R measured",
    "chen_phi": "Chen et al. (2021), R by phi",
    "zou2020": "Zou et al. (2020)",
    "zou2018": "Zou et al. (2018)",
}


def by_hand(n: float, phi: float, lambda_0: float, radius: float, delta: float) -> dict[str, float]:
    """The widths of one hidden layer at eps = log(2) / n and alpha = 1/2, as the papers write them.

    With two weight matrices, [R^4 L^11]^(1 / alpha) is R^8 2^22.
    """
    eps, half = math.log(2) / n, delta / 2
    spent = math.sqrt(2 * math.pi) * half * lambda_0 / (16 * n**2)  # R of Du et al.
    misfit = (n + n / 2) / half
    logarithm = math.log(n / delta) ** (4 / 3)
    separated = n**1.5 / phi**0.5 * math.log(n / (delta * eps))
    return {
        "du_flow": 4 * n * misfit / (lambda_0 * spent) ** 2,
        "du": 16 * n * misfit / (lambda_0 * spent) ** 2,
        "zou2018": (n**26 + n**24 / eps) / phi**8,
        "zou2018_sgd": (n**28 + n**24 / eps**2) / phi**8,
        "zou2020": (n**14 + n**12 / eps) / phi**4,
        "chen": radius**8 * 2**22 * logarithm,
        "chen_phi": separated**8 * 2**22 * logarithm,
    }


def widths(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    sets = [name for name in ROWS if name in result.found["data"].values]
    asked = [
        by_hand(*map(float, row), s["delta"])
        for row in zip(a["size"], a["across"], a["lambda_0"], a["radius"], strict=True)
    ]
    enough = [
        min(
            m for m, runs in zip(s["widths"], wrong, strict=True) if all(each == 0 for each in runs)
        )
        for wrong in a["wrong"]
    ]
    rows = [ROWS[name] for name in sets]
    curves: Curves = {
        ("widths", NAMES[key]): ([each[key] for each in asked], rows) for key in NAMES
    }
    return curves | {("widths", "sufficed in our runs"): (enough, rows)}


def growth(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    sets = [name for name in ROWS if name in result.found["data"].values]
    powers = [
        _slopes(
            s["counts"],
            [
                [
                    by_hand(float(n), *(float(a[f"part_{name}"][place][seed][at]) for name in
                                        ("across", "lambda_0", "radius")), s["delta"])
                    for at, n in enumerate(s["counts"])
                ]
                for seed in range(s["seeds"])
            ],
        )
        for place in range(len(sets))
    ]  # fmt: skip
    rows = [ROWS[name] for name in sets]
    return {("growth", NAMES[key]): ([each[key] for each in powers], rows) for key in NAMES}


def _slopes(counts: list[int], seeds: list[list[Mapping[str, float]]]) -> dict[str, float]:
    """Of straight lines through logarithms, one slope for all seeds."""
    middle = fmean(math.log(n) for n in counts)
    x = [math.log(n) - middle for n in counts]
    square = sum(each**2 for each in x)
    return {
        key: fmean(
            sum(at * math.log(width[key]) for at, width in zip(x, seed, strict=True)) / square
            for seed in seeds
        )
        for key in NAMES
    }


CURVES = {"compare-widths": widths, "compare-growth": growth}
