"""An optimal value between two bounds, as every quantity of this package is."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import tensor
from companion.ntrf._inputs import Array, signs_of


@dataclass(frozen=True)
class Optimum:
    """An optimal value between two bounds, and the points that prove them.

    Attributes:
        value: what the parameters V reach: `upper` for a loss or a radius, `lower` for a margin.
        lower: at most the true optimum, up to rounding.
        upper: at least the true optimum, up to rounding.
        dual: the dual variables, shape (n,), float64, on the device of the labels.
        coefficients: c, shape (L, n), likewise, of V_l = sum_i c_{l,i} df(x_i)/dW_l. For a
            `ReLUNetwork` that is `network.gradients(network.run(x), c_l)[l]`.
    """

    value: float
    lower: float
    upper: float
    dual: Tensor
    coefficients: Tensor

    @property
    def gap(self) -> float:
        """The duality gap, at least the error of `value`; 0 where both bounds are infinite."""
        return 0.0 if self.lower == self.upper else self.upper - self.lower


def optimum_of(
    value: float,
    lower: float,
    upper: float,
    dual: Array,
    found: Array,
    labels: Tensor,
    layers: int,
) -> Optimum:
    """An optimum as its solver has it, with y in the coefficients and a row of them per layer.

    Args:
        value: as `Optimum` has it; so are `lower`, `upper` and `dual`.
        lower: bound.
        upper: bound.
        dual: shape (n,).
        found: the coefficients over y, of any shape that (L, n) broadcasts from.
        labels: y, shape (n,).
        layers: L.
    """
    rows = np.broadcast_to(found * signs_of(labels), (layers, len(dual)))
    device = tensor("labels", labels).device
    points = (torch.from_numpy(each).to(device) for each in (dual, rows.copy()))
    return Optimum(value, lower, upper, *points)
