"""Weights near initialisation, and the units they switch: Theorem 5.3 of Zou et al. (2018), v3.

tau is the most that a layer may move in spectral norm. Four ways to use it up: an adversary of the
activation patterns, one of the outputs, a direction that knows nothing, and gradient descent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy.optimize import brentq
from scipy.special import comb
from torch import Tensor
from torch.nn.functional import normalize

from companion.draws import cpu_generator
from companion.experiments.zou2018._problem import Problem
from companion.kernels import lambda_max
from companion.lab.checks import exponent_at_most
from companion.lab.results import Check
from companion.monitors import Distances, gradient_norms
from companion.networks import ReLUNetwork

# How far beyond its kink an adversary leaves a unit, as a share of how far it was before it:
# rounding is much smaller, and what it costs does not show.
BEYOND = 1e-6
# By how much a measured exponent may be off because tau is not 0, and m not infinite.
ROOM = 0.05


def asked_radius(depth: int, width: int) -> float:
    """L^-11 (log M)^(-3/2), the tau of Theorem 5.3 and of Lemma A.4 with the constant read as 1."""
    return float(depth**-11 * math.log(width) ** -1.5)


def bounded(what: str, samples: xr.DataArray, power: float, along: str) -> Check:
    """Whether what is at most C tau^power stays so as tau falls: over that power it must not grow.

    Args:
        what: is measured, in words, over that power.
        samples: of it, positive, with a dimension `along`.
        power: of the bound.
        along: the dimension of tau, which is its coordinate.
    """
    ratio = samples / samples[along] ** power
    inverse = ratio.assign_coords({along: 1 / samples[along]})
    return exponent_at_most(rf"{what}, in $1/\tau$", inverse, 0, ROOM, along)


def worst_share(radius: float) -> float:
    """Share of a layer's units that the worst perturbation switches for one unit input, at m = oo.

    The preactivations are N(0, 2/m), and one of spectral norm tau moves them by a vector of norm
    tau at most. So the worst one switches those below some b sqrt(2/m), whose squares sum to
    tau^2; for small tau that is a share (3 tau^2 / pi)^(1/3).

    Args:
        radius: tau, in (0, sqrt 2): beyond, every unit can be switched.
    """

    def spent(edge: float) -> float:
        density = math.exp(-(edge**2) / 2) * math.sqrt(2 / math.pi)
        return 2 * (math.erf(edge / math.sqrt(2)) - edge * density)

    edge = brentq(lambda edge: spent(edge) - radius**2, 0, 40)
    return math.erf(edge / math.sqrt(2))


def random_share(radius: float) -> float:
    """The same for a direction independent of the weights: the angle of z and z + N(0, tau^2/m).

    Args:
        radius: tau, any positive number.
    """
    return math.atan(radius / math.sqrt(2)) / math.pi


def edge_norm(layers: int) -> float:
    """Limit of the norm of a product of square He-initialised layers with half of the units off.

    Free probability: sqrt((1 + z) (1 + 2z)^k / z) with z = (1 - k + sqrt(k^2 + 1)) / 2k, which
    grows like sqrt(2 e k).

    Args:
        layers: k, at least 1.
    """
    k = layers
    z = (1 - k + math.sqrt(k**2 + 1)) / (2 * k)
    return math.sqrt((1 + z) * (1 + 2 * z) ** k / z)


def patterns(network: ReLUNetwork, x: Tensor) -> list[Tensor]:
    """Which units of every layer are on, booleans of shapes (n, m_l)."""
    return [network.pattern(gate) for gate in network.run(x).gates]


def switched(before: Sequence[Tensor], after: Sequence[Tensor]) -> np.ndarray:
    """Share of the pairs of an input and a unit that are on in one of two patterns, shape (L,)."""
    pairs = zip(before, after, strict=True)
    return np.array([float((one != other).double().mean()) for one, other in pairs])


def united(flips: Tensor, counts: Sequence[int]) -> np.ndarray:
    """Share of the units that are switched for at least one of some inputs, shape (counts,).

    The mean over all choices of so many inputs: a unit that k of n inputs switch is missed by
    C(n - k, count) of C(n, count) choices.

    Args:
        flips: which unit switches for which input, booleans, shape (n, m).
        counts: numbers of inputs, at most n.
    """
    switching, n = flips.sum(dim=0).cpu().numpy(), len(flips)
    missed = [float(np.mean(comb(n - switching, count) / comb(n, count))) for count in counts]
    return 1 - np.array(missed)


def lipschitz(before: Sequence[Tensor], after: Sequence[Tensor], moves: Tensor) -> float:
    """Most that an output x_l moves over the sum of the moves of the layers up to l.

    Args:
        before: x_0, ..., x_L, shapes (n, m_l).
        after: the same of other weights.
        moves: spectral norms of the layers' differences, shape (L,), or (n, L) where every input
            has weights of its own.
    """
    pairs = zip(before[1:], after[1:], strict=True)
    far = torch.stack([(one - other).norm(dim=1) for one, other in pairs], dim=1)
    # Where nothing has moved yet, nothing moves by more than that.
    return float(torch.where(far > 0, far / moves.cumsum(dim=-1), 0).max())


def directions(network: ReLUNetwork, seed: int) -> list[Tensor]:
    """For every layer a uniform matrix whose singular values are all 1, in the weights' shapes.

    Of the matrices of spectral norm tau, tau times it moves a typical vector the most.
    """
    generator = cpu_generator("directions", seed)
    return [_isometry(weight, generator) for weight in network.weights]


def _isometry(like: Tensor, generator: torch.Generator) -> Tensor:
    tall = max(like.shape), min(like.shape)
    q, r = torch.linalg.qr(torch.randn(tall, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()  # without it, the columns' signs are LAPACK's choice
    found: Tensor = q if like.shape[0] >= like.shape[1] else q.T
    return found.to(like)


def moved(network: ReLUNetwork, units: Sequence[Tensor], radius: float) -> ReLUNetwork:
    """The network with every layer moved by `radius` in the directions given."""
    pairs = zip(network.weights, units, strict=True)
    return network.moved([weight + radius * unit for weight, unit in pairs])


@dataclass(frozen=True)
class Attack:
    """What every input sees of weights that were chosen for it.

    Row by row W~_l = W_l + shift x~^T / ||x~||^2 with x~ = x~_{l-1}: a matrix of rank one.

    Attributes:
        hidden: x~_0, ..., x~_L, shapes (n, m_l).
        shifts: how far the preactivations moved, shapes (n, m_l).
    """

    hidden: list[Tensor]
    shifts: list[Tensor]

    @property
    def patterns(self) -> list[Tensor]:
        """Which units are on, shapes (n, m_l)."""
        return [each > 0 for each in self.hidden[1:]]

    @property
    def moves(self) -> Tensor:
        """Spectral norms of all layers' perturbations, shape (n, L)."""
        pairs = zip(self.shifts, self.hidden, strict=False)
        return torch.stack([shift.norm(dim=1) / x.norm(dim=1) for shift, x in pairs], dim=1)

    def weights(self, network: ReLUNetwork, row: int) -> list[Tensor]:
        """The perturbed weights of one input."""
        parts = zip(network.weights, self.shifts, self.hidden, strict=False)
        return [
            weight + torch.outer(shift[row], x[row]) / x[row].square().sum()
            for weight, shift, x in parts
        ]


