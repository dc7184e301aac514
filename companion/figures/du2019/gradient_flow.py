"""Figures of the experiment du2019/gradient_flow."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import MISFIT_IN_TIME, TIME, WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import said
from companion.lab.results import Result

LARGEST = ("norm, largest over time", "largest over time")


def gradient_flow(result: Result) -> Drawing:
    """Misfit in time under the bound and the linearised curve; how far H and W move with width."""
    a, v, widths = result.arrays, result.values, result.settings["widths"]
    misfit, frozen = a["misfit"], a["linearised_limit"][:, -1]  # seeds, widths, times; seeds, times
    clock = np.linspace(0, result.settings["horizon"], misfit.shape[-1])
    canvas = Canvas(2)
    left = canvas.panel("misfit", TIME, MISFIT_IN_TIME, log="y")
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        ratios = misfit[:, index] / misfit[:, index, :1]
        left.curve(f"m = {width}", clock, ratios, color, label=f"m = {width}")
    frozen, label = frozen / frozen[:, :1], r"$H^\infty$, linearised"
    left.curve("H-infinity, linearised", clock, frozen, INK, band=False, ls=":", label=label)
    left.curve("Theorem 3.2", clock, np.exp(-clock), FAINT, ls="--", label="Theorem 3.2")
    left.legend("lower left")
    right = canvas.panel("motion", WIDTH, LARGEST, log="xy")
    for name, label, key, color in (
        ("distance of the farthest unit", r"$\max_r\|w_r-w_r(0)\|$", "distance", BLUE),
        ("drift of H", r"$\|H(t)-H(0)\|_2$", "drift", RED),
    ):
        line = right.curve(name, widths, a[key].max(axis=-1), color, marker="o")
        right.note(label, (widths[0], line[0]), color, (8, 6))
    right.guide("slope -1/2", widths, 2 * line[0], -1 / 2, end=r"$m^{-1/2}$")
    right.sizes(widths)
    last = (misfit[..., -1] / misfit[..., 0]).mean(axis=0)
    return canvas.drawing(
        f"Gradient flow, mean and range over {len(misfit)} seeds. Left: the misfit, the bound "
        "(dashed), and the misfit if the Gram matrix stood still at $H^\\infty$ (dotted). "
        + said(result, "The bound is never reached.", "du2019-thm3.2")
        + f" Right: the largest drift of $H$ (exponent {v['drift_exponent']:.2f}) and the largest "
        f"distance of a unit (exponent {v['distance_exponent']:.2f}).",
        f"Left, a curve per width, which end at {last.min():.1e} to {last.max():.1e}, a dotted one "
        f"and a dashed straight line to {np.exp(-clock[-1]):.1e}. "
        + said(result, "The curves lie below the dashed line.", "du2019-thm3.2")
        + " Right, two curves against the width, beside a dashed line of slope -1/2. "
        + said(result, "They fall about parallel to it.", "du2019-rem3.1b"),
    )
