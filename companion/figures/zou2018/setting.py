"""Figures of the experiment zou2018/setting."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import FAINT, MARKERS, by_size
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {
    "zou2018-model": "zou2018-gradient-differences",
    "zou2018-algo-gd": "zou2018-small-steps",
}
DISTANCE = ("distance from the gradient over its norm", "relative distance from the gradient")
FALL = (
    "fall of the loss in a step over step size times squared gradient norm",
    r"fall of $L_S$ over $\eta\|\nabla L_S\|_F^2$",
)


def gradient_differences(result: Result) -> Drawing:
    """Distance of central differences from the gradient against their step."""
    s, gaps = result.settings, result.arrays["difference_gap"]  # seeds, widths, steps
    steps, widths = np.array(s["differences"]), s["widths"]
    canvas = Canvas()
    panel = canvas.panel(
        "differences", ("step of the difference", "difference step h"), DISTANCE, log="xy"
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        mark, name = MARKERS[index], f"m = {width}"
        panel.curve(name, steps, gaps[:, index], color, label=name, marker=mark, ms=4)
    eps = np.finfo(s["dtype"]).eps
    rounding = eps * result.arrays["loss_over_gradient"].mean() / steps
    panel.curve("rounding", steps, rounding, FAINT, label="one rounding of the loss", ls="--")
    panel.legend()
    return canvas.drawing(
        "How far central differences of the mean loss with step $h$ are from the gradient, in the "
        f"worst of {s['directions']} random directions in all layers: {over_seeds(gaps)}, relative "
        "to the norm of the gradient. The dashed line is one rounding of the loss over $h$.",
        "A curve per width on logarithmic axes, and a dashed line that falls as h grows. "
        + said(
            result,
            "The curves fall along it, down to at most "
            f"{spoken(result.values['difference_gap'], 2, 'up')} at the best step of every "
            "network, and rise again where the loss has curvature and kinks.",
            "zou2018-model",
        ),
    )


def small_steps(result: Result) -> Drawing:
    """Fall of the loss in a step, over what first order says, against the step size."""
    fall, s = result.arrays["fall"], result.settings  # seeds, widths, step sizes, steps
    sizes, widths = s["step_sizes"], s["widths"]
    canvas = Canvas()
    unit = r"step size $\eta$ over $4n/\lambda_{\max}(K)$"
    panel = canvas.panel("fall", ("step size over its unit", unit), FALL, log="x")
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        mark, name = MARKERS[index], f"m = {width}"
        panel.curve(name, sizes, fall[:, index].mean(axis=-1), color, label=name, marker=mark, ms=5)
    panel.level("first order", 1, FAINT, ls="--", label="first order")
    panel.legend("lower left")
    return canvas.drawing(
        "By how much a step of gradient descent lowers the mean loss, over the "
        f"$\\eta\\|\\nabla L_S\\|_F^2$ of first order: the mean over {s['steps']} steps, and of "
        f"that {over_seeds(fall)}. $K$ is the Gram matrix of the gradients at initialisation.",
        "A line per width against the step size, on a logarithmic axis. "
        + said(
            result,
            "All start at 1 for the smallest steps and bend down slightly, to "
            f"{spoken(result.values['largest_step_fall'])} on average for the largest.",
            "zou2018-algo-gd",
        ),
    )
