"""One look for every figure: colour-blind safe, legible in print, on light and on dark pages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.colors import to_hex, to_rgb

# The Okabe-Ito hues, the three palest of them darker: a line has 3 to 1 on white at least.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072b2",
    "#b87f00",
    "#009e73",
    "#d55e00",
    "#c0669a",
    "#3a94c9",
)
# In the order that keeps neighbours apart; the markers do so where there are no colours.
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#222222", "#707070"
# What text must have on the ground it stands on (WCAG AA).
TEXT_CONTRAST = 4.5

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
    """One colour per size, light to dark with growing size, visible on both backgrounds."""
    logs = np.log(np.asarray(sizes, dtype=float))
    spread = max(logs.max() - logs.min(), 1e-12)
    return [mpl.colormaps["viridis"](0.58 - 0.52 * (log - logs.min()) / spread) for log in logs]


def legible(color: Any) -> str:
    """The colour for text, as dark as text must be on white and no darker; the hue stays."""
    rgb = np.asarray(to_rgb(to_hex(color)))  # as a file shows it, in steps of 1/255
    for share in np.linspace(1, 0, 101):
        if contrast(share * rgb, "white") >= TEXT_CONTRAST:
            break
    return to_hex(share * rgb)


def contrast(color: Any, ground: Any) -> float:
    """How much lighter one of two colours is than the other, from 1 to 21, as WCAG defines it."""
    dark, light = sorted(_luminance(each) for each in (color, ground))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Any) -> float:
    rgb = np.asarray(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
