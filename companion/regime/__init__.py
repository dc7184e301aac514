"""What the theorems of the four papers ask about data and networks, and what they ask for.

Whether a network is in their regime is found out by `companion.regime.examination`, which trains.
"""

from companion.regime.demands import Demand, demands
from companion.regime.quantities import Measured, Quantities, quantities

__all__ = [
    "Demand",
    "Measured",
    "Quantities",
    "demands",
    "quantities",
]
