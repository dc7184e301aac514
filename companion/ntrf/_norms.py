"""The norms of the layers' parts in the dual variables, also smoothed where they vanish."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from companion.base.arguments import tensor
from companion.errors import InputError
from companion.ntrf._inputs import Array, gram_numbers, signs_of

Ball = Literal["per-layer", "single"]


class Norms(Protocol):
    """Seminorms ||a||_l = sqrt(a^T G_l a) of vectors of length n, for l = 1, ..., L."""

    def at(self, a: Array) -> tuple[Array, Array]:
        """||a||_l, shape (L,), and G_l a, shape (L, n)."""
        ...

    def combined(self, weights: Array) -> Array:
        """sum_l weights_l G_l, shape (n, n)."""
        ...

    @property
    def sizes(self) -> Array:
        """||e_i||_l of the unit vectors, shape (L, n)."""
        ...

    @property
    def precision(self) -> float:
        """Error of ||a||_l^2 from rounding, relative to what it were if no parts of a cancelled."""
        ...


@dataclass(frozen=True)
class Layers:
    """G_l = y o K^(l) o y.

    Attributes:
        grams: G_l, shape (L, n, n).
        roots: R_l with G_l = R_l^T R_l, shape (L, n, n): from G_l itself a norm that nearly
            vanishes would have half of the digits.
        precision: of the entries of K^(l), relative to their bound by the diagonal.
    """

    grams: Array
    roots: Array
    precision: float

    def at(self, a: Array) -> tuple[Array, Array]:
        images = self.roots @ a
        products: Array = (images[:, None] @ self.roots)[:, 0]
        return np.linalg.norm(images, axis=1), products

    def combined(self, weights: Array) -> Array:
        combined: Array = np.tensordot(weights, self.grams, 1)
        return combined

    @property
    def sizes(self) -> Array:
        sizes: Array = np.sqrt(np.diagonal(self.grams, axis1=1, axis2=2))
        return sizes


@dataclass(frozen=True)
class HalfSpaces:
    """||a||_l = ||sum_i a_i 1{z_l . x_i >= 0} s_i||_2, without the k matrices.

    Attributes:
        active: 1{z_l . x_i >= 0}, shape (k, n).
        points: s_i = y_i x_i / k, shape (n, d).
    """

    active: Array
    points: Array

    def at(self, a: Array) -> tuple[Array, Array]:
        sums = self.active @ (a[:, None] * self.points)
        return np.linalg.norm(sums, axis=1), self.active * (sums @ self.points.T)

    def combined(self, weights: Array) -> Array:
        both = self.active.T @ (weights[:, None] * self.active)
        combined: Array = both * (self.points @ self.points.T)
        return combined

    @property
    def sizes(self) -> Array:
        sizes: Array = self.active * np.linalg.norm(self.points, axis=1)
        return sizes

    @property
    def precision(self) -> float:
        return float(np.finfo(float).eps) ** 2  # the norm itself is not taken from its square


@dataclass(frozen=True)
class Softened:
    """Seminorms of one vector a >= 0, smoothed where they vanish: sqrt(||a||_l^2 + softness^2).

    Attributes:
        seminorms: the ||.||_l.
        products: G_l a, shape (L, n).
        norms: ||a||_l, shape (L,).
        lengths: the smoothed norms, shape (L,).
    """

    seminorms: Norms
    products: Array
    norms: Array
    lengths: Array

    @property
    def gains(self) -> Array:
        """Gradient of the lengths' sum, shape (n,).

        It is also what U_l = sum_i a_i y_i df(x_i)/dW_l / length_l, of norms up to 1, add to the
        margins y_i f(x_i).
        """
        gains: Array = (1 / self.lengths) @ self.products
        return gains

    @property
    def curvature(self) -> Array:
        """Hessian of the lengths' sum, shape (n, n), positive semidefinite."""
        steep = self.products / self.lengths[:, None] ** 1.5
        return self.seminorms.combined(1 / self.lengths) - steep.T @ steep

    def rounded(self, a: Array) -> tuple[Array, Array]:
        """Above ||a||_l and below the gains, whichever way the Gram matrices are rounded.

        It matters where parts of a cancel in a layer, so that V_l is inside the ball.
        """
        sizes, precision = self.seminorms.sizes, self.seminorms.precision
        whole = sizes @ a
        norms = np.hypot(self.norms, math.sqrt(precision) * whole)
        return norms, self.gains - precision * (whole / self.lengths) @ sizes


def softened(seminorms: Norms, a: Array, softness: float) -> Softened:
    """The seminorms of a, smoothed by so much."""
    norms, products = seminorms.at(a)
    return Softened(seminorms, products, norms, np.hypot(norms, softness))


def signed_layers(grams: Sequence[Tensor], labels: Tensor, ball: Ball) -> Layers:
    """The seminorms of a ball, from checked Gram matrices and labels."""
    if ball not in ("per-layer", "single"):
        raise InputError(f"the ball is {ball!r}; it must be 'per-layer' or 'single'.")
    if len(grams) == 0:
        raise InputError("there is no Gram matrix; give one per layer.")
    signs, grams = signs_of(labels), [tensor("gram", gram) for gram in grams]
    signed = np.stack([gram_numbers(gram, len(signs)) for gram in grams]) * np.outer(signs, signs)
    if ball == "single":
        signed = signed.sum(0, keepdims=True)
    precision = 4 * max(torch.finfo(gram.dtype).eps for gram in grams)
    return Layers(signed, np.stack([root_of(gram, precision) for gram in signed]), precision)


def root_of(gram: Array, precision: float) -> Array:
    """R with R^T R = `gram`, by Cholesky's method with pivots, to a precision relative to sizes."""
    sizes = np.sqrt(np.diagonal(gram))
    units = np.where(sizes > 0, sizes, 1.0)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(
        gram / np.outer(units, units), tol=precision
    )
    root = np.zeros_like(gram)
    root[:rank, pivots - 1] = np.triu(factor)[:rank]
    return root * units
