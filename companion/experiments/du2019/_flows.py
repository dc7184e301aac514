"""What the gradient flows of the first layer and of both layers share: settings and measures."""

import math
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.bounds.du2019 import theorem_3_2
from companion.lab.settings import Probability, SeveralSizes, Share, Size, SphereSettings


class FlowSettings(SphereSettings):
    """Settings of gradient flows at several widths.

    Attributes:
        widths: m, in increasing order.
        horizon: last time of the flow, as a multiple of 1 / lambda_0.
        points: recorded times, 0 included, equally spaced.
        tolerance: of the solver. Sliding units make its cost grow like 1 / tolerance.
        delta: failure probability in the explicit width.
    """

    seeds: Size = 6
    widths: SeveralSizes = (200, 800, 3200)
    horizon: Annotated[float, Field(ge=1)] = 4.0
    points: Annotated[int, Field(ge=5)] = 25
    tolerance: Share = 5e-6
    delta: Probability = 0.1

    def times(self, lambda_0: float) -> np.ndarray:
        """When to record."""
        return np.linspace(0, self.horizon / lambda_0, self.points)

    def evaluations(self, width: int) -> float:
        """How often the solver asks for the velocity (about m^-1/2, measured)."""
        return self.points * (4 + 10 / (self.tolerance * 1e5) * math.sqrt(800 / width))


def bound_shares(found: xr.Dataset) -> xr.DataArray:
    """Misfit over exp(-lambda_0 t) times the first, at t > 0, the largest of each run."""
    start = found.misfit.isel(time=0)
    bound = xr.apply_ufunc(theorem_3_2, found.times, found.lambda_0, start)
    shares: xr.DataArray = (found.misfit / bound).isel(time=slice(1, None)).max("time")
    return shares


def least_ratios(found: xr.Dataset) -> xr.DataArray:
    """Least lambda_min(H(t)) / lambda_0 of each run."""
    ratios: xr.DataArray = (found.lambda_min / found.lambda_0).min("time")
    return ratios


def farthest(found: xr.Dataset, name: str = "distance") -> xr.DataArray:
    """Largest value of each run over ||y - u(0)||, to which the theory has it proportional."""
    distances: xr.DataArray = found[name].max("time") / np.sqrt(found.misfit.isel(time=0))
    return distances


def under(hypothesis: xr.DataArray, shares: xr.DataArray) -> xr.DataArray:
    """Shares of a bound in the runs that meet a hypothesis, the others as 0; all if none does."""
    return shares.where(hypothesis, 0.0) if bool(hypothesis.any()) else shares


def never(hypothesis: xr.DataArray) -> str:
    """The words for lambda_min(H) >= lambda_0 / 2 where no run meets it; else nothing."""
    if hypothesis.any():
        return ""
    return r"$\lambda_{\min}(H)$ fell below $\lambda_0/2$ in every run"
