"""Figures of the experiment du2019/gradient."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import FAINT, MARKERS, by_size
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "du2019-eq1-4": "du2019-gradient-differences",
    "du2019-algo-gd": "du2019-recursion-without-flips",
    "du2019-algo-gd-flips": "du2019-recursion-without-flips",
}


def gradient_differences(result: Result) -> Drawing:
    """Distance of central differences from eq. (4) against their step, with the rounding limit."""
    s, gaps = result.settings, result.arrays["difference_gap"]  # seeds, widths, steps
    steps, widths = np.array(s["differences"]), s["widths"]
    canvas = Canvas()
    panel = canvas.panel(
        "differences",
        ("step of the difference", "difference step h"),
        ("distance from eq. (4) over the gradient's norm", "relative distance from eq. (4)"),
        log="xy",
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        panel.curve(name, steps, gaps[:, index], color, end=name, marker=MARKERS[index], ms=4)
    eps = np.finfo(s["dtype"]).eps
    rounding = eps * result.arrays["loss_over_gradient"].mean() / steps
    panel.curve("rounding", steps, rounding, FAINT, end="rounding", ls="--")
    return canvas.drawing(
        "How far central differences of the loss with step $h$ are from the gradient of equation "
        f"(4), in the worst of {s['directions']} random directions: {over_seeds(gaps)}. The dashed "
        "line is one rounding of the loss over $h$, which no difference can do without. All are "
        "relative to the norm of the gradient.",
        "A curve per width on logarithmic axes, and a dashed line that falls as h grows. "
        + said(
            result,
            f"The curves fall along it, down to {spoken(result.values['difference_gap'])}, and "
            "jump up where the difference first reaches across a kink.",
            "du2019-eq1-4",
        ),
    )


def recursion_without_flips(result: Result) -> Drawing:
    """Distance of each step from the recursion against the number of flips in that step."""
    flips, gaps = result.arrays["flips"], result.arrays["recursion_gap"]  # seeds, widths, steps
    widths = result.settings["widths"]
    canvas = Canvas()
    panel = canvas.panel(
        "recursion",
        "activations flipped in the step",
        (
            "distance from the recursion over the initial residual",
            "relative distance from the recursion",
        ),
        log="y",
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        style: Any = {"marker": MARKERS[index], "ms": 4, "alpha": 0.6, "mec": "none"}
        panel.points(name, flips[:, index], gaps[:, index], color, label=name, **style)
    panel.axes.set_xscale("symlog", linthresh=1)
    panel.axes.set_xlim(left=-0.3)
    panel.legend("center right")
    return canvas.drawing(
        f"Every step of {gaps[..., 0].size} runs: how far it ends from the recursion with the Gram "
        "matrix $H(k)$ of that step, against how many pairs of an input and a unit changed side "
        "in it. The distance is relative to $\\|u(0)-y\\|$.",
        "A point per step, with a colour and a marker for each width. "
        + said(
            result,
            "Steps without a flip sit at rounding, at most "
            f"{spoken(result.values['still_gap'], 1, 'up')}; the others stay within their bound "
            f"and reach {spoken(result.values['moved_gap'])}.",
            "du2019-algo-gd",
            "du2019-algo-gd-flips",
        ),
    )
