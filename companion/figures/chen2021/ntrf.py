"""Figures of the experiment chen2021/ntrf."""

import math
from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import CYCLE, FAINT, INK, MARKERS
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "chen2021-def4.1": "chen2021-least-loss",
    "chen2021-prop4.2": "chen2021-members-as-networks",
}
RADIUS = ("radius R", "radius $R$")
LEAST = ("least mean loss of the class", r"$\epsilon_{\rm NTRF}(R)$")
ERROR = ("linearisation error", "linearisation error")
LOSS = ("largest loss over eps", r"largest loss over $\epsilon$")
NAMES = ("labels by the half", "random labels")


def least_loss(result: Result) -> Drawing:
    """The least loss of the class against its radius, for true and for random labels."""
    a, radii = result.arrays, result.settings["radii"]
    canvas = Canvas()
    panel = canvas.panel("loss", RADIUS, LEAST, log="xy")
    lines = []
    for place, name in enumerate(NAMES):
        look: dict[str, Any] = {"marker": MARKERS[place], "ms": 5, "label": name}
        lines.append(panel.curve(name, radii, a["value"][:, place], CYCLE[place], **look))
    panel.sizes(radii if len(radii) < 8 else radii[::2])
    panel.legend("lower left")
    return canvas.drawing(
        r"The least mean loss of the linearised networks within the radius $R$, at width "
        f"$m={result.settings['width']}$; {over_seeds(a['value'])}. The duality gaps are "
        "thinner than the lines.",
        "Two falling curves on logarithmic axes. "
        + said(
            result,
            f"That of the labels by the half goes {ends(lines[0])}, that of random labels "
            f"{ends(lines[1])}.",
            "chen2021-def4.1",
        ),
    )


def members_as_networks(result: Result) -> Drawing:
    """The linearisation error against the width; and the loss that it leaves to the network."""
    a, s = result.arrays, result.settings
    widths = np.array(s["widths"])
    canvas = Canvas(2)
    left = canvas.panel("error", WIDTH, ERROR, log="xy")
    error = a["error"]  # seed, alpha, loss, width
    for place, alpha in enumerate(s["alphas"]):
        color, name = CYCLE[place], rf"$\alpha={alpha:g}$"
        look: dict[str, Any] = {"marker": MARKERS[place], "ms": 5, "label": name}
        left.curve(f"alpha = {alpha:g}", widths, error[:, place, 0], color, **look)
    bound, start = -s["alphas"][0] / 3, 0.6 * error[:, 0, 0, 0].mean()
    name = rf"$m^{{-\alpha/3}}$ at $\alpha={s['alphas'][0]:g}$"
    left.guide("slope of the bound", widths, start, bound, label=name)
    left.level("log 2", math.log(2), INK, ls=":", label=r"$\log2$")
    left.sizes(widths if len(widths) < 6 else widths[::2])
    left.few_decades()
    left.legend("lower left")
    right = canvas.panel("loss", ERROR, LOSS, log="xy")
    for place, loss in enumerate(s["losses"]):
        look = {"marker": MARKERS[place], "ms": 4, "label": rf"$\epsilon={loss:g}$"}
        errors, losses = error[:, :, place], a["true_loss"][:, :, place]
        right.points(f"eps = {loss:g}", errors, losses, CYCLE[3 + place], **look)
    right.upright("log 2", math.log(2), INK, ls=":", label=r"$\log2$")
    right.level("eps", 1, FAINT, ls="--", label="loss allowed")
    right.sizes((0.2, 0.5, 1, 2, 5))
    right.legend("upper left")
    return canvas.drawing(
        r"Left, the linearisation error of the nearest member with all losses at most "
        rf"$\epsilon/2$, $\epsilon={s['losses'][0]:g}$, against the width; "
        f"{over_seeds(error)}. Right, the largest loss of the network with the same increment, "
        r"over $\epsilon$, against the error: a point for every network.",
        "Left, falling curves, one for each alpha, with a dashed line and a dotted level. Right, "
        "points, a dotted upright line at the logarithm of 2 and a dashed level at 1. "
        + said(
            result,
            "The curves fall more steeply than the dashed line, and no point left of the upright "
            "line is above the level.",
            "chen2021-prop4.2",
        ),
    )
