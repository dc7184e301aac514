"""How far the hidden layer's Gram matrix moves while W and a stay in balls (Lemma A.3)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from companion.draws import cpu_generator
from companion.experiments.du2019._problem import Problem
from companion.kernels import empirical_gram, gram_change_bound, spectral_norm
from companion.lab.sweep import Variables
from companion.networks import ReLUNetwork


def certified(problem: Problem, radius: float) -> float:
    """What no W within `radius` of the initial one can exceed in ||H' - H(0)||; H' has a(0)."""
    (preactivations,) = problem.network.preactivations(problem.x)
    return spectral_norm(gram_change_bound(problem.x, preactivations, radius))


def perturbed(
    problem: Problem, radii: tuple[float, float], multiples: Sequence[float], seed: int
) -> Variables:
    """The larger change of H by a random and by an adversarial (W, a) on the boundary of balls.

    Args:
        problem: with both layers trained.
        radii: R_w and R_a.
        multiples: of both, one after another.
        seed: of the random perturbation.

    Returns:
        `weight_change`, `output_change` and `gram_change`: ||H' - H(0)||, ||H - H'|| and
        ||H - H(0)||; H' has a(0).
    """
    rows = []
    for multiple in multiples:
        pairs = neighbours(problem, multiple * radii[0], multiple * radii[1], seed)
        rows.append(np.max([_changes(problem, *pair) for pair in pairs], axis=0))
    names = ("weight_change", "output_change", "gram_change")
    return {name: ("multiple", row) for name, row in zip(names, np.array(rows).T, strict=True)}


def neighbours(
    problem: Problem, far_w: float, far_a: float, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """A random and an adversarial (W, a) on the boundary of the two balls.

    The adversary pushes every unit across the kink of its nearest input, and lets every |a_r| grow.
    """
    (weights,), outputs = problem.network.weights, problem.network.outputs
    generator = cpu_generator("perturbation", seed)
    direction = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    direction = (direction / direction.norm(dim=1, keepdim=True)).to(weights)
    signs = torch.randint(0, 2, outputs.shape, generator=generator).to(outputs)
    (preactivations,) = problem.network.preactivations(problem.x)
    nearest = preactivations.abs().argmin(dim=0)
    side = preactivations.gather(0, nearest[None, :])[0].sign()
    return [
        (weights + far_w * direction, outputs + far_a * (2 * signs - 1)),
        (weights - far_w * side[:, None] * problem.x[nearest], outputs * (1 + far_a)),
    ]


def _changes(problem: Problem, weights: Tensor, outputs: Tensor) -> list[float]:
    network = problem.network
    start = _hidden_gram(network, problem.x)
    half = _hidden_gram(network.moved([weights, network.outputs]), problem.x)
    full = _hidden_gram(network.moved([weights, outputs]), problem.x)
    pairs = ((half, start), (full, half), (full, start))
    return [spectral_norm(after - before) for after, before in pairs]


def _hidden_gram(network: ReLUNetwork, x: Tensor) -> Tensor:
    """H, without G."""
    return empirical_gram(network.training("hidden"), x)
