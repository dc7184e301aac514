"""Figures of the experiment du2019/gram_stability."""

import numpy as np
from matplotlib.axes import Axes

from companion.bounds.du2019 import lemma_3_2_gram_change
from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, RED, band, new, stack
from companion.lab.results import Result


def gram_stability(result: Result) -> Drawing:
    """How far the Gram matrix can move when every weight vector may move by R."""
    a, count = result.arrays, result.settings["count"]
    radii = np.array(result.settings["radii"])
    lambda_0 = a["lambda_0"][:, None]
    lemma = float(result.values["lemma_radius"])
    figure, (axes,) = new()
    wide = np.array([lemma, *radii])
    printed = lemma_3_2_gram_change(count, 1) * wide / float(lambda_0.mean())
    axes.plot(wide, printed, color=FAINT, ls="--")
    series = {"4n^2R/sqrt(2pi)": (wide, printed)}
    curves = {
        "certified, any weights": (
            np.hstack([a["lemma_change"][:, None], a["certified_norm"]]),
            RED,
        ),
        "adversary": (np.maximum(a["on"], a["off"]), ORANGE),
        "random": (a["random"], BLUE),
    }
    for name, (change, color) in curves.items():
        x = wide[-change.shape[1] :]
        series[name] = (x, band(axes, x, change / lambda_0, color, marker="o", ms=3.5))
    _name(axes, wide, printed, r"$4n^2R/\sqrt{2\pi}$, the printed bound", FAINT, above=True)
    for name, (_, color) in curves.items():
        _name(axes, *series[name], name, color, above=color is RED)
    axes.axhline(1 / 4, color=INK, lw=1)
    axes.text(1.1 * lemma, 0.25, r"$\lambda_0/4$", va="bottom", fontsize=9)
    axes.axvline(lemma, color=GREEN, lw=1)
    axes.annotate(
        "the lemma's R", (lemma, 0), xycoords=("data", "axes fraction"), xytext=(4, 6),
        textcoords="offset points", color=GREEN, fontsize=9,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(r"$R$, the most that a weight vector moves")
    axes.set_ylabel(r"$\|H-H(0)\|_2\,/\,\lambda_0$")
    return Drawing(
        figure,
        f"Change of the Gram matrix against how far weights move, n = {count}, "
        f"m = {result.settings['width']}, mean and range over {len(a['lambda_0'])} seeds. "
        "Red is a proven ceiling over all weights in the ball, orange and blue were tried. The "
        f"ceiling meets $\\lambda_0/4$ at R = {result.values['certified_radius']:.2f}, "
        f"{result.values['radius_slack']:.0f} times the lemma's radius.",
        "Two parallel lines of slope one, the printed bound two orders of magnitude above the "
        "certified worst case, with the adversary just under the latter and a random perturbation "
        "far below and flatter.",
        stack(series, "R", "change_over_lambda_0"),
    )


def _name(axes: Axes, x: np.ndarray, y: np.ndarray, text: str, color: str, *, above: bool) -> None:
    """Write a rising curve's name on its upper left, or on its lower right."""
    at, shift = (1, (-8, 4)) if above else (-2, (8, -4))
    axes.annotate(
        text, (x[at], y[at]), xytext=shift, textcoords="offset points", color=color, fontsize=9,
        ha="right" if above else "left", va="bottom" if above else "top",
    )  # fmt: skip
