"""The linearised networks (NTRF) of Chen et al. (2021): least loss, radii and margins, with gaps.

Each number here is the optimum of a convex problem over the parameters, into which only Gram
matrices enter. It is solved in the dual, in n variables, by SciPy's `trust-exact`: Newton's method
within a trust region. A dual point also gives parameters, and the true optimum lies between the
values that the two reach, whatever the solver did.

Radii are distances rho of parameters; the paper's R is m^alpha rho. From Gram matrices divided by
m^(2 alpha) they come out as R, and margins as the paper's gamma.

Gram matrices, labels and predictions may be torch tensors or NumPy arrays.
"""

from companion.ntrf._norms import Ball
from companion.ntrf.optimum import Optimum
from companion.ntrf.quantities import (
    class_value,
    ji_telgarsky_margin,
    margin_target,
    ntrf_margin,
    regression_radius,
    smallest_radius,
)

__all__ = [
    "Ball",
    "Optimum",
    "class_value",
    "ji_telgarsky_margin",
    "margin_target",
    "ntrf_margin",
    "regression_radius",
    "smallest_radius",
]
