"""Products of the matrices Sigma_r W_r^T that a signal passes through on one input."""

import math
from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from companion.draws import cpu_generator
from companion.experiments.zou2018._problem import Problem
from companion.kernels import lambda_max
from companion.lab.checks import exponent_at_most
from companion.lab.results import Check
from companion.lab.sweep import Variables
from companion.networks import Pass, ReLUNetwork


def masked_products(network: ReLUNetwork, forward: Pass, example: int = 0) -> tuple[Tensor, Tensor]:
    """The product of all layers for one input, with the last pattern and without it.

    Args:
        network: of depth D.
        forward: of the network.
        example: i, which input.

    Returns:
        prod_{r=1}^D Sigma_{r,i} W_r^T and W_D^T prod_{r=1}^{D-1} Sigma_{r,i} W_r^T, shapes
        (m_D, d): Lemma A.3 of 2020, and (v) of Theorem 5.1 of 2018 with l_1 = 1 and l_2 = D.
    """
    masked = torch.eye(network.dimension, dtype=forward.predictions.dtype)
    unmasked = masked = masked.to(forward.predictions.device)
    for weight, gate in zip(network.weights, forward.gates, strict=True):
        unmasked = weight @ masked
        masked = unmasked * network.pattern(gate)[example, :, None]
    return masked, unmasked


def norm(matrix: Tensor) -> float:
    """Largest singular value, from the eigenvalues of A A^T."""
    return math.sqrt(max(0.0, lambda_max(matrix @ matrix.T)))


def masked_limit(depth: int) -> float:
    """Limit of the norm of prod_{r=1}^L Sigma_r W_r^T, all of them square, as m grows (derived).

    The S-transform of W Sigma W^T is 1 / (1 + 2 z), and in the limit the factors are free: the
    spectrum of the product ends at the least value of (1 + z)(1 + 2 z)^L / z for positive z. It
    grows like 2 e L.
    """
    z = (1 - depth + math.sqrt(depth**2 + 1)) / (2 * depth)
    return math.sqrt((1 + z) * (1 + 2 * z) ** depth / z)


def unmasked_limit(depth: int) -> float:
    """The same for W_L^T prod_{r=1}^{L-1} Sigma_r W_r^T (derived).

    The last factor has the S-transform 1 / (2 (1 + z)), and 2 (1 + z)^2 (1 + 2 z)^(L-1) / z is
    least where 2 L z^2 + (2 L - 3) z = 1.
    """
    half = 2 * depth - 3
    z = (-half + math.sqrt(half**2 + 8 * depth)) / (4 * depth)
    return math.sqrt(2 * (1 + z) ** 2 * (1 + 2 * z) ** (depth - 1) / z)


def output_rows(network: ReLUNetwork, forward: Pass) -> Tensor:
    """v^T prod_{r=l}^D Sigma_{r,i} W_r^T for every l, shape (layers, n, m), if all widths are d."""
    signals = [*network.signals(forward)][::-1]
    pairs = zip(signals, network.weights, strict=True)
    return torch.stack([signal @ weight for signal, weight in pairs])


def sparse_norms(rows: Tensor, size: int) -> Tensor:
    """The largest g . a over unit vectors a with `size` entries that are not 0, shape (...).

    It is reached by the largest entries of g, so it is their norm.

    Args:
        rows: g, shape (..., m).
        size: s, at most m.
    """
    norms: Tensor = rows.abs().topk(size, dim=-1).values.norm(dim=-1)
    return norms


def sparse_bilinear(matrix: Tensor, size: int, starts: int = 8, rounds: int = 20) -> float:
    """A large b . A a over unit vectors a, b with `size` entries that are not 0, by alternation.

    With b fixed the best a is known, and the other way round, so the value never falls. It is
    exact for size 1, and else a lower bound on the largest: to find that is hard.

    Args:
        matrix: A, shape (p, q).
        size: s, at most p and q.
        starts: rows of A to start from, those with the largest `sparse_norms`.
        rounds: of alternation.
    """
    best = sparse_norms(matrix, size).topk(min(starts, len(matrix))).indices
    right = _sparse(matrix[best], size)
    for _ in range(rounds):
        left = _sparse(right @ matrix.T, size)
        right = _sparse(left @ matrix, size)
    return float((left @ matrix * right).sum(dim=1).max())


def measured_products(problem: Problem, sparsities: Sequence[int]) -> Variables:
    """Norms on the first input, (vi) at its largest, a large (vii), and ||v^T prod||_2 / sqrt(m).

    Args:
        problem: whose inputs are as long as its layers are wide.
        sparsities: s; where a layer has fewer units, all of them.
    """
    network, forward = problem.network, problem.network.run(problem.x)
    masked, unmasked = masked_products(network, forward)
    rows, width = output_rows(network, forward), network.dimension
    sizes = [min(size, width) for size in sparsities]
    return {
        "masked": norm(masked),
        "unmasked": norm(unmasked),
        "output_norm": float((rows[0].square().sum(dim=1).mean() / width).sqrt()),
        "output_form": ("sparsity", [float(sparse_norms(rows, size).max()) for size in sizes]),
        "bilinear": ("sparsity", [sparse_bilinear(unmasked, size) for size in sizes]),
        "sparsity": ("sparsity", list(sparsities)),
    }


def perturbed_norm(problem: Problem, radius: float, changes: int, seed: int) -> float:
    """Norm of prod Sigma~_r W~_r^T on the first input, for a random perturbation of every layer.

    Args:
        problem: with the network before the perturbation.
        radius: tau, the spectral norm by which every matrix moves.
        changes: s, how many entries of every mask are turned over.
        seed: of the perturbations.
    """
    network, forward = problem.network, problem.network.run(problem.x)
    generator = cpu_generator("perturbation", seed)
    product = torch.eye(network.dimension).to(problem.x)
    for weight, gate in zip(network.weights, forward.gates, strict=True):
        moved = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        mask = network.pattern(gate)[0].to(weight)
        turned = torch.randperm(len(mask), generator=generator)[:changes].to(mask.device)
        mask[turned] = 1 - mask[turned]
        product = mask[:, None] * ((weight + radius / norm(moved) * moved) @ product)
    return norm(product)


def _sparse(rows: Tensor, size: int) -> Tensor:
    """The unit vector with `size` entries nearest to every row, shape of `rows`."""
    places = rows.abs().topk(size, dim=-1).indices
    kept = torch.zeros_like(rows).scatter(-1, places, rows.gather(-1, places))
    units: Tensor = kept / kept.norm(dim=-1, keepdim=True)
    return units


def size_checks(what: str, by_size: xr.DataArray) -> list[Check]:
    """Does a sparse form grow like sqrt(s) at most, up to s = m?

    A bound for all s lets a form grow a little faster over a part of the range, if it does not
    over the whole of it.
    """
    return [exponent_at_most(f"{what} in the sparsity $s$", by_size, 0.5, 0.1, "sparsity")]
