"""Figures of the experiment chen2021/descent_lemma."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing, Quantity
from companion.figures.style import CYCLE, INK, MARKERS
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "chen2021-lem6.2": "chen2021-way-to-target",
    "chen2021-eq6.3": "chen2021-iterates-ball",
}
TIMES = ("time over T", "time over $T$")
SHARE = (
    "summed losses over what the way to W* allows",
    r"$\eta\sum L_S$ over its bound",
)
ERROR = ("largest linearisation error towards W*", "linearisation error towards $W^*$")
BALL = ("largest distance of a layer over the radius of (6.3)", "distance over its bound")
APART = (
    "distance from W* over what Lemma 6.2 allows",
    "distance from $W^*$ over its bound",
)
# The two W* in the order of the experiment's arrays.
KINDS = ("iterate", "linearised")


def way_to_target(result: Result) -> Drawing:
    """Both sides of Lemma 6.2 along runs, and the linearisation error that its proof bounds."""
    a = result.arrays
    canvas = Canvas(2)
    left = _panel(canvas, result, "share", SHARE)
    right = _panel(canvas, result, "error", ERROR)
    left.level("1", 1, INK, ls="--", lw=1)
    left.note("1, the lemma", (1, 1), INK, (0, -3), ha="right", va="top")
    left.axes.set_ylim(0, 1.1)
    right.level("1/4", 0.25, INK, ls="--", lw=1)
    right.note("1/4, allowed in the proof", (1, 0.25), INK, (0, 3), ha="right", va="bottom")
    canvas.legend(2)
    return canvas.drawing(
        "Lemma 6.2 along runs of gradient descent at $m=$ "
        f"{result.settings['widths'][-1]}, {over_seeds(a['share'])}, for the two $W^*$: the first "
        f"iterate with every loss below {result.settings['epsilon']:g}, and the start moved as the "
        "linearised network asks. Left, $\\eta$ times the losses so far, over the way that the run "
        "has come towards $W^*$ and $2t\\eta\\epsilon$. Right, the largest linearisation error of "
        "an input at the iterate towards $W^*$; the proof uses that it is at most 1/4 (dashed).",
        "Left, curves for two choices of W* and several alpha, at most "
        f"{spoken(a['share'][:, :, -1].max(), rounded='up')}, below a dashed line at one. Right, "
        f"the errors, at most {spoken(a['error'][:, :, -1].max(), rounded='up')}, and a dashed "
        "line at one quarter. "
        + said(result, "The inequality holds at all times, with room.", "chen2021-lem6.2"),
    )


def iterates_ball(result: Result) -> Drawing:
    """Distances from the start and from W*, each over its bound, along runs up to T."""
    a = result.arrays
    canvas = Canvas(2)
    left = _panel(canvas, result, "ball", BALL)
    right = _panel(canvas, result, "apart", APART)
    for panel in (left, right):
        panel.level("1", 1, INK, ls="--", lw=1)
        panel.axes.set_ylim(0, 1.1)
    left.note("1, the ball", (1, 1), INK, (0, -3), ha="right", va="top")
    right.note("1, the lemma", (1, 1), INK, (0, -3), ha="right", va="top")
    canvas.legend(2)
    return canvas.drawing(
        "How far the iterates are from the start and from $W^*$, up to $T$ at $m=$ "
        f"{result.settings['widths'][-1]}, {over_seeds(a['ball'])}. Left, the largest distance of "
        "a layer from the start, over $2\\sqrt{3L}\\,Rm^{-\\alpha}$. Right, the distance of all "
        "layers from $W^*$, over the root of $\\lVert W^{(0)}-W^*\\rVert_F^2+2t\\eta\\epsilon$.",
        "Left, rising curves for two choices of W* and several alpha, at most "
        f"{spoken(a['ball'][:, :, -1].max(), rounded='up')}. Right, curves that start near one "
        f"and end at {spoken(a['apart'][:, :, -1, :, -1].max(), rounded='up')} or less. "
        + said(result, "All stay below their bounds, dashed lines at one.", "chen2021-eq6.3"),
    )


def _panel(canvas: Canvas, result: Result, name: str, quantity: Quantity) -> Any:
    """A panel with a curve for every alpha and W*, at the largest width, against t/T."""
    panel = canvas.panel(name, TIMES, quantity)
    times = result.found["look"].values
    for label, samples, style in _curves(result, name):
        panel.curve(label, times, samples, **style)
    return panel


def _curves(result: Result, name: str) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    array = result.arrays[name][:, :, -1]  # seeds, alphas, kinds, looks
    for kind, words in enumerate(KINDS):
        for place, alpha in enumerate(result.settings["alphas"]):
            number = kind * len(result.settings["alphas"]) + place
            label = rf"$\alpha={alpha:g}$, {words}"
            style: dict[str, Any] = {
                "color": CYCLE[number % len(CYCLE)],
                "marker": MARKERS[number % len(MARKERS)],
            }
            style |= {"ls": "-" if kind == 0 else "-.", "markevery": (number, 6), "ms": 4}
            yield label, array[:, place, kind], {**style, "label": label}
