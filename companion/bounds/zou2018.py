"""Right-hand sides of Zou et al. (2018), version 3: widths, iterations, step sizes, radii, times.

The paper writes them with O and Omega, and with a tilde where logarithms of n, L and m are hidden.
Here every constant is 1 and every hidden logarithm is left out, so that only powers are told; the
logarithm of 1/eps, which the paper shows, stays. Plain numbers in, the same out.

Arguments that several functions share:

* count: n, of inputs; depth: L, of hidden layers; separation: phi, the least distance of two inputs
  of different labels; width: m, of every hidden layer; batch: B; accuracy: eps, the mean loss that
  is asked for, below 1.
* p and alpha_0: constants of the loss, Assumption 3.2; `math.inf` is an alpha_0 too.
"""

import math


def remark_5_2_radius(count: int, depth: int, separation: float) -> float:
    """Tau, in which the iterates have to stay: n^-9 L^-17 phi^3."""
    return separation**3 / (float(count) ** 9 * float(depth) ** 17)


def theorem_5_3_radius(count: int, depth: int, separation: float) -> float:
    """The largest tau of the perturbation theorem: min{L^-11, phi^(3/2) n^-3 L^-2}."""
    return min(1 / float(depth) ** 11, math.pow(separation, 1.5) / (count**3 * depth**2))


def theorem_4_1_step_size(count: int, width: float, depth: int) -> float:
    """Eta of gradient descent, as the theorem states it: n^-3 L^-9 m^-1."""
    return 1 / (float(count) ** 3 * float(depth) ** 9 * width)


def lemma_5_4_step_size(count: int, width: float, depth: int, separation: float) -> float:
    """Eta of gradient descent, as its proof takes it: that of the theorem, times phi."""
    return separation * theorem_4_1_step_size(count, width, depth)


def accuracy_factor(accuracy: float, p: float) -> float:
    """What an accuracy costs: 1 for p < 1/2, log(1/eps) for p = 1/2, eps^(1 - 2p) for p > 1/2."""
    if p < 0.5:
        return 1.0
    return math.log(1 / accuracy) if p == 0.5 else math.pow(accuracy, 1 - 2 * p)


def lemma_5_4_time(
    count: int, width: float, separation: float, accuracy: float, p: float, alpha_0: float
) -> float:
    """K eta, after which the loss has been below eps once, as long as the iterates stay near.

    n^(5 - 2p) / (m phi) times `accuracy_factor`; a finite alpha_0 adds n^5 / (m phi), in which for
    p < 1/2 the other term is lost.
    """
    unit = 1 / (width * separation)
    slope = math.pow(count, 5 - 2 * p) * unit * accuracy_factor(accuracy, p)
    if math.isinf(alpha_0):
        return slope
    level = float(count) ** 5 * unit
    return level if p < 0.5 else level + slope


def lemma_5_5_time(count: int, depth: int, separation: float, radius: float) -> float:
    """T, up to which k eta keeps gradient descent within tau: L^-4 n^-3 tau^2 phi."""
    return radius**2 * separation / (float(depth) ** 4 * float(count) ** 3)


def theorem_4_1_width(
    count: int, depth: int, separation: float, accuracy: float, p: float, alpha_0: float
) -> float:
    """Width at which K eta of Lemma 5.4 is the T of Lemma 5.5, at tau of Remark 5.2 (derived).

    For alpha_0 infinite it is n^(26 - 2p) L^38 phi^-8 times `accuracy_factor`; for a finite alpha_0
    n^26 L^38 phi^-8, to which p >= 1/2 adds the former.
    """
    n = float(count)
    slope = math.pow(n, 26 - 2 * p) * accuracy_factor(accuracy, p)
    level = 0.0 if math.isinf(alpha_0) else n**26
    if level and p < 0.5:
        slope = 0.0
    return _common(depth, separation) * (level + slope)


