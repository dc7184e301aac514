"""The empirical NTK as a linear operator: products with vectors, and no matrix of n x n numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from companion.base.arguments import check_finite, tensor
from companion.base.workers import available_workers
from companion.errors import InputError
from companion.kernels.factors import Factor, Factors, kept_per_input, passing_per_input
from companion.kernels.tiles import LEAST_TILE
from companion.matmul import product
from companion.networks import ReLUNetwork, check_inputs

Array = np.ndarray[Any, Any]

# Rows that are multiplied at once: enough for products to be fast.
_ROWS = 512


class GramOperator(LinearOperator):  # type: ignore[misc]
    """What `gram_operator` gives: a `scipy.sparse.linalg.LinearOperator` of shape (n, n).

    Attributes:
        blocks: slices of the inputs that are multiplied at once.
    """

    def __init__(self, network: ReLUNetwork, x: Tensor, factors: Factors) -> None:
        super().__init__(np.dtype(str(x.dtype).removeprefix("torch.")), (len(x), len(x)))
        self._network, self._x, self._factors = network, x, factors
        self.blocks = factors.blocks

    def times(self, vectors: Tensor) -> Tensor:
        """K v for each column v, as a tensor on the network's device.

        Args:
            vectors: shape (n, k), of the network's dtype and on its device, or a NumPy array.

        Returns:
            Shape (n, k).

        Raises:
            InputError: vectors that do not fit.
        """
        vectors = tensor("vectors", vectors, self._x)
        if vectors.dim() != 2 or len(vectors) != len(self._x) or vectors.dtype != self._x.dtype:
            raise InputError(
                f"vectors have shape {tuple(vectors.shape)}, {vectors.dtype}; ({len(self._x)}, k), "
                f"{self._x.dtype} is needed."
            )
        vectors = vectors.contiguous()
        result = torch.empty_like(vectors)
        for column in range(vectors.shape[1]):
            gradients = self._gradients(vectors[:, column])
            for block in self.blocks:
                result[block, column] = _effect(self._factors.of(block), gradients)
        return result

    def _gradients(self, coefficients: Tensor) -> list[Tensor]:
        """J^T c: sum_i c_i df(x_i)/dtheta of every trained tensor theta."""
        found: list[Tensor] = []
        for block in self.blocks:
            signed = coefficients[block, None]
            terms = self._factors.of(block)
            if not found:
                found = [product((signed * f.signal).T, f.hidden) for f in terms]
                continue
            for total, f in zip(found, terms, strict=True):
                total.add_(product((signed * f.signal).T, f.hidden))
        return found

    def _matvec(self, vector: Array) -> Array:
        return self._matmat(vector.reshape(-1, 1))[:, 0]

    def _matmat(self, vectors: Array) -> Array:
        if np.iscomplexobj(vectors):
            return self._matmat(vectors.real) + 1j * self._matmat(vectors.imag)
        given = torch.from_numpy(np.array(vectors, dtype=self.dtype, order="C"))
        found: Array = self.times(given.to(self._x.device)).cpu().numpy()
        return found

    def _adjoint(self) -> "GramOperator":
        return self

    def _transpose(self) -> "GramOperator":
        return self


def _effect(factors: Sequence[Factor], gradients: list[Tensor]) -> Tensor:
    """J d: what a change d of the parameters does to the predictions, to first order."""
    pairs = zip(factors, gradients, strict=True)
    effects = [(product(f.hidden, change.T) * f.signal).sum(dim=1) for f, change in pairs]
    return sum(effects[1:], effects[0])


def gram_operator(
    network: ReLUNetwork, x: Tensor, *, memory_budget: float | None = None
) -> GramOperator:
    """`empirical_gram` as an operator that multiplies with vectors: for n of 50,000 and more.

    K v = J (J^T v): the gradient with coefficients v is a change of the parameters, and its effect
    on the predictions is K v. Both come from the factors of the gradients, for two products of
    matrices per layer and vector, in all 2 n p multiplications for p parameters; no n^2 numbers
    are formed, nor the Jacobian's n p. The factors are kept if the budget allows it; else they
    are computed twice for each vector, block of inputs by block.

    Args:
        network: its convention decides which parameters are trained.
        x: inputs, shape (n, d), float32 or float64; a tensor or a NumPy array.
        memory_budget: bytes that factors, gradients and working memory may take together beside
            the inputs and the vectors.

    Returns:
        A symmetric positive semidefinite `scipy.sparse.linalg.LinearOperator`, shape (n, n), of
        the inputs' dtype: `operator @ v` for NumPy arrays of shape (n,) or (n, k), `times` for
        tensors; `scipy.sparse.linalg.eigsh` takes it, too.

    Raises:
        InputError: inputs that the network does not take, or a budget that not even few rows meet.

    Example:
        >>> x = sphere(count=300, dimension=5, seed=0).x
        >>> network = draw_zou(width=8, dimension=5, seed=0, depth=2, dtype=torch.float64)
        >>> operator = gram_operator(network, x)
        >>> operator.shape
        (300, 300)
        >>> vector = torch.ones(300, dtype=torch.float64)
        >>> found = torch.from_numpy(operator @ vector.numpy())
        >>> torch.allclose(found, empirical_gram(network, x) @ vector)
        True
    """
    x = check_inputs(network, x).detach()
    network = network.detached()
    check_finite("input", x)
    rows, kept = _affordable(network, len(x), memory_budget)
    workers = available_workers(x.device)
    return GramOperator(network, x, Factors(network, x, rows, workers=workers, kept=kept))


def _affordable(network: ReLUNetwork, count: int, budget: float | None) -> tuple[int, bool]:
    """Rows of a block, and whether the factors of all inputs are kept."""
    rows = min(_ROWS, count)
    whole = _operator_memory(network, count, rows, kept=True)
    if budget is None or whole <= budget:
        return rows, True
    while (needed := _operator_memory(network, count, rows, kept=False)) > budget:
        if rows <= LEAST_TILE:
            raise InputError(
                f"memory_budget is {budget:.3g} bytes; the gradients and {rows} rows of the "
                f"factors need {needed:.3g}."
            )
        rows = max(LEAST_TILE, rows // 2)
    return rows, False


def _operator_memory(network: ReLUNetwork, count: int, rows: int, *, kept: bool) -> int:
    """Bytes of factors, of a gradient and another that is added to it, and in passing."""
    workers = min(available_workers(network.outputs.device), -(-count // rows)) if kept else 1
    passing = workers * passing_per_input(network) * rows
    # A factor with coefficients or an effect, and both in the layouts that a product wants.
    scratch = 4 * max(*network.widths, network.dimension) * rows
    gradients = sum(parameter.numel() for parameter in network.parameters)
    largest = max(parameter.numel() for parameter in network.parameters)
    factors = kept_per_input(network) * count if kept else 0
    numbers = factors + gradients + largest + max(passing, scratch if kept else passing + scratch)
    return network.outputs.element_size() * numbers
