"""Figures of the experiment chen2021/generalisation."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "chen2021-thm3.5": "chen2021-rise-and-fall",
    "chen2021-rem3.7": "chen2021-rise-and-fall",
    "chen2021-lem6.4": "chen2021-surrogate-gap",
}
ERRORS = ("bound, and error on fresh inputs", "bound, and error on fresh inputs")
GAP = (
    "difference of surrogate errors",
    r"$|\mathcal{E}_{\mathcal{D}}-\mathcal{E}_S|$, and its bounds",
)
EXAMPLES = "examples n"


def rise_and_fall(result: Result) -> Drawing:
    """The bound of Theorem 3.5 with unit constants against the width, and measured errors."""
    a, s, drawn = result.arrays, result.settings, result.found["drawn"].values
    widths, errors = s["widths"], a["wide_error"]
    panel = (canvas := Canvas()).panel("errors", WIDTH, ERRORS, log="xy")
    bound = panel.curve("bound", drawn, a["bound"], INK, label="bound, constants 1")
    panel.level("a guess", 0.5, FAINT, ls=":", label="a guess")
    panel.curve("measured", widths, errors, BLUE, marker="o", ms=4, label="measured error")
    panel.legend("upper right")
    peak = int(np.argmax(bound))
    return canvas.drawing(
        "The second term of Theorem 3.5, with the constant 1 and without logarithms, and the 0-1 "
        f"error of gradient descent on fresh inputs, against the width; {over_seeds(errors)}, "
        f"$n={s['count']}$, and $R$ as measured. With these constants the bound is largest at a "
        f"width of about {number(drawn[peak], '.2g')}.",
        f"A curve that rises to {spoken(bound[peak])} at a width of about {spoken(drawn[peak])} "
        f"and then falls slowly, to {spoken(bound[-1])} at a width of {spoken(drawn[-1])}; far "
        f"below it points that go {ends(errors.mean(axis=0))}. "
        + said(result, "The measured errors have no bump.", "chen2021-rem3.7"),
    )


def surrogate_gap(result: Result) -> Drawing:
    """The difference of surrogate errors in n and in m, and what the complexity allows."""
    a, s = result.arrays, result.settings
    gap = abs(a["slope"] - a["training_slope"])
    wide = abs(a["wide_slope"] - a["wide_training_slope"])
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("count", EXAMPLES, GAP, log="xy", title=f"m = {s['width']}")
    left.curve(
        "allowed", s["counts"], a["allowed"], INK, marker="s", ms=5, label="linearised networks"
    )
    # Twice the largest slope of -l', a quarter, times the complexity.
    complexity = a["radius"] * a["complexity"] / 2
    left.curve("complexity", s["counts"], complexity, GREEN, marker="^", ms=5, label="complexity")
    left.curve("measured", s["counts"], gap, BLUE, marker="o", ms=5, label="measured")
    left.guide("slope -1/2", s["counts"], 2 * gap[:, 0].mean(), -0.5, label=r"$n^{-1/2}$")
    left.sizes(s["counts"])
    left.legend()
    right = canvas.panel("width", WIDTH, GAP, log="xy", title=f"n = {s['count']}")
    right.curve("measured", s["widths"], wide, BLUE, marker="o", ms=5, label="measured")
    right.guide(
        "slope 1/2", s["widths"], wide[:, 0].mean(), 0.5, RED, label=r"$m^{1/2}$, first branch"
    )
    right.sizes(s["widths"])
    right.legend()
    return canvas.drawing(
        r"The difference $\lvert\mathcal E_{\mathcal D}-\mathcal E_S\rvert$ of the last "
        f"iterate of gradient descent; {over_seeds(gap)}. Left, against the number "
        "of examples, with what all linearised networks within the same $R$ keep below "
        f"with probability {number(1 - s['delta'])}, and the part of it that is their Rademacher "
        "complexity. Right, against the width, with the power of the bound's first branch.",
        f"Left, three falling lines: the allowed difference goes {ends(a['allowed'].mean(axis=0))},"
        f" the complexity {ends(complexity.mean(axis=0))}, the measured difference "
        f"{ends(gap.mean(axis=0))}. Right, a line that goes {ends(wide.mean(axis=0))} beside a "
        "rising guide. "
        + said(result, "The measured difference is below what is allowed.", "chen2021-lem6.4"),
    )
