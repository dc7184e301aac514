"""Figures of the experiment du2019/figure1: the paper's three panels, and what explains them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing, Quantity
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, INK, RED, by_size
from companion.figures.words import over_seeds, said
from companion.lab.catalog import published
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {
    "du2019-fig1a-stated": "du2019-fig1a",
}

# On top of our curves, which they may lie on: a dot at every tenth of the points of the line.
PUBLISHED: Any = {
    "ls": ":", "lw": 1.3, "marker": "o", "ms": 3.5, "mfc": "white", "mew": 1, "markevery": 10
}  # fmt: skip


def fig1a(result: Result) -> Drawing:
    """Log of the mean squared residual per epoch."""
    return _as_published(
        result,
        np.log(result.arrays["misfit"]),
        "du2019_fig1a",
        "ln (mean squared residual)",
        "Logarithm of the training error, the mean squared residual,",
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
        together=True,
    )


def fig1b(result: Result) -> Drawing:
    """Share of activations that differ from initialisation per epoch."""
    return _as_published(
        result,
        result.arrays["flips"],
        "du2019_fig1b",
        "share of activations changed",
        "Share of the activations that differ from those at initialisation",
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
        np.square(result.arrays["distance"].astype(float)),
        "du2019_fig1c",
        ("squared largest distance of a unit", r"$\max_r\|w_r(k)-w_r(0)\|^2$"),
        "Squared distance of the farthest unit from its start (the published panel is inferred to "
        "be squared)",
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
    ends = (widths[0], widths[-1])
    panel.guide("square root of m", np.geomspace(*ends, 65), 1, 1 / 2, label=r"$\sqrt{m}$")
    for name, label, samples, color, mark in (
        ("speed, inferred step size", "speed, inferred step size", speed[..., 1], RED, "o"),
        ("speed, one step size", "speed, one step size", speed[..., 0], BLUE, "s"),
        ("least eigenvalue at the end", at_end, relative, INK, "x"),
    ):
        panel.curve(name, widths, samples, color, marker=mark, ms=6, label=label)
    panel.axes.set_xscale("log")
    panel.sizes(widths)
    panel.legend("upper left")
    return canvas.drawing(
        "How fast networks train, and how large the least eigenvalue of their Gram matrix is at "
        f"the last epoch, relative to the narrowest, $m={widths[0]}$. Speed is the fall of the "
        f"logarithm of the error from the first epoch to the last. At $m={widths[-1]}$ the "
        f"eigenvalue is {v['lambda_ratio']:.3f} times as large; the speed is "
        f"{v['speed_ratio_inferred']:.2f} times as large with the inferred step size, which grows "
        f"like $\\sqrt m$, and {v['speed_ratio_fixed']:.2f} times with one step size.",
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
    result: Result,
    samples: np.ndarray,
    source: str,
    y: Quantity,
    title: str,
    alt: str,
    together: bool = False,
) -> Drawing:
    """One panel of the paper under both conventions, its own curves on top where they belong.

    Args:
        result: judged.
        samples: seeds, widths, conventions, epochs.
        source: of the published curves.
        y: what is drawn.
        title: of the caption.
        alt: what the verdicts say.
        together: whether the curves of one step size end together, too near to be named there.
    """
    s, curves = result.settings, published(source)
    widths, epochs = s["widths"], np.arange(samples.shape[-1])
    canvas = Canvas(2, sharey=True)
    fixed, inferred = (
        canvas.panel(name, ("epoch", "epoch k"), y, title=above)
        for name, above in (
            ("one step size", "one step size for all widths"),
            ("inferred step size", "step size $10^{-3}\\sqrt{m}$ (inferred)"),
        )
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        named: dict[str, Any] = {"label": name} if together else {"end": name}
        fixed.curve(name, epochs, samples[:, index, 0], color, **named)
        inferred.curve(name, epochs, samples[:, index, 1], color, end=name)
    shown = [width for width in widths if f"width_{width}" in curves]
    for width in shown:
        name, known = f"m = {width}, as published", curves[f"width_{width}"]
        label = "as published" if width == shown[0] else None
        inferred.curve(name, curves["epoch"], known, INK, **PUBLISHED, label=label)
    for panel in (fixed, inferred) if together else (inferred,):
        panel.legend("lower left" if together else "upper left")
    return canvas.drawing(
        f"{title} for networks of {listed(widths)} units, {over_seeds(samples)}. Left, every width "
        f"has the step size $\\eta={s['fixed_step_size']}$; right, "
        f"$\\eta={s['inferred_step_size']}\\sqrt m$, which is inferred. {_read_off(shown, widths)}",
        f"Two panels against the epoch, with a curve for each width and, on the right, "
        f"{len(shown)} published ones. {alt}",
    )


def _read_off(shown: Sequence[int], widths: Sequence[int]) -> str:
    """Which published curves are drawn, and where."""
    if not shown:
        return "Of these widths no published curve has been read off."
    which = "" if list(shown) == list(widths) else f" those of $m=$ {listed(shown)},"
    return (
        "The published curves,"
        f"{which} as far as they were read off the paper, stand on the right only (dots on a "
        "dotted line)."
    )
