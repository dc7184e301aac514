"""Figures of the experiment du2019/gram_stability."""

import numpy as np

from companion.bounds.du2019 import lemma_3_2_gram_change
from companion.figures.panels import AT_X, Canvas, Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-lem3.2": "du2019-gram-stability",
    "du2019-lem3.2-order": "du2019-gram-stability",
}
RADIUS = ("most that a weight vector moves", r"$R$, the most that a weight vector moves")
CHANGE = ("change of the Gram matrix over lambda_0", r"$\|H-H(0)\|_2\,/\,\lambda_0$")


def gram_stability(result: Result) -> Drawing:
    """How far the Gram matrix can move when every weight vector may move by R."""
    a, v, s = result.arrays, result.values, result.settings
    count, lambda_0 = s["count"], a["lambda_0"][:, None]
    radii, lemma = np.array(s["radii"]), float(v["lemma_radius"])
    wide = np.array([lemma, *radii])
    certified = np.hstack([a["lemma_change"][:, None], a["certified_norm"]])
    canvas = Canvas()
    panel = canvas.panel("change", RADIUS, CHANGE, log="xy")
    upper, lower = {"ha": "right", "va": "bottom"}, {"ha": "left", "va": "top"}
    printed = lemma_3_2_gram_change(count, 1) * wide / float(lambda_0.mean())
    panel.curve("printed bound", wide, printed, FAINT, ls="--")
    panel.note("the printed bound", (wide[1], printed[1]), FAINT, (-8, 4), **upper)
    line = panel.curve("certified, any weights", wide, certified / lambda_0, RED, marker="o", ms=4)
    panel.note("certified, any weights", (wide[1], line[1]), RED, (-8, 4), **upper)
    for name, change, color, mark in (
        ("adversary", np.maximum(a["on"], a["off"]), ORANGE, "s"),
        ("random", a["random"], BLUE, "^"),
    ):
        line = panel.curve(name, radii, change / lambda_0, color, marker=mark, ms=4)
        panel.note(name, (radii[-2], line[-2]), color, (8, -4), **lower)
    panel.level("lambda_0 / 4", 1 / 4, INK, lw=1)
    panel.note("1/4, allowed", (radii[-1], 1 / 4), INK, (0, 2), **upper)
    panel.upright("the lemma's R", lemma, GREEN, lw=1)
    panel.note("the lemma's R", (lemma, 0), GREEN, (4, 6), xycoords=AT_X)
    return canvas.drawing(
        "How much the Gram matrix changes, over $\\lambda_0$, if every weight vector may move by "
        f"$R$: $n={count}$ inputs, $m={s['width']}$ units, {over_seeds(lambda_0)}. The certified "
        "line is a proven ceiling for all weights in reach; an adversary's weights and random ones "
        "were tried. The dashed bound is the printed one, $4n^2R/\\sqrt{2\\pi}$. The ceiling meets "
        f"$1/4$ at $R=$ {number(v['certified_radius'], '.2f')}, "
        f"{number(v['radius_slack'], ',.0f')} times the radius of the lemma.",
        "Four rising curves on logarithmic axes: the printed bound, the certified worst case, an "
        "adversary and a random perturbation. A level line marks one quarter, an upright one the "
        "radius of the lemma. "
        + said(
            result,
            "The certified worst case is a line of slope one below the printed bound; the "
            "adversary and the random perturbation stay below it.",
            "du2019-lem3.2",
            "du2019-lem3.2-order",
        ),
    )
