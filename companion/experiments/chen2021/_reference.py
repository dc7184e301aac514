"""A point W* of Assumption 3.2: all losses below epsilon, within R m^-alpha of initialisation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.experiments.zou2018._problem import Problem
from companion.kernels import layer_grams
from companion.ntrf import margin_target, smallest_radius


@dataclass(frozen=True)
class Reference:
    """W* with what is measured of it on the true network.

    Attributes:
        parameters: W*_1, ..., W*_L.
        radius: R = m^alpha max_l ||W*_l - W_l(0)||_F.
        accuracy: epsilon, the largest loss of an example at W*.
        squared_distance: sum_l ||W*_l - W_l(0)||_F^2.
    """

    parameters: list[Tensor]
    radius: float
    accuracy: float
    squared_distance: float


def references(
    problem: Problem, target: float, stretches: Iterable[float] = (1.0,), most: int | None = None
) -> Iterator[Reference]:
    """Points on the ray from W(0) to where the linearised network has small losses.

    That point is the nearest at which its losses are at most `target`. On the examples that are
    left out it may have larger ones, and the network itself has others: epsilon is measured, of the
    network, on all examples.

    Args:
        problem: a network of Chen et al., with its examples.
        target: the largest loss of the linearised network.
        stretches: which multiples of that change W* - W(0) is.
        most: on how many examples the losses are to be small, those for which the plane x_1 = 0 is
            nearest; None for all.
    """
    network = problem.network
    near = problem.x[:, 0].abs().argsort()[:most]
    x, y = problem.x[near], problem.y[near]
    forward = network.run(x)
    found = smallest_radius(layer_grams(network, x), forward.predictions, y, margin_target(target))
    moves = [network.gradients(forward, row)[k] for k, row in enumerate(found.coefficients)]
    norms = torch.stack([move.norm() for move in moves])
    for stretch in stretches:
        star = [
            start + stretch * move for start, move in zip(network.parameters, moves, strict=True)
        ]
        losses = problem.loss.values(network.moved(star).predict(problem.x), problem.y)
        yield Reference(
            star,
            stretch * float(norms.max()) * network.output_gain,
            float(losses.max()),
            stretch**2 * float(norms.square().sum()),
        )
