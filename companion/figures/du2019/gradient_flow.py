"""Figures of the experiment du2019/gradient_flow."""

import numpy as np
from matplotlib.ticker import LogLocator, StrMethodFormatter

from companion.figures import Drawing
from companion.figures.du2019._flows import misfit_panel, width_panel
from companion.figures.style import BLUE, FAINT, RED, band, by_size, label_line, new, stack
from companion.lab.results import Result


def gradient_flow(result: Result) -> Drawing:
    """Misfit in time under the bound and the linearised curve; how far H and W move with width."""
    a, widths = result.arrays, result.settings["widths"]
    clock = np.linspace(0, result.settings["horizon"], a["misfit"].shape[-1])
    figure, (left, right) = new(2)
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        ratios = a["misfit"][:, index] / a["misfit"][:, index, :1]
        series[f"m={width}"] = (clock, band(left, clock, ratios, color, label=f"m = {width}"))
    frozen, bound = misfit_panel(
        left, clock, a["linearised_limit"][:, -1], r"$H^\infty$", "Theorem 3.2"
    )
    series |= {"H-infinity, linearised": (clock, frozen), "Theorem 3.2": (clock, bound)}
    for name, key, color in (
        (r"$\max_r\|w_r-w_r(0)\|$", "distance", BLUE),
        (r"$\|H(t)-H(0)\|_2$", "drift", RED),
    ):
        series[key] = (widths, band(right, widths, a[key].max(axis=-1), color, marker="o"))
        right.annotate(
            name, (widths[0], series[key][1][0]), xytext=(8, 6), textcoords="offset points",
            color=color, fontsize=9,
        )  # fmt: skip
    width_panel(right, widths, 2 * series["drift"][1][0])
    return Drawing(
        figure,
        f"Gradient flow, mean and range over {len(a['misfit'])} seeds. Left: the misfit falls "
        "faster than the bound (dashed), nearly as if the Gram matrix stood still at $H^\\infty$ "
        "(dotted). "
        f"Right: the largest drift of $H$ (exponent {result.values['drift_exponent']:.2f}) and the "
        f"largest distance of a unit (exponent {result.values['distance_exponent']:.2f}).",
        "Left, nearly coinciding falling curves for all widths, below a dashed line. Right, two "
        "falling lines, parallel to a dashed line of slope -1/2.",
        stack(series, "time_or_width", "value"),
    )


def sliding_units(result: Result) -> Drawing:
    """The share of each step that H (y - u) misses, against the step size, for every width."""
    a, widths = result.arrays, result.settings["widths"]
    quarter = a["times"].shape[-1] // 4
    step_sizes = a["times"][:, 0, quarter].mean() / np.array(result.settings["euler_steps"])
    figure, (axes,) = new()
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        mean = band(axes, step_sizes, a["share"][:, index], color, marker="o")
        label_line(axes, step_sizes[::-1], mean[::-1], f"m = {width}", color)
        series[f"m={width}"] = (step_sizes, mean)
    guide = series[f"m={widths[0]}"][1][0] * step_sizes / step_sizes[0]
    axes.plot(step_sizes, guide, color=FAINT, ls="--")
    between = (float(step_sizes[-2:].prod() ** 0.5), float(guide[-2:].prod() ** 0.5))
    axes.annotate(
        "proportional to $\\eta$", between,
        xytext=(8, -10), textcoords="offset points", color=FAINT, fontsize=9,
    )  # fmt: skip
    series["proportional to eta"] = (step_sizes, guide)
    axes.set(xscale="log", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(r"step size $\eta$")
    axes.set_ylabel(r"share of the steps missed by $\eta H(k)(y-u(k))$")
    ticks = [float(f"{size:.2g}") for size in step_sizes]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return Drawing(
        figure,
        "The part of the steps that $\\eta H(k)(y-u(k))$ misses, up to a quarter of the time. Were "
        "$\\dot u=H(t)(y-u)$ exact along the flow, it would fall like $\\eta$ (dashed); it levels "
        f"off, lower in wider networks (exponent {result.values['share_exponent']:.2f} in $m$).",
        "Curves that flatten towards small step sizes, above a dashed line of slope one; the wider "
        "the network the lower the curve.",
        stack(series, "step_size", "missing_share"),
    )
