"""As `curves`, for the polynomials of Zou et al. (2018) and sections 4 of Zou et al. (2020)."""

import math
from statistics import fmean, median
from typing import Any

from companion.lab.results import Result
from tests.figures.curves import Curves, level, mean, power, summed_up, upright


def polynomials(result: Result) -> Curves:
    """The slip from its formula, (n^(26 - 2p) + n^26 / eps) / (n^26 + n^(26 - 2p) / eps), p = 1."""
    a, s = result.arrays, result.settings
    curves: Curves = {("widths", "widest network"): upright(s["widest"])}
    for place, loss in enumerate(("squared hinge", "cross-entropy")):
        for name, key in (("gradient descent", "descent"), ("SGD", "sgd")):
            curves["widths", f"{name}, {loss}"] = ([float(row[place]) for row in a[f"row_{key}"]],)
    epsilons = [10 ** (-k / 4) for k in range(37)]
    for n in s["counts"]:
        slip = [(1 + n**2 / eps) / (n**2 + 1 / eps) for eps in epsilons]
        curves["slip", f"n = {n}"] = (epsilons, slip)
    return curves


def comparison(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    images = [2 * k for k in s["digits_per_class"]]
    curves: Curves = {
        ("lambda_0", "sphere"): (s["counts"], *summed_up(a["lambda_0"])),
        ("lambda_0", "digits"): (images, a["digits_lambda_0"]),
    }
    for name, key in (
        ("Zou et al. (2018)", "zou2018"),
        ("Allen-Zhu et al.", "allen_zhu"),
        ("Zou et al. (2020)", "zou2020"),
        ("Du et al., deep", "du_deep"),
    ):
        curves["widths", name] = (s["counts"], summed_up(a[key], median)[0])
    return curves


def convergence(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths, seeds, last = s["widths"], range(s["seeds"]), s["steps"]
    steps, zero_error = range(1, last + 1), math.log(2) / s["count"]
    curves: Curves = {("loss", "log(2)/n"): level(zero_error)}
    for place, m in enumerate(widths):
        losses = [a["loss"][seed, place, 1:] for seed in seeds]
        band = summed_up(losses) if m == widths[-1] else [mean(losses)]
        curves["loss", f"m = {m}"] = (steps, *band)
    curves["loss", "frozen kernel"] = (steps, mean([a["frozen"][k, -1, 1:] for k in seeds]))
    late = steps[last // 8 :]
    start = 2 * fmean(float(a["loss"][seed, -1, late[0]]) for seed in seeds)
    curves["loss", "slope -1"] = power(late, start, -1)
    ends = [next(k for k in range(last) if a["error"][seed, -1, k] == 0) for seed in seeds]
    there = [a["loss"][seed, -1, k] for seed, k in zip(seeds, ends, strict=True)]
    curves["loss", "last error ends"] = (ends, there)
    for share in s["shares"]:

        def first(run: Any, epsilon: float = share * zero_error) -> int:
            return next(k for k in range(last + 1) if run[k] <= epsilon)

        reached = [[first(run) for run in runs] for runs in a["loss"]]
        curves["steps", f"loss {share:g} log(2)/n"] = (widths, mean(reached))
    return curves


def largest_step(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for panel, sizes, first, exponent in (
        ("width", s["widths"], 0, -1),
        ("depth", s["depths"], len(s["widths"]), -3),
    ):
        part = slice(first, first + len(sizes))
        predicted = mean(a["predicted"][:, part])
        curves[panel, "largest stable"] = (sizes, *summed_up(a["largest"][:, part]))
        curves[panel, "frozen kernel"] = (sizes, predicted)
        curves[panel, f"theorem, {panel}"] = power(sizes, 0.5 * predicted[0], exponent)
    return curves


CURVES = {
    "zou2018-polynomials": polynomials,
    "zou2020-comparison": comparison,
    "zou2020-convergence": convergence,
    "zou2020-largest-step": largest_step,
}
