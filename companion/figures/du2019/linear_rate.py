"""Figures of the experiment du2019/linear_rate."""

import numpy as np

from companion.bounds.du2019 import theorem_4_1
from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import MISFIT_PER_STEP, STEP
from companion.figures.style import FAINT, INK, by_size
from companion.figures.words import over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-thm4.1": "du2019-linear-rate",
    "du2019-cond4.1": "du2019-linear-rate",
    "du2019-thm4.1-rate": "du2019-linear-rate",
}

RATIO = ("squared residual over that of the step before", r"$\|u(k)-y\|^2\,/\,\|u(k-1)-y\|^2$")


def linear_rate(result: Result) -> Drawing:
    """Misfit and its ratio from step to step, for every width, at the largest step size."""
    v, widths = result.values, result.settings["widths"]
    misfits = result.arrays["misfit"][:, :, -1]  # seeds, widths, steps
    steps, step_size = np.arange(misfits.shape[-1]), float(v["largest_step_size"])
    limit, promised = float(v["late_prediction"]), float(v["bound_ratio"])
    canvas = Canvas(2)
    whole = canvas.panel("misfit", STEP, MISFIT_PER_STEP, log="y")
    single = canvas.panel("ratio", STEP, RATIO)
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        curve, name = misfits[:, index], f"m = {width}"
        whole.curve(name, steps, curve / curve[:, :1], color, label=name)
        single.curve(name, steps[1:], curve[:, 1:] / curve[:, :-1], color, label=name)
    bound = theorem_4_1(steps, step_size, float(v["lambda_0"]), 1.0)
    whole.curve("Theorem 4.1", steps, bound, FAINT, ls="--")
    middle = len(steps) // 2
    whole.note("Theorem 4.1", (steps[middle], 4 * bound[middle]), FAINT, va="center")
    whole.legend("lower left")
    for name, label, level, color, above in (
        ("Theorem 4.1", r"$1-\eta\lambda_0/2$, the theorem", promised, FAINT, 0.03),
        ("limit at late steps", r"$(1-\eta\lambda_{\min}(H(0)))^2$", limit, INK, -0.08),
    ):
        single.level(name, level, color, ls="--", lw=1.2)
        single.note(label, (steps[-1], level + above), color, (0, 0), ha="right", va="center")
    single.axes.set_ylim(0, 1)
    single.legend("lower right")
    return canvas.drawing(
        f"Gradient descent with the step size $\\eta=$ {number(step_size, '.2f')}, "
        f"{over_seeds(misfits)}. Left, the squared residual over its start, and the bound "
        "$(1-\\eta\\lambda_0/2)^k$ (dashed). Right, what one step leaves of the squared residual; "
        f"dashed, the theorem's $1-\\eta\\lambda_0/2=$ {number(promised, '.2f')} and what late "
        f"steps come to, $(1-\\eta\\lambda_{{\\min}}(H(0)))^2=$ {number(limit, '.2f')}. "
        + said(result, "The ratio stays under the theorem's at every step.", "du2019-thm4.1"),
        "Left, a falling curve per width on a logarithmic axis, and the dashed bound. Right, the "
        "ratios and two dashed levels. "
        + said(
            result,
            "Left, the curves are nearly the same for every width and all fall faster than the "
            "bound. Right, the ratios stay below the theorem's level.",
            "du2019-thm4.1",
        ),
    )
