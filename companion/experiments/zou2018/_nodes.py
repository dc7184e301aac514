"""Units of the last layer in which gradients of examples with different labels do not cancel."""

import math

import torch
import xarray as xr
from torch import Tensor

from companion.datasets import twins, with_bias
from companion.draws import cpu_generator
from companion.experiments.zou2018._paths import HALF_WAY
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw_twins
from companion.lab.checks import at_least, exponent_at_most
from companion.lab.results import Check
from companion.lab.sweep import Variables
from companion.lab.words import number

# The constants with which the proof of Lemma A.14 ends: the threshold, and 2 sqrt(32 e) in
# P(||h(w)|| >= max(a) / 2) >= phi / (2 sqrt(32 e) n).
LARGE = 0.5
RARITY = 2 * math.sqrt(32 * math.e)


def probability_bound(separation: float, count: int) -> float:
    """Lemma A.14 of 2018, B.2 of 2020: phi / (2 sqrt(32 e) n), the constants of its proof."""
    return separation / (RARITY * count)


def node_bound(separation: float, count: int, width: int) -> float:
    """The count of (viii), m phi / (8 sqrt(32 e) n), for the threshold 1/4 (derived).

    The proof has Lemma A.14 for directions at distance phi / 2, half of its probability after
    Bernstein's inequality, and half of its threshold on a net of weights.
    """
    return width * probability_bound(separation / 2, count) / 2


def weightings(y: Tensor, seed: int, drawn: int = 10) -> Tensor:
    """Nonnegative a with largest entry 1 that try to let gradients cancel, shape (k, n).

    One input alone; the inputs of a pair with equal weights, and with 1 and 0.6; all inputs alike;
    weights uniform in [0, 1].

    Args:
        y: labels, shape (n,), of pairs that follow each other.
        seed: of the drawn ones.
        drawn: how many.
    """
    n = len(y)
    alone = torch.eye(n, dtype=torch.float64)
    first, second = alone[0::2], alone[1::2]
    uniform = torch.rand(drawn, n, generator=cpu_generator("weightings", seed), dtype=torch.float64)
    rows = [alone, first + second, first + 0.6 * second, torch.ones(1, n).double(), uniform]
    a = torch.cat(rows).to(y)
    return a / a.amax(dim=1, keepdim=True)


def large_shares(z: Tensor, y: Tensor, active: Tensor, a: Tensor, least: float) -> Tensor:
    """Share of the units j with ||sum_i a_i y_i 1{unit j is active on i} z_i||_2 >= least.

    Args:
        z: vectors, shape (n, d).
        y: labels, shape (n,).
        active: which unit is active on which input, shape (n, units).
        a: weights, shape (k, n).
        least: the threshold, for weights whose largest entry is 1.

    Returns:
        Shape (k,), in float64.
    """
    gram = (y[:, None] * y[None]) * (z @ z.T)
    patterns = active.to(z.dtype)
    shares = []
    for weights in a:
        chosen = weights[:, None] * patterns
        squares = (chosen * (gram @ chosen)).sum(dim=0)
        shares.append((squares >= least**2).double().mean())
    return torch.stack(shares)


def node_count(problem: Problem, seed: int, least: float = LARGE / 2) -> float:
    """Units of the last layer whose gradient is large, for the worst of `weightings`: (viii).

    Args:
        problem: inputs in pairs, and a network.
        seed: of the weightings that are drawn.
        least: of n ||(1/n) sum_i a_i y_i sigma'(<w_j, x_{L-1,i}>) x_{L-1,i}|| over max(a).
    """
    forward = problem.network.run(problem.x)
    active = problem.network.pattern(forward.gates[-1])
    a = weightings(problem.y, seed)
    shares = large_shares(forward.hidden[-2], problem.y, active, a, least)
    return float(shares.min()) * active.shape[1]


def counted(
    name: str,
    settings: DeepSettings,
    device: str,
    *,
    seed: int,
    width: int,
    depth: int,
    separation: float,
) -> Variables:
    """`node_count` of a network on pairs of inputs, and the same over `node_bound`.

    Args:
        name: of the count.
        settings: n, d, mu and the precision.
        device: where to compute.
        seed: of data, network and weightings.
        width: m.
        depth: L.
        separation: phi.
    """  # fmt: skip
    problem = draw_twins(
        settings, device, seed=seed, width=width, depth=depth, separation=separation
    )
    found = node_count(problem, seed)
    return {
        name: found,
        f"{name}_over_bound": found / node_bound(separation, settings.count, width),
    }


def lemma_shares(
    settings: DeepSettings, device: str, *, seed: int, separation: float, samples: int
) -> Variables:
    """How rare a large gradient is in a Gaussian unit, for the worst of `weightings`.

    Args:
        settings: n, d and mu: 2 mu^2 - 1 is a bound on mu~^2 from below.
        device: where to compute.
        seed: of vectors, weightings and units.
        separation: phi~ of pairs with different labels.
        samples: Gaussian units.

    Returns:
        `share` of the units, the lemma's `bound` on their probability, and `premise`, phi~ over
        mu~ / 2, which the lemma wants to be at most 1.
    """
    s = settings
    data = twins(s.count, s.dimension - 1, separation / math.sqrt(1 - s.mu**2), seed)
    z = with_bias(data.x, s.mu).to(device)
    y, generator = data.y.to(z), cpu_generator("lemma", seed)
    w = torch.randn(samples, s.dimension, generator=generator, dtype=torch.float64).to(z)
    shares = large_shares(z, y, (z @ w.T) > 0, weightings(y, seed), LARGE)
    across = y[:, None] * y[None] < 0
    phi = float((z[:, None] - z[None]).norm(dim=2)[across].min())
    least = float((z @ z.T)[across].min().clamp(min=0).sqrt())
    return {
        "share": float(shares.min()),
        "bound": probability_bound(phi, s.count),
        "premise": 2 * phi / least,
    }


def probability_check(found: xr.Dataset) -> Check:
    """Is the probability at least Lemma A.14's explicit bound?"""
    return at_least(
        "the share of Gaussian units with a large gradient, for the worst weights tried, over the "
        "bound",
        found.share / found.bound,
        1.0,
    )


def unmet_premise(found: xr.Dataset) -> str:
    """In which way vectors are too far apart for the lemma; nothing where they are not."""
    most = float(found.premise.max())
    allowed = r"$\tilde\mu/2$"
    return f"a separation is {number(most, '.2f', 'up')} times {allowed}" if most > 1 else ""


def node_checks(
    by_width: xr.DataArray, by_count: xr.DataArray, by_separation: xr.DataArray
) -> list[Check]:
    """Is the count at least of the order m phi / n?

    Args:
        by_width: counts, with a dimension `width`.
        by_count: with a dimension `count`.
        by_separation: with a dimension `separation`.
    """
    # Some dozens of units scatter, and the mean of their logarithm is lower than they are.
    return [
        exponent_at_most("$m$ over the count, in $m$", by_width.width / by_width, 0, HALF_WAY),
        exponent_at_most(
            "$1/n$ over the count, in $n$", 1 / (by_count["count"] * by_count), 0, 0, "count"
        ),
        # The number is at least of the order phi if its exponent in phi is at most 1.
        exponent_at_most(
            r"the count over $\phi$, in $\phi$",
            by_separation / by_separation.separation, 0, HALF_WAY, "separation",
        ),
    ]  # fmt: skip
