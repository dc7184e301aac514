"""Powers of Zou et al.: closed again in exact arithmetic, and read off the functions."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from companion.bounds import zou2018, zou2020

HALF = Fraction(1, 2)
POINT = {"count": 8, "depth": 4, "separation": 0.25}
CASES = [(p, alpha) for p in (0.25, 0.5, 1.0) for alpha in (math.inf, 1.0)]


@dataclass(frozen=True)
class Power:
    """A product of powers of letters, with exact exponents."""

    of: dict[str, Fraction] = field(default_factory=dict)

    def __mul__(self, other):
        letters = {*self.of, *other.of}
        total = {k: self.of.get(k, Fraction(0)) + other.of.get(k, Fraction(0)) for k in letters}
        return Power({k: v for k, v in total.items() if v})

    def __pow__(self, exponent):
        return Power({k: v * exponent for k, v in self.of.items()})

    def __truediv__(self, other):
        return self * other**-1


def power(**exponents):
    return Power({k: Fraction(v) for k, v in exponents.items() if v})


def solved_for_m(left, right):
    """The m at which left = right."""
    rest = left / right
    exponent = rest.of.pop("m")
    return rest ** (-1 / exponent)


def read_off(function, **point):
    """Exponents in n, L, phi of a product of powers: at powers of two the quotients are exact."""
    start = function(**point)
    found = {}
    for letter, name in (("n", "count"), ("L", "depth"), ("phi", "separation")):
        if name in point:
            log = math.log2(function(**{**point, name: 4 * point[name]}) / start) / 2
            found[letter] = Fraction(log).limit_denominator(8)
            assert log == pytest.approx(float(found[letter]), abs=1e-9)
    return Power({k: v for k, v in found.items() if v})


def test_the_width_of_2020_closes_its_proof():
    tau = power(n=-Fraction(9, 2), L=-8, phi=3 * HALF)
    for time, width in (
        (power(n=5, m=-1, phi=-1), power(n=14, L=16, phi=-4)),
        (power(n=3, m=-1, phi=-1, eps=-1), power(n=12, L=16, phi=-4, eps=-1)),
    ):
        assert solved_for_m(time**HALF, tau) == width
        step_size = power(m=-1, L=-3)
        assert (time / step_size).of["L"] == 3
        assert "m" not in (time / step_size).of
    assert read_off(zou2020.remark_4_1_width, **POINT) == power(n=14, L=16, phi=-4)
    assert read_off(zou2020.remark_4_1_iterations, **POINT) == power(n=5, L=3, phi=-1)
    assert read_off(zou2020.proof_radius, **POINT) == tau
    assert read_off(zou2020.allen_zhu_width, **POINT) / power(n=14, L=16, phi=-4) == power(
        n=10, L=-4, phi=-4
    )
    quotient = read_off(zou2020.allen_zhu_iterations, **POINT) / power(n=5, L=3, phi=-1)
    assert quotient == power(n=1, L=-1, phi=-1)


@pytest.mark.parametrize("accuracy", [0.5, 1e-3])
def test_terms_of_2020_add_up(accuracy):
    width = zou2020.theorem_4_4_width(8, 4, 0.25, accuracy)
    first = 8.0**14 * 4.0**16 * 4.0**4
    assert width == pytest.approx(first * (1 + 1 / (64 * accuracy)))
    time = zou2020.proof_time(8, width, 0.25, accuracy)
    assert zou2020.proof_distance(time) == pytest.approx(zou2020.proof_radius(8, 4, 0.25))
    steps = time / zou2020.theorem_4_4_step_size(width, 4)
    assert zou2020.theorem_4_4_iterations(8, 4, 0.25, accuracy) == pytest.approx(steps)


def test_the_other_conditions_of_2020():
    """Lemma 5.2's are met by the theorem's width and radius; Lemma 5.3's up to one depth."""
    n, phi = 4, 0.25
    for depth in (1, 15, 16, 17, 100):
        radius = zou2020.proof_radius(n, depth, phi)
        assert radius <= zou2020.lemma_5_2_radius(n, depth, phi)
        assert (radius <= zou2020.lemma_5_3_radius(depth)) == (depth <= 16)
        assert zou2020.theorem_4_4_width(n, depth, phi, 0.1) > zou2020.lemma_5_2_width(n, phi)
    assert zou2020.proof_depth(n, phi) == pytest.approx(16)


def test_log_2_over_n_costs_no_power_of_width_or_iterations():
    accuracy = zou2020.remark_4_1_accuracy(1000)
    assert accuracy == pytest.approx(6.931e-4, rel=1e-3)
    for theorem, remark in (
        (zou2020.theorem_4_4_width, zou2020.remark_4_1_width),
        (zou2020.theorem_4_4_iterations, zou2020.remark_4_1_iterations),
    ):
        quotient = theorem(1000, 4, 0.25, accuracy) / remark(1000, 4, 0.25)
        assert quotient == pytest.approx(1 + 1 / (1000 * math.log(2)))


