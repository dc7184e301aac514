"""The training problem of Du et al. (2019), drawn from settings, with what its theorems ask for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from companion.datasets import DataSet, sphere
from companion.draws import independent_seed
from companion.kernels import empirical_gram, infinite_width_gram, lambda_max, lambda_min
from companion.lab.settings import Settings, SphereSettings
from companion.linearised import FrozenKernel, Prediction
from companion.losses import QUADRATIC
from companion.monitors import Moment, Record
from companion.networks import ReLUNetwork, Trained, draw_du
from companion.training import History, descent, flow, prediction_velocity, train


@dataclass(frozen=True)
class Problem:
    """A two-layer network, eq. (1), with its inputs and labels; the loss is the sum, eq. (2).

    Step sizes and times are the paper's, of the sum; `companion.training` takes those of the mean
    loss, which are n times as large.

    Attributes:
        network: at initialisation.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
    """

    network: ReLUNetwork
    x: Tensor
    y: Tensor

    @property
    def count(self) -> int:
        """N."""
        return len(self.y)

    @cached_property
    def residual(self) -> Tensor:
        """u(0) - y, shape (n,)."""
        return self.network.predict(self.x) - self.y

    @cached_property
    def limit(self) -> Tensor:
        """H-infinity, shape (n, n)."""
        return infinite_width_gram(self.x)

    @cached_property
    def gram(self) -> Tensor:
        """H(0), or H(0) + G(0) where both layers are trained, shape (n, n)."""
        return empirical_gram(self.network, self.x)

    @cached_property
    def lambda_0(self) -> float:
        """Least eigenvalue of H-infinity."""
        return lambda_min(self.limit)

    @cached_property
    def lambda_largest(self) -> float:
        """Largest eigenvalue of H-infinity."""
        return lambda_max(self.limit)

    def train(self, step_size: float, steps: int, record: Record | None = None) -> History:
        """Gradient descent with the paper's eta, eq. (3)-(4); it may end as diverged."""
        return train(
            self.network, self.x, self.y, loss=QUADRATIC, step_size=step_size * self.count,
            steps=steps, record=record,
        )  # fmt: skip

    def moments(self, step_size: float) -> Iterator[Moment]:
        """The same, moment by moment; each lasts until the next."""
        eta = step_size * self.count
        return descent(self.network, self.x, self.y, loss=QUADRATIC, step_size=eta)

    def flow(
        self, times: Sequence[float] | np.ndarray, record: Record, tolerance: float
    ) -> History:
        """Gradient flow with the paper's clock, eq. (5)."""
        scaled = [float(time) * self.count for time in times]
        return flow(
            self.network, self.x, self.y, loss=QUADRATIC, times=scaled, record=record,
            tolerance=tolerance,
        )  # fmt: skip

    def frozen_descent(self, gram: Tensor, step_size: float, steps: Sequence[int]) -> Prediction:
        """What gradient descent does if `gram` rules and does not move."""
        kernel = FrozenKernel(gram)
        start, eta = self.residual + self.y, step_size * self.count
        return kernel.descent(start.to(gram), self.y.to(gram), step_size=eta, steps=steps)

    def frozen_flow(self, gram: Tensor, times: np.ndarray) -> Prediction:
        """What gradient flow does if `gram` rules and does not move."""
        start, clock = (self.residual + self.y).to(gram), [float(t) * self.count for t in times]
        return FrozenKernel(gram).flow(start, self.y.to(gram), times=clock)

    def frozen_misfits(self, gram: Tensor, times: np.ndarray) -> np.ndarray:
        """||u(t) - y||^2 of that flow, shape (times,)."""
        predicted = self.frozen_flow(gram, times).predictions
        misfits: np.ndarray = (predicted - self.y.to(gram)).square().sum(dim=-1).cpu().numpy()
        return misfits

    def velocity_error(self, network: ReLUNetwork | None = None) -> float:
        """Relative distance of du/dt, differentiated along the flow, from the Gram matrix's.

        The identity is linear in the residual; with what training leaves of it, rounding would be
        compared with rounding. So the labels are those that leave the residual of the start.

        Args:
            network: another one than the initial, with the same things trained.
        """
        network = network or self.network
        y = network.predict(self.x) - self.residual
        velocity = self.count * prediction_velocity(network, self.x, y, loss=QUADRATIC)
        expected = -empirical_gram(network, self.x) @ self.residual
        return float((velocity - expected).norm() / expected.norm())


def draw(
    settings: SphereSettings,
    device: str,
    *,
    seed: int,
    width: int,
    trained: Trained = "hidden",
    count: int | None = None,
) -> Problem:
    """Inputs on the sphere and a network, section 3.

    Args:
        settings: n, d and the precision.
        device: where to compute.
        seed: of the data and, with all sizes, of the network: over widths the data stay, and the
            networks are independent.
        width: m, the units of the hidden layer.
        trained: which layers.
        count: n, if it is not that of the settings.
    """
    data = sphere(settings.count if count is None else count, settings.dimension, seed)
    return on_data(data, settings, device, seed=seed, width=width, trained=trained)


def on_data(
    data: DataSet,
    settings: Settings,
    device: str,
    *,
    seed: int,
    width: int,
    trained: Trained = "hidden",
) -> Problem:
    """A network on given data; arguments as of `draw`."""
    dtype: torch.dtype = getattr(torch, settings.dtype)
    near = data.to(dtype, device)
    count, dimension = near.x.shape
    own = independent_seed(seed, count, dimension, width)
    network = draw_du(width, dimension, own, trained=trained, dtype=dtype, device=device)
    return Problem(network, near.x, near.y)
