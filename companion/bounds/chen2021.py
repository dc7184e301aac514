"""Right-hand sides of Chen et al. (2021), arXiv version 2, and the rows of its Table 1.

As in `companion.bounds.zou2018`, every constant is 1 and logarithms that a tilde hides are left
out; those that the paper shows stay. Plain numbers in, the same out.

Arguments that several functions share:

* layers: L, all weight matrices, which is one more than the depth of `companion.bounds.zou2018`;
  alpha: the scaling exponent, in (0, 1/2]; width: m, of every hidden layer; count: n, of inputs.
* radius: R of Assumption 3.2; separation: phi of Assumption 4.9; accuracy: eps; delta: the failure
  probability.
"""

import math
from dataclasses import dataclass


def theorem_3_3_step_size(width: float, layers: int, alpha: float) -> float:
    """Eta of gradient descent: L^-1 m^(-2 alpha)."""
    return 1 / (layers * math.pow(width, 2 * alpha))


def theorem_3_3_iterations(layers: int, radius: float, accuracy: float) -> float:
    """T after which the mean loss has been at most 3 eps: L^2 R^2 / eps."""
    return (layers * radius) ** 2 / accuracy


def theorem_3_3_width(radius: float, layers: int, alpha: float, count: int, delta: float) -> float:
    """m* of (6.4): (R^4 L^11)^(1 / alpha) times log(n / delta)^(2 / (2 - alpha))."""
    return equation_6_4_polynomial(radius, layers, alpha) * math.pow(
        math.log(count / delta), 2 / (2 - alpha)
    )


def equation_6_4_polynomial(radius: float, layers: float, alpha: float) -> float:
    """What (6.4) has beside its logarithm: (R^4 L^11)^(1 / alpha)."""
    return math.pow(radius**4 * float(layers) ** 11, 1 / alpha)


def lemma_6_2_radius(width: float, layers: float, alpha: float) -> float:
    """Tau, in which the iterates have to stay: L^(-9/4) m^(-3 alpha / 4), without logarithms."""
    return math.pow(layers, -9 / 4) * math.pow(width, -3 * alpha / 4)


def equation_6_3_distance(radius: float, width: float, layers: float, alpha: float) -> float:
    """How far the iterates go: L^(1/2) R m^-alpha."""
    return math.sqrt(layers) * radius * math.pow(width, -alpha)


def lemma_6_1_width(layers: int, alpha: float, count: int, delta: float) -> float:
    """(6.2), the width that the probability asks for, without log(m).

    L^(1 / (2 - alpha)) log(n L^2 / delta)^(2 / (2 - alpha)).
    """
    logarithm = math.log(count * layers**2 / delta)
    return math.pow(layers, 1 / (2 - alpha)) * math.pow(logarithm, 2 / (2 - alpha))


def theorem_3_8_step_size(
    width: float, layers: int, alpha: float, radius: float, count: int, accuracy: float
) -> float:
    """Eta of SGD: m^(-2 alpha) min{L R^2 / (n eps), 1 / L}."""
    return math.pow(width, -2 * alpha) * min(layers * radius**2 / (count * accuracy), 1 / layers)


def theorem_3_8_samples(layers: int, radius: float, accuracy: float) -> float:
    """N at which the first term of the bound for SGD, 8 L^2 R^2 / n, is eps."""
    return 8 * (layers * radius) ** 2 / accuracy


def theorem_3_5_samples(layers: int, radius: float, accuracy: float) -> float:
    """N at which L^(3/2) R / sqrt(n), which the bound has at large width, is eps."""
    return float(layers) ** 3 * (radius / accuracy) ** 2


def proposition_4_7_width(count: int, margin: float, delta: float) -> float:
    """Width of two layers from which on its proof works: 32 log(n / delta) / gamma^2, exactly."""
    return 32 * math.log(count / delta) / margin**2


def proposition_4_10_radius(count: int, separation: float, accuracy: float, delta: float) -> float:
    """R for inputs whose classes are phi apart: n^(3/2) phi^(-1/2) log(n / (delta eps))."""
    return separated_radius(count, separation) * math.log(count / (delta * accuracy))


def separated_radius(count: float, separation: float) -> float:
    """What Proposition 4.10 has beside its logarithm: n^(3/2) phi^(-1/2)."""
    return math.pow(count, 1.5) / math.sqrt(separation)


