"""Weights in a ball around initialisation, and how far from linear the network is there.

The ball of Chen et al. (2021) holds all W whose every layer is within tau of its start, in
Frobenius norm.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from companion.draws import cpu_generator
from companion.experiments.chen2021._tangent import first_order
from companion.experiments.zou2018._flips import BEYOND, attack_patterns, worst_share
from companion.experiments.zou2018._problem import Problem
from companion.experiments.zou2018._products import norm
from companion.networks import ReLUNetwork

# Of the radius, what the worst pair spends on bringing units to their kink. What is left multiplies
# the error, and the units' number grows like spent^(2/3): (1 - q) q^(1/3) is largest here.
TO_THE_KINK = 1 / 4


def asked_radius(layers: int, width: int) -> float:
    """L^-6 (log m)^(-3/2), the tau of Lemma 6.1 with the constant read as 1."""
    return float(layers**-6 * math.log(width) ** -1.5)


def steepest(problem: Problem) -> list[Tensor]:
    """The direction of gradient descent's first step, its longest layer of Frobenius norm 1."""
    forward = problem.network.run(problem.x)
    slopes = problem.loss.derivatives(forward.predictions, problem.y) / len(problem.y)
    gradients = problem.network.gradients(forward, slopes)
    longest = max(float(each.norm()) for each in gradients)
    return [-each / longest for each in gradients]


def random_direction(network: ReLUNetwork, seed: int) -> list[Tensor]:
    """In every trained layer a uniform direction of Frobenius norm 1."""
    generator = cpu_generator("directions in the ball", seed)
    found = []
    for like in network.parameters:
        drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
        found.append((drawn / drawn.norm()).to(like))
    return found


def moved(network: ReLUNetwork, direction: Sequence[Tensor], radius: float) -> ReLUNetwork:
    """The network with every trained layer moved by `radius` along a direction."""
    pairs = zip(network.parameters, direction, strict=True)
    return network.moved([weight + radius * each for weight, each in pairs])


def linearisation_errors(one: ReLUNetwork, other: ReLUNetwork, x: Tensor) -> Tensor:
    """f_W'(x_i) - f_W(x_i) - <grad f_W(x_i), W' - W>, shape (n,).

    Args:
        one: of weights W, all of them trained.
        other: of weights W'.
        x: inputs, shape (n, d).
    """
    forward = one.run(x)
    change: Tensor = other.run(x).predictions - forward.predictions
    return change - first_order(one, forward, changes(one, other))


def changes(one: ReLUNetwork, other: ReLUNetwork) -> list[Tensor]:
    """W' - W, tensor by tensor."""
    return [b - a for a, b in zip(one.parameters, other.parameters, strict=True)]


def move(one: ReLUNetwork, other: ReLUNetwork) -> float:
    """Sum over l < L of ||W'_l - W_l||_2, as on the right-hand side of Lemma 6.1."""
    pairs = zip(one.weights, other.weights, strict=True)
    return sum(norm(_wide(there - here)) for here, there in pairs)


def _wide(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, which has no more rows than columns."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def worst_pairs(network: ReLUNetwork, x: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """For every input a pair W, W' in the ball that is as far from linear as we know how to make.

    Both differ from W(0) in W_{L-1} alone. A quarter of the radius brings as many units as it can
    to just below their kink, among those that raise the output: that is W. The rest takes them
    beyond it along the output weights, by which none of them is expected to matter: that is W'.

    Args:
        network: W(0).
        x: inputs, shape (n, d).
        radius: tau.

    Returns:
        The error of the linearisation at W, and ||W'_{L-1} - W_{L-1}||_2, both of shape (n,).
    """
    shift, beyond, below = _worst_shifts(network, x, radius)
    here = below @ network.weights[-1].T + shift
    there = here + beyond
    kinks = there.relu() - here.relu() - (here > 0) * beyond
    errors = network.output_gain * (kinks @ network.outputs)
    return errors, beyond.norm(dim=1) / below.norm(dim=1)


def worst_weights(
    network: ReLUNetwork, x: Tensor, radius: float, row: int
) -> tuple[ReLUNetwork, ReLUNetwork]:
    """The pair of one input as networks."""
    shift, beyond, below = (each[row] for each in _worst_shifts(network, x, radius))
    *lower, last = network.weights
    unit = below / below.square().sum()
    return tuple(  # type: ignore[return-value]
        network.moved([*lower, last + torch.outer(each, unit), network.outputs])
        for each in (shift, shift + beyond)
    )


def _worst_shifts(network: ReLUNetwork, x: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """How far the preactivations of layer L - 1 are from W(0)'s to W's, and from there to W''s.

    Returns:
        Both, of shape (n, m), and the layer's inputs, (n, m) or (n, d).
    """
    below, last = network.run(x).hidden[-2], network.weights[-1]
    z, raising = below @ last.T, network.outputs > 0
    rows = replace(
        network, weights=(last[raising],), outputs=network.outputs[raising], gains=(1.0,)
    )
    brought = attack_patterns(rows, below, TO_THE_KINK * radius).shifts[-1] != 0
    chosen = torch.zeros_like(z, dtype=torch.bool)
    chosen[:, raising] = brought
    shift = torch.where(chosen, -z - BEYOND * z.abs(), 0)
    along = chosen * network.outputs
    left = (1 - TO_THE_KINK) * radius * below.norm(dim=1)
    # Where no unit can be brought to its kink there is no such pair, and no error.
    return shift, along * (left / along.norm(dim=1)).nan_to_num(posinf=0)[:, None], below


def worst_error(radius: float) -> float:
    """Root mean square error of `worst_pairs` over m^alpha, in the limit of wide layers (derived).

    Of the units with positive output weight, half of all, a share p is brought to its kink, and
    what is left of the radius is multiplied by the root of the sum of their squared output
    weights, p / 2. As tau vanishes, that goes like tau^(4/3).

    Args:
        radius: tau.
    """
    # Half of the units share the cost, which is that of all of them at sqrt(2) times the radius.
    share = worst_share(TO_THE_KINK * radius * math.sqrt(2))
    return (1 - TO_THE_KINK) * radius * math.sqrt(share / 2)


def turned_on(network: ReLUNetwork, x: Tensor, radius: float) -> ReLUNetwork:
    """Weights in the ball with many units on for one input, and longer output weights.

    In every hidden layer the units that are cheapest to turn on are turned on, as many as tau
    allows, by a change of rank one: so that more of them pass a signal back.

    Args:
        network: W(0).
        x: the input, shape (1, d).
        radius: tau.
    """
    below, changed = x, []
    for weight in network.weights:
        z = below @ weight.T
        off = z[0] <= 0
        rows = replace(network, weights=(weight[off],), outputs=network.outputs[off], gains=(1.0,))
        shift = torch.zeros_like(z)
        shift[:, off] = attack_patterns(rows, below, radius).shifts[-1]
        changed.append(weight + torch.outer(shift[0], below[0]) / below.square().sum())
        below = (z + shift).relu()
    outputs = network.outputs
    return network.moved([*changed, outputs * (1 + radius / outputs.norm())])
