"""Numbers and lists in words: typeset, and never rounded to the side on which they would lie."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.lab.words import listed, number, on_sphere


@pytest.mark.parametrize(
    ("value", "form", "told"),
    [
        (0.5, ".3g", "0.5"),
        (12800, "d", "12800"),
        (12800, ",d", "12,800"),
        (2.9e-4, ".1e", r"$2.9\times10^{-4}$"),
        (-2.9e-4, ".1e", r"$-2.9\times10^{-4}$"),
        (1e-12, ".0e", "$10^{-12}$"),
        (-1e-12, ".0e", "$-10^{-12}$"),
        (1.0e-12, ".1e", r"$1.0\times10^{-12}$"),
        (8.7e6, ".2g", r"$8.7\times10^{6}$"),
        (1e100, ".0e", "$10^{100}$"),
        (0.0, ".1e", "0"),
        (3.0, ".1e", "3.0"),
        (np.float64(0.25), ".2f", "0.25"),
        (0.25, ".0%", "25%"),
        (math.nan, ".3g", "nan"),
        (-math.inf, ".1e", "-inf"),
    ],
)
def test_numbers_are_typeset(value, form, told):
    assert number(value, form) == told


@pytest.mark.parametrize(
    ("value", "form", "down", "up"),
    [
        (0.949, ".2f", "0.94", "0.95"),
        (0.945, ".2f", "0.94", "0.95"),
        (0.94, ".2f", "0.94", "0.94"),
        (-0.949, ".2f", "-0.95", "-0.94"),
        (2.95e-4, ".0e", r"$2\times10^{-4}$", r"$3\times10^{-4}$"),
        (0.9996, ".3g", "0.999", "1"),
        (9.996e-5, ".2e", r"$9.99\times10^{-5}$", r"$1.00\times10^{-4}$"),
        (0.996, ".2f", "0.99", "1.00"),
        (1e300, ".2f", f"{1e300:.2f}", f"{1e300:.2f}"),
        (0.1239, ".1%", "12.3%", "12.4%"),
        (7, "d", "7", "7"),
        (math.nan, ".2f", "nan", "nan"),
    ],
)
def test_floors_are_rounded_down_and_ceilings_up(value, form, down, up):
    assert number(value, form, "down") == down
    assert number(value, form, "up") == up


@given(
    st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-6),
    st.sampled_from([".1f", ".4f", ".2g", ".5g"]),
)
def test_a_rounded_number_stays_on_its_side(value, form):
    def back(told):
        return float(told.strip("$").replace(r"\times10^{", "e").replace("10^{", "1e").strip("}"))

    low, high = (back(number(value, form, side)) for side in ("down", "up"))
    assert low <= value <= high


def test_a_format_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="format"):
        number(0.5, "d")


def test_things_are_listed():
    assert listed([200, 800, 3200]) == "200, 800 and 3200"
    assert listed(["a", "b"], "or") == "a or b"
    assert listed([7]) == "7"


def test_data_on_the_sphere_are_told_with_both_sizes():
    assert on_sphere(20, 10) == (
        r"$n=20$ inputs uniform on the unit sphere of $\mathbb R^{10}$ with labels $N(0,1)$"
    )
