"""Extreme eigenvalues and spectral norms with certificates: numbers between two proven bounds."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from companion.base.arguments import check_tensors
from companion.errors import InputError
from companion.matmul import product


@dataclass(frozen=True)
class Eigenvalue:
    """The least eigenvalue of a symmetric matrix, between two bounds that hold with certainty.

    Attributes:
        value: Rayleigh quotient of `vector`; the least eigenvalue is at most this.
        lower: the least eigenvalue is at least this: the matrix less `lower` has a Cholesky
            factor, and the rounding of the factorisation is allowed for.
        residual: ||K v - value v||_2.
        vector: v, shape (n,), of norm 1.
    """

    value: float
    lower: float
    residual: float
    vector: Tensor


def least_eigenvalue(matrix: Tensor, tolerance: float = 1e-10) -> Eigenvalue:
    """Least eigenvalue by shifted and inverted Lanczos, certified by a Cholesky factor.

    Two or three factorisations, n^3 / 3 multiplications each, in float64: several times less
    than all eigenvalues. It takes two float64 copies of the matrix in memory.

    Args:
        matrix: symmetric, shape (n, n); its lower triangle is read.
        tolerance: how far `lower` may lie below `value`, as a share of the mean of the absolute
            values on the diagonal, if rounding allows it.

    Raises:
        InputError: not square, or a number that is not finite.

    Example:
        >>> found = least_eigenvalue(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> found.lower <= 1.0 and abs(found.value - found.lower) < 1e-9
        True
    """
    check_tensors(matrix=matrix)
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise InputError(f"the matrix has shape {tuple(matrix.shape)}; (n, n) is needed.")
    if not bool(matrix.isfinite().all()):
        raise InputError("the matrix holds a number that is not finite.")
    k = matrix.detach().double()
    k = k.tril() + k.tril(-1).mT
    scale = float(k.diagonal().abs().mean()) or float(k.abs().max()) or 1.0
    vector = _least_vector(k, scale)
    image = k @ vector
    value = float(vector @ image)
    residual = float((image - value * vector).norm())
    gap = max(tolerance * scale, residual)
    while True:
        below = value - gap
        if _factor(k, below) is not None:
            return Eigenvalue(value, below - _factor_rounding(k, below), residual, vector)
        gap *= 4


def _least_vector(k: Tensor, scale: float) -> Tensor:
    """Unit vector near the eigenspace of the least eigenvalue, by Lanczos on (K - shift)^-1."""
    n = len(k)
    shift = -1e-9 * scale
    while (factor := _factor(k, shift)) is None:  # K is not positive semidefinite
        shift *= 8
    if n < 3:  # Lanczos needs room
        smallest: Tensor = torch.linalg.eigh(k).eigenvectors[:, 0]
        return smallest

    def solve(v: np.ndarray) -> np.ndarray:
        right = torch.from_numpy(v).to(k).reshape(n, 1)
        solution: np.ndarray = torch.cholesky_solve(right, factor)[:, 0].cpu().numpy()
        return solution

    inverse = LinearOperator((n, n), matvec=solve, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    try:
        _, vectors = eigsh(inverse, k=1, which="LA", v0=start, tol=1e-12)
    except ArpackNoConvergence:  # a cluster of tiny eigenvalues: any of its vectors will do
        vectors = solve(solve(start))[:, None]
    vector: Tensor = torch.from_numpy(vectors[:, 0]).to(k)
    return vector.div_(vector.norm())


def _factor(k: Tensor, shift: float) -> Tensor | None:
    """Cholesky factor of K - shift I, or None if it has no real one."""
    shifted = k.clone()
    shifted.diagonal().sub_(shift)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    return None if int(failed) else factor


def _factor_rounding(k: Tensor, shift: float) -> float:
    """Norm of the matrix whose exact factor was computed less the one asked for, at most.

    Higham, Accuracy and Stability, Theorem 10.3: gamma_(n+1) |R|^T |R|, with ||R||_F^2 the trace.
    """
    n, unit = len(k), torch.finfo(k.dtype).eps / 2
    return (n + 2) * unit * float((k.diagonal() - shift).sum()) * 1.01


@dataclass(frozen=True)
class NormBounds:
    """A spectral norm between two bounds, and where to start next time.

    Attributes:
        lower: ||A v||_2 for the best unit vector found, 0-dimensional.
        upper: no vector does better, up to rounding, 0-dimensional.
        frobenius: ||A||_F, 0-dimensional.
        directions: orthonormal rows, shape (k, min(p, q)), near the leading singular vectors of
            the shorter side.
    """

    lower: Tensor
    upper: Tensor
    frobenius: Tensor
    directions: Tensor


def start_directions(matrix: Tensor, count: int = 8) -> Tensor:
    """Orthonormal rows for `norm_bounds` to start with, the same on every device."""
    q = min(matrix.shape)
    drawn = torch.from_numpy(np.random.default_rng(q).standard_normal((q, min(count, q))))
    directions: Tensor = torch.linalg.qr(drawn).Q.T
    return directions.to(matrix.device, matrix.dtype).contiguous()


def norm_bounds(matrix: Tensor, directions: Tensor) -> NormBounds:
    """Bounds on ||A||_2 from one step of subspace iteration; tighter with every call.

    With the directions as columns of V, A^T A is [[V^T A^T A V, C^T], [C, D]] in a basis that V
    begins. The norm of D is at most its trace, ||A||_F^2 - ||A V||_F^2; so the largest eigenvalue
    is at most that of [[a, c], [c, d]] with a the largest Ritz value, c = ||C||_F, and d this
    trace. The upper bound is tight once V holds the leading vector and most of the Frobenius norm.

    Args:
        matrix: A, shape (p, q); its transpose is used where it has more columns than rows.
        directions: V^T, orthonormal rows, shape (k, min(p, q)), from `start_directions` or the
            last call on a matrix that has changed little since.
    """
    check_tensors(matrix=matrix, directions=directions)
    numbers, following = subspace_step(matrix, directions)
    frobenius, lower, upper = bounds_of(numbers)
    return NormBounds(lower, upper, frobenius, following)


def subspace_step(matrix: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The part of `norm_bounds` that each matrix needs for itself.

    Returns:
        ||A||_F, a, c, and ||A V||_F^2, shape (4,), for `bounds_of`; and the next directions.
    """
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
    image = product(directions, matrix.mT)  # (A V)^T
    small = image @ image.mT
    back = product(image, matrix)  # (A^T A V)^T
    outside = torch.addmm(back, small, directions, alpha=-1)
    norms = torch.linalg.vector_norm(matrix), torch.linalg.vector_norm(outside)
    largest = torch.linalg.eigvalsh(small)[-1]
    numbers = torch.stack([norms[0], largest, norms[1], small.trace()])
    return numbers, torch.linalg.qr(back.mT).Q.mT


def bounds_of(numbers: Tensor) -> Tensor:
    """Frobenius norms and both bounds, shape (3, ...), from `subspace_step`'s, shape (..., 4)."""
    frobenius, a, c, inside = numbers.unbind(-1)
    a, d = a.clamp(min=0), (frobenius.square() - inside).clamp(min=0)
    highest = (a + d) / 2 + torch.hypot((a - d) / 2, c)
    return torch.stack([frobenius, a.sqrt(), torch.minimum(highest.sqrt(), frobenius)])


def spectral_norm_bounds(matrix: Tensor, tolerance: float = 1e-3, steps: int = 100) -> NormBounds:
    """`norm_bounds` until the bounds agree to a relative `tolerance`, with more directions in need.

    Raises:
        InputError: tolerance not positive.

    Example:
        >>> found = spectral_norm_bounds(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        >>> torch.stack([found.lower, found.upper, found.frobenius])
        tensor([4.0000, 4.0000, 5.0000])
    """
    check_tensors(matrix=matrix)
    if not tolerance > 0:
        raise InputError(f"tolerance is {tolerance}; it must be positive.")
    matrix = matrix.detach()
    count = 8
    while True:
        bounds = norm_bounds(matrix, start_directions(matrix, count))
        for _ in range(steps):
            if float(bounds.upper) <= (1 + tolerance) * float(bounds.lower):
                return bounds
            bounds = norm_bounds(matrix, bounds.directions)
        if count >= min(matrix.shape):
            return bounds
        count *= 4
