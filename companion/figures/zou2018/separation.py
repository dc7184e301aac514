"""Figures of the experiment zou2018/separation."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import CYCLE, FAINT, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-thm5.1ii": "zou2018-separation-kept",
    "zou2018-thm5.1ii-depth": "zou2018-separation-kept",
    "zou2018-lemA.11-13": "zou2018-inner-products",
    "zou2018-lemA.13-opposites": "zou2018-inner-products",
}
RATIO = ("distance over that of the inputs", r"$\phi_l\,/\,\phi$")
PRODUCT = ("inner product after a layer over mu^2 / 2", r"inner product over $\mu^2/2$")


def separation_kept(result: Result) -> Drawing:
    """Mean distance of pairs over that of the inputs, layer by layer, with its limit."""
    a, s = result.arrays, result.settings
    canvas = Canvas()
    panel = canvas.panel("ratio", "layer l", RATIO)
    layers = np.arange(s["deep"] + 1)
    for place, (phi, color) in enumerate(zip(s["separations"], CYCLE, strict=False)):
        name = rf"$\phi={phi:g}$"
        panel.curve(f"phi = {phi:g}", layers, a["ratio"][:, place], color, label=name)
        panel.curve(
            f"limit, phi = {phi:g}", layers, a["limit"][0, place], INK, ls=":", lw=1.2, zorder=3,
            label="limit of great width" if phi == s["separations"][-1] else "",
        )  # fmt: skip
    panel.level("half", 0.5, FAINT, ls="--", label=r"$\phi/2$, as claimed")
    panel.legend()
    return canvas.drawing(
        rf"The distance of the outputs' directions of two inputs at distance $\phi$, over $\phi$, "
        f"layer by layer in networks of width {s['deep_width']}: mean over pairs, "
        f"{over_seeds(a['ratio'])}. Dotted, the limit of great width.",
        "Three falling lines in their bands, the lower the larger phi, each with a dotted one. "
        + said(
            result,
            "They cross the dashed level one half at a depth of about 9 over phi.",
            "zou2018-thm5.1ii-depth",
        ),
    )


def inner_products(result: Result) -> Drawing:
    """Least inner products in the theorem's regime, and of opposite inputs, over mu^2 / 2."""
    a, s = result.arrays, result.settings
    opposites = np.array(s["opposites"])
    canvas = Canvas()
    panel = canvas.panel("products", ("last coordinate mu", r"last coordinate $\mu$"), PRODUCT)
    floor = opposites**2 / 2
    panel.curve("opposite", opposites, a["opposite"] / floor, RED, marker="o", ms=5, ls="",
                label="opposite inputs, first layer")  # fmt: skip
    panel.curve("closed form", opposites, a["opposite_limit"][0] / floor, INK, ls=":",
                label=r"$\kappa_1(2\mu^2-1)$")  # fmt: skip
    least = a["product"].min(axis=1) / (s["mu"] ** 2 / 2)
    panel.points("drawn", s["mu"], least, CYCLE[0], ms=4, label="drawn inputs, least of all layers")
    panel.level("claimed", 1, FAINT, ls="--", label=r"$\mu^2/2$, as claimed")
    panel.axes.set_ylim(0, 1.6 * least.max())
    panel.legend("upper left")
    return canvas.drawing(
        r"Inner products of directions over $\mu^2/2$: the least in each of "
        f"{len(least)} networks on inputs drawn with $\\mu={s['mu']:g}$, and those of inputs that "
        r"are opposite but for their last coordinate $\mu$, after one layer of width "
        f"{s['opposites_width']}, {over_seeds(a['opposite'])}.",
        "A cloud of points for the drawn inputs, and a rising line of points for opposite ones. "
        + said(
            result,
            "The cloud is above the dashed level 1, the line below it.",
            "zou2018-lemA.11-13",
            "zou2018-lemA.13-opposites",
        ),
    )
