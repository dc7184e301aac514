"""What the theorems ask about labelled inputs: their norms and distances, lambda_0, gamma and R."""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from companion.base.arguments import check_finite, real, tensor, whole
from companion.datasets import unit_rows
from companion.draws import cpu_generator
from companion.errors import InputError
from companion.kernels import infinite_width_gram, infinite_width_layer_ntks, layer_grams
from companion.nearest import Separation, separation
from companion.networks import ReLUNetwork
from companion.ntrf import (
    Optimum,
    ji_telgarsky_margin,
    margin_target,
    ntrf_margin,
    regression_radius,
    smallest_radius,
)
from companion.spectra import least_eigenvalue

# Up to this many numbers of inputs times directions the margin of Assumption 4.6 takes seconds.
_FIELD = 5 * 10**5
_DIRECTIONS = 1000


@dataclass(frozen=True)
class Measured:
    """A number that the theorems depend on, with what is certain about it.

    Attributes:
        value: as it was found.
        lower: it is at least this, up to rounding.
        upper: it is at most this, up to rounding.
        how: how it was measured, in a sentence.
        pair: the two inputs that decide it, where two do.
    """

    value: float
    lower: float
    upper: float
    how: str
    pair: tuple[int, int] | None = None


@dataclass(frozen=True)
class Labelled:
    """Inputs of norm 1 with two labels, as the theorems want them.

    Attributes:
        x: inputs, shape (n, d), float64, of norm 1.
        y: labels, shape (n,), float64, -1 or +1.
        norm_gap: the largest departure of a given input's norm from 1.
        normalised: whether the inputs were divided by their norms for it.
        labels: the two labels as they were given, that of -1 first.
    """

    x: Tensor
    y: Tensor
    norm_gap: float
    normalised: bool
    labels: tuple[float, float]


@dataclass(frozen=True)
class Quantities:
    """What labelled inputs are like, in the terms of the four papers.

    Attributes:
        count: n, of inputs.
        dimension: d.
        depth: D, the hidden layers of the networks whose `margin` and `radius` are told.
        accuracy: eps of `radius`.
        norm_gap: the largest departure of a given input's norm from 1.
        normalised: whether the inputs were divided by their norms.
        labels: the two labels as they were given, that of -1 first.
        of_each: how many inputs have them.
        duplicates: groups of equal inputs.
        contradictions: two equal inputs with different labels, for every group with both.
        bias: mu, if the last coordinate of every input is this constant of (0, 1), else None.
        cross_class: phi, the least distance of inputs of different labels.
        all_pairs: the least distance of any two inputs.
        angle: the least angle between the lines through two inputs, in radians: 0 where two are
            parallel.
        lambda_0: least eigenvalue of H-infinity, of one hidden layer.
        misfit: y^T (H-infinity)^-1 y.
        margin: gamma of Chen et al. (2021), Assumption 4.3.
        radius: R of their Assumption 3.2 for eps = `accuracy`.
        field_margin: gamma of their Assumption 4.6, which is about one hidden layer, or None where
            that is not asked for or costs too much.
    """

    count: int
    dimension: int
    depth: int
    accuracy: float
    norm_gap: float
    normalised: bool
    labels: tuple[float, float]
    of_each: tuple[int, int]
    duplicates: tuple[tuple[int, ...], ...]
    contradictions: tuple[tuple[int, int], ...]
    bias: float | None
    cross_class: Measured
    all_pairs: Measured
    angle: Measured
    lambda_0: Measured
    misfit: Measured
    margin: Measured
    radius: Measured
    field_margin: Measured | None


