"""Figures of the experiment du2019/figure1: the paper's three panels, and what explains them."""

import numpy as np

from companion.figures.panels import Canvas, Drawing, Quantity
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, INK, RED, by_size
from companion.figures.words import said
from companion.lab.catalog import published
from companion.lab.results import Result


def fig1a(result: Result) -> Drawing:
    """Log of the mean squared residual per epoch."""
    return _as_published(
        result,
        np.log(result.arrays["misfit"]),
        "du2019_fig1a",
        "ln (mean squared residual)",
        "Training error",
        said(
            result,
            "With one step size the curves of all widths lie together.",
            "du2019-fig1a-stated",
            outcomes=("fails",),
        )
        + " "
        + said(
            result,
            "With a step size that grows with the width, wider networks fall faster, as published.",
            "du2019-fig1a",
        ),
    )


def fig1b(result: Result) -> Drawing:
    """Share of activations that differ from initialisation per epoch."""
    return _as_published(
        result,
        result.arrays["flips"],
        "du2019_fig1b",
        "share of activations changed",
        "Activation pattern changes",
        said(
            result,
            "Under both conventions the curves flatten, and wider networks lie lower.",
            "du2019-fig1b",
        ),
    )


def fig1c(result: Result) -> Drawing:
    """Square of the largest distance of a unit from initialisation per epoch."""
    return _as_published(
        result,
        np.square(result.arrays["distance"]),
        "du2019_fig1c",
        ("squared largest distance of a unit", r"$\max_r\|w_r(k)-w_r(0)\|^2$"),
        "Largest distance, squared as the published panel is inferred to be",
        said(
            result,
            "Under both conventions the curves flatten, and wider networks lie lower.",
            "du2019-fig1c",
        ),
    )


def fig1_expl(result: Result) -> Drawing:
    """Speed of convergence and least eigenvalue against width, relative to the narrowest."""
    a, v, widths = result.arrays, result.values, result.settings["widths"]
    log = np.log(a["misfit"])  # seeds, widths, conventions, epochs
    drop = log[..., -1] - log[..., 1]
    speed = drop / drop[:, :1].mean(axis=0)
    eigenvalue = a["lambda_min"][..., 1, -1]
    canvas = Canvas()
    panel = canvas.panel("speed", WIDTH, f"relative to m = {widths[0]}")
    at_end, relative = r"$\lambda_{\min}(H)$ at the end", eigenvalue / eigenvalue[:, :1].mean()
    for place, (name, label, samples, color) in enumerate(
        (
            ("speed, inferred step size", "speed, inferred step size", speed[..., 1], RED),
            ("speed, one step size", "speed, one step size", speed[..., 0], BLUE),
            ("least eigenvalue at the end", at_end, relative, INK),
        )
    ):
        panel.curve(name, widths, samples, color, marker="o", ms=4)
        corner = (0.03, 0.94 - 0.07 * place)
        panel.note(label, corner, color, (0, 0), fontsize=10, xycoords="axes fraction")
    panel.guide("square root of m", widths, 1, 1 / 2, end=r"$\propto\sqrt{m}$")
    panel.axes.set_xscale("log")
    panel.sizes(widths)
    return canvas.drawing(
        "Fall of the log error from the first epoch to the last, and least eigenvalue at the last, "
        f"both relative to $m={widths[0]}$. Up to $m={widths[-1]}$ the eigenvalue grows "
        f"{v['lambda_ratio']:.3f}-fold, the speed {v['speed_ratio_inferred']:.2f}-fold with the "
        f"inferred step size and {v['speed_ratio_fixed']:.2f}-fold with one step size.",
        "Three curves against the width, beside a dashed square root. "
        + said(
            result,
            "Only the speed with the inferred step size rises with it; the eigenvalue and the "
            "speed at one step size stay nearly level.",
            "du2019-fig1-expl",
            outcomes=("fails",),
        ),
    )


def _as_published(
    result: Result, samples: np.ndarray, source: str, y: Quantity, title: str, alt: str
) -> Drawing:
    """One panel of the paper under both conventions, its curves dotted where they belong."""
    s, curves = result.settings, published(source)
    widths, count, epochs = s["widths"], len(samples), np.arange(samples.shape[-1])
    canvas = Canvas(2, sharey=True)
    fixed, inferred = (
        canvas.panel(name, ("epoch", "epoch k"), y, title=above)
        for name, above in (
            ("one step size", "one step size for all widths"),
            ("inferred step size", "step size $10^{-3}\\sqrt{m}$ (inferred)"),
        )
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        fixed.curve(f"m = {width}", epochs, samples[:, index, 0], color)
        inferred.curve(f"m = {width}", epochs, samples[:, index, 1], color, end=f"{width}")
        if f"width_{width}" in curves:
            known, name = curves[f"width_{width}"], f"m = {width}, as published"
            inferred.curve(name, curves["epoch"], known, INK, ls=":", lw=1.3)
    return canvas.drawing(
        f"{title} for widths {', '.join(map(str, widths))}: mean and range over {count} "
        f"seed{'s' if count > 1 else ''}. Left, $\\eta={s['fixed_step_size']}$ for all; right, "
        f"$\\eta={s['inferred_step_size']}\\sqrt{{m}}$; dotted, as published.",
        alt,
    )
