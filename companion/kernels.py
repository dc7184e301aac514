"""Gram matrices of Du et al. (2019): at finite width, at infinite width, layer by layer."""

import math

import torch
from torch import Tensor

from companion.datasets import check_unit_norm
from companion.networks import DeepNetwork, TwoLayer

# Distances by subtraction: the default, by inner products, would lose the digits asked for here.
_BY_COORDINATES = "donot_use_mm_for_euclid_dist"


def infinite_width_gram(x: Tensor) -> Tensor:
    """H-infinity of Du et al. (2019), section 3: rho (pi - arccos rho) / (2 pi).

    Args:
        x: unit-norm inputs, shape (n, d).

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal 1/2.

    Raises:
        InputError: an input is not of unit norm.
    """
    rho, angle = _cosines_and_angles(x)
    return rho * (math.pi - angle) / (2 * math.pi)


def infinite_width_output_gram(x: Tensor) -> Tensor:
    """Limit of the output layer's Gram matrix G, half the arc-cosine kernel kappa_1.

    Same shapes and errors as `infinite_width_gram`.
    """
    rho, angle = _cosines_and_angles(x)
    return (angle.sin() + rho * (math.pi - angle)) / (2 * math.pi)


def empirical_gram(network: TwoLayer, x: Tensor) -> Tensor:
    """Gram matrix H of the first layer: inner products of the gradients df(x_i)/dW.

    H_ij = x_i . x_j / m * sum_r a_r^2 1{w_r . x_i >= 0, w_r . x_j >= 0}: Du et al. (2019),
    section 3, with the factor a_r^2 of its section 3.2 (1 for signs).

    Args:
        network: of width m.
        x: inputs, shape (n, d).

    Returns:
        Shape (n, n), symmetric positive semidefinite.
    """
    return empirical_gram_from(network, x, network.preactivations(x))


def empirical_gram_from(network: TwoLayer, x: Tensor, preactivations: Tensor) -> Tensor:
    """`empirical_gram` where the preactivations, shape (n, m), are already at hand."""
    weighted = (preactivations >= 0).to(x.dtype) * network.outputs
    return (x @ x.T) * (weighted @ weighted.T) / network.width


def empirical_output_gram(network: TwoLayer, x: Tensor) -> Tensor:
    """Gram matrix G of the output layer, sum_r relu(w_r x_i) relu(w_r x_j) / m, shape (n, n)."""
    features = network.preactivations(x).relu()
    return features @ features.T / network.width


def near_boundary(preactivations: Tensor, radius: float) -> Tensor:
    """The pairs (input, unit) that a change of w_r by at most `radius` can switch on or off.

    The event A_ir of Du et al. (2019), Lemma 3.2, for unit inputs: |w_r . x_i| <= R. Lemma 4.1's
    complement of S_i is row i.

    Args:
        preactivations: w_r . x_i, shape (n, m).
        radius: R.

    Returns:
        Boolean, shape (n, m).
    """
    return preactivations.abs() <= radius


def gram_change_bound(x: Tensor, preactivations: Tensor, radius: float) -> Tensor:
    """What no choice of weights within `radius` of the given ones can exceed in |H - H(0)|.

    Only units near the boundary can change. An entry of H is largest if all of them are on, and
    least if all are off; no single choice of weights need reach both, nor every entry at once.

    Args:
        x: unit-norm inputs, shape (n, d).
        preactivations: w_r(0) . x_i, shape (n, m).
        radius: R, on every ||w_r - w_r(0)||.

    Returns:
        Entrywise bound, shape (n, n), nonnegative: its norms bound those of H - H(0) too.
    """
    near, on = near_boundary(preactivations, radius), preactivations >= 0
    most, now, least = (
        pattern.to(x.dtype) @ pattern.to(x.dtype).T for pattern in (on | near, on, on & ~near)
    )
    return (x @ x.T).abs() * torch.maximum(most - now, now - least) / preactivations.shape[1]


def layer_grams(network: DeepNetwork, x: Tensor) -> list[Tensor]:
    """Per-layer Gram matrices G^(h) of Du et al. (2019), section 6, without forming a Jacobian.

    G^(h) = (X_{h-1} X_{h-1}^T) o (B_h B_h^T), each of shape (n, n).
    """
    layers, patterns = network.hidden(x)
    signals = network.backward_signals(patterns)
    return [
        (below @ below.T) * (signal @ signal.T)
        for below, signal in zip(layers[:-1], signals, strict=True)
    ]


def lambda_min(matrix: Tensor) -> float:
    """Least eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(torch.linalg.eigvalsh(matrix.double())[0])


def lambda_max(matrix: Tensor) -> float:
    """Largest eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(torch.linalg.eigvalsh(matrix.double())[-1])


def spectral_norm(matrix: Tensor) -> float:
    """Operator norm of a symmetric matrix, shape (n, n), computed in float64."""
    return float(torch.linalg.eigvalsh(matrix.double())[[0, -1]].abs().max())


def _cosines_and_angles(x: Tensor) -> tuple[Tensor, Tensor]:
    """x_i . x_j in [-1, 1] and arccos of it, both of shape (n, n), for unit inputs.

    arccos loses half of the digits near 0 and pi. There the angle comes from the two diagonals of
    the rhombus that x_i and x_j span, so that equal inputs have angle 0 and cosine 1 exactly.
    """
    check_unit_norm(x)
    rho = (x @ x.T).clamp(-1, 1).fill_diagonal_(1)
    angle = rho.arccos()
    near = (rho.abs() > 0.999).fill_diagonal_(False).any(dim=1).nonzero().squeeze(1)
    if len(near):
        some, block = x[near], (near[:, None], near)
        minus = torch.cdist(some, some, compute_mode=_BY_COORDINATES)
        plus = torch.cdist(some, -some, compute_mode=_BY_COORDINATES)
        angle[block] = 2 * torch.atan2(minus, plus)
        rho[block] = rho[block].where(minus > 0, 1).where(plus > 0, -1)
    return rho, angle
