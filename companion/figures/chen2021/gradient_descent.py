"""Figures of the experiment chen2021/gradient_descent."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP, WIDTH
from companion.figures.style import CYCLE, FAINT, INK, MARKERS, PURPLE
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {
    "chen2021-ass3.2": "chen2021-radius",
    "chen2021-thm3.3": "chen2021-average-loss",
    "chen2021-rem3.4": "chen2021-past-horizon",
}
LOSS = ("mean loss", "mean loss $L_S(W^{(k)})$")
SHARE = ("average loss over 3 epsilon", r"average of $T$ losses over $3\epsilon$")
EPSILON = ("epsilon", r"$\epsilon$")
INVERSE = ("1/epsilon", r"$1/\epsilon$")
RADIUS = ("radius R of epsilon", r"radius $R(\epsilon)$")
DISTANCE = ("largest distance of a layer of W*", r"$\max_l\|W_l^*-W_l^{(0)}\|_F$")
TIMES = ("time over T", "time over $T$")
SCALED = ("m^alpha times the largest distance", r"$m^\alpha\max_l\|W_l-W_l^{(0)}\|_F$")
ERROR = ("largest linearisation error towards W*", "linearisation error towards $W^*$")
LINEARISED = "linearised network"


def average_loss(result: Result) -> Drawing:
    """Loss curves for every alpha, and average losses up to T in units of their bound."""
    a, s = result.arrays, result.settings
    steps = result.found["look"].values
    followed = s["targets"][-s["followed"] :]
    canvas = Canvas(2)
    left = canvas.panel("loss", STEP, LOSS, log="xy")
    right = canvas.panel("average", EPSILON, SHARE, log="x")
    for place, alpha in enumerate(s["alphas"]):
        color, mark, name = CYCLE[place], MARKERS[place], _named(alpha)
        loss = a["loss"][:, :, place]
        left.curve(name, steps, loss[:, -1], color, marker=mark, ms=4, label=name)
        narrow = f"{name}, $m={s['widths'][0]}$"
        left.curve(narrow, steps, loss[:, 0], color, band=False, ls=":", label=narrow)
        share = a["share"][:, -1, place]
        right.curve(name, followed, share, color, marker=mark, ms=5, label=name)
    color, mark = PURPLE, "v"
    right.points(
        LINEARISED, a["ntrf_epsilon"][:, -1], a["ntrf_share"][:, -1], color, marker=mark, ms=5,
        label=f"$W^*$ of the {LINEARISED}",
    )  # fmt: skip
    right.level("1", 1, INK, ls="--", lw=1)
    right.note("1, the theorem", (followed[0], 1), INK, (0, -3), va="top")
    right.axes.set_ylim(0, 1.1)
    right.sizes(s["targets"])
    left.legend("lower left")
    right.legend("center left", bbox_to_anchor=(0, 0.65))
    return canvas.drawing(
        f"Left, losses with $\\eta m^{{2\\alpha}}={s['time_step']:g}$ at $m=$ "
        f"{s['widths'][-1]}, {over_seeds(a['loss'])}, and dotted the means at $m=$ "
        f"{s['widths'][0]}. Right, at $m=$ {s['widths'][-1]}, the average loss of the $T$ iterates "
        "that Theorem 3.3 counts, over its bound $3\\epsilon$: curves where $W^*$ is the first "
        "iterate with every loss below $\\epsilon$, and points, one a run, where $W^*$ is the "
        f"start moved as the linearised network asks, with $\\alpha={s['alphas'][-1]:g}$.",
        "Left, falling curves, one for each alpha and dotted ones beside them; with the largest "
        f"alpha the loss goes {ends(a['loss'][:, -1, -1].mean(axis=0))}. Right, the average losses "
        f"as shares of their bound, at most {spoken(np.nanmax(a['share']), rounded='up')}. "
        + said(result, "All stay below the dashed line at one.", "chen2021-thm3.3"),
    )


def radius(result: Result) -> Drawing:
    """R(epsilon) of trained networks and of the linearised one, against 1/epsilon and the width."""
    a, s = result.arrays, result.settings
    inverse, widths = 1 / np.array(s["targets"][::-1]), np.array(s["widths"], dtype=float)
    canvas = Canvas(2)
    left = canvas.panel("epsilon", INVERSE, RADIUS, log="x")
    right = canvas.panel("width", WIDTH, DISTANCE, log="xy")
    for place, alpha in enumerate(s["alphas"]):
        color, mark, name = CYCLE[place], MARKERS[place], _named(alpha)
        trained = a["radius"][:, :, place]
        left.curve(name, inverse, trained[:, -1, ::-1], color, marker=mark, ms=5, label=name)
        moved = trained[..., 0] / widths**alpha
        line = right.curve(name, widths, moved, color, marker=mark, ms=5)
        right.guide(f"slope -{alpha:g}", widths, line[0], -alpha)
        right.note(name, (widths[0], line[0]), color, (4, 8))
    least = a["least_radius"][:, -1, ::-1]
    left.curve(LINEARISED, inverse, least, PURPLE, marker="v", ms=5, ls="-.", label=LINEARISED)
    left.sizes(np.round(inverse, 3))
    middle = len(widths) // 2
    guide = moved[:, 0].mean() * (widths[middle] / widths[0]) ** -alpha
    right.note(r"$m^{-\alpha}$", (widths[middle], guide), FAINT, (-4, -14), ha="right")
    right.sizes(s["widths"])
    right.few_decades()
    left.legend()
    return canvas.drawing(
        f"How near to the start a $W^*$ with every loss below $\\epsilon$ is, {over_seeds(least)}. "
        f"Left, at $m=$ {s['widths'][-1]}, $R(\\epsilon)$ of the first iterate with such losses, "
        "and the least that the linearised network needs with "
        f"$\\alpha={s['alphas'][-1]:g}$; straight is growth like $\\log(1/\\epsilon)$. "
        f"Right, the distance of the iterate with $\\epsilon={s['targets'][0]:g}$ itself, beside "
        "$m^{-\\alpha}$ (dashed).",
        "Left, a rising curve for each alpha and one for the linearised network, which goes "
        f"{ends(least.mean(axis=0))}. Right, falling curves for alpha = {listed(s['alphas'])}, "
        "beside dashed lines of slope minus alpha. "
        + said(
            result,
            "No curve on the left bends upwards, and those on the right fall with their dashed "
            "lines.",
            "chen2021-ass3.2",
        ),
    )


def past_horizon(result: Result) -> Drawing:
    """Distance from the start, and linearisation error towards W*, after T."""
    a, s = result.arrays, result.settings
    times = 2.0 ** np.arange(s["octaves"] + 1)
    distance, error = a["past_distance"], a["past_error"]
    canvas = Canvas(2)
    left = canvas.panel("distance", TIMES, SCALED, log="x")
    right = canvas.panel("error", TIMES, ERROR, log="xy")
    left.curve("distance", times, distance, CYCLE[0], marker=MARKERS[0], ms=5)
    right.curve("error", times, error, CYCLE[1], marker=MARKERS[1], ms=5)
    right.level("1/4", 0.25, INK, ls="--", lw=1)
    right.note("1/4, allowed in the proof", (times[-1], 0.25), INK, (0, -3), ha="right", va="top")
    for panel in (left, right):
        panel.sizes(times)
    return canvas.drawing(
        f"Gradient descent past $T$, with $\\epsilon={s['targets'][-1]:g}$, "
        f"$\\alpha={s['alphas'][-1]:g}$ and $m=$ {s['octaves_width']}, {over_seeds(distance)}. "
        "Left, the distance from the start, where straight is growth like $\\log t$. Right, the "
        "largest error of the linearisation at the iterate towards $W^*$, which the proof needs to "
        "be at most 1/4 (dashed).",
        f"Left, a rising curve that goes {ends(distance.mean(axis=0))}. Right, a curve that goes "
        f"{ends(error.mean(axis=0))}, and a dashed line at one quarter. "
        + said(result, "Both go on rising to the end.", "chen2021-rem3.4"),
    )


def _named(alpha: float) -> str:
    return rf"$\alpha={alpha:g}$"
