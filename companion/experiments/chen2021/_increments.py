"""Members of the class of Definition 4.1 of Chen et al. (2021), beside the networks they stand for.

A member is the tangent of a network at initialisation, f(x) + <df(x)/dW, V>; the network that it
stands for has the weights W^(0) + V.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from companion.experiments.chen2021._tangent import first_order
from companion.losses import CROSS_ENTROPY
from companion.networks import ReLUNetwork


@dataclass(frozen=True)
class Increment:
    """V, an increment of all weights, seen from the inputs.

    Attributes:
        network: at initialisation.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        parts: V_1, ..., V_L, of the shapes of `network.parameters`.
    """

    network: ReLUNetwork
    x: Tensor
    y: Tensor
    parts: list[Tensor]

    @cached_property
    def norms(self) -> Tensor:
        """||V_l||_F, shape (L,)."""
        return torch.stack([torch.linalg.vector_norm(part) for part in self.parts])

    @cached_property
    def tangent(self) -> Tensor:
        """f(x_i) + <df(x_i)/dW, V>, shape (n,), without a Gram matrix."""
        forward = self.network.run(self.x)
        return forward.predictions + first_order(self.network, forward, self.parts)

    @cached_property
    def predictions(self) -> Tensor:
        """Those of the network with W^(0) + V, shape (n,)."""
        weights = zip(self.network.parameters, self.parts, strict=True)
        return self.network.moved([weight + part for weight, part in weights]).predict(self.x)

    @property
    def tangent_losses(self) -> Tensor:
        """Cross-entropies of the member, shape (n,)."""
        return CROSS_ENTROPY.values(self.tangent, self.y)

    @property
    def losses(self) -> Tensor:
        """Cross-entropies of the network with W^(0) + V, shape (n,)."""
        return CROSS_ENTROPY.values(self.predictions, self.y)

    @property
    def error(self) -> float:
        """The linearisation error: the most by which tangent and network differ on an input."""
        return float((self.predictions - self.tangent).abs().max())


def increment(
    network: ReLUNetwork, x: Tensor, y: Tensor, coefficients: Tensor, factor: float = 1.0
) -> Increment:
    """V_l = `factor` times sum_i c_{l,i} df(x_i)/dW_l.

    Args:
        network: at initialisation.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        coefficients: c, shape (L, n), or (1, n) if they serve all layers.
        factor: on all of them.
    """
    forward = network.run(x)
    rows = (factor * coefficients).to(x)
    found = [network.gradients(forward, row) for row in rows]
    last = len(found) - 1
    parts = [found[min(layer, last)][layer] for layer in range(len(network.parameters))]
    return Increment(network, x, y, parts)
