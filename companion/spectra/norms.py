"""Spectral norms between two bounds, from subspace iteration that goes on from step to step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_finite, positive, tensor
from companion.errors import InputError
from companion.matmul import batched_product, product


@dataclass(frozen=True)
class NormBounds:
    """A spectral norm between two bounds, and where to start next time.

    Attributes:
        lower: ||A v||_2 for the best unit vector found, shape (...).
        upper: no vector does better, up to rounding, shape (...).
        frobenius: ||A||_F, shape (...).
        directions: orthonormal rows, shape (..., k, min(p, q)), near the leading singular vectors
            of the shorter side; those that were given if min(p, q) <= 2 k, where the bounds are
            the norm itself.
    """

    lower: Tensor
    upper: Tensor
    frobenius: Tensor
    directions: Tensor


def start_directions(matrix: Tensor, count: int = 8) -> Tensor:
    """Orthonormal rows for `norm_bounds` to start with, the same on every device.

    Args:
        matrix: shape (..., p, q).
        count: k, at most.

    Returns:
        Shape (..., min(k, p, q), min(p, q)), the same for every matrix of a batch.
    """
    q = min(matrix.shape[-2:])
    drawn = torch.from_numpy(np.random.default_rng(q).standard_normal((q, min(count, q))))
    directions: Tensor = torch.linalg.qr(drawn).Q.T.to(matrix.device, matrix.dtype)
    return directions.expand(*matrix.shape[:-2], -1, -1).contiguous()


def norm_bounds(matrix: Tensor, directions: Tensor) -> NormBounds:
    """Bounds on ||A||_2 from one step of subspace iteration; tighter with every call.

    With the directions as columns of V, A^T A is [[V^T A^T A V, C^T], [C, D]] in a basis that V
    begins. The norm of D is at most its trace, ||A||_F^2 - ||A V||_F^2; so the largest eigenvalue
    is at most that of [[a, c], [c, d]] with a the largest Ritz value, c = ||C||_F, and d this
    trace. The upper bound is tight once V holds the leading vector and most of the Frobenius norm.

    It computes with A / ||A||_F, so that no square leaves the range of the dtype where the norm
    itself does not.

    Args:
        matrix: A, shape (p, q), or a batch of them, shape (..., p, q), or a NumPy array; its
            transpose is used where it has more columns than rows. One that holds NaN or inf has
            bounds that are NaN.
        directions: V^T, orthonormal rows, shape (..., k, min(p, q)), from `start_directions` or
            the last call on a matrix that has changed little since.

    Raises:
        InputError: no matrix of floating-point numbers, or directions that do not fit it.
    """
    matrix = _checked_matrix(matrix)
    directions = tensor("directions", directions, matrix).detach()
    fits = directions.shape[:-2] == matrix.shape[:-2]
    if not fits or directions.shape[-1:] != (min(matrix.shape[-2:]),):
        raise InputError(
            f"directions have shape {tuple(directions.shape)}; for a matrix of shape "
            f"{tuple(matrix.shape)} take those of start_directions(matrix)."
        )
    step = subspace_step(matrix, directions)
    frobenius, lower, upper = bounds_of([step])
    return NormBounds(lower[..., 0], upper[..., 0], frobenius[..., 0], step.directions)


@dataclass(frozen=True)
class SubspaceStep:
    """What one step found of A, or of a batch of matrices of one shape, for `bounds_of`.

    Attributes:
        projected: V^T A^T A V of A / ||A||_F, shape (..., k, k), or all of A^T A.
        numbers: ||A||_F, and of A / ||A||_F: c and ||A V||_F^2; shape (..., 3).
        directions: the next ones.
    """

    projected: Tensor
    numbers: Tensor
    directions: Tensor


def subspace_step(matrix: Tensor, directions: Tensor) -> SubspaceStep:
    """The part of `norm_bounds` that each matrix, or batch of matrices, needs for itself.

    Nothing is raised if the matrix is not finite, and the device is not waited for: a run that
    diverges records it. Its norms are NaN then, or inf, and the next directions some orthonormal
    rows.
    """
    tall = matrix if matrix.shape[-2] >= matrix.shape[-1] else matrix.mT
    frobenius = _frobenius(tall)
    unit = frobenius.clamp(min=torch.finfo(tall.dtype).tiny)[..., None, None]
    if 2 * directions.shape[-2] >= tall.shape[-1]:  # all of A^T A costs no more, and is exact
        scaled = tall / unit
        small, outside = _times(scaled.mT, scaled), torch.zeros_like(frobenius)
    else:
        image = _times(directions, tall.mT).div_(unit)  # (A V)^T
        small = _times(image, image.mT)
        back = _times(image, tall).div_(unit)  # (A^T A V)^T
        outside = torch.linalg.vector_norm(back - small @ directions, dim=(-2, -1))
        directions = torch.linalg.qr(_without_nan(back).mT).Q.mT
    inside = small.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    numbers = torch.stack([frobenius, outside, inside], dim=-1)
    return SubspaceStep(_without_nan(small), numbers, directions)


def bounds_of(steps: Sequence[SubspaceStep]) -> Tensor:
    """Frobenius norms and both bounds of several matrices, or batches, shape (3, ..., L)."""
    frobenius, c, inside = torch.stack([step.numbers for step in steps], dim=-2).unbind(-1)
    a = torch.stack(_largest_eigenvalues([step.projected for step in steps]), dim=-1)
    a, d = a.clamp(min=0), (1 - inside).clamp(min=0)
    highest = ((a + d) / 2 + torch.hypot((a - d) / 2, c)).clamp(max=1)
    return torch.stack([frobenius, a.sqrt() * frobenius, highest.sqrt() * frobenius])


def _largest_eigenvalues(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Of each, shapes (..., k, k): those of one size together, as each call waits for the device.

    That of a single number is the number.
    """
    found = [matrix[..., 0, 0] for matrix in matrices]
    sizes = [matrix.shape[-1] for matrix in matrices]
    for size in {*sizes} - {1}:
        places = [place for place, other in enumerate(sizes) if other == size]
        values = torch.linalg.eigvalsh(torch.stack([matrices[place] for place in places]))
        for place, largest in zip(places, values[..., -1], strict=True):
            found[place] = largest
    return found