def theorem_4_1_printed_width(
    count: int, depth: int, separation: float, accuracy: float, p: float, alpha_0: float
) -> float:
    """The width as the theorem's proof prints it.

    It is `theorem_4_1_width`, except for a finite alpha_0 and p > 1/2: there the powers of n in the
    two terms are exchanged, n^(26 - 2p) + n^26 eps^(1 - 2p).
    """
    if math.isinf(alpha_0) or p <= 0.5:
        return theorem_4_1_width(count, depth, separation, accuracy, p, alpha_0)
    n = float(count)
    exchanged = math.pow(n, 26 - 2 * p) + n**26 * accuracy_factor(accuracy, p)
    return _common(depth, separation) * exchanged


def theorem_4_1_iterations(
    count: int, depth: int, separation: float, accuracy: float, p: float, alpha_0: float
) -> float:
    """K of gradient descent at the step size of Lemma 5.4; the width cancels (derived)."""
    step_size = lemma_5_4_step_size(count, 1, depth, separation)
    return lemma_5_4_time(count, 1, separation, accuracy, p, alpha_0) / step_size


def lemma_5_7_step_size(
    count: int, width: float, depth: int, separation: float, batch: int, p: float
) -> float:
    """Eta of SGD in the proof of Theorem 4.5: phi m^-1 n^(2p - 7) L^-9 B^2.

    Lemma 5.7 itself has L^-8, the theorem n^-3 L^-9 m^-1, Lemma 5.6 B n^-4 L^-9 m^-1 phi.
    """
    return separation * batch**2 * math.pow(count, 2 * p - 7) / (width * float(depth) ** 9)


def lemma_5_7_time(
    count: int, width: float, depth: int, batch: int, radius: float, alpha_0: float
) -> float:
    """T of SGD: L^-2 n^-1 B m^(-1/2) tau for alpha_0 infinite, else L^-2 m^(-1/2) tau."""
    reach = radius / (depth**2 * math.sqrt(width))
    return reach * batch / count if math.isinf(alpha_0) else reach


def theorem_4_5_width(
    count: int, depth: int, separation: float, accuracy: float, p: float, alpha_0: float
) -> float:
    """Width for SGD on batches of one example (derived).

    K eta of Lemma 5.4 falls like 1/m and T of Lemma 5.7 like m^(-1/2), so it is the square of their
    quotient at m = 1. As the square of a sum is at most twice the sum of squares, the paper writes

    * for alpha_0 infinite n^(30 - 4p) L^38 phi^-8 times the square of `accuracy_factor`;
    * for a finite alpha_0 n^28 L^38 phi^-8, to which p >= 1/2 adds n^(28 - 4p) times that square.

    For p = 1/2 and alpha_0 infinite its proof prints log(1/eps) without the square that the theorem
    has.
    """
    n, factor = float(count), accuracy_factor(accuracy, p) ** 2
    if math.isinf(alpha_0):
        terms = math.pow(n, 30 - 4 * p) * factor
    else:
        terms = n**28 + (0.0 if p < 0.5 else math.pow(n, 28 - 4 * p) * factor)
    return _common(depth, separation) * terms


def theorem_4_5_iterations(
    count: int,
    depth: int,
    separation: float,
    batch: int,
    accuracy: float,
    p: float,
    alpha_0: float,
) -> float:
    """K of SGD, K eta of Lemma 5.4 at the proof's step size; the width cancels (derived).

    n^(12 - 4p) B^-2 L^9 phi^-2 times `accuracy_factor`; a finite alpha_0 adds n^(12 - 2p).
    """
    step_size = lemma_5_7_step_size(count, 1, depth, separation, batch, p)
    return lemma_5_4_time(count, 1, separation, accuracy, p, alpha_0) / step_size


def corollary_4_3_accuracy(count: int, value_at_0: float) -> float:
    """Mean loss below which no example is on the wrong side: l(0) / n."""
    return value_at_0 / count


def _common(depth: int, separation: float) -> float:
    """L^38 phi^-8, which every width of this paper has."""
    return float(depth) ** 38 / separation**8
