"""The least eigenvalue of a symmetric matrix, certified by a Cholesky factor."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_finite, positive, tensor
from companion.base.workers import alone
from companion.errors import InputError

# Up to this many rows all eigenvectors cost less than a search for one.
_DENSE = 128
# Vectors that join the space of a search, at most: in a first look at K alone, with a factor in
# single precision, and with one in double precision; by then another factor is the cheaper way on.
_GLANCE, _GUESS, _STEPS = 16, 24, 64
# Vectors that join at a time, and those kept from one factor to the next.
_AT_ONCE, _KEPT = 8, 8
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
    """Least eigenvalue by a factor in single precision, certified by a Cholesky factor.

    Vectors are found by means of factors in float32, two at most, with all residuals and Rayleigh
    quotients in float64; then one factor of K - s I in float64, s closely below the value, proves
    that the least eigenvalue is at least s. Where K is singular to single precision, factors in
    float64 find the vectors, too: one factor in all if K is singular, and two or three if its least
    eigenvalues are small. A factor takes n^3 / 3 multiplications. In memory there are two float64
    copies of the matrix.

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

    `slack` is the square of the residual over the distance to the next Ritz value, or the residual
    itself, within which there is an eigenvalue: in all likelihood the least is no further away.
    `vectors` holds some Ritz vectors as rows, that of the least value first.
    """

    vectors: Tensor
    value: float
    residual: float
    slack: float


class _Search:
    """Brackets the least eigenvalue of K, shape (n, n): Cholesky from below, vectors from above."""

    def __init__(self, k: Tensor, gap: float) -> None:
        self.k, self.gap = k, gap
        self._room = torch.empty_like(k).view(-1)
        self._factor = self._room.view(k.shape).mT
        self._failed = torch.empty((), dtype=torch.int32, device=k.device)

    def run(self) -> Eigenvalue:
        """The eigenvalue between bounds that differ by the gap, or by what rounding needs."""
        if len(self.k) <= _DENSE:
            best = self._ritz(torch.linalg.eigh(self.k).eigenvectors.mT[:1], 0.0)
            lower = self._below(best, -math.inf)
        else:
            best, lower = self._iterated()
        lower -= self._rounding(lower)
        return Eigenvalue(best.value, lower, best.residual, best.vectors[0])

    def _iterated(self) -> tuple[_Ritz, float]:
        """Turn by turn a better vector by means of the factor, and a better factor by its value."""
        best, lower = self._guessed()
        lower = self._below(best, lower)
        for _ in range(_MOST_ROUNDS):
            if best.value - lower <= 2 * self.gap:
                return self._refined(best.vectors[:1], self._solved, 1, 0.0), lower
            following = self._refined(best.vectors, self._solved, _STEPS, self.gap / 8)
            raised = self._below(following, lower)
            still = raised == lower and best.value - following.value <= self.gap
            best, lower = following, raised
            if still:  # rounding keeps the bounds apart
                break
        return best, lower

    def _guessed(self) -> tuple[_Ritz, float]:
        """Vectors by factors in single precision, which take half the time, where there are any.

        Else K may be singular: there is often a factor, which is kept, closely below 0.
        """
        drawn = np.random.default_rng(0).standard_normal((1, len(self.k)))
        start = torch.from_numpy(drawn).to(self.k)
        least = math.sqrt(len(self.k)) * torch.finfo(torch.float32).eps
        shift, best, enough = 0.0, None, self.gap / 8
        for steps in (_GUESS, _STEPS):
            if not self._has_factor(shift, torch.float32):
                break
            best = self._refined(
                start if best is None else best.vectors, self._solved, steps, enough
            )
            if best.slack <= enough:
                break
            shift = best.value - max(best.slack / 2, least)
        if best is not None:
            return best, -math.inf
        semidefinite = -self.gap / 2
        if self._has_factor(semidefinite):
            return self._refined(start, self._solved, _STEPS, enough), semidefinite
        return self._refined(start, lambda vector: vector, _GLANCE, enough), -math.inf

    def _below(self, best: _Ritz, lower: float) -> float:
        """The greatest shift tried below `best` for which there is a factor, at least `lower`."""
        width, failed = max(self.gap, 2 * best.slack), False
        while best.value - width > lower:
            if self._has_factor(best.value - width):
                return best.value - width
            width, failed = 16 * width, True
        if failed:  # the attempts have overwritten it
            self._has_factor(lower)
        return lower

    def _has_factor(self, shift: float, dtype: torch.dtype = torch.float64) -> bool:
        """Whether K - shift I has a real Cholesky factor in this precision, which is kept."""
        n = len(self.k)
        # By columns, so that LAPACK works in place; K is symmetric, and so no transposition.
        self._factor = self._room.view(dtype)[: n * n].view(n, n).mT
        self._factor.copy_(self.k.mT)
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

    def _solved(self, vector: Tensor) -> Tensor:
        """(K - shift I)^-1 of a vector, by the factor kept and in its precision."""
        column = vector[:, None].to(self._factor.dtype)
        half = torch.linalg.solve_triangular(self._factor, column, upper=False)
        whole: Tensor = torch.linalg.solve_triangular(self._factor.mT, half, upper=True)
        return whole[:, 0].to(vector.dtype)

    def _refined(
        self, start: Tensor, solved: Callable[[Tensor], Tensor], steps: int, enough: float
    ) -> _Ritz:
        """Rayleigh-Ritz of K in a space of so many vectors, or of fewer if the value settles.

        The space grows by some vectors at a time, a Krylov space of `solved` from the residual, so
        that K is read once for all of them, and what `solved` lacks in precision is made good.

        Args:
            start: orthonormal rows.
            solved: a function that brings out the eigenvector looked for.
            steps: the most vectors beside them.
            enough: a slack that ends the search.
        """
        count, most = len(start), len(start) + steps
        basis = start.new_empty(most, start.shape[1])
        images = torch.empty_like(basis)
        basis[:count] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
        first, full = 0, False
        while True:
            images[first:count] = (self.k @ basis[first:count].mT).mT
            small = basis[:count] @ images[:count].mT
            values, vectors = torch.linalg.eigh((small + small.mT) / 2)
            off = vectors[:, 0] @ images[:count] - values[0] * (vectors[:, 0] @ basis[:count])
            slack = residual = float(torch.linalg.vector_norm(off))
            if count > 1 and residual > 0:
                slack = residual**2 / max(float(values[1] - values[0]), residual)
            if full or count == most or slack <= enough:
                return self._ritz(vectors[:, :_KEPT].mT @ basis[:count], slack)
            first, stop = count, min(count + _AT_ONCE, most)
            count = _extended(basis[:stop], count, off, solved)
            full = count < stop

    def _ritz(self, vectors: Tensor, slack: float) -> _Ritz:
        vector = vectors[0] / torch.linalg.vector_norm(vectors[0])
        image = self.k @ vector
        value = float(vector @ image)
        residual = float(torch.linalg.vector_norm(image - value * vector))
        return _Ritz(torch.cat([vector[None], vectors[1:]]), value, residual, slack)


@alone()
def _extended(
    basis: Tensor, count: int, direction: Tensor, solved: Callable[[Tensor], Tensor]
) -> int:
    """Fill up an orthonormal basis, rows, of which there are `count`, by a Krylov space.

    Single vectors are too little for several threads, which would wait for each other hundreds of
    times.

    Returns:
        How many rows there are now: not all, if the space is invariant.
    """
    while count < len(basis):
        direction, known = solved(direction / torch.linalg.vector_norm(direction)), basis[:count]
        size = float(torch.linalg.vector_norm(direction))
        for _ in range(2):  # once leaves what rounding has put there
            direction = direction - (known @ direction) @ known
        left = float(torch.linalg.vector_norm(direction))
        if left <= len(direction) * torch.finfo(direction.dtype).eps * size:
            break
        basis[count], count = direction / left, count + 1
    return count


@alone()
def _mirrored(matrix: Tensor) -> Tensor:
    """The symmetric matrix of the lower triangle, in float64: one copy and nothing beside it."""
    n = len(matrix)
    k = torch.empty(n, n, dtype=torch.float64, device=matrix.device)
    for start in range(0, n, _TILE):
        stop = min(start + _TILE, n)
        rows = k[start:stop, :stop].copy_(matrix[start:stop, :stop])
        k[:start, start:stop] = rows[:, :start].mT
        corner = rows[:, start:].tril()
        k[start:stop, start:stop] = corner + corner.tril(-1).mT
    return k
