"""Figures of the experiment chen2021/martingale."""

import math

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "chen2021-lem6.5": "chen2021-nearing",
    "chen2021-lem6.6": "chen2021-met-and-expected",
}
STEP = ("steps n'", "steps $n'$")
SHARE = ("losses met over what the lemma allows", "losses met over what is allowed")
MET = ("mean of E_i, the errors met", r"errors met $\frac{1}{n}\sum_i\mathcal{E}_i$")
EXPECTED = (
    "mean of E_D, the errors expected",
    r"errors expected $\frac{1}{n}\sum_i\mathcal{E}_{\mathcal{D}}$",
)


def nearing(result: Result) -> Drawing:
    """Losses met along a pass over what Lemma 6.5 allows, for every width."""
    a, s = result.arrays, result.settings
    steps, widths = range(1, s["count"] + 1), s["widths"]
    panel = (canvas := Canvas()).panel("share", STEP, SHARE)
    panel.level("the lemma", 1, INK, ls="--", label="the lemma")
    for place, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        panel.curve(
            f"m = {width}", steps, a["share"][:, place], color, label=f"m = {width}",
            ls=("-", "--", "-.", ":")[place % 4],
        )  # fmt: skip
    panel.axes.set_ylim(bottom=0)
    panel.legend()
    most = float(a["share"].max())
    return canvas.drawing(
        "The sum of the losses met, times $\\eta$, over what Lemma 6.5 allows, the fall of the "
        "squared distance from $W^*$ and $2n'\\eta\\epsilon$, after every step of one pass of "
        f"SGD; {over_seeds(a['share'])} for every width. The lemma has all of it below the dashed "
        "line.",
        f"A curve with a band for each of {len(widths)} widths, none above {spoken(most)}. "
        + said(result, "All lie below the dashed level at 1.", "chen2021-lem6.5"),
    )


def met_and_expected(result: Result) -> Drawing:
    """Errors expected of a pass against those that it met, a point a run."""
    a, s = result.arrays, result.settings
    seen, expected, delta = a["seen"], a["expected"], 0.5
    panel = (canvas := Canvas()).panel("passes", MET, EXPECTED)
    panel.points("passes", seen, expected, BLUE, ms=3, alpha=0.6, label="passes")
    far = np.array([0.0, float(seen.max())])
    shift = math.log(1 / delta) / s["count"]
    panel.curve("Lemma 6.6", far, 4 * (far + shift), INK, label=r"Lemma 6.6, $\delta=1/2$")
    panel.curve(
        "sharper", far, SHARPER * (far + shift), RED, ls="--",
        label=r"$\frac{e}{e-1}$ in place of 4",
    )  # fmt: skip
    panel.curve("equal", far, far, FAINT, ls=":", label="equal")
    panel.axes.set_ylim(0, 2.5 * float(expected.max()))
    panel.legend()
    return canvas.drawing(
        "The surrogate errors that the iterates of a pass have on fresh inputs, against those on "
        f"the examples that each met next, means over {s['count']} iterates; a point for each of "
        f"{number(s['runs'], ',d')} passes with networks and examples of their own. Lemma 6.6 has "
        "a point below its line with probability one half or more; the dashed line is that of a "
        "better constant, the dotted one where both are equal.",
        f"A cloud of points about the diagonal, from {spoken(seen.min())} to "
        f"{spoken(seen.max())}, and two steeper lines. "
        + said(result, "Enough points lie below the lemma's line.", "chen2021-lem6.6"),
    )


SHARPER = math.e / (math.e - 1)
