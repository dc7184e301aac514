"""Figures of the experiment du2019/gradient."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import FAINT, by_size
from companion.figures.words import said
from companion.lab.results import Result


def gradient_differences(result: Result) -> Drawing:
    """Distance of central differences from eq. (4) against their step, with the rounding limit."""
    s, gaps = result.settings, result.arrays["difference_gap"]  # seeds, widths, steps
    steps, widths = np.array(s["differences"]), s["widths"]
    canvas = Canvas()
    panel = canvas.panel(
        "differences",
        ("step of the difference", "difference step h"),
        "distance from eq. (4) / norm of the gradient",
        log="xy",
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        panel.curve(name, steps, gaps[:, index], color, end=name, marker="o", ms=3)
    eps = np.finfo(s["dtype"]).eps
    rounding = eps * result.arrays["loss_over_gradient"].mean() / steps
    panel.curve("rounding", steps, rounding, FAINT, end="rounding", ls="--")
    return canvas.drawing(
        f"Central differences of the loss in {s['directions']} random directions against eq. (4), "
        f"worst direction, mean and range over {len(gaps)} seeds; dashed, one rounding of the loss "
        "divided by $h$.",
        "A curve per width on logarithmic axes, and a dashed line that falls as h grows. "
        + said(
            result,
            f"The curves fall along it, down to {result.values['difference_gap']:.1e}, and jump up "
            "where the difference first reaches across a kink.",
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
            r"distance from the recursion / $\|u(0)-y\|$",
        ),
        log="y",
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        panel.points(
            name, flips[:, index], gaps[:, index], color, ms=4, alpha=0.5, mec="none", label=name
        )
    panel.axes.set_xscale("symlog", linthresh=1)
    panel.axes.set_xlim(left=-0.3)
    panel.legend("center right")
    return canvas.drawing(
        f"Every step of {gaps[..., 0].size} runs: distance from the recursion with the Gram matrix "
        "at that step, against how many pairs (input, unit) changed side in it.",
        "A point per step, coloured by width. "
        + said(
            result,
            f"Steps without a flip sit at rounding, at most {result.values['still_gap']:.0e}; "
            f"the others stay within their bound and reach {result.values['moved_gap']:.1e}.",
            "du2019-algo-gd",
        ),
    )
