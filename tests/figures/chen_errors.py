"""As `curves`, for the test errors of Chen et al. (2021)."""

import math
from statistics import fmean
from typing import Any

from companion.lab.results import Result
from tests.figures.curves import Curves, level, mean, power, summed_up


def by_seed(samples: Any) -> list[list[float]]:
    """Rows of sizes, columns of seeds, the other way round."""
    return [list(column) for column in zip(*samples, strict=True)]


def one_pass(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    counts, few = s["counts"], s["few"]
    narrow, wide = ([[run[k] for run in runs] for runs in a["error"]] for k in (0, 1))
    descent = [[run[0] for run in runs] for runs in a["descent_error"]]
    return {
        ("wide gap", "Theorem 3.8"): (counts, *summed_up(by_seed(a["bound"]))),
        ("wide gap", "a guess"): level(0.5),
        ("wide gap", "SGD"): (counts, *summed_up(by_seed(wide))),
        ("wide gap", "slope -1"): power(counts, 2.5 * fmean(wide[0]), -1),
        ("narrow gap", "SGD"): (counts, *summed_up(by_seed(narrow))),
        ("narrow gap", "slope -1"): power(counts, 2.5 * fmean(narrow[0]), -1),
        ("narrow gap", "gradient descent"): (few, *summed_up(by_seed(descent))),
        ("narrow gap", "slope -1/2"): power(few, 2.5 * fmean(descent[0]), -0.5),
    }


def held_out(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    counts, held = s["counts"], 2 * s["held_out"]
    uniform = by_seed(a["error"])
    last = [[wrong / held for wrong in seed] for seed in by_seed(a["wrong"])]
    return {
        ("errors", "uniform iterate"): (counts, *summed_up(uniform)),
        ("errors", "last iterate"): (counts, *summed_up(last)),
        ("errors", "slope -1"): power(counts, mean(uniform)[0], -1),
    }


def nearing(result: Result) -> Curves:
    """From the sums of losses and the distances, where the figure has their quotient."""
    a, s = result.arrays, result.settings
    curves: Curves = {("share", "the lemma"): level(1)}
    for place, width in enumerate(s["widths"]):
        shares = [
            [met / (fall + room) for met, fall, room in zip(*three, strict=True)]
            for three in zip(
                *(a[name][:, place] for name in ("earned", "fall", "room")), strict=True
            )
        ]
        curves["share", f"m = {width}"] = (range(1, s["count"] + 1), *summed_up(shares))
    return curves


def met_and_expected(result: Result) -> Curves:
    a, far = result.arrays, [0.0, max(result.arrays["seen"])]
    extra = math.log(2) / result.settings["count"]
    sharper = 1 / (1 - math.exp(-1))
    return {
        ("passes", "passes"): (a["seen"], a["expected"]),
        ("passes", "Lemma 6.6"): (far, [4 * (x + extra) for x in far]),
        ("passes", "sharper"): (far, [sharper * (x + extra) for x in far]),
        ("passes", "equal"): (far, far),
    }


def rise_and_fall(result: Result) -> Curves:
    """The bound from its formula."""
    a, s = result.arrays, result.settings
    layers, n, alpha = s["layers"], s["count"], s["alpha"]
    radius = fmean(float(r) for r in a["wide_radius"].ravel())
    widths = [10 ** (k / 4) for k in range(97)]
    rising = [4**layers * layers**2 * radius * math.sqrt(m / n) for m in widths]
    falling = [
        layers**1.5 * radius / math.sqrt(n)
        + layers ** (11 / 3) * radius ** (4 / 3) * m ** (-alpha / 3)
        for m in widths
    ]
    return {
        ("errors", "bound"): (widths, [min(both) for both in zip(rising, falling, strict=True)]),
        ("errors", "a guess"): level(0.5),
        ("errors", "measured"): (s["widths"], *summed_up(a["wide_error"])),
    }


def surrogate_gap(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    counts, widths = s["counts"], s["widths"]
    gap, wide = (
        [[abs(x - y) for x, y in zip(*rows, strict=True)] for rows in zip(*pair, strict=True)]
        for pair in (
            (a["slope"], a["training_slope"]),
            (a["wide_slope"], a["wide_training_slope"]),
        )
    )
    half = [
        [r * c / 2 for r, c in zip(*rows, strict=True)]
        for rows in zip(a["radius"], a["complexity"], strict=True)
    ]
    chance = [3 * math.sqrt(math.log(4 / s["delta"]) / (2 * n)) for n in counts]
    allowed = [[c + extra for c, extra in zip(row, chance, strict=True)] for row in half]
    return {
        ("count", "allowed"): (counts, *summed_up(allowed)),
        ("count", "complexity"): (counts, *summed_up(half)),
        ("count", "measured"): (counts, *summed_up(gap)),
        ("count", "slope -1/2"): power(counts, 2 * mean(gap)[0], -0.5),
        ("width", "measured"): (widths, *summed_up(wide)),
        ("width", "slope 1/2"): power(widths, mean(wide)[0], 0.5),
    }


CURVES = {
    "chen2021-held-out": held_out,
    "chen2021-met-and-expected": met_and_expected,
    "chen2021-nearing": nearing,
    "chen2021-one-pass": one_pass,
    "chen2021-rise-and-fall": rise_and_fall,
    "chen2021-surrogate-gap": surrogate_gap,
}
