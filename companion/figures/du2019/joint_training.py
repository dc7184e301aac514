"""Figures of the experiment du2019/joint_training."""

import numpy as np
from matplotlib.ticker import LogLocator, StrMethodFormatter

from companion.figures import Drawing
from companion.figures.du2019._flows import misfit_panel, width_panel
from companion.figures.style import BLUE, RED, band, new, stack
from companion.lab.results import Result


def joint_training(result: Result) -> Drawing:
    """Misfit of both flows at the largest width; how far both layers move with width."""
    a, widths = result.arrays, result.settings["widths"]
    clock = np.linspace(0, result.settings["horizon"], a["misfit"].shape[-1])
    figure, (left, right) = new(2)
    series = {}
    for name, key, color in (
        ("first layer", "misfit_first", BLUE),
        ("both layers", "misfit", RED),
    ):
        ratios = a[key][:, -1] / a[key][:, -1, :1]
        series[name] = (clock, band(left, clock, ratios, color, label=name))
    frozen, bound = misfit_panel(
        left, clock, a["linearised"][:, -1], r"$H^\infty+\kappa_1/2$", "Theorem 3.3"
    )
    series |= {"limit kernel, linearised": (clock, frozen), "Theorem 3.3": (clock, bound)}
    for name, key, color in (
        (r"$\max_r\|w_r-w_r(0)\|$", "distance", BLUE),
        (r"$\max_r|a_r-a_r(0)|$", "output_distance", RED),
    ):
        farthest = a[key].max(axis=-1)
        series[key] = (widths, band(right, widths, farthest, color, marker="o", label=name))
    least = min(series["distance"][1][0], series["output_distance"][1][0])
    width_panel(right, widths, 0.7 * least)
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.legend(loc="upper right")
    return Drawing(
        figure,
        f"Joint gradient flow, mean and range over {len(a['misfit'])} seeds. Left: at "
        f"$m={widths[-1]}$, training both layers is faster than training the first, as the limit "
        "kernel says (dotted); dashed, the bound. Right: the largest distances of both layers fall "
        "with the width, up to a logarithm like $m^{-1/2}$.",
        "Left, the curve of both layers falls below that of the first layer, and both lie below a "
        "dashed line. Right, two falling lines above a dashed line of slope -1/2.",
        stack(series, "time_or_width", "value"),
    )
