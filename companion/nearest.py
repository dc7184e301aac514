"""How far apart inputs lie: the separations that the theorems on deep networks ask for."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.base.arguments import tensor
from companion.datasets import unit_rows
from companion.errors import InputError

# Rows and columns of the tile of inner products that is held at a time.
_TILE = 1024


@dataclass(frozen=True)
class Separation:
    """Distances of inputs to the nearest ones, of another label and of their own.

    Attributes:
        across: distance of each input to its nearest of another label, shape (n,), float64;
            infinite where there is none.
        within: the same to the nearest other input of its own label.
        across_pair: the closest two of different labels, or None.
        within_pair: the closest two of equal labels, or None.
        duplicates: groups of equal inputs, the members of each in order.
    """

    across: Tensor
    within: Tensor
    across_pair: tuple[int, int] | None
    within_pair: tuple[int, int] | None
    duplicates: tuple[tuple[int, ...], ...]

    @property
    def cross_class(self) -> float:
        """The least distance of inputs of different labels: phi of Zou et al."""
        return float(self.across.min())

    @property
    def all_pairs(self) -> float:
        """The least distance of any two inputs, which Allen-Zhu et al. bound from below."""
        return min(self.cross_class, float(self.within.min()))


def separation(x: Tensor, y: Tensor) -> Separation:
    """The separation of labelled inputs: Zou et al. (2020), Assumption 4.2, and all pairs.

    Inner products are taken in float32, a tile at a time, and what could be the least by them is
    settled in float64: the least distances and their pairs are exact to float64, that of each
    other input may exceed its least by what float32 cannot tell, 1e-4 in its square.

    Args:
        x: inputs, shape (n, d), each of norm 1, n at least 2, a tensor or a NumPy array.
        y: labels, shape (n,), of any kind; equal ones make a class.

    Raises:
        InputError: shapes that do not fit, fewer than two inputs, or one that is not of norm 1.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, 1.0]])
        >>> found = separation(x, torch.tensor([1, -1, 1, 1]))
        >>> round(found.cross_class, 4), found.across_pair, found.all_pairs, found.duplicates
        (0.6325, (0, 1), 0.0, ((2, 3),))
    """
    rows, labels = unit_rows(x), tensor("y", y)
    if len(rows) < 2 or labels.shape != rows.shape[:1]:
        raise InputError(
            f"inputs have shape {tuple(rows.shape)} and labels {tuple(labels.shape)}; (n, d) and "
            "(n,) with n at least 2 are needed."
        )
    other, own = _nearest(rows, labels)
    across, across_pair = _settled(rows, labels, other, own=False)
    within, within_pair = _settled(rows, labels, own, own=True)
    return Separation(across, within, across_pair, within_pair, _duplicates(rows))


@dataclass(frozen=True)
class _Nearest:
    """The largest inner product of each input with certain others, and whose it is."""

    product: Tensor
    whose: Tensor

    @classmethod
    def none(cls, count: int, device: torch.device) -> "_Nearest":
        """Before any was seen."""
        product = torch.full((count,), -math.inf, device=device)
        return cls(product, torch.zeros(count, dtype=torch.long, device=device))

    def see(self, tile: Tensor, start: int, offset: int) -> None:
        """Take in the products of the inputs from `start` with those from `offset`."""
        highest, mine = tile.max(dim=1), slice(start, start + len(tile))
        better = highest.values > self.product[mine]
        self.whose[mine] = torch.where(better, highest.indices + offset, self.whose[mine])
        self.product[mine] = torch.maximum(highest.values, self.product[mine])


def _nearest(x: Tensor, y: Tensor) -> tuple[_Nearest, _Nearest]:
    """The nearest of another label, and of their own, by products in float32."""
    single, starts = x.float(), range(0, len(x), _TILE)
    found = _Nearest.none(len(x), x.device), _Nearest.none(len(x), x.device)
    for i, j in ((i, j) for i in starts for j in starts if i <= j):
        products = single[i : i + _TILE] @ single[j : j + _TILE].T
        if i == j:
            products.fill_diagonal_(-math.inf)
        equal = y[i : i + _TILE, None] == y[None, j : j + _TILE]
        for nearest, left_out in zip(found, (equal, ~equal), strict=True):
            tile = products.masked_fill(left_out, -math.inf)
            nearest.see(tile, i, j)
            if i != j:
                nearest.see(tile.T, j, i)
    return found


def _settled(
    x: Tensor, y: Tensor, nearest: _Nearest, own: bool
) -> tuple[Tensor, tuple[int, int] | None]:
    """Distances to the nearest, and the closest pair: where float32 cannot tell, in float64."""
    best, whose = nearest.product, nearest.whose
    if not bool(best.isfinite().any()):
        return best.new_full((len(x),), math.inf, dtype=torch.float64), None
    # Rounding of the factors, of d products and of their sum, each at most 2^-24 of 1.
    blur = 2 * (x.shape[1] + 2) * 2.0**-24
    doubtful = (best >= best.max() - blur).nonzero()[:, 0]
    for some in torch.split(doubtful, _TILE // 4):
        whose[some] = _nearest_exactly(x, y, some, own)
    every = torch.arange(len(x), device=x.device)
    distances = torch.cat(
        [
            torch.linalg.vector_norm(x[rows].double() - x[whose[rows]].double(), dim=1)
            for rows in torch.split(every, _TILE)
        ]
    )
    distances[~best.isfinite()] = math.inf
    first = int(doubtful[distances[doubtful].argmin()])
    a, b = sorted((first, int(whose[first])))
    return distances, (a, b)


def _nearest_exactly(x: Tensor, y: Tensor, rows: Tensor, own: bool) -> Tensor:
    """Whose inner product with each of some rows is the largest, in float64."""
    wanted = x[rows].double()
    products = torch.cat([wanted @ part.double().T for part in torch.split(x, _TILE)], dim=1)
    equal = y[rows, None] == y[None]
    products.masked_fill_(~equal if own else equal, -math.inf)
    products[torch.arange(len(rows)), rows] = -math.inf
    return products.argmax(dim=1)


def _duplicates(x: Tensor) -> tuple[tuple[int, ...], ...]:
    groups: dict[bytes, list[int]] = {}
    for row, known in enumerate(x.cpu().numpy()):
        groups.setdefault(known.tobytes(), []).append(row)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
