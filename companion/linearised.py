"""Training as it would be if the kernel did not move: what the theory predicts of any run.

A network whose Gram matrix K stays as it is has predictions that follow f' = -K l'(f) / n under
gradient flow on the mean loss, and f <- f - (eta / n) K l'(f) under gradient descent. K may be
`empirical_gram` of a network, or a limit such as `infinite_width_ntk`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchdiffeq import odeint

from companion.base.arguments import check_tensors, real, whole
from companion.errors import InputError
from companion.losses import QUADRATIC, Loss
from companion.networks import ReLUNetwork


@dataclass(frozen=True)
class Prediction:
    """Predictions along a run, and what moved them.

    Attributes:
        at: steps or times, shape (k,).
        predictions: f, shape (k, ..., n).
        impulses: what each example's gradient has been added up with so far, shape (k, ..., n):
            the parameters have moved by sum_i impulse_i df(x_i)/dtheta, see `changes`.
    """

    at: Tensor
    predictions: Tensor
    impulses: Tensor


class FrozenKernel:
    """A Gram matrix that rules training and does not move.

    Args:
        gram: K, shape (n, n), symmetric positive semidefinite.

    Raises:
        InputError: no square matrix.
    """

    def __init__(self, gram: Tensor) -> None:
        check_tensors(gram=gram)
        if gram.dim() != 2 or gram.shape[0] != gram.shape[1]:
            raise InputError(f"gram has shape {tuple(gram.shape)}; it must be (n, n).")
        self.gram = gram.detach()
        self.eigenvalues, self.vectors = torch.linalg.eigh(self.gram)

    @property
    def largest_stable_step_size(self) -> float:
        """2 n / lambda_max: beyond it the quadratic mean loss grows without bound."""
        return 2 * len(self.gram) / float(self.eigenvalues[-1])

    def descent(
        self,
        start: Tensor,
        y: Tensor,
        *,
        step_size: float,
        steps: Sequence[int],
        loss: Loss = QUADRATIC,
    ) -> Prediction:
        """Gradient descent on the mean loss; in closed form for the quadratic loss.

        Args:
            start: f before the first step, shape (..., n).
            y: labels, shape (n,).
            step_size: eta; with the loss as a sum, as in Du et al. (2019), n times theirs.
            steps: numbers of steps after which to look, in increasing order.
            loss: of one example.
        """
        eta = real("step_size", step_size) / len(self.gram)
        counts = [whole("a number of steps", step, least=0) for step in steps]
        at = torch.tensor(counts, dtype=torch.float64, device=self.gram.device)
        if loss is QUADRATIC:
            factor = 1 - eta * self.eigenvalues
            left = factor ** at.to(factor)[:, None]
            # (1 - factor^k) / lambda, without cancellation where eta lambda is small.
            small = eta * self.eigenvalues < 0.5
            logs = torch.log1p(-eta * self.eigenvalues.where(small, 0))
            lost = torch.where(small, -torch.expm1(at.to(factor)[:, None] * logs), 1 - left)
            limit = eta * at.to(factor)[:, None].expand_as(lost)
            return self._quadratic(at, start, y, left, lost, limit)
        return self._recursion(at, counts, start, y, eta, loss)

    def flow(
        self,
        start: Tensor,
        y: Tensor,
        *,
        times: Sequence[float],
        loss: Loss = QUADRATIC,
        tolerance: float = 1e-8,
    ) -> Prediction:
        """Gradient flow on the mean loss; in closed form for the quadratic loss.

        Args:
            start: f at time 0, shape (..., n).
            y: labels, shape (n,).
            times: at which to look, increasing.
            loss: of one example.
            tolerance: relative and absolute, of the solver where there is no closed form.
        """
        at = torch.tensor(
            [real("a time", time) for time in times], dtype=torch.float64, device=self.gram.device
        )
        n = len(self.gram)
        if loss is QUADRATIC:
            exponents = -self.eigenvalues * at.to(self.gram)[:, None] / n
            limit = (at.to(self.gram)[:, None] / n).expand_as(exponents)
            return self._quadratic(at, start, y, exponents.exp(), -torch.expm1(exponents), limit)

        def velocity(_: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            impulse = -loss.derivatives(state[0], y) / n
            return impulse @ self.gram, impulse

        begun = torch.cat([at.new_zeros(1), at]) if at[0] > 0 else at
        found = odeint(
            velocity, (start, torch.zeros_like(start)), begun,
            rtol=tolerance, atol=tolerance, method="dopri5",
        )  # fmt: skip
        kept = [path[len(begun) - len(at) :] for path in found]
        return Prediction(at, *kept)

    def _quadratic(
        self, at: Tensor, start: Tensor, y: Tensor, left: Tensor, lost: Tensor, limit: Tensor
    ) -> Prediction:
        """From what is left of each eigendirection's residual, and what is lost, shapes (k, n).

        The impulse is minus the lost part over lambda; where lambda is 0, `limit`.
        """
        coordinates = (start - y) @ self.vectors
        between = (slice(None), *[None] * (start.dim() - 1))
        residuals = (left[between] * coordinates) @ self.vectors.T
        zero = self.eigenvalues.abs() <= torch.finfo(self.gram.dtype).tiny
        per_unit = torch.where(zero, limit, lost / self.eigenvalues.where(~zero, 1))
        return Prediction(at, residuals + y, -(per_unit[between] * coordinates) @ self.vectors.T)

    def _recursion(
        self, at: Tensor, counts: list[int], start: Tensor, y: Tensor, eta: float, loss: Loss
    ) -> Prediction:
        now, impulse, done = start, torch.zeros_like(start), 0
        predictions, impulses = [], []
        for count in counts:
            for _ in range(count - done):
                push = -eta * loss.derivatives(now, y)
                now, impulse = now + push @ self.gram, impulse + push
            done = count
            predictions.append(now)
            impulses.append(impulse)
        return Prediction(at, torch.stack(predictions), torch.stack(impulses))


def changes(network: ReLUNetwork, x: Tensor, impulse: Tensor) -> list[Tensor]:
    """How far every trained tensor has moved if no activation switched on the way.

    Args:
        network: at initialisation.
        x: inputs, shape (n, d).
        impulse: one of `Prediction.impulses`, shape (n,).

    Returns:
        sum_i impulse_i df(x_i)/dtheta at initialisation, in the order of `network.parameters`.
    """
    return network.gradients(network.run(x), impulse.to(x))
