"""Right-hand sides of Zou et al. (2020), and the widths and iterations that it compares with.

As in `companion.bounds.zou2018`, every constant is 1 and logarithms that a tilde hides are left
out: only powers are told. The arguments are those of that module, too.
"""

import math


def theorem_4_4_step_size(width: float, depth: int) -> float:
    """Eta: 1 / (M L^3), M being the largest width."""
    return 1 / (width * float(depth) ** 3)


def proof_radius(count: int, depth: int, separation: float) -> float:
    """Tau that the proof takes for layers of equal width: n^(-9/2) L^-8 phi^(3/2)."""
    return math.pow(separation, 1.5) / (math.pow(count, 4.5) * float(depth) ** 8)


def lemma_5_2_radius(count: int, depth: int, separation: float) -> float:
    """The largest tau of the gradient bounds: phi^(3/2) n^-3 L^-2."""
    return math.pow(separation, 1.5) / (float(count) ** 3 * float(depth) ** 2)


def lemma_5_2_width(count: int, separation: float) -> float:
    """The width that the gradient bounds ask for: n^2 / phi."""
    return count**2 / separation


def lemma_5_3_radius(depth: int) -> float:
    """The largest tau of sufficient descent, L^-11, without its logarithm of M."""
    return 1 / float(depth) ** 11


def proof_depth(count: int, separation: float) -> float:
    """L up to which `proof_radius` is one that Lemma 5.3 allows: n^(3/2) phi^(-1/2) (derived).

    The theorem does not state it.
    """
    return math.pow(count, 1.5) / math.sqrt(separation)


def proof_time(count: int, width: float, separation: float, accuracy: float) -> float:
    """K eta by the proof's rate: n^5 / (m phi) + n^3 / (m phi eps)."""
    return (float(count) ** 5 + float(count) ** 3 / accuracy) / (width * separation)


def proof_distance(time: float) -> float:
    """Path bound sqrt(k eta), of which the proof has sqrt(2 k eta L_S(0)) in every layer."""
    return math.sqrt(time)


def theorem_4_4_width(count: int, depth: int, separation: float, accuracy: float) -> float:
    """Width: n^14 L^16 phi^-4 + n^12 L^16 phi^-4 / eps."""
    n = float(count)
    return (n**14 + n**12 / accuracy) * float(depth) ** 16 / separation**4


def theorem_4_4_iterations(count: int, depth: int, separation: float, accuracy: float) -> float:
    """Iterations: n^5 L^3 / phi + n^3 L^3 / (phi eps)."""
    n = float(count)
    return (n**5 + n**3 / accuracy) * float(depth) ** 3 / separation


def remark_4_1_accuracy(count: int) -> float:
    """Mean loss at which every example is on the right side: log 2 / n, exactly."""
    return math.log(2) / count


def remark_4_1_width(count: int, depth: int, separation: float) -> float:
    """Width for zero training error: n^14 L^16 phi^-4, what `theorem_4_4_width` leaves of it."""
    return float(count) ** 14 * float(depth) ** 16 / separation**4


def remark_4_1_iterations(count: int, depth: int, separation: float) -> float:
    """Iterations for zero training error: n^5 L^3 / phi."""
    return float(count) ** 5 * float(depth) ** 3 / separation


def allen_zhu_width(count: int, depth: int, separation: float) -> float:
    """Width of Allen-Zhu, Li and Song as Remark 4.2 quotes it: n^24 L^12 phi^-8.

    Their phi is the least distance of any two inputs; where two agree, no width is enough.
    """
    if separation == 0:
        return math.inf
    return float(count) ** 24 * float(depth) ** 12 / separation**8


def allen_zhu_iterations(count: int, depth: int, separation: float) -> float:
    """Iterations of Allen-Zhu, Li and Song as Remark 4.2 quotes it: n^6 L^2 phi^-2."""
    return float(count) ** 6 * float(depth) ** 2 / separation**2


def du_deep_width(count: int, depth: int, lambda_0: float) -> float:
    """Width of Du et al. for deep networks as Remark 4.2 quotes it: 2^O(L) n^4 / lambda_0^4.

    The constant in the exponent is 1 here as all others are. Their theorem is of smooth
    activations, and lambda_0 the least eigenvalue of their Gram matrix; where rounding leaves
    nothing of it, no width is enough.
    """
    if lambda_0 <= 0:
        return math.inf
    return 2.0**depth * float(count) ** 4 / lambda_0**4
