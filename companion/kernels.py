"""Gram matrices of the gradients: at finite width, at infinite width, layer by layer."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from companion.datasets import check_unit_norm
from companion.errors import InputError
from companion.matmul import product
from companion.networks import ReLUNetwork, TwoLayer, check_inputs, relu_network

# Distances by subtraction: the default, by inner products, would lose the digits asked for here.
_BY_COORDINATES = "donot_use_mm_for_euclid_dist"


def infinite_width_gram(x: Tensor) -> Tensor:
    """H-infinity of Du et al. (2019), section 3: rho (pi - arccos rho) / (2 pi).

    Args:
        x: unit-norm inputs, shape (n, d).

    Returns:
        Shape (n, n), symmetric positive semidefinite, diagonal 1/2.

    Raises:
        InputError: an input is not of unit norm.
    """
    rho, angle = _cosines_and_angles(x)
    return rho * (math.pi - angle) / (2 * math.pi)


def infinite_width_output_gram(x: Tensor) -> Tensor:
    """Limit of the output layer's Gram matrix G, half the arc-cosine kernel kappa_1.

    Same shapes and errors as `infinite_width_gram`.
    """
    rho, angle = _cosines_and_angles(x)
    return (angle.sin() + rho * (math.pi - angle)) / (2 * math.pi)


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
    network = relu_network(network) if isinstance(network, TwoLayer) else network
    return _layer_sums(network, x, other, 1, memory_budget)[0]


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
    return list(_layer_sums(network, x, other, len(network.parameters), memory_budget))


def gram_memory(
    network: ReLUNetwork, count: int, other: int | None = None, matrices: int = 1
) -> int:
    """Bytes that `empirical_gram` takes for n = `count` inputs, said before it runs.

    Args:
        network: whose Gram matrix.
        count: n.
        other: k, for the cross matrix.
        matrices: how many are kept: 1 for `empirical_gram`, one per trained tensor for
            `layer_grams`.
    """
    rows = count + (other or 0)
    kept = _numbers_per_input(network) * rows
    return network.outputs.element_size() * (
        matrices * count * (other or count) + kept + 2 * min(_TILE, count) ** 2
    )


def _numbers_per_input(network: ReLUNetwork) -> int:
    """Hidden outputs, gates where they are apart, signals, and one of either in passing."""
    copies = 3 if network.on_at_zero else 2
    return copies * sum(network.widths) + 2 * max(network.widths)


# Rows of a tile: its factors and products stay in the cache, and little of the matrix's other
# triangle is computed along.
_TILE = 256


def _layer_sums(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None,
    matrices: int,
    memory_budget: float | None,
) -> Tensor:
    """The terms of the empirical NTK, or with one matrix their sum; shape (matrices, n, k)."""
    y = x if other is None else other
    for inputs in (x, y):
        check_inputs(network, inputs)
    rows, whole = _tiling(
        network, len(x), None if other is None else len(y), matrices, memory_budget
    )
    left = _Factors(network, x, whole)
    right = left if other is None else _Factors(network, y, whole)
    sums = x.new_zeros(matrices, len(x), len(y))
    for i in _row_blocks(len(x), rows):
        factors = left[i]
        for j in _row_blocks(len(y), rows):
            if other is None and j.start > i.start:
                break
            for layer, (a, b) in enumerate(zip(factors, right[j], strict=True)):
                tile = sums[layer % matrices, i, j]
                tile.addcmul_(product(a.hidden, b.hidden.T), product(a.signal, b.signal.T))
            if other is None and j.start < i.start:
                sums[:, j, i] = sums[:, i, j].mT
    return sums


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
    blocks = math.ceil(count / rows)
    ends = [count * block // blocks for block in range(blocks + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def _tiling(
    network: ReLUNetwork, count: int, other: int | None, matrices: int, budget: float | None
) -> tuple[int, bool]:
    """Rows of a tile, and whether the factors of all inputs are kept."""
    rows = min(_TILE, count)
    if budget is None or gram_memory(network, count, other, matrices) <= budget:
        return rows, True
    size = network.outputs.element_size()
    result = size * matrices * count * (other or count)
    while True:
        needed = result + size * (2 * rows * _numbers_per_input(network) + 2 * rows**2)
        if needed <= budget:
            return rows, False
        if rows <= _LEAST_TILE:
            raise InputError(
                f"memory_budget is {budget:.3g} bytes; the matrix of {count} x {other or count} "
                f"inputs and one tile of {rows} rows need {needed:.3g}."
            )
        rows = max(_LEAST_TILE, rows // 2)


_LEAST_TILE = 16


def lambda_min(matrix: Tensor) -> float:
    """Least eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(torch.linalg.eigvalsh(matrix.double())[0])


def lambda_max(matrix: Tensor) -> float:
    """Largest eigenvalue of a symmetric matrix, shape (n, n), computed in float64."""
    return float(torch.linalg.eigvalsh(matrix.double())[-1])


def spectral_norm(matrix: Tensor) -> float:
    """Operator norm of a symmetric matrix, shape (n, n), computed in float64."""
    return float(torch.linalg.eigvalsh(matrix.double())[[0, -1]].abs().max())


def _cosines_and_angles(x: Tensor) -> tuple[Tensor, Tensor]:
    """x_i . x_j in [-1, 1] and arccos of it, both of shape (n, n), for unit inputs.

    arccos loses half of the digits near 0 and pi. There the angle comes from the two diagonals of
    the rhombus that x_i and x_j span, so that equal inputs have angle 0 and cosine 1 exactly.
    """
    check_unit_norm(x)
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
