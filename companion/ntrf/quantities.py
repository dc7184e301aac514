"""Class values, radii and margins: what is asked of Gram matrices, labels and predictions.

All of them are torch tensors or NumPy arrays, and only their numbers count.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.linalg
import torch
from scipy.special import expit
from torch import Tensor

from companion.base.arguments import real, tensor
from companion.errors import InputError
from companion.ntrf._inputs import gram_numbers, numbers_of, signs_of
from companion.ntrf._norms import Ball, HalfSpaces, signed_layers, softened
from companion.ntrf._problems import LeastLoss
from companion.ntrf._solver import largest_margin, least_radius, solve
from companion.ntrf.optimum import Optimum, optimum_of

# Where a quarter of the radius reaches this, the rest would leave the range of floating point.
_NEGLIGIBLE = 1e-40


def margin_target(max_loss: float) -> float:
    """The margin b above which a cross-entropy is less than `max_loss`: -log(e^max_loss - 1).

    Proposition 4.2 of Chen et al. (2021) asks for `max_loss` = epsilon / 2.

    Raises:
        InputError: `max_loss` is not positive.

    Example:
        >>> b = margin_target(0.1)
        >>> round(math.log1p(math.exp(-b)), 12)
        0.1
    """
    max_loss = real("the largest loss", max_loss)
    if not 0 < max_loss < math.inf:
        raise InputError(f"the largest loss is {max_loss}; it must be positive and finite.")
    return -max_loss - math.log(-math.expm1(-max_loss))


def class_value(
    grams: Sequence[Tensor],
    predictions: Tensor,
    labels: Tensor,
    radius: float,
    *,
    ball: Ball = "per-layer",
) -> Optimum:
    """epsilon_NTRF: the least mean cross-entropy of the class of Definition 4.1.

    The minimum of mean_i l(y_i (f_i + sum_l <df(x_i)/dW_l, V_l>)) over the ball, whose dual is
    the maximum over q in [0, 1]^n, with the binary entropy h in nats and ||.||_l of y o K^(l) o y,
    of mean_i (h(q_i) - q_i y_i f_i) - rho sum_l ||q||_l / n. At the optimum q_i = -l'(margin_i).
    Where the value is below 1e-40 it may stay at an upper bound, with 0 for the lower one.

    Args:
        grams: K^(1), ..., K^(L), each of shape (n, n); `kernels.layer_grams`.
        predictions: f at initialisation, shape (n,).
        labels: y, shape (n,), -1 or +1.
        radius: rho.
        ball: `per-layer` for max_l ||V_l||_F <= rho, as in the paper; `single` for
            sum_l ||V_l||_F^2 <= rho^2.

    Raises:
        InputError: shapes that do not fit, half precision, numbers that are not finite, a Gram
            matrix that is not symmetric positive semidefinite, a label that is neither -1 nor +1,
            a negative radius.

    Example:
        >>> x, y = sphere(count=6, dimension=3, seed=0).x, torch.tensor([1.0, -1.0]).repeat(3)
        >>> network = draw_chen(width=50, dimension=3, seed=0, depth=2, dtype=torch.float64)
        >>> found = class_value(layer_grams(network, x), network.predict(x), y, radius=1.0)
        >>> 0 < found.value < math.log(2), found.gap < 1e-9
        (True, True)
    """
    radius = real("the radius", radius)
    if not 0 <= radius < math.inf:
        raise InputError(f"the radius is {radius}; it must be nonnegative and finite.")
    seminorms = signed_layers(grams, labels, ball)
    margins = signs_of(labels) * numbers_of(predictions, "predictions", len(labels))
    # From one radius to the next, four times as large, the optimum moves little.
    uniform = softened(seminorms, np.ones_like(margins), 0.0).norms.sum() / len(margins)
    logits = -margins
    for quarters in range(math.ceil(math.log2(max(radius * uniform, 1.0)) / 2), -1, -1):
        problem = LeastLoss(seminorms, margins, radius / 4**quarters)
        problem, logits = solve(problem, logits, 1e-2 if quarters else 1e-11)
        lower, upper = problem.bounds(logits)
        if quarters and upper < _NEGLIGIBLE:
            lower = 0.0  # as this is a smaller ball
            break
    found = problem.coefficients(logits)
    return optimum_of(upper, lower, upper, expit(logits), found, labels, len(grams))


def smallest_radius(
    grams: Sequence[Tensor],
    predictions: Tensor,
    labels: Tensor,
    margin: float,
    *,
    ball: Ball = "per-layer",
) -> Optimum:
    """The least radius rho at which the class has a member with every y_i f(x_i) >= `margin`.

    For the largest loss to be at most epsilon, `margin` is `margin_target(epsilon)`. The dual is
    the maximum over a >= 0 of sum_i a_i (margin - y_i f_i) / sum_l ||a||_l, and `Optimum.dual` is
    scaled to the denominator 1.

    Arguments and errors are those of `class_value`.

    Returns:
        Its value is 0 where the initialisation is such a member already, and infinite where no
        radius is large enough. If both bounds are infinite, that is so up to rounding: a >= 0,
        then scaled to the sum 1, cancels the gradients to 7 digits.

    Example:
        >>> y, zero = torch.tensor([1.0, -1.0]), torch.zeros(2)
        >>> found = smallest_radius([torch.eye(2)], zero, y, margin=1.0)
        >>> round(found.value, 4), found.gap < 1e-4
        (1.4142, True)
    """
    margin = real("the margin", margin)
    if not math.isfinite(margin):
        raise InputError(f"the margin is {margin}; it must be finite.")
    seminorms = signed_layers(grams, labels, ball)
    needed = margin - signs_of(labels) * numbers_of(predictions, "predictions", len(labels))
    lower, upper, a, found = least_radius(seminorms, needed)
    return optimum_of(upper, lower, upper, a, found, labels, len(grams))


def ntrf_margin(gram: Tensor, labels: Tensor) -> Optimum:
    """The margin of Assumption 4.3: max over sum_l ||U_l||_F^2 = 1 of min_i y_i <df(x_i), U>.

    The hard margin of a kernel machine without bias, whose dual is the minimum over the simplex
    of sqrt((q o y)^T K (q o y)). The paper's gamma is m^-alpha times it.

    Args:
        gram: K, shape (n, n); `kernels.empirical_gram`, or `kernels.infinite_width_gram`.
        labels: y, shape (n,), -1 or +1.

    Returns:
        The margin, 0 where the gradients are not separable. `Optimum.dual` is q, and
        `Optimum.coefficients`, of shape (1, n), serve all layers.

    Raises:
        InputError: as `class_value`.

    Example:
        >>> found = ntrf_margin(torch.eye(2), torch.tensor([1.0, -1.0]))
        >>> round(found.value, 4), found.gap < 1e-4
        (0.7071, True)
    """
    return largest_margin(signed_layers([gram], labels, "single"), labels)


def ji_telgarsky_margin(x: Tensor, labels: Tensor, directions: Tensor) -> Optimum:
    """The margin of Assumption 4.6 of Chen et al. (2021), with a sample in place of N(0, I).

    The greatest gamma such that some u with ||u(z)||_2 <= 1 has, for every i,
    y_i mean_z 1{z . x_i >= 0} <u(z), x_i> >= gamma. Its dual is the minimum over the simplex of
    mean_z ||sum_i q_i y_i 1{z . x_i >= 0} x_i||_2. Exact for the given sample.

    Args:
        x: inputs, shape (n, d).
        labels: y, shape (n,), -1 or +1.
        directions: the sample of z, shape (k, d).

    Returns:
        The margin, 0 where there is no positive one. `Optimum.dual` is q;
        u(z_l) = sum_i c_{l,i} 1{z_l . x_i >= 0} x_i, with `Optimum.coefficients` of shape (k, n).

    Raises:
        InputError: shapes that do not fit, half precision, numbers that are not finite, or a label
            that is neither -1 nor +1.
    """
    x, directions = tensor("x", x), tensor("directions", directions)
    points, sample = numbers_of(x, "inputs"), numbers_of(directions, "directions")
    if points.ndim != 2 or sample.shape != (len(sample), points.shape[1]) or len(sample) == 0:
        raise InputError(
            f"inputs of shape {tuple(x.shape)} do not fit directions of shape "
            f"{tuple(directions.shape)}; (n, d) and (k, d) are needed."
        )
    signs = signs_of(labels)
    if len(signs) != len(points):
        raise InputError(f"there are {len(signs)} labels for {len(points)} inputs; give one each.")
    signed = signs[:, None] * points / len(sample)
    active = (sample @ points.T >= 0).astype(np.float64)
    found = largest_margin(HalfSpaces(active, signed), labels)
    return replace(found, coefficients=found.coefficients / len(sample))


def regression_radius(gram: Tensor, residual: Tensor) -> Optimum:
    """The least norm ||V||_F of parameters that move every prediction by `residual`, r.

    sqrt(r^T K^-1 r): kernel regression interpolates y from r = y - f_0 at that distance, where
    gradient flow on the linearised squared loss ends too. Dual: max over a of a . r / ||a||_K.
    `Optimum.dual` is K^-1 r; so is `Optimum.coefficients`, of shape (1, n), for all layers.

    Args:
        gram: K, shape (n, n).
        residual: r, shape (n,), any real numbers.

    Returns:
        Infinite bounds where r has a part outside the range of K, by 8 digits. Eigenvalues of K
        below n times the machine's epsilon times the largest count as 0.

    Raises:
        InputError: as `class_value`.

    Example:
        >>> round(regression_radius(torch.eye(2), torch.tensor([3.0, 4.0])).value, 6)
        5.0
    """
    gram, residual = tensor("gram", gram), tensor("residual", residual)
    target = numbers_of(residual, "residuals", residual.numel())
    kernel = gram_numbers(gram, len(target))
    values, vectors = scipy.linalg.eigh(kernel)
    kept = values > len(values) * torch.finfo(gram.dtype).eps * values[-1]
    parts = vectors.T @ target
    a = vectors[:, kept] @ (parts[kept] / values[kept])
    zeros = torch.zeros(1, len(target), dtype=torch.float64, device=residual.device)
    if np.linalg.norm(parts[~kept]) > 1e-8 * np.linalg.norm(target):
        return Optimum(math.inf, math.inf, math.inf, zeros[0], zeros)
    norm = math.sqrt(max(a @ kernel @ a, 0.0))
    if norm == 0:
        return Optimum(0.0, 0.0, 0.0, zeros[0], zeros)
    # What a misses of r costs at most its norm over the root of the least eigenvalue.
    missed = float(np.linalg.norm(target - kernel @ a)) / math.sqrt(values[kept].min())
    dual = torch.from_numpy(a).to(residual.device)
    return Optimum(norm, min(a @ target / norm, norm), norm + missed, dual, dual[None])
