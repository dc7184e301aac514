"""Figures of the experiment chen2021/margin."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import CYCLE, FAINT, INK, MARKERS
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "chen2021-ass4.3": "chen2021-margins",
    "chen2021-ass4.3-excluded": "chen2021-margins",
    "chen2021-cor4.4": "chen2021-radius-times-margin",
}
COUNT = ("number of inputs n", "number of inputs $n$")
MARGIN = ("margin gamma", r"margin $\gamma$")
ACCURACY = ("1 / eps", r"$1/\epsilon$")
REACH = ("least radius times the margin", r"$R\,\gamma$")
NAMES = ("labels by the half", "random labels")


def margins(result: Result) -> Drawing:
    """The margin against the number of inputs, with both kinds of labels, and the width."""
    a, s = result.arrays, result.settings
    counts, widths = np.array(s["counts"]), np.array(s["widths"])
    floor = float(result.values["guaranteed"])
    canvas = Canvas(2)
    left = canvas.panel("count", COUNT, MARGIN, log="xy")
    lines = []
    for place, name in enumerate(NAMES):
        look: dict[str, Any] = {"marker": MARKERS[place], "ms": 5, "label": name}
        lines.append(left.curve(name, counts, a["margin"][:, place], CYCLE[place], **look))
    left.guide("slope -1/2", counts, 0.6 * lines[1][0], -1 / 2, label=r"$n^{-1/2}$")
    left.level("guaranteed", floor, INK, ls=":", label="guaranteed to the halves")
    left.sizes(counts)
    left.few_decades()
    left.legend("lower left")
    right = canvas.panel("width", WIDTH, MARGIN, log="x")
    right.curve("networks", widths, a["wide_margin"], CYCLE[0], marker="o", ms=5, label="networks")
    right.curve(
        "limit", widths, a["limit"], FAINT, band=False, ls="--", label="limit of great width"
    )
    right.level("guaranteed", floor, INK, ls=":", label="guaranteed to the halves")
    right.sizes(widths if len(widths) < 6 else widths[::2])
    right.axes.set_ylim(0, 1.25 * float(a["wide_margin"].max()))
    right.legend("lower right")
    return canvas.drawing(
        rf"The margin $\gamma$ of Assumption 4.3, {over_seeds(a['margin'])}: left against the "
        f"number of inputs at width $m={s['width']}$, for labels by the half and for random ones "
        f"of the same inputs; right against the width, for $n={s['count']}$ and labels by the "
        "half.",
        "Left, two falling curves on logarithmic axes with a dashed line of slope minus one half "
        f"and a dotted level: labels by the half go {ends(lines[0])}, random ones "
        f"{ends(lines[1])}. "
        + said(
            result,
            "The curve of random labels falls at least as steeply as the dashed line.",
            "chen2021-ass4.3-excluded",
        )
        + " Right, a curve, a dashed line and a dotted level. "
        + said(result, "The curve stays near the dashed line.", "chen2021-ass4.3"),
    )


def radius_times_margin(result: Result) -> Drawing:
    """The least radius times the margin against 1 / eps, with the proof's, and against n."""
    a, s = result.arrays, result.settings
    accuracies, counts = 1 / np.array(s["losses"]), np.array(s["counts"])
    canvas = Canvas(2)
    left = canvas.panel("loss", ACCURACY, REACH, log="x")
    radius, proof = a["radius"], a["proof"]
    left.curve("radius", accuracies, radius, CYCLE[0], marker="o", ms=5, label="least radius")
    left.curve("proof", accuracies, proof, FAINT, ls="--", label="radius of the proof")
    left.axes.set_ylim(bottom=0)
    left.legend("upper left")
    right = canvas.panel("count", COUNT, REACH, log="x")
    for place, name in enumerate(NAMES):
        look: dict[str, Any] = {"marker": MARKERS[place], "ms": 5, "label": name}
        right.curve(name, counts, a["reach"][:, place], CYCLE[place], **look)
    right.sizes(counts)
    right.axes.set_ylim(0, 1.4 * float(a["reach"].max()))
    right.legend("lower right")
    return canvas.drawing(
        r"The least radius $R$ times the margin $\gamma$, "
        f"{over_seeds(radius)}: left for losses below $\\epsilon$, $n={s['count']}$; right for "
        f"$\\epsilon$ = {number(s['losses'][-1], '.0e')} against the number of inputs.",
        "Left, two rising lines, the dashed one of the proof above. Right, two curves. "
        + said(
            result,
            "The lines on the left are straight in the logarithm, the curves on the right level.",
            "chen2021-cor4.4",
        ),
    )
