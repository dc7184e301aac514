"""Exponents and spreads: how measured series are summarised in verdicts and captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from companion.lab.words import number


@dataclass(frozen=True)
class PowerLaw:
    """A power law through measured values, by least squares on logarithms.

    Attributes:
        exponent: of the law.
        error: its standard error.
        low: least exponent of its confidence interval.
        high: largest exponent of it.
        sizes: how many different sizes it goes through.
    """

    exponent: float
    error: float
    low: float
    high: float
    sizes: int

    @classmethod
    def through(
        cls, samples: xr.DataArray, along: str = "width", confidence: float = 0.95
    ) -> "PowerLaw":
        """The law through positive samples at every size.

        Sample by sample the law may have a factor of its own, as where every seed has data of its
        own that all sizes share; the exponent is one for all.

        Args:
            samples: with a dimension `along`; all others are samples of their own.
            along: the dimension of the sizes, which are its coordinate.
            confidence: of the interval.

        Returns:
            The law; one that nothing is known of, with an interval that holds every number, where
            there are too few sizes or samples to tell its error, or one is not positive or finite.

        Raises:
            KeyError: the sizes are not told.
        """
        sizes = np.asarray(samples.indexes[along], dtype=float)
        count = len(set(sizes))
        unknown = cls(np.nan, np.nan, -np.inf, np.inf, count)
        if count < 2:
            return unknown
        values = samples.transpose(along, ...).values.reshape(len(sizes), -1)
        if not ((values > 0) & np.isfinite(values)).all():
            return unknown
        x, y = np.log(sizes) - np.log(sizes).mean(), np.log(values)
        y, free = y - y.mean(axis=0), y.size - y.shape[1] - 1  # a level for every sample, a slope
        if free < 1:
            return unknown
        square = values.shape[1] * float(x @ x)
        slope = float((x @ y).sum()) / square
        error = math.sqrt(float(np.square(y - slope * x[:, None]).sum()) / free / square)
        half = float(stats.t.ppf((1 + confidence) / 2, free)) * error
        return cls(slope, error, slope - half, slope + half, count)


def exponent(samples: xr.DataArray, along: str = "width") -> float:
    """Exponent of the power law through positive samples; see `PowerLaw.through`."""
    return PowerLaw.through(samples, along).exponent


def spread(
    samples: xr.DataArray | np.ndarray | Sequence[float] | float,
    form: str = ".3g",
    kind: str = "seeds",
) -> str:
    """`mean (least to largest over k seeds)`, or the number alone where there is one."""
    values = np.asarray(samples, dtype=float)
    if values.size == 1:
        return number(values.item(), form)
    kind = kind if getattr(samples, "dims", ("seed",)) == ("seed",) else "runs"
    mean, least, largest = (number(f(), form) for f in (values.mean, values.min, values.max))
    return f"{mean} ({least} to {largest} over {values.size} {kind})"


def contraction(misfits: xr.DataArray, widths: xr.DataArray | int, dtype: str) -> xr.DataArray:
    """||u(k+1) - y||^2 / ||u(k) - y||^2 along a run, as long as it is more than rounding.

    Predictions are sums of m terms, so a residual below m eps times the first says nothing.

    Args:
        misfits: squared residuals at steps 0, ..., k, with a dimension `step`.
        widths: m, the units of a layer.
        dtype: of the run, `float32` or `float64`.

    Returns:
        One step fewer, NaN from where the later residual is down at rounding.
    """
    floor = misfits.isel(step=0) * (widths * np.finfo(dtype).eps) ** 2
    later, earlier = misfits.isel(step=slice(1, None)), misfits.isel(step=slice(None, -1))
    # Once it is down there, a residual that rounding lifts again says nothing either.
    measured = (later > floor).astype(int).cumprod("step") == 1
    return later.where(measured) / earlier.values
