"""Figures of the experiment du2019/figure1: the paper's three panels, and what explains them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.figures import Drawing
from companion.figures.style import (
    BLUE,
    FAINT,
    INK,
    RED,
    Table,
    band,
    by_size,
    label_line,
    name_sizes,
    new,
)
from companion.lab.catalog import published
from companion.lab.results import Result

# Conventions of the experiment, in the order of its arrays.
TITLES = ("one step size for all widths", "step size $10^{-3}\\sqrt{m}$ (inferred)")
NAMES = ("fixed", "inferred")


def fig1a(result: Result) -> Drawing:
    """Log of the mean squared residual per epoch."""
    return _panel(
        result,
        "misfit",
        np.log,
        "du2019_fig1a",
        "ln (mean squared residual)",
        "Training error",
        "With one step size the curves of all widths lie together; with a step size that grows "
        "with the width, wider networks fall faster, as published.",
    )


def fig1b(result: Result) -> Drawing:
    """Share of activations that differ from initialisation per epoch."""
    return _panel(
        result,
        "flips",
        lambda share: share,
        "du2019_fig1b",
        "share of activations changed",
        "Activation pattern changes",
        "Under both conventions the curves flatten, and wider networks lie lower.",
    )


def fig1c(result: Result) -> Drawing:
    """Square of the largest distance of a unit from initialisation per epoch."""
    return _panel(
        result,
        "distance",
        np.square,
        "du2019_fig1c",
        r"$\max_r\|w_r(k)-w_r(0)\|^2$",
        "Largest distance, squared as the published panel is inferred to be",
        "Under both conventions the curves flatten, and wider networks lie lower.",
    )


def fig1_expl(result: Result) -> Drawing:
    """Speed of convergence and least eigenvalue against width, relative to the narrowest."""
    widths = np.array(result.settings["widths"])
    log = np.log(result.arrays["misfit"])
    drop = log[..., -1] - log[..., 1]
    speed = drop / drop[:, :1].mean(axis=0)
    eigen = result.arrays["lambda_min"][..., 1, -1]
    eigen = eigen / eigen[:, :1].mean()
    figure, (axes,) = new()
    curves = [
        ("speed, inferred step size", speed[..., 1], RED),
        ("speed, one step size", speed[..., 0], BLUE),
        (r"$\lambda_{\min}(H)$ at the end", eigen, INK),
    ]
    table: dict[str, Any] = {"width": widths}
    for index, (name, samples, color) in enumerate(curves):
        mean = band(axes, widths, samples, color, marker="o", ms=4)
        axes.text(0.03, 0.94 - 0.07 * index, name, color=color, transform=axes.transAxes)
        table[name] = mean
    ratio = np.sqrt(widths / widths[0])
    axes.plot(widths, ratio, color=FAINT, ls="--")
    label_line(axes, widths, ratio, r"$\propto\sqrt{m}$", FAINT)
    table["square root of m"] = ratio
    axes.set_xscale("log")
    name_sizes(axes, widths)
    axes.set_xlabel("width m")
    axes.set_ylabel(f"relative to m = {widths[0]}")
    return Drawing(
        figure,
        f"Fall of the log error from the first epoch to the last, and least eigenvalue at the "
        f"last, both relative to $m={widths[0]}$. Up to $m={widths[-1]}$ the eigenvalue grows "
        f"{result.values['lambda_ratio']:.3f}-fold, the speed "
        f"{result.values['speed_ratio_inferred']:.2f}-fold with the inferred step size and "
        f"{result.values['speed_ratio_fixed']:.2f}-fold with one step size.",
        "Only the speed with the inferred step size rises with the width, and it rises along the "
        "square root; the eigenvalue and the speed at one step size stay level.",
        table,
    )


def _panel(
    result: Result,
    name: str,
    transform: Callable[[np.ndarray], np.ndarray],
    source: str,
    ylabel: str,
    title: str,
    alt: str,
) -> Drawing:
    """One panel under both conventions, the published curves dotted where they belong."""
    widths, samples = result.settings["widths"], transform(result.arrays[name])
    epochs, curves = np.arange(samples.shape[-1]), published(source)
    figure, both = new(2, sharey=True)
    rows: list[tuple[Any, ...]] = []
    for convention, axes in enumerate(both):
        for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
            ours = samples[:, index, convention]
            mean = band(axes, epochs, ours, color)
            known = curves.get(f"width_{width}") if convention == 1 else None
            if known is not None:
                axes.plot(curves["epoch"], known, color=INK, ls=":", lw=1.3)
            if convention == 1:
                label_line(axes, epochs, mean, f"{width}", color)
            at = {} if known is None else dict(zip(curves["epoch"], known, strict=True))
            rows += [
                (NAMES[convention], width, int(k), mean[k], ours[:, k].min(), ours[:, k].max(),
                 at.get(float(k), np.nan))
                for k in epochs
            ]  # fmt: skip
        axes.set_title(TITLES[convention])
        axes.set_xlabel("epoch k")
    both[0].set_ylabel(ylabel)
    columns = ("convention", "width", "epoch", "mean", "least", "largest", "published")
    table: Table = dict(zip(columns, zip(*rows, strict=True), strict=True))
    step, count = result.settings["fixed_step_size"], len(samples)
    return Drawing(
        figure,
        f"{title} for widths {', '.join(map(str, widths))}: mean and range over {count} "
        f"seed{'s' if count > 1 else ''}. Left, $\\eta={step}$ for all; right, "
        f"$\\eta={result.settings['inferred_step_size']}\\sqrt{{m}}$; dotted, as published.",
        alt,
        table,
    )
