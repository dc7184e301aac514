"""Extreme eigenvalues of a symmetric operator that is only known by its products with vectors."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, aslinearoperator, eigsh, lobpcg
from torch import Tensor

from companion.base.arguments import check_finite, check_type, positive, tensor, whole
from companion.errors import InputError

# Ritz vectors of the largest eigenvalues, which are taken out of the trace for its bound.
_KEPT = 8
# Up to this many rows the matrix itself, product by product, costs less than a search.
_DENSE = 64


@dataclass(frozen=True)
class RitzValue:
    """A Rayleigh quotient at an end of a spectrum: what is certain of it, and what is likely.

    Certain, up to the rounding of the operator's products: an eigenvalue lies within `residual`
    of `value`; the extreme one lies on the outer side of `value`, or is equal; and it does not
    lie beyond `outer`. Only likely is that the extreme one is that within `residual`: an iterative
    solver can miss an eigenvalue whose vector it has hardly met.

    Attributes:
        value: v . A v.
        residual: ||A v - value v||_2.
        outer: a bound on the extreme eigenvalue itself, or infinite where none is known.
        converged: whether the residual meets the tolerance.
        vector: v, shape (n,), of norm 1, on the CPU in float64.
    """

    value: float
    residual: float
    outer: float
    converged: bool
    vector: Tensor


@dataclass(frozen=True)
class Extremes:
    """Both ends of a spectrum, and the number of products with vectors that they took."""

    least: RitzValue
    largest: RitzValue
    products: int


def extreme_eigenvalues(
    operator: LinearOperator,
    *,
    diagonal: Tensor | None = None,
    tolerance: float = 1e-6,
    most_products: int = 2000,
) -> Extremes:
    """Largest and least eigenvalue of a symmetric operator, by SciPy's Lanczos solver (ARPACK).

    It needs no matrix: beside the operator's own memory it takes some hundred vectors. With the
    diagonal of a positive semidefinite operator there are certain outer bounds: the least
    eigenvalue is at least 0, and the largest at most that of [[a, c], [c, d]], where a is the
    largest Ritz value, c bounds what the Ritz vectors lack to being eigenvectors, and d is the
    part of the trace that they leave. For a matrix, `least_eigenvalue` certifies both sides.

    Args:
        operator: A, symmetric, shape (n, n); a matrix is taken, too.
        diagonal: of A, shape (n,), or a NumPy array, if A is positive semidefinite.
        tolerance: of the residuals, as a share of the larger end's size.
        most_products: with vectors, for each end; then the best so far is given.

    Raises:
        InputError: no square operator of real numbers, one that gives numbers that are not finite,
            a diagonal that does not fit, or a tolerance or number that is not positive.

    Example:
        >>> found = extreme_eigenvalues(np.diag([1.0, 2.0, 5.0]), diagonal=torch.tensor([1, 2, 5]))
        >>> [round(number, 6) for number in (found.least.value, found.largest.value)]
        [1.0, 5.0]
    """
    search = _Search.of(operator, diagonal, tolerance, most_products)
    largest = search.largest()
    return Extremes(search.least(largest), largest, search.counted.products)


def largest_eigenvalue(
    operator: LinearOperator,
    *,
    diagonal: Tensor | None = None,
    tolerance: float = 1e-6,
    most_products: int = 2000,
) -> RitzValue:
    """The largest alone, which takes far fewer products; arguments and errors as above.

    Example:
        >>> round(largest_eigenvalue(np.diag([1.0, 2.0, 5.0])).value, 6)
        5.0
    """
    return _Search.of(operator, diagonal, tolerance, most_products).largest()


@dataclass(frozen=True)
class _Search:
    """The checked arguments of one search."""

    counted: "_Counted"
    trace: float | None
    tolerance: float
    most_products: int

    @classmethod
    def of(
        cls, operator: LinearOperator, diagonal: Tensor | None, tolerance: float, most: int
    ) -> "_Search":
        """Check the arguments, and bring the operator near size 1."""
        counted = _Counted(operator)
        tolerance = positive("tolerance", tolerance)
        most = whole("most_products", most, least=1)
        trace = None if diagonal is None else _trace(diagonal, len(counted))
        counted.fit_unit()
        return cls(counted, trace, tolerance, most)

    def largest(self) -> RitzValue:
        """With the bound that the trace gives, if there is one."""
        count = min(_KEPT, max(1, len(self.counted) - 1))
        block = np.linalg.qr(self._vectors(self.counted.of_scipy(), count))[0]
        images = self.counted(block)
        small = block.T @ images
        values, rotation = np.linalg.eigh((small + small.T) / 2)
        values, rotation = values[::-1], rotation[:, ::-1]
        block, images = block @ rotation, images @ rotation
        above = math.inf
        if self.trace is not None:
            above = _from_trace(self.trace / self.counted.unit, block, values, images)
        return self._ritz_value(block[:, 0], images[:, 0], above, 0.0)

    def least(self, largest: RitzValue) -> RitzValue:
        """With the bound 0 of a semidefinite operator."""
        size = abs(largest.value) / self.counted.unit
        # The solvers' tolerance is a share of what they look for: that of size - A is no smaller.
        vector = self._vectors(self.counted.less_than(size), 1)[:, 0]
        below = -math.inf if self.trace is None else 0.0
        return self._ritz_value(vector, self.counted(vector), below, size)

    def _vectors(self, operator: LinearOperator, count: int) -> np.ndarray:
        """Vectors near the upper end of an operator's spectrum, columns, the extreme one first."""
        n = len(self.counted)
        if n <= _DENSE:
            image = operator @ np.eye(n)
            all_vectors: np.ndarray = np.linalg.eigh((image + image.T) / 2)[1]
            return all_vectors[:, ::-1][:, :count]
        start = np.random.default_rng(0).standard_normal((n, count))
        if self.counted.zero:  # so a vector in a random direction says; ARPACK would complain
            return start
        space = min(n, max(2 * count + 1, 40))
        try:
            values, vectors = eigsh(
                operator, k=count, which="LA", v0=start[:, 0], ncv=space,
                tol=self.tolerance / 2, maxiter=max(1, self.most_products // space),
            )  # fmt: skip
        except ArpackNoConvergence as ended:
            if len(ended.eigenvalues) == 0:
                return self._by_lobpcg(operator, start)
            values, vectors = ended.eigenvalues, ended.eigenvectors
        found: np.ndarray = vectors[:, np.argsort(values)[::-1]]
        return found

    def _by_lobpcg(self, operator: LinearOperator, start: np.ndarray) -> np.ndarray:
        """The best vectors after some products more, where Lanczos has none to show."""
        most = max(1, self.most_products // 4 // start.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says what the residual says
            _, vectors = lobpcg(operator, start, tol=self.tolerance, maxiter=most)
        found: np.ndarray = vectors
        return found

    def _ritz_value(
        self, vector: np.ndarray, image: np.ndarray, outer: float, size: float
    ) -> RitzValue:
        """In the operator's own unit; it has converged relative to its image or the other end."""
        norm, unit = float(np.linalg.norm(vector)), self.counted.unit
        vector, image = vector / norm, image / norm
        value = float(vector @ image)
        residual = float(np.linalg.norm(image - value * vector))
        converged = residual <= self.tolerance * max(size, float(np.linalg.norm(image)))
        kept = torch.from_numpy(vector.copy())
        return RitzValue(unit * value, unit * residual, unit * outer, converged, kept)


class _Counted:
    """An operator over a unit, in float64 on arrays of columns, that counts its products."""

    def __init__(self, operator: LinearOperator) -> None:
        wrong = "a scipy.sparse.linalg.LinearOperator, or a matrix"
        if isinstance(operator, Tensor):
            operator = operator.detach().cpu().numpy()
        check_type("operator", operator, LinearOperator | np.ndarray, wrong)
        shape = tuple(operator.shape)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
            raise InputError(
                f"the operator has shape {shape}; (n, n) is needed, as of A^T A for any matrix A."
            )
        self._operator = aslinearoperator(operator)
        if self._operator.dtype is None or self._operator.dtype.kind not in "fiu":
            raise InputError(
                f"the operator has dtype {self._operator.dtype}; give one of real numbers, with "
                "dtype=float if it is a LinearOperator."
            )
        self.products, self.unit, self.zero = 0, 1.0, False

    def fit_unit(self) -> None:
        """Choose the power of 2 that brings images near size 1."""
        largest = float(np.abs(self(np.random.default_rng(1).standard_normal(len(self)))).max())
        self.zero = largest == 0
        self.unit = 1.0 if self.zero else 2.0 ** math.frexp(largest)[1]

    def __len__(self) -> int:
        size: int = self._operator.shape[0]
        return size

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        self.products += 1 if columns.ndim == 1 else columns.shape[1]
        columns = columns.astype(self._operator.dtype, copy=False)
        times = self._operator.matvec if columns.ndim == 1 else self._operator.matmat
        image: np.ndarray = np.array(times(columns), dtype=float)
        if not np.isfinite(image).all():
            raise InputError(
                "the operator gives numbers that are not finite: look whether its entries are, and "
                "divide it by their size if products with them are beyond its dtype's range."
            )
        image /= self.unit
        return image

    def of_scipy(self) -> LinearOperator:
        """The same for SciPy's solvers."""
        shape = (len(self), len(self))
        return LinearOperator(shape, matvec=self, matmat=self, dtype=float)

    def less_than(self, size: float) -> LinearOperator:
        """The operator size - A, at whose upper end is the lower one of A."""

        def times(columns: np.ndarray) -> np.ndarray:
            left: np.ndarray = size * columns - self(columns)
            return left

        return LinearOperator((len(self), len(self)), matvec=times, matmat=times, dtype=float)


def _trace(diagonal: Tensor, count: int) -> float:
    diagonal = tensor("diagonal", diagonal).detach()
    if diagonal.shape != (count,):
        raise InputError(f"diagonal has shape {tuple(diagonal.shape)}; ({count},) is needed.")
    check_finite("entry of diagonal", diagonal)
    if bool((diagonal < 0).any()):
        raise InputError(
            "diagonal holds a negative number; it is for a semidefinite operator: leave it out, "
            "and there are Ritz values without the outer bounds."
        )
    return float(diagonal.double().sum())


def _from_trace(trace: float, block: np.ndarray, values: np.ndarray, images: np.ndarray) -> float:
    """The largest eigenvalue is at most this, as in `norm_bounds`, for a semidefinite operator."""
    a, c = float(values[0]), float(np.linalg.norm(images - block * values))
    d = max(0.0, trace - float(values.sum()))
    return min(trace, (a + d) / 2 + math.hypot((a - d) / 2, c))
