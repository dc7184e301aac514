"""One look for every figure: colour-blind safe, legible in print, on light and on dark pages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Table = Mapping[str, Sequence[Any] | np.ndarray]

# The Okabe-Ito hues, in the order that keeps neighbours apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
)
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
INK, FAINT = "#222222", "#8a8a8a"

RC: Any = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 200,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.fonttype": "path",
    "svg.hashsalt": "companion",
    "pdf.fonttype": 42,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in this style alone: of a user's own matplotlibrc nothing is left."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def new(columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure with a row of axes; wider for more columns."""
    figure = Figure(figsize=(6.4 if columns == 1 else 4.2 * columns, 4.0))
    axes = figure.subplots(1, columns, squeeze=False, **options)
    return figure, list(axes[0])


def by_size(sizes: Sequence[float]) -> list[Any]:
    """One colour per size, light to dark with growing size, legible on both backgrounds."""
    logs = np.log(np.asarray(sizes, dtype=float))
    spread = max(logs.max() - logs.min(), 1e-12)
    return [mpl.colormaps["viridis"](0.66 - 0.6 * (log - logs.min()) / spread) for log in logs]


def name_sizes(axes: Axes, sizes: Sequence[int] | np.ndarray) -> None:
    """Mark the sizes themselves on a logarithmic axis, and nothing between them."""
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


def label_line(axes: Axes, x: Any, y: Any, text: str, color: Any) -> None:
    """Write a curve's name at its right end, in its colour, instead of a legend entry."""
    axes.annotate(
        text, (float(x[-1]), float(y[-1])), xytext=(4, 0), textcoords="offset points",
        color=color, va="center", fontsize=9, annotation_clip=False,
    )  # fmt: skip


def band(axes: Axes, x: Any, samples: np.ndarray, color: Any, **options: Any) -> np.ndarray:
    """Draw and return the mean of `samples`, shape (seeds, points), with their range as a band."""
    mean: np.ndarray = samples.mean(axis=0)
    if len(samples) > 1:
        axes.fill_between(x, samples.min(axis=0), samples.max(axis=0), color=color, alpha=0.2, lw=0)
    axes.plot(x, mean, color=color, **options)
    return mean


def stack(series: Mapping[str, tuple[Any, Any]], x: str, y: str) -> Table:
    """Curves of unequal length as one long table: curve, x, y."""
    return {
        "curve": [name for name, (xs, _) in series.items() for _ in xs],
        x: [value for xs, _ in series.values() for value in xs],
        y: [value for _, ys in series.values() for value in ys],
    }
