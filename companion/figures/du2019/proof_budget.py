"""Figures of the experiment du2019/proof_budget."""

from collections.abc import Mapping

import numpy as np

from companion.figures.panels import AT_X, Canvas, Drawing
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-decomp": "du2019-proof-budget",
    "du2019-decomp-net": "du2019-proof-budget",
}

TERMS = (
    r"earned, $2\eta e^\top He$",
    r"$H^\perp$",
    r"$I_2$",
    r"$H^\perp$ and $I_2$ together",
    r"$\|u(k+1)-u(k)\|^2$",
    "left over",
)
UNIT = (
    "part of a step in units of step size times lambda_0 times the squared residual",
    r"in units of $\eta\lambda_0\|u-y\|^2$",
)


def proof_budget(result: Result) -> Drawing:
    """What each term is at worst along a run, and what the proof sets in its place."""
    canvas = Canvas(2, sharey=True, sharex=True)
    for index, kind in enumerate(("small", "usual")):
        step_size = f"{result.values[f'{kind}_step_size']:.2g}"
        value = number(float(step_size), ".1e" if float(step_size) < 0.001 else ".2g").strip("$")
        panel = canvas.panel(
            f"step size {step_size}",
            UNIT,
            "term of the proof",
            log="x",
            title=rf"step size $\eta={value}$",
            rows=TERMS,
        )
        measured, proof = _worst(result.arrays, index)
        panel.by_row("measured", measured, BLUE, marker="o", s=36, lw=1)
        stem = {"color": FAINT, "lw": 1.5}
        panel.by_row("in the proof", proof, RED, since=measured, stem=stem, marker="D", s=36, lw=1)
        panel.upright("left over by the theorem", 1 / 2, INK, lw=1, ls="--")
        if index == 0:
            panel.axes.set_ylim(len(TERMS) - 0.5, -0.8)
        panel.note("measured", (measured[1], 1), BLUE, (0, 7), ha="center")
        panel.note("in the proof", (proof[1], 1), RED, (0, 7), ha="center")
        panel.note("1/2", (1 / 2, 1), INK, (3, -2), xycoords=AT_X, va="top")
    return canvas.drawing(
        "The proof of Theorem 4.1 as a budget, at "
        f"$m=$ {result.values['largest_width']}: what a step earns, what four terms cost, and what "
        "is left over, each at its worst over all steps and seeds (circles), and the number that "
        "the proof puts in its place (diamonds). The proof earns 1 and needs 1/2 (dashed) to be "
        "left over. Left, a step size of the theorem's order; right, one in use.",
        "A row for each term with a circle for what was measured and a diamond for the proof's "
        "number, at both step sizes. "
        + said(
            result,
            "In the rows of cost the circles lie left of the diamonds; what is left over stays "
            "right of one half.",
            "du2019-decomp",
        ),
    )


def _worst(arrays: Mapping[str, np.ndarray], index: int) -> tuple[list[float], list[float]]:
    """One number a row at the largest width, measured and in the proof; costs in absolute value."""
    a = {key: array[:, -1, index] for key, array in arrays.items() if array.ndim > 3}
    crossing = a["perp_cost"] + a["i_2_cost"]
    costs = [np.abs(c).max() for c in (a["perp_cost"], a["i_2_cost"], crossing, a["square_cost"])]
    bounds = [
        a["perp_bound"].max(),
        a["i_2_bound"].max(),
        (a["perp_bound"] + a["i_2_bound"]).max(),
        a["square_bound"].max(),
    ]
    left = (a["gain"] - crossing - a["square_cost"]).min()
    return (
        [float(v) for v in (a["gain"].min(), *costs, left)],
        [float(v) for v in (1, *bounds, 1 / 2)],
    )
