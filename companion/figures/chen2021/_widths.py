"""What figures of minimal widths have in common: ticks of few decades, ends of intervals."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from companion.figures.panels import Panel

INTERVAL = "95 % interval"
# Of each decade.
FEW, MANY = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def plain_ticks(axis: Axis, numbered: Sequence[float] = MANY) -> None:
    """Number some places of each decade of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=numbered))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def interval(
    panel: Panel, name: str, x: ArrayLike, low: ArrayLike, high: ArrayLike, color: Any
) -> None:
    """Both ends of an interval as dotted lines, named once in the legend.

    Args:
        panel: to draw on.
        name: of what it is an interval of; the lines are that and which end they are.
        x: places, shape (points,).
        low: ends, shape (points,).
        high: likewise.
        color: of both.
    """
    panel.curve(f"{name}, lower end", x, low, color, lw=1, ls=":")
    panel.curve(f"{name}, upper end", x, high, color, lw=1, ls=":", label=INTERVAL)
