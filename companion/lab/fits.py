"""Exponents and spreads: how measured series are summarised in verdicts and captions."""

import math
from collections.abc import Sequence

import numpy as np


def log_log_slope(sizes: Sequence[float] | np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Exponent of a power law by least squares on logarithms, and its standard error.

    Args:
        sizes: shape (k,), at least 3 of them.
        values: positive, shape (k,) or (seeds, k); every seed is a sample of its own.
    """
    samples = np.atleast_2d(values)
    x = np.tile(np.log(np.asarray(sizes, dtype=float)), len(samples))
    y = np.log(samples).ravel()
    fit, covariance = np.polyfit(x, y, 1, cov=True)
    return float(fit[0]), math.sqrt(covariance[0, 0])


def spread(samples: np.ndarray | Sequence[float], form: str = ".3g") -> str:
    """`mean (least to largest over k seeds)`, or the number alone where there is one."""
    values = np.asarray(samples, dtype=float)
    if values.size == 1:
        return f"{values.item():{form}}"
    return (
        f"{values.mean():{form}} ({values.min():{form}} to {values.max():{form}} over "
        f"{values.size} seeds)"
    )


def contraction(misfits: np.ndarray, width: int | np.ndarray, dtype: str) -> np.ndarray:
    """||u(k+1) - y||^2 / ||u(k) - y||^2 along a run, as long as it is more than rounding.

    Predictions are sums of m terms, so a residual below m eps times the first says nothing.

    Args:
        misfits: squared residuals at steps 0, ..., k, shape (..., k + 1).
        width: m, a number or an array that broadcasts against (..., k).
        dtype: of the run, `float32` or `float64`.

    Returns:
        Shape (..., k), NaN where the later residual is down at rounding.
    """
    floor = misfits[..., :1] * (width * np.finfo(dtype).eps) ** 2
    ratios: np.ndarray = np.full(misfits[..., 1:].shape, np.nan)
    np.divide(misfits[..., 1:], misfits[..., :-1], out=ratios, where=misfits[..., 1:] > floor)
    return ratios
