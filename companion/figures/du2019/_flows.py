"""The panels that the figures of both gradient flows share."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from companion.figures.style import FAINT, INK, label_line, name_sizes


def misfit_panel(
    axes: Axes, clock: np.ndarray, frozen: np.ndarray, kernel: str, theorem: str
) -> tuple[np.ndarray, np.ndarray]:
    """Add the decay under a frozen kernel and the bound to curves of the relative misfit.

    Args:
        axes: with the measured curves.
        clock: times, in units of 1 / lambda_0.
        frozen: misfits if the Gram matrix stood still, shape (seeds, times).
        kernel: at which it would.
        theorem: whose bound is drawn.

    Returns:
        The two curves added, each of shape (times,).
    """
    decay, bound = (frozen / frozen[:, :1]).mean(axis=0), np.exp(-clock)
    axes.plot(clock, decay, color=INK, ls=":", label=f"{kernel}, linearised")
    axes.plot(clock, bound, color=FAINT, ls="--", label=theorem)
    axes.set_yscale("log")
    axes.set_xlabel(r"time $\lambda_0t$")
    axes.set_ylabel(r"$\|u(t)-y\|^2\,/\,\|u(0)-y\|^2$")
    axes.legend(loc="lower left")
    return decay, bound


def width_panel(axes: Axes, widths: Sequence[int], start: float) -> None:
    """Add a line that falls like m^-1/2 from `start` to curves of what is largest over time."""
    guide = start * (np.array(widths) / widths[0]) ** -0.5
    axes.plot(widths, guide, color=FAINT, ls="--")
    label_line(axes, widths, guide, r"$m^{-1/2}$", FAINT)
    axes.set(xscale="log", yscale="log", xlabel="width m", ylabel="largest over time")
    name_sizes(axes, widths)
