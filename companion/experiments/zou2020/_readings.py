"""Three ways to compare curves of networks of different widths, all trained at one step size.

At the same iteration k a wider network is further along, since its gradient is larger; at the same
k eta m it is about as far along; at the same loss it is exactly so.
"""

import numpy as np
import xarray as xr

READINGS = ("iteration", "scaled time", "loss")


def common_level(found: xr.Dataset) -> float:
    """The lowest training loss that all runs reach."""
    return float(found.loss.min("step").max())


def compared(found: xr.Dataset, quantity: xr.DataArray) -> xr.DataArray:
    """A quantity of every run where each reading compares the widths.

    That is at the last step; at the step of every width at which k m is that of the narrowest's
    last step; and where the training loss first comes down to the lowest level that all reach.

    Args:
        found: by the run, with `loss`, every step, and the steps `looks`.
        quantity: with dimensions `width` and `look`, and perhaps `seed`.

    Returns:
        With the dimension `reading` in place of `look`.
    """
    places = reading_steps(found)
    looks = found.looks.values.astype(float)

    def at(values: np.ndarray, step: np.ndarray) -> np.ndarray:
        return np.asarray(np.interp(step, looks, values))

    read: xr.DataArray = xr.apply_ufunc(
        at, quantity, places, input_core_dims=[["look"], ["reading"]],
        output_core_dims=[["reading"]], vectorize=True,
    )  # fmt: skip
    return read


def reading_steps(found: xr.Dataset) -> xr.DataArray:
    """The step, a real number, at which each reading looks at each run."""
    last, widths = found.sizes["step"] - 1, found.width
    scaled = last * widths.isel(width=0) / widths
    level = common_level(found)
    reached = xr.apply_ufunc(
        lambda loss: first_at(loss, level), found.loss, input_core_dims=[["step"]], vectorize=True
    )
    at_end = xr.full_like(reached, float(last))
    places: xr.DataArray = xr.concat([at_end, scaled + 0 * reached, reached], "reading")
    return places.assign_coords(reading=list(READINGS))


def first_at(loss: np.ndarray, level: float) -> float:
    """The step, between two steps of its logarithm, at which a loss first comes down to a level.

    NaN where it never does.
    """
    below = np.flatnonzero(loss <= level)
    if below.size == 0:
        return float("nan")
    step = int(below[0])
    if step == 0:
        return 0.0
    before, after = np.log(loss[step - 1]), np.log(loss[step])
    return step - 1 + float((before - np.log(level)) / (before - after))
