"""Figures of the experiment du2019/linear_rate."""

import numpy as np

from companion.bounds.du2019 import theorem_4_1
from companion.figures import Drawing
from companion.figures.style import FAINT, INK, band, by_size, label_line, new, stack
from companion.lab.results import Result


def linear_rate(result: Result) -> Drawing:
    """Misfit and its ratio from step to step, for every width, at the largest step size."""
    misfits = result.arrays["misfit"][:, :, -1]  # seeds, widths, steps
    widths = result.settings["widths"]
    steps = np.arange(misfits.shape[-1])
    step_size = float(result.values["largest_step_size"])
    figure, (whole, single) = new(2)
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        curve = misfits[:, index]
        mean = band(whole, steps, curve / curve[:, :1], color, label=f"m = {width}")
        ratio = band(single, steps[1:], curve[:, 1:] / curve[:, :-1], color)
        series[f"m={width}, misfit"] = (steps, mean)
        series[f"m={width}, ratio"] = (steps[1:], ratio)
    bound = theorem_4_1(steps, step_size, float(result.values["lambda_0"]), 1.0)
    whole.plot(steps, bound, color=FAINT, ls="--")
    middle = len(steps) // 2
    label_line(whole, steps[: middle + 1], 4 * bound[: middle + 1], "Theorem 4.1", FAINT)
    series["Theorem 4.1"] = (steps, bound)
    whole.set_yscale("log")
    whole.set_xlabel("step k")
    whole.set_ylabel(r"$\|u(k)-y\|^2\,/\,\|u(0)-y\|^2$")
    whole.legend(loc="lower left")
    for key, name, color, offset in (
        ("bound_ratio", r"$1-\eta\lambda_0/2$, the theorem", FAINT, 0.03),
        ("late_prediction", r"$(1-\eta\lambda_{\min}(H(0)))^2$", INK, -0.08),
    ):
        level = float(result.values[key])
        single.axhline(level, color=color, ls="--", lw=1.2)
        single.text(
            steps[-1], level + offset, name, color=color, ha="right", va="center", fontsize=9
        )
        series[key] = (steps[1:], np.full(len(steps) - 1, level))
    single.set_ylim(0, 1)
    single.set_xlabel("step k")
    single.set_ylabel(r"$\|u(k)-y\|^2\,/\,\|u(k-1)-y\|^2$")
    return Drawing(
        figure,
        f"Gradient descent at $\\eta={step_size:.2f}$, mean and range over {len(misfits)} seeds. "
        "Left: the squared residual and the bound $(1-\\eta\\lambda_0/2)^k$, dashed. "
        "Right: what is left of it after one step; the ratio climbs from below to "
        f"$(1-\\eta\\lambda_{{\\min}})^2={result.values['late_prediction']:.2f}$ and stays under "
        f"the theorem's {result.values['bound_ratio']:.2f}.",
        "Left, straight lines on a logarithmic axis, nearly the same for every width, all falling "
        "faster than the dashed bound. Right, the ratios level off at one value for all widths.",
        stack(series, "step", "value"),
    )
