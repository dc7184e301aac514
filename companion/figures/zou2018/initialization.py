"""Figures of the experiment zou2018/initialization."""

import math

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import over_seeds, powers, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-thm5.1i": "zou2018-layer-lengths",
    "zou2018-lemA.1-2": "zou2018-layer-lengths",
    "zou2018-thm5.1iii": "zou2018-first-outputs",
    "zou2018-thm5.1iv": "zou2018-first-outputs",
}
DEVIATION = (
    "deviation of a length from 1",
    r"$|\,\|x_{l,i}\|_2-1\,|$, root mean square",
)
DEPTH = "depth L"
BINS = 25  # of the histogram of outputs
EXTENT = 3.0  # of its horizontal axis
RARE = (
    "count over m^(3/2) beta",
    r"$|\{j:|\langle w_{l,j},x_{l-1,i}\rangle|\leq\beta\}|\,/\,m^{3/2}\beta$",
)


def layer_lengths(result: Result) -> Drawing:
    """How far lengths are from 1, against the width for every layer, and against the depth."""
    a, s = result.arrays, result.settings
    widths, depths, layers = s["widths"], s["depths"], s["depth"]
    canvas = Canvas(2)
    left = canvas.panel("width", WIDTH, DEVIATION, log="xy")
    for layer, color in zip((0, layers - 1), (BLUE, RED), strict=True):
        name, samples = f"layer {layer + 1}", a["deviation"][..., layer]
        left.curve(name, widths, samples, color, label=name, marker="o", ms=4)
    start = 0.6 * a["deviation"][:, 0, 0].mean()
    left.guide("slope -1/2", widths, start, -1 / 2, label=r"$m^{-1/2}$")
    left.legend("lower left")
    left.sizes(widths)
    right = canvas.panel("depth", DEPTH, DEVIATION, log="xy")
    samples = a["deep_deviation"]
    line = right.curve("last layer", depths, samples, RED, label="last layer", marker="o", ms=4)
    right.guide("slope 1/2", depths, line[0], 1 / 2, INK, label=r"$\sqrt{L}$")
    right.guide("slope 1", depths, line[0], 1, label="$L$, as claimed")
    right.legend("upper left")
    right.sizes(depths)
    right.few_decades()
    return canvas.drawing(
        "How far the lengths of a layer's outputs are from 1 at initialisation, root mean square "
        f"over the inputs, {over_seeds(samples)}. Left, the first and the last of {layers} layers "
        f"against the width; the last falls like {powers([result.values['width_slope']])}. Right, "
        f"the last layer of networks of width {s['depth_width']} against their depth $L$; it grows "
        f"like $L^{{{result.values['depth_slope']:.2f}}}$.",
        "Left, two falling lines beside a dashed one of slope minus one half. Right, a rising line "
        "between dashed ones of slope one half and one. "
        + said(result, "It keeps to the lower of them.", "zou2018-thm5.1i", "zou2018-lemA.1-2"),
    )


def first_outputs(result: Result) -> Drawing:
    """Distribution of the outputs beside its limit, and how frequent small preactivations are."""
    a, s = result.arrays, result.settings
    widths, factors = s["widths"], s["factors"]
    canvas = Canvas(2)
    left = canvas.panel("outputs", ("output", r"output $\hat y_i$"), "density")
    edges = np.linspace(-EXTENT, EXTENT, BINS + 1)
    heights = np.histogram(a["output"].ravel(), edges)[0] / (a["output"].size * np.diff(edges))
    middles, variance = (edges[1:] + edges[:-1]) / 2, float(result.values["limit_variance"])
    left.curve("networks", middles, heights, RED, marker="o", ms=4, ls="", label="networks")
    fine = np.linspace(-EXTENT, EXTENT, 181)
    normal = np.exp(-(fine**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    left.curve("limit", fine, normal, INK, label=r"$N(0,1-1/\pi)$")
    left.axes.set_ylim(0, 1.35 * heights.max())
    left.legend("upper left")
    right = canvas.panel("counts", WIDTH, RARE, log="x")
    for name, key, color in (("largest", "crowding", RED), ("mean", "share", BLUE)):
        right.curve(name, widths, a[key][..., 0], color, label=name, marker="o", ms=4)
    right.level("printed", 2, FAINT, ls="--", label="2, as claimed")
    right.level("limit of the mean", 1 / math.sqrt(math.pi), INK, ls=":", label=r"$1/\sqrt{\pi}$")
    right.legend("upper center", ncols=2)
    right.axes.set_ylim(0, 4)
    right.sizes(widths)
    return canvas.drawing(
        f"Left, the outputs of networks of {len(widths)} widths on all inputs, from "
        f"{len(a['output'])} draws, beside the Gaussian limit of one output. Right, how many units "
        r"have a preactivation of size $\beta$ at most, over $m^{3/2}\beta$: the largest count of "
        "all layers and inputs, and the mean, each as mean and range over the draws, with "
        rf"{factors[0]} times the least $\beta$ that (5.1) allows with constant 1.",
        "Left, points on a bell curve. Right, two lines over the width: the mean along a dotted "
        "level at 0.56, and the largest counts above it. "
        + said(
            result,
            "Nearly all of them are below the dashed level at 2.",
            "zou2018-thm5.1iii",
            "zou2018-thm5.1iv",
        ),
    )
