"""Figures of the experiment zou2018/trajectories."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP, WIDTH
from companion.figures.style import BLUE, CYCLE, INK, MARKERS, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-lem5.4-5": "zou2018-descent",
    "zou2018-lem5.6-7": "zou2018-sgd-distance",
}
# The losses of the experiment, in the order of its arrays, and those of SGD.
LOSSES = ("cross-entropy", "exponential", "squared hinge", "hinge")
RULES = (LOSSES[0], LOSSES[2])
SHARE = (
    "decrease over step size times squared gradient",
    r"$-\Delta L_S\,/\,\eta\|\nabla L_S\|^2$",
)
PATH = (
    "distance over the bound that descent implies",
    r"$\|W^{(k)}-W^{(0)}\|_F\,/\,\sqrt{2k\eta(L_S(0)-L_S(k))}$",
)
RATE = (
    "largest distance over step size, sqrt m and summed slopes",
    r"distance over $\eta\sqrt{m}\sum|\ell'|$",
)
PER_TIME = (
    "largest distance over k eta sqrt m",
    r"distance over $k\eta\sqrt{m}$",
)


def descent(result: Result) -> Drawing:
    """What every step earns, and the distance over its bound, along runs at the largest width."""
    a, s = result.arrays, result.settings
    steps = np.arange(s["steps"])
    canvas = Canvas(2)
    left = canvas.panel("descent", STEP, SHARE)
    right = canvas.panel("path", STEP, PATH)
    for place, loss in enumerate(LOSSES):
        color, mark = CYCLE[place], MARKERS[place]
        style: dict[str, Any] = {
            "marker": mark,
            "ms": 4,
            "markevery": max(1, len(steps) // 6),
            "label": loss,
        }
        share = np.where(np.isfinite(a["descent"]), a["descent"], np.nan)
        left.curve(loss, steps, share[:, place, -1], color, **style)
        right.curve(loss, steps + 1, a["path"][:, place, -1], color, **style)
    left.level("1/2", 0.5, INK, ls="--", lw=1)
    left.note("1/2, needed", (0, 0.5), INK, (0, 3), va="bottom")
    right.level("1", 1, INK, ls="--", lw=1)
    right.note("1, the bound", (steps[-1], 1), INK, (0, -3), ha="right", va="top")
    right.axes.set_ylim(0, 1.05)
    canvas.legend(4)
    path = a["path"][:, :3, -1]
    return canvas.drawing(
        "Gradient descent with four losses at $m=$ "
        f"{s['widths'][-1]}, {over_seeds(path)}. Left, what a step takes off the loss, as a share "
        "of $\\eta\\lVert\\nabla L_S\\rVert_F^2$; the lemmas need one half (dashed). Right, how "
        "far all layers together have come, as a share of what follows from one half at every "
        "step.",
        "Left, a curve for each loss against the step, and a dashed line at one half. Right, the "
        f"distances as shares of a bound, at most {path.max():.2f} for the smooth losses. "
        + said(
            result,
            "Left, the three smooth losses stay near one; right, all curves stay below one.",
            "zou2018-lem5.4-5",
        ),
    )


def sgd_distance(result: Result) -> Drawing:
    """Distances of SGD in the units of their bounds, against the width and the batch size."""
    a, s = result.arrays, result.settings
    canvas = Canvas(2)
    left = canvas.panel("width", WIDTH, RATE, log="xy")
    sized = ("batch size B", f"batch size B, at m = {s['widths'][1]}")
    right = canvas.panel("batch size", sized, PER_TIME, log="xy")
    rate, per_time = a["sgd_rate"].max(axis=-1), a["batch_per_time"].max(axis=-1)
    for place, (loss, color) in enumerate(zip(RULES, (BLUE, RED), strict=True)):
        mark = MARKERS[place]
        left.curve(loss, s["widths"], rate[:, place], color, marker=mark, ms=5, label=loss)
        right.curve(loss, s["batches"], per_time[:, place], color, marker=mark, ms=5, label=loss)
    start = 1.5 * per_time[:, 1, 0].mean()
    right.guide("slope -1", s["batches"], start, -1, label=r"$1/B$, allowed")
    left.sizes(s["widths"])
    right.sizes(s["batches"])
    for panel in (left, right):
        panel.few_decades()
        panel.legend()
    return canvas.drawing(
        "How far SGD goes from initialisation, the largest spectral distance of a layer at any "
        f"look, {over_seeds(rate)}. Left, in units of $\\eta\\sqrt m$ times the sum of the "
        f"batches' mean slopes, against the width, with $B$ = {s['batch']}. Right, in units of "
        "$k\\eta\\sqrt m$, against the batch size, with the growth that the lemma allows where "
        "$\\alpha_0=\\infty$ (dashed).",
        f"Left, two lines: cross-entropy goes {ends(rate[:, 0].mean(axis=0))}, squared hinge "
        f"{ends(rate[:, 1].mean(axis=0))}. Right, lines of "
        f"{ends(per_time[:, 0].mean(axis=0))} and {ends(per_time[:, 1].mean(axis=0))}, and a guide "
        "of slope minus one. "
        + said(result, "All four lines are nearly level.", "zou2018-lem5.6-7"),
    )