def quantities(
    x: Tensor,
    y: Tensor,
    *,
    depth: int = 1,
    accuracy: float = 0.1,
    network: ReLUNetwork | None = None,
    normalise: bool = False,
    memory_budget: float | None = None,
) -> Quantities:
    """What the theorems ask about labelled inputs.

    Separation: Zou et al. (2020), Assumption 4.2. lambda_0: Du et al. (2019), Assumption 3.1.
    Margin and radius: Chen et al. (2021), Assumptions 4.3 and 3.2, the latter with losses of at
    most eps / 2 in the tangent, as Proposition 4.2 has it.

    Time grows like n^3: some seconds at n = 1,000, a minute at 2,000.

    Args:
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), of two values, likewise.
        depth: D, hidden layers of the networks that margin and radius are of.
        accuracy: eps, in (0, 1).
        network: of Chen et al., at initialisation, at which margin and radius are measured; without
            it they are those of the limit of infinite width, from predictions of 0.
        normalise: whether inputs may be divided by their norms.
        memory_budget: bytes that it may take, see `quantities_memory`; without it there is no
            limit.

    Raises:
        InputError: arguments that do not fit, numbers that are not finite, inputs that are not of
            norm 1, labels of other than two values, or more inputs than the budget allows.

    Example:
        >>> x, y = sphere(count=6, dimension=3, seed=0).x, torch.tensor([1.0, -1.0]).repeat(3)
        >>> found = quantities(x, y)
        >>> found.count, found.lambda_0.lower > 0, found.margin.lower > 0
        (6, True, True)
    """
    depth, accuracy = whole("depth", depth, least=1), proper_share("accuracy", accuracy)
    data = labelled(x, y, normalise=normalise)
    if network is not None:
        depth = _depth_of(network, data)
    check_memory(len(data.x), data.x.shape[1], depth, memory_budget)
    margin, radius = _tangent(data, depth, accuracy, network)
    lambda_0, misfit = _limit(data)
    apart = separation(data.x, data.y)
    affordable = depth == 1 and len(data.x) * _DIRECTIONS <= _FIELD
    return Quantities(
        count=len(data.x),
        dimension=data.x.shape[1],
        depth=depth,
        accuracy=accuracy,
        norm_gap=data.norm_gap,
        normalised=data.normalised,
        labels=data.labels,
        of_each=(int((data.y < 0).sum()), int((data.y > 0).sum())),
        duplicates=apart.duplicates,
        contradictions=_contradictions(apart, data.y),
        bias=_bias(data.x),
        cross_class=_distance(apart.cross_class, "of different labels", apart.across_pair),
        all_pairs=_distance(apart.all_pairs, "of any labels", _closest(apart)),
        angle=_angle(data.x, apart),
        lambda_0=lambda_0,
        misfit=misfit,
        margin=margin,
        radius=radius,
        field_margin=_field(data) if affordable else None,
    )


def labelled(x: Tensor, y: Tensor, *, normalise: bool = False) -> Labelled:
    """Inputs and labels as the theorems want them.

    Args:
        x: inputs, shape (n, d), a tensor or a NumPy array of numbers.
        y: labels, shape (n,), of two values, likewise; the larger becomes +1, the other -1.
        normalise: whether inputs may be divided by their norms.

    Raises:
        InputError: as of `quantities`.
    """
    x, y = tensor("x", x).detach().cpu(), tensor("y", y).detach().cpu()
    if x.dim() != 2 or y.shape != x.shape[:1] or len(x) < 2:
        raise InputError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; (n, d) and (n,) with n at "
            "least 2 are needed."
        )
    check_finite("input", x)
    check_finite("label", y)
    values = torch.unique(y.double())
    if len(values) != 2:
        raise InputError(
            f"y holds {len(values)} different values; two are needed, such as -1 and +1."
        )
    low, high = values.tolist()
    signs = torch.where(y.double() == high, 1.0, -1.0).double()
    rows = x.double()
    norms = torch.linalg.vector_norm(rows, dim=1)
    gap = (norms - 1).abs()
    divided = normalise and not _is_unit(float(gap.max()))
    if divided:
        if not bool((norms > 0).all()):
            raise InputError(
                f"input {int((norms == 0).nonzero()[0, 0])} is 0, which no factor makes one of "
                "norm 1; leave it out."
            )
        rows = rows / norms[:, None]
    elif not _is_unit(float(gap.max())):
        worst = int(gap.argmax())
        raise InputError(
            f"input {worst} has norm {float(norms[worst]):.6g}, the largest departure from 1, and "
            "the theorems are on inputs of norm 1; say normalise (--normalise) to have every input "
            "divided by its norm."
        )
    return Labelled(unit_rows(rows), signs, float(gap.max()), divided, (low, high))


def quantities_memory(count: int, dimension: int, depth: int) -> int:
    """Bytes that `quantities` takes at most for n = `count` inputs, said before it runs."""
    # The layers' matrices twice over, signed and as roots, and what a step of Newton's method and
    # an eigenvalue decomposition hold besides.
    return 8 * (count**2 * (3 * (depth + 1) + 10) + 6 * count * dimension)


def check_memory(count: int, dimension: int, depth: int, budget: float | None) -> None:
    """Refuse more inputs than a budget in bytes allows, before anything is computed.

    Raises:
        InputError: names what is needed, and how many inputs the budget would allow.
    """
    needed = quantities_memory(count, dimension, depth)
    if budget is not None and needed > budget:
        allowed = fitting(count, budget, lambda n: quantities_memory(n, dimension, depth))
        raise InputError(
            f"{count} inputs need about {needed / 1e9:.3g} GB, as the matrices of all pairs do, "
            f"and {budget / 1e9:.3g} GB may be taken; about {allowed} inputs would fit."
        )


def fitting(count: int, budget: float, needed: Callable[[int], float]) -> int:
    """How many inputs, of `count`, a budget in bytes allows, by what so many need."""
    return max(bisect.bisect_right(range(count), budget, key=needed) - 1, 0)


