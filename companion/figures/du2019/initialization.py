"""Figures of the experiment du2019/initialization."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import ends, said
from companion.lab.results import Result

ANGLE = ("angle of two inputs", r"angle $\arccos\rho$")
ENTRY = ("entry of H-infinity", r"$H^\infty_{12}$")
DISTANCE = ("distance of H(0) from H-infinity", r"$\|H(0)-H^\infty\|_2$")


def closed_form_by_sampling(result: Result) -> Drawing:
    """Closed form of H-infinity with its Monte Carlo average, and the error of that average."""
    a, s = result.arrays, result.settings
    angles, samples = np.linspace(0, np.pi, s["angles"]), s["samples"]
    canvas = Canvas(2)
    left = canvas.panel("entry", ANGLE, ENTRY)
    formula = r"$\rho(\pi-\arccos\rho)/2\pi$"
    left.curve("closed form", angles, a["closed"][0], INK, label=formula)
    circles, label = a["estimate"], "mean over drawn w"
    left.curve(
        "Monte Carlo", angles, circles, RED, band=False, marker="o", ls="", mfc="none", label=label
    )
    left.legend()
    right = canvas.panel("error", "samples of w", "root mean square error", log="xy")
    right.curve("measured", samples, a["error"], RED, marker="o", ms=4, label="measured")
    right.curve(
        "standard error", samples, a["expected_error"][0], FAINT, ls="--", label="standard error"
    )
    right.legend()
    return canvas.drawing(
        "Left, an entry of $H^\\infty$ against the angle of its two inputs, closed form and "
        "average over drawn $w$. Right, the error of that average, mean and range over "
        f"{len(a['error'])} seeds, with its standard error (dashed).",
        "Left, a curve that falls from one half at angle 0, dips below zero past a right angle and "
        "returns to zero at pi, with a circle at each average. Right, the errors and a dashed line "
        "of slope -1/2. "
        + said(
            result, "The circles lie on the curve, the errors along the line.", "du2019-def-Hinf"
        ),
    )


def gram_at_initialization(result: Result) -> Drawing:
    """Distance of H(0) from its limit against m, and the width at which Lemma 3.1 takes effect."""
    a, s = result.arrays, result.settings
    widths, counts, distances = s["widths"], s["counts"], a["distance"]  # counts, widths, trials
    canvas = Canvas(2)
    left = canvas.panel("distance", WIDTH, DISTANCE, log="xy")
    for distance, count, color in zip(distances, counts, by_size(counts), strict=True):
        name = f"n = d = {count}"
        left.curve(name, widths, distance.T, color, band=False, label=name)
    start = 0.6 * distances[0, 0].mean()
    left.guide("slope -1/2", widths, start, -1 / 2, label=r"$m^{-1/2}$")
    left.legend()
    needed = ("width at which Lemma 3.1 takes effect", f"width for probability {1 - s['delta']:g}")
    right = canvas.panel("width", "number of inputs n = d", needed, log="xy")
    for name, key, color, dashes in (
        ("Hoeffding", "hoeffding", FAINT, "--"),
        ("Bernstein", "bernstein", BLUE, "--"),
        ("measured", "sufficient", RED, "-"),
    ):
        right.curve(name, counts, a[key], color, end=name, ls=dashes, marker="o", ms=4)
    right.axes.set_xticks(counts, [str(count) for count in counts])
    right.axes.set_xticks([], minor=True)
    return canvas.drawing(
        f"Left, distance of $H(0)$ from its limit, mean over {s['trials']} networks. Right, the "
        "width from which Lemma 3.1's event occurs often enough: with Hoeffding's inequality, "
        "with matrix Bernstein's, and as measured.",
        "Left, a line per number of inputs, and a dashed slope of -1/2. "
        + said(result, "They are parallel to it.", "du2019-rem3.1a")
        + f" Right, three widths for n {ends(counts, 'g')}: Hoeffding's goes "
        f"{ends(a['hoeffding'], '.1e')}, Bernstein's {ends(a['bernstein'], '.1e')}, the measured "
        f"one {ends(a['sufficient'], '.1e')}.",
    )
