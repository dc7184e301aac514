"""One look for every figure: colour-blind safe, legible in print, on light and on dark pages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler

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


def by_size(sizes: Sequence[float]) -> list[Any]:
    """One colour per size, light to dark with growing size, legible on both backgrounds."""
    logs = np.log(np.asarray(sizes, dtype=float))
    spread = max(logs.max() - logs.min(), 1e-12)
    return [mpl.colormaps["viridis"](0.66 - 0.6 * (log - logs.min()) / spread) for log in logs]
