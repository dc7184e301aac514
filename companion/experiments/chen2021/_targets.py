"""Settings with several epsilon and alpha, and what becomes of a quantity as epsilon falls."""

from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.experiments.chen2021._problem import Exponent
from companion.lab.settings import Increasing, Share

# What R gains from each to the next has an exponent if there are three gains.
Targets = Annotated[tuple[Share, ...], Field(min_length=4), Increasing]
Exponents = Annotated[tuple[Exponent, ...], Field(min_length=1), Increasing]


def over_inverse(samples: xr.DataArray) -> xr.DataArray:
    """The same with 1/epsilon as coordinate of the dimension `target`, in place of epsilon."""
    return samples.assign_coords(target=1 / samples.target)


def per_factor(radius: xr.DataArray) -> xr.DataArray:
    """What R gains per factor e of 1/epsilon, from each epsilon to the next smaller one.

    Args:
        radius: R, with a dimension `target` whose coordinate is epsilon, in increasing order.

    Returns:
        One place fewer along `target`, with the smaller epsilon of the two as coordinate.
    """
    logs = np.diff(np.log(radius.target.values))
    gains: xr.DataArray = -radius.diff("target", label="lower")
    return gains / xr.DataArray(logs, dims="target", coords={"target": gains.target})
