"""What the infinite-width kernels share: pairs of inputs of any norm, tile by tile, in a budget."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import torch
from torch import Tensor

from companion.base.arguments import check_finite, tensor
from companion.base.workers import alone, available_workers, in_order, results_alive
from companion.datasets import check_sizes, rows_in_passing
from companion.errors import InputError
from companion.kernels import correlations
from companion.kernels.tiles import (
    GramTile,
    cached_rows,
    halved,
    row_blocks,
    tile_count,
    tile_pairs,
    tile_rows,
)
from companion.matmul import chosen_product, product


@dataclass(frozen=True)
class Limit:
    """One of the kernels.

    Attributes:
        depth: D.
        matrices: how many there are in a tile.
        terms: how many of them `correlations.fill` fills.
        separate: whether it keeps terms apart.
        finish: makes of the tile, shape (matrices, r, c), and rho^(D), shape (r, c), the kernels
            of inputs of norm 1, in place.
    """

    depth: int
    matrices: int
    terms: int
    separate: bool
    finish: Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class Directions:
    """Inputs as unit rows, shape (n, d), and their norms, shape (n,); None where all are 1."""

    rows: Tensor
    norms: Tensor | None

    @classmethod
    def of(cls, x: Tensor) -> "Directions":
        """Rows that have norm 1 to the precision of their dtype are kept as they are.

        Norms are computed in float64, whatever the dtype, and far from 1 after division by a power
        of 2, so that no square overflows. An input that is 0 gets a direction that is 0, and its
        norm makes the kernel 0.
        """
        norms = torch.cat([_norms(x[some].double()) for some in _some_rows(x)])
        if bool(((norms < 1e-100) | (norms > 1e100)).any()):
            norms = torch.cat([_norms_by_parts(x[some].double()) for some in _some_rows(x)])
        off = (norms - 1).abs() > 4 * torch.finfo(x.dtype).eps
        if not bool(off.any()):
            return cls(x, None)
        norms = norms.where(off, 1)
        divisors, rows = norms.where(norms > 0, 1)[:, None], torch.empty_like(x)
        for some in _some_rows(x):
            torch.div(x[some], divisors[some], out=rows[some])  # in float64, then rounded
        return cls(rows, norms.to(x.dtype))

    @property
    def copied(self) -> int:
        """Bytes that they take beside the inputs."""
        return 0 if self.norms is None else self.rows.nbytes + self.norms.nbytes


def _some_rows(x: Tensor) -> list[slice]:
    """Blocks small enough to be copied in float64."""
    return row_blocks(len(x), rows_in_passing(x))


def _norms(rows: Tensor) -> Tensor:
    """Of rows in float64."""
    return rows.square().sum(dim=1).sqrt()


def _norms_by_parts(rows: Tensor) -> Tensor:
    """Norms whose squares are too large or too small for a number, after a power of 2 each."""
    exponents = torch.frexp(rows.abs().amax(dim=1)).exponent.double()
    exponents = exponents.where(exponents.abs() > 100, 0).clamp_(-1000, 1000)
    return torch.ldexp(_norms(torch.ldexp(rows, -exponents[:, None])), exponents)


def pair_inputs(x: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Both sets of inputs as tensors that fit each other.

    Raises:
        InputError: they are none, do not fit, or hold a number that is not finite.
    """
    x = _points("x", x, None)
    if other is None:
        return x, None
    y = _points("other", other, x)
    if (x.shape[1], x.dtype) != (y.shape[1], y.dtype):
        raise InputError(
            f"x has inputs of length {x.shape[1]}, {x.dtype}, but other of length {y.shape[1]}, "
            f"{y.dtype}; give both alike."
        )
    return x, y


def _points(name: str, points: Tensor, like: Tensor | None) -> Tensor:
    x = tensor(name, points, like).detach()
    if x.dim() != 2 or 0 in x.shape:
        raise InputError(f"inputs have shape {tuple(x.shape)}; they must be of (n, d).")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"inputs are {x.dtype}; they must be torch.float32 or torch.float64.")
    with alone():
        check_finite("input", x)
    return x


@dataclass(frozen=True)
class PairPlan:
    """Rows of a tile and how many are computed at a time."""

    rows: int
    workers: int


