"""Extreme eigenvalues of symmetric matrices."""

import torch
from torch import Tensor

from companion.base.arguments import check_tensors


def _eigenvalues(matrix: Tensor) -> Tensor:
    check_tensors(matrix=matrix)
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix.detach().double())
    return eigenvalues


def lambda_min(matrix: Tensor) -> float:
    """Least eigenvalue of a symmetric matrix, shape (n, n), computed in float64.

    Example:
        >>> lambda_min(torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
        0.5
    """
    return float(_eigenvalues(matrix)[0])


def lambda_max(matrix: Tensor) -> float:
    """Largest eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(_eigenvalues(matrix)[-1])


def spectral_norm(matrix: Tensor) -> float:
    """Operator norm of a symmetric matrix, shape (n, n), computed in float64."""
    return float(_eigenvalues(matrix)[[0, -1]].abs().max())