def attack_patterns(network: ReLUNetwork, x: Tensor, radius: float) -> Attack:
    """For every input weights within `radius` that switch many units, layer after layer.

    In each layer the units that are cheapest to have on the other side than at the start are
    brought there, as many as ||shift|| <= tau ||x~|| allows. For the first layer nothing does
    better: no W~ moves the preactivations farther. For deeper ones it is a lower bound.

    Args:
        network: at initialisation.
        x: inputs, shape (n, d).
        radius: tau.
    """
    hidden: list[Tensor] = [x]
    shifts: list[Tensor] = []
    for weight, start in zip(network.weights, patterns(network, x), strict=True):
        _advance(hidden, shifts, weight, _cheapest(hidden[-1], weight, start, radius))
    return Attack(hidden, shifts)


def attack_last_layer(network: ReLUNetwork, x: Tensor, radius: float) -> Attack:
    """The same for the last layer alone, with the help of all layers below it.

    What the last layer's preactivations should move by is sent back through the network; each
    layer moves by tau along what arrives there, and so they add up. The last layer then switches
    what is cheapest.

    Args:
        network: at initialisation.
        x: inputs, shape (n, d).
        radius: tau.
    """
    *lower, last = network.weights
    *gates, start = patterns(network, x)
    below = network.run(x).hidden[-2]
    z = below @ last.T
    wanted = _affordable(z.abs(), network.depth * radius * below.norm(dim=1))
    aims = [torch.where(wanted, -z, 0)]
    for weight, gate in zip(network.weights[:0:-1], gates[::-1], strict=True):
        aims.append(gate * (aims[-1] @ weight))
    hidden: list[Tensor] = [x]
    shifts: list[Tensor] = []
    for weight, aim in zip(lower, aims[:0:-1], strict=True):
        # Where no unit of the last layer can be afforded there is no aim, and nothing moves.
        way = normalize(aim, eps=torch.finfo(aim.dtype).tiny)
        _advance(hidden, shifts, weight, radius * hidden[-1].norm(dim=1, keepdim=True) * way)
    _advance(hidden, shifts, last, _cheapest(hidden[-1], last, start, radius))
    return Attack(hidden, shifts)


