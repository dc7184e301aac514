"""Figures of the experiment du2019/proof_budget."""

from collections.abc import Mapping

import numpy as np

from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, INK, RED, new
from companion.lab.results import Result

_ROWS = (
    r"earned, $2\eta e^\top He$",
    r"$H^\perp$",
    r"$I_2$",
    r"$H^\perp$ and $I_2$ together",
    r"$\|u(k+1)-u(k)\|^2$",
    "left over",
)


def proof_budget(result: Result) -> Drawing:
    """What each term is at worst along a run, and what the proof sets in its place."""
    figure, panels = new(2, sharey=True, sharex=True)
    table: dict[str, list[object]] = {"step_size": [], "term": [], "measured": [], "proof": []}
    y = np.arange(len(_ROWS))
    for index, (axes, name) in enumerate(zip(panels, ("small", "usual"), strict=True)):
        step_size = float(result.values[f"{name}_step_size"])
        measured, proof = _worst(result.arrays, index)
        axes.hlines(y, measured, proof, color=FAINT, lw=1.5)
        axes.plot(measured, y, "o", color=BLUE, ms=6)
        axes.plot(proof, y, "D", color=RED, ms=6)
        axes.axvline(1 / 2, color=INK, lw=1, ls="--")
        axes.set_title(rf"$\eta={step_size:.2g}$")
        axes.set_xlabel(r"in units of $\eta\lambda_0\|u-y\|^2$")
        table["step_size"] += [step_size] * len(_ROWS)
        table["term"] += _ROWS
        table["measured"] += measured
        table["proof"] += proof
    panels[0].set_xscale("log")
    panels[0].set_yticks(y, _ROWS)
    panels[0].set_ylim(len(_ROWS) - 0.5, -0.8)
    measured, proof = _worst(result.arrays, 0)
    for x, text, color in ((measured[1], "measured", BLUE), (proof[1], "in the proof", RED)):
        panels[0].annotate(
            text, (x, 1), xytext=(0, 7), textcoords="offset points", color=color, fontsize=9,
            ha="center" if color == BLUE else "left",
        )  # fmt: skip
    return Drawing(
        figure,
        f"The proof of Theorem 4.1 as a budget, at m = {result.values['largest_width']}: what a "
        "step earns, what four terms cost, and what is left, each at its worst over all steps and "
        "seeds (blue), and the number that the proof puts in its place (red). The proof earns 1 "
        "and needs 1/2 (dashed) to be left. Left, a step size of the theorem's order; right, one "
        "in use.",
        "In the rows of cost the measured points lie one to four orders of magnitude left of the "
        "proof's bounds, which exceed the budget; what is left over stays well above one half.",
        table,
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
