"""Figures of the experiment chen2021/linearisation."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "chen2021-lem6.1": "chen2021-linearisation-errors",
    "chen2021-lem6.1-order": "chen2021-worst-pairs",
}
RADIUS = ("tau, the radius of the ball", r"radius of the ball, $\tau$")
ERROR = (
    "root mean square error of the linearisation over m^alpha",
    r"error of the linearisation over $m^\alpha$",
)
OVER_POWER = (
    "root mean square error of the linearisation over m^alpha tau^(4/3)",
    r"error over $m^\alpha\tau^{4/3}$",
)
# In the order of the arrays: name, colour, marker.
KINDS = (("gradient", BLUE, "o"), ("random", GREEN, "^"), ("worst", RED, "s"))


def linearisation_errors(result: Result) -> Drawing:
    """Errors of three kinds of pairs against the radius, and against the width."""
    a, s, v = result.arrays, result.settings, result.values
    radii, widths, last = np.array(s["radii"]), s["widths"], s["alphas"][-1]
    canvas = Canvas(2)
    left = canvas.panel("tau", RADIUS, ERROR, log="xy")
    right = canvas.panel(
        "width", WIDTH, ("root mean square error of the linearisation", "error"), log="xy"
    )
    for place, (name, color, mark) in enumerate(KINDS):
        error = a["error"][:, place] / s["width"] ** 0.5  # seeds, radii
        over_width = a["width_error"][:, :, -1, :, place].mean(axis=1)  # seeds, widths
        left.curve(name, radii, error, color, marker=mark, ms=5, label=name)
        right.curve(name, widths, over_width, color, marker=mark, ms=5, label=name)
    worst = a["error"][:, 2, 0].max() / s["width"] ** 0.5
    least = a["error"][:, 1, 0].min() / s["width"] ** 0.5
    left.guide("slope 4/3", radii, 1.4 * worst, 4 / 3, FAINT, end="4/3")
    left.guide("slope 2", radii, 0.6 * least, 2, FAINT, end="2")
    start = 1.2 * a["width_error"][:, :, -1, 0, 2].mean(axis=1).max()
    right.guide("slope -alpha/3", widths, start, -last / 3, FAINT, label=r"$m^{-\alpha/3}$")
    left.sizes(radii)
    right.sizes(widths)
    canvas.legend(4)
    exponents = ", ".join(f"{float(v[f'{name}_exponent']):.2f} ({name})" for name, *_ in KINDS)
    return canvas.drawing(
        rf"By how much $f_{{W'}}$ misses its linearisation at $W$, for pairs within $\tau$ of "
        f"initialisation, $L={s['layers']}$: root mean square over the inputs, "
        f"{over_seeds(a['error'])}. Left, against $\\tau$ at $m={s['width']}$. Right, against the "
        rf"width at $\tau={s['reach']:g}\cdot m^{{-\alpha}}$, $\alpha={last:g}$, the mean of "
        f"{s['draws']} networks a seed. Dashed lines have the slopes written at them; the lemma's "
        r"bound has $4/3$ or more on the left, and $-\alpha/3$ times $\sqrt{\log m}$ on the right.",
        f"Left, three rising lines on logarithmic axes, with exponents {exponents}, the worst "
        "pairs far above the others. Right, three falling curves. "
        + said(
            result,
            "On the left none is less steep than the guide of slope four thirds; on the right "
            "those of gradient and random pairs fall much faster than the guide, and that of the "
            "worst pairs about as slowly.",
            "chen2021-lem6.1",
        ),
    )


def worst_pairs(result: Result) -> Drawing:
    """Error of the worst pairs in a wide layer, against tau, and as derived."""
    a, s, v = result.arrays, result.settings, result.values
    near = np.array(s["near"])
    power = near ** (4 / 3)
    error = a["wide_error"].mean(axis=1) / power  # seeds, radii
    canvas = Canvas()
    panel = canvas.panel("wide layer", RADIUS, OVER_POWER, log="x")
    panel.curve("derived", near, a["wide_derived"][0, 0] / power, INK, lw=1, label="derived")
    panel.curve("worst pairs", near, error, RED, marker="s", ms=5, ls="", label="worst pairs")
    panel.upright("radius asked for", float(v["asked_wide"]), FAINT, ls="--", label="asked for")
    panel.sizes(near)
    panel.axes.set_ylim(0, 1.5 * error.max())
    panel.legend("lower left")
    return canvas.drawing(
        "The error of the linearisation for the worst pairs in one hidden layer of "
        rf"{s['wide']} units, over $m^\alpha\tau^{{4/3}}$: {over_seeds(error)} of {s['draws']} "
        r"networks each. The line is derived; left of the dashed line $\tau$ is as small as Lemma "
        "6.1 asks, with its constant read as 1.",
        "Squares and a thin line against the radius. "
        + said(
            result,
            "The line is level, and the squares lie on it.",
            "chen2021-lem6.1-order",
        ),
    )
