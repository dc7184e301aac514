"""The papers' losses, their derivatives in the prediction, and the constants the theorems name."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.base.arguments import check_type, tensor
from companion.errors import InputError, one_of


@dataclass(frozen=True)
class Loss:
    """A loss of one example: l(z) of the margin z = y f, or (f - y)^2 / 2 of the residual.

    The constants are those of Zou et al. (2018), numbered as in version 3, for the margin losses.
    `math.inf` is a constant that is infinite; None says that none is known, or that none will do,
    so the assumption fails. Training needs none of them. All margin losses here satisfy Assumption
    3.1: continuous, nonincreasing, and l and l' tend to 0 as z grows.

    Attributes:
        name: e.g. `cross-entropy`.
        of: l, elementwise, of the margin (or of the residual).
        of_margin: True for l(y f), with labels -1 and +1; False for a loss of f - y.
        slope_of: l', elementwise; where the losses here have a kink, its limit from the right.
            Without it torch differentiates `of`, and what it does at a kink holds.
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

    Example:
        >>> loss = Loss("cubed hinge", of=lambda z: (1 - z).relu() ** 3, of_margin=True)
        >>> loss.derivatives(torch.tensor([1.0]), torch.tensor([-1.0]))
        tensor([12.])
    """

    name: str
    of: Callable[[Tensor], Tensor]
    of_margin: bool
    slope_of: Callable[[Tensor], Tensor] | None = None
    p: float | None = None
    alpha_0: float | None = None
    alpha_1: float | None = None
    rho_0: float | None = None
    rho_1: float | None = None
    smoothness: float | None = None
    lipschitz: float | None = None

    @property
    def value_at_0(self) -> float:
        """l(0), which Corollary 4.3 divides by n: a lower mean loss is zero training error.

        Of a loss of f - y, which has no margin, the lesser value at f = 0 with labels -1 and +1.
        """
        labels = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        return float(self.values(torch.zeros_like(labels), labels).min())

    def constant(self, name: str) -> float:
        """One of the papers' constants, for a bound that needs it.

        Args:
            name: `p`, `alpha_0`, `alpha_1`, `rho_0`, `rho_1`, `smoothness` or `lipschitz`.

        Raises:
            InputError: another name, or the loss has no such constant.

        Example:
            >>> CROSS_ENTROPY.constant("smoothness")
            0.25
        """
        value: float | None = getattr(self, one_of("constant of a loss", name, _CONSTANTS))
        if value is None:
            raise InputError(
                f"the loss '{self.name}' states no {name}, so bounds with {name} say nothing of it."
            )
        return value

    def values(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Losses of every example; float32 and float64 on any device.

        Only the exponential can overflow, to inf, and only where e^-z exceeds the largest number
        of the dtype (z < -88.7 in float32, z < -709.7 in float64).

        Args:
            predictions: f, shape (..., n): a network's, or a fleet's, one row a member.
            labels: y, shape (n,), or more of the trailing dimensions of `predictions`. -1 or +1
                for a margin loss, which `check_labels` ensures once rather than this at each step.
                Both are tensors or NumPy arrays.

        Returns:
            Shape (..., n).

        Raises:
            InputError: shapes that do not fit, predictions of another dtype, or a loss that is
                not elementwise.

        Example:
            >>> CROSS_ENTROPY.values(torch.tensor([0.0, 2.0]), torch.tensor([1.0, -1.0]))
            tensor([0.6931, 2.1269])
        """
        predictions, labels = _checked(predictions, labels)
        return self._values(labels * predictions if self.of_margin else predictions - labels)

    def derivatives(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Derivative of every example's loss in its prediction f: y l'(y f), or f - y.

        Same shapes and errors as `values`.
        """
        predictions, labels = _checked(predictions, labels)
        if self.of_margin:
            return labels * self._slopes(labels * predictions)
        return self._slopes(predictions - labels)

    def _values(self, z: Tensor) -> Tensor:
        found = self.of(z)
        if found.shape != z.shape:
            raise InputError(
                f"the loss '{self.name}' gives shape {tuple(found.shape)} for {tuple(z.shape)} "
                "numbers; it must be elementwise."
            )
        return found

    def _slopes(self, z: Tensor) -> Tensor:
        if self.slope_of is not None:
            return self.slope_of(z)
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            total = self._values(leaf).sum()
        if not total.requires_grad:
            raise InputError(
                f"torch cannot differentiate the loss '{self.name}'; give its derivative, slope_of."
            )
        return torch.autograd.grad(total, leaf)[0]


_CONSTANTS = ("p", "alpha_0", "alpha_1", "rho_0", "rho_1", "smoothness", "lipschitz")


def check_labels(labels: Tensor) -> Tensor:
    """The labels, shape (n,), as a tensor; those that a margin loss cannot take are refused.

    Args:
        labels: y, a tensor or a NumPy array. On the `meta` device there is nothing to look at.

    Raises:
        InputError: a label is neither -1 nor +1.
    """
    labels = tensor("labels", labels)
    if labels.device.type == "meta":
        return labels
    off = (labels != 1) & (labels != -1)  # nan is off too
    if bool(off.any()):
        row = int(off.flatten().nonzero()[0])
        raise InputError(
            f"label {row} is {float(labels.flatten()[row]):g}; labels must be -1 or +1 for a loss "
            "of the margin y f."
        )
    return labels


def _checked(predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Broadcasting (n, 1) with (n,) would silently give n^2 losses; half precision, few digits."""
    predictions = tensor("predictions", predictions)
    labels = tensor("labels", labels, predictions)
    if predictions.dtype not in (torch.float32, torch.float64):
        raise InputError(f"predictions are {predictions.dtype}; float32 or float64 is needed.")
    if predictions.shape[predictions.ndim - labels.ndim :] != labels.shape:
        raise InputError(
            f"predictions of shape {tuple(predictions.shape)} do not fit labels of shape "
            f"{tuple(labels.shape)}; (..., n) and (n,) are needed."
        )
    return predictions, labels


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
)
HINGE = Loss(
    "hinge",
    of=lambda z: (1 - z).relu(),
    slope_of=lambda z: -(z < 1).to(z.dtype),
    of_margin=True,
    p=0.0,
    alpha_0=1.0,
    alpha_1=1.0,
    lipschitz=1.0,
)
QUADRATIC = Loss(
    "quadratic",  # of Du et al. (2019): any real labels, no margin, so 3.1 and 3.2 fail
    of=lambda r: r.square() / 2,
    slope_of=lambda r: r,
    of_margin=False,
    smoothness=1.0,
    lipschitz=math.inf,
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
