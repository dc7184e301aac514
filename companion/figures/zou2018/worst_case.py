"""Figures of the experiment zou2018/worst_case."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {"zou2018-thm5.3iii-order": "zou2018-one-layer-flips"}

RADIUS = ("tau, the layer's move in spectral norm", r"move of the layer, $\tau$")
SHARE = "share of units that switch"


def one_layer_flips(result: Result) -> Drawing:
    """Share of units that the worst and a random perturbation switch, against tau and n."""
    a, s, v = result.arrays, result.settings, result.values
    radii, counts = np.array(s["radii"]), np.array(s["counts"])
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("tau", RADIUS, SHARE, log="xy")
    right = canvas.panel("inputs", ("number of inputs n", "number of inputs $n$"), SHARE, log="xy")
    for name, called, label, color, mark, guide in (
        ("worst", "worst", r"worst; $(3\tau^2/\pi)^{1/3}$", RED, "s", "$n$"),
        ("blind", "random", r"random; $\frac{1}{\pi}\arctan(\tau/\sqrt{2})$", BLUE, "o", ""),
    ):
        left.curve(f"{name}, derived", radii, a[f"{name}_derived"][0], INK, lw=1)
        left.curve(name, radii, a[name], color, marker=mark, ms=5, ls="", label=label)
        union = a[f"{name}_union"]
        right.curve(name, counts, union, color, marker=mark, ms=4, end=called)
        right.guide(f"{name}, slope 1", counts, union[:, 0].mean(), 1, FAINT, end=guide)
    left.legend("lower right")
    left.sizes(radii)
    right.sizes(counts)
    return canvas.drawing(
        f"Left, the share of the {s['width']} units of one layer that switch for an input when the "
        rf"layer moves by $\tau$ in spectral norm: in the worst direction (squares) and in a "
        f"random one (circles), {over_seeds(a['worst'])}; the lines are derived. Right, the "
        rf"share that switches for one input or more of several, at $\tau$ = {radii[0]:g}, by one "
        "move of the layer; the dashed lines are proportional to the number of inputs.",
        "Left, two rising straight lines on logarithmic axes. "
        + said(
            result,
            "The upper one, of slope two thirds, passes through the squares, the lower one, of "
            "slope one, through the circles.",
            "zou2018-thm5.3iii-order",
        )
        + " Right, two rising curves against the number of inputs, with exponents "
        f"{float(v['worst_union']):.2f} for the worst move and {float(v['blind_union']):.2f} for a "
        "random one.",
    )
