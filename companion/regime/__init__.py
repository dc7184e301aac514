"""Whether a network on given data is in the regime of the four papers' theorems."""

from companion.regime.demands import Demand, demands
from companion.regime.quantities import Measured, Quantities, quantities

__all__ = [
    "Demand",
    "Measured",
    "Quantities",
    "demands",
    "quantities",
]
