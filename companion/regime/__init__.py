"""Whether a network on given data is in the regime of the four papers' theorems."""

from companion.regime.demands import Demand, demands
from companion.regime.examination import examination_memory, examine
from companion.regime.quantities import Measured, Quantities, quantities
from companion.regime.report import Curves, Departure, Report, Run

__all__ = [
    "Curves",
    "Demand",
    "Departure",
    "Measured",
    "Quantities",
    "Report",
    "Run",
    "demands",
    "examination_memory",
    "examine",
    "quantities",
]
