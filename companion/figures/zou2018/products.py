"""Figures of the experiment zou2018/products."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-thm5.1v": "zou2018-masked-products",
    "zou2018-thm5.1v-limit": "zou2018-masked-products",
    "zou2018-thm5.1vi-vii": "zou2018-masked-products",
}
NORM = "norm of the product"
FORM = ("form over its value at the least sparsity", "form over its first value")


def masked_products(result: Result) -> Drawing:
    """Norms of products against the depth, and sparse forms against the sparsity."""
    a, s = result.arrays, result.settings
    depths, sizes = np.array(s["depths"]), np.array(s["sparsities"])
    canvas = Canvas(2)
    left = canvas.panel("norms", "depth L", NORM, log="xy")
    for name, key, color in (
        ("last factor unmasked", "unmasked", BLUE),
        ("all factors masked", "masked", RED),
    ):
        left.curve(name, depths, a[key], color, marker="o", ms=4, label=name)
        left.curve(
            f"limit, {name}", depths, a[f"{key}_limit"], INK, ls=":", lw=1.2, zorder=3,
            label="their limits" if key == "masked" else "",
        )  # fmt: skip
    left.guide("slope 1", depths, a["masked"][:, 0].mean(), 1, label="$L$, as claimed")
    left.legend()
    left.sizes(depths)
    left.few_decades()
    right = canvas.panel("forms", "sparsity s", FORM, log="xy")
    deepest = a["bilinear"].shape[1] - 1
    for name, key, color in (("(vii)", "bilinear", BLUE), ("(vi)", "output_form", RED)):
        form = a[key][:, deepest]
        right.curve(name, sizes, form / form[:, :1], color, marker="o", ms=4, label=name)
    right.guide("slope 1/2", sizes, 1.0, 1 / 2, FAINT, label=r"$\sqrt{s}$, as claimed")
    right.legend("upper left")
    right.sizes(sizes)
    right.few_decades()
    return canvas.drawing(
        f"Left, norms of products of square masked matrices of width {s['width']} against the "
        f"number $L$ of factors, {over_seeds(a['masked'])}; dotted, the limits of free "
        f"probability. Right, the largest forms on vectors with $s$ entries that are not 0, over "
        rf"their value at $s={sizes[0]}$, in networks of depth {depths[-1]}.",
        "Left, two rising lines with a dotted one each, and a dashed one of slope one. "
        + said(
            result,
            "The two lie along the dotted ones, of slope about one half.",
            "zou2018-thm5.1v-limit",
        )
        + " Right, two rising lines. "
        + said(
            result,
            "One rises about as the dashed line of slope one half does, the other stays below it.",
            "zou2018-thm5.1vi-vii",
        ),
    )
