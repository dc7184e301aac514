"""Figures of the experiment du2019/output_layer."""

from typing import Any

import numpy as np

from companion.figures.panels import AT_X, Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-fn-outputlayer-fit": "du2019-output-layer",
    "du2019-fn-outputlayer-function": "du2019-output-layer",
}

# Misfits below this are drawn at it: they are rounding.
FLOOR = 1e-16
SHARE = ("share of misfit left", r"$\|u-y\|^2$ after, over before")
BY_FIRST = ("prediction with the first layer trained", "first layer trained: f(x)")
BY_OUTPUT = ("prediction with the output layer trained", "output layer trained: f(x)")


def output_layer(result: Result) -> Drawing:
    """Misfit left by either way of training against the width, and the two predictors compared."""
    a, s = result.arrays, result.settings
    widths, start = s["widths"], a["start"]
    claims = ("du2019-fn-outputlayer-fit", "du2019-fn-outputlayer-function")
    canvas = Canvas(2)
    left = canvas.panel("misfit", WIDTH, SHARE, log="xy")
    for name, key, color, mark in (
        ("output layer, optimum", "least_squares", RED, "s"),
        ("output layer, descent", "gd_output", INK, "^"),
        ("first layer, descent", "gd_first", BLUE, "o"),
    ):
        share = np.maximum(a[key] / start, FLOOR)
        style: Any = {"middle": np.median, "marker": mark, "ms": 5}
        left.curve(name, widths, share, color, label=name, **style)
    for at, name in ((s["count"], "m = n"), (s["count"] / s["dimension"], "md = n")):
        left.upright(name, at, FAINT, ls=":")
        left.note(name, (at, 1), FAINT, (3, 2), xycoords=AT_X)
    left.legend("center right", handlelength=1.2, borderaxespad=0)
    right = canvas.panel("predictions", BY_FIRST, BY_OUTPUT)
    one, other = a["by_first"][0, -1], a["by_output"][0, -1]
    ends = [min(one.min(), other.min()), max(one.max(), other.max())]
    right.curve("equal", ends, ends, FAINT, ls="--", label="equal predictions")
    right.points("fresh inputs", one, other, BLUE, ms=3, alpha=0.7)
    right.axes.set_aspect("equal", adjustable="datalim")
    right.legend("upper left")
    return canvas.drawing(
        "Left, the share of the misfit that training leaves, "
        f"{over_seeds(start, 'median')}; values below {number(FLOOR, '.0e')} are rounding and "
        f"drawn there. Right, the predictions of both ways of training for {s['fresh']} fresh "
        f"inputs, at $m={widths[-1]}$ and from the same start. "
        + said(
            result,
            "The output layer alone fits all labels from $m=n$ on; the two ways of training do "
            "not find one function.",
            *claims,
        ),
        "Left, three curves against the width, with dotted lines at m = n and md = n. Right, a "
        "cloud of points about a dashed diagonal. "
        + said(
            result,
            "The optimum of output-layer training drops to rounding exactly at m = n; the points "
            "are scattered about the diagonal.",
            *claims,
        ),
    )
