"""How far a run is from the width that a theorem asks for."""

from collections.abc import Callable
from typing import Protocol

import xarray as xr

from companion.bounds.du2019 import explicit_width
from companion.lab.words import number


class _Settings(Protocol):
    @property
    def count(self) -> int: ...

    @property
    def delta(self) -> float: ...


def needed_width(
    theorem: Callable[[int, float, float, float], float], settings: _Settings, found: xr.Dataset
) -> float:
    """The explicit width of a theorem at the mean lambda_0, for labels of E ||y||^2 = n."""
    lambda_0 = float(found["lambda_0"].mean())
    return explicit_width(theorem, settings.count, lambda_0, settings.delta, settings.count)


def unmet(needed: float, widest: int) -> str:
    """The words for a width that the theorem asks for and no run has; nothing where one has it."""
    if widest >= needed:
        return ""
    least = number(needed, ".1g")
    return f"the constants of the proof ask for a width of {least}, and at most {widest} was run"
