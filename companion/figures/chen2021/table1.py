"""Figures of the experiment chen2021/table1."""

from typing import Any

import numpy as np

from companion.bounds.chen2021 import TABLE_1
from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, GREEN, INK, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {"chen2021-tab1": "chen2021-table1-slopes"}
POWER = ("power of 1/eps", r"power of $1/\epsilon$")
ACCURACY = ("one over the accuracy eps", r"$1/\epsilon$")
STEPS = ("iterations until the loss is 3 eps", r"iterations until $3\epsilon$")
ERROR = ("test error of a uniform iterate", "test error of a uniform iterate")
# The columns of the table, in the order of the powers, and how they are drawn.
NEEDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("width", RED, {"marker": "s", "s": 40}),
    ("iterations", BLUE, {"marker": "o", "s": 45}),
    ("samples", GREEN, {"marker": "|", "s": 170, "linewidths": 2.4}),
)


def table1_powers(result: Result) -> Drawing:
    """Powers of 1/eps that each row of the table asks for."""
    powers = result.arrays["power"]
    rows = [f"{row.work}, {row.algorithm}" for row in TABLE_1]
    canvas = Canvas(1)
    panel = canvas.panel("powers", POWER, "theorem", rows=rows)
    for place, (name, color, style) in enumerate(NEEDS):
        told = np.where(powers[:, place] < 0, np.nan, powers[:, place]).tolist()
        panel.by_row(name, told, [color] * len(rows), **style)
    panel.axes.invert_yaxis()
    marks = [("s", 6, 1), ("o", 6, 1), ("|", 12, 2.4)]
    handles = [
        entry(name, color, marker=mark, ms=size, markeredgewidth=edge)
        for (name, color, _), (mark, size, edge) in zip(NEEDS, marks, strict=True)
    ]
    canvas.legend(3, handles)
    one = listed(
        row
        for row, (_, steps, examples) in zip(rows, powers, strict=True)
        if steps == examples == 1
    )
    return canvas.drawing(
        "Table 1 as powers of $1/\\epsilon$, where $\\epsilon$ is the test error; 0 where only "
        "logarithms are asked for. A polynomial of no stated degree is left out, and so are powers "
        "of $n$ and $\\lambda_0$.",
        f"A row for each of {len(rows)} theorems with a mark for each need, from 0 to "
        f"{powers.max():.0f}. The power is 1 both for iterations and for samples in these rows: "
        f"{one}.",
    )


def table1_slopes(result: Result) -> Drawing:
    """Iterations of gradient descent against 1/eps, and the error of SGD against n."""
    a, s = result.arrays, result.settings
    inverse, samples = 1 / np.array(s["accuracies"]), s["samples"]
    average, first, error = a["average"], a["first"], a["error"]
    canvas = Canvas(2)
    left = canvas.panel("iterations", ACCURACY, STEPS, log="xy")
    left.curve("mean", inverse, average, BLUE, marker="o", ms=4, label="mean over iterates")
    left.curve("iterate", inverse, first, RED, marker="s", ms=4, label="an iterate")
    start = 1.4 * average[:, 0].max()
    left.guide("slope 1", inverse, start, 1, label="slope 1")
    left.guide("slope 2", inverse, start, 2, INK, label="slope 2")
    left.sizes(inverse)
    left.legend("upper left")
    right = canvas.panel("error", "examples n of one pass", ERROR, log="xy")
    right.curve("SGD", samples, error, GREEN, marker="^", ms=4, label="SGD")
    above = 1.3 * error[:, 0].max()
    right.guide("slope -1", samples, above, -1, label="slope -1")
    right.guide("slope -1/2", samples, above, -0.5, INK, label="slope -1/2")
    right.sizes(samples)
    right.legend("lower left")
    return canvas.drawing(
        "Left, steps of gradient descent until the loss of an iterate, and until the mean over all "
        f"iterates so far, is $3\\epsilon$, {over_seeds(average)}. Right, the mean test error of "
        "the iterates of one pass of SGD over $n$ examples.",
        "Left, two rising curves and dashed lines of slopes 1 and 2: the mean's steps go "
        f"{ends(average.mean(axis=0))}, an iterate's {ends(first.mean(axis=0))}. Right, the error "
        f"goes {ends(error.mean(axis=0))}, with dashed lines of slopes -1 and -1/2. "
        + said(result, "No curve is steeper or flatter than the table allows.", "chen2021-tab1"),
    )
