"""Exponents and spreads against SciPy's regression and hand-made samples."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from companion.lab.fits import contraction, log_log_slope, spread


@given(st.floats(-3, 3), st.floats(0.01, 100))
def test_a_power_law_is_found_exactly(exponent, factor):
    sizes = np.array([10.0, 40.0, 160.0, 640.0])
    slope, error = log_log_slope(sizes, factor * sizes**exponent)
    assert slope == pytest.approx(exponent, abs=1e-10)
    assert error < 1e-10


def test_slope_and_error_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    sizes = np.array([10, 20, 50, 100, 300])
    values = sizes**-0.5 * np.exp(0.1 * rng.standard_normal((4, 5)))
    slope, error = log_log_slope(sizes, values)
    known = scipy.stats.linregress(np.tile(np.log(sizes), 4), np.log(values).ravel())
    assert slope == pytest.approx(known.slope)
    assert error == pytest.approx(known.stderr)


def test_the_error_is_honest():
    """The true exponent lies within two standard errors in about 95 % of repetitions."""
    rng = np.random.default_rng(1)
    sizes = np.array([10.0, 40.0, 160.0, 640.0])
    inside = 0
    for _ in range(400):
        noisy = sizes**-0.5 * np.exp(0.2 * rng.standard_normal((5, 4)))
        slope, error = log_log_slope(sizes, noisy)
        inside += abs(slope + 0.5) < 2.1 * error
    assert 0.91 < inside / 400 < 0.985


def test_spread_names_mean_range_and_seeds():
    assert spread([1.0, 2.0, 3.0]) == "2 (1 to 3 over 3 seeds)"
    assert spread(np.array([0.123456]), ".2f") == "0.12"
    assert spread(0.5) == "0.5"


def test_contraction_stops_at_rounding() -> None:
    misfits = np.array([4.0, 2.0, 1.0, 1e-30, 1e-30])
    found = contraction(misfits, 100, "float64")
    np.testing.assert_array_equal(found, [0.5, 0.5, np.nan, np.nan])
    assert contraction(misfits, 100, "float64").shape == (4,)
