"""Figures of the experiment du2019/initialization."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "du2019-def-Hinf": "du2019-closed-form-by-sampling",
    "du2019-rem3.1a": "du2019-gram-at-initialization",
    "du2019-lem3.1": "du2019-gram-at-initialization",
    "du2019-init-misfit": "du2019-first-residual",
}
ANGLE = ("angle of two inputs", r"angle $\arccos\rho$")
QUARTERS = ("0", r"$\pi/4$", r"$\pi/2$", r"$3\pi/4$", r"$\pi$")
FINE = 181  # points of a curve that is a formula
ENTRY = ("entry of H-infinity", r"$H^\infty_{12}$")
LABELS = ("squared norm of the labels", r"$\|y\|^2$")
RESIDUAL = ("squared norm of the first residual", r"$\|y-u(0)\|^2$")
DISTANCE = ("distance of H(0) from H-infinity", r"$\|H(0)-H^\infty\|_2$")


def closed_form_by_sampling(result: Result) -> Drawing:
    """Closed form of H-infinity with its Monte Carlo average, and the error of that average."""
    a, s = result.arrays, result.settings
    angles, samples = np.linspace(0, np.pi, s["angles"]), s["samples"]
    canvas = Canvas(2)
    left = canvas.panel("entry", ANGLE, ENTRY)
    formula = r"$\rho(\pi-\arccos\rho)/2\pi$"
    turns = np.linspace(0, np.pi, FINE)
    left.curve(
        "closed form", turns, np.cos(turns) * (np.pi - turns) / (2 * np.pi), INK, label=formula
    )
    circles, label = a["estimate"], "mean over drawn w"
    left.curve(
        "Monte Carlo", angles, circles, RED, band=False, marker="o", ls="", mfc="none", label=label
    )
    left.axes.set_xticks(np.pi * np.arange(5) / 4, QUARTERS)
    left.legend()
    right = canvas.panel("error", "samples of w", "root mean square error", log="xy")
    right.curve("measured", samples, a["error"], RED, marker="o", ms=4, label="measured")
    right.curve(
        "standard error", samples, a["expected_error"][0], FAINT, ls="--", label="standard error"
    )
    right.legend()
    return canvas.drawing(
        "Left, an entry of $H^\\infty$ against the angle between its two inputs: the closed form, "
        "and averages over drawn weights $w$ (circles). Right, the root mean square error of such "
        f"averages against the number of draws, {over_seeds(a['error'])}, and the standard error "
        "(dashed).",
        "Left, a curve that falls from one half at angle 0, dips below zero past a right angle and "
        "returns to zero at pi, with a circle at each average. Right, the errors and a dashed line "
        "of slope minus one half. "
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
    needed = (
        "width at which Lemma 3.1 takes effect",
        f"width m, at probability {1 - s['delta']:g}",
    )
    right = canvas.panel("width", "number of inputs n = d", needed, log="xy")
    for name, key, color, dashes, mark in (
        ("Hoeffding", "hoeffding", FAINT, "--", "s"),
        ("Bernstein", "bernstein", BLUE, "--", "^"),
        ("measured", "sufficient", RED, "-", "o"),
    ):
        right.curve(name, counts, a[key], color, end=name, ls=dashes, marker=mark, ms=4)
    right.axes.set_xticks(counts, [str(count) for count in counts])
    right.axes.set_xticks([], minor=True)
    return canvas.drawing(
        "Left, how far the Gram matrix $H(0)$ is from its limit $H^\\infty$, the mean over "
        f"{s['trials']} draws of inputs and network; the dashed line falls like $m^{{-1/2}}$. "
        "Right, the width from which on the event of Lemma 3.1 is as probable as it should be: by "
        "Hoeffding's inequality, by matrix Bernstein's, and as measured.",
        "Left, a line per number of inputs, and a dashed one of slope minus one half. "
        + said(result, "They are parallel to it.", "du2019-rem3.1a")
        + f" Right, three widths for n from {counts[0]} to {counts[-1]}: Hoeffding's goes "
        f"{ends(a['hoeffding'])}, Bernstein's {ends(a['bernstein'])}, the measured one "
        f"{ends(a['sufficient'])}.",
    )


def first_residual(result: Result) -> Drawing:
    """Mean first residual of fresh networks, data set by data set, with its two predictions."""
    a, s = result.arrays, result.settings
    order = np.argsort(a["printed"])
    labels = a["printed"][order] - s["counts"][-1]
    canvas = Canvas()
    panel = canvas.panel("residual", LABELS, RESIDUAL)
    for name, key, color, dashes, label in (
        ("printed", "printed", FAINT, "--", r"printed, $\|y\|^2+n$"),
        ("derived", "exact", INK, "-", r"derived, $\|y\|^2+n/2$"),
    ):
        panel.curve(name, labels, a[key][order], color, ls=dashes, label=label)
    measured = a["misfit"].mean(axis=1)[order]
    panel.points("measured", labels, measured, RED, ms=5, label="mean over networks")
    panel.legend("lower right")
    return canvas.drawing(
        "The first residual, $\\lVert y-u(0)\\rVert^2$, against the size of the labels: its mean "
        f"over {s['misfit_networks']} fresh networks of width {s['misfit_width']}, for each of "
        f"{len(measured)} data sets of $n={s['counts'][-1]}$ inputs; and what the paper prints and "
        "what is derived here as its expectation.",
        "Two parallel straight lines, and a point for each data set. "
        + said(
            result,
            "The points scatter about the lower line, which is the derived one.",
            "du2019-init-misfit",
            outcomes=("fails",),
        ),
    )
