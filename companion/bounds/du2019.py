"""Right-hand sides of Du et al. (2019), one function per numbered statement.

Where the paper writes O, Omega or an unnamed constant c, the constant here is the one that its
displayed proof yields; such a function says "derived". Plain numbers and arrays in, the same out.
"""

import math
from collections.abc import Callable

import numpy as np


def theorem_3_2(
    time: np.ndarray, lambda_0: float | np.ndarray, initial_misfit: float | np.ndarray
) -> np.ndarray:
    """Gradient flow: ||u(t) - y||^2 <= exp(-lambda_0 t) ||u(0) - y||^2."""
    return np.exp(-lambda_0 * np.asarray(time)) * initial_misfit


def theorem_4_1(
    step: np.ndarray, step_size: float, lambda_0: float, initial_misfit: float
) -> np.ndarray:
    """Gradient descent: ||u(k) - y||^2 <= (1 - eta lambda_0 / 2)^k ||u(0) - y||^2."""
    return (1 - step_size * lambda_0 / 2) ** np.asarray(step) * initial_misfit


def lemma_3_1_width(count: int, lambda_0: float, delta: float) -> float:
    """Width that gives ||H(0) - H_inf|| <= lambda_0/4 with probability 1 - delta (derived).

    Hoeffding on the n(n+1)/2 entries, each in an interval of length at most 1, then the
    Frobenius norm.
    """
    return 8 * count**2 / lambda_0**2 * math.log(count * (count + 1) / delta)


def lemma_3_1_width_bernstein(
    count: int, lambda_0: float, delta: float, inputs_norm: float, limit_norm: float
) -> float:
    """Width that gives the same as `lemma_3_1_width`, by matrix Bernstein (derived).

    H(0) averages m independent matrices between 0 and ||X X^T||, of mean H_inf, so the variance of
    one is at most ||X X^T|| ||H_inf||.

    Args:
        count: n, of inputs.
        lambda_0: least eigenvalue of H_inf.
        delta: failure probability.
        inputs_norm: ||X X^T||_2.
        limit_norm: ||H_inf||_2.
    """
    variance = inputs_norm * limit_norm + inputs_norm * lambda_0 / 12
    return 32 * variance / lambda_0**2 * math.log(2 * count / delta)


def lemma_3_2_radius(count: int, lambda_0: float, delta: float) -> float:
    """R within which H moves by less than lambda_0/4 (derived; c is sqrt(2 pi)/16)."""
    return math.sqrt(2 * math.pi) * delta * lambda_0 / (16 * count**2)


def lemma_3_2_gram_change(count: int, radius: float) -> float:
    """Expected sum over entries of |H - H(0)| within `radius`: 4 n^2 R / sqrt(2 pi)."""
    return 4 * count**2 * radius / math.sqrt(2 * math.pi)


def near_boundary_probability(radius: float) -> float:
    """P(|w . x| < R) for w ~ N(0, I) and unit x: erf(R / sqrt 2), exactly."""
    return math.erf(radius / math.sqrt(2))


def near_boundary_bound(radius: float) -> float:
    """The paper's bound on the same probability: 2 R / sqrt(2 pi)."""
    return 2 * radius / math.sqrt(2 * math.pi)


def lemma_3_3_distance(count: int, width: int, lambda_0: float, initial_misfit: float) -> float:
    """R' of gradient flow, 2 sqrt(n) ||y - u(0)|| / (sqrt(m) lambda_0), with the draft's factor 2.

    The camera-ready prints it without the 2, which its own proof does not give.
    """
    return 2 * math.sqrt(count * initial_misfit) / (math.sqrt(width) * lambda_0)


def corollary_4_1_distance(count: int, width: int, lambda_0: float, initial_misfit: float) -> float:
    """R' of gradient descent, 4 sqrt(n) ||y - u(0)|| / (sqrt(m) lambda_0)."""
    return 4 * math.sqrt(count * initial_misfit) / (math.sqrt(width) * lambda_0)


def lemma_4_1_flips(count: int, width: int, radius: float) -> float:
    """Expected number of near-boundary pairs sum_i |S_i^perp| is at most 2 m n R / sqrt(2 pi)."""
    return width * count * near_boundary_bound(radius)


def initial_misfit(labels_squared: float, count: int) -> float:
    """E ||y - u(0)||^2 = ||y||^2 + n/2 exactly (derived); the paper has n in place of n/2."""
    return labels_squared + count / 2


