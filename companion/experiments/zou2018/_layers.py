"""Hidden layers at initialisation: lengths of their outputs, and distances between them."""

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.experiments.zou2018._problem import Problem
from companion.lab.checks import (
    exponent_at_most,
    probability_at_least,
    slack_factor,
    with_room,
)
from companion.lab.results import Check
from companion.lab.sweep import Variables
from companion.lab.words import number
from companion.networks import Pass

# The expectation of ||x_l||^2 / ||x_{l-1}||^2 is 1, its variance 5 / m_l: with standard Gaussian z,
# it is the mean of m_l copies of 2 relu(z)^2, of mean 1 and second moment 4 E z^4 / 2 = 6.
GROWTH_VARIANCE = 5.0


def asked_width(count: int, depth: int, separation: float, delta: float) -> float:
    """(5.1) of version 3 with its constant put at 1, but for the part with beta, which is (iv)'s.

    Args:
        count: n.
        depth: L.
        separation: phi.
        delta: failure probability.
    """
    separated = depth**4 * separation**-4 * math.log(count**2 * depth / delta)
    return max(separated, count**2 / separation * math.log(count**2 / separation))


def growths(forward: Pass) -> Tensor:
    """||x_{l,i}||^2 / ||x_{l-1,i}||^2 - 1, shape (layers, n): Lemma A.1 of version 3."""
    squares = torch.stack([hidden.square().sum(dim=1) for hidden in forward.hidden])
    return squares[1:] / squares[:-1] - 1


def length_deviations(forward: Pass) -> Tensor:
    """Root mean square over the inputs of ||x_{l,i}|| - 1, shape (layers,): Lemma A.2."""
    lengths = torch.stack([hidden.norm(dim=1) for hidden in forward.hidden[1:]])
    return (lengths - 1).square().mean(dim=1).sqrt()


def directions(forward: Pass) -> list[Tensor]:
    """Outputs of every layer over their lengths, the inputs' first, shapes (n, d), (n, m_1), ..."""
    return [hidden / hidden.norm(dim=1, keepdim=True) for hidden in forward.hidden]


def class_separations(forward: Pass, y: Tensor) -> Tensor:
    """Least distance of two directions with different labels, shape (1 + layers,).

    The first is that of the inputs, phi of Assumption 3.5; the others are those of Lemma A.5.
    """
    return torch.stack([_distances(rows[y > 0], rows[y < 0]).min() for rows in directions(forward)])


def twin_distances(forward: Pass) -> Tensor:
    """Distances of the directions of inputs 2i and 2i + 1, shape (1 + layers, n / 2)."""
    return torch.stack([(rows[0::2] - rows[1::2]).norm(dim=1) for rows in directions(forward)])


def least_products(forward: Pass) -> Tensor:
    """Least inner product of two different directions, shape (1 + layers,): Lemma A.13."""
    off = ~torch.eye(len(forward.predictions), dtype=torch.bool, device=forward.predictions.device)
    return torch.stack([(rows @ rows.T)[off].min() for rows in directions(forward)])


def correlation_above(rho: np.ndarray | float) -> np.ndarray:
    """kappa_1(rho): the inner product of two directions one layer on, in the limit of great width.

    It is 2 E relu(z) relu(z') for standard Gaussian z, z' of correlation rho.
    """
    rho = np.clip(rho, -1.0, 1.0)
    grown: np.ndarray = (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / np.pi
    return grown


def separation_limits(separation: float, layers: int) -> np.ndarray:
    """phi_0, ..., phi_layers: the distance of two directions, layer by layer, at great width.

    Args:
        separation: phi_0, of unit inputs.
        layers: how many.
    """
    rho, found = 1 - separation**2 / 2, [separation]
    for _ in range(layers):
        rho = float(correlation_above(rho))
        found.append(float(np.sqrt(2 - 2 * rho)))
    return np.array(found)


def length_checks(by_width: xr.DataArray, by_depth: xr.DataArray) -> list[Check]:
    """Do lengths deviate from 1 by l sqrt(log(n L / delta) / m) at most, up to a constant?

    Args:
        by_width: `length_deviations` of the last layer, with a dimension `width`.
        by_depth: the same with a dimension `depth`, from networks drawn for every depth.
    """
    return [
        exponent_at_most(
            r"the deviation $\lvert\lVert x_{L,i}\rVert_2-1\rvert$ in the width $m$",
            by_width, -0.5, 0.1,
        ),
        exponent_at_most(
            r"the deviation $\lvert\lVert x_{l,i}\rVert_2-1\rvert$ in the depth $l$",
            by_depth, 1.0, 0.0, "depth",
        ),
    ]  # fmt: skip


def kept_separation(problem: Problem) -> Variables:
    """Over the layers: least distance of different labels over phi, least inner product of all."""
    forward = problem.network.run(problem.x)
    apart = class_separations(forward, problem.y)
    return {
        "kept": ("layer", (apart[1:] / apart[0]).cpu().numpy()),
        "product": ("layer", least_products(forward)[1:].cpu().numpy()),
    }


def separation_check(kept: xr.DataArray, delta: float) -> Check:
    """Do inputs with different labels stay half as far apart, in all layers of 1 - delta networks?

    Args:
        kept: `class_separations` over that of the inputs, with dimensions `seed` and `layer`.
        delta: failure probability.
    """
    least = kept.min("layer", skipna=False)
    usual = float(least.quantile(delta, skipna=False))
    return with_room(
        probability_at_least(
            r"networks in which directions with different labels are $\phi/2$ apart in every layer",
            (least >= 0.5).where(least.notnull()),
            1 - delta,
        ),
        rf"the least distance of all is {number(least.min(), '.3f', 'down')} $\phi$",
        rf"the quantile at $\delta$ has room for {slack_factor(usual, 0.5)}",
    )


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """All distances between rows, from their differences: inner products would lose digits."""
    found: Tensor = (left[:, None] - right[None]).norm(dim=2)
    return found
