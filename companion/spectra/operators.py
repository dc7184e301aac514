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
    counted = _Counted(operator)
    n = len(counted)
    tolerance = positive("tolerance", tolerance)
    most_products = whole("most_products", most_products, least=1)
    trace = None if diagonal is None else _trace(diagonal, n)
    unit = counted.fit_unit()
    if unit == 0:  # so a vector in a random direction says
        return _zero(n, counted.products, -math.inf if trace is None else 0.0, trace)
    if n <= _DENSE:
        vectors = np.linalg.eigh(counted.symmetric(np.eye(n)))[1]
        low, high = vectors[:, :1], vectors[:, : -_KEPT - 1 : -1]
    else:
        high = _vectors(counted, "LA", min(_KEPT, n - 1), tolerance, most_products)
        low = _vectors(counted, "SA", 1, tolerance, most_products)
    high, values, images = _rotated(counted, high)
    image = counted(low)[:, 0]
    allowed = tolerance * max(abs(float(values[0])), float(np.linalg.norm(image)))
    above = math.inf if trace is None else _from_trace(trace / unit, high, values, images)
    largest = _ritz_value(high[:, 0], images[:, 0], above, allowed, unit)
    below = -math.inf if trace is None else 0.0
    least = _ritz_value(low[:, 0], image, below, allowed, unit)
    return Extremes(least, largest, counted.products)


def _zero(count: int, products: int, below: float, trace: float | None) -> Extremes:
    """Both ends of an operator that gives 0."""
    vector = torch.eye(1, count, dtype=torch.float64)[0]
    above = math.inf if trace is None else trace
    least, largest = (RitzValue(0.0, 0.0, outer, True, vector) for outer in (below, above))
    return Extremes(least, largest, products)


class _Counted:
    """An operator over a unit, in float64 on arrays of columns, that counts its products."""

    def __init__(self, operator: LinearOperator) -> None:
        wrong = "a scipy.sparse.linalg.LinearOperator, or a matrix"
        if isinstance(operator, Tensor):
            operator = operator.detach().cpu().numpy()
        check_type("operator", operator, LinearOperator | np.ndarray, wrong)
        shape = tuple(operator.shape)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
            raise InputError(f"the operator has shape {shape}; (n, n) is needed.")
        self._operator = aslinearoperator(operator)
        if self._operator.dtype is None or self._operator.dtype.kind not in "fiu":
            raise InputError(f"the operator has dtype {self._operator.dtype}; give real numbers.")
        self.products, self._unit = 0, 1.0

    def fit_unit(self) -> float:
        """Choose the power of 2 that brings images near size 1, or 0 if an image is 0."""
        start = np.random.default_rng(1).standard_normal(len(self))
        largest = float(np.abs(self(start)).max())
        if largest:
            self._unit = 2.0 ** math.frexp(largest)[1]
        return self._unit if largest else 0.0

    def __len__(self) -> int:
        size: int = self._operator.shape[0]
        return size

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        self.products += 1 if columns.ndim == 1 else columns.shape[1]
        columns = columns.astype(self._operator.dtype, copy=False)
        times = self._operator.matvec if columns.ndim == 1 else self._operator.matmat
        image: np.ndarray = np.array(times(columns), dtype=float)
        if not np.isfinite(image).all():
            raise InputError("the operator gives numbers that are not finite.")
        image /= self._unit
        return image

    def symmetric(self, columns: np.ndarray) -> np.ndarray:
        """A's image of an identity, mirrored, as rounding need not be symmetric."""
        image = self(columns)
        mirrored: np.ndarray = (image + image.T) / 2
        return mirrored

    def of_scipy(self) -> LinearOperator:
        """The same for SciPy's solvers."""
        shape = (len(self), len(self))
        return LinearOperator(shape, matvec=self, matmat=self, dtype=float)


def _trace(diagonal: Tensor, count: int) -> float:
    diagonal = tensor("diagonal", diagonal).detach()
    if diagonal.shape != (count,):
        raise InputError(f"diagonal has shape {tuple(diagonal.shape)}; ({count},) is needed.")
    check_finite("entry of diagonal", diagonal)
    if bool((diagonal < 0).any()):
        raise InputError("diagonal holds a negative number; it is for a semidefinite operator.")
    return float(diagonal.double().sum())


def _vectors(counted: _Counted, which: str, count: int, tolerance: float, most: int) -> np.ndarray:
    """Vectors near the ends of the spectrum, columns, the extreme one first."""
    start = np.random.default_rng(0).standard_normal((len(counted), count))
    space = min(len(counted), max(2 * count + 1, 40))
    try:
        values, vectors = eigsh(
            counted.of_scipy(), k=count, which=which, v0=start[:, 0], ncv=space,
            tol=tolerance / 10, maxiter=max(1, most // space),
        )  # fmt: skip
    except ArpackNoConvergence as ended:
        if len(ended.eigenvalues) == 0:
            return _by_lobpcg(counted, which, start, tolerance, most // 4)
        values, vectors = ended.eigenvalues, ended.eigenvectors
    order = np.argsort(values)
    found: np.ndarray = vectors[:, order[::-1] if which == "LA" else order]
    return found


def _by_lobpcg(
    counted: _Counted, which: str, start: np.ndarray, tolerance: float, most: int
) -> np.ndarray:
    """The best vectors at hand after so many products where Lanczos has none to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says what the residual says
        _, vectors = lobpcg(
            counted.of_scipy(), start, tol=tolerance, maxiter=max(1, most // start.shape[1]),
            largest=which == "LA",
        )  # fmt: skip
    found: np.ndarray = vectors
    return found


def _rotated(counted: _Counted, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ritz vectors of a block, largest first, their values and their images."""
    block = np.linalg.qr(block)[0]
    images = counted(block)
    small = block.T @ images
    values, rotation = np.linalg.eigh((small + small.T) / 2)
    rotation = rotation[:, ::-1]
    return block @ rotation, values[::-1], images @ rotation


def _from_trace(trace: float, block: np.ndarray, values: np.ndarray, images: np.ndarray) -> float:
    """The largest eigenvalue is at most this, as in `norm_bounds`, for a semidefinite operator."""
    a, c = float(values[0]), float(np.linalg.norm(images - block * values))
    d = max(0.0, trace - float(values.sum()))
    return min(trace, (a + d) / 2 + math.hypot((a - d) / 2, c))


def _ritz_value(
    vector: np.ndarray, image: np.ndarray, outer: float, allowed: float, unit: float
) -> RitzValue:
    vector, size = vector / np.linalg.norm(vector), float(np.linalg.norm(vector))
    image = image / size
    value = float(vector @ image)
    residual = float(np.linalg.norm(image - value * vector))
    kept = torch.from_numpy(vector.copy())
    return RitzValue(unit * value, unit * residual, unit * outer, residual <= allowed, kept)
