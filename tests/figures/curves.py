"""What every curve of every figure shows, computed once more from the arrays of its result."""

import csv
import math
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import fmean, median
from typing import Any

import numpy as np
from scipy import stats

from companion.base.paths import BOOK
from companion.lab.results import Result

# (panel, curve) -> x, y, and where there is a band low and high.
Curves = dict[tuple[str, str], tuple[Any, ...]]
ACROSS = [None]


def summed_up(samples: Any, middle: Any = fmean) -> list[list[float]]:
    """Mean, least and largest of every column, in plain Python; of one sample itself."""
    columns = [[float(v) for v in column] for column in zip(*samples, strict=True)]
    rows = [[kind(column) for column in columns] for kind in (middle, min, max)]
    return rows if len(samples) > 1 else rows[:1]


def mean(samples: Any) -> list[float]:
    return summed_up(samples)[0]


def over_first(samples: Any) -> list[list[float]]:
    """Every sample, a curve, over its own first value."""
    return [[float(v) / float(curve[0]) for v in curve] for curve in samples]


def power(x: Sequence[float], start: float, exponent: float) -> tuple[Any, Any]:
    return x, [start * (at / x[0]) ** exponent for at in x]


def level(y: float) -> tuple[Any, Any]:
    return ACROSS, [y]


def upright(x: float) -> tuple[Any, Any]:
    return [x], ACROSS


def clock(result: Result, points: int) -> list[float]:
    horizon = result.settings["horizon"]
    return [horizon * k / (points - 1) for k in range(points)]


def deep_gram(result: Result) -> Curves:
    widths, drift = result.settings["widths"], result.arrays["drift"]
    curves: Curves = {}
    for layer in range(result.settings["depth"]):
        largest = [[max(look[layer] for look in run) for run in seed] for seed in drift]
        curves["drift", f"h = {layer + 1}"] = (widths, *summed_up(largest))
    start = 1.3 * max(drift[:, 0].ravel())
    return {**curves, ("drift", "slope -1/2"): power(widths, start, -1 / 2)}


def explicit_widths(result: Result) -> Curves:
    a = result.arrays
    curves: Curves = {("widths", "widths of Figure 1"): (ACROSS, ACROSS, [500], [8000])}
    for name, key in (
        ("Lemma 3.1", "lemma_3_1"),
        ("Theorem 3.2", "flow"),
        ("Theorem 4.1", "descent"),
    ):
        *spheres, digits = zip(a["table_count"], a[f"table_{key}"], strict=True)
        curves["widths", f"{name}, sphere"] = tuple(zip(*spheres, strict=True))
        curves["widths", f"{name}, digits"] = ([digits[0]], [digits[1]])
    return curves