def proposition_4_10_width(count: float, separation: float, layers: float, alpha: float) -> float:
    """The width that it asks for, without its logarithm: (L^2 n^(9/2) phi^-2)^(1 / alpha)."""
    inner = float(layers) ** 2 * math.pow(count, 4.5) / separation**2
    return math.pow(inner, 1 / alpha)


def remark_4_11_width(count: float, separation: float, layers: float) -> float:
    """Width at alpha = 1/2 for such inputs: L^22 n^12 phi^-4."""
    return float(layers) ** 22 * float(count) ** 12 / separation**4


def remark_4_11_layers(count: float, accuracy: float) -> float:
    """L up to which that is less than Zou et al. (2020) ask for: max(n^(1/3), eps^(-1/6))."""
    return max(math.pow(count, 1 / 3), math.pow(accuracy, -1 / 6))


def lemma_a_2_gradient(
    count: int, width: float, separation: float, alpha: float, slope_sum: float
) -> float:
    """Least squared norm of the gradient in W_(L-1): m^(2 alpha) phi n^-5 (sum of slopes)^2."""
    return math.pow(width, 2 * alpha) * separation * slope_sum**2 / float(count) ** 5


def equation_a_1_rate(count: int, width: float, separation: float, alpha: float) -> float:
    """Rate at which the squared hinge decays in time: 4 m^(2 alpha) phi n^-3."""
    return 4 * math.pow(width, 2 * alpha) * separation / float(count) ** 3


def equation_a_1_distance(rate: float, first_loss: float) -> float:
    """How far a flow goes whose loss decays at least at that rate: 2 sqrt(loss / rate)."""
    return 2 * math.sqrt(first_loss / rate)


@dataclass(frozen=True)
class Need:
    """What a theorem asks for: powers of 1/eps, n and 1/lambda_0.

    A power is NaN where the table says that the need is polynomial and no more.

    Attributes:
        accuracy: power of 1/eps.
        count: power of n.
        eigenvalue: power of 1/lambda_0.
    """

    accuracy: float = 0.0
    count: float = 0.0
    eigenvalue: float = 0.0

    def at(self, accuracy: float, count: float = 1.0, lambda_0: float = 1.0) -> float:
        """The need with constant 1; NaN where a power is not told."""
        return float(
            math.pow(1 / accuracy, self.accuracy)
            * math.pow(count, self.count)
            * math.pow(1 / lambda_0, self.eigenvalue)
        )


@dataclass(frozen=True)
class Row:
    """A row of Table 1; eps is there the test error.

    Attributes:
        work: whose theorem it is.
        algorithm: `GD` or `SGD`.
        deep: whether the network has more than two layers; then the needs have a factor in L.
        width: what is needed of m.
        iterations: of the algorithm.
        samples: of n.
        checked: whether the row was compared with the quoted work, or with this paper's theorems.
    """

    work: str
    algorithm: str
    deep: bool
    width: Need
    iterations: Need
    samples: Need
    checked: bool


_SOME = math.nan
THIS_PAPER = "this paper"
TABLE_1 = (
    Row("Allen-Zhu et al. 2019a", "SGD", False, Need(_SOME), Need(2), Need(4), False),
    Row("Arora et al. 2019a", "GD", False, Need(_SOME, _SOME, _SOME), Need(0, 2, 2), Need(2), True),
    Row("Nitanda-Suzuki 2019", "GD", False, Need(1), Need(2), Need(4), False),
    Row("Ji-Telgarsky 2020", "GD", False, Need(0), Need(1), Need(2), True),
    Row("Ji-Telgarsky 2020", "SGD", False, Need(0), Need(1), Need(1), True),
    Row("Cao-Gu 2019b", "GD", True, Need(14), Need(2), Need(4), True),
    Row("Cao-Gu 2019a", "SGD", True, Need(14), Need(2), Need(2), True),
    Row(THIS_PAPER, "GD", True, Need(0), Need(1), Need(2), True),
    Row(THIS_PAPER, "SGD", True, Need(0), Need(1), Need(1), True),
)


def cao_gu_2019a_width(count: float) -> float:
    """Width of Theorem 3.3 of Cao and Gu (2019a), which Table 1 quotes at n = eps^-2: n^7."""
    return float(count) ** 7
