"""Powers of Chen et al.: closed again in exact arithmetic, and read off the functions."""

import math
from fractions import Fraction

import pytest

from companion.bounds import chen2021, zou2020

ALPHAS = [Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)]


def slope(function, at):
    """Exponent of a power law."""
    return math.log(function(4 * at) / function(at)) / math.log(4)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_width_closes_its_proof(alpha):
    """L^(1/2) R m^-alpha = L^(-9/4) m^(-3 alpha / 4), solved with exponents as fractions."""
    in_m = alpha - Fraction(3, 4) * alpha
    in_l, in_r = (Fraction(1, 2) + Fraction(9, 4)) / in_m, 1 / in_m
    a = float(alpha)
    assert slope(lambda r: chen2021.equation_6_4_polynomial(r, 3, a), 2.0) == pytest.approx(in_r)
    assert slope(lambda layers: chen2021.equation_6_4_polynomial(2, layers, a), 3) == pytest.approx(
        in_l
    )
    width = chen2021.equation_6_4_polynomial(5.0, 4, a)
    far = chen2021.equation_6_3_distance(5.0, width, 4, a)
    assert far == pytest.approx(chen2021.lemma_6_2_radius(width, 4, a))
    full = chen2021.theorem_3_3_width(5.0, 4, a, 100, 0.1)
    assert full == pytest.approx(width * math.log(1000) ** (2 / (2 - a)))


def test_at_one_half_it_is_the_printed_one():
    assert chen2021.equation_6_4_polynomial(2.0, 3, 0.5) == pytest.approx(2**8 * 3**22)
    radius = chen2021.separated_radius(7, 0.25)
    assert radius == pytest.approx(7**1.5 * 2)
    width = chen2021.equation_6_4_polynomial(radius, 3, 0.5)
    assert width == pytest.approx(3**22 * 7.0**12 * 4**4)
    assert width == pytest.approx(chen2021.remark_4_11_width(7, 0.25, 3))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_width_of_the_probability(alpha):
    """n L^2 exp(-m tau^(2/3) L) = delta with tau^(2/3) = L^(-3/2) m^(-alpha/2), but for log m."""
    a = float(alpha)
    width = chen2021.lemma_6_1_width(3, a, 50, 0.01)
    exponent = width * 3 ** (-1.5) * width ** (-a / 2) * 3
    assert 50 * 9 * math.exp(-exponent) == pytest.approx(0.01)


@pytest.mark.parametrize(("count", "accuracy", "edge"), [(27, 1e-2, 3), (8, 2.0**-30, 32)])
def test_the_remark_names_the_depth_at_which_widths_cross(count, accuracy, edge):
    assert chen2021.remark_4_11_layers(count, accuracy) == pytest.approx(edge)
    for layers, less in ((edge - 1, True), (edge * 2, False)):
        own = chen2021.remark_4_11_width(count, 0.5, layers)
        assert (own < zou2020.theorem_4_4_width(count, layers, 0.5, accuracy)) == less


def test_steps_samples_and_radii():
    assert chen2021.theorem_3_3_step_size(64, 3, 0.25) == pytest.approx(1 / 24)
    assert chen2021.theorem_3_3_iterations(3, 2.0, 0.1) == pytest.approx(360)
    n = chen2021.theorem_3_8_samples(3, 2.0, 0.1)
    assert 8 * 9 * 4 / n == pytest.approx(0.1)
    n = chen2021.theorem_3_5_samples(3, 2.0, 0.1)
    assert 3**1.5 * 2 / math.sqrt(n) == pytest.approx(0.1)
    told = chen2021.proposition_4_10_radius(9, 0.25, 0.1, 0.5)
    assert told == pytest.approx(27 * 2 * math.log(180))
    assert chen2021.proposition_4_10_width(4, 0.5, 3, 0.5) == pytest.approx((9 * 2**9 * 4) ** 2)


def test_lemma_a_2_gives_equation_a_1_where_all_losses_are_equal():
    """Then the squared sum of slopes is 4 n^2 times the loss, and the rate is what is printed."""
    n, m, phi, loss = 6, 100, 0.3, 2.5
    slopes = n * 2 * math.sqrt(loss)
    square = chen2021.lemma_a_2_gradient(n, m, phi, 0.5, slopes)
    rate = chen2021.equation_a_1_rate(n, m, phi, 0.5)
    assert square == pytest.approx(rate * loss)
    printed = n**1.5 / (m**0.5 * phi**0.5) * math.sqrt(loss)
    assert chen2021.equation_a_1_distance(rate, loss) == pytest.approx(printed)


def test_the_table_row_by_row():
    assert len(chen2021.TABLE_1) == 9
    by_name = {(row.work, row.algorithm): row for row in chen2021.TABLE_1}
    assert len(by_name) == 9
    own = [row for row in chen2021.TABLE_1 if row.work == chen2021.THIS_PAPER]
    assert [row.samples.at(0.1) for row in own] == pytest.approx([100, 10])
    assert [row.iterations.at(0.1) for row in own] == pytest.approx([10, 10])
    arora = by_name["Arora et al. 2019a", "GD"]
    assert arora.iterations.at(0.01, count=5, lambda_0=0.1) == pytest.approx(2500)
    assert math.isnan(arora.width.at(0.1))
    assert by_name["Cao-Gu 2019a", "SGD"].width.at(0.1) == pytest.approx(1e14)
    assert chen2021.cao_gu_2019a_width(100) == pytest.approx(1e14)
    assert {row.work for row in by_name.values() if not row.checked} == {
        "Allen-Zhu et al. 2019a",
        "Nitanda-Suzuki 2019",
    }
