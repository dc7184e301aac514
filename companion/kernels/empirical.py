"""Gram matrices of the gradients of a given network, exact and without a Jacobian."""

from dataclasses import dataclass

from torch import Tensor

from companion.base.arguments import check_finite
from companion.errors import InputError
from companion.kernels.tiles import LEAST_TILE, row_blocks
from companion.matmul import product
from companion.networks import ReLUNetwork, check_inputs, check_network


def empirical_gram(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    memory_budget: float | None = None,
) -> Tensor:
    """Gram matrix of the gradients df(x_i)/dtheta in all trained parameters: the empirical NTK.

    Exact and without a Jacobian: K = sum_l (H_{l-1} H_{l-1}^T) o (B_l B_l^T), with the inputs of
    layer l and its back-propagated signals, since each gradient is an outer product. Of
    `draw_du` with one layer it is H of Du et al. (2019), section 3; with `trained="all"` H + G of
    section 3.2.

    Args:
        network: its convention decides which parameters are trained.
        x: inputs, shape (n, d), float32 or float64.
        other: inputs, shape (k, d), for the cross matrix; without it the matrix of x with itself,
            of which only one triangle is computed.
        memory_budget: bytes that result and working memory may take together; without it, what
            `gram_memory` says.

    Returns:
        Shape (n, n), symmetric positive semidefinite, or (n, k).

    Raises:
        InputError: shapes or dtypes that do not fit, or a budget that not even small tiles meet.

    Example:
        >>> x = sphere(count=3, dimension=2, seed=0).x
        >>> network = draw_zou(width=4, dimension=2, seed=0, depth=3, dtype=torch.float64)
        >>> ntk = empirical_gram(network, x)
        >>> ntk.shape
        torch.Size([3, 3])
        >>> torch.allclose(ntk, sum(layer_grams(network, x)))
        True
    """
    return _layer_sums(network, x, other, 1, memory_budget)[0]


def layer_grams(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    memory_budget: float | None = None,
) -> list[Tensor]:
    """The terms of `empirical_gram`, one for each trained tensor; same arguments and errors.

    G^(h) of Du et al. (2019), section 6; K^(l) of Zou et al. and Chen et al.
    """
    check_network(network)
    return list(_layer_sums(network, x, other, len(network.parameters), memory_budget))


def gram_memory(
    network: ReLUNetwork, count: int, other: int | None = None, matrices: int = 1
) -> int:
    """Bytes that `empirical_gram` takes for n = `count` inputs, said before it runs.

    Args:
        network: whose Gram matrix.
        count: n, of inputs.
        other: k, for the cross matrix.
        matrices: how many are kept: 1 for `empirical_gram`, one per trained tensor for
            `layer_grams`.

    Example:
        >>> gram_memory(draw_zou(width=512, dimension=50, seed=0, depth=5), count=1000) / 1e6
        30.624
    """
    check_network(network)
    columns = other or count
    kept = _numbers_per_input(network) * (count + (other or 0))
    tile = min(_TILE[0], count) * min(_TILE[1], columns)
    return network.outputs.element_size() * (matrices * count * columns + kept + 2 * tile)


def _numbers_per_input(network: ReLUNetwork) -> int:
    """Hidden outputs, gates where they are apart, signals, and one of either in passing."""
    copies = 2 if network.on_at_zero else 1
    if network.trained == "output":  # there are no signals
        return copies * sum(network.widths)
    return (copies + 1) * sum(network.widths) + 2 * max(network.widths)


# Rows and columns of a tile: its products stay in the cache, and with few rows little of the
# matrix's other triangle is computed along.
_TILE = (256, 2048)


def _layer_sums(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None,
    matrices: int,
    memory_budget: float | None,
) -> Tensor:
    """The terms of the empirical NTK, or with one matrix their sum; shape (matrices, n, k)."""
    for name, inputs in (("x", x), ("other", x if other is None else other)):
        check_inputs(network, inputs, name)
    network, x = network.detached(), x.detach()
    y = x if other is None else other.detach()
    tile = _tiling(network, len(x), None if other is None else len(y), matrices, memory_budget)
    for inputs in (x, y):
        check_finite("input", inputs)
    left = _Factors(network, x, tile.whole)
    right = left if other is None else _Factors(network, y, tile.whole)
    sums = x.new_zeros(matrices, len(x), len(y))
    for i in row_blocks(len(x), tile.rows):
        factors = left[i]
        for j in row_blocks(i.stop if other is None else len(y), tile.columns):
            for layer, (a, b) in enumerate(zip(factors, right[j], strict=True)):
                term = sums[layer % matrices, i, j]  # with one matrix all terms go to the same
                term.addcmul_(product(a.hidden, b.hidden.T), product(a.signal, b.signal.T))
        if other is None:
            _mirror(sums, i, tile.rows)
    return sums


def _mirror(sums: Tensor, i: slice, rows: int) -> None:
    """Make rows `i` symmetric: what is left of the diagonal goes above it, block by block."""
    for j in row_blocks(i.start, rows):
        sums[:, j, i] = sums[:, i, j].mT
    # A product of a matrix with its own transpose is symmetric only up to rounding.
    for square in sums[:, i, i].mul_(0.5):
        square.copy_(square + square.mT)


@dataclass(frozen=True)
class _Factor:
    """Row i of either is a factor of the gradient df(x_i)/dW_l, an outer product."""

    hidden: Tensor
    signal: Tensor


class _Factors:
    """The factors of all layers for blocks of inputs: all kept, or computed where they are used."""

    def __init__(self, network: ReLUNetwork, x: Tensor, whole: bool) -> None:
        self._network, self._x = network, x
        self._kept = self._of(x) if whole else None

    def __getitem__(self, rows: slice) -> list[_Factor]:
        if self._kept is None:
            return self._of(self._x[rows])
        return [_Factor(factor.hidden[rows], factor.signal[rows]) for factor in self._kept]

    def _of(self, x: Tensor) -> list[_Factor]:
        forward = self._network.run(x)
        factors = []
        if self._network.trained != "output":
            signals = list(self._network.signals(forward))[::-1]
            factors = [_Factor(*pair) for pair in zip(forward.hidden[:-1], signals, strict=True)]
        if self._network.trained != "hidden":
            gain = x.new_full((len(x), 1), self._network.output_gain)
            factors.append(_Factor(forward.hidden[-1], gain))
        return factors


@dataclass(frozen=True)
class _Tile:
    """Rows and columns of a tile, and whether the factors of all inputs are kept."""

    rows: int
    columns: int
    whole: bool


def _tiling(
    network: ReLUNetwork, count: int, other: int | None, matrices: int, budget: float | None
) -> _Tile:
    columns = other or count
    if budget is None or gram_memory(network, count, other, matrices) <= budget:
        return _Tile(*_TILE, whole=True)
    size, result, rows = network.outputs.element_size(), matrices * count * columns, _TILE[0]
    while True:
        left, right = min(rows, count), min(rows, columns)
        factors = (left + right) * _numbers_per_input(network)
        needed = size * (result + factors + 2 * left * right)
        if needed <= budget:
            return _Tile(rows, rows, whole=False)
        if rows <= LEAST_TILE:
            raise InputError(
                f"memory_budget is {budget:.3g} bytes; the matrix of {count} x {columns} "
                f"inputs and one tile of {rows} rows need {needed:.3g}."
            )
        rows //= 2
