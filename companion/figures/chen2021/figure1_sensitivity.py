"""Figures of the experiment chen2021/figure1_sensitivity: minimal widths against budgets."""

from typing import Any

import numpy as np

from companion.figures.chen2021._widths import FEW, interval, plain_ticks
from companion.figures.panels import Canvas, Drawing, Panel
from companion.figures.style import BLUE, CYCLE, MARKERS
from companion.figures.words import said
from companion.lab.results import Result

SHOWS = {"chen2021-fig1-budget": "chen2021-fig1-budget"}

# What is varied in the first panel; the rest stands in the second.
STEPS = ("smaller steps", "larger steps", "smaller batches", "smaller alpha")
MAIN = "main reading"


def fig1_budget(result: Result) -> Drawing:
    """The minimal width at one n against the budget, choice by choice."""
    s = result.settings
    sets = [[c for c in s["choices"][1:] if (c in STEPS) == first] for first in (True, False)]
    canvas = Canvas(2, sharey=True)
    for name, choices in zip(("steps and batches", "images and optimisers"), sets, strict=True):
        panel = canvas.panel(name, "budget in epochs", ("minimal width", "minimal width $m$"))
        panel.axes.set(xscale="log", yscale="log")
        for place, choice in enumerate([MAIN, *choices]):
            _curve(panel, result, choice, place)
        plain_ticks(panel.axes.xaxis, FEW)
        plain_ticks(panel.axes.yaxis)
        panel.axes.tick_params("x", rotation=45)
        # Above: within, the curve of gradient descent leaves no room.
        panel.legend("lower left", bbox_to_anchor=(0, 1), ncols=2)
    return canvas.drawing(
        f"The minimal width at $n={s['count']}$ against the budget within which zero training "
        "error has to be reached, for the main reading with the ends of its interval, and with "
        "one thing replaced at a time; an epoch of gradient descent is one step. There is no "
        "point where the interval reaches out of the widths that were tried.",
        "Two panels of minimal width against budget, both logarithmic. "
        + said(
            result,
            "The curve of the main reading falls as the budget grows.",
            "chen2021-fig1-budget",
        ),
    )


def _curve(panel: Panel, result: Result, choice: str, place: int) -> None:
    """One choice, at the budgets at which there is a width."""
    one = result.found.sel(choice=choice)
    at = np.isfinite(one.width.values)
    if not at.any():
        return
    budgets = one.budget.values[at]
    if choice == MAIN:
        interval(panel, MAIN, budgets, one.low.values[at], one.high.values[at], BLUE)
    style: dict[str, Any] = {"marker": MARKERS[place], "ms": 5, "label": choice}
    panel.curve(choice, budgets, one.width.values[at], CYCLE[place], **style)