def theorem_3_2_width(count: int, lambda_0: float, delta: float, misfit: float) -> float:
    """Width at which R' < R for gradient flow, 4 n ||y - u(0)||^2 / (lambda_0 R)^2 (derived)."""
    radius = lemma_3_2_radius(count, lambda_0, delta)
    return 4 * count * misfit / (lambda_0 * radius) ** 2


def theorem_4_1_width(count: int, lambda_0: float, delta: float, misfit: float) -> float:
    """Width at which R' < R for descent, 16 n ||y - u(0)||^2 / (lambda_0 R)^2 (derived)."""
    radius = lemma_3_2_radius(count, lambda_0, delta)
    return 16 * count * misfit / (lambda_0 * radius) ** 2


def explicit_width(
    theorem: Callable[[int, float, float, float], float],
    count: int,
    lambda_0: float,
    delta: float,
    labels_squared: float,
) -> float:
    """Width that suffices with probability 1 - delta for a theorem that needs two events (derived).

    One half of delta pays for the misfit at initialisation, by Markov's inequality from its exact
    mean, the other for the units near a boundary.

    Args:
        theorem: `theorem_3_2_width`, `theorem_4_1_width` or `theorem_3_3_width`.
        count: n, of inputs.
        lambda_0: least eigenvalue of H-infinity.
        delta: failure probability.
        labels_squared: ||y||^2, or its expectation.
    """
    half = delta / 2
    return theorem(count, lambda_0, half, initial_misfit(labels_squared, count) / half)


def theorem_3_2_time(lambda_0: float, misfit: float, target: float) -> float:
    """Time by which the bound of gradient flow is down from `misfit` to `target` (derived)."""
    return max(math.log(misfit / target), 0.0) / lambda_0


def theorem_4_1_iterations(
    step_size: float, lambda_0: float, misfit: float, target: float
) -> float:
    """Steps after which the bound of descent is down from `misfit` to `target` (derived)."""
    return max(math.log(misfit / target), 0.0) / -math.log1p(-step_size * lambda_0 / 2)


def printed_width(count: int, lambda_0: float, delta: float) -> float:
    """What Theorems 3.2 and 4.1 print, n^6 / (lambda_0^4 delta^3), with constant 1."""
    return float(count) ** 6 / (lambda_0**4 * delta**3)


def theorem_4_1_step_size(count: int, lambda_0: float) -> float:
    """The theorem's eta = O(lambda_0 / n^2), with constant 1."""
    return lambda_0 / count**2


def theorem_4_1_radius(count: int, lambda_0: float, delta: float, step_size: float) -> float:
    """R of gradient descent at one step size (derived).

    Outside one event of probability delta, sum_i |S_i^perp| <= 2 m n R / (sqrt(2 pi) delta). The
    displayed chain of inequalities then contracts by 1 - eta lambda_0 / 2 if
    4 R (n^2 + n^1.5) / (sqrt(2 pi) delta) + eta n^2 <= lambda_0 / 2, and Lemma 3.2 follows.

    Returns:
        The smaller of that R and Lemma 3.2's; not positive where the step size alone is too large.
    """
    left = lambda_0 / 2 - step_size * count**2
    spent = 4 * (count**2 + count * math.sqrt(count)) / (math.sqrt(2 * math.pi) * delta)
    contracting = left / spent
    return min(contracting, lemma_3_2_radius(count, lambda_0, delta))


def theorem_4_1_free_step_size(count: int, lambda_0: float) -> float:
    """Largest eta at which `theorem_4_1_radius` is Lemma 3.2's R: lambda_0 (1 - n^-0.5) / (4 n^2).

    Derived; zero for n = 1, where every step size costs width.
    """
    return lambda_0 * (1 - 1 / math.sqrt(count)) / (4 * count**2)


def theorem_4_1_width_at(
    count: int, lambda_0: float, delta: float, misfit: float, step_size: float
) -> float:
    """Width at which R' < R for gradient descent at one step size (derived)."""
    radius = theorem_4_1_radius(count, lambda_0, delta, step_size)
    return 16 * count * misfit / (lambda_0 * radius) ** 2


def lemma_a3_radii(count: int, lambda_0: float, delta: float) -> tuple[float, float]:
    """R_w and R_a: sqrt(2 pi) lambda_0 delta / (32 n^2) and lambda_0 / (16 n^2)."""
    return (
        math.sqrt(2 * math.pi) * lambda_0 * delta / (32 * count**2),
        lambda_0 / (16 * count**2),
    )


