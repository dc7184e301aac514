"""Figures of the experiment du2019/gradient_flow."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import MISFIT_IN_TIME, TIME, WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import over_seeds, powers, said, spoken
from companion.lab.results import Result

SHOWS = {
    "du2019-thm3.2": "du2019-gradient-flow",
    "du2019-rem3.1b": "du2019-gradient-flow",
    "du2019-lem3.3": "du2019-gradient-flow",
    "du2019-lem3.3-exponent": "du2019-gradient-flow",
}


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
    relative = (
        "largest over time over its mean at the least width",
        f"relative to m = {widths[0]}",
    )
    right = canvas.panel("motion", WIDTH, relative, log="xy")
    for name, label, key, color, mark in (
        ("distance of the farthest unit", r"$\max_r\|w_r-w_r(0)\|$", "distance", BLUE, "o"),
        ("drift of H", r"$\|H(t)-H(0)\|_2$", "drift", RED, "s"),
    ):
        largest = a[key].max(axis=-1)
        share = largest / largest[:, 0].mean()
        right.curve(name, widths, share, color, marker=mark, label=label)
    right.guide("slope -1/2", widths, 1, -1 / 2, label=r"$m^{-1/2}$")
    right.sizes(widths)
    right.few_decades()
    right.legend("lower left")
    last = (misfit[..., -1] / misfit[..., 0]).mean(axis=0)
    fitted = powers((v["drift_exponent"], v["distance_exponent"]))
    return canvas.drawing(
        f"Gradient flow, {over_seeds(misfit)}. Left, the misfit over its start for each width, the "
        "bound of Theorem 3.2 (dashed), and the misfit as it would fall if the Gram matrix stood "
        "still at $H^\\infty$ (dotted). "
        + said(result, "The bound is never reached.", "du2019-thm3.2")
        + " Right, the largest drift of the Gram matrix $H$ and the largest distance of a unit "
        f"from its start, each over its mean at $m={widths[0]}$; they fall like {fitted}.",
        f"Left, a curve per width, which end at {spoken(last.min())} to {spoken(last.max())}, a "
        f"dotted one and a dashed straight line to {spoken(np.exp(-clock[-1]))}. "
        + said(result, "The curves lie below the dashed line.", "du2019-thm3.2")
        + " Right, two curves against the width, beside a dashed line of slope minus one half. "
        + said(result, "They fall about parallel to it.", "du2019-rem3.1b"),
    )
