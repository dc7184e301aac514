"""The widths of Theorem 4.1: against logarithms written out, and a judge that can say yes."""

import math
from functools import partial

import numpy as np
import pytest

from companion.errors import InputError
from companion.experiments.zou2018 import polynomials
from tests.doctoring import doctored, outcomes

CLAIM = "zou2018-thm4.1-poly"
TINY = polynomials.QUICK.override({"spheres": [2, 6], "digits_per_class": 5, "counts": [2, 30]})
judged = partial(outcomes, polynomials, TINY)


@pytest.fixture(scope="module")
def found():
    return polynomials.run(TINY, "cpu")


@pytest.fixture(scope="module")
def mended(found):
    """As if the last line had been printed as it closes."""
    printed = found.printed.values.copy()
    printed[-1] = found.closed.values[-1]
    return doctored(found, printed=printed)


def test_lines_on_the_grid_in_logarithms(found):
    """n = 30, L = 15, phi = 0.5, eps = 1e-6 is the last point; p is 1/4, 1/2, 1 in each half."""
    n, depth, phi, eps = math.log(30), math.log(15), math.log(0.5), math.log(1e-6)
    common = 38 * depth - 8 * phi
    level = 26 * n + common
    slopes = [25.5 * n + common, 25 * n + math.log(-eps) + common, 24 * n - eps + common]
    sums = [level, *(np.logaddexp(level, slope) for slope in slopes[1:])]
    np.testing.assert_allclose(np.log(found.closed[:, -1]), [*slopes, *sums])
    exchanged = np.logaddexp(24 * n + common, level - eps)
    np.testing.assert_allclose(np.log(found.printed[:, -1]), [*slopes, *sums[:2], exchanged])


def test_the_slip_goes_from_1_to_the_square_of_n(found):
    slip = found.slip.values
    np.testing.assert_allclose(slip[:, 0], 1)
    np.testing.assert_allclose(slip[:, -1], [4, 900], rtol=1e-5)
    assert (np.diff(slip, axis=1) > 0).all()


def test_rows_are_of_the_data(found):
    """The separation of two inputs is their distance; widths at eps = l(0)/n."""
    assert found.row_count[:, 0].values.tolist() == [2, 6, 10]
    assert found.row_depth[:, 0].values.tolist() == [3, 3, 15]
    np.testing.assert_allclose(found.row_accuracy[0], [1 / 2, math.log(2) / 2])
    data = polynomials._spheres(TINY)[1]
    assert set(data.y.tolist()) == {-1.0, 1.0}
    x, y = data.x.numpy(), data.y.numpy()
    apart = min(np.linalg.norm(x[i] - x[j]) for i in range(6) for j in range(6) if y[i] != y[j])
    assert float(found.row_separation[1, 0]) == pytest.approx(apart)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)
    np.testing.assert_allclose(x[:, -1], 0.3)
    hinge = 25 * math.log(6) + math.log(math.log(6)) + 38 * math.log(3) - 8 * math.log(apart)
    assert math.log(float(found.row_descent[1, 0])) == pytest.approx(hinge)
    entropy = np.logaddexp(26 * math.log(6), 24 * math.log(6) - math.log(math.log(2) / 6))
    entropy += 38 * math.log(3) - 8 * math.log(apart)
    assert math.log(float(found.row_descent[1, 1])) == pytest.approx(entropy)
    assert "digits 3 and 8" in found.attrs["data"]


def test_values_name_their_rows(found):
    told = polynomials.values(TINY, found)
    assert float(told["digits_descent_squared_hinge"]) == float(found.row_descent[2, 0])
    assert float(told["sphere6_sgd_cross_entropy"]) == float(found.row_sgd[1, 1])
    assert float(told["most_off"]) == pytest.approx(900, rel=0.01)


def test_the_print_fails_and_mended_would_hold(found, mended):
    assert judged(found) == polynomials.EXPECTED == {CLAIM: "fails"}
    assert judged(mended) == {CLAIM: "holds"}
    lied = polynomials.CONTROLS[CLAIM].told(TINY, found)
    assert polynomials.judge(TINY, lied)[0].outcome == "holds"


@pytest.mark.parametrize("line", range(6))
def test_each_line_counts(mended, line):
    def off(printed):
        printed[line, 3] *= 1 + 1e-9
        return printed

    assert judged(mended, printed=off) == {CLAIM: "fails"}


def test_what_is_no_number_is_not_known(mended):
    assert judged(mended, closed=np.nan) == {CLAIM: "inconclusive"}


def test_an_accuracy_of_1_is_refused():
    with pytest.raises(InputError, match="accuracies"):
        polynomials.QUICK.override({"accuracies": [1.0]})
