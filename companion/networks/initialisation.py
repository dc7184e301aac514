"""Networks at initialisation, as each paper draws them: on the CPU, from a seed, in float64."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.base.arguments import real, whole
from companion.datasets import check_sizes
from companion.draws import cpu_generator
from companion.errors import InputError
from companion.networks.network import ReLUNetwork, Trained


def draw_du(
    width: int,
    dimension: int,
    seed: int,
    *,
    depth: int = 1,
    trained: Trained = "hidden",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> ReLUNetwork:
    """Du et al. (2019), section 3, and for more layers the NTK normalisation of its section 6.

    h_l = sqrt(2/m) relu(W_l h_{l-1}), f = a . h_D / sqrt(2): with one layer that is
    a . relu(W x) / sqrt(m), eq. (1). W_l ~ N(0, 1), a uniform on {-1, +1}, relu'(0) = 1.

    Raises:
        InputError: a size below 1.
    """
    width, dimension, depth = check_sizes(width=width, dimension=dimension, depth=depth)
    weights = _normal_weights([width] * depth, dimension, seed, [1.0] * depth)
    signs = torch.randint(0, 2, (width,), generator=weights.generator).double().mul_(2).sub_(1)
    return ReLUNetwork(
        weights.tensors, signs, (math.sqrt(2 / width),) * depth, 1 / math.sqrt(2), trained, True
    ).to(device, dtype)


def draw_zou(
    width: int | Sequence[int],
    dimension: int,
    seed: int,
    *,
    depth: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> ReLUNetwork:
    """Zou et al. (2018, 2020), section 3: f = v . h_D, h_l = relu(W_l^T h_{l-1}).

    Columns of their W_l, rows of ours, are N(0, 2/m_l I); v is fixed, half +1 and half -1 (in
    that order: the units are exchangeable); relu'(0) = 0.

    Args:
        width: m for every layer, then `depth` is needed; or the widths m_1, ..., m_D.
        dimension: d, the length of an input.
        seed: of the draw.
        depth: D, the number of hidden layers.
        dtype: of the network; the draw is in float64.
        device: where it is moved after the draw.

    Raises:
        InputError: a size below 1, m_D odd, or the largest width above twice the smallest
            (Assumption 3.6 of 2018, 4.3 of 2020).
    """
    widths = _widths(width, depth)
    (dimension,) = check_sizes(dimension=dimension)
    if max(widths) > 2 * min(widths):
        raise InputError(
            f"widths run from {min(widths)} to {max(widths)}; Zou et al. assume that the largest "
            "is at most twice the smallest."
        )
    if widths[-1] % 2:
        raise InputError(
            f"the last width is {widths[-1]}; it must be even, as half of the output weights are "
            "+1 and half are -1."
        )
    weights = _normal_weights(widths, dimension, seed, [math.sqrt(2 / m) for m in widths])
    signs = torch.ones(widths[-1], dtype=torch.float64)
    signs[widths[-1] // 2 :] = -1
    return ReLUNetwork(weights.tensors, signs, (1.0,) * len(widths), 1.0).to(device, dtype)


def draw_chen(
    width: int,
    dimension: int,
    seed: int,
    *,
    depth: int,
    alpha: float = 0.5,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> ReLUNetwork:
    """Chen et al. (2021), section 3: f = m^alpha W_L h_D, all L = D + 1 matrices trained.

    Entries of the hidden layers are N(0, 2/m), of W_L N(0, 1/m); relu'(0) = 0.

    Args:
        width: m, of every hidden layer.
        dimension: d, the length of an input.
        seed: of the draw.
        depth: D, the number of hidden layers; the paper's L is D + 1.
        alpha: in (0, 1/2].
        dtype: of the network; the draw is in float64.
        device: where it is moved after the draw.

    Raises:
        InputError: a size below 1, or alpha outside (0, 1/2].
    """
    width, dimension, depth = check_sizes(width=width, dimension=dimension, depth=depth)
    alpha = real("alpha", alpha)
    if not 0 < alpha <= 0.5:
        raise InputError(f"alpha is {alpha}; it must lie in (0, 1/2].")
    weights = _normal_weights([width] * depth, dimension, seed, [math.sqrt(2 / width)] * depth)
    outputs = torch.randn(width, generator=weights.generator, dtype=torch.float64)
    return ReLUNetwork(
        weights.tensors, outputs / math.sqrt(width), (1.0,) * depth, float(width**alpha), "all"
    ).to(device, dtype)


@dataclass(frozen=True)
class _Drawn:
    tensors: tuple[Tensor, ...]
    generator: torch.Generator


def _normal_weights(
    widths: Sequence[int], dimension: int, seed: int, deviations: Sequence[float]
) -> _Drawn:
    """Hidden weights in float64 from the CPU, and the generator for the output weights."""
    generator = cpu_generator("weights", seed)
    shapes = zip(widths, [dimension, *widths], strict=False)
    tensors = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).mul_(deviation)
        for shape, deviation in zip(shapes, deviations, strict=True)
    )
    return _Drawn(tensors, generator)


def _widths(width: int | Sequence[int], depth: int | None) -> list[int]:
    """m_1, ..., m_D from one width for all layers and their number, or from all widths."""
    if isinstance(width, Iterable) and getattr(width, "ndim", True):
        widths = [whole("width", each, least=1) for each in width]
        (layers,) = check_sizes(depth=len(widths) if depth is None else depth)
        if len(widths) != layers:
            raise InputError(
                f"{len(widths)} widths were given for depth {layers}; give one per layer."
            )
        return widths
    if depth is None:
        raise InputError("depth is missing; give it, or the widths of all hidden layers.")
    (layers,) = check_sizes(depth=depth)
    return [whole("width", width, least=1)] * layers
