"""As `curves`, for class separation, one layer, widths and Table 1 of Chen et al. (2021)."""

from companion.lab.results import Result
from tests.figures.curves import Curves, mean, power, summed_up

SETS = ("halves", "random labels", "pairs", "halves, twice")
ROWS = (
    "Allen-Zhu et al. 2019a, SGD",
    "Arora et al. 2019a, GD",
    "Nitanda-Suzuki 2019, GD",
    "Ji-Telgarsky 2020, GD",
    "Ji-Telgarsky 2020, SGD",
    "Cao-Gu 2019b, GD",
    "Cao-Gu 2019a, SGD",
    "this paper, GD",
    "this paper, SGD",
)


def class_distances(result: Result) -> Curves:
    a = result.arrays
    rows = [*SETS, *("3 and 8", "4 and 9")]
    return {
        ("distances", name): ([*mean(a[key]), *a[f"image_{key}"]], rows)
        for name, key in (("different labels", "different"), ("all pairs", "all_pairs"))
    }


def needed_radius(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    counts, curves = s["counts"], {}
    for place, name in enumerate(("labels of the halves", "random labels", "pairs")):
        samples = [seed[place] for seed in a["radius"]]
        curves["counts", name] = (counts, *summed_up(samples))
    start = 1.6 * max(seed[2][0] for seed in a["radius"])
    curves["counts", "slope 3/2"] = power(counts, start, 1.5)
    phis = [*s["separations"], *s["network_separations"]]
    both = [[*x, *y] for x, y in zip(a["phi_radius"], a["limit_radius"], strict=True)]
    curves["separations", "infinite width"] = (phis, *summed_up(both))
    networks = (s["network_separations"], *summed_up(a["network_radius"]))
    curves["separations", "finite width"] = networks
    top = 1.5 * max(seed[0] for seed in both)
    curves["separations", "slope -1/2"] = power(phis, top, -0.5)
    return curves


def one_layer(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths, curves = s["widths"], {}
    levels = [0.02 ** (k / 29) for k in range(30)]
    for place, width in enumerate(widths):
        curves["decay", f"m = {width}"] = (mean(a["time"][-1][place]), levels)
    for place, alpha in enumerate(s["alphas"]):
        samples = list(zip(*a["distance"][place], strict=True))  # seed, width
        curves["distance", f"alpha = {alpha:g}"] = (widths, *summed_up(samples))
        start = 1.15 * max(float(far) for far in a["distance"][place][0])
        curves["distance", f"slope -{alpha:g}"] = power(widths, start, -alpha)
    return curves


def widths_compared(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {
        ("widths", "theorem"): (s["counts"], *summed_up(a["asked"])),
        ("widths", "enough"): (s["counts"], a["sufficient"]),
    }
    counts = [round(10 ** (1 + k / 4)) for k in range(21)]
    for eps in s["accuracies"]:
        name = f"eps = {eps:g}"
        remark = [max(n ** (1 / 3), eps ** (-1 / 6)) for n in counts]
        curves["depths", f"remark, {name}"] = (counts, remark)
        equal = [(n**2 + 1 / eps) ** (1 / 6) for n in counts]
        curves["depths", f"equal, {name}"] = (counts, equal)
    return curves


def table1_powers(result: Result) -> Curves:
    """The table once more, by hand; None where it states no degree."""
    return {
        ("powers", "width"): ([None, None, 1, 0, 0, 14, 14, 0, 0], ROWS),
        ("powers", "iterations"): ([2, 0, 2, 1, 1, 2, 2, 1, 1], ROWS),
        ("powers", "samples"): ([4, 2, 4, 2, 1, 4, 2, 2, 1], ROWS),
    }


def table1_slopes(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    inverse, samples = [1 / eps for eps in s["accuracies"]], s["samples"]
    start, top = 1.4 * max(a["average"][:, 0]), 1.3 * max(a["error"][:, 0])
    return {
        ("iterations", "mean"): (inverse, *summed_up(a["average"])),
        ("iterations", "iterate"): (inverse, *summed_up(a["first"])),
        ("iterations", "slope 1"): power(inverse, start, 1),
        ("iterations", "slope 2"): power(inverse, start, 2),
        ("error", "SGD"): (samples, *summed_up(a["error"])),
        ("error", "slope -1"): power(samples, top, -1),
        ("error", "slope -1/2"): power(samples, top, -0.5),
    }


CURVES = {
    "chen2021-class-distances": class_distances,
    "chen2021-needed-radius": needed_radius,
    "chen2021-one-layer": one_layer,
    "chen2021-widths-compared": widths_compared,
    "chen2021-table1-powers": table1_powers,
    "chen2021-table1-slopes": table1_slopes,
}
