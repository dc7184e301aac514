"""Gram matrices of the gradients of a given network, exact and without a Jacobian."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from companion.base.arguments import check_finite
from companion.base.workers import alone, available_workers, in_order, results_alive
from companion.errors import InputError
from companion.kernels.factors import (
    Factor,
    Factors,
    kept_per_input,
    passing_per_input,
    rows_together,
)
from companion.kernels.tiles import (
    GramTile,
    Out,
    destination,
    halved,
    tile_count,
    tile_pairs,
    tile_rows,
    write_tiles,
)
from companion.matmul import chosen_product, product
from companion.networks import ReLUNetwork, check_inputs, check_network


def empirical_gram(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    memory_budget: float | None = None,
    out: Out | None = None,
) -> Tensor:
    """Gram matrix of the gradients df(x_i)/dtheta in all trained parameters: the empirical NTK.

    Exact and without a Jacobian: K = sum_l (H_{l-1} H_{l-1}^T) o (B_l B_l^T), with the inputs of
    layer l and its back-propagated signals, since each gradient is an outer product. Of
    `draw_du` with one layer it is H of Du et al. (2019), section 3; with `trained="all"` H + G of
    section 3.2.

    Its tiles are computed by as many threads as `torch.get_num_threads` says, each by one of
    them: the numbers are the same, however many there are.

    Args:
        network: its convention decides which parameters are trained.
        x: inputs, shape (n, d), float32 or float64; a tensor or a NumPy array.
        other: inputs, shape (k, d), for the cross matrix; without it the matrix of x with itself,
            of which only one triangle is computed.
        memory_budget: bytes that result and working memory may take together; without it, what
            `gram_memory` says.
        out: where the matrix is written, tile by tile: a tensor, or a NumPy array such as
            `numpy.memmap` gives, of the result's shape and the inputs' dtype. The budget is then
            for the working memory alone.

    Returns:
        Shape (n, n), symmetric positive semidefinite, or (n, k). It shares the memory of `out`.

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
    return _layer_sums(network, x, other, 1, memory_budget, out)[0]


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


def gram_tiles(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    memory_budget: float | None = None,
) -> Iterator[GramTile]:
    """`empirical_gram` tile by tile, for matrices that no memory holds.

    Same arguments and errors, raised at once; the budget is for the working memory alone.

    Yields:
        (rows, columns, values): two slices, and the block of the matrix that they cut out. Without
        `other`, tiles cover the lower triangle and the diagonal.

    Example:
        >>> x = sphere(count=300, dimension=5, seed=0).x
        >>> network = draw_zou(width=8, dimension=5, seed=0, depth=2, dtype=torch.float64)
        >>> trace = 0.0
        >>> for rows, columns, values in gram_tiles(network, x, memory_budget=2**22):
        ...     trace += float(values.trace()) if rows == columns else 0.0
        >>> math.isclose(trace, float(empirical_gram(network, x).trace()))
        True
    """
    network, x, y = _checked(network, x, other)
    plan = _plan(network, len(x), None if y is None else len(y), 1, memory_budget, result=0)
    tiles = _tiles(network, x, y, 1, plan)
    return (GramTile(rows, columns, values[0]) for rows, columns, values in tiles)


def gram_memory(
    network: ReLUNetwork, count: int, other: int | None = None, matrices: int = 1
) -> int:
    """Bytes that `empirical_gram` takes for n = `count` inputs, said before it runs.

    Every thread has its own tiles; there are as many as `torch.get_num_threads` says.

    Args:
        network: whose Gram matrix.
        count: n, of inputs.
        other: k, for the cross matrix.
        matrices: how many are kept: 1 for `empirical_gram`, one per trained tensor for
            `layer_grams`.

    Example:
        >>> network = draw_zou(width=512, dimension=50, seed=0, depth=5)
        >>> 20e6 < gram_memory(network, count=1000) < 40e6
        True
    """
    check_network(network)
    result = network.outputs.element_size() * matrices * count * (other or count)
    plan = _plan(network, count, other, matrices, None, result)
    return result + _working_memory(network, count, other, matrices, plan)


@dataclass(frozen=True)
class _Plan:
    """Rows of a tile, how many are computed at a time, and whether all factors are kept."""

    rows: int
    workers: int
    whole: bool


