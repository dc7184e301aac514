"""What a network's tangent at initialisation says of a network near it: Lemma 6.1."""

import torch
from torch import Tensor

from companion.monitors import Moment
from companion.networks import Pass, ReLUNetwork


@torch.no_grad()
def first_order(network: ReLUNetwork, forward: Pass, changes: list[Tensor]) -> Tensor:
    """<df(x_i)/dW, V>, summed over all trained tensors, shape (n,).

    Args:
        network: at which the derivatives are taken; all of its tensors are trained.
        forward: of this network.
        changes: V, a matrix for every layer and the output weights as one row, in their order.
    """
    found = network.output_gain * (forward.hidden[-1] @ changes[-1].squeeze(0))
    layers = range(network.depth - 1, -1, -1)
    for layer, signal in zip(layers, network.signals(forward), strict=True):
        found = found + (signal * (forward.hidden[layer] @ changes[layer].T)).sum(dim=1)
    return found


def linearisation_error(moment: Moment) -> Tensor:
    """max_i |f_W(x_i) - f_W(0)(x_i) - <df_W(0)(x_i)/dW, W - W(0)>|, a monitor."""
    start = moment.initial.run(moment.x)
    tangent = first_order(moment.initial, start, list(moment.changes()))
    return (moment.forward.predictions - start.predictions - tangent).abs().max()