def attacked_share(network: ReLUNetwork, x: Tensor, radius: float) -> float:
    """Share of the pairs of input and unit that the two adversaries switch, in the worst layer."""
    before = patterns(network, x)
    attacks = attack_patterns(network, x, radius), attack_last_layer(network, x, radius)
    return float(max(switched(before, attack.patterns).max() for attack in attacks))


def _advance(hidden: list[Tensor], shifts: list[Tensor], weight: Tensor, shift: Tensor) -> None:
    """One layer more, with preactivations that are shifted."""
    shifts.append(shift)
    hidden.append((hidden[-1] @ weight.T + shift).relu())


def _cheapest(below: Tensor, weight: Tensor, start: Tensor, radius: float) -> Tensor:
    """The shift within tau ||x~|| that leaves most units on the other side than at the start."""
    z = below @ weight.T
    still = (z > 0) == start
    chosen = _affordable(torch.where(still, z.abs(), 0), radius * below.norm(dim=1))
    return torch.where(chosen & still, -(1 + BEYOND) * z, 0)


def _affordable(price: Tensor, budget: Tensor) -> Tensor:
    """The cheapest entries of every row whose squares sum to budget^2 at most, booleans."""
    order = price.sort(dim=1)
    spent = (1 + BEYOND) * order.values.square().cumsum(dim=1).sqrt()
    found = torch.zeros_like(price, dtype=torch.bool)
    return found.scatter(1, order.indices, spent <= budget[:, None])


def attack_together(network: ReLUNetwork, x: Tensor, radius: float) -> Tensor:
    """Units of the first layer that one W~_1 within `radius` switches, each for one input.

    A unit is given to the input nearest to switching it, and W~_1 - W_1 = Delta (X^T)^+ with one
    entry of Delta in every row. Its norm is at most max_i ||Delta_i|| / sigma_min(X).

    Args:
        network: at initialisation.
        x: linearly independent inputs, shape (n, d).
        radius: tau.

    Returns:
        Booleans, shape (n, m_1).
    """
    price = (x @ network.weights[0].T).abs()
    nearest = price.argmin(dim=0)
    own = torch.arange(len(x), device=x.device)[:, None] == nearest
    least = torch.linalg.svdvals(x)[-1]
    return _affordable(price.masked_fill(~own, math.inf), radius * least.expand(len(x)))


