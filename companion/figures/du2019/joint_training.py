"""Figures of the experiment du2019/joint_training."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import MISFIT_IN_TIME, TIME, WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "du2019-thm3.3": "du2019-joint-training",
    "du2019-lemA.2": "du2019-joint-training",
    "du2019-lemA.4-5": "du2019-joint-training",
    "du2019-lemA.4-5-order": "du2019-joint-training",
    "du2019-lemA.6": "du2019-joint-training",
}
DISTANCE = ("distance, largest over time", "distance, largest over time")


def joint_training(result: Result) -> Drawing:
    """Misfit of both flows at the largest width; how far both layers move with width."""
    a, widths = result.arrays, result.settings["widths"]
    first, both, frozen = (a[key][:, -1] for key in ("misfit_first", "misfit", "linearised"))
    clock = np.linspace(0, result.settings["horizon"], both.shape[-1])
    canvas = Canvas(2)
    left = canvas.panel("misfit", TIME, MISFIT_IN_TIME, log="y")
    left.curve("first layer", clock, first / first[:, :1], BLUE, label="first layer")
    left.curve("both layers", clock, both / both[:, :1], RED, label="both layers")
    frozen, label = frozen / frozen[:, :1], r"$H^\infty+\kappa_1/2$, linearised"
    left.curve("limit kernel, linearised", clock, frozen, INK, band=False, ls=":", label=label)
    left.curve("Theorem 3.3", clock, np.exp(-clock), FAINT, ls="--", label="Theorem 3.3")
    left.legend("lower left")
    right = canvas.panel("motion", WIDTH, DISTANCE, log="xy")
    farthest = {key: a[key].max(axis=-1) for key in ("distance", "output_distance")}
    for name, label, key, color, mark in (
        ("first layer, farthest unit", r"$\max_r\|w_r-w_r(0)\|$", "distance", BLUE, "o"),
        ("output layer, farthest unit", r"$\max_r|a_r-a_r(0)|$", "output_distance", RED, "s"),
    ):
        right.curve(name, widths, farthest[key], color, marker=mark, label=label)
    start = 0.7 * min(samples[:, 0].mean() for samples in farthest.values())
    right.guide("slope -1/2", widths, start, -1 / 2, end=r"$m^{-1/2}$")
    right.sizes(widths)
    right.few_decades()
    right.legend("upper right")
    return canvas.drawing(
        f"Joint gradient flow of both layers, {over_seeds(both)}. Left, the misfit over its start "
        f"at $m={widths[-1]}$ if both layers are trained and if the first one is, the misfit of "
        "both as the limit kernel has it (dotted), and the bound of Theorem 3.3 (dashed). Right, "
        "how far the farthest unit moves in either layer; the dashed line falls like $m^{-1/2}$. "
        + said(
            result,
            "The distances fall with the width, up to a logarithm like $m^{-1/2}$.",
            "du2019-lemA.4-5-order",
            "du2019-lemA.5-frozen",
        ),
        "Left, the curves of both layers and of the first layer, a dotted curve and a dashed "
        "straight line. "
        + said(result, "The curve of both layers lies below the dashed line.", "du2019-thm3.3")
        + " Right, two curves against the width, above a dashed line of slope minus one half. "
        + said(
            result,
            "They fall about parallel to it.",
            "du2019-lemA.4-5-order",
            "du2019-lemA.5-frozen",
        ),
    )
