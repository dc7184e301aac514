"""Figures of the experiment chen2021/setting."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, CYCLE, FAINT, INK, MARKERS, RED, by_size
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "chen2021-model": "chen2021-first-moments",
    "chen2021-algo1": "chen2021-printed-steps",
    "chen2021-algo2": "chen2021-printed-steps",
}
OUTPUT = ("mean square of the output at initialisation", r"mean of $f^2$")
GRADIENT = (
    "mean square norm of the gradient in a layer over m^(2 alpha)",
    r"mean of $\|\nabla_{W_l}f\|_F^2$ over $m^{2\alpha}$",
)
GAP = ("distance of the weights over their norm", "distance over norm of the weights")


def first_moments(result: Result) -> Drawing:
    """Mean squares of outputs against the width, and of gradients layer by layer."""
    a, s = result.arrays, result.settings  # seeds, alphas, widths, draws (, layers)
    widths, layers = s["widths"], np.arange(1, s["layers"] + 1)
    canvas = Canvas(2)
    left = canvas.panel("outputs", WIDTH, OUTPUT, log="xy")
    for index, alpha in enumerate(s["alphas"]):
        left.curve(
            f"alpha = {alpha:g}", widths, a["output_square"][:, index].mean(axis=-1), CYCLE[index],
            marker=MARKERS[index], ms=5, ls="", label=rf"$\alpha$ = {alpha:g}",
        )  # fmt: skip
        power = 2 * alpha - 1
        left.guide(
            f"expectation, alpha = {alpha:g}", widths, widths[0] ** power, power, lw=1,
            label="" if index else r"$m^{2\alpha-1}$",
        )  # fmt: skip
    left.sizes(widths)
    left.legend("lower left")
    right = canvas.panel("gradients", ("layer l", "layer $l$"), GRADIENT)
    last = s["alphas"][-1]
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        square = a["gradient_square"][:, -1, index].mean(axis=1) / width ** (2 * last)
        right.curve(
            f"m = {width}", layers, square, color, label=f"m = {width}", marker=MARKERS[index], ms=5
        )
    right.level("one half", 0.5, FAINT, ls="--", lw=1, label="expected")
    right.level("one", 1, FAINT, ls="--", lw=1)
    right.axes.set_xticks(layers)
    right.axes.set_ylim(0, 1.4)
    right.legend("upper left")
    return canvas.drawing(
        f"Left, the mean square output of networks at initialisation ({over_seeds(a['alpha_gap'])} "
        f"of {s['draws']} networks each) and its expectation $m^{{2\\alpha-1}}$, dashed. Right, "
        rf"the squared norm of the gradient in each layer over $m^{{2\alpha}}$, at "
        rf"$\alpha={last:g}$; expected are one half, and 1 in the last layer.",
        "Left, points for each alpha along dashed straight lines that fall the less steeply the "
        "larger alpha is. Right, a curve per width over the layers. "
        + said(
            result,
            "The points lie on their lines, and the curves at one half in all layers but the last, "
            "where they rise to one.",
            "chen2021-model",
        ),
    )


def printed_steps(result: Result) -> Drawing:
    """Distances of the package's iterates from those of the printed steps and of other ones."""
    a, s, v = result.arrays, result.settings, result.values  # seeds, alphas, steps
    canvas = Canvas(2, sharey=True)
    for panel, place, own, other, name, called in (
        ("Algorithm 1", ("iterate t", "iterate $t$"), "descent", "hidden", "last layer fixed",
         "$W_L$ not trained"),
        ("Algorithm 2", ("iterate i", "iterate $i$"), "pass", "replaced", "with replacement",
         "with replacement"),
    ):  # fmt: skip
        drawn = canvas.panel(panel, place, GAP, log="y", title=panel)
        printed, others = a[f"{own}_gap"][:, -1], a[f"{other}_gap"][:, -1]
        steps = np.arange(1, printed.shape[-1] + 1)
        drawn.curve(name, steps, others, RED, ls="--", label=called)
        drawn.curve("printed steps", steps, printed, BLUE, label="as printed")
        drawn.level(
            "one rounding", float(np.finfo(s["dtype"]).eps), INK, lw=1, ls=":", label="one rounding"
        )
        drawn.axes.set_xticks([step for step in (1, 5, 10, 15, 20) if step <= steps[-1]])
        drawn.legend("center right")
    return canvas.drawing(
        rf"How far the package's iterates are from other roads', at $m={s['width']}$ and "
        rf"$\alpha={s['alphas'][-1]:g}$: {over_seeds(a['descent_gap'])}. Solid, the steps as they "
        "are printed, by automatic differentiation; dashed, the nearest other reading. The dotted "
        "line is one rounding of a number.",
        "Two panels with logarithmic vertical axes. Dashed curves rise to at least "
        f"{spoken(min(float(v['hidden_gap']), float(v['replaced_gap'])), 1, 'down')}. "
        + said(
            result,
            "Solid curves stay below one rounding in every step.",
            "chen2021-algo1",
            "chen2021-algo2",
        ),
    )
