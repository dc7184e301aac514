"""Networks W* of Assumption 3.2: near the start, and with every loss below epsilon.

The theorems compare the iterates of gradient descent with such a W*, whatever it is. Here there are
two of them: an iterate of the run itself, and the start moved as the linearised network asks.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from companion.experiments.chen2021._linearity import changes
from companion.experiments.zou2018._problem import Problem
from companion.kernels import layer_grams
from companion.monitors import Moment, frobenius_distances
from companion.networks import ReLUNetwork
from companion.ntrf import margin_target, smallest_radius


@dataclass(frozen=True)
class Comparator:
    """W*, with what the theorems need of it.

    Attributes:
        network: W*.
        epsilon: its largest loss, max_i L_i(W*).
        radius: R = m^alpha max_l ||W*_l - W_l(0)||_F.
    """

    network: ReLUNetwork
    epsilon: float
    radius: float

    def horizon(self, time_step: float) -> int:
        """T = ceil(L R^2 m^(-2 alpha) / (eta epsilon)), the iterates of Theorem 3.3.

        Args:
            time_step: eta m^(2 alpha).
        """
        return horizon(len(self.network.parameters), self.radius, self.epsilon, time_step)


def horizon(layers: int, radius: float, epsilon: float, time_step: float) -> int:
    """T = ceil(L R^2 m^(-2 alpha) / (eta epsilon)), with eta m^(2 alpha) = `time_step`."""
    return math.ceil(layers * radius**2 / (time_step * epsilon))


def scaled_distance(moment: Moment) -> float:
    """m^alpha max_l ||W_l - W_l(0)||_F of an iterate."""
    return moment.network.output_gain * float(frobenius_distances(moment).max())


def late_iterate(moment: Moment) -> Comparator:
    """The iterate itself as W*; its tensors are copied, as training goes on to change them."""
    network = moment.network.moved([p.clone() for p in moment.network.parameters])
    return Comparator(network, float(moment.losses.max()), scaled_distance(moment))


def linearised_fit(problem: Problem, target: float) -> Comparator:
    """W(0) + V, with the shortest V that gives the linearised network losses of at most `target`.

    The network's own losses there are others: `epsilon` is what it has.
    """
    (fit,) = on_the_ray(problem, target, (1.0,))
    return fit


def on_the_ray(
    problem: Problem, target: float, stretches: Iterable[float], most: int | None = None
) -> Iterator[Comparator]:
    """Networks on the ray from W(0) through the nearest fit of the linearised network.

    Args:
        problem: a network of Chen et al., with its examples.
        target: the largest loss of the linearised network at the fit.
        stretches: which multiples of the fit's change W* - W(0) is.
        most: on how many examples the losses are to be small, those for which the plane x_1 = 0 is
            nearest; None for all. On the others they may be larger: `epsilon` is of all.
    """
    network = problem.network
    near = problem.x[:, 0].abs().argsort()[:most]
    x, y = problem.x[near], problem.y[near]
    forward = network.run(x)
    least = smallest_radius(layer_grams(network, x), forward.predictions, y, margin_target(target))
    moves = [network.gradients(forward, row)[layer] for layer, row in enumerate(least.coefficients)]
    longest = max(float(move.norm()) for move in moves)
    for stretch in stretches:
        moved = network.moved(
            [p + stretch * v for p, v in zip(network.parameters, moves, strict=True)]
        )
        losses = problem.loss.values(moved.predict(problem.x), problem.y)
        yield Comparator(moved, float(losses.max()), network.output_gain * stretch * longest)


def squared_distance(network: ReLUNetwork, other: ReLUNetwork) -> float:
    """sum_l ||W_l - W'_l||_F^2."""
    return float(torch.stack([each.square().sum() for each in changes(network, other)]).sum())
