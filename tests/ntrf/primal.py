"""NTRF quantities in parameter space: the slow road, that never sees a Gram matrix.

It has the Jacobian by automatic differentiation, and minimises over the parameters themselves with
SciPy's SLSQP.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from hypothesis import strategies as st
from torch import Tensor

from companion.datasets import sphere
from companion.kernels import layer_grams
from companion.networks import ReLUNetwork, draw_chen
from companion.ntrf import Optimum

BALLS = ["per-layer", "single"]
seeds = st.integers(0, 10**6)


@dataclass(frozen=True)
class Case:
    """A small network at initialisation with data: what the tests start from."""

    network: ReLUNetwork
    x: Tensor
    y: Tensor

    @property
    def f(self) -> Tensor:
        return self.network.predict(self.x)

    @property
    def grams(self) -> list[Tensor]:
        return layer_grams(self.network, self.x)

    @property
    def gram(self) -> Tensor:
        return torch.stack(self.grams).sum(0)

    def jacobians(self) -> list[np.ndarray]:
        """Per trained tensor, y_i df(x_i)/dW_l flattened, by automatic differentiation."""
        leaves = [tensor.clone().requires_grad_() for tensor in self.network.parameters]
        hidden = self.x
        for weight in leaves[:-1]:
            hidden = torch.relu(hidden @ weight.T)
        f = self.network.output_gain * hidden @ leaves[-1]
        rows = [torch.autograd.grad(value, leaves, retain_graph=True) for value in self.y * f]
        return [torch.stack([row[k].flatten() for row in rows]).numpy() for k in range(len(leaves))]


def case(seed: int = 0, count: int = 8, dimension: int = 3, width: int = 6, depth: int = 2) -> Case:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator).double() * 2 - 1
    network = draw_chen(width, dimension, seed, depth=depth, dtype=torch.float64)
    return Case(network, sphere(count, dimension, seed).x, y)


def blocks(flat: np.ndarray, jacobians: list[np.ndarray], ball: str) -> list[np.ndarray]:
    """The parts of a flat parameter vector whose norms the ball bounds."""
    ends = np.cumsum([rows.shape[1] for rows in jacobians])[:-1]
    return np.split(flat, ends) if ball == "per-layer" else [flat]


def in_ball(jacobians: list[np.ndarray], ball: str, squared_radius) -> dict:
    """SciPy's constraint squared_radius(v) - ||block of v||^2 >= 0."""

    def slack(v: np.ndarray) -> np.ndarray:
        size = sum(rows.shape[1] for rows in jacobians)
        parts = blocks(v[:size], jacobians, ball)
        return np.array([squared_radius(v) - part @ part for part in parts])

    return {"type": "ineq", "fun": slack}


def primal_class_value(given: Case, radius: float, ball: str) -> float:
    """The least loss over explicit parameters by SLSQP."""
    jacobians = given.jacobians()
    rows, start = np.hstack(jacobians), (given.y * given.f).numpy()

    def loss(v: np.ndarray) -> float:
        return float(np.mean([math.log1p(math.exp(-z)) for z in start + rows @ v]))

    def slope(v: np.ndarray) -> np.ndarray:
        return rows.T @ (-1 / (1 + np.exp(start + rows @ v))) / len(start)

    found = scipy.optimize.minimize(
        loss,
        np.zeros(rows.shape[1]),
        jac=slope,
        method="SLSQP",
        constraints=in_ball(jacobians, ball, lambda v: radius**2),
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return float(found.fun)


def primal_radius(given: Case, margin: float, ball: str) -> float:
    """The least radius over explicit parameters and the radius itself, by SLSQP."""
    jacobians = given.jacobians()
    rows, start = np.hstack(jacobians), (given.y * given.f).numpy()
    first = np.linalg.lstsq(rows, np.maximum(margin - start, 0), rcond=None)[0]
    found = scipy.optimize.minimize(
        lambda v: v[-1],
        np.append(first, np.linalg.norm(first)),
        jac=lambda v: np.eye(len(v))[-1],
        method="SLSQP",
        constraints=[
            in_ball(jacobians, ball, lambda v: v[-1] ** 2),
            {"type": "ineq", "fun": lambda v: start + rows @ v[:-1] - margin},
        ],
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return float(found.x[-1])


def moved(given: Case, found: Optimum) -> tuple[list[Tensor], Tensor]:
    """V from the coefficients by the network's own gradients, and y times the predictions at V."""
    forward = given.network.run(given.x)
    v = [given.network.gradients(forward, c)[layer] for layer, c in enumerate(found.coefficients)]
    steps = [
        torch.from_numpy(rows) @ part.flatten()
        for rows, part in zip(given.jacobians(), v, strict=True)
    ]
    return v, given.y * given.f + torch.stack(steps).sum(0)


def radius_of(v: list[Tensor], ball: str) -> float:
    norms = torch.stack([part.norm() for part in v])
    return float(norms.max() if ball == "per-layer" else norms.norm())


def agree(one: Optimum, other: Optimum, factor: float = 1.0) -> None:
    """Both are `factor` apart, within what their bounds leave open, and that is little."""
    for found in (one, other):
        assert found.lower == found.upper or found.gap <= 1e-4 * found.upper
    assert one.lower <= factor * other.upper * (1 + 1e-12)
    assert factor * other.lower <= one.upper * (1 + 1e-12)


def mean_loss(margins: Tensor) -> float:
    return float(torch.log1p(torch.exp(-margins)).mean())


def directions(count: int, dimension: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)
