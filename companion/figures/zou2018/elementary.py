"""Figures of the experiment zou2018/elementary."""

import math

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import CYCLE, FAINT, INK, RED
from companion.figures.words import said
from companion.lab.results import Result

SHOWS = {
    "zou2018-lemA.3": "zou2018-gaussian-excess",
    "zou2018-lemA.3-sharp": "zou2018-gaussian-excess",
    "zou2018-lemC.1": "zou2018-tangent-of-a-power",
}
THETA = ("theta", r"$\theta$")
MEAN = ("mean product of the positive parts", r"$\mathbb{E}\sigma(Z_1)\sigma(Z_2)$")
CONSTANT = (
    "excess over one half minus a quarter of theta squared, over theta cubed",
    r"least $C$ of Lemma A.3",
)
RATIO = ("a over b", r"$a/b$")
SIDES = ("side of the inequality times b to the power 2p - 1", "sides of the inequality")


def gaussian_excess(result: Result) -> Drawing:
    """The mean product of two Gaussians' positive parts, and the least constant of Lemma A.3."""
    a, s = result.arrays, result.settings
    thetas = np.geomspace(s["least"], 2, s["thetas"])
    leading = 0.5 - thetas**2 / 4
    canvas = Canvas(2)
    left = canvas.panel("mean", THETA, MEAN)
    left.curve("closed form", thetas, a["mean"], INK, label="closed form")
    left.curve("leading", thetas, leading, FAINT, ls="--", label=r"$1/2-\theta^2/4$")
    sampled = a["sampled"].mean(axis=0)
    left.points("drawn pairs", s["drawn"], sampled, RED, ms=5, label="drawn pairs")
    left.legend("lower left")
    right = canvas.panel("constant", THETA, CONSTANT)
    right.curve("closed form", thetas, (a["mean"] - leading) / thetas**3, INK)
    for name, level in ((r"$1/16$", 1 / 16), (r"$1/(6\pi)$", 1 / (6 * math.pi))):
        right.level(name, level, FAINT, ls="--")
        right.note(name, (0, level), FAINT, (4, 4))
    right.axes.set_ylim(0.052, 0.064)
    return canvas.drawing(
        "Left, the mean product of the positive parts of two unit Gaussians of correlation "
        "$1-\\theta^2/2$, by the closed form and over drawn pairs, and the two leading terms of "
        "Lemma A.3. Right, the least constant $C$ for which the lemma is true at $\\theta$.",
        "Left, two falling curves that start together, the dashed one lower, with points on the "
        "other. Right, a curve that rises from one dashed level to another. "
        + said(
            result,
            "It starts at one over six pi and ends, for opposite Gaussians, at one sixteenth.",
            "zou2018-lemA.3-sharp",
        ),
    )


def tangent_of_a_power(result: Result) -> Drawing:
    """Both sides of Lemma C.1 against a / b, for several exponents."""
    a, s = result.arrays, result.settings
    ratios = np.geomspace(0.05, 5, a["left"].shape[-1])
    canvas = Canvas()
    panel = canvas.panel("sides", RATIO, SIDES)
    panel.curve("left side", ratios, a["left"], INK, label="left side, any p")
    for p, right, color in zip(s["exponents"], a["right"], CYCLE, strict=False):
        name = f"right side, p = {p:g}"
        panel.curve(name, ratios, right, color, ls="--", label=name)
    panel.axes.set_ylim(-4, 4)
    panel.legend("lower right")
    return canvas.drawing(
        "Both sides of Lemma C.1, multiplied by $b^{2p-1}$ so that they depend on $a/b$ alone; at "
        "$p=1/2$, which the lemma leaves out, the right side is the limit $\\log(a/b)$.",
        "A straight line, and below it a concave curve for each p. "
        + said(
            result,
            "All touch the line where a equals b, and lie below it everywhere else.",
            "zou2018-lemC.1",
        ),
    )
