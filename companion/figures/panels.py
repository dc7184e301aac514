"""Panels: the call that draws a curve also records it, so that a figure's table is what it shows.

A figure function makes a `Canvas`, takes its panels from left to right, draws on them and ends with
`canvas.drawing(caption, alt)`. The tables of all figures have the columns `COLUMNS`, a row for
every point drawn. Labels, legends and notes are no data and are not recorded.

The same function draws a figure's form for phones: within `narrow()` the panels of a canvas stand
below each other, on a sheet so narrow that its letters are legible as wide as a phone's screen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from companion.figures.style import FAINT, INK, legible

COLUMNS = {
    "panel": "part of the figure; 'panels' lists them from left to right, with both axes",
    "curve": "curve, set of points, reference line or strip within the panel",
    "x_quantity": "what x is; nothing has a unit but what is named here",
    "x": "place on the horizontal axis; empty for a line or strip across the whole panel",
    "y_quantity": "what y, low and high are",
    "y": "place on the vertical axis; empty for a vertical line and for a strip",
    "low": "lower edge of the band or strip; of a band, the least sample",
    "high": "upper edge of the band or strip; of a band, the largest sample",
    "summary": "what y is of how many samples, such as 'mean of 5'; 'value' if there is one",
}

# A quantity's name in tables, and how its axis is labelled if that is not the name.
Quantity = str | tuple[str, str]

# For a note's `xycoords`: x in the data, y from 0 at the bottom to 1 at the top of the panel.
AT_X = ("data", "axes fraction")


# Inches. At this width a letter of 9 points has 10 pixels on a screen of 360.
_NARROW_WIDTH = 4.0
_NARROW: ContextVar[bool] = ContextVar("narrow", default=False)


@contextmanager
def narrow() -> Iterator[None]:
    """Draw for a phone."""
    token = _NARROW.set(True)
    try:
        yield
    finally:
        _NARROW.reset(token)


@dataclass(frozen=True)
class Drawing:
    """A figure with everything a reader needs to use it.

    Attributes:
        figure: the matplotlib figure.
        caption: one or two sentences, Markdown with $mathematics$; numbers come from the result.
        alt: what a reader who cannot see it should know.
        table: the numbers drawn, as columns of equal length, `COLUMNS` first; None is empty.
        panels: panel -> the quantity, the label and the scale of its axes, from left to right.
    """

    figure: Figure
    caption: str
    alt: str
    table: Mapping[str, Sequence[Any]]
    panels: Mapping[str, Mapping[str, Mapping[str, str]]]


class Canvas:
    """A figure with a row of panels, or on a phone a column of them.

    Args:
        columns: how many; more make the figure wider.
        height: of a panel, in inches; None for what plots usually have.
        sharex: whether they have one horizontal scale.
        sharey: whether they have one vertical scale, which is labelled once in a row.
    """

    def __init__(
        self,
        columns: int = 1,
        *,
        height: float | None = None,
        sharex: bool = False,
        sharey: bool = False,
    ) -> None:
        self.stacked = _NARROW.get()
        rows, width = 1, 6.4 if columns == 1 else 4.2 * columns
        if self.stacked:
            rows, columns, width = columns, 1, _NARROW_WIDTH
        height = height or (3.2 if self.stacked else 4.0)
        self.figure = Figure(figsize=(width, rows * height))
        self._axes = self.figure.subplots(
            rows, columns, sharex=sharex, sharey=sharey, squeeze=False
        ).ravel()
        self._one_y = sharey and not self.stacked
        self._panels: list[Panel] = []

    def panel(
        self,
        name: str,
        x: Quantity,
        y: Quantity,
        *,
        log: str = "",
        title: str = "",
        rows: Sequence[str] = (),
    ) -> "Panel":
        """The next panel from the left.

        Args:
            name: in the table.
            x: what its horizontal axis shows.
            y: what its vertical axis shows.
            log: which axes are logarithmic: `x`, `y` or `xy`.
            title: above the panel.
            rows: names of the places on the vertical axis, from 0 on, if it has no numbers.
        """
        panel = Panel(self._axes[len(self._panels)], name, _pair(x), _pair(y), rows)
        axes, labelled = panel.axes, not (self._one_y and self._panels)
        axes.set_xlabel(_pair(x)[1])
        axes.tick_params(labelbottom=True)  # matplotlib leaves them out above a shared axis
        if labelled and not rows:
            axes.set_ylabel(_pair(y)[1])
        if labelled and rows:
            axes.set_yticks(range(len(rows)), rows)
        if title:
            axes.set_title(title)
        for axis in log:
            axes.set(**{f"{axis}scale": "log"})
        self._panels.append(panel)
        return panel

    def legend(self, columns: int, handles: Sequence[Artist] = ()) -> None:
        """Explain curves below all panels, where those have no room for it.

        Args:
            columns: how many entries stand beside each other; on a phone one.
            handles: what is explained, each with a label; else the last panel's labelled curves.
        """
        shown = handles or self._panels[-1].axes.get_legend_handles_labels()[0]
        columns = 1 if self.stacked else columns
        self.figure.legend(handles=list(shown), loc="outside lower center", ncols=columns)

    def drawing(self, caption: str, alt: str) -> Drawing:
        """What was drawn, with its table."""
        points = [point for panel in self._panels for point in panel.points_drawn]
        columns = dict.fromkeys([*COLUMNS, *(name for point in points for name in point)])
        table = {name: [_plain(point.get(name)) for point in points] for name in columns}
        return Drawing(
            self.figure, caption, alt, table, {p.name: p.described() for p in self._panels}
        )


class Panel:
    """One set of axes; its methods draw data and record it, except `note`, `legend` and `sizes`.

    Args:
        axes: to draw on; open for ticks and limits.
        name: in the table.
        x: name and label of the horizontal quantity.
        y: name and label of the vertical one.
        rows: names of the places on the vertical axis, if it has no numbers.
    """

    def __init__(
        self,
        axes: Axes,
        name: str,
        x: tuple[str, str],
        y: tuple[str, str],
        rows: Sequence[str] = (),
    ) -> None:
        self.axes, self.name = axes, name
        self.points_drawn: list[dict[str, Any]] = []
        self._x, self._y, self._rows = x, y, rows

    def curve(
        self,
        name: str,
        x: ArrayLike,
        y: ArrayLike,
        color: Any,
        *,
        end: str = "",
        band: bool = True,
        middle: Callable[..., Any] = np.mean,
        **style: Any,
    ) -> np.ndarray:
        """Draw a line, or the middle of samples with their range as a band.

        Args:
            name: in the table.
            x: places, shape (points,).
            y: values, shape (points,), or samples of them, shape (samples, points).
            color: of all of it.
            end: the curve's name at its right end, in place of a legend entry.
            band: whether the range of samples is drawn.
            middle: which middle is drawn, np.mean or np.median.
            **style: matplotlib's, for the line; `label` makes a legend entry.

        Returns:
            The line's values, shape (points,).
        """
        x, samples = np.asarray(x), np.atleast_2d(np.asarray(y))
        line: np.ndarray = middle(samples, axis=0)
        edges: tuple[Any, Any] = (None, None)
        if band and len(samples) > 1:
            edges = samples.min(axis=0), samples.max(axis=0)
            self.axes.fill_between(x, *edges, color=color, alpha=0.2, lw=0)
        self.axes.plot(x, line, color=color, **style)
        if end:
            clear = 7 if "marker" in style else 4
            self.note(end, (x[-1], line[-1]), color, (clear, 0), va="center")
        several = f"{middle.__name__} of {len(samples)}"
        self._record(name, x, line, *edges, summary=several if len(samples) > 1 else "value")
        return line

    def guide(
        self, name: str, x: ArrayLike, start: float, power: float, color: Any = FAINT, **style: Any
    ) -> np.ndarray:
        """Draw, dashed, what is proportional to a power of x and starts at `start`.

        Returns:
            Its values, shape (points,).
        """
        x = np.asarray(x, dtype=float)
        return self.curve(name, x, start * (x / x[0]) ** power, color, ls="--", **style)

    def arrow(
        self, name: str, base: tuple[float, float], tip: tuple[float, float], color: Any
    ) -> None:
        """Draw an arrow between two places in the panel, which are recorded."""
        x, y = zip(base, tip, strict=True)
        self.curve(name, x, y, color, lw=2.2)
        head = {"arrowstyle": "-|>", "color": color, "lw": 2.2, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", tip, base, arrowprops={**head, "mutation_scale": 14})

    def points(self, name: str, x: ArrayLike, y: ArrayLike, color: Any, **style: Any) -> None:
        """Draw single points; x and y are broadcast against each other."""
        x, y = (array.ravel() for array in np.broadcast_arrays(x, y))
        self.axes.plot(x, y, color=color, **{"marker": "o", "ls": "", **style})
        self._record(name, x, y)

    def by_row(
        self,
        name: str,
        x: Sequence[float],
        colors: Sequence[Any],
        *,
        since: ArrayLike | None = None,
        stem: Mapping[str, Any] | None = None,
        filled: Sequence[bool] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        **style: Any,
    ) -> None:
        """Draw a point in each row of a panel with `rows`.

        Args:
            name: in the table.
            x: a value per row.
            colors: a colour per row.
            since: where a line to the point starts, one place or one per row; None for no line.
            stem: style of those lines.
            filled: which points are filled, the others are white inside; None for all.
            columns: what else the table should say of each row.
            **style: matplotlib's, for the points.
        """
        places = np.arange(len(self._rows))
        if since is not None:
            self.axes.hlines(places, since, x, **(stem or {}))
        if filled is not None:
            faces = [c if full else "white" for c, full in zip(colors, filled, strict=True)]
            style = {"facecolors": faces, "edgecolors": colors, "linewidths": 1.8, **style}
        else:
            style = {"color": colors, **style}
        self.axes.scatter(x, places, zorder=3, **style)
        self._record(name, x, self._rows, more=columns or {})

    def level(self, name: str, y: float, color: Any, **style: Any) -> None:
        """Draw a horizontal line across the panel."""
        self.axes.axhline(y, color=color, **style)
        self._record(name, [None], [y])

    def upright(self, name: str, x: float, color: Any, **style: Any) -> None:
        """Draw a vertical line across the panel."""
        self.axes.axvline(x, color=color, **style)
        self._record(name, [x], [None])

    def strip(self, name: str, low: float, high: float, color: Any) -> None:
        """Shade what lies between two levels."""
        self.axes.axhspan(low, high, color=color, alpha=0.35, lw=0)
        self._record(name, [None], [None], [low], [high])

    def note(
        self,
        text: str,
        at: tuple[Any, Any],
        color: Any,
        shift: tuple[float, float] = (4, 0),
        **style: Any,
    ) -> None:
        """Write a text `shift` points away from a place, in `color` or darker, to be legible."""
        style = {"fontsize": 9, "annotation_clip": False, "color": legible(color), **style}
        self.axes.annotate(text, at, xytext=shift, textcoords="offset points", **style)

    def legend(self, place: str = "best", **style: Any) -> None:
        """Explain the curves that were drawn with a `label`, if any was."""
        if "handles" in style or self.axes.get_legend_handles_labels()[0]:
            self.axes.legend(**{"loc": place, **style})

    def sizes(self, sizes: ArrayLike) -> None:
        """Mark these sizes on a logarithmic horizontal axis, and nothing between them."""
        self.axes.set_xticks(sizes, [f"{size:g}" for size in np.asarray(sizes)])
        self.axes.minorticks_off()

    def few_decades(self, which: Literal["x", "y"] = "y") -> None:
        """Number 1, 2 and 5 of each decade of a logarithmic axis, as plain numbers."""
        axis = self.axes.xaxis if which == "x" else self.axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter("")

    def described(self) -> dict[str, dict[str, str]]:
        """Quantity, label and scale of both axes."""
        vertical = "rows" if self._rows else self.axes.get_yscale()
        return {
            axis: {"quantity": quantity, "label": label, "scale": scale}
            for axis, (quantity, label), scale in (
                ("x", self._x, self.axes.get_xscale()),
                ("y", self._y, vertical),
            )
        }

    def _record(
        self,
        curve: str,
        x: Any,
        y: Any,
        low: Any = None,
        high: Any = None,
        *,
        summary: str = "value",
        more: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    ) -> None:
        count = len(x)
        columns: dict[str, Sequence[Any]] = {
            "panel": [self.name] * count,
            "curve": [curve] * count,
            "x_quantity": [self._x[0]] * count,
            "x": x,
            "y_quantity": [self._y[0]] * count,
            "y": y,
            "low": [None] * count if low is None else low,
            "high": [None] * count if high is None else high,
            "summary": [summary] * count,
            **more,
        }
        self.points_drawn += [
            dict(zip(columns, point, strict=True)) for point in zip(*columns.values(), strict=True)
        ]


def entry(label: str, color: Any = INK, **style: Any) -> Line2D:
    """What explains a marker or a line in a legend where no curve of one colour does."""
    return Line2D([], [], color=color, label=label, **{"ls": "", **style})


def _pair(quantity: Quantity) -> tuple[str, str]:
    return (quantity, quantity) if isinstance(quantity, str) else quantity


def _plain(value: Any) -> Any:
    """A JSON value: numpy scalars as Python's, NaN as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value
