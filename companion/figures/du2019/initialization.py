"""Figures of the experiment du2019/initialization."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, INK, RED, band, by_size, label_line, new, stack
from companion.lab.results import Result


def closed_form_by_sampling(result: Result) -> Drawing:
    """Closed form of H-infinity with its Monte Carlo average, and the error of that average."""
    a, s = result.arrays, result.settings
    angles, samples = np.linspace(0, np.pi, s["angles"]), np.array(s["samples"])
    figure, (left, right) = new(2)
    left.plot(angles, a["closed"][0], color=INK, label=r"$\rho(\pi-\arccos\rho)/2\pi$")
    estimate = a["estimate"].mean(axis=0)
    left.plot(angles, estimate, "o", mfc="none", color=RED, label="mean over drawn w")
    left.set(xlabel=r"angle $\arccos\rho$", ylabel=r"$H^\infty_{12}$")
    left.legend()
    error = band(right, samples, a["error"], RED, marker="o", ms=4, label="measured")
    expected = a["expected_error"][0]
    right.plot(samples, expected, color=FAINT, ls="--", label="standard error")
    right.set(xscale="log", yscale="log", xlabel="samples of w", ylabel="root mean square error")
    right.legend()
    series = {
        "closed form": (angles, a["closed"][0]),
        "Monte Carlo": (angles, estimate),
        "measured error": (samples, error),
        "standard error": (samples, expected),
    }
    return Drawing(
        figure,
        f"Left, an entry of $H^\\infty$ against the angle of its two inputs, closed form and "
        f"average over drawn $w$. Right, the error of that average, mean and range over "
        f"{len(a['error'])} seeds, with its standard error (dashed).",
        "Left, circles on a curve that falls from one half at angle 0, dips below zero past a "
        "right angle and returns to zero at pi. Right, measured errors along a line of slope -1/2.",
        stack(series, "angle_or_samples", "value"),
    )


def gram_at_initialization(result: Result) -> Drawing:
    """Distance of H(0) from its limit against m, and the width at which Lemma 3.1 takes effect."""
    a, s = result.arrays, result.settings
    widths, counts = np.array(s["widths"]), np.array(s["counts"])
    figure, (left, right) = new(2)
    series = {}
    for distance, count, color in zip(a["distance"], counts, by_size(s["counts"]), strict=True):
        mean = distance.mean(axis=1)
        left.plot(widths, mean, color=color, label=f"n = d = {count}")
        series[f"distance, n={count}"] = (widths, mean)
    guide = 0.6 * series[f"distance, n={counts[0]}"][1][0] * (widths / widths[0]) ** -0.5
    left.plot(widths, guide, color=FAINT, ls="--", label=r"$m^{-1/2}$")
    left.set(xscale="log", yscale="log", xlabel="width m", ylabel=r"$\|H(0)-H^\infty\|_2$")
    left.legend()
    curves = {
        "Hoeffding": (a["hoeffding"], FAINT, "--"),
        "Bernstein": (a["bernstein"], BLUE, "--"),
        "measured": (a["sufficient"], RED, "-"),
    }
    for name, (needed, color, dashes) in curves.items():
        right.plot(counts, needed, color=color, ls=dashes, marker="o", ms=4)
        label_line(right, counts, needed, name, color)
        series[f"width, {name}"] = (counts, needed)
    right.set(xscale="log", yscale="log", xlabel="number of inputs n = d")
    right.set_xticks(counts, [str(count) for count in counts])
    right.set_xticks([], minor=True)
    right.set_ylabel(f"width for probability {1 - s['delta']:g}")
    return Drawing(
        figure,
        f"Left, distance of $H(0)$ from its limit, mean over {s['trials']} networks. Right, the "
        "width from which Lemma 3.1's event occurs often enough: with Hoeffding's inequality, "
        "with matrix Bernstein's, and as measured.",
        "Left, parallel lines of slope -1/2. Right, Hoeffding's width grows by orders of magnitude "
        "with n, Bernstein's and the measured one stay level, a factor of ten apart.",
        stack(series, "m_or_n", "distance_or_width"),
    )
