"""Exponents and spreads against NumPy's polynomial fit and hand-made samples."""

import math

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from companion.lab.fits import PowerLaw, contraction, exponent, spread

SIZES = np.array([10.0, 40.0, 160.0, 640.0])


def over(values, sizes=SIZES, dims=("seed", "width")):
    """Samples at sizes."""
    return xr.DataArray(values, dims=dims, coords={"width": sizes})


@given(st.floats(-3, 3), st.floats(0.01, 100))
def test_a_power_law_is_found_exactly(power, factor):
    law = PowerLaw.through(over(factor * SIZES**power, dims=("width",)))
    assert law.exponent == pytest.approx(power, abs=1e-10)
    assert law.error < 1e-7
    assert law.low <= law.exponent <= law.high
    assert law.high - law.low < 1e-6
    assert law.sizes == 4


def test_slope_error_and_interval_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    sizes = np.array([10, 20, 50, 100, 300])
    values = sizes**-0.5 * np.exp(0.1 * rng.standard_normal((4, 5)))
    law = PowerLaw.through(over(values, sizes))
    # One slope, and a column of ones for every seed.
    columns = np.column_stack([np.tile(np.log(sizes), 4), np.repeat(np.eye(4), 5, axis=0)])
    known, (rest,), *_ = np.linalg.lstsq(columns, np.log(values).ravel(), rcond=None)
    covariance = rest / (20 - 5) * np.linalg.inv(columns.T @ columns)
    assert law.exponent == pytest.approx(known[0])
    assert law.error == pytest.approx(np.sqrt(covariance[0, 0]))
    half = scipy.stats.t(15).interval(0.95)[1] * law.error
    assert (law.low, law.high) == pytest.approx((known[0] - half, known[0] + half))
    assert exponent(over(values, sizes)) == law.exponent
    wider = PowerLaw.through(over(values, sizes), confidence=0.99)
    assert wider.low < law.low < law.high < wider.high


def test_axes_may_come_in_any_order_and_sizes_too():
    rng = np.random.default_rng(2)
    samples = over(SIZES * np.exp(rng.standard_normal((3, 2, 4))), dims=("seed", "eta", "width"))
    known = PowerLaw.through(samples)
    for other in (
        samples.transpose("width", "eta", "seed"),
        samples.isel(width=[2, 0, 3, 1]),
        samples.rename(width="n"),
    ):
        found = PowerLaw.through(other, "n" if "n" in other.dims else "width")
        assert found.exponent == pytest.approx(known.exponent)
        assert found.error == pytest.approx(known.error)


@pytest.mark.parametrize("between", [0.0, 1.0])
def test_the_interval_is_honest(between):
    """It holds the true exponent in about 95 % of repetitions, whatever the seeds' levels."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        noise = 0.2 * rng.standard_normal((5, 4)) + between * rng.standard_normal((5, 1))
        law = PowerLaw.through(over(SIZES**-0.5 * np.exp(noise)))
        inside += law.low <= -0.5 <= law.high
    assert 0.92 < inside / 400 < 0.98


def test_levels_of_the_seeds_change_neither_slope_nor_interval():
    rng = np.random.default_rng(3)
    samples = over(SIZES**-0.5 * np.exp(0.1 * rng.standard_normal((4, 4))))
    levels = xr.DataArray([1.0, 10.0, 0.1, 3.0], dims="seed")
    one, other = PowerLaw.through(samples), PowerLaw.through(samples * levels)
    assert (other.exponent, other.error) == pytest.approx((one.exponent, one.error))


@pytest.mark.parametrize(
    ("values", "sizes", "count"),
    [
        ([1.0, 2.0, math.nan], [1, 2, 4], 3),
        ([1.0, 0.0, 2.0], [1, 2, 4], 3),
        ([1.0, -1.0, 2.0], [1, 2, 4], 3),
        ([1.0, math.inf, 2.0], [1, 2, 4], 3),
        ([1.0, 2.0], [1, 2], 2),
        ([1.0, 2.0, 3.0], [2, 2, 2], 1),
        ([], [], 0),
    ],
)
def test_of_what_has_no_law_nothing_is_known(values, sizes, count):
    law = PowerLaw.through(over(np.array(values, dtype=float), sizes, dims=("width",)))
    assert math.isnan(law.exponent)
    assert (law.low, law.high, law.sizes) == (-math.inf, math.inf, count)


def test_two_sizes_and_several_seeds_have_an_interval():
    law = PowerLaw.through(over([[1.0, 2.0], [1.1, 2.1], [0.9, 1.9]], [1, 2]))
    assert law.sizes == 2
    assert law.low < 1 < law.high < math.inf


@pytest.mark.parametrize("value", [1.0, 0.1, 1e-300])
def test_a_constant_has_exponent_0_exactly(value):
    law = PowerLaw.through(over(np.full((3, 4), value)))
    assert (law.exponent, law.low, law.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_sizes_that_are_not_told_are_no_sizes():
    with pytest.raises(KeyError):
        PowerLaw.through(xr.DataArray([1.0, 2.0, 3.0], dims=["width"]))


def test_spread_names_mean_range_and_seeds():
    assert spread([1.0, 2.0, 3.0]) == "2 (1 to 3 over 3 seeds)"
    assert spread(np.array([0.123456]), ".2f") == "0.12"
    assert spread(0.5) == spread(xr.DataArray(0.5)) == "0.5"
    assert spread(xr.DataArray([1.0, 3.0], dims="seed")) == "2 (1 to 3 over 2 seeds)"
    assert spread(xr.DataArray([[1.0, 3.0]], dims=["seed", "eta"])) == "2 (1 to 3 over 2 runs)"


def runs(*misfits):
    return xr.DataArray(np.array(misfits), dims=("width", "step"), coords={"width": [10, 100]})


def test_contraction_is_the_ratio_of_each_step_to_the_one_before():
    misfits = runs([4.0, 2.0, 1.0], [9.0, 3.0, 6.0])
    found = contraction(misfits, misfits.width, "float64")
    assert found.dims == ("width", "step")
    np.testing.assert_array_equal(found, [[0.5, 0.5], [1 / 3, 2.0]])
    turned = contraction(misfits.transpose("step", "width"), misfits.width, "float64")
    np.testing.assert_array_equal(turned.transpose("width", "step"), found)
    np.testing.assert_array_equal(contraction(misfits[0], 10, "float64"), found[0])


def test_contraction_stops_at_the_rounding_of_each_width():
    """(m eps)^2 is 1.4e-12 at m = 10 in float32 and 1.4e-10 at 100."""
    misfits = runs([1.0, 1e-11, 1e-13], [1.0, 1e-11, 1e-13])
    found = contraction(misfits, misfits.width, "float32")
    np.testing.assert_allclose(found, [[1e-11, np.nan], [np.nan, np.nan]])
    exact = contraction(misfits, misfits.width, "float64")
    np.testing.assert_allclose(exact, [[1e-11, 1e-2]] * 2)


def test_what_rounding_lifts_again_is_no_growth():
    misfits = runs([1.0, 1e-2, 1e-14, 1e-11, 1e-10], [1.0, 0.5, 0.25, 0.125, math.nan])
    found = contraction(misfits, misfits.width, "float32")
    np.testing.assert_allclose(found, [[1e-2] + [np.nan] * 3, [0.5, 0.5, 0.5, np.nan]])
