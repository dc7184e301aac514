"""Figures of the experiment du2019/output_layer."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, INK, RED, new
from companion.lab.results import Result

# Misfits below this are drawn at it: they are rounding.
FLOOR = 1e-16


def output_layer(result: Result) -> Drawing:
    """Misfit left by either way of training against the width, and the two predictors compared."""
    a, s = result.arrays, result.settings
    widths = np.array(s["widths"], dtype=float)
    figure, (left, right) = new(2)
    table = {"width": widths}
    for name, label, color in (
        ("least_squares", "output layer, optimum", RED),
        ("gd_output", "output layer, descent", INK),
        ("gd_first", "first layer, descent", BLUE),
    ):
        share = np.maximum(a[name] / a["start"], FLOOR)
        middle = np.median(share, axis=0)
        left.fill_between(
            widths, share.min(axis=0), share.max(axis=0), color=color, alpha=0.15, lw=0
        )
        style = "--" if name == "gd_output" else "-"
        left.plot(widths, middle, style, marker="o", ms=4, color=color, label=label)
        table[name] = middle
    for at, text in ((s["count"], "m = n"), (s["count"] / s["dimension"], "md = n")):
        left.axvline(at, color=FAINT, ls=":")
        left.annotate(
            text, (at, 1), xytext=(3, 2), textcoords=("offset points"),
            xycoords=("data", "axes fraction"), color=FAINT, fontsize=9, annotation_clip=False,
        )  # fmt: skip
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("width m")
    left.set_ylabel(r"$\|u-y\|^2$ after, over before")
    left.legend(loc="center right", fontsize=8)
    one, other = a["by_first"][0, -1], a["by_output"][0, -1]
    ends = [min(one.min(), other.min()), max(one.max(), other.max())]
    right.plot(ends, ends, color=FAINT, ls="--")
    right.plot(one, other, "o", color=BLUE, ms=3, alpha=0.7)
    right.set_aspect("equal", adjustable="datalim")
    right.set_xlabel("first layer trained: f(x)")
    right.set_ylabel("output layer trained: f(x)")
    return Drawing(
        figure,
        f"Left, the share of the misfit that training leaves, median and range over "
        f"{len(a['start'])} "
        "seeds (values below $10^{-16}$ are rounding): the output layer alone needs $m\\ge n$, "
        "the first "
        f"layer far fewer units. Right, predictions on {s['fresh']} fresh inputs at "
        f"$m={s['widths'][-1]}$ "
        "from the same start: not one function.",
        "Left, the optimum of output-layer training drops to rounding exactly at m = n; "
        "first-layer "
        "training does so at a smaller width. Right, a cloud of points scattered about the "
        "diagonal.",
        table,
    )
