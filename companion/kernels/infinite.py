"""Kernels of infinitely wide networks in closed form, tile by tile."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from companion.base.arguments import check_tensors
from companion.datasets import check_sizes, unit_rows, unit_rows_memory
from companion.errors import InputError
from companion.kernels.correlations import Correlations
from companion.kernels.tiles import LEAST_TILE, row_blocks
from companion.networks import Trained

Parameterisation = Literal["du", "zou", "chen"]


def infinite_width_gram(
    x: Tensor, other: Tensor | None = None, *, memory_budget: float | None = None
) -> Tensor:
    """H-infinity of Du et al. (2019), section 3: rho (pi - arccos rho) / (2 pi).

    It is `infinite_width_ntk` of depth 1; same arguments and errors.

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal 1/2; or (n, k).

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
) -> Tensor:
    """Limit of `empirical_gram` at initialisation for D = `depth` hidden layers of equal width m.

    With rho^(0) = x_i . x_j and rho^(l) = kappa_1(rho^(l-1)), it is the sum of::

        K^(l) = 1/2 rho^(l-1) kappa_0(rho^(l-1)) ... kappa_0(rho^(D-1))    for W_l, l = 1, ..., D,
        K^(D+1) = c rho^(D)                                                for the output weights,

    the latter if they are trained. It is the limit, as m grows, of::

        K           for `du`: Du et al. (2019), section 3, for more layers `draw_du`; c = 1/2.
        K / m       for `zou`: Zou et al. (2018, 2020), section 3; output weights are fixed.
        K / m^(2 alpha)  for `chen`: Chen et al. (2021), section 3, whose L is D + 1; c = 1.

    kappa_0 and kappa_1 are the arc-cosine kernels, Cho and Saul (2009), section 2.

    Args:
        x: unit-norm inputs, shape (n, d), float32 or float64.
        other: unit-norm inputs, shape (k, d), for the cross matrix.
        depth: D, at least 1. With D = 1, `zou` and `du` give `infinite_width_gram`.
        parameterisation: whose.
        trained: `hidden` or `all`; without it, what the paper trains. Only `du` has a choice.
        memory_budget: bytes that result and working memory may take together; without it, what
            `infinite_width_memory` says.

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal D / 2 + c or D / 2; or (n, k).

    Raises:
        InputError: inputs that do not fit or are not of unit norm, depth below 1, a
            parameterisation or a choice of `trained` that there is not, or a budget that not even
            small tiles meet.

    Example:
        >>> infinite_width_ntk(torch.eye(2), depth=2)
        tensor([[1.0000, 0.0960],
                [0.0960, 1.0000]])
    """
    output_gain = _trained_output_gain(parameterisation, trained)

    def fill(tile: Tensor, pairs: Correlations) -> None:
        ntk = tile[0].zero_()
        for _ in pairs.layers(depth):
            ntk.add_(pairs.rho()).mul_(pairs.both_on())
        ntk.mul_(0.5)
        if output_gain:
            ntk.add_(pairs.rho(), alpha=output_gain)

    return _over_tiles(x, other, depth, 1, memory_budget, fill)[0]


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

    def fill(tile: Tensor, pairs: Correlations) -> None:
        for layer in pairs.layers(depth):
            tile[layer] = pairs.rho()
            tile[: layer + 1].mul_(pairs.both_on())
        tile[:depth].mul_(0.5)
        if output_gain:
            torch.mul(pairs.rho(), output_gain, out=tile[depth])

    matrices = depth + (output_gain > 0)
    return list(_over_tiles(x, other, depth, matrices, memory_budget, fill))


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
        rho^(D)           for `chen`, after division by m^(2 alpha - 1).

    The predictions become jointly Gaussian with mean 0. Same arguments and errors as
    `infinite_width_ntk`, but nothing is trained.

    Returns:
        Shape (n, n), symmetric positive semidefinite, or (n, k).
    """
    gain = _output_gain(parameterisation)
    shift = -1 / math.pi if parameterisation == "zou" else 0.0

    def fill(tile: Tensor, pairs: Correlations) -> None:
        for _ in pairs.layers(depth):
            pass
        torch.mul(pairs.rho(), gain, out=tile[0]).add_(shift)

    return _over_tiles(x, other, depth, 1, memory_budget, fill)[0]


def infinite_width_memory(x: Tensor, other: Tensor | None = None, matrices: int = 1) -> int:
    """Bytes that an infinite-width kernel takes, said before it runs.

    Inputs that have norm 1 to single precision only are copied to be divided by their norms, and
    the copy comes on top.

    Args:
        x: inputs, shape (n, d).
        other: inputs, shape (k, d), for the cross matrix.
        matrices: how many are kept: 1, and for `infinite_width_layer_ntks` one per trained tensor.
    """
    y = x if other is None else other
    pairs = _pairs_memory(x, len(y), matrices, _pair_tile(x, max(len(x), len(y))))
    # The inputs' norms are looked at before the pairs.
    return max(pairs, unit_rows_memory(x), unit_rows_memory(y))


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


def _over_tiles(
    x: Tensor,
    other: Tensor | None,
    depth: int,
    matrices: int,
    budget: float | None,
    fill: Callable[[Tensor, "Correlations"], None],
) -> Tensor:
    """What `fill` makes of the correlations of every tile; shape (matrices, n, k)."""
    (depth,) = check_sizes(depth=depth)
    x, y, copied = _unit_pairs(x, other)
    rows = _affordable_pair_tile(x, len(y), matrices, None if budget is None else budget - copied)
    result = x.new_empty(matrices, len(x), len(y))
    space = x.new_empty(Correlations.BUFFERS + matrices, rows**2)
    for i in row_blocks(len(x), rows):
        for j in row_blocks(len(y), rows):
            if other is None and j.start > i.start:
                break
            shape = (i.stop - i.start, j.stop - j.start)
            buffers = space[:, : math.prod(shape)].view(-1, *shape)
            tile = buffers[Correlations.BUFFERS :]
            diagonal = other is None and i == j
            fill(tile, Correlations(x[i], y[j], diagonal, buffers[: Correlations.BUFFERS]))
            result[:, i, j] = tile
            if other is None and not diagonal:
                result[:, j, i] = tile.mT
    return result


def _check_points(x: Tensor, name: str) -> None:
    check_tensors(**{name: x})
    if x.dim() != 2 or 0 in x.shape:
        raise InputError(f"inputs have shape {tuple(x.shape)}; they must be of (n, d).")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"inputs are {x.dtype}; they must be torch.float32 or torch.float64.")


def _unit_pairs(x: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """Both sets of inputs with unit rows, and the bytes of the copies that this took."""
    units, copied = [], 0
    for name, inputs in (("x", x), ("other", other)):
        if inputs is not None:
            _check_points(inputs, name)
            units.append(unit_rows(inputs.detach()))
            same = units[-1].data_ptr() == inputs.data_ptr()
            copied += 0 if same else units[-1].nbytes
    x, y = units[0], units[-1]
    if (x.shape[1], x.dtype, x.device) != (y.shape[1], y.dtype, y.device):
        raise InputError(
            f"x has inputs of length {x.shape[1]}, {x.dtype} on {x.device}, but other of length "
            f"{y.shape[1]}, {y.dtype} on {y.device}; give both alike."
        )
    return x, y, copied


def _pair_tile(x: Tensor, rows: int) -> int:
    """Rows of a tile that keeps its buffers in a processor's cache, or a GPU busy."""
    return min(rows, 256 if x.device.type == "cpu" else 2048)


def _pairs_memory(x: Tensor, columns: int, matrices: int, rows: int) -> int:
    """Bytes of the result, of the buffers, and of the pairs of a tile if all inputs are close."""
    index = 2 * torch.int64.itemsize + torch.bool.itemsize
    differences = 3 * (2 * rows**2 + x.shape[1]) + 5 * rows**2
    buffers = (Correlations.BUFFERS + matrices) * rows**2
    numbers = matrices * len(x) * columns + buffers + differences
    return x.element_size() * numbers + index * rows**2


def _affordable_pair_tile(x: Tensor, columns: int, matrices: int, budget: float | None) -> int:
    rows = _pair_tile(x, max(len(x), columns))
    while budget is not None and (needed := _pairs_memory(x, columns, matrices, rows)) > budget:
        if rows <= LEAST_TILE:
            raise InputError(
                f"memory_budget is {budget:.3g} bytes; {matrices} matrices of {len(x)} x {columns} "
                f"inputs and one tile of {rows} rows need {needed:.3g}."
            )
        rows = max(LEAST_TILE, rows // 2)
    return rows