def plan_pairs(
    x: Tensor, y: Tensor | None, matrices: int, kept: int, budget: float | None = None
) -> PairPlan:
    """The largest tiles that one thread has memory for, and then as many threads as have it.

    Args:
        x: inputs, shape (n, d).
        y: inputs, shape (k, d), for the cross matrix.
        matrices: in a tile.
        kept: bytes of the budget that others take: the result, say.
        budget: bytes; without it all that are of use.

    Raises:
        InputError: the budget does not suffice for the smallest tile.
    """
    columns = len(x if y is None else y)
    fitting = cached_rows(correlations.BUFFERS + matrices, x)
    rows = min(fitting, tile_rows(max(len(x), columns), x.device))

    def needed(plan: PairPlan) -> int:
        # The inputs' norms are looked at before there are pairs.
        of_norms = max(directions_memory(x), 0 if y is None else directions_memory(y))
        return max(kept + pairs_memory(x, y, matrices, plan), of_norms)

    plans = [PairPlan(size, 1) for size in halved(rows)]
    plan = next((plan for plan in plans if budget is None or needed(plan) <= budget), None)
    if plan is None:
        raise InputError(
            f"memory_budget is {budget:.3g} bytes; {matrices} matrices of {len(x)} x {columns} "
            f"inputs and one tile of {plans[-1].rows} rows need {needed(plans[-1]):.3g}. "
            "infinite_width_tiles gives the matrix tile by tile, and out=... writes it into a file."
        )
    many = (PairPlan(plan.rows, workers) for workers in range(available_workers(x.device), 0, -1))
    return next(plan for plan in many if budget is None or needed(plan) <= budget)


def pairs_memory(x: Tensor, y: Tensor | None, matrices: int, plan: PairPlan) -> int:
    """Bytes of the tiles, of their buffers, and of what they take if all inputs are close."""
    total = tile_count(len(x), None if y is None else len(y), plan.rows)
    workers, entries = min(plan.workers, total), _entries(x, x if y is None else y, plan)
    index = 2 * torch.int64.itemsize + torch.bool.itemsize
    differences = 3 * (2 * entries + x.shape[1]) + 5 * entries
    results = results_alive(workers, total) * matrices * entries
    numbers = workers * (correlations.BUFFERS * entries + differences) + results
    return x.element_size() * numbers + workers * index * entries


def _entries(x: Tensor, y: Tensor, plan: PairPlan) -> int:
    return min(len(x), plan.rows) * min(len(y), plan.rows)


def directions_memory(x: Tensor) -> int:
    """Bytes that `Directions.of` takes in passing, for inputs of shape (n, d)."""
    rows = min(len(x), rows_in_passing(x))
    return torch.float64.itemsize * (3 * rows * (x.shape[1] + 2) + 3 * len(x))


def pair_tiles(
    x: Directions, y: Directions | None, limit: Limit, plan: PairPlan
) -> Iterator[GramTile]:
    """The kernels' tiles, `values` of shape (matrices, r, c); of the lower triangle without y."""
    columns = x if y is None else y
    fill = correlations.filling_on(x.rows.device)
    if x.rows.device.type == "cpu":
        chosen_product()  # is measured here, where all threads are free, if it ever is
    spaces: SimpleQueue[Tensor] = SimpleQueue()
    left, right = (row_blocks(len(inputs.rows), plan.rows) for inputs in (x, columns))
    tiles = tile_pairs(left, right, symmetric=y is None)
    for _ in range(min(plan.workers, len(tiles))):
        entries = _entries(x.rows, columns.rows, plan)
        spaces.put(x.rows.new_empty(correlations.BUFFERS - 1, entries))

    def compute(tile: tuple[slice, slice]) -> GramTile:
        (i, j), space = tile, spaces.get()
        shape = (i.stop - i.start, j.stop - j.start)
        values = space.new_empty(limit.matrices, *shape)
        left, right, terms = x.rows[i], columns.rows[j], values[: limit.terms]
        buffers = [product(left, right.T), *space[:, : math.prod(shape)].view(-1, *shape)]
        diagonal = y is None and i == j
        fill(left, right, diagonal, buffers, terms, limit.depth, limit.separate)
        terms.mul_(0.5)
        limit.finish(values, buffers[3])
        _scale(values, x.norms, i, columns.norms, j)
        spaces.put(space)
        return GramTile(i, j, values)

    return in_order(compute, tiles, plan.workers)


def _scale(values: Tensor, left: Tensor | None, i: slice, right: Tensor | None, j: slice) -> None:
    """Multiply the kernels of unit inputs by the inputs' norms."""
    if left is not None and right is not None:
        # Their product first, as it is the same for (i, j) and (j, i).
        values.mul_(left[i, None] * right[j])
    elif left is not None:
        values.mul_(left[i, None])
    elif right is not None:
        values.mul_(right[j])


def checked_depth(depth: int) -> int:
    """D as an int that is at least 1, or `InputError`."""
    return check_sizes(depth=depth)[0]
