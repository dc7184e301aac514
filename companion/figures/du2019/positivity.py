"""Figures of the experiment du2019/positivity."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, RED, band, by_size, label_line, new, stack
from companion.lab.results import Result


def least_eigenvalue_by_count(result: Result) -> Drawing:
    """Least eigenvalue of H-infinity against n, on spheres and on real digits."""
    a, s = result.arrays, result.settings
    counts, dimensions = np.array(s["counts"]), s["dimensions"]
    figure, (axes,) = new()
    series = {}
    for index, (dimension, color) in enumerate(zip(dimensions, by_size(dimensions), strict=True)):
        mean = band(axes, counts, a["sphere_lambda"][:, index], color, marker="o", ms=3)
        label_line(axes, counts, mean, f"sphere, d = {dimension}", color)
        series[f"sphere, d={dimension}"] = (counts, mean)
    images = 2 * np.array(s["per_class"])
    axes.plot(images, a["digits_lambda"], color=RED, marker="s", ms=4)
    label_line(axes, images, a["digits_lambda"], "digits 3 and 8", RED)
    axes.plot(images, a["digits_bound"], color=RED, ls=":")
    label_line(axes, images, a["digits_bound"], "closest two digits", RED)
    series["digits 3 and 8"] = (images, a["digits_lambda"])
    series["closest two digits"] = (images, a["digits_bound"])
    axes.set(xscale="log", yscale="log", xlabel="number of inputs n", ylabel=r"$\lambda_0$")
    return Drawing(
        figure,
        f"Least eigenvalue of $H^\\infty$ against $n$: spheres, mean and range over {s['seeds']} "
        "draws; MNIST digits, with the least eigenvalue of their closest pair as an upper bound "
        "(dotted).",
        "All curves fall with n and stay positive; higher spheres lie higher, and the digits lie "
        "low although they have 784 pixels.",
        stack(series, "n", "lambda_0"),
    )


def least_eigenvalue_of_near_parallels(result: Result) -> Drawing:
    """Least eigenvalue against the angle of a close pair, and against the number of antipodes."""
    a, s = result.arrays, result.settings
    angles, d = np.array(s["angles"]), s["antipodal_dimension"]
    figure, (left, right) = new(2)
    law = angles / (2 * np.pi)
    left.plot(angles, law, color=FAINT, ls="--", label=r"$\varphi/2\pi$")
    left.plot(angles, a["pair_lambda"], "o", ms=6, mfc="none", color=BLUE, label="the pair alone")
    planted = a["planted_lambda"].mean(axis=0)
    left.plot(angles, planted, "x", color=RED, label=f"among {s['pair_count']} others")
    left.set(xscale="log", yscale="log", ylabel=r"$\lambda_0$")
    left.set_xlabel(r"angle $\varphi$ of the closest two inputs")
    left.legend()
    pairs, floor = np.arange(d + 3), float(np.finfo(s["dtype"]).eps)
    antipodal = np.abs(a["antipodal_lambda"])
    for sample in antipodal:
        right.plot(pairs, np.maximum(sample, floor), "o", ms=4, alpha=0.7, color=BLUE)
    right.axvline(d + 0.5, color=FAINT, ls="--")
    right.annotate(
        f"d = {d}", (d + 0.5, 1e-8), xytext=(-4, 0), textcoords="offset points", ha="right"
    )
    right.set(yscale="log", xlabel="antipodal pairs among the inputs", ylabel=r"$\lambda_0$")
    series = {
        "phi / 2 pi": (angles, law),
        "the pair alone": (angles, a["pair_lambda"]),
        f"among {s['pair_count']} others": (angles, planted),
        "antipodal pairs": (pairs, antipodal.mean(axis=0)),
    }
    return Drawing(
        figure,
        "Left, the least eigenvalue as two inputs approach each other. Right, as inputs receive "
        f"their antipodes, in dimension {d}, {len(antipodal)} draws; numbers below one rounding "
        "are drawn at it.",
        "Left, both series follow the straight law down to the smallest angle. Right, the least "
        "eigenvalue stays near its size up to d antipodal pairs and drops to rounding beyond.",
        stack(series, "angle_or_pairs", "lambda_0"),
    )
