"""Figures of the experiment chen2021/image_runs."""

from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import FLIPS, STEP
from companion.figures.style import INK, MARKERS, by_size
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "chen2021-regime-linearisation": "chen2021-regime-linearisation",
    "chen2021-regime-test-error": "chen2021-regime-test-error",
}

COUNT = "training images n"
# The largest linearisation error that the proof of Lemma 6.2 allows.
ALLOWED = 1 / 4
ERROR = ("largest linearisation error", "largest linearisation error")
MISTAKES = ("share of held-out images mistaken", "test error")
COMPLEXITY = ("Rademacher term of the linear class", "term of the linear class")


def regime_linearisation(result: Result) -> Drawing:
    """Linearisation errors and changed activations along runs, width by width."""
    a, s = result.arrays, result.settings
    widths, looks = s["widths"], result.found["look"].values
    canvas = Canvas(2)
    left = canvas.panel("linearisation", STEP, ERROR, log="y")
    right = canvas.panel("flips", STEP, FLIPS)
    errors, flips = a["linearisation"][:, -1], a["flips"][:, -1]  # seeds, widths, looks
    every = max(1, len(looks) // 6)
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        style: dict[str, Any] = {"marker": MARKERS[index], "ms": 4, "markevery": every}
        left.curve(name, looks[1:], errors[:, index, 1:], color, label=name, **style)
        right.curve(name, looks, flips[:, index], color, label=name, **style)
    left.level("1/4", ALLOWED, INK, ls="--", lw=1)
    left.note("1/4, Lemma 6.2", (looks[-1], ALLOWED), INK, (0, 3), ha="right", va="bottom")
    left.axes.set_ylim(ALLOWED / 2, None)
    left.few_decades()
    canvas.legend(len(widths))
    high, low = (errors[:, index].max(axis=1).mean() for index in (0, -1))
    return canvas.drawing(
        f"Gradient descent on $n={s['counts'][-1]}$ images, {over_seeds(errors)} ({result.data}). "
        "Left, the largest error of the linearisation at initialisation, "
        "with the most that Lemma 6.2 allows (dashed). Right, the share of activations that differ "
        "from initialisation.",
        f"Left, a curve for each width against the step; the largest error of a run is "
        f"{spoken(high)} on average at width {widths[0]} and {spoken(low)} at width {widths[-1]}. "
        f"Right, shares that go {ends(flips[:, 0].mean(axis=0)[1:])} at width {widths[0]} and "
        f"{ends(flips[:, -1].mean(axis=0)[1:])} at width {widths[-1]}. "
        + said(
            result,
            "Narrow networks are far above the dashed line, and both quantities fall with the "
            "width.",
            "chen2021-regime-linearisation",
        ),
    )


def regime_test_error(result: Result) -> Drawing:
    """Test errors of the narrowest and the widest networks, and the linear class's term."""
    a, s = result.arrays, result.settings
    counts, widths, tested = s["counts"], s["widths"], 2 * s["held_out"]
    canvas = Canvas(2)
    left = canvas.panel("test error", COUNT, MISTAKES, log="x")
    right = canvas.panel("complexity", COUNT, COMPLEXITY, log="xy")
    colors, lines = by_size(widths), []
    for index, (width, color) in enumerate(zip(widths, colors, strict=True)):
        name = f"m = {width}"
        style: dict[str, Any] = {"marker": MARKERS[index], "ms": 5}
        complexity = a["complexity"][:, :, index]
        right.curve(name, counts, complexity, color, label=name, **style)
        error = a["wrong"][:, :, index] / tested
        lines.append(left.curve(name, counts, error, color, band=False, label=name, **style))
    for place, index, apart in (("narrowest", 0, 0.97), ("widest", -1, 1.03)):
        low, high = a["lower"][:, :, index], a["upper"][:, :, index]
        both = np.stack([low.min(axis=0), high.max(axis=0)])
        at = apart * np.asarray(counts)
        label = f"intervals, m = {widths[index]}"
        style = {"marker": "_", "ms": 9, "label": label}
        left.points(f"{place}, intervals", at, both, colors[index], **style)
    right.level("1", 1, INK, ls="--", lw=1)
    right.note("1, nothing is said above", (counts[0], 1), INK, (0, 3), va="bottom")
    for panel in (left, right):
        panel.sizes(counts)
    left.axes.set_ylim(0, None)
    right.few_decades()
    canvas.legend(3, left.axes.get_legend_handles_labels()[0])
    return canvas.drawing(
        f"Networks trained on $n$ images and tested on {tested} others ({result.data}). Left, "
        f"the share of these that is mistaken, the mean over {len(a['wrong'])} seeds, with the "
        "outermost ends of the binomial intervals of the narrowest and the widest networks (bars)."
        " Right, the term of Lemma 6.4 for the linear class at the distances that the runs came "
        f"to, {over_seeds(a['wrong'])}.",
        f"Left, a line for each width: test errors go {ends(lines[0])} at width {widths[0]} and "
        f"{ends(lines[-1])} at width {widths[-1]}. Right, lines of a term of the bound and a "
        f"dashed line at one; the least value is {spoken(a['complexity'].min())}. "
        + said(
            result,
            "More images make the test error smaller, and more width does not make it larger.",
            "chen2021-regime-test-error",
        ),
    )
