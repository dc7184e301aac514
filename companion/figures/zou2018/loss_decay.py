"""Figures of the experiment zou2018/loss_decay."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP
from companion.figures.style import CYCLE, INK, MARKERS
from companion.figures.words import over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "zou2018-thm4.1": "zou2018-loss-decay",
    "zou2018-rem4.2": "zou2018-iterations",
    "zou2018-rem-v1-4.3": "zou2018-slopes-and-errors",
    "zou2018-cor4.3": "zou2018-slopes-and-errors",
}
LOSS = ("mean loss", r"mean loss $L_S(W^{(k)})$")
INVERSE = ("1/epsilon", r"$1/\epsilon$")
ITERATIONS = ("iterations K(epsilon)", r"iterations $K(\epsilon)$")
SLOPE = ("largest slope of the loss", r"$\max_i|\ell'(y_i\hat{y}_i)|$")
SMALL = ("first step with L_S at most l(0)/n", r"first $k$ with $L_S\leq\ell(0)/n$")
RIGHT = ("first step without training error", "first $k$ without training error")
NAMES = ("hinge", "squared hinge", "cross-entropy", "exponential")


def loss_decay(result: Result) -> Drawing:
    """Mean loss against the step, for four losses and both training sets."""
    losses, steps = (
        result.arrays["mean_loss"],
        result.found["look"].values,
    )  # loss, seed, data, look
    canvas = Canvas(2, sharey=True)
    for place, name in enumerate(("sphere", "twins")):
        panel = canvas.panel(name, STEP, LOSS, log="xy", title=_titles(result)[place])
        for kind, color in zip(range(len(NAMES)), CYCLE, strict=False):
            runs = losses[kind, :, place]
            shown = (runs > 0).all(axis=0)  # a run that has ended, or is at 0, has no place there
            panel.curve(NAMES[kind], steps[shown], runs[:, shown], color, label=NAMES[kind])
        late = steps[steps >= steps[-1] / 10]
        start = 2 * losses[2:, :, place, steps == late[0]].max()
        panel.guide("slope -1", late, start, -1, label="$1/k$")
        panel.axes.set_ylim(bottom=0.25 ** (result.settings["slow_halvings"] + 1))
        if place == 0:
            panel.legend("lower left")
    return canvas.drawing(
        "The mean loss along gradient descent at one step size, with the hinge ($p\\to0$), the "
        "squared hinge ($p=\\frac12$), the cross-entropy and the exponential loss ($p=1$), "
        f"{over_seeds(losses[0])}. Left on the sphere, right on pairs of close inputs with "
        "different labels. The dashed line falls like $1/k$; a curve ends where a run is at 0 or "
        "at its last target.",
        "Two panels on logarithmic axes with four curves each and a dashed line of slope minus "
        "one. "
        + said(
            result,
            "The hinge drops out within a few dozen steps, the squared hinge bends down, the other "
            "two end along the dashed line or more steeply.",
            "zou2018-thm4.1",
        ),
    )


def iterations(result: Result) -> Drawing:
    """Iterations to reach a loss, against its inverse, for four losses and both training sets."""
    reached, halvings = result.arrays["iterations"], result.found["halving"].values
    canvas = Canvas(2, sharey=True)
    for place, name in enumerate(("sphere", "twins")):
        panel = canvas.panel(name, INVERSE, ITERATIONS, log="xy", title=_titles(result)[place])
        for kind, color in zip(range(len(NAMES)), CYCLE, strict=False):
            runs = reached[kind, :, place]
            shown = (runs > 0).all(axis=0)
            x, name = 2.0 ** halvings[shown], NAMES[kind]
            panel.curve(name, x, runs[:, shown], color, label=name, marker=MARKERS[kind], ms=4)
        slow = 2.0 ** halvings[: result.settings["slow_halvings"]]
        start = reached[2:, :, place, 0].max()
        panel.guide("slope 1", slow, 2 * start, 1, label=r"$1/\epsilon$")
        if place == 0:
            panel.legend("lower right")
    return canvas.drawing(
        "The iterations $K(\\epsilon)$ after which the mean loss is at most $\\epsilon$, "
        f"{over_seeds(reached[0])}. The dashed line grows like $1/\\epsilon$. Left on the sphere, "
        "right on pairs of close inputs with different labels.",
        "Two panels on logarithmic axes with four curves each and a dashed line of slope one. "
        + said(
            result,
            "The hinge's curve becomes level, the squared hinge's grows more and more slowly, the "
            "other two are parallel to the dashed line in the end.",
            "zou2018-rem4.2",
        ),
    )


def slopes_and_errors(result: Result) -> Drawing:
    """Largest slope of the loss along a run, and when the training error is gone."""
    a = result.arrays
    steps, slopes = result.found["look"].values, a["slope"]
    canvas = Canvas(2)
    left = canvas.panel("slopes", STEP, SLOPE, log="xy")
    for kind in (1, 3):
        runs = slopes[kind].reshape(-1, len(steps))
        shown = (runs > 0).all(axis=0)
        left.curve(NAMES[kind], steps[shown], runs[:, shown], CYCLE[kind], label=NAMES[kind])
    left.legend("lower left")
    right = canvas.panel("errors", SMALL, RIGHT, log="xy")
    for kind, name in enumerate(NAMES):
        small, clean = a["first_small"][kind].ravel(), np.maximum(a["first_right"][kind].ravel(), 1)
        right.points(name, small, clean, CYCLE[kind], marker=MARKERS[kind], ms=5, label=name)
    ends = np.array([1.0, np.nanmax(a["first_small"])])
    right.curve("equal", ends, ends, INK, ls="--", lw=1, label="equal")
    right.legend("upper left")
    return canvas.drawing(
        "Left, the largest $\\lvert\\ell'\\rvert$ of any example along the run, for the two losses "
        f"that are not Lipschitz: mean and range over {len(slopes[1].reshape(-1, len(steps)))} "
        "runs on both training sets. Right, the first iterate without training error against the "
        "first with $L_S\\le\\ell(0)/n$, a point for every run; above the dashed line no point can "
        "be.",
        "Left, two curves on logarithmic axes. "
        + said(
            result,
            f"They never exceed {number(result.values['largest_slope'], '.1f', 'up')} and fall "
            "after the first steps.",
            "zou2018-rem-v1-4.3",
        )
        + " Right, points and a dashed diagonal. "
        + said(result, "None lies above it.", "zou2018-cor4.3"),
    )


def _titles(result: Result) -> tuple[str, str]:
    return ("on the sphere", rf"pairs at distance $\phi={result.settings['separation']:g}$")
