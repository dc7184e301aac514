"""Curves of the figures of the chapters on settings of Zou et al., computed once more."""

import math
from statistics import fmean
from typing import Any

from companion.lab.results import Result
from tests.figures.curves import Curves, gradient_differences, level, mean, power, summed_up

LOSSES = ("cross-entropy", "exponential", "squared hinge", "hinge", "cubed hinge", "sigmoid")


def geometric(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (k / (count - 1)) for k in range(count)]


def small_steps(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {("fall", "first order"): level(1)}
    for index, width in enumerate(s["widths"]):
        falls = [[fmean(run.tolist()) for run in seed[index]] for seed in a["fall"]]
        curves["fall", f"m = {width}"] = (s["step_sizes"], *summed_up(falls))
    return curves


def minibatch_variance(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for panel, count in (("all", s["enumerated"]), ("drawn", s["count"])):
        sizes = range(1, count + 1)
        curves[panel, "1/B"] = (sizes, [1 / size for size in sizes])
        exact = [(count / size - 1) / (count - 1) for size in sizes]
        curves[panel, "exact"] = (sizes, exact)
    for name, key in (("numbers", "number_share"), ("gradients", "gradient_share")):
        curves["all", name] = (range(1, s["enumerated"] + 1), mean(a[key]))
    for order, name in enumerate(("different", "independent")):
        drawn = [seed[order] for seed in a["drawn_gradient"]]
        curves["drawn", name] = (s["batch_sizes"], mean(drawn))
    return curves


def separations(result: Result) -> Curves:
    a, counts = result.arrays, result.settings["counts"]
    return {
        (panel, name): (counts, *summed_up([[at[kind] for at in seed] for seed in a[key]]))
        for kind, panel in enumerate(("uniform", "copies"))
        for name, key in (("different labels", "different"), ("all pairs", "all_pairs"))
    }


def losses(result: Result) -> Curves:
    most = result.settings["shown"]
    margins = [most * (k - 80) / 80 for k in range(161)]
    formulas: list[tuple[Any, Any]] = [
        (lambda z: math.log(1 + math.exp(-z)), lambda z: 1 / (1 + math.exp(z))),
        (lambda z: math.exp(-z), lambda z: math.exp(-z)),
        (lambda z: (1 - z) ** 2 if z < 1 else 0, lambda z: 2 * (1 - z)),
        (lambda z: 1 - z if z < 1 else 0, lambda z: 1),
        (lambda z: (1 - z) ** 3 if z < 1 else 0, lambda z: 3 * (1 - z) ** 2),
        (lambda z: 1 / (1 + math.exp(z)), lambda z: 1 / (2 + math.exp(z) + math.exp(-z))),
    ]
    curves: Curves = {}
    for name, (value, slope) in zip(LOSSES, formulas, strict=True):
        curves["losses", name] = (margins, [value(z) for z in margins])
        positive = [z for z in margins if value(z) > 0]
        curves["slopes", name] = ([value(z) for z in positive], [slope(z) for z in positive])
    return curves


def loss_derivatives(result: Result) -> Curves:
    reaches = result.settings["reaches"]
    return {
        (panel, name): (reaches, [float(v) for v in result.arrays[key][index]])
        for panel, key in (("first", "steepest"), ("second", "curvature"))
        for index, name in enumerate(LOSSES)
    }


def gaussian_excess(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    thetas = geometric(s["least"], 2, s["thetas"])
    leading = [0.5 - theta**2 / 4 for theta in thetas]
    excess = zip(a["mean"].tolist(), leading, thetas, strict=True)
    return {
        ("mean", "closed form"): (thetas, a["mean"]),
        ("mean", "leading"): (thetas, leading),
        ("mean", "drawn pairs"): (s["drawn"], mean(a["sampled"])),
        ("constant", "closed form"): (thetas, [(m - at) / t**3 for m, at, t in excess]),
        ("constant", "$1/16$"): level(1 / 16),
        ("constant", r"$1/(6\pi)$"): level(1 / (6 * math.pi)),
    }


def tangent_of_a_power(result: Result) -> Curves:
    ratios = geometric(0.05, 5, 101)
    curves: Curves = {("sides", "left side"): (ratios, [ratio - 1 for ratio in ratios])}
    for p in result.settings["exponents"]:
        q = 1 - 2 * p
        right = [(ratio**q - 1) / q if q else math.log(ratio) for ratio in ratios]
        curves["sides", f"right side, p = {p:g}"] = (ratios, right)
    return curves


def spectral_ball(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for place, panel in ((0, "M = m"), (-1, f"M = {s['ratios'][-1]} m")):
        for name, key in (("Frobenius", "frobenius"), ("spectral", "spectral")):
            largest = [[max(step) for step in seed[place]] for seed in a[key]]
            curves[panel, name] = (range(s["steps"] + 1), *summed_up(largest))
    return curves


def unequal_widths(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    gaps = [
        [[math.sqrt(fmean(float(g) ** 2 for g in layers)) for layers in widths] for widths in seed]
        for seed in a["gram_gap"]
    ]
    start = 0.8 * min(fmean(seed[place][0] for seed in gaps) for place in range(len(s["ratios"])))
    widths = s["widths"]
    curves: Curves = {("distance", "slope -1/2"): power(widths, start, -1 / 2)}
    for place, ratio in enumerate(s["ratios"]):
        name = f"M = {ratio} m" if ratio > 1 else "M = m"
        curves["distance", name] = (widths, *summed_up([seed[place] for seed in gaps]))
    return curves


def cross_entropy_floor(result: Result) -> Curves:
    margins = [-6 + k / 10 for k in range(141)]
    value = [math.log1p(math.exp(-z)) for z in margins]
    return {
        ("floor", "left side"): (value, [1 / (1 + math.exp(z)) for z in margins]),
        ("floor", "right side"): (value, [min(0.5, v / (2 * math.log(2))) for v in value]),
        ("floor", "margin 0"): ([math.log(2)], [0.5]),
    }


CURVES = {
    "zou2018-gaussian-excess": gaussian_excess,
    "zou2018-gradient-differences": gradient_differences,
    "zou2018-loss-derivatives": loss_derivatives,
    "zou2018-losses": losses,
    "zou2018-minibatch-variance": minibatch_variance,
    "zou2018-separations": separations,
    "zou2018-small-steps": small_steps,
    "zou2018-tangent-of-a-power": tangent_of_a_power,
    "zou2020-cross-entropy-floor": cross_entropy_floor,
    "zou2020-spectral-ball": spectral_ball,
    "zou2020-unequal-widths": unequal_widths,
}
