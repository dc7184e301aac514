"""Figures of the experiment engines/predictions."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED, by_size
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "engines-predicted": "engines-predictions",
    "engines-regression": "engines-test-errors",
}

LOSS = ("mean quadratic loss", "mean loss")
GAP = ("root mean square distance of predictions, the largest of the run", "distance of the run")
WIDTH = ("width", "width $m$")
ERROR = ("share of held-out images mistaken", "test error")


def predictions(result: Result) -> Drawing:
    """The mean loss, predicted and measured, and how far predictions are apart by width."""
    a, widths = result.arrays, result.settings["widths"]
    steps, gaps = a["steps"], a["gap"].max(axis=2)  # gaps: seeds, widths
    canvas = Canvas(2)
    left = canvas.panel("loss", STEP, LOSS, log="y")
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        left.curve(f"{name}, measured", steps, a["loss"][:, index], color, band=False, label=name)
        foretold = a["predicted_loss"][:, index]
        left.curve(
            f"{name}, predicted", steps, foretold, color, band=False, ls="--", label="predicted"
        )
    left.legend("upper right")
    right = canvas.panel("distance", WIDTH, GAP, log="xy")
    middle = right.curve("distance", widths, gaps, BLUE, marker="o")
    right.guide("m^(-1/2)", widths, middle[0], -0.5)
    right.note("$m^{-1/2}$", (widths[-1], middle[0] * (widths[-1] / widths[0]) ** -0.5), FAINT)
    right.sizes(widths)
    right.few_decades()
    by_network, by_kernel = (
        ends(a[f"{kind}loss"][:, -1].mean(axis=0)) for kind in ("", "predicted_")
    )
    values = result.values
    low, high = (number(values[f"gap_exponent_{end}"], ".2f") for end in ("low", "high"))
    return canvas.drawing(
        f"Gradient descent on {result.data}. Left, the mean loss of networks of growing width "
        f"(solid) and of their frozen kernels (dashed), mean over {len(gaps)} seeds. Right, the "
        f"largest distance of a run's predictions from the predicted ones, {over_seeds(gaps)}; its "
        f"exponent in $m$ is {number(values['gap_exponent'], '.2f')} ({low} to {high}).",
        f"Left, a solid and a dashed falling curve per width; of the widest networks they fall "
        f"{by_network} and {by_kernel}. Right, a curve against the width, {ends(middle)}. "
        + said(result, "It falls from each width to the next.", "engines-predicted"),
    )


def test_errors(result: Result) -> Drawing:
    """The widest networks' test error, measured, predicted and in the end; kernel regression's."""
    a, values, width = result.arrays, result.values, result.settings["widths"][-1]
    after = a["steps"] > 0  # there is no 0 on a logarithmic axis
    canvas = Canvas()
    kernel, low, high, ended, without_start = (
        float(values[name])
        for name in ("kernel", "kernel_low", "kernel_high", "ended", "without_start")
    )
    panel = canvas.panel("test error", STEP, ERROR, log="x")
    panel.strip("kernel regression, interval", low, high, FAINT)
    panel.level("kernel regression", kernel, INK, lw=1.2, label="kernel regression")
    panel.level(
        "end", ended, RED, lw=1.2, ls="-.", label="where the frozen kernel ends"
    )  # fmt: skip
    panel.level(
        "end without start", without_start, GREEN, lw=2, ls=":",
        label="the same from a start at 0",
    )  # fmt: skip
    errors, foretold = a["error"][:, -1][:, after], a["predicted_error"][:, -1][:, after]
    line = panel.curve("measured", a["steps"][after], errors, BLUE, label="networks")
    panel.curve(
        "predicted", a["steps"][after], foretold, BLUE, band=False, ls="--", label="predicted"
    )
    panel.axes.set_ylim(bottom=0)
    panel.legend("upper right")
    return canvas.drawing(
        f"The share of {values['tested']} held-out images that networks of width {width} mistake "
        f"along their runs, {over_seeds(errors)}, and as predicted (dashed). The levels are kernel "
        f"regression, with its 95 % interval "
        f"{number(low, '.3f')} to {number(high, '.3f')}, and where the prediction ends, with "
        "the networks' random start and without it.",
        f"A falling curve, {ends(line)}, with a dashed one beside it, above a shaded level at "
        f"{spoken(kernel)}. "
        + said(result, "Kernel regression is below the networks.", "engines-regression"),
    )
