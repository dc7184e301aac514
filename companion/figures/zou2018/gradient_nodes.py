"""Figures of the experiment zou2018/gradient_nodes."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-thm5.1viii": "zou2018-gradient-nodes",
    "zou2018-lemA.14": "zou2018-gradient-probability",
}
NODES = "units with a large gradient"
SHARE = "share of units with a large gradient"


def gradient_nodes(result: Result) -> Drawing:
    """Least number of units with a large gradient, against the width and against phi."""
    a, s = result.arrays, result.settings
    canvas = Canvas(2, sharey=True)
    panels = (
        ("width", WIDTH, np.array(s["widths"]), a["by_width"], a["by_width_over_bound"]),
        (
            "separation", ("separation phi", r"separation $\phi$"), np.array(s["separations"]),
            a["by_separation"], a["by_separation_over_bound"],
        ),
    )  # fmt: skip
    for name, axis, sizes, counts, over in panels:
        panel = canvas.panel(name, axis, NODES, log="xy")
        panel.curve("least count", sizes, counts, RED, marker="o", ms=4, label="worst weights")
        panel.guide("slope 1", sizes, 0.6 * counts[:, 0].mean(), 1, label="slope 1")
        panel.curve("proof", sizes, (counts / over).mean(axis=0), BLUE, ls=":", label="the proof's")
        panel.sizes(sizes)
        panel.legend("center right")
    return canvas.drawing(
        "The number of units of the last layer whose gradient is large, for the weights of the "
        f"examples for which it is least, {over_seeds(a['by_width'])}: against the width, with "
        f"$n={s['count']}$ and $\\phi={s['separation']:g}$, and against $\\phi$ for single pairs "
        f"at width {s['width']}. Dotted, the number that the proof guarantees.",
        "Two panels, each with a line for the counts, a dashed one of slope one, and a dotted one. "
        + said(result, "No measured number is near the dotted line.", "zou2018-thm5.1viii"),
    )


def gradient_probability(result: Result) -> Drawing:
    """How frequent large gradients are in Gaussian units, with the lemma's bound."""
    a, s = result.arrays, result.settings
    apart = np.array(s["lemma_separations"])
    canvas = Canvas()
    panel = canvas.panel("share", ("separation phi", r"separation $\tilde\phi$"), SHARE, log="xy")
    for place, (count, color) in enumerate(zip(s["lemma_counts"], (BLUE, RED), strict=False)):
        panel.curve(
            f"n = {count}", apart, a["share"][:, place], color, marker="o", ms=4,
            label=f"$n={count}$",
        )  # fmt: skip
        panel.curve(
            f"bound, n = {count}", apart, a["bound"][:, place].mean(axis=0), color, ls=":",
            label=f"bound, $n={count}$",
        )  # fmt: skip
    panel.guide("angle over pi", apart, apart[0] / np.pi, 1, FAINT, label=r"$\tilde\phi/\pi$")
    panel.legend("center left", bbox_to_anchor=(1, 0.5))
    panel.sizes(apart)
    return canvas.drawing(
        f"The share of {s['samples']:,} Gaussian units that have a large gradient, for the weights "
        f"for which it is least, {over_seeds(a['share'])}, with the explicit bound of the lemma "
        "(dotted).",
        "A line for each of two numbers of vectors, and a dotted one for the bound of each. "
        + said(result, "All measured shares are above their dotted line.", "zou2018-lemA.14"),
    )
