"""Gram matrices of the gradients: at finite width, at infinite width, layer by layer."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from companion.checks import check_finite, check_tensors
from companion.datasets import check_sizes, unit_rows, unit_rows_memory
from companion.errors import InputError
from companion.matmul import product
from companion.networks import (
    ReLUNetwork,
    Trained,
    TwoLayer,
    check_inputs,
    check_network,
    relu_network,
)

# Distances by subtraction: the default, by inner products, would lose the digits asked for here.
_BY_COORDINATES = "donot_use_mm_for_euclid_dist"

Parameterisation = Literal["du", "zou", "chen"]


def infinite_width_gram(x: Tensor) -> Tensor:
    """H-infinity of Du et al. (2019), section 3: rho (pi - arccos rho) / (2 pi).

    Args:
        x: unit-norm inputs, shape (n, d).

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal 1/2.

    Raises:
        InputError: inputs that do not fit or are not of unit norm.
    """
    rho, angle = _cosines_and_angles(x)
    return rho * (math.pi - angle) / (2 * math.pi)


def infinite_width_output_gram(x: Tensor) -> Tensor:
    """Limit of the output layer's Gram matrix G, half the arc-cosine kernel kappa_1.

    Same shapes and errors as `infinite_width_gram`.
    """
    rho, angle = _cosines_and_angles(x)
    return (angle.sin() + rho * (math.pi - angle)) / (2 * math.pi)


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

    With rho^(0) = x_i . x_j and rho^(l) = kappa_1(rho^(l-1)), it is the sum of

        K^(l) = 1/2 rho^(l-1) kappa_0(rho^(l-1)) ... kappa_0(rho^(D-1))    for W_l, l = 1, ..., D,
        K^(D+1) = c rho^(D)                                                for the output weights,

    the latter if they are trained. It is the limit, as m grows, of

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
    """
    output_gain = _trained_output_gain(parameterisation, trained)

    def fill(tile: Tensor, pairs: _Correlations) -> None:
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

    def fill(tile: Tensor, pairs: _Correlations) -> None:
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

    def fill(tile: Tensor, pairs: _Correlations) -> None:
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
    fill: Callable[[Tensor, "_Correlations"], None],
) -> Tensor:
    """What `fill` makes of the correlations of every tile; shape (matrices, n, k)."""
    (depth,) = check_sizes(depth=depth)
    x, y, copied = _unit_pairs(x, other)
    rows = _affordable_pair_tile(x, len(y), matrices, None if budget is None else budget - copied)
    result = x.new_empty(matrices, len(x), len(y))
    space = x.new_empty(_Correlations.BUFFERS + matrices, rows**2)
    for i in _row_blocks(len(x), rows):
        for j in _row_blocks(len(y), rows):
            if other is None and j.start > i.start:
                break
            shape = (i.stop - i.start, j.stop - j.start)
            buffers = space[:, : math.prod(shape)].view(-1, *shape)
            tile = buffers[_Correlations.BUFFERS :]
            diagonal = other is None and i == j
            fill(tile, _Correlations(x[i], y[j], diagonal, buffers[: _Correlations.BUFFERS]))
            result[:, i, j] = tile
            if other is None and not diagonal:
                result[:, j, i] = tile.mT
    return result


