"""Figures of the experiment zou2018/gradient_bounds."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-thm5.3vii": "zou2018-least-gradient",
    "zou2018-thm5.3viii": "zou2018-gradient-range",
}
LEAST = ("least quotient of the last layer over m", r"least quotient of $K^{(L)}/m$")
QUOTIENT = ("squared gradient over the squared mean slope", r"$n^2\|\nabla\|^2/(\sum|\ell'|)^2$")
ROOT = (
    "root of the largest quotient over sqrt M",
    r"largest $\|\nabla\|$ over $\sqrt{M}$ times mean slope",
)


def least_gradient(result: Result) -> Drawing:
    """The least that the last layer's gradient can be, against the separation and the count."""
    a, s = result.arrays, result.settings
    canvas = Canvas(2)
    apart = ("separation phi", rf"separation $\phi$, at n = {s['count']}")
    left = canvas.panel("separation", apart, LEAST, log="xy")
    small, separations = s["small"], s["separations"]
    limit = a["limit_by_separation"]
    left.curve("infinite width", small, limit, INK, marker="s", ms=4, label=r"$m\to\infty$")
    name = f"m = {s['widths'][-1]}"
    left.curve(name, separations, a["least_by_separation"], RED, marker="o", ms=5, label=name)
    both = np.array([small[0], separations[-1]])
    left.guide("slope 1", both, 0.6 * limit[:, 0].mean(), 1, label=r"$\phi$")
    left.legend()
    counts, least = s["counts"], a["least_by_count"]
    many = ("inputs n", rf"inputs n, at $\phi$ = {s['separation']:g}")
    right = canvas.panel("count", many, LEAST, log="xy")
    middle = f"m = {s['widths'][len(s['widths']) // 2]}"
    right.curve(middle, counts, least, RED, marker="o", ms=5, label=middle)
    start = 0.6 * least[:, 0].mean()
    right.guide("slope -1", counts, start, -1, label=r"$n^{-1}$")
    right.guide("slope -3", counts, start, -3, BLUE, label=r"$n^{-3}$, the theorem")
    right.sizes(counts)
    right.legend()
    return canvas.drawing(
        "The least that $n^2\\lVert\\nabla_{W_L}L_S\\rVert_F^2/(m(\\sum_i\\ell'_i)^2)$ can be for "
        "any loss that falls with the margin, at initialisation, on pairs of inputs with different "
        f"labels; {over_seeds(least)}. Left, against the distance $\\phi$ of a pair, in the limit "
        "of infinite width and at a finite one. Right, against the number of inputs, with the "
        "slope that the theorem allows.",
        f"Left, a line that rises with the distance {ends(limit.mean(axis=0))} in the limit, and "
        "its continuation at finite width, beside a guide of slope one. Right, a line that falls "
        f"{ends(least.mean(axis=0))}, with guides of slope minus one and minus three. "
        + said(
            result,
            "The lines follow the guides of slope one and minus one.",
            "zou2018-thm5.3vii",
        ),
    )


def gradient_range(result: Result) -> Drawing:
    """Least, largest and measured quotients against the width, and the largest against depth."""
    a, s = result.arrays, result.settings
    widths = np.array(s["widths"])
    least = a["least"].min(axis=(-2, -1)) * widths
    largest = a["largest"].max(axis=(-2, -1)) * widths
    own = a["last"].reshape(*a["last"].shape[:2], -1).mean(axis=-1) * widths
    canvas = Canvas(2)
    left = canvas.panel("width", WIDTH, QUOTIENT, log="xy")
    for name, samples, color, mark in (
        ("largest possible", largest, BLUE, "s"),
        ("along the runs", own, INK, "o"),
        ("least possible", least, RED, "^"),
    ):
        left.curve(name, widths, samples, color, marker=mark, ms=5, label=name)
    left.guide("slope 1", widths, 0.6 * least[:, 0].mean(), 1, label="slope 1")
    left.sizes(widths)
    left.axes.set_ylim(bottom=least.min() / 20)
    left.legend("lower right")
    depths = np.array(s["depths"])
    root = np.sqrt(a["deep_largest"].max(axis=(-2, -1)))
    deep = ("hidden layers L", f"hidden layers L, at m = {s['narrow']}")
    right = canvas.panel("depth", deep, ROOT, log="xy")
    right.curve("largest possible", depths, root, BLUE, marker="s", ms=5, label="largest possible")
    start = root[:, 0].mean()
    right.guide("slope 2", depths, start, 2, label=r"$L^2$, of 2018")
    right.guide("slope 1", depths, start, 1, FAINT, alpha=0.6, label=r"$L$, of 2020")
    right.sizes(depths)
    right.few_decades()
    right.legend()
    return canvas.drawing(
        "Between which bounds gradients lie, whatever the loss, "
        f"{over_seeds(least)}. Left, for the last layer the least possible, for any layer the "
        "largest possible and what gradient descent and SGD had on average, in $m$. Right, the "
        "root of the largest over $\\sqrt M$ in the depth, with what the theorem of 2018 and the "
        "lemma of 2020 allow.",
        f"Left, three rising lines: the least goes {ends(least.mean(axis=0))}, the largest "
        f"{ends(largest.mean(axis=0))}. Right, a line that goes {ends(root.mean(axis=0))}, beside "
        "guides of slope one and two. "
        + said(
            result,
            "Left, the lines have the slope of the guide; right, the line is nearly level.",
            "zou2018-thm5.3vii",
            "zou2018-thm5.3viii",
        ),
    )
