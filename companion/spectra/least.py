"""The least eigenvalue of a symmetric matrix, certified by a Cholesky factor."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_finite, positive, tensor
from companion.errors import InputError

# Up to this many rows all eigenvectors cost less than a search for one.
_DENSE = 128
# Products with K for a first look, and vectors of a Krylov space of its inverse, at most: by then
# another factor is the cheaper way on.
_GLANCE, _STEPS = 16, 64
# A search takes two to four; the bound is for what rounding might do.
_MOST_ROUNDS = 20
# Rows of the tiles in which a triangle is mirrored.
_TILE = 128


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
    """Least eigenvalue by shifted and inverted Lanczos, certified by Cholesky factors.

    A factor of K - s I proves that the least eigenvalue is at least s, and lets a Krylov space of
    (K - s I)^-1 find a value whose neighbourhood is the next s to try. That takes one
    factorisation, n^3 / 3 multiplications in float64, where K is singular, two where its least
    eigenvalues are small, and three as a rule. It takes two float64 copies of the matrix in memory.

    Args:
        matrix: symmetric, shape (n, n), or a NumPy array; its lower triangle is read.
        tolerance: how far `lower` may lie below `value`, as a share of the mean of the absolute
            values on the diagonal, if rounding allows it.

    Raises:
        InputError: not square, a number that is not finite, or a tolerance that is not positive.

    Example:
        >>> found = least_eigenvalue(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> found.lower <= 1.0 and abs(found.value - found.lower) < 1e-9
        True
    """
    matrix = tensor("matrix", matrix).detach()
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise InputError(f"the matrix has shape {tuple(matrix.shape)}; (n, n) is needed.")
    check_finite("row of the matrix", matrix)
    tolerance = positive("tolerance", tolerance)
    k = _mirrored(matrix)
    # Divided by a power of 2, which rounds nothing, its squares are in range whatever its size.
    size = float(k.diagonal().abs().mean()) or float(torch.linalg.vector_norm(k, math.inf))
    if size == 0:
        return Eigenvalue(0.0, 0.0, 0.0, torch.eye(1, len(k), dtype=k.dtype, device=k.device)[0])
    unit = 2.0 ** math.frexp(size)[1]
    # Of rounding, of which `lower` allows for about 4 such gaps where n is large.
    least_gap = len(k) * max(1.0, len(k) / 8) * torch.finfo(k.dtype).eps
    found = _Search(k.div_(unit), max(tolerance, least_gap) * size / unit).run()
    value, lower, residual = found.value, found.lower, found.residual
    return Eigenvalue(unit * value, unit * lower, unit * residual, found.vector)


@dataclass(frozen=True)
class _Ritz:
    """A unit vector near an eigenvector, its Rayleigh quotient, and by how much that may fall.

    `slack` is what the last steps lowered the value by if that is less than the gap looked for,
    and else the residual, within which there is an eigenvalue, in all likelihood the least.
    """

    vector: Tensor
    value: float
    residual: float
    slack: float


class _Search:
    """Brackets the least eigenvalue of K, shape (n, n): Cholesky from below, Lanczos from above."""

    def __init__(self, k: Tensor, gap: float) -> None:
        self.k, self.gap = k, gap
        self._factor = torch.empty_like(k).mT  # by columns, so that LAPACK works in place
        self._failed = torch.empty((), dtype=torch.int32, device=k.device)

    def run(self) -> Eigenvalue:
        """The eigenvalue between bounds that differ by the gap, or by what rounding needs."""
        if len(self.k) <= _DENSE:
            best = self._ritz(torch.linalg.eigh(self.k).eigenvectors[:, 0], 0.0)
            lower = self._below(best, -math.inf)
        else:
            best, lower = self._iterated()
        lower -= self._rounding(lower)
        return Eigenvalue(best.value, lower, best.residual, best.vector)

    def _iterated(self) -> tuple[_Ritz, float]:
        """Turn by turn a better vector by means of the factor, and a better factor by its value."""
        drawn = np.random.default_rng(0).standard_normal(len(self.k))
        vector, _ = self._lanczos(torch.from_numpy(drawn).to(self.k), self.k.mv, _GLANCE)
        best = self._ritz(vector, math.inf)
        semidefinite = -self.gap / 2
        lower = max(best.value - 2 * best.residual, semidefinite)
        while not self._has_factor(lower):
            lower = semidefinite if lower > semidefinite else self._below(best, -math.inf)
        best = self._inverted(best.vector, lower, _STEPS)
        for _ in range(_MOST_ROUNDS):
            if best.value - lower <= 2 * self.gap:
                break
            raised = self._below(best, lower)
            settled = raised > lower and best.slack <= self.gap
            following = self._inverted(best.vector, raised, 1 if settled else _STEPS)
            still = raised == lower and best.value - following.value <= self.gap
            best, lower = following, raised
            if still:  # rounding keeps the bounds apart
                break
        return best, lower

    def _below(self, best: _Ritz, lower: float) -> float:
        """The greatest shift tried below `best` for which there is a factor, at least `lower`."""
        width = max(self.gap, 2 * best.slack)
        while best.value - width > lower:
            if self._has_factor(best.value - width):
                return best.value - width
            width *= 16
        self._has_factor(lower)  # once more, as attempts that failed have overwritten it
        return lower

    def _has_factor(self, shift: float) -> bool:
        """Whether K - shift I has a real Cholesky factor, which is kept."""
        self._factor.copy_(self.k.mT)  # K is symmetric, and so no transposition
        self._factor.diagonal().sub_(shift)
        torch.linalg.cholesky_ex(self._factor, out=(self._factor, self._failed))
        return int(self._failed) == 0

    def _rounding(self, shift: float) -> float:
        """Norm of the matrix whose exact factor was computed less the one asked for, at most.

        Higham, Accuracy and Stability, Theorem 10.3: gamma_(n+1) |R|^T |R|, with ||R||_F^2 the
        trace.
        """
        n, unit = len(self.k), torch.finfo(self.k.dtype).eps / 2
        return (n + 2) * unit * float((self.k.diagonal() - shift).sum()) * 1.01

    def _inverted(self, start: Tensor, shift: float, steps: int) -> _Ritz:
        """Lanczos on -(K - shift I)^-1, by the factor kept."""

        def times(vector: Tensor) -> Tensor:
            column = vector[:, None].neg()
            half = torch.linalg.solve_triangular(self._factor, column, upper=False)
            whole: Tensor = torch.linalg.solve_triangular(self._factor.mT, half, upper=True)
            return whole[:, 0]

        vector, fall = self._lanczos(start, times, steps, lambda value: shift - 1 / value)
        # What the inverse hides, parts in the direction of large eigenvalues, counts in K.
        return self._ritz(times(vector), fall)

    def _lanczos(
        self,
        start: Tensor,
        times: Callable[[Tensor], Tensor],
        steps: int,
        of_k: Callable[[float], float] | None = None,
    ) -> tuple[Tensor, float]:
        """Rayleigh-Ritz in a Krylov space of so many vectors, or of fewer if the value settles.

        Args:
            start: the first vector.
            times: a symmetric function of K whose least eigenvalue has the eigenvector looked for.
            steps: the most vectors.
            of_k: the eigenvalue of K that belongs to one of `times`, to see it settle.

        Returns:
            The Ritz vector, and by how much the last four steps have lowered its value.
        """
        basis = start.new_empty(steps, len(start))  # row by row, each orthogonal to all before
        projected = start.new_zeros(steps, steps)
        basis[0] = start / torch.linalg.vector_norm(start)
        value, fall = math.inf, math.inf
        for step in range(steps):
            image, known = times(basis[step]), basis[: step + 1]
            size = float(torch.linalg.vector_norm(image))
            for _ in range(2):  # once leaves what rounding has put there
                parts = known @ image
                image = image - parts @ known
                projected[step, : step + 1] += parts
            left = float(torch.linalg.vector_norm(image))
            if left <= len(start) * torch.finfo(image.dtype).eps * size:  # the space is invariant
                fall = 0.0
                break
            if of_k is not None and step % 4 == 3:
                now = of_k(float(torch.linalg.eigvalsh(projected[: step + 1, : step + 1])[0]))
                value, fall = now, value - now
                if fall <= self.gap / 8:
                    break
            if step + 1 < steps:
                basis[step + 1] = image / left
        small = projected[: step + 1, : step + 1]
        return torch.linalg.eigh(small).eigenvectors[:, 0] @ known, fall

    def _ritz(self, vector: Tensor, fall: float) -> _Ritz:
        vector = vector / torch.linalg.vector_norm(vector)
        image = self.k @ vector
        value = float(vector @ image)
        residual = float(torch.linalg.vector_norm(image - value * vector))
        return _Ritz(vector, value, residual, fall if fall <= self.gap else residual)


def _mirrored(matrix: Tensor) -> Tensor:
    """The symmetric matrix of the lower triangle, in float64: one copy and nothing beside it."""
    n = len(matrix)
    k = torch.empty(n, n, dtype=torch.float64, device=matrix.device).copy_(matrix)
    for start in range(0, n, _TILE):
        stop = min(start + _TILE, n)
        corner = k[start:stop, start:stop].tril()
        k[start:stop, start:stop] = corner + corner.tril(-1).mT
        k[start:stop, stop:] = k[stop:, start:stop].mT
    return k
