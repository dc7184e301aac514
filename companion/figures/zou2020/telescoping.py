"""Figures of the experiment zou2020/telescoping."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2020-identity": "zou2020-telescoping",
    "zou2020-identity-mended": "zou2020-telescoping",
    "zou2020-lemA.4": "zou2020-flips-near-start",
    "zou2020-lemA.4-path": "zou2020-flips-near-start",
}

MOVE = ("tau, a random move of all layers", r"random move of all layers, $\tau$")
GAP = ("distance of both sides over the left one", "distance of the sides, as a share")
RADIUS = ("tau, most that a layer moved in spectral norm", r"most that a layer moved, $\tau$")
SHARE = ("largest share of switched units in a layer", "share switched, worst layer")


def telescoping(result: Result) -> Drawing:
    """Distance of the identity's sides against tau: as printed, mended, without the fraction."""
    a, s = result.arrays, result.settings
    moves = np.array(s["near"])
    canvas = Canvas()
    panel = canvas.panel("gap", MOVE, GAP, log="xy")
    for above, label, color, mark in (
        ("printed", "as printed", RED, "s"),
        ("without", r"without $\tilde\Sigma$", FAINT, "v"),
        ("mended", "mended", BLUE, "o"),
    ):
        gaps = a[f"near_{above}"].reshape(-1, len(moves))
        panel.curve(label, moves, gaps, color, marker=mark, ms=5, label=label)
    panel.legend("center right")
    panel.sizes(moves)
    return canvas.drawing(
        "How far the two sides of the identity are apart, over the left one, across a random move "
        rf"of all layers by $\tau$, mean and range over {len(gaps)} networks of all widths: with "
        r"the fraction of $\tilde\Sigma$ as printed, without $\tilde\Sigma$, and with the later "
        "preactivation above in the fraction.",
        "Three curves on logarithmic axes. "
        + said(
            result,
            "Mended, the sides agree to rounding at every tau.",
            "zou2020-identity-mended",
        )
        + " "
        + said(
            result,
            "As printed they are far apart, more and more with growing tau, and farther than "
            "without the fraction.",
            "zou2020-identity",
            outcomes=("fails",),
        ),
    )


def flips_near_start(result: Result) -> Drawing:
    """Share of switched units in the widest networks against tau, for adversaries and GD."""
    a, s, v = result.arrays, result.settings, result.values
    canvas = Canvas()
    panel = canvas.panel("share", RADIUS, SHARE, log="xy")
    for name, key, color, mark, power, label in (
        ("adversary", "attack", RED, "s", 2 / 3, r"$\tau^{2/3}$"),
        ("gradient descent", "descent", GREEN, "^", 1, r"$\tau$"),
    ):
        radii = np.array(s[f"{key}_radii"])
        line = panel.curve(name, radii, a[f"{key}_flips"][:, -1], color, marker=mark, label=name)
        panel.guide(f"slope of {name}", radii, 0.75 * line[0], power, INK, label=label)
    panel.legend("center right")
    panel.sizes(s["descent_radii"])
    return canvas.drawing(
        f"Share of pairs of an input and a unit that switch in networks of {s['depth']} layers of "
        rf"width {s['widths'][-1]}, in the layer where it is largest, when no layer moved by more "
        rf"than $\tau$, {over_seeds(a['attack_flips'])}: adversaries that choose the weights for "
        "every input, and gradient descent. The dashed lines are powers of $\\tau$.",
        "Two rising curves on logarithmic axes, each with a dashed line below it, that of the "
        "adversaries of slope two thirds, that of gradient descent of slope one. The fitted "
        f"exponents are {float(v['attack_exponent']):.2f} and {float(v['descent_exponent']):.2f}. "
        + said(result, "Both curves are parallel to their lines.", "zou2020-lemA.4-path"),
    )