class _Correlations:
    """The correlations rho^(l) of a tile of pairs of inputs, layer after layer.

    Kept is z = (1 - rho) / 2 = sin(theta / 2)^2, since rho of close inputs would lose half of the
    digits of their angle theta: at depth 15 all inputs are close. All is done in place, as
    buffers of a tile stay in the cache.
    """

    BUFFERS = 5

    def __init__(self, x: Tensor, y: Tensor, diagonal: bool, buffers: Tensor) -> None:
        """The correlations rho^(0) of the rows of `x` and `y`; of one with itself if `diagonal`."""
        self._z, self._half_angle, self._sin_cos, self._rho, self._both_on = buffers
        self._one, self._right_angle = x.new_ones(()), x.new_full((), math.pi / 2)
        torch.sub(self._one, product(x, y.T), out=self._z).mul_(0.5)
        if diagonal:
            self._z.copy_(torch.minimum(self._z, self._z.mT)).fill_diagonal_(0)
        near = (self._z - 0.5).abs_() > 0.5 * _NEAR
        if diagonal:
            near.fill_diagonal_(False)
        self._find_angles()
        # Some pairs at a time, so that their differences take no more than two buffers.
        for some in near.nonzero().split(1 + 2 * self._z.numel() // x.shape[1]):
            self._take_from_differences(x, y, some[:, 0], some[:, 1])

    def layers(self, depth: int) -> Iterator[int]:
        """Be at rho^(0), ..., rho^(depth - 1) in turn, and in the end at rho^(depth)."""
        for layer in range(depth):
            if layer > 0:
                self._find_angles()
            yield layer
            # (1 - kappa_1) / 2 = z - (sin(theta) - theta cos(theta)) / (2 pi)
            excess = self._sin_cos.addcmul_(self._half_angle, self.rho(), value=-1)
            # Below 0 by rounding, where inputs differ in the last digit of a small coordinate.
            self._z.sub_(excess, alpha=1 / math.pi).clamp_(min=0)

    def rho(self) -> Tensor:
        """cos(theta), in a buffer that the next call overwrites."""
        return torch.sub(self._one, self._z, alpha=2, out=self._rho)

    def both_on(self) -> Tensor:
        """kappa_0(rho) = 1 - theta / pi, in a buffer that the next call overwrites.

        In this order it is exactly 0 for antipodes and 1 for equal inputs.
        """
        rest = torch.sub(self._right_angle, self._half_angle, out=self._both_on)
        return rest.mul_(2 / math.pi)

    def _find_angles(self) -> None:
        """From z, theta / 2 and sin(theta / 2) cos(theta / 2)."""
        torch.sqrt(self._z, out=self._half_angle).asin_()
        torch.addcmul(self._z, self._z, self._z, value=-1, out=self._sin_cos).sqrt_()

    def _take_from_differences(self, x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> None:
        """For nearly parallel inputs, all from the diagonals of the rhombus that they span.

        The inner product has lost half of the digits of the angle between them or their lines.
        """
        left, right = x.index_select(0, i), y.index_select(0, j)
        minus, plus = (left - right).norm(dim=1), left.add_(right).norm(dim=1)
        square = minus.square() + plus.square()
        self._half_angle[i, j] = torch.atan2(minus, plus)
        self._sin_cos[i, j] = minus * plus / square
        self._z[i, j] = minus.square() / square


# |rho| from which on angles are taken from differences: there the inner product's rounding costs
# an angle about one digit, and beyond it rounding could make a correlation more than 1.
_NEAR = 0.99


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
    buffers = (_Correlations.BUFFERS + matrices) * rows**2
    numbers = matrices * len(x) * columns + buffers + differences
    return x.element_size() * numbers + index * rows**2


def _affordable_pair_tile(x: Tensor, columns: int, matrices: int, budget: float | None) -> int:
    rows = _pair_tile(x, max(len(x), columns))
    while budget is not None and (needed := _pairs_memory(x, columns, matrices, rows)) > budget:
        if rows <= _LEAST_TILE:
            raise InputError(
                f"memory_budget is {budget:.3g} bytes; {matrices} matrices of {len(x)} x {columns} "
                f"inputs and one tile of {rows} rows need {needed:.3g}."
            )
        rows = max(_LEAST_TILE, rows // 2)
    return rows


def empirical_gram(
    network: TwoLayer | ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    memory_budget: float | None = None,
) -> Tensor:
    """Gram matrix of the gradients df(x_i)/dtheta in all trained parameters: the empirical NTK.

    Exact and without a Jacobian: K = sum_l (H_{l-1} H_{l-1}^T) o (B_l B_l^T), with the inputs of
    layer l and its back-propagated signals, since each gradient is an outer product. For a
    `TwoLayer` it is H of Du et al. (2019), section 3, with the factor a_r^2 of section 3.2.

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
    """
    return _layer_sums(_as_relu(network), x, other, 1, memory_budget)[0]


def empirical_gram_from(network: TwoLayer, x: Tensor, preactivations: Tensor) -> Tensor:
    """`empirical_gram` where the preactivations, shape (n, m), are already at hand."""
    weighted = (preactivations >= 0).to(x.dtype) * network.outputs
    return (x @ x.T) * (weighted @ weighted.T) / network.width


def empirical_output_gram(network: TwoLayer, x: Tensor) -> Tensor:
    """Gram matrix G of the output layer, sum_r relu(w_r x_i) relu(w_r x_j) / m, shape (n, n)."""
    features = network.preactivations(x).relu()
    return features @ features.T / network.width


def near_boundary(preactivations: Tensor, radius: float) -> Tensor:
    """The pairs (input, unit) that a change of w_r by at most `radius` can switch on or off.

    The event A_ir of Du et al. (2019), Lemma 3.2, for unit inputs: |w_r . x_i| <= R. Lemma 4.1's
    complement of S_i is row i.

    Args:
        preactivations: w_r . x_i, shape (n, m).
        radius: R.

    Returns:
        Boolean, shape (n, m).
    """
    return preactivations.abs() <= radius


def gram_change_bound(x: Tensor, preactivations: Tensor, radius: float) -> Tensor:
    """What no choice of weights within `radius` of the given ones can exceed in |H - H(0)|.

    Only units near the boundary can change. An entry of H is largest if all of them are on, and
    least if all are off; no single choice of weights need reach both, nor every entry at once.

    Args:
        x: unit-norm inputs, shape (n, d).
        preactivations: w_r(0) . x_i, shape (n, m).
        radius: R, on every ||w_r - w_r(0)||.

    Returns:
        Entrywise bound, shape (n, n), nonnegative: its norms bound those of H - H(0) too.
    """
    near, on = near_boundary(preactivations, radius), preactivations >= 0
    most, now, least = (
        pattern.to(x.dtype) @ pattern.to(x.dtype).T for pattern in (on | near, on, on & ~near)
    )
    return (x @ x.T).abs() * torch.maximum(most - now, now - least) / preactivations.shape[1]


def _as_relu(network: TwoLayer | ReLUNetwork) -> ReLUNetwork:
    network = relu_network(network) if isinstance(network, TwoLayer) else network
    check_network(network)
    return network


def layer_grams(
    network: TwoLayer | ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    memory_budget: float | None = None,
) -> list[Tensor]:
    """The terms of `empirical_gram`, one for each trained tensor; same arguments and errors.

    G^(h) of Du et al. (2019), section 6; K^(l) of Zou et al. and Chen et al.
    """
    network = _as_relu(network)
    return list(_layer_sums(network, x, other, len(network.parameters), memory_budget))


def gram_memory(
    network: TwoLayer | ReLUNetwork, count: int, other: int | None = None, matrices: int = 1
) -> int:
    """Bytes that `empirical_gram` takes for n = `count` inputs, said before it runs.

    Args:
        network: whose Gram matrix.
        count: n.
        other: k, for the cross matrix.
        matrices: how many are kept: 1 for `empirical_gram`, one per trained tensor for
            `layer_grams`.
    """
    network = _as_relu(network)
    columns = other or count
    kept = _numbers_per_input(network) * (count + (other or 0))
    tile = min(_TILE[0], count) * min(_TILE[1], columns)
    return network.outputs.element_size() * (matrices * count * columns + kept + 2 * tile)


def _numbers_per_input(network: ReLUNetwork) -> int:
    """Hidden outputs, gates where they are apart, signals, and one of either in passing."""
    copies = 3 if network.on_at_zero else 2
    return copies * sum(network.widths) + 2 * max(network.widths)


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
    for i in _row_blocks(len(x), tile.rows):
        factors = left[i]
        for j in _row_blocks(i.stop if other is None else len(y), tile.columns):
            for layer, (a, b) in enumerate(zip(factors, right[j], strict=True)):
                term = sums[layer % matrices, i, j]  # with one matrix all terms go to the same
                term.addcmul_(product(a.hidden, b.hidden.T), product(a.signal, b.signal.T))
        if other is None:
            _mirror(sums, i, tile.rows)
    return sums


def _mirror(sums: Tensor, i: slice, rows: int) -> None:
    """Copy what rows `i` hold left of the diagonal above it, in blocks that the cache holds."""
    for j in _row_blocks(i.start, rows):
        sums[:, j, i] = sums[:, i, j].mT


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
        signals = list(self._network.signals(forward))[::-1]
        factors = [_Factor(*pair) for pair in zip(forward.hidden[:-1], signals, strict=True)]
        if self._network.trained == "all":
            gain = x.new_full((len(x), 1), self._network.output_gain)
            factors.append(_Factor(forward.hidden[-1], gain))
        return factors


def _row_blocks(count: int, rows: int) -> list[slice]:
    """Slices of about `rows`, all of nearly one length."""
    blocks = max(1, math.ceil(count / rows))
    ends = [count * block // blocks for block in range(blocks + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


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
        if rows <= _LEAST_TILE:
            raise InputError(
                f"memory_budget is {budget:.3g} bytes; the matrix of {count} x {columns} "
                f"inputs and one tile of {rows} rows need {needed:.3g}."
            )
        rows //= 2


_LEAST_TILE = 16


def _eigenvalues(matrix: Tensor) -> Tensor:
    check_tensors(matrix=matrix)
    eigenvalues: Tensor = torch.linalg.eigvalsh(matrix.detach().double())
    return eigenvalues


def lambda_min(matrix: Tensor) -> float:
    """Least eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(_eigenvalues(matrix)[0])


def lambda_max(matrix: Tensor) -> float:
    """Largest eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(_eigenvalues(matrix)[-1])


def spectral_norm(matrix: Tensor) -> float:
    """Operator norm of a symmetric matrix, shape (n, n), computed in float64."""
    return float(_eigenvalues(matrix)[[0, -1]].abs().max())


def _cosines_and_angles(x: Tensor) -> tuple[Tensor, Tensor]:
    """x_i . x_j in [-1, 1] and arccos of it, both of shape (n, n), for unit inputs.

    arccos loses half of the digits near 0 and pi. There the angle comes from the two diagonals of
    the rhombus that x_i and x_j span, so that equal inputs have angle 0 and cosine 1 exactly.
    """
    _check_points(x, "x")
    x = unit_rows(x.detach())
    rho = (x @ x.T).clamp(-1, 1).fill_diagonal_(1)
    angle = rho.arccos()
    near = (rho.abs() > 0.999).fill_diagonal_(False).any(dim=1).nonzero().squeeze(1)
    if len(near):
        some, block = x[near], (near[:, None], near)
        minus = torch.cdist(some, some, compute_mode=_BY_COORDINATES)
        plus = torch.cdist(some, -some, compute_mode=_BY_COORDINATES)
        angle[block] = 2 * torch.atan2(minus, plus)
        rho[block] = rho[block].where(minus > 0, 1).where(plus > 0, -1)
    return rho, angle
