"""What the figures on the lemmas of Zou et al. show, computed once more: see `curves`."""

import math
from typing import Any

from companion.lab.results import Result
from tests.figures.curves import Curves, level, mean, power, summed_up


def over(looks: Any, choose: Any) -> float:
    """The chosen extreme of nested lists of numbers."""
    if getattr(looks, "ndim", 0) == 0:
        return float(looks)
    return float(choose(over(each, choose) for each in looks))


def each_run(samples: Any, choose: Any, factors: Any = None) -> list[list[float]]:
    """Extremes of every seed's runs, size by size, each times the factor of its size."""
    rows = [[over(run, choose) for run in seed] for seed in samples]
    scales = factors or [1.0] * len(rows[0])
    return [[value * scale for value, scale in zip(row, scales, strict=True)] for row in rows]


def least_gradient(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    near, widest, middle = "separation", s["widths"][-1], s["widths"][len(s["widths"]) // 2]
    limit, least = mean(a["limit_by_separation"])[0], mean(a["least_by_count"])[0]
    ends = [s["small"][0], s["separations"][-1]]
    return {
        (near, "infinite width"): (s["small"], *summed_up(a["limit_by_separation"])),
        (near, f"m = {widest}"): (s["separations"], *summed_up(a["least_by_separation"])),
        (near, "slope 1"): power(ends, 0.6 * limit, 1),
        ("count", f"m = {middle}"): (s["counts"], *summed_up(a["least_by_count"])),
        ("count", "slope -1"): power(s["counts"], 0.6 * least, -1),
        ("count", "slope -3"): power(s["counts"], 0.6 * least, -3),
    }


def gradient_range(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths = s["widths"]
    own = [
        [sum(run.ravel().tolist()) / run.size * m for run, m in zip(seed, widths, strict=True)]
        for seed in a["last"]
    ]
    least = each_run(a["least"], min, widths)
    root = [[math.sqrt(v) for v in row] for row in each_run(a["deep_largest"], max)]
    return {
        ("width", "largest possible"): (widths, *summed_up(each_run(a["largest"], max, widths))),
        ("width", "along the runs"): (widths, *summed_up(own)),
        ("width", "least possible"): (widths, *summed_up(least)),
        ("width", "slope 1"): power(widths, 0.6 * mean(least)[0], 1),
        ("depth", "largest possible"): (s["depths"], *summed_up(root)),
        ("depth", "slope 2"): power(s["depths"], mean(root)[0], 2),
        ("depth", "slope 1"): power(s["depths"], mean(root)[0], 1),
    }


def descent(result: Result) -> Curves:
    a, steps = result.arrays, range(result.settings["steps"])
    curves: Curves = {("descent", "1/2"): level(0.5), ("path", "1"): level(1)}
    for place, loss in enumerate(("cross-entropy", "exponential", "squared hinge", "hinge")):
        share, path = (a[key][:, place, -1] for key in ("descent", "path"))
        curves["descent", loss] = ([*steps], *summed_up(share))
        curves["path", loss] = ([k + 1 for k in steps], *summed_up(path))
    return curves


def sgd_distance(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for place, loss in enumerate(("cross-entropy", "squared hinge")):
        rate, per_time = a["sgd_rate"][:, place], a["batch_per_time"][:, place]
        curves["width", loss] = (s["widths"], *summed_up(each_run(rate, max)))
        curves["batch size", loss] = (s["batches"], *summed_up(each_run(per_time, max)))
    start = 1.5 * mean(each_run(a["batch_per_time"][:, 1], max))[0]
    return {**curves, ("batch size", "slope -1"): power(s["batches"], start, -1)}


def gradient_quotients(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for prefix, panel, sizes in (("", "width", s["widths"]), ("deep_", "depth", s["depths"])):
        own = [mean(seed.T) for seed in a[f"{prefix}last"]]
        largest, least = a[f"{prefix}largest"], a[f"{prefix}least"]
        curves |= {
            (panel, "largest possible"): (sizes, *summed_up(each_run(largest, max))),
            (panel, "last layer's own"): (sizes, *summed_up(own)),
            (panel, "least possible"): (sizes, *summed_up(each_run(least, min))),
        }
    start = mean(each_run(a["deep_largest"], max))[0]
    return {**curves, ("depth", "slope 2"): power(s["depths"], start, 2)}


def sufficient_descent(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for part in ("smooth", "flips"):
        for place in (0, -1):
            name = f"{part}, m = {s['widths'][place]}"
            curves["step size", name] = (s["multiples"], mean(a[part][:, place]))
        curves["width", part] = (s["widths"], mean(a[part][..., -1]))
    start = mean(a["flips"][..., -1])[0]
    return {**curves, ("width", "slope -1/2"): power(s["widths"], start, -1 / 2)}


def half_descent(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    of_widths = [m * s["depth"] for m in s["widths"]]
    of_depths = [s["narrow"] * depth for depth in s["depths"]]
    curves: Curves = {}
    for panel, key, sizes, units, slopes in (
        ("width", "edge", s["widths"], of_widths, (1,)),
        ("depth", "deep_edge", s["depths"], of_depths, (1, 3)),
    ):
        edges = [[e / unit for e, unit in zip(row, units, strict=True)] for row in a[key]]
        curves[panel, "measured"] = (sizes, *summed_up(edges))
        for slope in slopes:
            curves[panel, f"slope -{slope}"] = power(sizes, 0.7 * mean(edges)[0], -slope)
    return curves


def path_bound(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    steps = list(range(1, s["steps"] + 1))
    curves: Curves = {("path", "the bound"): level(1)}
    for place, width in enumerate(s["widths"]):
        curves["path", f"m = {width}"] = (steps, *summed_up(a["path"][:, place]))
    spectral = mean(a["spectral_path"][:, -1])[-1]
    return {**curves, ("path", "one layer, spectral norm"): (steps[-1:], [spectral])}


CURVES = {
    "zou2018-descent": descent,
    "zou2018-gradient-range": gradient_range,
    "zou2018-least-gradient": least_gradient,
    "zou2018-sgd-distance": sgd_distance,
    "zou2020-gradient-quotients": gradient_quotients,
    "zou2020-half-descent": half_descent,
    "zou2020-path-bound": path_bound,
    "zou2020-sufficient-descent": sufficient_descent,
}
