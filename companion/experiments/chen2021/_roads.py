"""Section 2's formulas by other roads than the package's: products of matrices, autograd.

The paper's W_1, ..., W_L are matrices one and all; the package keeps W_L as a vector.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from companion.experiments.zou2018._problem import Problem
from companion.networks import ReLUNetwork


def output(matrices: Sequence[Tensor], scale: float, x: Tensor) -> Tensor:
    """f_W(x_i) = m^alpha W_L relu(W_{L-1} ... relu(W_1 x_i)), shape (n,).

    Args:
        matrices: W_1, ..., W_L, shapes (m, d), (m, m), ..., (1, m).
        scale: m^alpha.
        x: inputs, shape (n, d).
    """
    *lower, last = matrices
    hidden = x
    for matrix in lower:
        hidden = (hidden @ matrix.T).clamp(min=0)
    return scale * (hidden @ last.T)[:, 0]


def matrices_of(network: ReLUNetwork) -> list[Tensor]:
    """W_1, ..., W_L, the last of shape (1, m)."""
    return [*network.weights, network.outputs[None]]


def by_products(network: ReLUNetwork, scale: float, x: Tensor) -> list[Tensor]:
    """Gradients of f(x_i) in W_1, ..., W_L, shapes (n, m, d), (n, m, m), ..., (n, 1, m).

    That in W_l is b_l h_{l-1}^T with b_L = m^alpha and b_l = Sigma_l W_{l+1}^T b_{l+1}.
    """
    matrices, hidden, masks = matrices_of(network), [x], []
    for matrix in matrices[:-1]:
        before = hidden[-1] @ matrix.T
        masks.append((before > 0).to(x))
        hidden.append(before * masks[-1])
    signal = torch.full((len(x), 1), scale, dtype=x.dtype, device=x.device)
    gradients = [signal[:, :, None] * hidden[-1][:, None, :]]
    for matrix, mask, below in zip(matrices[:0:-1], masks[::-1], hidden[-2::-1], strict=True):
        signal = mask * (signal @ matrix)
        gradients.append(signal[:, :, None] * below[:, None, :])
    return gradients[::-1]


def by_autograd(network: ReLUNetwork, scale: float, x: Tensor) -> list[Tensor]:
    """The same by differentiation."""
    leaves = [matrix.detach().clone().requires_grad_() for matrix in matrices_of(network)]
    rows = [
        torch.autograd.grad(value, leaves, retain_graph=True) for value in output(leaves, scale, x)
    ]
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def iterates(
    problem: Problem,
    scale: float,
    step_size: float,
    batches: Iterable[Sequence[int]],
    *,
    last_layer: bool = True,
) -> list[list[Tensor]]:
    """W^(0), W^(1), ... of Algorithms 1 and 2, written as they are printed.

    Args:
        problem: at initialisation.
        scale: m^alpha.
        step_size: eta.
        batches: the examples of every step: all of them in Algorithm 1, one in Algorithm 2.
        last_layer: whether W_L is trained, which the paper does and Zou et al. do not.
    """
    current = matrices_of(problem.network)
    found = [current]
    for batch in batches:
        leaves = [matrix.detach().clone().requires_grad_() for matrix in current]
        rows = [*batch]
        margins = problem.y[rows] * output(leaves, scale, problem.x[rows])
        loss = torch.log1p(torch.exp(-margins)).mean()
        gradients = torch.autograd.grad(loss, leaves)
        current = [
            leaf.detach() - step_size * gradient
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
        if not last_layer:
            current[-1] = found[0][-1]
        found.append(current)
    return found
