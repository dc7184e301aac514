"""Figures of the experiment zou2018/losses."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import CYCLE, MARKERS
from companion.figures.words import said
from companion.lab.results import Result

SHOWS = {
    "zou2018-ass3.1": "zou2018-losses",
    "zou2018-ass3.2": "zou2018-losses",
    "zou2018-ass4.4": "zou2018-losses",
    "zou2018-ass3.3L": "zou2018-loss-derivatives",
    "zou2018-ass3.3S": "zou2018-loss-derivatives",
    "zou2018-losses-sharp": "zou2018-losses",
}
NAMES = ("cross-entropy", "exponential", "squared hinge", "hinge", "cubed hinge", "sigmoid")
DASHES = ("-", "-", "-", "-.", "--", ":")
MARGIN = ("margin", "margin z")
LOSS = ("loss", r"loss $\ell$")
SLOPE = ("minus the derivative of the loss", r"$-\ell'$")
REACH = ("largest margin of the grid", "largest margin of the grid")


def losses(result: Result) -> Drawing:
    """Every loss against the margin, and its slope against the loss."""
    a, reach = result.arrays, result.settings["shown"]
    margins = np.linspace(-reach, reach, a["value"].shape[-1])
    canvas = Canvas(2)
    left = canvas.panel("losses", MARGIN, LOSS)
    right = canvas.panel("slopes", LOSS, SLOPE, log="xy")
    for index, name in enumerate(NAMES):
        value, slope = a["value"][index], a["slope"][index]
        style: Any = {"ls": DASHES[index], "label": name}
        left.curve(name, margins, value, CYCLE[index], **style)
        positive = value > 0
        right.curve(name, value[positive], slope[positive], CYCLE[index], **style)
    left.axes.set_ylim(0, 6)
    right.axes.set(xlim=(0.02, 20), ylim=(0.02, 20))
    canvas.legend(3)
    return canvas.drawing(
        "Left, the paper's four losses of the margin, and two others. Right, minus the derivative "
        "of each against the loss itself: Assumption 3.2 wants this curve above a power of the "
        "loss that is cut off at a level, Assumption 4.4 below another.",
        "Left, six curves that fall to 0 as the margin grows. Right, on logarithmic axes, the "
        "exponential, the squared and the cubed hinge are straight lines of slope 1, one half and "
        "two thirds. "
        + said(
            result,
            "The cross-entropy leaves the exponential's line to become level, the hinge is level "
            "throughout; the sigmoid turns down to 0 as its loss tends to 1.",
            "zou2018-ass3.2",
            "zou2018-ass4.4",
        ),
    )


def loss_derivatives(result: Result) -> Drawing:
    """Largest first and second derivatives on grids that reach farther and are finer."""
    a, reaches = result.arrays, result.settings["reaches"]
    canvas = Canvas(2)
    first = canvas.panel("first", REACH, ("largest derivative", r"largest $|\ell'|$"), log="xy")
    quotient = ("largest difference quotient of the derivative", r"largest quotient of $\ell'$")
    second = canvas.panel("second", REACH, quotient, log="xy")
    for index, name in enumerate(NAMES):
        style: Any = {"ls": DASHES[index], "label": name, "marker": MARKERS[index], "ms": 5}
        first.curve(name, reaches, a["steepest"][index], CYCLE[index], **style)
        second.curve(name, reaches, a["curvature"][index], CYCLE[index], **style)
    for panel in (first, second):
        panel.sizes(reaches)
        panel.axes.set_ylim(0.05, 1e5)
    canvas.legend(3)
    return canvas.drawing(
        "The largest slope of every loss (left), and the largest difference quotient of the slope "
        "(right), on grids of margins that reach ever farther and are ever finer; the "
        "exponential's leave both panels.",
        "Six curves in each panel. "
        + said(
            result,
            "Left, those of the cross-entropy, the hinge and the sigmoid stay level, the others "
            "grow. Right, those of the cross-entropy, the squared hinge and the sigmoid stay "
            "level, those of the exponential, the hinge and the cubed hinge grow.",
            "zou2018-ass3.3L",
            "zou2018-ass3.3S",
        ),
    )