def inside_the_regime(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {("distance", "R'"): level(1)}
    for kind, theorem, count in (
        ("flow", "Thm. 3.2", s["flow_counts"][-1]),
        ("descent", "Thm. 4.1", s["descent_counts"][-1]),
    ):
        name, own = f"{kind}, n = {count}", f"{kind}{count}"
        time, seldom = a[f"{own}_time"][0], a[f"{own}_sparse_time"][0]
        bound, misfit = a[f"{own}_bound"], a[f"{own}_misfit"]
        reach, radius = a[f"{own}_reach"], a[f"{own}_radius"]
        far = [run / most for run, most in zip(a[f"{own}_distance"], reach, strict=True)]
        least = min(float(r) / float(most) for r, most in zip(radius, reach, strict=True))
        curves |= {
            ("misfit", name): (time, *summed_up(over_first(misfit))),
            ("misfit", f"{theorem}, n = {count}"): (time, bound[0] / misfit[0, 0]),
            ("distance", name): (seldom, *summed_up(far)),
            ("distance", f"R/R', {name}"): (seldom, [least] * len(seldom)),
        }
    return curves


def fig1a(result: Result) -> Curves:
    return _as_published(result, np.log(result.arrays["misfit"]), "du2019_fig1a")


def fig1b(result: Result) -> Curves:
    return _as_published(result, result.arrays["flips"], "du2019_fig1b")


def fig1c(result: Result) -> Curves:
    return _as_published(result, result.arrays["distance"].astype(float) ** 2, "du2019_fig1c")


def _as_published(result: Result, samples: np.ndarray, source: str) -> Curves:
    with (BOOK / "published" / f"{source}.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves: Curves = {}
    for index, width in enumerate(result.settings["widths"]):
        name, epochs = f"m = {width}", range(samples.shape[-1])
        for convention, panel in enumerate(("one step size", "inferred step size")):
            curves[panel, name] = (epochs, *summed_up(samples[:, index, convention]))
        if f"width_{width}" in rows[0]:
            known = [float(row[f"width_{width}"]) for row in rows]
            curves[panel, f"{name}, as published"] = ([float(r["epoch"]) for r in rows], known)
    return curves


def fig1_expl(result: Result) -> Curves:
    a, widths = result.arrays, result.settings["widths"]
    most = widths[-1] / widths[0]
    between = [widths[0] * most ** (k / 64) for k in range(65)]
    curves: Curves = {("speed", "square root of m"): power(between, 1, 1 / 2)}
    for convention, name in enumerate(("speed, one step size", "speed, inferred step size")):
        fall = [[np.log(w[-1] / w[1]) for w in seed[:, convention]] for seed in a["misfit"]]
        usual = fmean(float(seed[0]) for seed in fall)
        curves["speed", name] = (widths, *summed_up([[f / usual for f in s] for s in fall]))
    last = [[run[1][-1] for run in seed] for seed in a["lambda_min"]]
    usual = fmean(float(seed[0]) for seed in last)
    curves["speed", "least eigenvalue at the end"] = (
        widths, *summed_up([[value / usual for value in seed] for seed in last])
    )  # fmt: skip
    return curves


def gradient_differences(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    one = float(np.finfo(s["dtype"]).eps) * fmean(a["loss_over_gradient"].ravel().tolist())
    curves: Curves = {
        ("differences", f"m = {width}"): (
            s["differences"], *summed_up([seed[index] for seed in a["difference_gap"]])
        )
        for index, width in enumerate(s["widths"])
    }  # fmt: skip
    rounding = (s["differences"], [one / step for step in s["differences"]])
    return {**curves, ("differences", "rounding"): rounding}


def recursion_without_flips(result: Result) -> Curves:
    flips, gaps = result.arrays["flips"], result.arrays["recursion_gap"]
    return {
        ("recursion", f"m = {width}"): (
            [int(v) for seed in flips for v in seed[index].ravel()],
            [float(v) for seed in gaps for v in seed[index].ravel()],
        )
        for index, width in enumerate(result.settings["widths"])
    }


def gradient_flow(result: Result) -> Curves:
    widths, a = result.settings["widths"], result.arrays
    times = clock(result, a["misfit"].shape[-1])
    moved = {}
    for name in ("distance", "drift"):
        largest = [[float(max(run)) for run in seed] for seed in a[name]]
        usual = fmean(seed[0] for seed in largest)
        moved[name] = [[most / usual for most in seed] for seed in largest]
    return {
        **{
            ("misfit", f"m = {m}"): (times, *summed_up(over_first(a["misfit"][:, index])))
            for index, m in enumerate(widths)
        },
        ("misfit", "H-infinity, linearised"): (
            times, mean(over_first(a["linearised_limit"][:, -1]))
        ),
        ("misfit", "Theorem 3.2"): (times, [math.exp(-t) for t in times]),
        ("motion", "distance of the farthest unit"): (widths, *summed_up(moved["distance"])),
        ("motion", "drift of H"): (widths, *summed_up(moved["drift"])),
        ("motion", "slope -1/2"): power(widths, 1, -1 / 2),
    }  # fmt: skip


def one_unit(result: Result) -> Curves:
    a = result.arrays
    (x, y), sides = a["kink"].tolist(), a["path"].tolist()
    curves: Curves = {
        ("the weights", "kink of x_1"): upright(0),
        ("in time", "kink of x_1"): level(0),
    }
    for name, side in zip(("inactive", "active"), sides, strict=True):
        along, across = (list(part) for part in zip(*side, strict=True))
        curves["the weights", f"starts {name} at x_1"] = (along, across)
        curves["in time", f"starts {name} at x_1"] = (a["clock"].tolist(), along)
    starts = {"where inactive": -0.35, "where active": -0.35, "on the kink": 0}
    for (name, start), (v, w) in zip(starts.items(), a["velocity"].tolist(), strict=True):
        ends = (start, start + 0.35)
        curves["the weights", f"velocity {name}"] = (
            [x + t * v for t in ends], [y + t * w for t in ends],
        )  # fmt: skip
    return curves


def sliding_units(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    steps = [number**2 for number in s["windows"]]
    return {
        (panel, f"{kind}, m = {m}"): (steps, *summed_up(a[name][world][:, index]))
        for panel, kind, name, world in (
            ("steps", "inputs on the sphere", "missed", 0),
            ("steps", "control", "missed", 1),
            ("windows", "indicators", "indicator", 0),
            ("windows", "fractions", "fraction", 0),
        )
        for index, m in enumerate(s["widths"])
    }


def gram_stability(result: Result) -> Curves:
    a, n, radii = result.arrays, result.settings["count"], result.settings["radii"]
    lemma = fmean(a["lemma_radius"].tolist())
    lambda_0 = a["lambda_0"].tolist()

    def over(change: Iterable[Any]) -> list[list[float]]:
        runs = zip(change, lambda_0, strict=True)
        return summed_up([[float(value) / least for value in run] for run, least in runs])

    certified = [[first, *rest] for first, rest in zip(
        a["lemma_change"], a["certified_norm"], strict=True)]  # fmt: skip
    pushed = [list(map(max, *pair)) for pair in zip(a["on"], a["off"], strict=True)]
    printed = [4 * n**2 * r / math.sqrt(2 * math.pi) / fmean(lambda_0) for r in (lemma, *radii)]
    return {
        ("change", "printed bound"): ([lemma, *radii], printed),
        ("change", "certified, any weights"): ([lemma, *radii], *over(certified)),
        ("change", "adversary"): (radii, *over(pushed)),
        ("change", "random"): (radii, *over(a["random"])),
        ("change", "lambda_0 / 4"): level(1 / 4),
        ("change", "the lemma's R"): upright(lemma),
    }


def closed_form_by_sampling(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    angles = [math.pi * k / (s["angles"] - 1) for k in range(s["angles"])]
    fine = [math.pi * k / 180 for k in range(181)]
    closed = [math.cos(t) * (math.pi - t) / (2 * math.pi) for t in fine]
    return {
        ("entry", "closed form"): (fine, closed),
        ("entry", "Monte Carlo"): (angles, mean(a["estimate"])),
        ("error", "measured"): (s["samples"], *summed_up(a["error"])),
        ("error", "standard error"): power(s["samples"], float(a["expected_error"][0, 0]), -1 / 2),
    }


def gram_at_initialization(result: Result) -> Curves:
    a, widths, counts = result.arrays, result.settings["widths"], result.settings["counts"]
    by_width = {
        count: [fmean(trials.tolist()) for trials in a["distance"][index]]
        for index, count in enumerate(counts)
    }
    return {
        **{("distance", f"n = d = {n}"): (widths, line) for n, line in by_width.items()},
        ("distance", "slope -1/2"): power(widths, 0.6 * by_width[counts[0]][0], -1 / 2),
        ("width", "Hoeffding"): (counts, a["hoeffding"]),
        ("width", "Bernstein"): (counts, a["bernstein"]),
        ("width", "measured"): (counts, a["sufficient"]),
    }


def joint_training(result: Result) -> Curves:
    a, widths = result.arrays, result.settings["widths"]
    times = clock(result, a["misfit"].shape[-1])
    first, both, frozen = (
        over_first([seed[-1] for seed in a[key]])
        for key in ("misfit_first", "misfit", "linearised")
    )
    far, output = (
        [[max(run) for run in seed] for seed in a[key]] for key in ("distance", "output_distance")
    )
    return {
        ("misfit", "first layer"): (times, *summed_up(first)),
        ("misfit", "both layers"): (times, *summed_up(both)),
        ("misfit", "limit kernel, linearised"): (times, mean(frozen)),
        ("misfit", "Theorem 3.3"): (times, [math.exp(-t) for t in times]),
        ("motion", "first layer, farthest unit"): (widths, *summed_up(far)),
        ("motion", "output layer, farthest unit"): (widths, *summed_up(output)),
        ("motion", "slope -1/2"): power(widths, 0.7 * min(mean(far)[0], mean(output)[0]), -1 / 2),
    }


def first_residual(result: Result) -> Curves:
    a, n = result.arrays, result.settings["counts"][-1]
    sets = sorted(zip(a["printed"].tolist(), a["misfit"].tolist(), strict=True))
    labels = [printed - n for printed, _ in sets]
    return {
        ("residual", "printed"): (labels, [size + n for size in labels]),
        ("residual", "derived"): (labels, [size + n / 2 for size in labels]),
        ("residual", "measured"): (labels, [fmean(found) for _, found in sets]),
    }


def near_boundary(result: Result) -> Curves:
    radii, delta = result.settings["radii"], result.settings["delta"]
    mean_bound = [2 * r / math.sqrt(2 * math.pi) for r in radii]
    return {
        ("share", "Lemma 4.1"): (radii, [bound / delta for bound in mean_bound]),
        ("share", "bound on the mean"): (radii, mean_bound),
        ("share", "counted"): (radii, *summed_up(result.arrays["fraction"])),
    }


def parameter_balls(result: Result) -> Curves:
    a, multiples = result.arrays, result.settings["multiples"]
    curves: Curves = {}
    for name, key in (
        ("certified, any parameters", "certified"),
        ("adversary", "adversary"),
        ("random", "random"),
    ):
        runs = zip(a[key].tolist(), a["ball_lambda_0"].tolist(), strict=True)
        changes = [[value / least for value in run] for run, least in runs]
        curves["change", name] = (multiples, *summed_up(changes))
    return {**curves, ("change", "lambda_0 / 4"): level(1 / 4)}


def linear_rate(result: Result) -> Curves:
    a, widths = result.arrays, result.settings["widths"]
    eta, lambda_0 = (
        fmean(values.ravel().tolist()) for values in (a["step_size"][..., -1], a["lambda_0"])
    )
    widest = zip(a["step_size"][:, -1, -1], a["lambda_min"][:, -1], strict=True)
    late = fmean((1 - float(size) * float(least)) ** 2 for size, least in widest)
    promised = fmean(
        1 - float(size) * float(least) / 2
        for size, least in zip(a["step_size"][:, -1, -1], a["lambda_0"][:, -1], strict=True)
    )
    steps = range(a["misfit"].shape[-1])
    curves: Curves = {
        ("misfit", "Theorem 4.1"): (steps, [(1 - eta * lambda_0 / 2) ** k for k in steps]),
        ("ratio", "Theorem 4.1"): level(promised),
        ("ratio", "limit at late steps"): level(late),
    }
    for index, width in enumerate(widths):
        runs = a["misfit"][:, index, -1]
        ratio = [[run[k + 1] / run[k] for k in range(len(run) - 1)] for run in runs]
        curves["misfit", f"m = {width}"] = (steps, *summed_up(over_first(runs)))
        curves["ratio", f"m = {width}"] = (steps[1:], *summed_up(ratio))
    return curves


def unit_distances(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths = s["widths"]
    far, rms = ([run[:, -1].tolist() for run in a[key]] for key in ("distance", "rms_distance"))
    balls = [
        [
            4 * math.sqrt(s["count"] * misfit) / (math.sqrt(width) * lambda_0)
            for width, misfit, lambda_0 in zip(widths, misfits, lambdas, strict=True)
        ]
        for misfits, lambdas in zip(a["misfit"][:, :, -1, 0], a["lambda_0"], strict=True)
    ]
    return {
        ("distances", "Corollary 4.1"): (widths, *summed_up(balls)),
        ("distances", "farthest unit"): (widths, *summed_up(far)),
        ("distances", "root mean square"): (widths, *summed_up(rms)),
        ("distances", "slope -1/2"): power(widths, 0.7 * mean(rms)[0], -1 / 2),
    }


def output_layer(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    one, other = (a[name][0, -1].tolist() for name in ("by_first", "by_output"))
    ends = [min(one + other), max(one + other)]
    curves: Curves = {
        ("misfit", "m = n"): upright(s["count"]),
        ("misfit", "md = n"): upright(s["count"] / s["dimension"]),
        ("predictions", "equal"): (ends, ends),
        ("predictions", "fresh inputs"): (one, other),
    }
    for name, key in (
        ("output layer, optimum", "least_squares"),
        ("output layer, descent", "gd_output"),
        ("first layer, descent", "gd_first"),
    ):
        share = [
            [max(float(left) / float(start), 1e-16) for left, start in zip(*pair, strict=True)]
            for pair in zip(a[key], a["start"], strict=True)
        ]
        curves["misfit", name] = (s["widths"], *summed_up(share, median))
    return curves


def least_eigenvalue_by_count(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    images = [2 * each for each in s["per_class"]]
    return {
        **{
            ("least eigenvalue", f"sphere, d = {d}"): (
                s["counts"], *summed_up(a["sphere_lambda"][:, index])
            )
            for index, d in enumerate(s["dimensions"])
        },
        ("least eigenvalue", "digits 3 and 8"): (images, a["digits_lambda"]),
        ("least eigenvalue", "bound by two digits"): (images, a["digits_bound"]),
    }  # fmt: skip


def least_eigenvalue_of_near_parallels(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    angles, d, rounding = s["angles"], s["antipodal_dimension"], float(np.finfo(s["dtype"]).eps)
    drawn = [max(abs(float(v)), rounding) for seed in a["antipodal_lambda"] for v in seed]
    return {
        ("close pair", "angle over 2 pi"): (angles, [t / (2 * math.pi) for t in angles]),
        ("close pair", "the pair alone"): (angles, a["pair_lambda"]),
        ("close pair", f"among {s['pair_count']} others"): (angles, mean(a["planted_lambda"])),
        ("antipodes", "draws"): ([*range(d + 3)] * len(a["antipodal_lambda"]), drawn),
        ("antipodes", "d antipodal pairs"): upright(d + 0.5),
    }


def proof_budget(result: Result) -> Curves:
    curves: Curves = {}
    for index in (0, 1):
        steps = [
            {key: float(array[seed, -1, index, k]) for key, array in result.arrays.items()
             if array.ndim == 4}
            for seed in range(result.settings["seeds"])
            for k in range(result.settings["steps"])
        ]  # fmt: skip
        measured = [
            min(t["gain"] for t in steps),
            max(abs(t["perp_cost"]) for t in steps),
            max(abs(t["i_2_cost"]) for t in steps),
            max(abs(t["perp_cost"] + t["i_2_cost"]) for t in steps),
            max(abs(t["square_cost"]) for t in steps),
            min(t["gain"] - t["perp_cost"] - t["i_2_cost"] - t["square_cost"] for t in steps),
        ]
        promised = [
            1,
            max(t["perp_bound"] for t in steps),
            max(t["i_2_bound"] for t in steps),
            max(t["perp_bound"] + t["i_2_bound"] for t in steps),
            max(t["square_bound"] for t in steps),
            1 / 2,
        ]
        panel = f"step size {fmean(result.arrays['step_sizes'][..., index].ravel().tolist()):.2g}"
        curves |= {
            (panel, "measured"): (measured,),
            (panel, "in the proof"): (promised,),
            (panel, "left over by the theorem"): upright(1 / 2),
        }
    return curves


def digits_decay(result: Result) -> Curves:
    a, last = result.arrays, result.settings["steps"]
    eigenvalues, eta = a["eigenvalues"].tolist(), float(a["step_size"])
    steps = range(last + 1)
    every = [run for seed in a["linearised"] for run in seed]
    curves: Curves = {
        ("misfit", "linearised"): (steps, mean(over_first(every))),
        ("misfit", "Theorem 4.1"): (steps, [(1 - eta * eigenvalues[0] / 2) ** k for k in steps]),
        ("directions", "linearised"): (
            eigenvalues, [max(abs(1 - eta * value) ** last, 1e-6) for value in eigenvalues]
        ),
    }  # fmt: skip
    width = (eigenvalues[-1] * 1.001 / eigenvalues[0]) ** (1 / 15)
    groups: dict[int, list[int]] = {}
    for rank, value in enumerate(eigenvalues):
        groups.setdefault(math.floor(math.log(value / eigenvalues[0], width)), []).append(rank)
    for index, m in enumerate(result.settings["widths"]):
        before, after = (a[name][:, index] for name in ("before", "after"))
        curves["misfit", f"m = {m}"] = (steps, *summed_up(over_first(a["misfit"][:, index])))
        curves["directions", f"m = {m}"] = (
            [math.exp(fmean(math.log(eigenvalues[j]) for j in group)) for group in groups.values()],
            [np.linalg.norm(after[:, j]) / np.linalg.norm(before[:, j]) for j in groups.values()],
        )
    return curves


def digits_spectrum(result: Result) -> Curves:
    falling = sorted(result.arrays["eigenvalues"].tolist(), reverse=True)
    return {
        ("spectrum", "eigenvalues"): (range(1, len(falling) + 1), falling),
        ("spectrum", "bound by the closest pair"): level(
            0.5 - float(result.arrays["largest_entry"])
        ),
        ("spectrum", "lambda_0"): level(falling[-1]),
    }


def step_size(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    split = len(s["counts"])
    curves: Curves = {}
    for panel, sizes, cells in (
        ("inputs", s["counts"], range(split)),
        ("width", s["widths"], range(split, split + len(s["widths"]))),
    ):
        edge, largest, theorem = (
            [[seed[cell] for cell in cells] for seed in a[key]]
            for key in ("edge", "largest", "theorem")
        )
        curves |= {
            (panel, "edge of stability"): (sizes, mean(edge)),
            (panel, "largest stable"): (sizes, *summed_up(largest)),
            (panel, "lambda_0 / n^2"): (sizes, *summed_up(theorem)),
        }
    return curves


def precision(result: Result) -> Curves:
    a = result.arrays
    exact, steps = a["float64"], range(1, a["float64"].shape[-1])
    curves: Curves = {}
    for kind in a["precisions"].tolist():
        curves[kind, "allowed"] = level(0.1)
        for index, name in enumerate(a["observables"].tolist()):
            off = [max(abs(a[kind][:, index, k] - exact[:, index, k])) for k in steps]
            spread = [np.std(exact[:, index, k], ddof=1) for k in steps]
            shares = zip(off, spread, strict=True)
            curves[kind, name] = (steps, [far / one if far > 0 else None for far, one in shares])
    return curves


def benchmark(result: Result, condition: str) -> Curves:
    timed = np.isfinite(result.arrays["bound"]) & (result.arrays["condition"] == condition)
    a = {name: result.arrays[name][timed] for name in ("measure", "ratio", "bound")}
    # Of how much longer it takes, how often as fast it is is the inverse.
    power = np.where(a["measure"] == "time", -1.0, 1.0)
    return {
        ("promises", "measured"): ((a["ratio"] ** power)[::-1],),
        ("promises", "promised"): ((a["bound"] ** power)[::-1],),
        ("promises", "as fast as the peer"): upright(1),
    }


def looks(result: Result) -> list[int]:
    """Twenty steps on a logarithmic scale, those that round to the same once."""
    steps = result.settings["steps"]
    return sorted({0, *(round(steps ** (k / 19)) for k in range(20))})


def predictions(result: Result) -> Curves:
    widths, a = result.settings["widths"], result.arrays
    curves: Curves = {}
    for i, width in enumerate(widths):
        for kind, name in (("measured", "loss"), ("predicted", "predicted_loss")):
            curves["loss", f"m = {width}, {kind}"] = (looks(result), mean(a[name][:, i]))
    farthest = [[max(run) for run in seed] for seed in a["gap"]]
    start = fmean(seed[0] for seed in farthest)
    return {
        **curves,
        ("distance", "distance"): (widths, *summed_up(farthest)),
        ("distance", "m^(-1/2)"): power(widths, start, -1 / 2),
    }


def test_errors(result: Result) -> Curves:
    a, steps, count = result.arrays, looks(result)[1:], result.settings["held_out"] * 2

    def errors(name: str) -> list[float]:
        """Of image 2 k and 2 k + 1 the k-th network is asked, and after the last the first."""
        widest = a[name][:, -1]
        return [float(widest[image // 2 % len(widest)][image]) for image in range(count)]

    wrong = int(sum(a["kernel_wrong"]))
    low = stats.beta.ppf(0.025, wrong, count - wrong + 1)
    high = stats.beta.ppf(0.975, wrong + 1, count - wrong)
    panel = "test error"
    return {
        (panel, "kernel regression, interval"): (ACROSS, ACROSS, [low], [high]),
        (panel, "kernel regression"): level(wrong / count),
        (panel, "end"): level(fmean(errors("ended_wrong"))),
        (panel, "end without start"): level(fmean(errors("without_start_wrong"))),
        (panel, "measured"): (steps, *summed_up(a["error"][:, -1, 1:])),
        (panel, "predicted"): (steps, mean(a["predicted_error"][:, -1, 1:])),
    }


def nearest(result: Result) -> Curves:
    curves: Curves = {}
    for row, name in enumerate(("mnist", "cifar10")):
        for key, label in (("within", "of the same label"), ("across", "of the other label")):
            distances = [float(d) for d in result.arrays[key][row]]
            shares = [k / (len(distances) - 1) for k in range(len(distances))]
            curves[name, label] = distances, shares
        curves[name, "phi"] = upright(float(result.arrays["across"][row].min()))
    return curves


CURVES = {
    "du2019-closed-form-by-sampling": closed_form_by_sampling,
    "du2019-deep-gram": deep_gram,
    "du2019-digits-decay": digits_decay,
    "du2019-digits-spectrum": digits_spectrum,
    "du2019-explicit-widths": explicit_widths,
    "du2019-fig1-expl": fig1_expl,
    "du2019-fig1a": fig1a,
    "du2019-fig1b": fig1b,
    "du2019-fig1c": fig1c,
    "du2019-first-residual": first_residual,
    "du2019-gradient-differences": gradient_differences,
    "du2019-gradient-flow": gradient_flow,
    "du2019-gram-at-initialization": gram_at_initialization,
    "du2019-gram-stability": gram_stability,
    "du2019-inside-the-regime": inside_the_regime,
    "du2019-joint-training": joint_training,
    "du2019-least-eigenvalue-by-count": least_eigenvalue_by_count,
    "du2019-least-eigenvalue-of-near-parallels": least_eigenvalue_of_near_parallels,
    "du2019-linear-rate": linear_rate,
    "du2019-near-boundary": near_boundary,
    "du2019-one-unit": one_unit,
    "du2019-output-layer": output_layer,
    "du2019-parameter-balls": parameter_balls,
    "du2019-proof-budget": proof_budget,
    "du2019-recursion-without-flips": recursion_without_flips,
    "du2019-sliding-units": sliding_units,
    "du2019-step-size": step_size,
    "du2019-unit-distances": unit_distances,
    "engines-benchmark": partial(benchmark, condition="quiet"),
    "engines-benchmark-avx2": partial(benchmark, condition="no AVX-512"),
    "engines-benchmark-busy": partial(benchmark, condition="busy"),
    "engines-precision": precision,
    "engines-predictions": predictions,
    "engines-test-errors": test_errors,
    "zou2020-nearest": nearest,
}
