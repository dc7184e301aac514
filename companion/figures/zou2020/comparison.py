"""Figures of the experiment zou2020/comparison."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, GREEN, ORANGE, PURPLE, RED
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "zou2020-thm4.4-width": "zou2020-comparison",
    "zou2020-rem4.2": "zou2020-comparison",
}

LAMBDA_0 = ("least eigenvalue of the deep Gram matrix", r"$\lambda_0$")
WIDTHS = ("width that the theorem asks for", "width m")
# Name in the table, key, name at the curve, colour.
THEOREMS = (
    ("Zou et al. (2018)", "zou2018", "Zou 2018", RED),
    ("Allen-Zhu et al.", "allen_zhu", "Allen-Zhu", ORANGE),
    ("Zou et al. (2020)", "zou2020", "Zou 2020", GREEN),
    ("Du et al., deep", "du_deep", "Du, deep", PURPLE),
)


def comparison(result: Result) -> Drawing:
    """The deep lambda_0 against n, and the widths of four theorems with constant 1."""
    a, s, v = result.arrays, result.settings, result.values
    counts, images = s["counts"], 2 * np.array(s["digits_per_class"])
    canvas = Canvas(2)
    left = canvas.panel("lambda_0", "inputs n", LAMBDA_0, log="xy")
    left.curve("sphere", counts, a["lambda_0"], BLUE, marker="o", ms=4, label="sphere")
    left.curve("digits", images, a["digits_lambda_0"], RED, marker="s", ms=4, label="digits")
    left.sizes(np.union1d(counts, images))
    left.few_decades()
    left.legend("lower left")
    right = canvas.panel("widths", "inputs n", WIDTHS, log="xy")
    for name, key, told, color in THEOREMS:
        right.curve(name, counts, a[key], color, band=False, middle=np.median, end=told)
    right.sizes(counts)
    right.axes.set_ylim(1, None)
    return canvas.drawing(
        f"Left, the least eigenvalue of the infinite-width kernel with $L={s['depth']}$ hidden "
        f"layers, for inputs on the sphere of dimension {s['dimension']}, "
        f"{over_seeds(a['lambda_0'])}, and for digits 3 and 8. Right, the widths of four theorems "
        "on the same spheres, the median over these, all constants taken as 1. With the data as "
        f"they are, they grow like $n^{{{v['power_zou2018']:.0f}}}$, "
        f"$n^{{{v['power_allen_zhu']:.0f}}}$, $n^{{{v['power_zou2020']:.0f}}}$ and "
        f"$n^{{{v['power_du_deep']:.1f}}}$, from above.",
        f"Left, for n from {counts[0]} to {counts[-1]} the eigenvalue on the sphere goes "
        f"{ends(a['lambda_0'].mean(axis=0))}, that of digits, for n up to {images[-1]}, "
        f"{ends(a['digits_lambda_0'])}. "
        + said(result, "Both fall.", "zou2020-rem4.2")
        + " Right, four rising lines; at the right end they stand at "
        + ", ".join(spoken(np.median(a[key][:, -1])) for _, key, _, _ in THEOREMS)
        + ".",
    )