def test_ten_inputs_and_one_layer_ask_for_more_than_a_quadrillion():
    assert zou2020.remark_4_1_width(10, 1, 0.5) == pytest.approx(1.6e15)
    assert zou2020.du_deep_width(10, 3, 0.5) == pytest.approx(8 * 1e4 * 16)
    assert zou2020.du_deep_width(10, 3, 0.0) == zou2020.allen_zhu_width(10, 3, 0.0) == math.inf


@pytest.mark.parametrize("p", [Fraction(1, 4), HALF, Fraction(1)])
def test_the_widths_of_2018_close_their_proofs(p):
    tau = power(n=-9, L=-17, phi=3)
    within = power(L=-4, n=-3, phi=1) * tau**2
    assert within == power(L=-38, n=-21, phi=7)
    accuracy = power() if p < HALF else power(log=1) if p == HALF else power(eps=1 - 2 * p)
    slope, level = power(n=5 - 2 * p, m=-1, phi=-1) * accuracy, power(n=5, m=-1, phi=-1)
    common = power(L=38, phi=-8)
    assert solved_for_m(slope, within) == power(n=26 - 2 * p) * common * accuracy
    assert solved_for_m(level, within) == power(n=26) * common
    # SGD, B = 1; for a finite alpha_0 without the 1/n.
    loose = power(L=-2, m=-HALF) * tau
    assert solved_for_m(slope, loose) == power(n=28 - 4 * p) * common * accuracy**2
    assert solved_for_m(level, loose) == power(n=28) * common
    tight = loose * power(n=-1)
    assert solved_for_m(slope, tight) == power(n=30 - 4 * p) * common * accuracy**2
    step_size = power(phi=1, m=-1, n=2 * p - 7, L=-9)
    assert slope / step_size == power(n=12 - 4 * p, L=9, phi=-2) * accuracy
    assert level / step_size == power(n=12 - 2 * p, L=9, phi=-2)


@pytest.mark.parametrize(("p", "alpha_0"), CASES)
@pytest.mark.parametrize("accuracy", [0.3, 1e-4])
def test_functions_of_2018_close(p, alpha_0, accuracy):
    n, depth, phi = 8, 4, 0.25
    loss = (accuracy, p, alpha_0)
    radius = zou2018.remark_5_2_radius(n, depth, phi)
    assert radius <= zou2018.theorem_5_3_radius(n, depth, phi)
    width = zou2018.theorem_4_1_width(n, depth, phi, *loss)
    time = zou2018.lemma_5_4_time(n, width, phi, *loss)
    assert time == pytest.approx(zou2018.lemma_5_5_time(n, depth, phi, radius))
    steps = time / zou2018.lemma_5_4_step_size(n, width, depth, phi)
    assert zou2018.theorem_4_1_iterations(n, depth, phi, *loss) == pytest.approx(steps)
    wide = zou2018.theorem_4_5_width(n, depth, phi, *loss)
    needed = zou2018.lemma_5_4_time(n, wide, phi, *loss)
    share = needed / zou2018.lemma_5_7_time(n, wide, depth, 1, radius, alpha_0)
    assert 1 - 1e-9 <= share <= math.sqrt(2)  # (a + b)^2 <= 2 (a^2 + b^2)
    steps = needed / zou2018.lemma_5_7_step_size(n, wide, depth, phi, 2, p)
    assert zou2018.theorem_4_5_iterations(n, depth, phi, 2, *loss) == pytest.approx(steps)


@pytest.mark.parametrize(("p", "alpha_0"), CASES)
def test_one_printed_line_differs(p, alpha_0):
    """By less than n^(2p): it asks for more where eps < 1, so the theorem is none the less true."""
    point = (8, 4, 0.25)
    for accuracy in (0.9, 0.1, 1e-6):
        loss = (accuracy, p, alpha_0)
        printed = zou2018.theorem_4_1_printed_width(*point, *loss)
        quotient = printed / zou2018.theorem_4_1_width(*point, *loss)
        if p > 0.5 and math.isfinite(alpha_0):
            known = (8.0**24 + 8.0**26 / accuracy) / (8.0**26 + 8.0**24 / accuracy)
            assert quotient == pytest.approx(known)
            assert 1 < quotient < 8**2
        else:
            assert quotient == 1


def test_step_sizes_and_accuracies():
    assert read_off(zou2018.lemma_5_4_step_size, width=8.0, **POINT) == power(n=-3, L=-9, phi=1)
    assert zou2018.theorem_4_1_step_size(2, 8.0, 1) == 1 / 64
    assert zou2018.corollary_4_3_accuracy(20, math.log(2)) == zou2020.remark_4_1_accuracy(20)
    assert [zou2018.accuracy_factor(0.01, p) for p in (0.25, 0.5, 1.0)] == pytest.approx(
        [1, math.log(100), 100]
    )
