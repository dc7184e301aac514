"""The curve and what runs tell of its median, each against another road to the same number."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import expit, log_expit
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression

from companion.widths.curve import Plausible, Tally, fit, interval
from companion.widths.result import concluded
from companion.widths.rounds import Outcome, next_trials, search, tally

LADDER = list(range(4, 41))


def tally_of(*rows):
    widths, runs, won = np.array(rows, dtype=float).T
    return Tally(widths, runs, won)


MIXED = [
    tally_of((4, 5, 0), (6, 10, 3), (8, 10, 4), (12, 10, 9), (16, 5, 5)),
    tally_of((400, 8, 1), (401, 20, 9), (402, 20, 15), (420, 3, 3)),  # steep at large widths
    tally_of((2, 30, 13), (64, 30, 17)),  # hardly rising
    tally_of((8, 4, 0), (10, 7, 4), (11, 5, 1), (12, 5, 3), (20, 4, 4)),  # not monotone
]


@pytest.mark.parametrize("runs", MIXED)
def test_the_curve_is_that_of_logistic_regression_without_penalty(runs):
    x = np.log(runs.widths) - np.log(runs.widths).mean()
    inputs = np.concatenate([x, x])[:, None]
    labels = np.repeat([1, 0], len(x))
    weights = np.concatenate([runs.successes, runs.runs - runs.successes])
    known = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    known.fit(inputs, labels, sample_weight=weights)
    slope = known.coef_[0, 0]
    median = np.exp(np.log(runs.widths).mean() - known.intercept_[0] / slope)
    curve = fit(runs)
    assert curve.slope == pytest.approx(slope, rel=1e-5)
    assert curve.median == pytest.approx(median, rel=1e-5)


def test_a_step_lies_midway_between_the_last_failure_and_the_first_success():
    curve = fit(tally_of((4, 5, 0), (9, 5, 0), (16, 5, 5), (20, 5, 5)))
    assert (curve.median, curve.slope) == (pytest.approx(12), math.inf)


def test_a_step_lies_at_the_one_width_where_both_happened():
    curve = fit(tally_of((4, 5, 0), (9, 5, 2), (16, 5, 5)))
    assert (curve.median, curve.slope) == (pytest.approx(9), math.inf)


def test_runs_that_ended_alike_have_no_slope():
    none, all_of_them = fit(tally_of((4, 5, 0), (9, 5, 0))), fit(tally_of((4, 5, 5), (9, 5, 5)))
    assert none.median == math.inf
    assert all_of_them.median == 0
    assert math.isnan(none.slope)
    assert math.isnan(all_of_them.slope)


@pytest.mark.parametrize("rows", [[(4, 5, 4), (9, 5, 1)], [(4, 5, 2), (9, 5, 2)]])
def test_a_curve_that_does_not_rise_has_no_median(rows):
    curve = fit(tally_of(*rows))
    assert math.isnan(curve.median)
    assert curve.slope == 0


SEPARATED = tally_of((4, 5, 0), (9, 2, 0), (12, 2, 2), (20, 5, 5))


@pytest.mark.parametrize("runs", [MIXED[0], MIXED[3], SEPARATED])
def test_what_is_plausible_is_the_integrated_likelihood(runs):
    """Against adaptive quadrature over median and slope, both on a logarithmic scale."""
    least, most, x = 4, 20, np.log(runs.widths)

    def likelihood(log_slope, log_median):
        odds = np.exp(log_slope) * (x - log_median)
        logs = runs.successes * log_expit(odds)
        logs += (runs.runs - runs.successes) * log_expit(-odds)
        return np.exp(logs.sum() + 5)

    slopes = math.log(0.5), math.log(40 * most)
    ends, cuts = (math.log(least / 2), math.log(2 * most)), (math.log(8), math.log(11))
    edges = [ends[0], *cuts, ends[1]]
    parts = [dblquad(likelihood, a, b, *slopes, epsrel=1e-3)[0] for a, b in pairwise(edges)]
    below = np.cumsum(parts)[:-1] / sum(parts)
    found = Plausible(runs, least, most).quantiles(below)
    assert found == pytest.approx(np.exp(cuts), rel=0.01)


def test_before_any_run_the_median_may_lie_anywhere_up_to_a_factor_of_two_beyond():
    nothing = Plausible(tally([]), 4, 64)
    assert nothing.quantiles([0, 0.5, 1]) == pytest.approx([2, 16, 128])


OPEN = tally_of((4, 9, 0), (9, 9, 8), (12, 9, 9))  # a step at the one width that is mixed


@pytest.mark.parametrize("runs", [*MIXED, SEPARATED, OPEN])
def test_the_interval_is_that_of_the_profile_likelihood(runs):
    """Against a grid of slopes."""
    x, failed = np.log(runs.widths), runs.runs - runs.successes
    slopes = np.geomspace(1e-3, 1e6, 20_000)[:, None]

    def profile(at):
        odds = slopes * (x - at)
        return (log_expit(odds) @ runs.successes + log_expit(-odds) @ failed).max()

    likeliest = math.log(fit(runs).median)
    most = max(profile(at) for at in likeliest + np.array([0, 1e-5, -1e-5, 1e-4, -1e-4]))
    allowed = chi2.ppf(0.9, 1) / 2
    ends = interval(runs, 0.9)
    for end, inwards in zip(ends, (1, -1), strict=True):
        if 0 < end < math.inf:
            assert most - profile(math.log(end) + 1e-4 * inwards) < allowed
            assert most - profile(math.log(end) - 1e-4 * inwards) > allowed
    assert ends[0] < fit(runs).median < ends[1]


def test_an_interval_stays_within_the_gap_that_runs_leave():
    low, high = interval(tally_of((10, 40, 0), (11, 40, 40)), 0.95)
    assert 10 <= low < high <= 11
    wider = interval(tally_of((10, 2, 0), (11, 2, 2)), 0.95)
    assert wider[0] < low < high < wider[1]


def test_an_interval_is_open_where_nothing_bounds_it():
    low, high = interval(tally_of((4, 9, 0), (8, 9, 0)), 0.95)
    assert 4 < low <= 8.001
    assert high == math.inf
    low, high = interval(tally_of((4, 9, 9), (8, 9, 9)), 0.95)
    assert low == 0
    assert 3.999 <= high < 8
    assert interval(tally_of((4, 9, 5), (8, 9, 5)), 0.95) == (0, math.inf)
    assert interval(tally_of((4, 9, 9), (8, 9, 0)), 0.95) == (0, math.inf)
    # Shares that fall from width to width, both of them small, or both of them large.
    low, high = interval(tally_of((4, 90, 2), (8, 90, 1)), 0.95)
    assert 8 < low < high == math.inf
    low, high = interval(tally_of((4, 90, 89), (8, 90, 88)), 0.95)
    assert low == 0
    assert 0 < high < 4


def simulated(rng, median, slope, runs=80, at_once=20, ladder=LADDER):
    """The outcomes of a search in which nothing is trained."""

    def make(number, trials):
        shares = expit(slope * np.log([trial.width / median for trial in trials]))
        return [
            Outcome(trial.width, "zero-error" if won else "budget", 100)
            for trial, won in zip(trials, rng.random(len(trials)) < shares, strict=True)
        ]

    return search(ladder, runs, at_once, 0.95, make)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [4, 40])
def test_the_interval_holds_the_median_as_often_as_it_says(slope):
    """Though the widths of later runs were chosen by the results of earlier ones."""
    rng, searches, held = np.random.default_rng(0), 60, 0
    for median in rng.uniform(8, 20, searches):
        low, high = concluded(simulated(rng, median, slope), LADDER, 0.8, "").interval
        held += low <= median <= high
    # Of 60 intervals at 80 %: beyond this lies 1 chance in 200 on either side.
    assert 40 <= held <= 55


def test_runs_go_where_they_narrow_the_interval():
    """Against the same number of runs spread evenly over the widths."""
    rng, narrower = np.random.default_rng(1), 0
    for _ in range(5):
        outcomes = simulated(rng, 13.0, 10.0)
        low, high = concluded(outcomes, LADDER, 0.95, "").interval
        runs = np.full(len(LADDER), 80 / len(LADDER))
        even = Tally(
            np.array(LADDER, float), runs, runs * expit(10 * np.log(np.array(LADDER) / 13))
        )
        low_even, high_even = interval(even, 0.95)
        narrower += high / low < high_even / low_even
    assert narrower >= 4


def test_a_first_round_is_a_coarse_ladder_and_a_later_one_goes_to_the_median():
    first = {trial.width for trial in next_trials(LADDER, [], 20)}
    assert len(first) == 4
    assert {4, 40} < first
    outcomes = [Outcome(10, "budget", 9)] * 20 + [Outcome(12, "zero-error", 9)] * 20
    later = {trial.width for trial in next_trials(LADDER, outcomes, 20)}
    assert later <= {10, 11, 12}


def test_a_search_goes_on_until_it_is_as_confident_as_was_asked():
    def make(number, trials):
        return [Outcome(trial.width, "budget", 1) for trial in trials]

    hasty, sure = (len(search(LADDER, 400, 4, share, make)) for share in (0.5, 0.999))
    assert hasty < sure < 400


def test_a_run_alone_goes_to_the_middle_on_a_logarithmic_scale():
    assert [trial.width for trial in next_trials(LADDER, [], 1)] == [13]  # near sqrt(2 * 80)
    # 16 = sqrt(2 * 128): by a factor it is nearer to 30, though by a difference it is to 4.
    assert [trial.width for trial in next_trials([4, 30, 64], [], 1)] == [30]


def test_every_run_of_a_search_is_another_one():
    asked = []

    def make(number, trials):
        asked.extend(trials)
        return [Outcome(trial.width, "budget", 1) for trial in trials]

    search(LADDER, 40, 20, 0.95, make)
    assert len(asked) == len(set(asked)) > 0
