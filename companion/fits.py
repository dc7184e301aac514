"""Exponents and spreads: how measured series are summarised in verdicts and captions."""

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
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)))
    return slope, error


def spread(samples: np.ndarray | Sequence[float], form: str = ".3g") -> str:
    """`mean (least to largest over k seeds)`, or the number alone where there is one."""
    values = np.asarray(samples, dtype=float)
    if values.size == 1:
        return f"{values.item():{form}}"
    return (
        f"{values.mean():{form}} ({values.min():{form}} to {values.max():{form}} over "
        f"{values.size} seeds)"
    )