def theorem_3_3_width(count: int, lambda_0: float, delta: float, misfit: float) -> float:
    """Least width with R_w' < R_w and R_a' < R_a for joint training (derived).

    The second asks m / log(m n / delta) > 64 n ||y - u(0)||^2 / (lambda_0 R_a)^2, solved by
    iteration.
    """
    weight_radius, output_radius = lemma_a3_radii(count, lambda_0, delta)
    weights = 16 * count * misfit / (lambda_0 * weight_radius) ** 2
    scale = 64 * count * misfit / (lambda_0 * output_radius) ** 2
    outputs = scale
    for _ in range(100):
        outputs = scale * math.log(max(outputs, 1.0) * count / delta)
    return max(weights, outputs)


def lemma_a3_gram_changes(
    count: int, weight_radius: float, output_radius: float
) -> tuple[float, float]:
    """Pieces of Lemma A.3: ||H' - H(0)|| in expectation, and ||H - H'||, H' having a(0).

    4 n^2 R_w / sqrt(2 pi), and n^2 (2 R_a + R_a^2), where the paper prints 2 n^2 R_a.
    """
    return (
        lemma_3_2_gram_change(count, weight_radius),
        count**2 * (2 * output_radius + output_radius**2),
    )


def lemma_a4_distance(count: int, width: int, lambda_0: float, initial_misfit: float) -> float:
    """R_w' of joint training, 4 sqrt(n) ||y - u(0)|| / (sqrt(m) lambda_0)."""
    return 4 * math.sqrt(count * initial_misfit) / (math.sqrt(width) * lambda_0)


def lemma_a5_distance(
    count: int, width: int, lambda_0: float, initial_misfit: float, delta: float
) -> float:
    """R_a', 8 sqrt(n) ||y - u(0)|| sqrt(log(m n / delta)) / (sqrt(m) lambda_0)."""
    logarithm = math.log(width * count / delta)
    return 8 * math.sqrt(count * initial_misfit * logarithm) / (math.sqrt(width) * lambda_0)


def approach_correlation(
    count: int, dimension: int, labels_variance: float = math.inf, predictions_variance: float = 0.5
) -> float:
    """Correlation of the speeds at which a unit meets its kink from its two sides (derived).

    At the kink of x_i, let s = -a sum_{j != i} rho_j x_i.x_j 1_j, with rho = u - y, be the speed of
    w.x_i off the active side, over 1/sqrt(m), and g = a rho_i what the input itself takes away on
    the active side. The two speeds of approach are s and g - s. Over uniform inputs on the sphere,
    with nu = n/(2d) and in units of Var g = V + v:

    * Var s = nu + e nu^2 and Cov(s, g) = -e nu, with e = (v/2) / (V + v);
    * v is the variance 1/2 of u(0), V that of the labels. Half of v is the part of u(0) that is
      linear in x, which half the inputs at a time repeat; the constant part averages out, and what
      is left is small in high dimension.

    Labels that outweigh u(0), or residuals that know nothing of the network, have e = 0, and the
    correlation is -tau / sqrt(1 + tau^2) with tau^2 = nu.

    Args:
        count: n, of inputs.
        dimension: d, of an input.
        labels_variance: V.
        predictions_variance: v; 1/2 at initialisation.
    """
    nu = count / (2 * dimension)
    linear = predictions_variance / 2 / (labels_variance + predictions_variance)
    drive, shared = nu + linear * nu**2, -linear * nu
    return (shared - drive) / math.sqrt(drive * (1 + drive - 2 * shared))


def sliding_share(correlation: float) -> float:
    """Share of the pairs met at a kink first that slide along it: (1 + r)/2 (derived).

    Around a kink the density of w.x_i is flat, so pairs arrive from a side in proportion to their
    speed of approach there, s or t: E[s^+] and E[t^+] of them. A pair slides if both are positive,
    so the share is E[(s + t) 1{s > 0, t > 0}] / (E[s^+] + E[t^+]). For centred Gaussian s and t
    with correlation r, E[s 1{s > 0, t > 0}] is (1 + r)/2 times E[s^+], and so it is for t.

    With independent Gaussian residuals, where r = -tau / sqrt(1 + tau^2), it is
    1 / (2 sqrt(1 + tau^2) (tau + sqrt(1 + tau^2))).

    Args:
        correlation: r, such as `approach_correlation`.
    """
    return (1 + correlation) / 2
