"""Kernels of infinitely wide networks in closed form, tile by tile."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from companion.base.workers import alone
from companion.errors import InputError
from companion.kernels.pairs import (
    Directions,
    Limit,
    checked_depth,
    directions_memory,
    pair_inputs,
    pair_tiles,
    pairs_memory,
    plan_pairs,
)
from companion.kernels.tiles import GramTile, Out, destination, write_tiles
from companion.networks import Trained

Parameterisation = Literal["du", "zou", "chen"]


def infinite_width_gram(
    x: Tensor, other: Tensor | None = None, *, memory_budget: float | None = None
) -> Tensor:
    """H-infinity of Du et al. (2019), section 3: rho (pi - arccos rho) / (2 pi).

    It is `infinite_width_ntk` of depth 1; same arguments and errors. The paper's inputs have norm
    1; for others it is ||x_i|| ||x_j|| times that of x_i / ||x_i|| and x_j / ||x_j||.

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal ||x_i||^2 / 2; or (n, k).

    Example:
        >>> infinite_width_gram(torch.eye(2))
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    return infinite_width_ntk(x, other, depth=1, memory_budget=memory_budget)


def infinite_width_output_gram(
    x: Tensor, other: Tensor | None = None, *, memory_budget: float | None = None
) -> Tensor:
    """Limit of the output layer's Gram matrix G, half the arc-cosine kernel kappa_1.

    As f is linear in the output weights, it is also the covariance of the predictions,
    `infinite_width_nngp` of `du` and depth 1. Same shapes and errors as `infinite_width_gram`.
    """
    return infinite_width_nngp(
        x, other, depth=1, parameterisation="du", memory_budget=memory_budget
    )


