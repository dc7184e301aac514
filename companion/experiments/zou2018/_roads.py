"""Section 3's formulas by other roads than the package's: products of matrices, autograd."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from companion.draws import Batches
from companion.experiments.zou2018._problem import Problem
from companion.networks import ReLUNetwork


def by_products(network: ReLUNetwork, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs and their gradients as products of masked matrices, section 3.4 of 2018.

    Args:
        network: of Zou et al., without gains.
        x: inputs, shape (n, d).

    Returns:
        f(x_i) as v . (Sigma_L W_L^T ... Sigma_l W_l^T) x_(l-1, i) for every l, shape (L, n); and
        for every l the gradients of f(x_i), shape (n, m_l, m_(l-1)), transposes of the paper's.
    """
    below, masks, masked = [x], [], []
    for weight in network.weights:
        masks.append((below[-1] @ weight.T > 0).to(x))
        masked.append(masks[-1][:, :, None] * weight)
        below.append((masked[-1] @ below[-1][:, :, None])[:, :, 0])
    row = network.outputs.expand(len(x), -1)
    outputs, gradients = [], []
    for mask, matrix, hidden in zip(masks[::-1], masked[::-1], below[-2::-1], strict=True):
        gradients.append((row * mask)[:, :, None] * hidden[:, None, :])
        row = (row[:, None, :] @ matrix)[:, 0, :]
        outputs.append((row * hidden).sum(dim=1))
    return torch.stack(outputs[::-1]), gradients[::-1]


def by_autograd(network: ReLUNetwork, x: Tensor) -> list[Tensor]:
    """For every layer the gradients of f(x_i) by differentiation, shape (n, m_l, m_(l-1))."""
    leaves = _leaves(network)
    values = network.moved(leaves).predict(x)
    rows = [torch.autograd.grad(value, leaves, retain_graph=True) for value in values]
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def descent_by_autograd(
    problem: Problem, step_size: float, steps: int, batches: Batches | None = None
) -> list[Tensor]:
    """Weights after so many steps of `torch.optim.SGD` on the mean loss, or on that of batches."""
    leaves = _leaves(problem.network)
    optimiser = torch.optim.SGD(leaves, lr=step_size)
    network, count = problem.network.moved(leaves), len(problem.y)
    for step in range(steps):
        rows = torch.arange(count) if batches is None else batches.rows(step, count)
        x, y = problem.x[rows.to(problem.x.device)], problem.y[rows.to(problem.y.device)]
        loss = problem.loss.values(network.predict(x), y).mean()
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            leaf.grad = gradient
        optimiser.step()
    return [leaf.detach() for leaf in leaves]


def mean_loss(problem: Problem, weights: Sequence[Tensor]) -> float:
    """L_S at other weights, eq. (3.2)."""
    predictions = problem.network.moved(weights).predict(problem.x)
    return float(problem.loss.values(predictions, problem.y).mean())


def loss_gradient(problem: Problem, rows: Tensor | None = None) -> list[Tensor]:
    """The package's gradient of L_S, or of the mean loss of some examples, layer by layer."""
    x, y = (problem.x, problem.y) if rows is None else (problem.x[rows], problem.y[rows])
    forward = problem.network.run(x)
    coefficients = problem.loss.derivatives(forward.predictions, y) / len(y)
    return problem.network.gradients(forward, coefficients)


def of_loss(problem: Problem, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of L_S from those of the outputs, input by input: section 3.4 of 2018.

    Args:
        problem: at its network.
        gradients: of f(x_i), for every layer of shape (n, m_l, m_(l-1)).
    """
    slopes = problem.loss.derivatives(problem.network.predict(problem.x), problem.y)
    return [torch.einsum("i,ijk->jk", slopes / len(slopes), each) for each in gradients]


def gap(found: Sequence[Tensor], known: Sequence[Tensor]) -> float:
    """Distance of some tensors from others, as a share of the norm of those."""
    return float((flat(found) - flat(known)).norm() / flat(known).norm())


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All their entries in one row."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def rounding(depth: int, width: int, dtype: str) -> float:
    """What rounding may do to outputs and gradients; relative.

    Errors of a sum of k terms add up like a random walk; ten standard deviations of it, in every
    layer.

    Args:
        depth: hidden layers.
        width: units of the widest.
        dtype: `float32` or `float64`.
    """
    return 10 * depth * math.sqrt(width) * float(np.finfo(dtype).eps)


def _leaves(network: ReLUNetwork) -> list[Tensor]:
    return [weight.detach().clone().requires_grad_() for weight in network.weights]
