"""Kernel regression with the papers' kernels: where training with the quadratic loss ends.

Gradient flow on the quadratic loss under a kernel that does not move, from f = 0, ends at the
function of least norm that takes the labels, f(x) = k(x, X) K^-1 y: Jacot et al. (2018), section 5,
and Du et al. (2019), equation (6), for its limit on the inputs themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from companion.base.arguments import check_finite, positive, real, tensor, whole
from companion.errors import InputError, one_of
from companion.kernels import empirical_gram, infinite_width_nngp, infinite_width_ntk
from companion.kernels.infinite import Parameterisation
from companion.kernels.tiles import row_blocks
from companion.networks import ReLUNetwork, Trained

# A function of inputs, shape (n, d), and others, shape (k, d), or None for the first with itself.
Kernel = Callable[[Tensor, Tensor | None], Tensor]
# Rows of K at a time, where it is not kept; and up to how many rows it is factored.
_ROWS, _FACTORED = 512, 8192


@dataclass(frozen=True)
class _Fit:
    """What `fit` found: x, y in float64, and alpha with (K + ridge I) alpha = y, in float64."""

    x: Tensor
    y: Tensor
    coefficients: Tensor
    residual: float


class KernelRegression:
    """f(x) = k(x, X) (K + ridge I)^-1 y, for the kernels of infinite width or of a network.

    With ridge 0 it is the function of least norm that takes the labels at the inputs. Systems are
    solved in float64: up to 8,192 inputs by a Cholesky factor, for which K is copied in float64;
    beyond by conjugate gradients on K as it is, or, where `memory_budget` has no room for it, on
    512 of its rows at a time, each of which is computed anew for every step.

    Args:
        kernel: `ntk` or `nngp`, of infinite width; a network, for its empirical kernel; or a
            function of two sets of inputs, shapes (n, d) and (k, d), that gives shape (n, k), and
            of one set and None the symmetric matrix.
        depth: D, of `ntk` and `nngp`.
        parameterisation: of `ntk` and `nngp`: see `infinite_width_ntk`.
        trained: of `ntk`.
        ridge: added to the diagonal of K, at least 0: `alpha` of scikit-learn's KernelRidge.
        solver: `cholesky` or `cg`; without it, by the number of inputs.
        tolerance: of conjugate gradients: the residual's norm as a share of the labels'.
        most_steps: of conjugate gradients.
        memory_budget: bytes for K in conjugate gradients; without it K is kept.

    Raises:
        InputError: a kernel, parameterisation or solver that there is not, or a number out of
            range.

    Example:
        >>> data = sphere(count=20, dimension=3, seed=0)
        >>> model = KernelRegression("ntk", depth=2).fit(data.x, data.y)
        >>> torch.allclose(model.predict(data.x), data.y)
        True
    """

    def __init__(
        self,
        kernel: Literal["ntk", "nngp"] | ReLUNetwork | Kernel,
        *,
        depth: int | None = None,
        parameterisation: Parameterisation = "zou",
        trained: Trained | None = None,
        ridge: float = 0.0,
        solver: Literal["cholesky", "cg"] | None = None,
        tolerance: float = 1e-8,
        most_steps: int = 10_000,
        memory_budget: float | None = None,
    ) -> None:
        self.ridge = real("ridge", ridge)
        if not 0 <= self.ridge < float("inf"):
            raise InputError(f"ridge is {self.ridge}; it must be a number of at least 0.")
        self._kernel = _kernel_of(kernel, depth, parameterisation, trained)
        self.solver = solver if solver is None else one_of("solver", solver, ("cholesky", "cg"))
        self.tolerance = positive("tolerance", tolerance)
        self.most_steps = whole("most_steps", most_steps, least=1)
        self.memory_budget = (
            None if memory_budget is None else positive("memory_budget", memory_budget)
        )
        self._found: _Fit | None = None

    def fit(self, x: Tensor, y: Tensor) -> "KernelRegression":
        """Find the coefficients for inputs, shape (n, d), and labels, shape (n,), or arrays.

        Returns:
            Itself. `residual` tells how well the system is solved.

        Raises:
            InputError: inputs that the kernel does not take, labels that do not fit, or a matrix
                that is singular to rounding, as with equal inputs, at ridge 0.
        """
        x = tensor("x", x).detach()
        y = tensor("y", y, x).detach()
        if x.dim() != 2 or y.shape != x.shape[:1] or len(y) == 0:
            raise InputError(
                f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; (n, d) and (n,) are needed."
            )
        check_finite("input", x)
        check_finite("label", y)
        exact = y.double()
        if (self.solver or ("cholesky" if len(x) <= _FACTORED else "cg")) == "cholesky":
            times, coefficients = self._factored(x, exact)
        else:
            times, coefficients = self._by_gradients(x, exact)
        off = times(coefficients) + self.ridge * coefficients - exact
        size = float(torch.linalg.vector_norm(exact)) or 1.0
        self._found = _Fit(x, exact, coefficients, float(torch.linalg.vector_norm(off)) / size)
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Values f at inputs of shape (k, d), or an array: shape (k,).

        It takes some rows of k(x, X) at a time.

        Raises:
            InputError: inputs that do not fit, or nothing has been fitted.
        """
        found = self._fitted()
        x = tensor("x", x, found.x).detach()
        if (
            x.dim() != 2
            or len(x) == 0
            or x.shape[1] != found.x.shape[1]
            or x.dtype != found.x.dtype
        ):
            raise InputError(
                f"x has shape {tuple(x.shape)}, {x.dtype}; (k, {found.x.shape[1]}), "
                f"{found.x.dtype} is needed, as was fitted."
            )
        rows = [x[block] for block in row_blocks(len(x), _ROWS)]
        parts = [self._kernel(some, found.x).double() @ found.coefficients for some in rows]
        return torch.cat(parts).to(x.dtype)

    def error(self, x: Tensor, y: Tensor) -> float:
        """Share of inputs not on the right side, y f <= 0, for labels y, shape (k,), or arrays.

        Raises:
            InputError: as of `predict`, or labels of another shape.
        """
        predictions = self.predict(x)
        y = tensor("y", y, predictions)
        if y.shape != predictions.shape:
            raise InputError(
                f"y has shape {tuple(y.shape)}; ({len(predictions)},) is needed, as x has rows."
            )
        return float((~(predictions * y > 0)).double().mean())

    def norm(self) -> float:
        """Squared norm of f in the space that the kernel reproduces; y K^-1 y at ridge 0.

        Raises:
            InputError: nothing has been fitted.
        """
        found = self._fitted()
        return float(found.coefficients @ (found.y - self.ridge * found.coefficients))

    @property
    def residual(self) -> float:
        """||(K + ridge I) alpha - y|| / ||y||, of the coefficients found."""
        return self._fitted().residual

    @property
    def coefficients(self) -> Tensor:
        """The vector alpha = (K + ridge I)^-1 y, in float64, shape (n,)."""
        return self._fitted().coefficients

    def _fitted(self) -> _Fit:
        if self._found is None:
            raise InputError("nothing has been fitted; call fit(x, y) first.")
        return self._found

    def _factored(self, x: Tensor, y: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """K's products, and the coefficients by a Cholesky factor."""
        gram = self._kernel(x, None)
        # By columns, so that LAPACK works in place.
        factor = torch.empty_like(gram, dtype=torch.float64).mT.copy_(gram)
        factor.diagonal().add_(self.ridge)
        failed = torch.empty((), dtype=torch.int32, device=gram.device)
        torch.linalg.cholesky_ex(factor, out=(factor, failed))
        if int(failed):
            raise InputError(
                "the kernel matrix is singular to rounding, as with equal or nearly equal inputs; "
                "give a ridge, or leave such inputs out."
            )
        return partial(_product, gram), torch.cholesky_solve(y[:, None], factor)[:, 0]

    def _by_gradients(self, x: Tensor, y: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """K's products, and the coefficients by conjugate gradients, as good as they get."""
        times = partial(self._by_rows, x)
        if self.memory_budget is None or len(x) ** 2 * x.element_size() <= self.memory_budget:
            times = partial(_product, self._kernel(x, None))

        def shifted(vector: np.ndarray) -> np.ndarray:
            column = torch.from_numpy(vector).to(y)
            image: np.ndarray = (times(column) + self.ridge * column).cpu().numpy()
            return image

        operator = LinearOperator((len(x), len(x)), matvec=shifted, dtype=float)
        found, _ = cg(operator, y.cpu().numpy(), rtol=self.tolerance, maxiter=self.most_steps)
        return times, torch.from_numpy(found).to(y)

    def _by_rows(self, x: Tensor, vector: Tensor) -> Tensor:
        blocks = row_blocks(len(x), _ROWS)
        return torch.cat([_product(self._kernel(x[rows], x), vector) for rows in blocks])


def _product(gram: Tensor, vector: Tensor) -> Tensor:
    """K v in float64, some rows at a time, so that K is not copied whole."""
    parts = [rows.double() @ vector for rows in torch.split(gram, _ROWS)]
    return torch.cat(parts)


def _kernel_of(
    kernel: str | ReLUNetwork | Kernel,
    depth: int | None,
    parameterisation: Parameterisation,
    trained: Trained | None,
) -> Kernel:
    """The function of inputs that was asked for."""
    if isinstance(kernel, ReLUNetwork):
        return partial(empirical_gram, kernel)
    if callable(kernel):
        return kernel
    if not isinstance(kernel, str):
        raise InputError(f"kernel is {kernel!r}; give 'ntk', 'nngp', a network or a function.")
    if depth is None:
        raise InputError(f"depth is missing; the kernel {kernel} of infinite width needs it.")
    if one_of("kernel", kernel, ("ntk", "nngp")) == "nngp":
        return partial(infinite_width_nngp, depth=depth, parameterisation=parameterisation)
    return partial(
        infinite_width_ntk, depth=depth, parameterisation=parameterisation, trained=trained
    )