def infinite_width_ntk(
    x: Tensor,
    other: Tensor | None = None,
    *,
    depth: int,
    parameterisation: Parameterisation = "zou",
    trained: Trained | None = None,
    memory_budget: float | None = None,
    out: Out | None = None,
) -> Tensor:
    """Limit of `empirical_gram` at initialisation for D = `depth` hidden layers of equal width m.

    With rho^(0) = x_i . x_j and rho^(l) = kappa_1(rho^(l-1)), it is the sum of::

        K^(l) = 1/2 rho^(l-1) kappa_0(rho^(l-1)) ... kappa_0(rho^(D-1))    for W_l, l = 1, ..., D,
        K^(D+1) = c rho^(D)                                                for the output weights,

    the latter if they are trained. It is the limit, as m grows, of::

        K           for `du`: Du et al. (2019), section 3, for more layers `draw_du`; c = 1/2.
        K / m       for `zou`: Zou et al. (2018, 2020), section 3; output weights are fixed.
        K / m^(2 alpha)  for `chen`: Chen et al. (2021), section 3, whose L is D + 1; c = 1.

    kappa_0 and kappa_1 are the arc-cosine kernels, Cho and Saul (2009), section 2. The networks
    are positively homogeneous, and so is the kernel in each input: of inputs of any norm it is
    ||x_i|| ||x_j|| times the kernel of x_i / ||x_i|| and x_j / ||x_j||, and 0 where one of them is
    0. The papers' theorems are on inputs of norm 1.

    Args:
        x: inputs of any norm, shape (n, d), float32 or float64; a tensor or a NumPy array.
        other: inputs, shape (k, d), for the cross matrix.
        depth: D, at least 1. With D = 1, `zou` and `du` give `infinite_width_gram`.
        parameterisation: whose.
        trained: `hidden` or `all`; without it, what the paper trains. Only `du` has a choice.
        memory_budget: bytes that result and working memory may take together; without it, what
            `infinite_width_memory` says.
        out: where the matrix is written, tile by tile: a tensor, or a NumPy array such as
            `numpy.memmap` gives, of the result's shape and the inputs' dtype. The budget is then
            for the working memory alone.

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal ||x_i||^2 (D / 2 + c) or
        ||x_i||^2 D / 2; or (n, k). It shares the memory of `out`.

    Raises:
        InputError: inputs or `out` that do not fit, depth below 1, a parameterisation or a choice
            of `trained` that there is not, or a budget that not even small tiles meet.

    Example:
        >>> infinite_width_ntk(torch.eye(2), depth=2)
        tensor([[1.0000, 0.0960],
                [0.0960, 1.0000]])
        >>> infinite_width_ntk(torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), depth=2)
        tensor([[9.0000, 0.5759, 0.0000],
                [0.5759, 4.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    limit = _ntk(depth, _trained_output_gain(parameterisation, trained))
    return _matrices(x, other, limit, memory_budget, out)[0]


def infinite_width_tiles(
    x: Tensor,
    other: Tensor | None = None,
    *,
    depth: int,
    parameterisation: Parameterisation = "zou",
    trained: Trained | None = None,
    memory_budget: float | None = None,
) -> Iterator[GramTile]:
    """`infinite_width_ntk` tile by tile, for matrices that no memory holds.

    Same arguments and errors, raised at once; the budget is for the working memory alone.

    Yields:
        (rows, columns, values): two slices, and the block of the matrix that they cut out. Without
        `other`, tiles cover the lower triangle and the diagonal.

    Example:
        >>> x, trace = torch.eye(500), 0.0
        >>> for rows, columns, values in infinite_width_tiles(x, depth=1):
        ...     trace += float(values.trace()) if rows == columns else 0.0
        >>> trace
        250.0
    """
    limit = _ntk(depth, _trained_output_gain(parameterisation, trained))
    tiles = _tiles(*pair_inputs(x, other), limit, 0, memory_budget)
    return (GramTile(rows, columns, values[0]) for rows, columns, values in tiles)


def infinite_width_layer_ntks(
    x: Tensor,
    other: Tensor | None = None,
    *,
    depth: int,
    parameterisation: Parameterisation = "zou",
    trained: Trained | None = None,
    memory_budget: float | None = None,
) -> list[Tensor]:
    """The terms of `infinite_width_ntk`, limits of those of `layer_grams`; same arguments, errors.

    Unequal widths are allowed for `zou` here: the limit of K^(l) / m_l is still term l.
    """
    output_gain = _trained_output_gain(parameterisation, trained)
    depth = checked_depth(depth)

    def finish(terms: Tensor, rho: Tensor) -> None:
        if output_gain:
            torch.mul(rho, output_gain, out=terms[depth])

    limit = Limit(depth, depth + (output_gain > 0), depth, True, finish)
    return list(_matrices(x, other, limit, memory_budget))


def infinite_width_nngp(
    x: Tensor,
    other: Tensor | None = None,
    *,
    depth: int,
    parameterisation: Parameterisation = "zou",
    memory_budget: float | None = None,
) -> Tensor:
    """Limit of E f(x_i) f(x_j) over initialisations, with `infinite_width_ntk`'s rho^(D).

    It is::

        rho^(D) / 2       for `du`.
        rho^(D) - 1 / pi  for `zou`: the output weights are not drawn but half +1, half -1.
        rho^(D)           for `chen`, after division by m^(2 alpha - 1),

    for inputs of norm 1, and for others ||x_i|| ||x_j|| times that, the 1 / pi included: it is the
    product of two means of a hidden layer, which are homogeneous, too. The predictions become
    jointly Gaussian with mean 0. Same arguments and errors as `infinite_width_ntk`, but nothing is
    trained.

    Returns:
        Shape (n, n), symmetric positive semidefinite, or (n, k).
    """
    gain = _output_gain(parameterisation)
    shift = -1 / math.pi if parameterisation == "zou" else 0.0

    def finish(kernel: Tensor, rho: Tensor) -> None:
        torch.mul(rho, gain, out=kernel[0]).add_(shift)

    limit = Limit(checked_depth(depth), 1, 0, False, finish)
    return _matrices(x, other, limit, memory_budget)[0]


def infinite_width_memory(x: Tensor, other: Tensor | None = None, matrices: int = 1) -> int:
    """Bytes that an infinite-width kernel takes, said before it runs.

    Inputs that have not norm 1 are copied to be divided by their norms, and the copy comes on top.
    Every thread has its own tiles; there are as many as `torch.get_num_threads` says.

    Args:
        x: inputs, shape (n, d); a tensor or a NumPy array.
        other: inputs, shape (k, d), for the cross matrix.
        matrices: how many are kept: 1, and for `infinite_width_layer_ntks` one per trained tensor.
    """
    x, given = pair_inputs(x, other)
    y = x if given is None else given
    result = x.element_size() * matrices * len(x) * len(y)
    pairs = result + pairs_memory(x, given, matrices, plan_pairs(x, given, matrices, 0))
    # The inputs' norms are looked at before the pairs.
    return max(pairs, directions_memory(x), directions_memory(y))


def _matrices(
    x: Tensor, other: Tensor | None, limit: Limit, budget: float | None, out: Out | None = None
) -> Tensor:
    """All matrices of a kernel, shape (matrices, n, k)."""
    x, y = pair_inputs(x, other)
    shape = limit.matrices, len(x), len(x if y is None else y)
    given = None if out is None else destination(out, shape, x.dtype)
    owned = x.element_size() * math.prod(shape) if given is None else 0
    tiles = _tiles(x, y, limit, owned, budget)
    return write_tiles(tiles, x.new_empty(shape) if given is None else given, y is None)


def _tiles(
    x: Tensor, y: Tensor | None, limit: Limit, kept: int, budget: float | None
) -> Iterator[GramTile]:
    plan_pairs(x, y, limit.matrices, kept, budget)  # refused before anything is copied
    with alone():
        left = Directions.of(x)
        right = None if y is None else Directions.of(y)
    kept += left.copied + (0 if right is None else right.copied)
    plan = plan_pairs(x, y, limit.matrices, kept, budget)
    return pair_tiles(left, right, limit, plan)


def _ntk(depth: int, output_gain: float) -> Limit:
    def finish(ntk: Tensor, rho: Tensor) -> None:
        if output_gain:
            ntk[0].add_(rho, alpha=output_gain)

    return Limit(checked_depth(depth), 1, 1, False, finish)


# Limit of E f(x_i) f(x_j) over rho^(D) for output weights drawn at random, and by the linearity
# of f in them also of their term of the NTK; normalised as `infinite_width_ntk` says.
_OUTPUT_GAINS = {"du": 0.5, "zou": 1.0, "chen": 1.0}
_TRAINED: dict[str, tuple[Trained, ...]] = {
    "du": ("hidden", "all"),
    "zou": ("hidden",),
    "chen": ("all",),
}


def _output_gain(parameterisation: str) -> float:
    if parameterisation not in _OUTPUT_GAINS:
        known = ", ".join(_OUTPUT_GAINS)
        raise InputError(f"parameterisation is '{parameterisation}'; choose one of {known}.")
    return _OUTPUT_GAINS[parameterisation]


def _trained_output_gain(parameterisation: str, trained: str | None) -> float:
    """The output weights' c, 0 if they are not trained."""
    gain, choices = _output_gain(parameterisation), _TRAINED[parameterisation]
    chosen = choices[0] if trained is None else trained
    if chosen not in choices:
        raise InputError(
            f"trained is '{trained}'; for '{parameterisation}' it can be {' or '.join(choices)}."
        )
    return gain if chosen == "all" else 0.0
