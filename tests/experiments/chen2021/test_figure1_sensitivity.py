"""Minimal widths within budgets, counted run by run, and a judge that says no."""

import math

import numpy as np
import pytest
import xarray as xr

from companion.errors import InputError
from companion.experiments.chen2021 import _searches
from companion.experiments.chen2021 import figure1_sensitivity as sensitivity
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.experiments.chen2021.widths import inputs

CLAIM = "chen2021-fig1-budget"
SMALL = sensitivity.Settings(
    count=16, layers=3, widths=(2, 4, 8, 16, 32), seeds=8, batch=8, step_size=0.1, epochs=32,
    gd_steps=32, gd_step_size=1.0, adam_step_size=0.01, small_batch=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_searches, "cifar10", inputs)
        return sensitivity.run(SMALL, "cpu")


def test_every_choice_is_run_and_told(found):
    assert found.epochs.dims == ("choice", "tried", "seed")
    told = sensitivity.values(SMALL, found)
    assert all(choice.lower().replace(" ", "_") in told for choice in sensitivity.CHOICES)
    assert not any(isinstance(v, float) and not math.isfinite(v) for v in told.values())
    assert sensitivity.summary(SMALL).endswith(".")


def test_runs_succeed_within_their_budgets_or_not_at_all(found):
    assert 0 < int(np.isfinite(found.epochs).sum()) < found.epochs.size
    for choice in sensitivity.CHOICES:
        one, budget = found.sel(choice=choice), SMALL.training(choice).epochs
        epochs = one.epochs.values[np.isfinite(one.epochs.values)]
        assert ((epochs >= 0) & (epochs <= budget)).all()
        assert float(one.budget[-1]) == budget
        assert float(one.budget.sel(share=sensitivity.EARLY)) == pytest.approx(budget / 8)


def test_minimal_widths_are_medians_of_the_curve_through_the_shares(found):
    """By a grid over level and slope, in place of Newton's method."""
    one = found.sel(choice=sensitivity.MAIN)
    places = [k for k in range(found.sizes["share"]) if np.isfinite(one.width[k])]
    assert places
    x = np.log(SMALL.widths)
    for place in (places[0], places[-1]):
        won = (one.epochs <= one.budget[place]).sum("seed").values
        best, near = -math.inf, (0.0, 0.0)
        for median in np.geomspace(SMALL.widths[0], SMALL.widths[-1], 200):
            for slope in np.geomspace(0.5, 40, 80):
                p = 1 / (1 + np.exp(-slope * (x - math.log(median))))
                p = np.clip(p, 1e-12, 1 - 1e-12)
                value = float(won @ np.log(p) + (SMALL.seeds - won) @ np.log(1 - p))
                best, near = max((best, near), (value, (median, slope)))
        assert float(one.width[place]) == pytest.approx(near[0], rel=0.05)


def test_the_judge_answers_and_sees_the_lie(found):
    width = np.array([np.nan] * 4 + [20.0, 16, 13, 11, 10, 9, 8])
    likely = doctored(found, width=width, low=width * 0.9, high=width * 1.1)
    judge = sensitivity.judge
    (verdict,) = with_controls(judge(SMALL, likely), sensitivity.CONTROLS, SMALL, likely, judge)
    assert verdict.outcome == "holds"
    assert verdict.control.outcome == "fails"


@pytest.mark.parametrize(
    ("early", "spread", "outcome"),
    [(16.0, 0.1, "holds"), (8.2, 0.02, "fails"), (16.0, 0.6, "inconclusive")],
)
def test_the_judge_answers_otherwise(found, early, spread, outcome):
    width = np.where(np.array(sensitivity.SHARES) < 0.5, early, 8.0)
    changes = {"width": width, "low": width * (1 - spread), "high": width * (1 + spread)}
    assert outcomes(sensitivity, SMALL, found, **changes)[CLAIM] == outcome


def test_widths_beyond_those_tried_still_bound_the_factor(found):
    width = np.where(np.array(sensitivity.SHARES) < 0.5, np.nan, 8.0)
    low = np.where(np.isnan(width), 32.0, 7.0)
    high = np.where(np.isnan(width), np.inf, 9.0)
    verdict = sensitivity.judge(SMALL, doctored(found, width=width, low=low, high=high))[0]
    assert verdict.outcome == "holds"
    assert "no number (3.56 to inf)" in verdict.measured


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"classes": [["cat", "dog"], ["cat", "ship"]]}, "one pair of classes"),
        ({"count": 25}, "count"),
        ({"choices": ["Adam"]}, "main reading"),
        ({"choices": ["main reading", "RMSprop"]}, "choices are"),
        ({"choices": ["main reading", "main reading"]}, "choices are"),
        ({"small_alpha": 0.7}, "small_alpha"),
        ({"widths": [8]}, "widths"),
    ],
)
def test_settings_out_of_range_are_refused(bad, sentence):
    with pytest.raises(InputError, match=sentence):
        sensitivity.QUICK.override(bad)
