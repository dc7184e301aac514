"""Coordinates in which inputs are short: those of their own span, where it is smaller."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from companion.matmul import product
from companion.networks import ReLUNetwork
from companion.stacks import Stack


def span(x: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal basis V of a space that holds the inputs, and the inputs in its coordinates.

    f depends on W_1 only through W_1 x, and descent moves W_1 only along the inputs. So training
    W_1 V on the inputs V^T x is training W_1 on x, exactly: V keeps all inner products of inputs,
    and with them predictions, gradients' norms, distances and patterns.

    Args:
        x: inputs, shape (n, d), n < d.

    Returns:
        V, shape (d, n), and V^T x_i as rows, shape (n, n).
    """
    basis, coordinates = torch.linalg.qr(x.T)
    return basis, coordinates.T


@dataclass(frozen=True)
class Rotation:
    """Into those coordinates and out of them.

    Optimisers whose steps are sums of gradients may be used in them, and no others: the steps of
    Adam, made entry by entry, depend on the coordinates and leave the span.

    Attributes:
        basis: V, shape (d, n).
    """

    basis: Tensor

    def into(self, networks: Sequence[ReLUNetwork]) -> list[ReLUNetwork]:
        """The networks with W_1 V in place of W_1."""
        inside = product(torch.cat([net.weights[0] for net in networks]), self.basis)
        split = torch.split(inside, [net.widths[0] for net in networks])
        return [
            replace(net, weights=(first, *net.weights[1:]))
            for net, first in zip(networks, split, strict=True)
        ]

    def out_of(self, stack: Stack, initial: Sequence[ReLUNetwork]) -> Stack:
        """The trained networks in the inputs' own coordinates: off their span nothing has moved."""
        start = torch.cat([net.weights[0] for net in initial])
        inside = stack.weights[0].flatten(0, 1)
        moved = start + product(inside - product(start, self.basis), self.basis.T)
        first = moved.view(len(stack), -1, moved.shape[-1])
        return replace(stack, weights=(first, *stack.weights[1:]))
