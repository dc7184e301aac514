"""Slow, obvious oracles in float64 that share no formula with the package.

Each one is the definition written out: loops, automatic differentiation, finite differences,
quadrature over angles, Monte Carlo, matrix exponentials. They take networks only for their tensors.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.linalg
import torch
from torch import Tensor

from companion.networks import ReLUNetwork, draw_chen, draw_du, draw_zou

# Predictions f(x_i) from weights, output weights and inputs.
Formula = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]


class TwoLayers(NamedTuple):
    """The tensors of a two-layer network: W, shape (m, d), and a, shape (m,)."""

    weights: Tensor
    outputs: Tensor


def tensors(network: ReLUNetwork | TwoLayers) -> TwoLayers:
    """Those of a network of one hidden layer."""
    if isinstance(network, TwoLayers):
        return network
    (weights,) = network.weights
    return TwoLayers(weights, network.outputs)


def predictions(weights: Tensor, outputs: Tensor, x: Tensor) -> Tensor:
    """Eq. (1) of Du et al. (2019), for autograd: f = a . relu(W x) / sqrt(m), shape (n,)."""
    return torch.relu(x @ weights.T) @ outputs / math.sqrt(len(outputs))


def predictions_by_loops(network: ReLUNetwork | TwoLayers, x: Tensor) -> Tensor:
    """Eq. (1), one neuron at a time, shape (n,)."""
    network = tensors(network)
    m = len(network.outputs)
    values = [
        sum(
            float(network.outputs[r]) * max(float(network.weights[r] @ point), 0.0)
            for r in range(m)
        )
        / math.sqrt(m)
        for point in x
    ]
    return torch.tensor(values, dtype=torch.float64)


def half_sum_loss(weights: Tensor, outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Eq. (2): the sum over inputs of half the squared residual."""
    return 0.5 * (predictions(weights, outputs, x) - y).square().sum()


