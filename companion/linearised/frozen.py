"""Training as it would be if the kernel did not move: what the theory predicts of any run.

A network whose Gram matrix K stays as it is has predictions that follow f' = -K l'(f) / n under
gradient flow on the mean loss, and f <- f - (eta / n) K l'(f) under gradient descent. K may be
`empirical_gram` of a network, or a limit such as `infinite_width_ntk`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor
from torchdiffeq import odeint

from companion.base.arguments import (
    check_finite,
    check_type,
    positive,
    real,
    tensor,
    whole,
)
from companion.errors import InputError
from companion.losses import QUADRATIC, Loss, check_labels, loss_of
from companion.networks import ReLUNetwork, check_inputs
from companion.spectra import largest_eigenvalue

# Of the solver between two times; a smooth loss takes some hundreds.
_MOST_STEPS = 20_000


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

    It computes in float64 and gives the dtype of the matrix. A matrix in float32 it copies in
    float64. The closed forms of the quadratic loss take all eigenvectors, another n^2 numbers and
    twice that while they are found; they are found where they are first asked for.

    Args:
        gram: K, shape (n, n), symmetric positive semidefinite, float32 or float64, or a NumPy
            array. Where `infinite_width_ntk` is the limit of K over a power of m, multiply it
            with that.

    Raises:
        InputError: no square matrix of finite numbers, or one that is not symmetric.
    """

    def __init__(self, gram: Tensor) -> None:
        gram = tensor("gram", gram)
        if gram.dim() != 2 or gram.shape[0] != gram.shape[1] or len(gram) == 0:
            raise InputError(f"gram has shape {tuple(gram.shape)}; it must be (n, n).")
        if gram.dtype not in (torch.float32, torch.float64):
            raise InputError(f"gram is {gram.dtype}; it must be torch.float32 or torch.float64.")
        check_finite("row of gram", gram)
        self.gram = gram.detach()
        _check_symmetric(self.gram)
        # Small eigenvalues, and factors that are taken to high powers, need the digits.
        self._k = self.gram.double()

    @property
    def eigenvalues(self) -> Tensor:
        """Of K, in float64, shape (n,), the least first."""
        return self._decomposition[0]

    @property
    def vectors(self) -> Tensor:
        """Their eigenvectors, as columns, shape (n, n)."""
        return self._decomposition[1]

    @cached_property
    def _decomposition(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self._k)
        return values, vectors

    @cached_property
    def largest_eigenvalue(self) -> float:
        """lambda_max, from some products with K where not all eigenvalues are known."""
        if "_decomposition" in self.__dict__:
            return float(self.eigenvalues[-1])

        def times(vector: np.ndarray) -> np.ndarray:
            image: np.ndarray = (self._k @ torch.from_numpy(vector).to(self._k)).cpu().numpy()
            return image

        operator = LinearOperator(tuple(self._k.shape), matvec=times, matmat=times, dtype=float)
        return largest_eigenvalue(operator, tolerance=1e-9).value

    @property
    def largest_stable_step_size(self) -> float:
        """2 n / lambda_max: beyond it the quadratic mean loss grows without bound."""
        largest = self.largest_eigenvalue
        return 2 * len(self.gram) / largest if largest > 0 else math.inf

    def stable_step_size(self, loss: Loss | str) -> float | None:
        """2 n / (s lambda_max) for a loss of smoothness s: below it the mean loss never grows.

        Returns:
            None for a loss whose slope jumps or has no bound on its curvature: no step is small
            enough for all predictions.
        """
        smoothness = loss_of(loss).smoothness
        if smoothness is None or smoothness == math.inf:
            return None
        return self.largest_stable_step_size / smoothness

    def descent(
        self,
        start: Tensor,
        y: Tensor,
        *,
        step_size: float,
        steps: Iterable[int],
        loss: Loss | str = QUADRATIC,
    ) -> Prediction:
        """Gradient descent on the mean loss; in closed form for the quadratic loss.

        Args:
            start: f before the first step, shape (..., n), or a NumPy array.
            y: labels, shape (n,), or a NumPy array.
            step_size: eta; with the loss as a sum, as in Du et al. (2019), n times theirs.
            steps: numbers of steps after which to look, increasing.
            loss: of one example, or its name.

        Raises:
            InputError: arguments of another type, or that do not fit.
        """
        loss = loss_of(loss)
        start, y = self._entered(start, y, loss)
        eta = positive("step_size", step_size) / len(self.gram)
        check_type("steps", steps, Iterable, "a list of whole numbers")
        counts = [whole("a number of steps", step) for step in steps]
        at = self._increasing("steps", counts)
        if loss is not QUADRATIC:
            return self._recursion(at, counts, start, y, eta, loss)
        k, x = at[:, None], eta * self.eigenvalues
        # Without cancellation in 1 - (1 - x)^k where x is small.
        small = x.abs() < 0.5
        logs = k * torch.log1p(-x.where(small, 0))
        left = torch.where(small, logs.exp(), (1 - x) ** k)
        lost = torch.where(small, -torch.expm1(logs), 1 - left)
        return self._quadratic(at, start, y, left, eta * _over(lost, x, k))

    def flow(
        self,
        start: Tensor,
        y: Tensor,
        *,
        times: Iterable[float],
        loss: Loss | str = QUADRATIC,
        tolerance: float = 1e-8,
    ) -> Prediction:
        """Gradient flow on the mean loss; in closed form for the quadratic loss.

        Args:
            start: f at time 0, shape (..., n), or a NumPy array.
            y: labels, shape (n,), or a NumPy array.
            times: at which to look, increasing, the first at least 0.
            loss: of one example, or its name.
            tolerance: relative and absolute, of the solver where there is no closed form.

        Raises:
            InputError: arguments of another type, or that do not fit, or a flow that the solver
                cannot follow: the slope of the hinge jumps where a margin reaches 1, and margins
                that others pull back to there slide along it in ever smaller steps.
        """
        loss = loss_of(loss)
        start, y = self._entered(start, y, loss)
        check_type("times", times, Iterable, "a list of numbers")
        at, n = self._increasing("times", [real("a time", time) for time in times]), len(self.gram)
        tolerance = positive("tolerance", tolerance)
        if loss is QUADRATIC:
            clock = at[:, None] / n
            x = clock * self.eigenvalues
            return self._quadratic(at, start, y, (-x).exp(), clock * _over(-torch.expm1(-x), x, 1))

        def velocity(_: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            impulse = -loss.derivatives(state[0], y) / n
            return impulse @ self._k, impulse

        begun = torch.cat([at.new_zeros(1), at])[int(at[0] == 0) :]
        state = (start, torch.zeros_like(start))
        if len(begun) == 1:  # at time 0 alone there is nothing to solve
            found: Sequence[Tensor] = [each[None] for each in state]
        else:
            found = _solved(velocity, state, begun, tolerance)
        return self._prediction(at, *(path[len(begun) - len(at) :] for path in found))

    def _entered(self, start: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Where a run starts and its labels, checked, in float64 and without derivatives."""
        start, y = tensor("start", start, self.gram), tensor("y", y, self.gram)
        gram, n = self.gram, len(self.gram)
        for name, given, shape, fits in [
            ("start", start, f"(..., {n})", start.shape[-1:] == (n,)),
            ("labels", y, f"({n},)", y.shape == (n,)),
        ]:
            if not fits or given.dtype != gram.dtype:
                raise InputError(
                    f"{name} has shape {tuple(given.shape)}, {given.dtype}; {shape}, {gram.dtype} "
                    "is needed, as gram is."
                )
        check_finite("row of start", start)
        check_finite("label", y)
        if loss.of_margin:
            check_labels(y)
        return start.detach().double(), y.detach().double()

    def _increasing(self, name: str, numbers: list[int] | list[float]) -> Tensor:
        at = torch.tensor(numbers, dtype=torch.float64)
        increase = bool(at.isfinite().all()) and all(a < b for a, b in pairwise(numbers))
        if not numbers or numbers[0] < 0 or not increase:
            raise InputError(
                f"{name} must be finite and increase, at least one of them and none below 0."
            )
        return at.to(self.gram.device)

    def _quadratic(
        self, at: Tensor, start: Tensor, y: Tensor, left: Tensor, pushed: Tensor
    ) -> Prediction:
        """From what is left of each eigendirection's residual, and what it was pushed, (k, n)."""
        coordinates = (start - y) @ self.vectors
        between = (slice(None), *[None] * (start.dim() - 1))
        residuals = (left[between] * coordinates) @ self.vectors.T
        impulses = -(pushed[between] * coordinates) @ self.vectors.T
        return self._prediction(at, residuals + y, impulses)

    def _recursion(
        self, at: Tensor, counts: list[int], start: Tensor, y: Tensor, eta: float, loss: Loss
    ) -> Prediction:
        now, impulse, done = start, torch.zeros_like(start), 0
        predictions, impulses = [], []
        for count in counts:
            for _ in range(count - done):
                push = -eta * loss.derivatives(now, y)
                now, impulse = now + push @ self._k, impulse + push
            done = count
            predictions.append(now)
            impulses.append(impulse)
        return self._prediction(at, torch.stack(predictions), torch.stack(impulses))

    def _prediction(self, at: Tensor, predictions: Tensor, impulses: Tensor) -> Prediction:
        return Prediction(at, predictions.to(self.gram.dtype), impulses.to(self.gram.dtype))


def changes(network: ReLUNetwork, x: Tensor, impulse: Tensor) -> list[Tensor]:
    """How far every trained tensor has moved if no activation switched on the way.

    With more than one layer, or with output weights trained too, that is so as far as the
    gradients stay what they are at initialisation.

    Args:
        network: at initialisation.
        x: inputs, shape (n, d), or a NumPy array.
        impulse: one of `Prediction.impulses`, shape (n,), or a NumPy array.

    Returns:
        sum_i impulse_i df(x_i)/dtheta at initialisation, in the order of `network.parameters`.

    Raises:
        InputError: inputs or an impulse that do not fit.
    """
    x = check_inputs(network, x)
    check_finite("input", x)
    impulse = tensor("impulse", impulse, x)
    if impulse.shape != x.shape[:1]:
        raise InputError(
            f"impulse has shape {tuple(impulse.shape)}; ({len(x)},) is needed, one number for each "
            "input."
        )
    network = network.detached()
    return network.gradients(network.run(x.detach()), impulse.detach().to(x))


def _solved(
    velocity: Callable[[Tensor, tuple[Tensor, Tensor]], tuple[Tensor, Tensor]],
    state: tuple[Tensor, Tensor],
    times: Tensor,
    tolerance: float,
) -> Sequence[Tensor]:
    """The states at all times, by an adaptive Dormand-Prince solver."""
    try:
        paths: Sequence[Tensor] = odeint(
            velocity, state, times, rtol=tolerance, atol=tolerance, method="dopri5",
            options={"max_num_steps": _MOST_STEPS},
        )  # fmt: skip
    except AssertionError as stuck:  # so torchdiffeq says that it is
        raise InputError(
            f"the flow cannot be followed to tolerance {tolerance:g} ({stuck}); take a larger "
            "tolerance, earlier times, or descent with small steps."
        ) from None
    return paths


def _over(numerator: Tensor, x: Tensor, at_0: Tensor | float) -> Tensor:
    """The quotient with x, and at x = 0 the limit that is given."""
    return torch.where(x == 0, at_0, numerator / x.where(x != 0, 1))


def _check_symmetric(gram: Tensor) -> None:
    if gram.device.type == "meta":  # no numbers to look at
        return
    # Some rows at a time, as both triangles are copied.
    blocks = zip(torch.split(gram, 256), torch.split(gram, 256, dim=1), strict=True)
    off = max(float((rows - columns.T).abs().max()) for rows, columns in blocks)
    if off > torch.finfo(gram.dtype).eps ** 0.5 * float(gram.abs().max()):
        raise InputError(f"gram is not symmetric: an entry differs by {off:.3g} from its mirror.")
