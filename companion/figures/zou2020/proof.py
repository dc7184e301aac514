"""Figures of the experiment zou2020/proof."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP, WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2020-lem5.2a": "zou2020-gradient-quotients",
    "zou2020-lem5.2b": "zou2020-gradient-quotients",
    "zou2020-lem5.3": "zou2020-sufficient-descent",
    "zou2020-eq5.1": "zou2020-half-descent",
    "zou2020-traj": "zou2020-path-bound",
}
QUOTIENT = ("quotient of a Gram matrix over m", r"$n^2\|\nabla\|^2/(m(\sum|\ell'|)^2)$")
SIZE = ("step size times m L", r"step size $\eta mL$")
PART = ("part over M times the squared step", r"part over $M\eta^2\|\nabla L_S\|^2$")
SHORT = ("largest step size", r"largest $\eta$ with (5.1)")
PATH = (
    "distance over the bound of the proof",
    r"distance over $\sqrt{2k\eta(L_S(0)-L_S(k))}$",
)


def gradient_quotients(result: Result) -> Drawing:
    """Least, own and largest quotients along the runs, against the width and the depth."""
    a, s = result.arrays, result.settings
    deep = ("hidden layers L", f"hidden layers L, at m = {s['narrow']}")
    canvas = Canvas(2, sharey=True)
    for prefix, name, x, sizes in (
        ("", "width", WIDTH, s["widths"]),
        ("deep_", "depth", deep, s["depths"]),
    ):
        panel = canvas.panel(name, x, QUOTIENT, log="xy")
        for label, samples, color, mark in (
            ("largest possible", a[f"{prefix}largest"].max(axis=-1), BLUE, "s"),
            ("last layer's own", a[f"{prefix}last"].mean(axis=-1), INK, "o"),
            ("least possible", a[f"{prefix}least"].min(axis=-1), RED, "^"),
        ):
            panel.curve(label, sizes, samples, color, marker=mark, ms=5, label=label)
        if prefix:
            start = a["deep_largest"].max(axis=-1)[:, 0].mean()
            panel.guide("slope 2", sizes, start, 2, label=r"$L^2$, allowed")
        panel.sizes(sizes)
    canvas.legend(4)
    largest, least = a["largest"].max(axis=-1), a["least"].min(axis=-1)
    return canvas.drawing(
        "Squared gradients in units of $m$ and of the squared mean slope: the largest that any "
        "layer's can be, the last layer's own, and the least that that can be, over a run of "
        f"gradient descent; {over_seeds(least)}. Left, against the width; right, against the "
        "depth, with the growth that the lemma allows (dashed).",
        f"Left, the largest goes {ends(largest.mean(axis=0))} and the least "
        f"{ends(least.mean(axis=0))} as the width grows; the gradient's own lies between. Right, "
        "the same three against the depth, and a guide of slope two. "
        + said(
            result,
            "Left, the lower lines do not fall; right, the upper one stays below the guide.",
            "zou2020-lem5.2a",
            "zou2020-lem5.2b",
        ),
    )


def sufficient_descent(result: Result) -> Drawing:
    """What a step is short of in two parts, against its size and the width."""
    a, s = result.arrays, result.settings
    smooth, flips = a["smooth"], a["flips"]
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("step size", SIZE, PART, log="xy")
    for place, color in zip((0, -1), by_size((s["widths"][0], s["widths"][-1])), strict=True):
        width = f"m = {s['widths'][place]}"
        for part, samples, dashes, mark in (
            ("smooth", smooth, "-", "o"),
            ("flips", flips, "--", "^"),
        ):
            name = f"{part}, {width}"
            line = samples[:, place].mean(axis=0)
            left.curve(name, s["multiples"], line, color, ls=dashes, marker=mark, ms=5, label=name)
    left.legend()
    right = canvas.panel("width", WIDTH, PART, log="xy")
    for part, samples, color, mark in (("smooth", smooth, BLUE, "o"), ("flips", flips, RED, "^")):
        line = samples[..., -1].mean(axis=0)
        right.curve(part, s["widths"], line, color, marker=mark, ms=5, label=part)
    right.guide("slope -1/2", s["widths"], flips[:, 0, -1].mean(), -1 / 2, label=r"$m^{-1/2}$")
    right.sizes(s["widths"])
    right.legend()
    return canvas.drawing(
        "What a step is short of $\\eta\\lVert\\nabla L_S\\rVert_F^2$, as a multiple of "
        "$M\\eta^2\\lVert\\nabla L_S\\rVert_F^2$ and in two parts: with the activation patterns "
        f"held (smooth), and what flips add; means over {len(smooth)} draws. Left, against the "
        "step size; right, against the width, at the largest step size.",
        "Left, for two widths a line for the smooth part and, dashed, one for the flips. Right, "
        f"the smooth part goes {ends(smooth[..., -1].mean(axis=0))} and that of the flips "
        f"{ends(flips[..., -1].mean(axis=0))} as the width grows. "
        + said(result, "The flips fade as the width grows.", "zou2020-lem5.3"),
    )


def half_descent(result: Result) -> Drawing:
    """The largest step size at which each step descends by half, against width and depth."""
    a, s = result.arrays, result.settings
    widths, depths = np.array(s["widths"]), np.array(s["depths"])
    edges = a["edge"] / (widths * s["depth"]), a["deep_edge"] / (s["narrow"] * depths)
    deep = ("hidden layers L", f"hidden layers L, at m = {s['narrow']}")
    canvas = Canvas(2)
    for edge, name, x, sizes, powers in (
        (edges[0], "width", WIDTH, widths, (1,)),
        (edges[1], "depth", deep, depths, (1, 3)),
    ):
        panel = canvas.panel(name, x, SHORT, log="xy")
        panel.curve("measured", sizes, edge, BLUE, marker="o", ms=5, label="measured")
        for power, color in zip(powers, (FAINT, RED), strict=False):
            label = f"slope -{power}"
            panel.guide(label, sizes, 0.7 * edge[:, 0].mean(), -power, color, label=label)
        panel.sizes(sizes)
        panel.legend()
    return canvas.drawing(
        "The largest step size at which each of the first "
        f"{s['edge_steps']} steps takes $\\frac\\eta2\\lVert\\nabla L_S\\rVert_F^2$ or more off "
        f"the loss, mean and range over {len(edges[0])} draws. Left, against the width; right, "
        "against the depth, where the paper's step size has slope $-3$.",
        f"Left, a line that falls {ends(edges[0].mean(axis=0))} beside a guide of slope minus one. "
        f"Right, one that falls {ends(edges[1].mean(axis=0))}, beside guides of slope minus one "
        "and minus three. "
        + said(
            result,
            "Left, the line has the slope of the guide; right, it is less steep than minus three.",
            "zou2020-eq5.1",
        ),
    )


def path_bound(result: Result) -> Drawing:
    """Distances over the proof's bound along the runs, for every width."""
    a, s = result.arrays, result.settings
    steps = np.arange(1, s["steps"] + 1)
    canvas = Canvas()
    panel = canvas.panel("path", STEP, PATH)
    for place, color in enumerate(by_size(s["widths"])):
        name = f"m = {s['widths'][place]}"
        panel.curve(name, steps, a["path"][:, place], color, label=name)
    spectral = a["spectral_path"][:, -1, -1].mean()
    label = "one layer, spectral norm"
    panel.points(label, [steps[-1]], [spectral], INK, label=label)
    panel.level("the bound", 1, INK, ls="--", lw=1, label="the bound")
    panel.axes.set_ylim(0, 1.05)
    panel.legend("lower right")
    return canvas.drawing(
        "How far all layers together have come, as a share of what follows from eq. (5.1) at every "
        f"step, {over_seeds(a['path'])} for each width; and, at the last step of the widest, the "
        "layer with the largest spectral distance, of which the proof speaks.",
        f"A curve for each width, between {a['path'].min():.2f} and {a['path'].max():.2f}, and a "
        "dashed line at one. " + said(result, "All stay below it.", "zou2020-traj"),
    )
