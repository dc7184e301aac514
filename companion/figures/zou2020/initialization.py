"""Figures of the experiment zou2020/initialization."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "zou2020-lem5.1": "zou2020-first-loss",
    "zou2020-lemA.3": "zou2020-product-norms",
}
LOSS = ("initial loss", r"$L_S(W^{(0)})$")
NORM = "norm of the product"


def first_loss(result: Result) -> Drawing:
    """The initial loss over width, depth and number of examples, beside its limit."""
    a, s = result.arrays, result.settings
    canvas = Canvas()
    panel = canvas.panel("loss", ("m, L or n over its least value", "size over its least"), LOSS,
                         log="x")  # fmt: skip
    for name, key, sizes, color in (
        ("width", "loss", s["widths"], RED),
        ("depth", "loss_by_depth", s["depths"], BLUE),
        ("examples", "loss_by_count", s["examples"], GREEN),
    ):
        letter = {"width": "m", "depth": "L", "examples": "n"}[name]
        label = f"${letter}$ from {sizes[0]} to {sizes[-1]}"
        scaled = np.array(sizes) / sizes[0]
        panel.curve(name, scaled, a[key], color, marker="o", ms=4, label=label)
    panel.level(
        "limit", float(result.values["limit_loss"]), INK, ls=":", label="limit of great width"
    )
    panel.axes.set_ylim(0, 1.3 * a["loss_by_count"].max())
    panel.legend("lower right")
    return canvas.drawing(
        "The loss at initialisation against the width, the depth and the number of examples, each "
        f"over its least value, {over_seeds(a['loss'])}; dotted, its limit at great width.",
        "Three lines in bands, and a dotted level at "
        f"{spoken(result.values['limit_loss'])}. "
        + said(result, "The lines keep close to it.", "zou2020-lem5.1"),
    )


def product_norms(result: Result) -> Drawing:
    """Norms of products at and near initialisation, and with the output weights, over the depth."""
    a, s = result.arrays, result.settings
    depths = np.array(s["product_depths"])
    canvas = Canvas()
    panel = canvas.panel("norms", "depth L", NORM, log="xy")
    start = a["masked"][:, 0].mean()
    for name, key, color in (
        ("at initialisation", "masked", RED),
        ("perturbed", "perturbed", BLUE),
        (r"with $v^\top$, over $\sqrt{m}$", "output_norm", GREEN),
    ):
        panel.curve(name, depths, a[key], color, marker="o", ms=4, label=name)
    panel.guide("slope 1/2", depths, start, 1 / 2, INK, label=r"$\sqrt{L}$, as claimed")
    panel.guide("slope 1", depths, start, 1, FAINT, label="$L$, version 3 of 2018")
    panel.legend()
    panel.sizes(depths)
    panel.few_decades()
    return canvas.drawing(
        f"Norms of products of $L$ masked matrices of width {s['product_width']}, "
        f"{over_seeds(a['masked'])}: at initialisation, after a random perturbation of all "
        r"matrices and masks with $\kappa=1$, and with the output weights, over $\sqrt m$.",
        "Two rising lines on logarithmic axes and a level one, with dashed lines of slope one half "
        "and one. "
        + said(
            result,
            "The rising lines keep to the dashed line of slope one half.",
            "zou2020-lemA.3",
        ),
    )
