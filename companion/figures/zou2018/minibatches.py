"""Figures of the experiment zou2018/minibatches."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing, Panel
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import said
from companion.lab.results import Result

SHOWS = {
    "zou2018-algo-sgd": "zou2018-minibatch-variance",
    "zou2018-lemD.2": "zou2018-minibatch-variance",
    "zou2018-lemD.2-exact": "zou2018-minibatch-variance",
}
SIZE = ("size of a minibatch", "minibatch size B")
SQUARE = (
    "mean square of a minibatch's mean over that of one example",
    "mean square, over that of B = 1",
)


def minibatch_variance(result: Result) -> Drawing:
    """Mean squares over all minibatches and over drawn ones, with the lemma's bound."""
    a, s = result.arrays, result.settings
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("all", SIZE, SQUARE, title="all minibatches")
    _laws(left, s["enumerated"])
    sizes = np.arange(1, s["enumerated"] + 1)
    numbers, gradients = (a[name].mean(axis=0) for name in ("number_share", "gradient_share"))
    left.points("numbers", sizes, numbers, BLUE, marker="s", ms=8, mfc="none", label="numbers")
    left.points("gradients", sizes, gradients, RED, ms=4, label="gradients")
    left.legend("upper right")
    right = canvas.panel("drawn", SIZE, SQUARE, title="drawn minibatches")
    _laws(right, s["count"])
    batches, means = s["batch_sizes"], a["drawn_gradient"].mean(axis=0)  # orders, sizes
    style: Any = {"band": False, "ls": ""}
    right.curve(
        "independent", batches, means[1], BLUE, marker="s", ms=6, label="independent", **style
    )
    right.curve("different", batches, means[0], RED, marker="o", ms=5, label="different", **style)
    right.legend("upper right")
    return canvas.drawing(
        "The mean square distance of a minibatch's mean from that of all examples, over its value "
        f"for one example. Left, all minibatches of {s['enumerated']} examples; right, the "
        f"gradients of {s['draws']} drawn minibatches of {s['count']}, the mean over "
        f"{len(a['drawn_gradient'])} seeds, of different examples and of independent draws. "
        "Dashed, the bound $1/B$; solid, $(n-B)/(B(n-1))$.",
        "Two falling curves in each panel, the lower one reaching 0 where the minibatch is all "
        "there is. "
        + said(
            result,
            "The points of all minibatches, and of drawn ones of different examples, lie on the "
            "lower curve; those of independent draws on the upper one.",
            "zou2018-lemD.2-exact",
        ),
    )


def _laws(panel: Panel, count: int) -> None:
    """The lemma's bound, and the exact law of different examples."""
    sizes = np.arange(1, count + 1)
    panel.curve("1/B", sizes, 1 / sizes, FAINT, ls="--", label="1/B")
    exact = (count - sizes) / (sizes * (count - 1))
    panel.curve("exact", sizes, exact, INK, label="exact")
