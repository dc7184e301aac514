"""The papers' losses, their derivatives in the prediction, and the constants the theorems name."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.base.arguments import check_tensors, check_type
from companion.errors import InputError, one_of


@dataclass(frozen=True)
class Loss:
    """A loss of one example: l(z) of the margin z = y f, or (f - y)^2 / 2 of the residual.

    The constants are those of Zou et al. (2018), numbered as in version 3, for the margin losses.
    `math.inf` is a constant that is infinite; None says that none will do, so the assumption
    fails. All margin losses here satisfy Assumption 3.1: continuous, nonincreasing, and l and l'
    tend to 0 as z grows.

    Attributes:
        name: e.g. `cross-entropy`.
        of: l, elementwise, of the margin (or of the residual).
        slope_of: l', elementwise; where l has a kink, its limit from the right.
        of_margin: True for l(y f), with labels -1 and +1; False for a loss of f - y.
        p: exponent of Assumption 3.2, -l' >= min{alpha_0, alpha_1 l^p}. The hinge satisfies it
            with every p in (0, 1]; stored is their infimum 0, for which l^p is read as 1{l > 0}.
        alpha_0: of Assumption 3.2.
        alpha_1: of Assumption 3.2, the largest beside that alpha_0 (for the hinge any will do).
        rho_0: of Assumption 4.4, `|l'| <= min{rho_0, rho_1 l^p}`, the least. The assumption also
            asks alpha_0 < rho_0 and alpha_1 < rho_1; where they are equal take any smaller alpha.
        rho_1: of Assumption 4.4, the least.
        smoothness: least lambda with `|l''| <= lambda` almost everywhere, Assumption 3.3 (3.4 in
            version 1); None if l' jumps, and then no lambda will do.
        lipschitz: least rho with `|l'| <= rho`, Assumption 3.3 of version 1, dropped in version 3.
        value_at_0: l(0), which Corollary 4.3 divides by n: a lower mean loss is zero training
            error. For the quadratic loss its value at f = 0 with labels -1 and +1.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    slope_of: Callable[[Tensor], Tensor]
    of_margin: bool
    p: float | None
    alpha_0: float | None
    alpha_1: float | None
    rho_0: float | None
    rho_1: float | None
    smoothness: float | None
    lipschitz: float | None
    value_at_0: float

    def values(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Losses of every example; float32 and float64 on any device.

        Only the exponential can overflow, to inf, and only where e^-z exceeds the largest number
        of the dtype (z < -88.7 in float32, z < -709.7 in float64).

        Args:
            predictions: f, shape (..., n): a network's, or a fleet's, one row a member.
            labels: y, shape (n,), or more of the trailing dimensions of `predictions`. -1 or +1
                for a margin loss, which `check_labels` ensures once rather than this at each step.

        Returns:
            Shape (..., n).

        Raises:
            InputError: shapes that do not fit, or predictions of another dtype.

        Example:
            >>> CROSS_ENTROPY.values(torch.tensor([0.0, 2.0]), torch.tensor([1.0, -1.0]))
            tensor([0.6931, 2.1269])
        """
        _check(predictions, labels)
        return self.of(labels * predictions if self.of_margin else predictions - labels)

    def derivatives(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Derivative of every example's loss in its prediction f: y l'(y f), or f - y.

        Same shapes and errors as `values`.
        """
        _check(predictions, labels)
        if self.of_margin:
            return labels * self.slope_of(labels * predictions)
        return self.slope_of(predictions - labels)


def check_labels(labels: Tensor) -> None:
    """Refuse labels, shape (n,), that a margin loss cannot take.

    Raises:
        InputError: a label is neither -1 nor +1.
    """
    check_tensors(labels=labels)
    off = (labels != 1) & (labels != -1)  # nan is off too
    if bool(off.any()):
        row = int(off.flatten().nonzero()[0])
        raise InputError(
            f"label {row} is {float(labels.flatten()[row]):g}; labels must be -1 or +1 for a loss "
            "of the margin y f."
        )


def _check(predictions: Tensor, labels: Tensor) -> None:
    """Broadcasting (n, 1) with (n,) would silently give n^2 losses; half precision, few digits."""
    if getattr(predictions, "dtype", None) not in (torch.float32, torch.float64):
        check_tensors(predictions=predictions, labels=labels)
        raise InputError(f"predictions are {predictions.dtype}; float32 or float64 is needed.")
    if predictions.shape[predictions.ndim - labels.ndim :] != labels.shape:
        raise InputError(
            f"predictions of shape {tuple(predictions.shape)} do not fit labels of shape "
            f"{tuple(labels.shape)}; (..., n) and (n,) are needed."
        )


CROSS_ENTROPY = Loss(
    "cross-entropy",  # log(1 + e^-z)
    of=lambda z: -torch.nn.functional.logsigmoid(z),  # softplus would cut off at 20
    slope_of=lambda z: -torch.sigmoid(-z),
    of_margin=True,
    p=1.0,
    alpha_0=0.5,
    alpha_1=1 / (2 * math.log(2)),
    rho_0=1.0,
    rho_1=1.0,
    smoothness=0.25,
    lipschitz=1.0,
    value_at_0=math.log(2),
)
EXPONENTIAL = Loss(
    "exponential",
    of=lambda z: torch.exp(-z),
    slope_of=lambda z: -torch.exp(-z),
    of_margin=True,
    p=1.0,
    alpha_0=math.inf,
    alpha_1=1.0,
    rho_0=math.inf,
    rho_1=1.0,
    smoothness=math.inf,
    lipschitz=math.inf,
    value_at_0=1.0,
)
SQUARED_HINGE = Loss(
    "squared-hinge",
    of=lambda z: (1 - z).relu().square(),
    slope_of=lambda z: -2 * (1 - z).relu(),
    of_margin=True,
    p=0.5,
    alpha_0=math.inf,
    alpha_1=2.0,
    rho_0=math.inf,
    rho_1=2.0,
    smoothness=2.0,
    lipschitz=math.inf,
    value_at_0=1.0,
)
HINGE = Loss(
    "hinge",
    of=lambda z: (1 - z).relu(),
    slope_of=lambda z: -(z < 1).to(z.dtype),
    of_margin=True,
    p=0.0,
    alpha_0=1.0,
    alpha_1=1.0,
    rho_0=None,
    rho_1=None,
    smoothness=None,
    lipschitz=1.0,
    value_at_0=1.0,
)
QUADRATIC = Loss(
    "quadratic",  # of Du et al. (2019): any real labels, no margin, so 3.1 and 3.2 fail
    of=lambda r: r.square() / 2,
    slope_of=lambda r: r,
    of_margin=False,
    p=None,
    alpha_0=None,
    alpha_1=None,
    rho_0=None,
    rho_1=None,
    smoothness=1.0,
    lipschitz=math.inf,
    value_at_0=0.5,
)

LOSSES: dict[str, Loss] = {
    loss.name: loss for loss in (CROSS_ENTROPY, EXPONENTIAL, SQUARED_HINGE, HINGE, QUADRATIC)
}


def loss_of(loss: Loss | str) -> Loss:
    """A loss by itself or by its name in `LOSSES`, e.g. `cross-entropy`.

    Raises:
        InputError: an unknown name, or no loss.
    """
    if isinstance(loss, str):
        return LOSSES[one_of("loss", loss, LOSSES)]
    check_type("loss", loss, Loss, "a Loss, or the name of one, such as 'cross-entropy'")
    return loss
