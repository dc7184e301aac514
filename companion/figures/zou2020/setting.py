"""Figures of the experiment zou2020/setting."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP
from companion.figures.style import BLUE, CYCLE, INK, MARKERS, RED
from companion.figures.words import over_seeds, powers, said
from companion.lab.results import Result

SHOWS = {
    "zou2020-setting": "zou2020-spectral-ball",
    "zou2020-ass4.3": "zou2020-unequal-widths",
    "zou2020-ce-ineq": "zou2020-cross-entropy-floor",
    "zou2020-ce-ineq-sharp": "zou2020-cross-entropy-floor",
}
FAR = ("largest distance of a layer from its start", r"$\max_l\|W_l^{(k)}-W_l^{(0)}\|$")
LEAST_WIDTH = "least width m"
GAP = (
    "distance of the layers' Gram matrices from their limits over the norm of those",
    "relative distance from the limit",
)
LOSS = ("cross-entropy", r"cross-entropy $\ell$")
SLOPE = ("minus the derivative of the cross-entropy", r"$-\ell'$")


def spectral_ball(result: Result) -> Drawing:
    """Distances from initialisation in both norms along gradient descent."""
    a, s = result.arrays, result.settings
    steps = range(s["steps"] + 1)
    canvas = Canvas(2, sharey=True)
    for place, ratio in ((0, s["ratios"][0]), (-1, s["ratios"][-1])):
        panel = canvas.panel(_ratio(ratio), STEP, FAR, title=_ratio(ratio))
        for name, key, color, dashes in (
            ("Frobenius", "frobenius", BLUE, "--"),
            ("spectral", "spectral", RED, "-"),
        ):
            panel.curve(name, steps, a[key][:, place].max(axis=-1), color, ls=dashes, label=name)
        panel.legend("upper left")
    return canvas.drawing(
        "How far the layer that moves most is from initialisation along gradient descent, in "
        f"Frobenius and in spectral norm: {over_seeds(a['spectral'])}. The ball of the paper is "
        f"the spectral one. Layers of equal width $m={s['widths'][0]}$, and of widths $m$ and $M$.",
        "Two panels with two rising curves each. "
        + said(
            result,
            "The spectral distance is below that of Frobenius at every step.",
            "zou2020-setting",
        ),
    )


def unequal_widths(result: Result) -> Drawing:
    """Distance of the layers' Gram matrices from their limits against the least width."""
    s, gaps = result.settings, result.arrays["gram_gap"]  # seeds, ratios, widths, layers
    overall, widths = np.sqrt(np.square(gaps).mean(axis=-1)), s["widths"]
    canvas = Canvas()
    panel = canvas.panel("distance", LEAST_WIDTH, GAP, log="xy")
    for place, ratio in enumerate(s["ratios"]):
        style: Any = {"marker": MARKERS[place], "ms": 5, "label": _ratio(ratio)}
        panel.curve(_ratio(ratio), widths, overall[:, place], CYCLE[place], **style)
    start = 0.8 * overall[:, :, 0].mean(axis=0).min()
    panel.guide("slope -1/2", widths, start, -1 / 2, label=r"$m^{-1/2}$")
    panel.sizes(widths)
    panel.few_decades()
    panel.legend()
    slopes = powers(result.values[f"slope_{ratio}"] for ratio in s["ratios"])
    return canvas.drawing(
        "How far the Gram matrices of the gradients in single layers, divided by the widths of "
        "those, are from their limits: root mean square over the layers and over "
        f"{s['networks']} networks, {over_seeds(overall)}. Layers have $m$ and $M$ units in turn, "
        f"with $M/m={', '.join(map(str, s['ratios']))}$; the distances fall like {slopes}.",
        "A line per ratio of the widths on logarithmic axes, and a dashed one of slope minus one "
        "half. " + said(result, "All are parallel to it.", "zou2020-ass4.3"),
    )


def cross_entropy_floor(result: Result) -> Drawing:
    """Slope of the cross-entropy against its value, and the inequality's right side."""
    a = result.arrays
    value, slope = a["value"], a["slope"]
    floor = np.minimum(0.5, value / (2 * np.log(2)))
    canvas = Canvas()
    panel = canvas.panel("floor", LOSS, SLOPE)
    panel.curve("left side", value, slope, INK, label=r"$-\ell'$")
    label = r"$\min\{1/2,\ \ell/(2\log2)\}$"
    panel.curve("right side", value, floor, RED, ls="--", label=label)
    panel.points("margin 0", [np.log(2)], [0.5], BLUE, ms=6, label="margin 0")
    panel.axes.set_xlim(0, 3)
    panel.legend("lower right")
    return canvas.drawing(
        "Minus the derivative of the cross-entropy against the cross-entropy itself, and the right "
        "side of the inequality, a line that is cut off at one half.",
        "A concave curve that rises towards 1, and a dashed one that rises along a line and is "
        "then level. "
        + said(
            result,
            "They touch at the margin 0, where the line is cut off, and nowhere else above 0.",
            "zou2020-ce-ineq-sharp",
        ),
    )


def _ratio(ratio: int) -> str:
    """The largest width by the least, `M = 2 m`."""
    return f"M = {ratio} m" if ratio > 1 else "M = m"
