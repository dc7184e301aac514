"""The inequalities between a loss and its slope, Assumptions 3.2 and 4.4 of 2018, on margins."""

import torch
from torch import Tensor

from companion.losses import Loss


def values_and_slopes(loss: Loss, margins: Tensor) -> tuple[Tensor, Tensor]:
    """L and -l' on margins, of the same shape."""
    ones = torch.ones_like(margins)
    return loss.values(margins, ones), -loss.derivatives(margins, ones)


def shares_of_cut(loss: Loss, margins: Tensor, level: float, factor: float, p: float) -> Tensor:
    """-l' over min{level, factor l^p}, where the loss is positive, shape (those,).

    Args:
        loss: of the margin.
        margins: shape (n,).
        level: alpha_0 of Assumption 3.2, or rho_0 of 4.4.
        factor: alpha_1, or rho_1.
        p: the exponent; of 0, l^p is 1 where the loss is positive.
    """
    values, slopes = values_and_slopes(loss, margins)
    positive = values > 0
    return slopes[positive] / (factor * values[positive] ** p).clamp(max=level)
