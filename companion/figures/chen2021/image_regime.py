"""Figures of the experiment chen2021/image_regime."""

from typing import Any

import numpy as np

from companion.bounds.chen2021 import theorem_3_3_width
from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, MARKERS, RED
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "chen2021-regime-margin": "chen2021-regime-margins",
    "chen2021-regime-width": "chen2021-regime-widths",
}

LABELS = {"true": BLUE, "random": RED}
COUNT = "training images n"
MARGIN = ("NTRF margin gamma", r"margin $\gamma$")
RADIUS = "radius R"
VALUE = ("least mean loss of the class", r"$\epsilon_{\mathrm{NTRF}}(R)$")
ASKED = ("width that (6.4) asks for", "width, by (6.4)")
FOUND = ("minimal width", "minimal width")


def regime_margins(result: Result) -> Drawing:
    """Margins against n in a narrow and a wide network, and class values against R."""
    a, s = result.arrays, result.settings
    counts, radii = s["counts"], s["radii"]
    narrow, wide = s["widths"][0], s["widths"][-1]
    margins = a["margin"]  # seeds, counts, labels, widths
    canvas = Canvas(2)
    left = canvas.panel("margin", COUNT, MARGIN, log="xy")
    right = canvas.panel("class", RADIUS, VALUE, log="xy")
    for place, (labels, color) in enumerate(LABELS.items()):
        style: dict[str, Any] = {"marker": MARKERS[place], "ms": 5}
        for index, width, dash in ((-1, wide, "-"), (0, narrow, "--")):
            name, middle = f"{labels} labels, m = {width}", margins[:, :, place, index]
            drawn: dict[str, Any] = {
                "ls": dash,
                "mfc": color if index else "white",
                "label": name,
                **style,
            }
            left.curve(name, counts, middle, color, band=index == -1, **drawn)
        value = a["class_value"][:, place]
        right.curve(f"{labels} labels", radii, value, color, **style)
    left.sizes(counts)
    right.sizes(radii)
    canvas.legend(2, left.axes.get_legend_handles_labels()[0])
    true, random = (a["class_value"][:, place, -1].mean() for place in (0, 1))
    return canvas.drawing(
        f"The linearised class on {result.data}, with the images' labels and with random ones, "
        f"{over_seeds(margins)}. Left, the margin $\\gamma$ against $n$ at $m={wide}$ (solid) and, "
        f"without ranges, at $m={narrow}$ (dashed). Right, the least mean loss within the radius "
        f"$R$, at $m={wide}$ and $n={counts[-1]}$.",
        f"Left, margins at width {wide} go {ends(margins[:, :, 0, -1].mean(axis=0))} with true "
        f"labels and {ends(margins[:, :, 1, -1].mean(axis=0))} with random ones, and two lower "
        f"dashed lines for width {narrow}. Right, two falling curves, which end at {spoken(true)} "
        f"with true labels and at {spoken(random)} with random ones. "
        + said(
            result,
            "True labels have the larger margins and the lower losses.",
            "chen2021-regime-margin",
        ),
    )


def regime_widths(result: Result) -> Drawing:
    """What (6.4) asks for with the constant 1, and the width that suffices, against n."""
    a, s = result.arrays, result.settings
    counts = s["counts"]
    canvas = Canvas(2)
    left = canvas.panel("asked", COUNT, ASKED, log="xy")
    right = canvas.panel("found", COUNT, FOUND, log="xy")
    asked_width = np.vectorize(theorem_3_3_width)
    told = []
    for place, (labels, color) in enumerate(LABELS.items()):
        name = f"{labels} labels"
        style: dict[str, Any] = {"marker": MARKERS[place], "ms": 5}
        radius = a["radius"][:, :, place]
        asked = asked_width(radius, s["layers"], s["alpha"], counts, s["delta"])
        told.append(left.curve(name, counts, asked, color, label=name, **style))
        right.curve(name, counts, a["found_width"][place], color, label=name, **style)
        both = np.stack([a["found_low"][place], a["found_high"][place]])
        both = np.where(np.isfinite(both), both, np.nan)  # no width excludes that end
        bars: dict[str, Any] = {"marker": "_", "ms": 9, "label": f"interval, {name}"}
        right.points(f"{name}, interval", counts, both, color, **bars)
    left.sizes(counts)
    right.sizes(counts)
    right.few_decades()
    canvas.legend(2)
    middles = [a["found_width"][place] for place in range(len(LABELS))]
    return canvas.drawing(
        f"Widths on {result.data}. Left, what (6.4) asks for at the measured $R(\\epsilon)$ with "
        f"the constant 1, {over_seeds(a['radius'])}. Right, the width at which half of all "
        f"networks reach zero training error within {s['steps']} steps of gradient descent, with "
        "bars at the ends of its interval, but for an end that no width excludes.",
        f"Left, two lines, {ends(told[0])} with true labels and {ends(told[1])} with random ones. "
        f"Right, two lines of widths below {spoken(1 + np.nanmax(middles))}, with the ends of "
        "their intervals. "
        + said(
            result,
            "The widths on the left are larger by many orders, and rise faster.",
            "chen2021-regime-width",
        ),
    )