def finite_difference_gradient(
    network: ReLUNetwork | TwoLayers, x: Tensor, y: Tensor, step: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Central differences of eq. (2) in W and in a, shapes (m, d) and (m,).

    Exact up to rounding unless a kink lies within `step`, as the loss is quadratic between kinks.
    """
    network = tensors(network)

    def loss(weights: Tensor, outputs: Tensor) -> float:
        return float(half_sum_loss(weights, outputs, x, y))

    in_weights = torch.zeros_like(network.weights)
    for r, k in np.ndindex(*network.weights.shape):
        up, down = network.weights.clone(), network.weights.clone()
        up[r, k] += step
        down[r, k] -= step
        in_weights[r, k] = (loss(up, network.outputs) - loss(down, network.outputs)) / (2 * step)
    in_outputs = torch.zeros_like(network.outputs)
    for r in range(len(network.outputs)):
        up, down = network.outputs.clone(), network.outputs.clone()
        up[r] += step
        down[r] -= step
        in_outputs[r] = (loss(network.weights, up) - loss(network.weights, down)) / (2 * step)
    return in_weights, in_outputs


def gradient_by_loops(network: ReLUNetwork | TwoLayers, x: Tensor, y: Tensor) -> Tensor:
    """Eq. (4), one unit and one input at a time, derivative 1 at the kink, shape (m, d)."""
    network = tensors(network)
    residual = predictions_by_loops(network, x) - y
    gradient = torch.zeros_like(network.weights)
    for r, weight in enumerate(network.weights):
        for point, rest in zip(x, residual, strict=True):
            if float(weight @ point) >= 0:
                gradient[r] += rest * network.outputs[r] * point / math.sqrt(len(network.outputs))
    return gradient


def jacobian(network: ReLUNetwork | TwoLayers, x: Tensor, wrt: str = "weights") -> Tensor:
    """Row i is df(x_i)/dW (or df(x_i)/da) by automatic differentiation, flattened."""
    network = tensors(network)
    weights = network.weights.detach().clone().requires_grad_()
    outputs = network.outputs.detach().clone().requires_grad_()
    leaf = weights if wrt == "weights" else outputs
    rows = [
        torch.autograd.grad(value, leaf, retain_graph=True)[0].flatten()
        for value in predictions(weights, outputs, x)
    ]
    return torch.stack(rows)


def gram_by_autograd(network: ReLUNetwork | TwoLayers, x: Tensor, wrt: str = "weights") -> Tensor:
    """J J^T: the Gram matrix H in the weights, or G in the outputs, shape (n, n)."""
    network = tensors(network)
    rows = jacobian(network, x, wrt)
    return rows @ rows.T


def gram_by_loops(network: ReLUNetwork | TwoLayers, x: Tensor) -> Tensor:
    """H_ij(t) = x_i . x_j / m times the number of units active on both, shape (n, n)."""
    network = tensors(network)
    n, m = len(x), len(network.outputs)
    gram = torch.zeros(n, n, dtype=torch.float64)
    for i, j in np.ndindex(n, n):
        both = sum(
            bool(x[i] @ network.weights[r] >= 0) and bool(x[j] @ network.weights[r] >= 0)
            for r in range(m)
        )
        gram[i, j] = float(x[i] @ x[j]) * both / m
    return gram


def du_predictions(weights: Sequence[Tensor], outputs: Tensor, x: Tensor) -> Tensor:
    """h_0 = x, h_l = sqrt(2/m) relu(W_l h_{l-1}), f = a . h_L / sqrt(2), for autograd."""
    hidden = x
    for weight in weights:
        hidden = math.sqrt(2 / len(outputs)) * torch.relu(hidden @ weight.T)
    return hidden @ outputs / math.sqrt(2)


def zou_predictions(weights: Sequence[Tensor], outputs: Tensor, x: Tensor) -> Tensor:
    """Zou et al. (2018), section 3: v . relu(W_L^T ... relu(W_1^T x)), our W transposed."""
    hidden = x
    for weight in weights:
        hidden = torch.relu(hidden @ weight.T)
    return hidden @ outputs


def chen_predictions(
    weights: Sequence[Tensor], outputs: Tensor, x: Tensor, alpha: float = 0.5
) -> Tensor:
    """Chen et al. (2021), section 3: m^alpha W_L relu(W_{L-1} ... relu(W_1 x))."""
    return len(outputs) ** alpha * zou_predictions(weights, outputs, x)


# Every parameterisation: how it is drawn, and the formula of its paper.
NETWORKS: dict[str, tuple[Callable[..., ReLUNetwork], Formula]] = {
    "du": (draw_du, du_predictions),
    "du, all trained": (partial(draw_du, trained="all"), du_predictions),
    "du, outputs trained": (partial(draw_du, trained="output"), du_predictions),
    "zou": (draw_zou, zou_predictions),
    "chen": (draw_chen, chen_predictions),
    "chen, alpha 0.3": (partial(draw_chen, alpha=0.3), partial(chen_predictions, alpha=0.3)),
}


def deep_jacobians(
    network: ReLUNetwork, x: Tensor, formula: Formula = du_predictions
) -> list[Tensor]:
    """Per trained tensor, row i is df(x_i)/dtheta by automatic differentiation, flattened."""
    weights = [weight.detach().clone().requires_grad_() for weight in network.weights]
    outputs = network.outputs.detach().clone().requires_grad_()
    leaves = {"hidden": weights, "output": [outputs], "all": [*weights, outputs]}[network.trained]
    values = formula(weights, outputs, x)
    rows = [torch.autograd.grad(value, leaves, retain_graph=True) for value in values]
    return [torch.stack([row[k].flatten() for row in rows]) for k in range(len(leaves))]


def layer_grams_by_autograd(
    network: ReLUNetwork, x: Tensor, formula: Formula = du_predictions
) -> list[Tensor]:
    """J_l J_l^T of each trained tensor, each of shape (n, n)."""
    return [rows @ rows.T for rows in deep_jacobians(network, x, formula)]


def gram_by_rows(network: ReLUNetwork, x: Tensor, other: Tensor | None = None) -> Tensor:
    """Inner products of the gradients of f in all trained tensors, one input at a time."""

    def rows(points: Tensor) -> Tensor:
        found = []
        for point in points:
            leaves = [p.detach().clone().requires_grad_() for p in network.parameters]
            value = network.moved(leaves).predict(point[None])[0]
            gradients = torch.autograd.grad(value, leaves)
            found.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return torch.stack(found)

    return rows(x) @ rows(x if other is None else other).T


def pair_expectation(rho: float, power: int, points: int = 200_000) -> float:
    """E[s(w.x) s(w.x')] for w ~ N(0, I), x . x' = rho, by quadrature over the angle of w.

    Only the plane of x and x' matters; there w has a uniform angle, and E|w|^2 = 2.

    Args:
        rho: cosine of the angle between the unit vectors.
        power: 0 for s the step function, 1 for s = relu.
        points: midpoints on the circle; the error of the step function is about 1/points.
    """
    angles = 2 * np.pi * (np.arange(points) + 0.5) / points
    first, second = np.cos(angles), np.cos(angles - math.acos(max(-1.0, min(1.0, rho))))
    both = (first >= 0) & (second >= 0)
    if power == 0:
        return float(both.mean())
    return 2 * float((both * first * second).mean())


def monte_carlo_infinite_gram(x: Tensor, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """H-infinity as an average over drawn w, and the standard error of each entry, both (n, n)."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(samples, x.shape[1], generator=generator, dtype=torch.float64)
    active = (x.double() @ w.T >= 0).double()
    share = active @ active.T / samples
    rho = x.double() @ x.double().T
    return rho * share, rho.abs() * (share * (1 - share) / samples).sqrt()


def pattern_difference_by_loops(before: Tensor, after: Tensor, x: Tensor) -> float:
    """Share of pairs (i, r) with 1{w_r(0) . x_i >= 0} != 1{w_r(k) . x_i >= 0}."""
    changed = [
        bool(old @ point >= 0) != bool(new @ point >= 0)
        for point in x
        for old, new in zip(before, after, strict=True)
    ]
    return sum(changed) / len(changed)


def max_distance_by_loops(before: Tensor, after: Tensor) -> float:
    """max_r ||w_r - w_r(0)||_2, one unit at a time."""
    return max(
        math.sqrt(sum((float(b) - float(a)) ** 2 for a, b in zip(old, new, strict=True)))
        for old, new in zip(before, after, strict=True)
    )


def descent_by_autograd(
    network: ReLUNetwork | TwoLayers,
    x: Tensor,
    y: Tensor,
    step_size: float,
    steps: int,
    layers: str = "first",
) -> list[TwoLayers]:
    """Gradient descent by torch.optim.SGD on the autograd loss: networks after 0, ..., steps."""
    network = tensors(network)
    weights = network.weights.detach().clone().requires_grad_()
    outputs = network.outputs.detach().clone().requires_grad_(layers == "both")
    trained = [weights, outputs] if layers == "both" else [weights]
    optimiser = torch.optim.SGD(trained, lr=step_size)
    path = [TwoLayers(weights.detach().clone(), outputs.detach().clone())]
    for _ in range(steps):
        optimiser.zero_grad()
        half_sum_loss(weights, outputs, x, y).backward()
        optimiser.step()
        path.append(TwoLayers(weights.detach().clone(), outputs.detach().clone()))
    return path


def flow_by_scipy(
    network: ReLUNetwork | TwoLayers,
    x: Tensor,
    y: Tensor,
    times: list[float],
    layers: str = "first",
) -> list[TwoLayers]:
    """Gradient flow of the autograd loss, integrated by SciPy's LSODA at tight tolerance."""
    network = tensors(network)
    shape, size = network.weights.shape, network.weights.numel()

    def unpack(flat: np.ndarray) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(flat.copy())
        return both[:size].reshape(shape), both[size:]

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        weights, outputs = (part.requires_grad_() for part in unpack(flat))
        loss = half_sum_loss(weights, outputs, x, y)
        first, second = torch.autograd.grad(loss, [weights, outputs])
        second = second if layers == "both" else torch.zeros_like(second)
        return -torch.cat([first.flatten(), second]).numpy()

    start = torch.cat([network.weights.flatten(), network.outputs]).numpy()
    solution = scipy.integrate.solve_ivp(
        velocity,
        (times[0], times[-1]),
        start,
        t_eval=times,
        method="LSODA",
        rtol=1e-9,
        atol=1e-10,
    )
    return [TwoLayers(*unpack(column)) for column in solution.y.T]


def linearised_flow_residual(gram: Tensor, residual: Tensor, time: float) -> Tensor:
    """exp(-H t) r: the residual u - y of gradient flow while H stands still, shape (n,)."""
    return torch.from_numpy(scipy.linalg.expm(-gram.numpy() * time) @ residual.numpy())


def linearised_descent_residual(
    gram: Tensor, residual: Tensor, step_size: float, steps: int
) -> Tensor:
    """(I - eta H)^k r, one multiplication at a time, shape (n,)."""
    for _ in range(steps):
        residual = residual - step_size * gram @ residual
    return residual
