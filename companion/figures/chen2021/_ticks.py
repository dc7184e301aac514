"""Ticks of the figures of minimal widths, which span less than two decades."""

from collections.abc import Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

# Of each decade.
FEW, MANY = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def plain_ticks(axis: Axis, numbered: Sequence[float] = MANY) -> None:
    """Number some places of each decade of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=numbered))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
