"""How far H, the hidden layer's Gram matrix, can move while parameters stay in balls.

W in a ball is Lemma 3.2, W and a in one each is Lemma A.3. Nothing is sampled in a certificate: it
counts the units that some choice in the ball can switch. Perturbations show how much of it is real.
"""

import math
from collections.abc import Callable

import torch
import xarray as xr
from torch import Tensor

from companion.draws import cpu_generator
from companion.experiments.du2019._problem import Problem
from companion.kernels import empirical_gram, gram_change_bound, near_boundary, spectral_norm
from companion.lab.checks import probability_at_least, slack_factor, with_room
from companion.lab.results import Check
from companion.lab.words import number
from companion.networks import ReLUNetwork

BISECTIONS = 14


def change_bounds(problem: Problem, far_w: float, far_a: float) -> tuple[Tensor, Tensor]:
    """What no (W, a) in two balls can exceed, entry by entry, in two parts of |H - H(0)|.

    H' has the same W and a(0). An entry of H - H' adds a_r^2 - a_r(0)^2 over units that are active
    on both inputs, and as a_r(0) is 1 or -1 no such difference exceeds 2 R_a + R_a^2.

    Args:
        problem: at initialisation.
        far_w: radius of every w_r's ball.
        far_a: radius of every a_r's ball.

    Returns:
        Bounds on |H' - H(0)| and on |H - H'|, shapes (n, n).
    """
    x = problem.x
    (z,) = problem.network.preactivations(x)
    most = ((z >= 0) | near_boundary(z, far_w)).to(x)
    active = (x @ x.T).abs() * (most @ most.T) / z.shape[1]
    return gram_change_bound(x, z, far_w), (2 * far_a + far_a**2) * active


def certified(problem: Problem, far_w: float, far_a: float) -> float:
    """What no (W, a) in the two balls can exceed in ||H - H(0)||."""
    by_weights, by_outputs = change_bounds(problem, far_w, far_a)
    return spectral_norm(by_weights + by_outputs)


def certificate(what: str, change: xr.DataArray, least: xr.DataArray, delta: float) -> Check:
    r"""Whether $\lVert H-H(0)\rVert<\lambda_0/4$ and $\lambda_{\min}(H)>\lambda_0/2$ often enough.

    Args:
        what: is certified, in words.
        change: what no parameters in the ball can exceed in the first, over lambda_0, a draw each.
        least: what none can fall below in the second, over lambda_0.
        delta: share of the draws that may fail.
    """
    check = probability_at_least(what, (change < 1 / 4) & (least > 1 / 2), 1 - delta)
    most = float(change.max())
    told = (
        rf"the change is at most {number(most, '.1e', 'up')} $\lambda_0$ and the least eigenvalue "
        rf"at least {number(least.min(), '.3f', 'down')} $\lambda_0$"
    )
    return with_room(check, told, f"the change has room for {slack_factor(1 / 4, most)}")


def at_random(problem: Problem, far_w: float, far_a: float, seed: int) -> list[Tensor]:
    """W and a on the boundary of their balls, in random directions."""
    (weights,), outputs = problem.network.weights, problem.network.outputs
    generator = cpu_generator("signs", seed)
    signs = 2 * torch.randint(0, 2, outputs.shape, generator=generator).to(outputs) - 1
    return [weights + far_w * random_directions(problem.network, seed), outputs + far_a * signs]


def adversary(problem: Problem, far_w: float, far_a: float) -> list[Tensor]:
    """W and a in their balls that switch units on and let every |a_r| grow: all adds up."""
    network = problem.network.training("hidden")
    (weights,) = _pushed(network, problem.x, far_w, "on").weights
    return [weights, network.outputs * (1 + far_a)]


def change(problem: Problem, parameters: list[Tensor]) -> float:
    """||H - H(0)|| of other W and a, where the problem trains the first layer, so that it has H."""
    moved = problem.network.training("all").moved(parameters).training("hidden")
    return spectral_norm(empirical_gram(moved, problem.x) - problem.gram)


def random_directions(network: ReLUNetwork, seed: int) -> Tensor:
    """A uniform unit vector for every unit, shape (m, d)."""
    (weights,), generator = network.weights, cpu_generator("perturbation", seed)
    directions = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    unit: Tensor = directions / directions.norm(dim=1, keepdim=True)
    return unit.to(weights)


def adversaries(network: ReLUNetwork, x: Tensor, radius: float) -> dict[str, ReLUNetwork]:
    """Two networks within `radius` of the given one that push H the same way in every unit.

    Args:
        network: of one hidden layer, of width m.
        x: unit-norm inputs, shape (n, d).
        radius: R.

    Returns:
        `on`: w_r + R x_i for the input nearest to switching on, where R reaches it; `off`:
        w_r - R x_i for the input nearest to switching off.
    """
    return {kind: _pushed(network, x, radius, kind) for kind in ("on", "off")}


def _pushed(network: ReLUNetwork, x: Tensor, radius: float, kind: str) -> ReLUNetwork:
    """One of the two adversaries."""
    (weights,) = network.weights
    z = x @ weights.T
    sign, done = (1, z >= 0) if kind == "on" else (-1, z < 0)
    gap, nearest = z.abs().masked_fill(done, math.inf).min(dim=0)
    (reached,) = torch.nonzero(gap < radius, as_tuple=True)  # often few of many units
    moves = sign * radius * x[nearest[reached]]
    return network.moved([weights.index_add(0, reached, moves)])


def largest(change: Callable[[float], float], limit: float, most: float) -> float:
    """The size at which a change, which grows with it, reaches `limit`; `most` if it does not."""
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if change(middle) < limit else (low, middle)
    return low
