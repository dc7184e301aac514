"""Figures of the experiment du2019/explicit_width."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED, band, label_line, new, stack
from companion.lab.results import Result

# Widths of Figure 1 of the paper.
FIGURE_1 = (500, 8000)


def explicit_widths(result: Result) -> Drawing:
    """Widths that Lemma 3.1 and both theorems need against n, for spheres and for digits."""
    a = result.arrays
    figure, (axes,) = new()
    series = {}
    for name, label, color in (
        ("lemma_3_1", "Lemma 3.1", GREEN),
        ("flow", "Theorem 3.2", BLUE),
        ("descent", "Theorem 4.1", RED),
    ):
        count, width = a["table_count"], a[f"table_{name}"]
        axes.plot(count[:-1], width[:-1], "o-", color=color, ms=4)
        axes.plot(count[-1:], width[-1:], "s", color=color, mfc="none", ms=7)
        series[label] = (count, width)
        below = -6 if name == "flow" else 6 if name == "descent" else 0
        axes.annotate(
            label, (count[-2], width[-2]), xytext=(9, below), textcoords="offset points",
            color=color, va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
    axes.axhspan(*FIGURE_1, color=FAINT, alpha=0.35, lw=0)
    axes.annotate(
        "widths of Figure 1", (float(a["table_count"][0]), FIGURE_1[1]), xytext=(0, 3),
        textcoords="offset points", color=INK, fontsize=9,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("n inputs")
    axes.set_ylabel("width m that suffices")
    return Drawing(
        figure,
        "Widths that suffice with the constants of the proofs, at "
        f"$\\delta={result.settings['table_delta']:g}$: filled, the sphere with $n=d$; open "
        f"squares, "
        f"real digits with $n={int(a['table_count'][-1])}$; grey, the widths of the paper's "
        f"Figure 1.",
        "Three straight lines on logarithmic axes: Lemma 3.1 rises with about the second power "
        "of n, "
        "the theorems with the sixth, far above a grey strip of the widths in use.",
        stack(series, "n", "width"),
    )


def inside_the_regime(result: Result) -> Drawing:
    """Misfit with its bound, and distance with R' and R, for runs at their explicit width."""
    a, s = result.arrays, result.settings
    runs = [("flow", n, BLUE) for n in s["flow_counts"][-1:]]
    runs += [("descent", n, RED) for n in s["descent_counts"][-1:]]
    figure, (left, right) = new(2)
    series: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, count, color in runs:
        one = {name: a[f"{kind}{count}_{name}"] for name in _DRAWN}
        start = one["misfit"][:, :1]
        time, seldom = one["time"][0], one["sparse_time"][0]
        mean = band(left, time, one["misfit"] / start, color)
        bound = (one["bound"] / start)[0]
        left.plot(time, bound, color=color, ls="--", lw=1.2)
        label_line(left, time, bound, {"flow": "Thm. 3.2", "descent": "Thm. 4.1"}[kind], color)
        reach = one["reach"][:, None]
        share = band(right, seldom[1:], one["distance"][:, 1:] / reach, color)
        edge = np.full_like(seldom, float((one["radius"] / one["reach"]).min()))
        right.plot(seldom, edge, color=color, ls=":")
        label_line(right, seldom, edge, "$R/R'$", color)
        name = f"{kind}, n = {count}"
        label_line(right, seldom, share, name, color)
        series |= {
            f"{name}: misfit": (time, mean),
            f"{name}: bound on the misfit": (time, bound),
            f"{name}: distance over R'": (seldom[1:], share),
            f"{name}: R over R'": (seldom, edge),
        }
    right.axhline(1, color=FAINT, ls="--")
    left.set_yscale("log")
    left.set_xlabel(r"time t, or $\eta k$")
    left.set_ylabel(r"$\|u-y\|^2\,/\,\|u(0)-y\|^2$")
    right.set_yscale("log")
    right.set_xlabel(r"time t, or $\eta k$")
    right.set_ylabel(r"$\max_r\,\|w_r-w_r(0)\|\,/\,R'$")
    widths = " and ".join(f"{kind} at m = {int(a[f'{kind}{n}_width'][0]):,}" for kind, n, _ in runs)
    return Drawing(
        figure,
        f"Inside the regime: {widths}, mean and range over {s['seeds']} seeds. Left, the misfit "
        f"and "
        "the theorem's bound (dashed). Right, the farthest unit's distance as a share of $R'$: "
        "below 1 "
        "(dashed), which is below $R/R'$ (dotted, least over seeds).",
        "Left, two coinciding straight lines below two dashed bounds. Right, shares that level off "
        "well below 1, and dotted lines above 1.",
        stack(series, "time", "value"),
    )


_DRAWN = ("misfit", "bound", "time", "sparse_time", "distance", "reach", "radius")
