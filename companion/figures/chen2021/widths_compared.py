"""Figures of the experiment chen2021/widths_compared."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, RED, by_size
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import listed, number

SHOWS = {
    "chen2021-thm3.3-width": "chen2021-widths-compared",
    "chen2021-rem4.11": "chen2021-widths-compared",
}
WIDTH = ("width m", "width m")
DEPTH = ("layers L", "layers $L$")


def widths_compared(result: Result) -> Drawing:
    """What is asked beside what was enough, and up to which depth one of two widths is the less."""
    a, s = result.arrays, result.settings
    counts, asked, enough = s["counts"], a["asked"], a["sufficient"]
    canvas = Canvas(2)
    left = canvas.panel("widths", "inputs n", WIDTH, log="xy")
    left.curve("theorem", counts, asked, RED, marker="s", ms=4, label="theorem, constant 1")
    left.curve("enough", counts, enough, BLUE, marker="o", ms=4, label="enough in every run")
    left.sizes(counts)
    left.axes.set_ylim(1, 1e3 * asked.max())
    left.legend("center right")
    right = canvas.panel("depths", "inputs n", DEPTH, log="xy")
    edges = result.found["edge_n"].values
    accuracies = s["accuracies"]
    for place, color in enumerate(by_size([1 / eps for eps in accuracies])):
        told = rf"$\epsilon=10^{{{round(np.log10(accuracies[place]))}}}$"
        name = f"eps = {accuracies[place]:g}"
        right.curve(f"remark, {name}", edges, a["edge"][place], color, label=told)
        right.curve(f"equal, {name}", edges, a["even"][place], FAINT, ls=":", lw=1.4)
    right.legend("upper left")
    right.note("dotted: both widths are equal", (edges[4], 2.2), FAINT, (0, 0))
    right.axes.set_ylim(1.5, 1000)
    return canvas.drawing(
        "Left, the width of Theorem 3.3 with its constant put at 1 and $R$ of the same data, "
        f"{over_seeds(asked)}, and the least width from which on every run came to the loss "
        f"$3\\epsilon={3 * s['accuracy']:g}$ in the theorem's steps. Right, the depth up to which "
        "Remark 4.11 has the width of Chen et al. as the less, and dotted the depth at which the "
        "two widths are equal; above the curve that of Zou et al. (2020) is.",
        f"Left, two curves: for {counts[-1]} inputs the theorem asks for "
        f"{spoken(asked[:, -1].mean())} units, and {spoken(enough[-1])} were enough. Right, for "
        f"each of {len(accuracies)} accuracies a curve that is level and then rises, with a dotted "
        f"one close above it. For {number(edges[-1], ',d')} inputs the depths are "
        f"{listed(spoken(edge) for edge in a['edge'][:, -1])}. "
        + said(result, "The dotted curves are nowhere below.", "chen2021-rem4.11"),
    )
