"""Figures of the experiment du2019/real_digits."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from companion.bounds.du2019 import theorem_4_1
from companion.figures import Drawing
from companion.figures.style import FAINT, INK, RED, band, by_size, new, stack
from companion.lab.results import Result


def digits_decay(result: Result) -> Drawing:
    """Misfit on digits per step, with the linearised decay and the bound; the same by direction."""
    a, v, widths = result.arrays, result.values, result.settings["widths"]
    figure, (left, right) = new(2)
    steps = np.arange(a["misfit"].shape[-1])
    series = {}
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        series[f"m={width}"] = (
            steps,
            band(left, steps, a["misfit"][:, index] / a["misfit"][:, index, :1], color),
        )
        _by_direction(right, result, index, color)
    linear = (a["linearised"] / a["linearised"][..., :1]).mean(axis=(0, 1))
    left.plot(steps, linear, color=INK, ls=":")
    bound = theorem_4_1(steps, float(v["step_size"]), float(v["lambda_0"]), 1.0)
    left.plot(steps, bound, color=FAINT, ls="--")
    left.annotate(
        "Theorem 4.1", (steps[-1], bound[-1]), xytext=(0, -4), textcoords="offset points",
        color=FAINT, ha="right", va="top", fontsize=9,
    )  # fmt: skip
    series |= {"linearised": (steps, linear), "Theorem 4.1": (steps, bound)}
    left.set_yscale("log")
    left.set_xlabel("step k")
    left.set_ylabel(r"$\|u(k)-y\|^2\,/\,\|u(0)-y\|^2$")
    decay = np.abs(1 - float(v["step_size"]) * a["eigenvalues"]) ** steps[-1]
    right.plot(a["eigenvalues"], np.maximum(decay, 1e-6), color=INK, ls=":")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(1e-4, 2)
    right.set_xlabel(r"eigenvalue $\lambda_j$ of $H^\infty$")
    right.set_ylabel(f"share of residual left after {steps[-1]} steps")
    right.legend(fontsize=8, loc="lower left")
    return Drawing(
        figure,
        f"Gradient descent on {result.data}, at $\\eta=1/\\lambda_{{\\max}}(H^\\infty)$ times "
        f"{result.settings['step_size']:g}. Left, the misfit, mean and range over "
        f"{len(a['misfit'])} seeds; dotted, the linearised decay; dashed, the theorem's bound. "
        f"Right, "
        "what is left of the residual along groups of eigenvectors; dotted, "
        "$|1-\\eta\\lambda_j|^k$.",
        "Left, the misfit falls along the dotted curve, far below a dashed bound that is almost "
        "flat. "
        "Right, points follow the dotted curve: large eigenvalues are fitted, small ones not yet.",
        stack(series, "step", "misfit_ratio"),
    )


def _by_direction(axes: Axes, result: Result, index: int, color: Any) -> None:
    """Root mean square coordinate after over before, in groups of neighbouring eigenvalues."""
    a, width = result.arrays, result.settings["widths"][index]
    edges = np.geomspace(a["eigenvalues"][0], a["eigenvalues"][-1] * 1.001, 16)
    group = np.digitize(a["eigenvalues"], edges)
    kept = [g for g in range(1, len(edges)) if (group == g).any()]
    before, after = (
        np.array([np.square(a[name][:, index][:, group == g]).sum() for g in kept])
        for name in ("before", "after")
    )
    centres = [np.exp(np.log(a["eigenvalues"][group == g]).mean()) for g in kept]
    axes.plot(centres, np.sqrt(after / before), "o", ms=4, color=color, label=f"m = {width}")


def digits_spectrum(result: Result) -> Drawing:
    """Every eigenvalue of H_inf on the digits, with the bound that its closest pair sets."""
    values = result.arrays["eigenvalues"][::-1]
    lambda_0, pair = float(result.values["lambda_0"]), float(result.values["pair_bound"])
    rank = np.arange(1, len(values) + 1)
    figure, (axes,) = new()
    axes.plot(rank, values, color=INK)
    for level, text, color, side in (
        (pair, "bound by the closest pair", RED, 3),
        (lambda_0, r"$\lambda_0$", INK, -12),
    ):
        axes.axhline(level, color=color, ls="--", lw=1.2)
        axes.annotate(
            text, (1, level), xytext=(2, side), textcoords="offset points", color=color, fontsize=9
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=lambda_0 / 2)
    axes.set_xlabel("rank j")
    axes.set_ylabel(r"eigenvalue of $H^\infty$")
    return Drawing(
        figure,
        f"Spectrum of $H^\\infty$ on {result.data}: from $\\lambda_{{\\max}}={values[0]:.0f}$ "
        f"down to "
        f"$\\lambda_0={lambda_0:.3f}$. The two most similar images alone force "
        f"$\\lambda_0\\le{pair:.3f}$.",
        "One large eigenvalue, a falling middle, and a long flat end near the least eigenvalue.",
        {"rank": rank, "eigenvalue": values},
    )
