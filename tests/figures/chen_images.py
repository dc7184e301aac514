"""What the figures of Chen et al. (2021) on images show, computed once more: see `curves`."""

import math

from scipy import stats

from companion.lab.results import Result
from tests.figures.curves import Curves, level, summed_up

LABELS = ("true", "random")


def margins(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for place, labels in enumerate(LABELS):
        for index, width in ((0, s["widths"][0]), (-1, s["widths"][-1])):
            own = [[count[place][index] for count in seed] for seed in a["margin"]]
            told = summed_up(own)
            name = f"{labels} labels, m = {width}"
            curves["margin", name] = (s["counts"], *(told if index == -1 else told[:1]))
        values = [seed[place] for seed in a["class_value"]]
        curves["class", f"{labels} labels"] = (s["radii"], *summed_up(values))
    return curves


def widths(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    power, curves = 1 / s["alpha"], {}
    for place, labels in enumerate(LABELS):
        asked = [
            [
                (float(radii[place]) ** 4 * float(s["layers"]) ** 11) ** power
                * math.log(n / s["delta"]) ** (2 / (2 - s["alpha"]))
                for n, radii in zip(s["counts"], seed, strict=True)
            ]
            for seed in a["radius"]
        ]  # fmt: skip
        name = f"{labels} labels"
        ends = [*a["found_low"][place], *a["found_high"][place]]
        curves |= {
            ("asked", name): (s["counts"], *summed_up(asked)),
            ("found", name): (s["counts"], a["found_width"][place]),
            ("found", f"{name}, interval"): ([*s["counts"], *s["counts"]], ends),
        }
    return curves


def linearisation(result: Result) -> Curves:
    a, looks = result.arrays, result.found["look"].values.tolist()
    curves: Curves = {("linearisation", "1/4"): level(1 / 4)}
    for index, width in enumerate(result.settings["widths"]):
        errors = [seed[-1][index][1:] for seed in a["linearisation"]]
        flips = [seed[-1][index] for seed in a["flips"]]
        curves["linearisation", f"m = {width}"] = (looks[1:], *summed_up(errors))
        curves["flips", f"m = {width}"] = (looks, *summed_up(flips))
    return curves


def test_error(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    tested = 2 * s["held_out"]
    curves: Curves = {("complexity", "1"): level(1)}
    for index, width in enumerate(s["widths"]):
        share = [[count[index] / tested for count in seed] for seed in a["wrong"]]
        term = [[count[index] for count in seed] for seed in a["complexity"]]
        curves["test error", f"m = {width}"] = (s["counts"], *summed_up(share)[:1])
        curves["complexity", f"m = {width}"] = (s["counts"], *summed_up(term))
    for place, index, apart in (("narrowest", 0, 0.97), ("widest", -1, 1.03)):
        both = [
            [
                stats.binomtest(int(count[index]), tested).proportion_ci(0.95)
                for count in seed
            ]
            for seed in a["wrong"]
        ]  # fmt: skip
        columns = list(zip(*both, strict=True))
        low = [min(each.low for each in column) for column in columns]
        high = [max(each.high for each in column) for column in columns]
        at = [apart * n for n in s["counts"]]
        curves["test error", f"{place}, intervals"] = ([*at, *at], [*low, *high])
    return curves


test_error.__test__ = False  # type: ignore[attr-defined]

CURVES = {
    "chen2021-regime-margins": margins,
    "chen2021-regime-widths": widths,
    "chen2021-regime-linearisation": linearisation,
    "chen2021-regime-test-error": test_error,
}
