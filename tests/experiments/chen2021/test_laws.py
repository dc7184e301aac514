"""Powers of log n and of n through points, by polynomials, likelihoods and loops."""

import csv
import math

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from companion.base.paths import BOOK
from companion.experiments.chen2021 import _laws
from companion.experiments.chen2021._laws import Points, compared, evidence, fit, fits, told_apart

COUNTS = np.array([100.0, 200, 400, 1000, 2000, 4000, 10_000])
X = {"log": np.log(np.log(COUNTS)), "power": np.log(COUNTS)}
ERRORS = np.array([0.05, 0.1, 0.05, 0.2, 0.05, 0.1, 0.07])


def noisy(seed: int, errors: np.ndarray = ERRORS) -> Points:
    noise = np.random.default_rng(seed).normal(size=len(COUNTS)) * errors
    return Points(COUNTS, 0.4 * np.log(COUNTS) ** 1.8 * np.exp(noise), errors, True)


def published() -> Points:
    with (BOOK / "published" / "chen2021_fig1.csv").open() as file:
        rows = [(float(row["count"]), float(row["cat_ship"])) for row in csv.DictReader(file)]
    return Points.read_off(*map(np.array, zip(*rows, strict=True)))


@pytest.mark.parametrize("law", ["log", "power"])
def test_a_law_is_the_weighted_line_of_numpy(law: str) -> None:
    points = noisy(0)
    (slope, level), covariance = np.polyfit(
        X[law], np.log(points.widths), 1, w=1 / ERRORS, cov="unscaled"
    )
    found = fit(points, law)
    assert found.power == pytest.approx(slope)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * math.sqrt(covariance[0, 0]), 1e-6)
    np.testing.assert_allclose(np.log(found.fitted), level + slope * X[law])
    residuals = np.log(points.widths) - level - slope * X[law]
    assert found.misfit == pytest.approx(((residuals / ERRORS) ** 2).sum())
    assert found.scatter == pytest.approx(math.sqrt((residuals**2).mean()))


@pytest.mark.parametrize("law", ["log", "power"])
def test_without_errors_a_law_is_the_regression_of_scipy(law: str) -> None:
    points = published()
    line, found = stats.linregress(X[law], np.log(points.widths)), fit(points, law)
    half = stats.t.ppf(0.975, 5) * line.stderr
    assert (found.power, found.low) == pytest.approx((line.slope, line.slope - half))


def test_the_published_powers_and_residuals_are_those_of_the_notes() -> None:
    log, power = fits(published()).values()
    assert (log.power, log.scatter) == pytest.approx((1.83, 0.046), abs=0.005)
    assert (power.power, power.scatter) == pytest.approx((0.273, 0.073), abs=0.001)


def test_intervals_of_known_errors_hold_the_power_as_often_as_they_say() -> None:
    laws = [fit(noisy(seed), "log") for seed in range(400)]
    held = [law.low <= 1.8 <= law.high for law in laws]
    assert stats.binomtest(sum(held), len(held), 0.95).pvalue > 1e-3


def test_points_that_scatter_more_than_their_errors_widen_the_interval() -> None:
    points = noisy(1)
    bold = Points(points.counts, points.widths, points.errors / 20, True)
    narrow, wide = (fit(each, "log") for each in (points, bold))
    assert wide.power == pytest.approx(narrow.power)
    assert wide.high - wide.low > (narrow.high - narrow.low) / 5


def test_evidence_is_twice_the_difference_of_log_likelihoods() -> None:
    # Points that scatter no more than their errors say.
    points = next(p for p in map(noisy, range(9)) if fit(p, "log").misfit < 5)
    likelihood = {
        law: stats.norm.logpdf(np.log(points.widths), np.log(found.fitted), ERRORS).sum()
        for law, found in fits(points).items()
    }
    assert evidence(points) == pytest.approx(2 * (likelihood["log"] - likelihood["power"]))


def test_evidence_does_not_depend_on_errors_that_are_too_small() -> None:
    points = noisy(3)
    bolder = [Points(points.counts, points.widths, points.errors / k, True) for k in (10, 100)]
    assert evidence(bolder[0]) == pytest.approx(evidence(bolder[1]))


def test_left_out_points_are_predicted_from_the_others() -> None:
    points, off = noisy(4), []
    for place in range(len(COUNTS)):
        rest = np.delete(np.arange(len(COUNTS)), place)
        line = np.polyfit(X["power"][rest], np.log(points.widths[rest]), 1, w=1 / ERRORS[rest])
        off.append(np.log(points.widths[place]) - np.polyval(line, X["power"][place]))
    assert fit(points, "power").left_out == pytest.approx(np.sqrt(np.square(off).mean()))


def test_points_of_searches_leave_out_those_without_a_width() -> None:
    widths = {"width": [6.0, np.nan, 9.0], "low": [5.0, 65.0, 8.0], "high": [7.0, np.inf, 10.0]}
    search = xr.Dataset(
        {name: ("count", np.array(values)) for name, values in widths.items()},
        {"count": [100, 200, 400]},
    )
    points = Points.of(search)
    assert points.counts.tolist() == [100, 400]
    assert points.errors[1] == pytest.approx(math.log(10 / 8) / 2 / 1.959964, rel=1e-6)
    assert fits(points) == {}


def exactly(widths: np.ndarray) -> Points:
    return Points(COUNTS, widths, np.full(7, 0.01), True)


LOG, POWER = exactly(np.log(COUNTS) ** 2), exactly(COUNTS**0.3)


@pytest.mark.parametrize(
    ("curves", "answer"),
    [
        ({"a": LOG, "ours": LOG}, "yes"),
        ({"a": LOG, "ours": POWER}, "no"),
        ({"a": POWER, "ours": LOG}, "unclear"),
        ({"a": published(), "ours": LOG}, "unclear"),
        ({"a": published(), "ours": noisy(0)}, "unclear"),
    ],
)
def test_curves_are_compared(curves: dict[str, Points], answer: str) -> None:
    assert compared(curves, ["ours"])[0].answer == answer


def test_what_tells_the_laws_apart_is_told() -> None:
    assert told_apart({"a": published()}) == "none of the curves tells them apart"
    assert told_apart({"a": published(), "b": LOG, "c": POWER}).endswith(": b and c")
    assert _laws.told("k", Points(COUNTS[:2], COUNTS[:2], COUNTS[:2], True)) == {}
