"""Gram matrices of Du et al. (2019): at finite width, in the infinite-width limit, layer by layer."""

import math

import torch
from torch import Tensor

from companion.datasets import check_unit_norm
from companion.networks import DeepNetwork, TwoLayer


def infinite_width_gram(x: Tensor) -> Tensor:
    """H-infinity of Du et al. (2019), section 3: rho (pi - arccos rho) / (2 pi).

    Args:
        x: unit-norm inputs, shape (n, d).

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal 1/2.

    Raises:
        InputError: an input is not of unit norm.
    """
    rho = _cosines(x)
    return rho * (math.pi - rho.arccos()) / (2 * math.pi)


def infinite_width_output_gram(x: Tensor) -> Tensor:
    """Limit of the output layer's Gram matrix G, half the arc-cosine kernel kappa_1.

    Same shapes and errors as `infinite_width_gram`.
    """
    rho = _cosines(x)
    sine = (1 - rho.square()).clamp(min=0).sqrt()
    return (sine + rho * (math.pi - rho.arccos())) / (2 * math.pi)


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


def _cosines(x: Tensor) -> Tensor:
    """Inner products of unit inputs, kept in [-1, 1], equal inputs at exactly 1 where rounding shows."""
    check_unit_norm(x)
    rho = (x @ x.T).clamp(-1, 1)
    return rho.fill_diagonal_(1)
