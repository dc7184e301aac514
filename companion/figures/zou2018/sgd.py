"""Figures of the experiment zou2018/sgd."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP
from companion.figures.style import CYCLE, FAINT, INK, MARKERS, by_size
from companion.figures.words import ends, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "zou2018-thm4.5": "zou2018-sgd",
    "zou2018-cor4.6": "zou2018-sgd-and-descent",
    "zou2018-rem4.7": "zou2018-sgd-and-descent",
    "zou2018-rem4.7-distance": "zou2018-sgd-and-descent",
}
BEST = ("least mean loss so far", r"least $L_S$ so far")
SIZE = ("batch size B", "batch size $B$")
RATIO = ("over that of gradient descent", "over gradient descent's")
SMALL = ("first step with L_S at most l(0)/n", r"first $k$ with $L_S\leq\ell(0)/n$")
RIGHT = ("first step without training error", "first $k$ without training error")
NAMES = ("squared hinge", "cross-entropy")
COLORS, MARKS = CYCLE[1:3], MARKERS[1:3]  # as in the figures of gradient descent


def sgd(result: Result) -> Drawing:
    """Loss of the best iterate so far against the step, for every batch size."""
    losses = result.arrays["mean_loss"]
    steps, sizes = (result.found[axis].values for axis in ("look", "batch"))
    canvas = Canvas(2)
    for place, name in enumerate(NAMES):  # losses: loss, seed, batch, run, look
        panel = canvas.panel(name, STEP, BEST, log="xy", title=name)
        for index, (size, color) in enumerate(zip(sizes, by_size(sizes.tolist()), strict=True)):
            runs = losses[place, :, index].reshape(-1, len(steps))
            shown = (runs > 0).all(axis=0)
            last = index == len(sizes) - 1
            label = f"B = n = {size}" if last else f"B = {size}"
            dashes = "--" if last else "-"
            panel.curve(f"B = {size}", steps[shown], runs[:, shown], color, label=label, ls=dashes)
        if place == 0:
            panel.legend("lower left")
        else:
            panel.few_decades()
    return canvas.drawing(
        "The mean loss of the best iterate so far, for SGD with batches of different sizes and for "
        f"gradient descent (dashed), at one step size; mean and range over {len(runs)} runs. A "
        "curve ends where a run is at its last target. Left the squared hinge, right the "
        "cross-entropy.",
        "Two panels on logarithmic axes with a curve for each batch size. "
        + said(result, "All curves of a panel fall, close to each other.", "zou2018-thm4.5"),
    )


def sgd_and_descent(result: Result) -> Drawing:
    """Iterations and distance over gradient descent's, and when the training error is gone."""
    a, s = result.arrays, result.settings
    sizes, halvings = result.found["batch"].values[:-1], (s["fast_halvings"], s["slow_halvings"])
    canvas = Canvas(2)
    left = canvas.panel("costs", SIZE, RATIO, log="x")
    left.level("gradient descent", 1, FAINT, ls="--", label="gradient descent")
    for place, name in enumerate(NAMES):
        taken = a["iterations"][place, ..., halvings[place] - 1].mean(axis=-1)  # seed, batch
        far = a["distance"][place].mean(axis=-1)
        for kind, of, dashes in (("iterations", taken, ":"), ("distance", far, "-")):
            curve, color = f"{kind}, {name}", COLORS[place]
            ratio = of[:, :-1] / of[:, -1:]
            band = kind == "distance"
            left.curve(
                curve, sizes, ratio, color, band=band, label=curve, ls=dashes,
                marker=MARKS[place], ms=5,
            )  # fmt: skip
    left.sizes(sizes)
    left.legend()
    right = canvas.panel("errors", SMALL, RIGHT, log="xy")
    for place, name in enumerate(NAMES):
        small, clean = a["first_small"][place].ravel(), np.maximum(a["first_right"][place], 1)
        right.points(
            name, small, clean.ravel(), COLORS[place], marker=MARKS[place], ms=5, label=name
        )
    far_end = np.array([1.0, np.nanmax(a["first_small"])])
    right.curve("equal", far_end, far_end, INK, ls="--", lw=1, label="equal")
    right.legend("upper left")
    distances = a["distance"].mean(axis=-1)  # loss, seed, batch
    fast, slow = ((d[:, :-1] / d[:, -1:]).mean(axis=0) for d in distances)
    return canvas.drawing(
        "Left, the iterations of SGD and its distance from initialisation at the last loss asked "
        f"for, over those of gradient descent, {_seeds(far)}. With single examples the distance "
        f"is {number(result.values['farther_fast'], '.3f')} times as large with the squared hinge "
        f"and {number(result.values['farther_slow'], '.3f')} times with the cross-entropy. Right, "
        "the first iterate without training error against the first with $L_S\\le\\ell(0)/n$, a "
        "point for every run; above the dashed line no point can be.",
        "Left, four curves and a dashed level at 1: for batches from "
        f"{sizes[0]} to {sizes[-1]} the distance ratio goes {ends(fast, 4)} with the squared "
        f"hinge and {ends(slow, 4)} with the cross-entropy. "
        "Right, points and a dashed diagonal. "
        + said(result, "None lies above it.", "zou2018-cor4.6"),
    )


def _seeds(samples: np.ndarray) -> str:
    return f"mean and range of distances over {len(samples)} seeds"