def _frobenius(matrix: Tensor) -> Tensor:
    """||A||_F of every matrix, shape (...), of any size that its dtype holds."""
    norms: Tensor = torch.linalg.vector_norm(matrix, dim=(-2, -1))
    if matrix.device.type == "cpu":  # where a look costs next to nothing, and a pass is felt
        limits = torch.finfo(matrix.dtype)
        least, most = norms.aminmax()
        if limits.smallest_normal**0.4 < float(least) and float(most) < limits.max**0.45:
            return norms
    largest = torch.linalg.vector_norm(matrix, torch.inf, dim=(-2, -1))
    unit: Tensor = largest.where((largest > 0) & largest.isfinite(), 1)
    norms = torch.linalg.vector_norm(matrix / unit[..., None, None], dim=(-2, -1))
    return norms * unit


def _without_nan(matrix: Tensor) -> Tensor:
    """0 where a number is not finite: decompositions raise on it, or do not end."""
    finite: Tensor = torch.nan_to_num(matrix, 0.0, 0.0, 0.0)
    return finite


def _times(a: Tensor, b: Tensor) -> Tensor:
    """A B, by the roads of `matmul`, of two matrices or of every pair in a batch."""
    if a.dim() == 2:
        return product(a, b)
    return batched_product(a.flatten(0, -3), b.flatten(0, -3)).reshape(*a.shape[:-1], b.shape[-1])


def _checked_matrix(matrix: Tensor) -> Tensor:
    """A matrix, or a batch of them, as a tensor without derivatives."""
    matrix = tensor("matrix", matrix).detach()
    if matrix.dim() < 2 or 0 in matrix.shape or not matrix.is_floating_point():
        raise InputError(
            f"the matrix has shape {tuple(matrix.shape)}, {matrix.dtype}; floating-point numbers "
            "of shape (..., p, q), none of them 0, are needed."
        )
    return matrix


def spectral_norm_bounds(matrix: Tensor, tolerance: float = 1e-3, steps: int = 100) -> NormBounds:
    """`norm_bounds` until the bounds agree to a relative `tolerance`, with more directions in need.

    Args:
        matrix: A, shape (p, q), or a batch of them, shape (..., p, q), or a NumPy array.
        tolerance: of every matrix of the batch.
        steps: of the iteration, before there are four times as many directions.

    Raises:
        InputError: no matrix of finite numbers, or a tolerance that is not positive.

    Example:
        >>> found = spectral_norm_bounds(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        >>> torch.stack([found.lower, found.upper, found.frobenius])
        tensor([4., 4., 5.])
    """
    matrix, tolerance = _checked_matrix(matrix), positive("tolerance", tolerance)
    check_finite("row of the matrix", matrix)
    count = 8
    while True:
        bounds = norm_bounds(matrix, start_directions(matrix, count))
        for _ in range(steps):
            if bool((bounds.upper <= (1 + tolerance) * bounds.lower).all()):
                return bounds
            bounds = norm_bounds(matrix, bounds.directions)
        if count >= min(matrix.shape[-2:]):
            return bounds
        count *= 4