def proper_share(name: str, value: float) -> float:
    """A number between 0 and 1, neither of which it may be.

    Raises:
        InputError: it is none.
    """
    if not 0 < real(name, value) < 1:
        raise InputError(f"{name} is {value:g}; it must lie in (0, 1).")
    return real(name, value)


def _is_unit(gap: float) -> bool:
    return gap <= 1e-4  # what `unit_rows` puts right by itself


def _depth_of(network: ReLUNetwork, data: Labelled) -> int:
    if network.trained != "all" or network.dimension != data.x.shape[1]:
        raise InputError(
            f"the network trains '{network.trained}' tensors and takes inputs of length "
            f"{network.dimension}; margin and radius are of networks of draw_chen on inputs of "
            f"length {data.x.shape[1]}."
        )
    return network.depth


def _bias(x: Tensor) -> float | None:
    """The constant last coordinate of Zou et al. (2020), Assumption 4.1."""
    last = x[:, -1]
    constant = bool((last == last[0]).all()) and 0 < float(last[0]) < 1
    return float(last[0]) if constant else None


def _distance(least: float, whose: str, pair: tuple[int, int] | None) -> Measured:
    how = f"the least distance of inputs {whose}, exact to double precision"
    return Measured(least, least, least, how, pair)


def _closest(apart: Separation) -> tuple[int, int] | None:
    own = float(apart.within.min()) < apart.cross_class
    return apart.within_pair if own else apart.across_pair


def _contradictions(apart: Separation, y: Tensor) -> tuple[tuple[int, int], ...]:
    found = []
    for group in apart.duplicates:
        others = [row for row in group if y[row] != y[group[0]]]
        if others:
            found.append((group[0], others[0]))
    return tuple(found)


def _angle(x: Tensor, apart: Separation) -> Measured:
    """Between lines, so that opposite inputs are parallel, too."""
    least, pair = apart.all_pairs, _closest(apart)
    sides = torch.ones(len(x), dtype=torch.float64)
    # The nearest of x_i and -x_j; those of one input are farther apart than all others.
    mirrored = separation(torch.cat([x, -x]), torch.cat([sides, -sides]))
    if mirrored.cross_class < least and mirrored.across_pair is not None:
        i, j = mirrored.across_pair
        least, pair = mirrored.cross_class, (min(i, j - len(x)), max(i, j - len(x)))
    angle = 2 * math.asin(min(least / 2, 1.0))
    how = "between the lines through two inputs, from the distance of x_i and x_j or -x_j"
    return Measured(angle, angle, angle, how, pair)


def _limit(data: Labelled) -> tuple[Measured, Measured]:
    """lambda_0, and y^T H^-1 y."""
    gram = infinite_width_gram(data.x)
    least = least_eigenvalue(gram)
    reach = regression_radius(gram, data.y)
    return (
        Measured(
            least.value, least.lower, least.value,
            "of the limit Gram matrix in closed form; the lower end is certified by a Cholesky "
            "factor",
        ),
        Measured(
            reach.value**2, reach.lower**2, reach.upper**2,
            "by the eigenvectors of the limit Gram matrix, between its duality bounds",
        ),
    )  # fmt: skip


def _tangent(
    data: Labelled, depth: int, accuracy: float, network: ReLUNetwork | None
) -> tuple[Measured, Measured]:
    """Gamma and R, over m^-alpha."""
    if network is None:
        grams = infinite_width_layer_ntks(data.x, depth=depth, parameterisation="chen")
        start, where = torch.zeros_like(data.y), "in the limit of infinite width, from f = 0"
    else:
        network = network.detached().to(dtype=torch.float64)
        x = data.x.to(network.outputs.device)
        # The output gain is m^alpha.
        grams = [gram / network.output_gain**2 for gram in layer_grams(network, x)]
        start = network.predict(x)
        where = f"at a network of width {network.widths[0]}"
    margin = ntrf_margin(_summed(grams), data.y)
    radius = smallest_radius(grams, start, data.y, margin_target(accuracy / 2))
    return (
        _optimum(margin, f"{where.removesuffix(', from f = 0')}, by a convex problem and its dual"),
        _optimum(radius, f"{where}, for losses of {accuracy / 2:g}, by a convex problem and "
                 "its dual"),
    )  # fmt: skip


def _summed(grams: Sequence[Tensor]) -> Tensor:
    total = grams[0].clone()
    for gram in grams[1:]:
        total += gram
    return total


def _field(data: Labelled) -> Measured:
    generator = cpu_generator("directions", 0)
    shape = _DIRECTIONS, data.x.shape[1]
    directions = torch.randn(shape, generator=generator, dtype=torch.float64)
    found = ji_telgarsky_margin(data.x, data.y, directions)
    return _optimum(found, f"over {_DIRECTIONS} drawn directions, by a convex problem and its dual")


def _optimum(found: Optimum, how: str) -> Measured:
    return Measured(found.value, found.lower, found.upper, how)
