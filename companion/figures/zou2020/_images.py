"""Figures 1-3 of Zou et al. (2020) in the three readings, for either set of images."""

import numpy as np

from companion.figures.panels import Canvas, Drawing, Quantity
from companion.figures.quantities import FLIPS, STEP
from companion.figures.style import FAINT, MARKERS, by_size
from companion.figures.words import over_seeds, said
from companion.lab.results import Result
from companion.lab.words import listed, number

LOSS = "training loss"
SCALED = ("step times eta times m", r"$k\eta m$")
LAYER = ("hidden layer", "hidden layer l")
DISTANCE = (
    "largest spectral distance of a layer from initialisation",
    r"$\max_l\|W_l(k)-W_l(0)\|_2$",
)


def losses(result: Result, claim: str) -> Drawing:
    """Training loss against the step, and against k eta m."""
    a, s = result.arrays, result.settings
    loss = _told(a["loss"])  # seeds, widths, steps
    steps = np.arange(loss.shape[-1])
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("iteration", STEP, LOSS, log="y", title="against the iteration")
    right = canvas.panel("scaled time", SCALED, LOSS, log="y", title=r"against $k\eta m$")
    for index, width, color in _widths(result):
        name = f"m = {width}"
        left.curve(name, steps, loss[:, index], color, end=name)
        right.curve(name, steps * s["step_size"] * width, loss[:, index], color, label=name)
    right.axes.set_xlim(0, 3 * s["step_size"] * s["widths"][0] * steps[-1])
    right.legend("upper right")
    left.few_decades()
    return canvas.drawing(
        f"Training loss of networks with {s['depth']} hidden layers of {listed(s['widths'])} units "
        f"on {result.data}, {over_seeds(loss)}, at one step size $\\eta={s['step_size']:g}$. Left, "
        "against the iteration $k$, as the paper draws it; right, against $k\\eta m$, up to three "
        "times as far as the narrowest network comes.",
        "Left, a falling curve for each width. "
        + said(result, "Wider networks lie lower.", f"zou2020-fig1{claim}")
        + " Right, the same curves over another axis.",
    )


def distances(result: Result, claim: str) -> Drawing:
    """Largest spectral distance from initialisation in the three readings."""
    samples = _told(result.arrays["spectral"]).max(axis=-1)
    return _three(result, samples, DISTANCE, "2", "distance from initialisation", claim)


def flips(result: Result, claim: str) -> Drawing:
    """Share of activations changed in the three readings."""
    samples = _told(result.arrays["flips"]).mean(axis=-1)
    return _three(result, samples, FLIPS, "3", "share of activations changed", claim)


def _three(
    result: Result, samples: np.ndarray, quantity: Quantity, figure: str, what: str, claim: str
) -> Drawing:
    """A quantity of every look against the iteration, against k eta m and against the loss.

    Args:
        result: judged.
        samples: seeds, widths, looks.
        quantity: what they are.
        figure: of the paper.
        what: they are, in words.
        claim: what the claims' names end with.
    """
    a, s = result.arrays, result.settings
    looks, loss = a["looks"], _told(a["loss"]).mean(axis=0)
    canvas = Canvas(3, sharey=True)
    panels = [
        canvas.panel("iteration", STEP, quantity, title="against the iteration"),
        canvas.panel("scaled time", SCALED, quantity, title=r"against $k\eta m$"),
        canvas.panel("loss", LOSS, quantity, log="x", title="against the loss reached"),
    ]
    for index, width, color in _widths(result):
        places = (looks, looks * s["step_size"] * width, loss[index, looks.astype(int)])
        for panel, x in zip(panels, places, strict=True):
            panel.curve(f"m = {width}", x, samples[:, index], color, label=f"m = {width}")
    panels[1].axes.set_xlim(0, 3 * s["step_size"] * s["widths"][0] * looks[-1])
    level = float(result.values["level"])
    panels[2].upright("loss that all reach", level, FAINT, ls=":", label="loss that all reach")
    panels[2].axes.invert_xaxis()
    panels[2].few_decades("x")
    canvas.legend(len(s["widths"]) + 1)
    return canvas.drawing(
        f"The {what} of networks with {s['depth']} hidden layers of {listed(s['widths'])} units on "
        f"{result.data}, {over_seeds(samples)}: against the iteration, as the paper draws it; "
        "against $k\\eta m$; and against the training loss that the network has reached, which "
        f"falls to the right. The dotted line marks the loss {number(level, '.2g')}, which all of "
        "them reach.",
        "Three panels with a rising curve for each width. "
        + said(
            result,
            "Where all have reached the same loss, wider networks lie lower.",
            f"zou2020-fig{figure}{claim}",
        )
        + " "
        + said(
            result,
            "At the last iteration the order of the widths is another one.",
            f"zou2020-fig{figure}-iteration{claim}",
            outcomes=("fails",),
        ),
    )


def layers(result: Result) -> Drawing:
    """Distances and flips layer by layer at the end of the runs."""
    a, s = result.arrays, result.settings
    places, flipped = np.arange(1, s["depth"] + 1), _told(a["flips"])
    both = [_told(a[key]) for key in ("spectral", "frobenius")]
    canvas = Canvas(2)
    left = canvas.panel("distance", LAYER, ("distance", r"$\|W_l(k)-W_l(0)\|$"))
    right = canvas.panel("flips", LAYER, FLIPS)
    for index, width, color in _widths(result):
        name, mark = f"m = {width}", MARKERS[index % len(MARKERS)]
        spectral, frobenius = (distances[:, index, -1] for distances in both)
        left.curve(f"{name}, spectral", places, spectral, color, marker=mark, ms=4, label=name)
        dashed = f"{name}, Frobenius"
        left.curve(dashed, places, frobenius, color, ls="--", label=dashed)
        right.curve(name, places, flipped[:, index, -1], color, marker=mark, ms=4)
    canvas.legend(len(s["widths"]), left.axes.get_legend_handles_labels()[0])
    return canvas.drawing(
        f"Layer by layer at the last step, on {result.data}: left, the spectral distance of every "
        "layer from initialisation (solid) and its Frobenius distance (dashed); right, the share "
        "of its activations that differ from initialisation.",
        "Two panels against the layer, with a curve for each width in the right one and two in the "
        "left one; a Frobenius distance lies above its spectral distance.",
    )


def _told(samples: np.ndarray) -> np.ndarray:
    """Of single precision as they are, so that their means are not rounded once more."""
    return samples.astype(float)


def _widths(result: Result) -> list[tuple[int, int, object]]:
    """Index, width and colour of each width."""
    widths = result.settings["widths"]
    return list(zip(range(len(widths)), widths, by_size(widths), strict=True))