def attack_outputs(network: ReLUNetwork, x: Tensor, radius: float, rounds: int = 10) -> Attack:
    """For every input a first layer within `radius` that moves the last output far.

    With u near the leading right singular vector of dx_L/dz_1, found by `rounds` of the power
    method, W~_1 = W_1 + tau u x^T / ||x||.

    Args:
        network: at initialisation.
        x: inputs, shape (n, d).
        radius: tau.
        rounds: of the power method.
    """
    first, *others = network.weights
    (on, *above), size = patterns(network, x), x.norm(dim=1, keepdim=True)
    u = torch.ones_like(on, dtype=x.dtype)
    for _ in range(rounds):
        u = u * on
        for weight, gate in zip(others, above, strict=True):
            u = gate * (u @ weight.T)
        for weight, gate in zip(others[::-1], above[::-1], strict=True):
            u = (gate * u) @ weight
        u = on * u
        u = u / u.norm(dim=1, keepdim=True)
    hidden: list[Tensor] = [x]
    shifts: list[Tensor] = []
    _advance(hidden, shifts, first, radius * size * u)
    for weight, gate in zip(others, above, strict=True):
        _advance(hidden, shifts, weight, torch.zeros_like(gate, dtype=x.dtype))
    return Attack(hidden, shifts)


def product_norm(weights: Sequence[Tensor], on: Sequence[Tensor]) -> float:
    """||prod_{r=2}^L Sigma_r W_r^T||_2 with the pattern of one input, as in Lemma B.1.

    Args:
        weights: W_1, ..., W_L, shapes (m_l, m_{l-1}), at least two of them.
        on: which units are on, shapes (m_l,).
    """
    _, *layers = (gate[:, None] * weight for weight, gate in zip(weights, on, strict=True))
    product, *others = layers
    for layer in others:
        product = layer @ product
    return math.sqrt(lambda_max(product.T @ product))


def sparse_norms(network: ReLUNetwork, x: Tensor, sparsities: Sequence[int]) -> Tensor:
    """Largest v^T (prod_{r=2}^L Sigma_r W_r^T) a over unit a with s nonzero entries, shape (n, s).

    The best a is along the s largest entries of the vector that it is multiplied with.
    """
    *_, second, _ = network.signals(network.run(x))
    squares = (second @ network.weights[1]).square().sort(dim=1, descending=True).values
    return squares.cumsum(dim=1)[:, [sparsity - 1 for sparsity in sparsities]].sqrt()


@dataclass(frozen=True)
class Path:
    """What gradient descent did until a layer was `reach` away from its start.

    Attributes:
        distances: an upper bound of max_l ||W_l(k) - W_l(0)||_2, shape (k,), in increasing order.
        shares: of the pairs of input and unit that have switched, shape (k, L).
        ratios: ||x_l(k) - x_l(0)|| over the layers' moves, the largest over inputs and l, (k,); a
            lower bound of the moves is taken, so that it is never too small.
        network: where it ended.
    """

    distances: np.ndarray
    shares: np.ndarray
    ratios: np.ndarray
    network: ReLUNetwork

    def at(self, radii: Sequence[float], values: np.ndarray) -> np.ndarray:
        """Values where the distance is that, between two iterates; NaN where none came so far."""
        found: np.ndarray = np.interp(radii, self.distances, values, right=math.nan)
        return found


def descend(problem: Problem, first: float, reach: float, steps: int) -> Path:
    """Gradient descent until a layer has moved by `reach`, however small the first step.

    Args:
        problem: at initialisation.
        first: the most that a layer moves at the first step, in Frobenius norm.
        reach: tau at which it ends.
        steps: after which it ends anyway.
    """
    step_size = first / float(gradient_norms(next(problem.moments(1.0))).max())
    measure, start = Distances(), problem.network.run(problem.x)
    on = [problem.network.pattern(gate) for gate in start.gates]
    distances, shares, ratios = [0.0], [np.zeros(len(on))], []
    for moment in problem.moments(step_size):
        _, lower, upper = measure(moment).unbind(dim=-1)
        if moment.step > 0:
            now = moment.forward
            distances.append(float(upper.max()))
            shares.append(switched(on, [moment.network.pattern(gate) for gate in now.gates]))
            ratios.append(lipschitz(start.hidden, now.hidden, lower))
        if distances[-1] > reach or moment.step >= steps:
            break
    far = np.maximum.accumulate(distances)
    return Path(far, np.stack(shares), np.array([ratios[0], *ratios]), moment.network)
