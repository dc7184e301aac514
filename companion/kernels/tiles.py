"""How large matrices are cut into tiles."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import check_type
from companion.base.machine import second_level_cache
from companion.base.workers import alone
from companion.errors import InputError

# Where a matrix may be written, tile by tile.
Out = Tensor | np.ndarray[Any, Any]

# No tile is smaller, however little memory there is, but where there are fewer inputs.
LEAST_TILE = 16
# Beyond these no product gets faster; a GPU is kept busy by one of them alone.
_LARGEST, _LARGEST_ON_GPU = 512, 2048
# Into so many blocks sets of inputs are cut for all processors to have work, if blocks of so many
# rows are left: those of smaller products cost more than the products.
_BLOCKS, _WORTH_A_BLOCK = 4, 128


class GramTile(NamedTuple):
    """A block of a Gram matrix.

    Attributes:
        rows: of the matrix that the block holds.
        columns: of the matrix that the block holds.
        values: shape (rows, columns).
    """

    rows: slice
    columns: slice
    values: Tensor


def row_blocks(count: int, rows: int) -> list[slice]:
    """Slices of about `rows`, all of nearly one length."""
    blocks = max(1, math.ceil(count / rows))
    ends = [count * block // blocks for block in range(blocks + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def tile_rows(count: int, device: torch.device) -> int:
    """Rows of a tile of n = `count` inputs, which never depend on how many threads there are."""
    if device.type != "cpu":
        return min(count, _LARGEST_ON_GPU)
    return min(count, _LARGEST, max(_WORTH_A_BLOCK, math.ceil(count / _BLOCKS)))


def cached_rows(buffers: int, like: Tensor) -> int:
    """Rows of a tile whose entries stay in the processor's cache while they are worked on.

    Args:
        buffers: numbers that are worked on at once for each entry of a tile.
        like: a tensor of the dtype and on the device of the work.
    """
    if like.device.type != "cpu":
        return _LARGEST_ON_GPU
    # The other half of the cache is for the inputs.
    entries = second_level_cache() / (2 * buffers * like.element_size())
    return max(64, int(math.sqrt(entries)) // 32 * 32)


def halved(rows: int) -> list[int]:
    """Sizes of tiles to be tried where memory is short, the largest first."""
    sizes = [rows]
    while sizes[-1] > LEAST_TILE:
        sizes.append(max(LEAST_TILE, sizes[-1] // 2))
    return sizes


def tile_pairs(
    rows: list[slice], columns: list[slice], symmetric: bool
) -> list[tuple[slice, slice]]:
    """The tiles row by row; of a symmetric matrix those of its lower triangle."""
    return [(i, j) for i in rows for j in columns if not symmetric or j.start <= i.start]


def tile_count(count: int, other: int | None, rows: int) -> int:
    """How many tiles of that many rows there are; of the lower triangle without `other`."""
    blocks = math.ceil(count / rows)
    return blocks * (blocks + 1) // 2 if other is None else blocks * math.ceil(other / rows)


def write_tiles(tiles: Iterable[GramTile], result: Tensor, symmetric: bool) -> Tensor:
    """The matrix, or stack of matrices, in which all tiles and their mirror images are written."""
    with alone():  # as what computes the tiles has the other processors
        for rows, columns, values in tiles:
            result[..., rows, columns] = values
            if symmetric and rows != columns:
                result[..., columns, rows] = values.mT
    return result


def destination(out: Out, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """`out` as a tensor of that shape, (1, n, k), which shares its memory.

    Raises:
        InputError: it is neither tensor nor array, cannot be written, or does not fit.
    """
    check_type("out", out, Tensor | np.ndarray, "a tensor or a NumPy array")
    if isinstance(out, np.ndarray):
        if not out.flags.writeable:
            raise InputError("out cannot be written; open the file with mode 'r+' or 'w+'.")
        try:
            out = torch.from_numpy(out)
        except (TypeError, ValueError):
            raise InputError(f"out is of {out.dtype}; it must be of {dtype}.") from None
    if out.shape != shape[1:] or out.dtype != dtype:
        raise InputError(
            f"out has shape {tuple(out.shape)} and {out.dtype}; the matrix has {shape[1:]} and "
            f"{dtype}."
        )
    return out.detach()[None]