def _plan(
    network: ReLUNetwork,
    count: int,
    other: int | None,
    matrices: int,
    budget: float | None,
    result: int,
) -> _Plan:
    """What one thread has memory for, all factors kept if possible; then as many as have it."""
    rows = tile_rows(max(count, other or 0), network.outputs.device)

    def needed(plan: _Plan) -> int:
        return result + _working_memory(network, count, other, matrices, plan)

    plans = [_Plan(rows, 1, True), *(_Plan(size, 1, False) for size in halved(rows))]
    plan = next((plan for plan in plans if budget is None or needed(plan) <= budget), None)
    if plan is None:
        raise InputError(
            f"memory_budget is {budget:.3g} bytes; the matrix of {count} x {other or count} "
            f"inputs and one tile of {plans[-1].rows} rows need {needed(plans[-1]):.3g}. "
            "gram_tiles gives the matrix tile by tile, out=... writes it into a file, and "
            "gram_operator multiplies with it without forming it."
        )
    many = range(available_workers(network.outputs.device), 0, -1)
    several = (replace(plan, workers=workers) for workers in many)
    return next(plan for plan in several if budget is None or needed(plan) <= budget)


def _working_memory(
    network: ReLUNetwork, count: int, other: int | None, matrices: int, plan: _Plan
) -> int:
    """Bytes of factors and tiles, beside the result."""
    left, right = min(plan.rows, count), min(plan.rows, other or count)
    passing, tile = passing_per_input(network), left * right
    workers = min(plan.workers, total := tile_count(count, other, plan.rows))
    tiles = (workers * 2 + results_alive(workers, total) * matrices) * tile
    if not plan.whole:
        numbers = workers * (left + right) * passing + tiles
    else:
        together = max(rows_together(plan.rows, n) for n in (count, other or 0))
        kept = kept_per_input(network) * (count + (other or 0))
        numbers = kept + max(tiles, plan.workers * together * passing)
    return network.outputs.element_size() * numbers


def _checked(
    network: ReLUNetwork, x: Tensor, other: Tensor | None
) -> tuple[ReLUNetwork, Tensor, Tensor | None]:
    """The arguments without derivatives, as tensors that fit each other."""
    x = check_inputs(network, x)
    y = None if other is None else check_inputs(network, other, "other").detach()
    return network.detached(), x.detach(), y


def _layer_sums(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None,
    matrices: int,
    memory_budget: float | None,
    out: Out | None = None,
) -> Tensor:
    """The terms of the empirical NTK, or with one matrix their sum; shape (matrices, n, k)."""
    network, x, y = _checked(network, x, other)
    shape = matrices, len(x), len(x if y is None else y)
    given = None if out is None else destination(out, shape, x.dtype)
    owned = x.element_size() * shape[0] * shape[1] * shape[2] if given is None else 0
    plan = _plan(network, len(x), None if y is None else len(y), matrices, memory_budget, owned)
    tiles = _tiles(network, x, y, matrices, plan)
    return write_tiles(tiles, x.new_empty(shape) if given is None else given, y is None)


def _tiles(
    network: ReLUNetwork, x: Tensor, y: Tensor | None, matrices: int, plan: _Plan
) -> Iterator[GramTile]:
    """Tiles with `values` of shape (matrices, r, c); of the lower triangle without y."""
    with alone():
        for inputs in (x,) if y is None else (x, y):
            check_finite("input", inputs)
    if x.device.type == "cpu":
        chosen_product()  # is measured here, where all threads are free, if it ever is
    left = right = Factors(network, x, plan.rows, workers=plan.workers, kept=plan.whole)
    if y is not None or not plan.whole:  # what is not kept is kept for a row of tiles on the left
        columns = x if y is None else y
        right = Factors(network, columns, plan.rows, workers=plan.workers, kept=plan.whole)

    def compute(tile: tuple[slice, slice]) -> GramTile:
        i, j = tile
        values = _terms(left.of(i), right.of(j), matrices)
        if y is None and i == j:
            _make_symmetric(values)
        return GramTile(i, j, values)

    pairs = tile_pairs(left.blocks, right.blocks, symmetric=y is None)
    return in_order(compute, pairs, plan.workers)


def _terms(left: Sequence[Factor], right: Sequence[Factor], matrices: int) -> Tensor:
    hidden = left[0].hidden
    sums = hidden.new_zeros(matrices, len(hidden), len(right[0].hidden))
    for layer, (a, b) in enumerate(zip(left, right, strict=True)):
        term = sums[layer % matrices]  # with one matrix all terms go to the same
        term.addcmul_(product(a.hidden, b.hidden.T), product(a.signal, b.signal.T))
    return sums


def _make_symmetric(matrices: Tensor) -> None:
    """A product of a matrix with its own transpose is symmetric only up to rounding."""
    for square in matrices.mul_(0.5):
        square.copy_(square + square.mT)
