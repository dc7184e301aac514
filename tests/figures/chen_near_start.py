"""What the figures of Chen et al. at and near the start show, computed once more: see `curves`."""

import math
from statistics import fmean

import numpy as np

from companion.lab.results import Result
from tests.figures.curves import Curves, level, power, summed_up, upright


def first_moments(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths, layers, last = s["widths"], range(1, s["layers"] + 1), s["alphas"][-1]
    curves: Curves = {("gradients", "one half"): level(0.5), ("gradients", "one"): level(1)}
    for place, alpha in enumerate(s["alphas"]):
        squares = [[fmean(map(float, cell)) for cell in seed[place]] for seed in a["output_square"]]
        curves["outputs", f"alpha = {alpha:g}"] = (widths, *summed_up(squares))
        curves["outputs", f"expectation, alpha = {alpha:g}"] = (
            widths, [m ** (2 * alpha - 1) for m in widths]
        )  # fmt: skip
    for place, width in enumerate(widths):
        squares = [
            [fmean(map(float, layer)) / width ** (2 * last) for layer in seed[-1][place].T]
            for seed in a["gradient_square"]
        ]
        curves["gradients", f"m = {width}"] = (layers, *summed_up(squares))
    return curves


def printed_steps(result: Result) -> Curves:
    a = result.arrays
    curves: Curves = {}
    for panel, own, other, name in (
        ("Algorithm 1", "descent", "hidden", "last layer fixed"),
        ("Algorithm 2", "pass", "replaced", "with replacement"),
    ):
        curves[panel, "one rounding"] = level(float(np.finfo(result.settings["dtype"]).eps))
        for key, called in ((own, "printed steps"), (other, name)):
            gaps = [seed[-1] for seed in a[f"{key}_gap"]]
            curves[panel, called] = (range(1, len(gaps[0]) + 1), *summed_up(gaps))
    return curves


def linearisation_errors(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    radii, widths, root = s["radii"], s["widths"], math.sqrt(s["width"])
    curves: Curves = {}
    starts = {}
    for place, name in enumerate(("gradient", "random", "worst")):
        error = [[float(value) / root for value in seed[place]] for seed in a["error"]]
        wide = [
            [fmean(float(drawn[-1][k][place]) for drawn in seed) for k in range(len(widths))]
            for seed in a["width_error"]
        ]
        curves["tau", name] = (radii, *summed_up(error))
        curves["width", name] = (widths, *summed_up(wide))
        starts[name] = [seed[0] for seed in error], [seed[0] for seed in wide]
    return {
        **curves,
        ("tau", "slope 4/3"): power(radii, 1.4 * max(starts["worst"][0]), 4 / 3),
        ("tau", "slope 2"): power(radii, 0.6 * min(starts["random"][0]), 2),
        ("width", "slope -alpha/3"): power(
            widths, 1.2 * max(starts["worst"][1]), -s["alphas"][-1] / 3
        ),
    }


def worst_pairs(result: Result) -> Curves:
    a, near = result.arrays, result.settings["near"]
    powers = [radius ** (4 / 3) for radius in near]
    seeds = [[fmean(map(float, cell)) for cell in seed.T] for seed in a["wide_error"]]
    error = [[value / scale for value, scale in zip(s, powers, strict=True)] for s in seeds]
    derived = zip(a["wide_derived"][0][0], powers, strict=True)
    asked = 2**-6 * math.log(result.settings["wide"]) ** -1.5
    return {
        ("wide layer", "worst pairs"): (near, *summed_up(error)),
        ("wide layer", "derived"): (near, [float(value) / scale for value, scale in derived]),
        ("wide layer", "radius asked for"): upright(asked),
    }


def largest_outputs(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths, counts = s["widths"], s["counts"]
    curves: Curves = {}
    for place, alpha in enumerate(s["alphas"]):
        roots = [
            [math.sqrt(fmean((cell.ravel() ** 2).tolist())) for cell in seed[place]]
            for seed in a["output"]
        ]
        curves["width", f"alpha = {alpha:g}"] = (widths, *summed_up(roots))
        curves["width", f"slope {alpha - 0.5:g}"] = (widths, [m ** (alpha - 0.5) for m in widths])

    def exceeded(values: np.ndarray) -> float:
        """Between the two values whose ranks are nearest to the quantile's."""
        ordered, rank = sorted(values.tolist()), (1 - s["delta"]) * (len(values) - 1)
        low = int(rank)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (rank - low) * (ordered[high] - ordered[low])

    most = [[exceeded(cell) for cell in seed] for seed in a["largest"]]
    bound = [math.sqrt(2 * math.log(2 * n / s["delta"])) for n in counts]
    return {
        **curves,
        ("inputs", "measured"): (counts, *summed_up(most)),
        ("inputs", "Gaussian bound"): (counts, bound),
    }


def gradient_norms(result: Result) -> Curves:
    a, widths = result.arrays, result.settings["ball_widths"]
    curves: Curves = {}
    for place, name in enumerate(("start", "random", "turned on", "descent")):
        norms = summed_up([[float(cell[place]) for cell in seed[-1]] for seed in a["ball"]])
        curves["width", name] = (widths, *(norms if name == "turned on" else norms[:1]))
    for place, width in enumerate(widths):
        reached, along = (
            summed_up([seed[-1][place] for seed in a[key]])[0] for key in ("reached", "along")
        )
        curves["descent", f"m = {width}"] = (reached, along)
    return curves


CURVES = {
    "chen2021-first-moments": first_moments,
    "chen2021-gradient-norms": gradient_norms,
    "chen2021-largest-outputs": largest_outputs,
    "chen2021-linearisation-errors": linearisation_errors,
    "chen2021-printed-steps": printed_steps,
    "chen2021-worst-pairs": worst_pairs,
}
