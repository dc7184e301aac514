"""Figures of the experiment du2019/linear_rate."""

import numpy as np

from companion.bounds import theorem_4_1
from companion.figures import Drawing
from companion.figures.style import FAINT, band, by_size, label_line, new, stack
from companion.results import Result


def linear_rate(result: Result) -> Drawing:
    """Misfit per step for every width, with the theorem's bound, at the largest step size."""
    misfits = result.arrays["misfit"][:, :, -1]  # seeds, widths, steps
    widths = result.settings["widths"]
    steps = np.arange(misfits.shape[-1])
    figure, (axes,) = new()
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        mean = band(axes, steps, misfits[:, index] / misfits[:, index, :1], color)
        label_line(axes, steps, mean, f"m = {width}", color)
        series[f"m={width}"] = (steps, mean)
    step_size = float(result.arrays["step_sizes"][:, 0, -1].mean())
    bound = theorem_4_1(steps, step_size, float(result.values["lambda_0"]), 1.0)
    axes.plot(steps, bound, color=FAINT, ls="--")
    label_line(axes, steps, bound, "Theorem 4.1", FAINT)
    series["Theorem 4.1"] = (steps, bound)
    axes.set_yscale("log")
    axes.set_xlabel("step k")
    axes.set_ylabel(r"$\|u(k)-y\|^2\,/\,\|u(0)-y\|^2$")
    return Drawing(
        figure,
        f"Squared residual per step of gradient descent at $\\eta={step_size:.2f}$, mean and range over "
        f"{len(misfits)} seeds; dashed, the bound $(1-\\eta\\lambda_0/2)^k$.",
        "Straight lines on a logarithmic axis, nearly the same for every width, all falling faster "
        "than the dashed bound.",
        stack(series, "step", "misfit_ratio"),
    )
