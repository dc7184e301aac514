"""Figures of the experiment du2019/gradient."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import FAINT, band, by_size, label_line, new, stack
from companion.lab.results import Result


def gradient_differences(result: Result) -> Drawing:
    """Distance of central differences from eq. (4) against their step, with the rounding limit."""
    gaps, steps = result.arrays["difference_gap"], np.array(result.settings["differences"])
    widths = result.settings["widths"]
    figure, (axes,) = new()
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        mean = band(axes, steps, gaps[:, index], color, marker="o", ms=3)
        label_line(axes, steps, mean, f"m = {width}", color)
        series[f"m={width}"] = (steps, mean)
    eps = float(np.finfo(result.settings["dtype"]).eps)
    rounding = eps * result.arrays["loss_over_gradient"].mean() / steps
    axes.plot(steps, rounding, color=FAINT, ls="--")
    label_line(axes, steps, rounding, "rounding", FAINT)
    series["rounding"] = (steps, rounding)
    axes.set(xscale="log", yscale="log", xlabel="difference step h")
    axes.set_ylabel("distance from eq. (4) / norm of the gradient")
    return Drawing(
        figure,
        f"Central differences of the loss in {result.settings['directions']} random directions "
        f"against eq. (4), worst direction, mean and range over {len(gaps)} seeds; dashed, one "
        "rounding of the loss divided by $h$.",
        "On logarithmic axes the error falls along the dashed rounding line as h grows, down to "
        "below 1e-11, and jumps up where the difference first reaches across a kink.",
        stack(series, "h", "relative_gap"),
    )


def recursion_without_flips(result: Result) -> Drawing:
    """Distance of each step from the recursion against the number of flips in that step."""
    flips, gaps = result.arrays["flips"], result.arrays["recursion_gap"]
    widths = result.settings["widths"]
    figure, (axes,) = new()
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        x, y = flips[:, index].ravel(), gaps[:, index].ravel()
        axes.plot(x, y, "o", ms=4, alpha=0.5, mec="none", color=color, label=f"m = {width}")
        series[f"m={width}"] = (x, y)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xlim(left=-0.3)
    axes.set_xlabel("activations flipped in the step")
    axes.set_ylabel(r"distance from the recursion / $\|u(0)-y\|$")
    axes.legend(loc="center right")
    return Drawing(
        figure,
        f"Every step of {gaps[..., 0].size} runs: distance from the recursion with the Gram matrix "
        "at that step, against how many pairs (input, unit) changed side in it.",
        "Steps without a flip sit at rounding, near 1e-15; a single flip lifts the distance by "
        "many orders of magnitude, less for wider networks.",
        stack(series, "flips", "recursion_gap"),
    )
