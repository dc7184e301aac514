"""Explicit widths: the constants by another road, one run against its closed form, and failing."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.bounds import du2019 as bounds
from companion.errors import InputError
from companion.experiments.du2019 import explicit_width
from companion.experiments.du2019.explicit_width import Settings, run
from tests.doctoring import outcomes

TINY = Settings(
    spheres=(5, 8), digits_per_class=5, delta=0.8, label_norm=0.1, seeds=3, duration=1.0
)

counts = st.integers(1, 2000)
eigenvalues = st.floats(1e-4, 0.5)
deltas = st.floats(1e-3, 0.99)
judged = partial(outcomes, explicit_width, TINY)


@pytest.fixture(scope="module")
def found():
    return run(TINY, "cpu")


@given(count=counts, lambda_0=eigenvalues, delta=deltas, share=st.floats(0.01, 0.99))
def test_the_radius_of_descent_makes_one_step_contract(count, lambda_0, delta, share):
    step_size = share * lambda_0 / (2 * count**2)
    radius = bounds.theorem_4_1_radius(count, lambda_0, delta, step_size)
    flips = bounds.lemma_4_1_flips(count, 1, radius) / delta  # sum_i |S_i^perp| / m, by Markov
    perpendicular = count * flips
    second = step_size * math.sqrt(count) * flips
    factor = 1 - step_size * lambda_0 + 2 * step_size * perpendicular + 2 * second
    factor += step_size**2 * count**2
    assert factor <= 1 - step_size * lambda_0 / 2 + 1e-14
    assert 2 * count * flips <= lambda_0 / 4 * (1 + 1e-12)  # Lemma 3.2 from the same event


@given(count=st.integers(2, 2000), lambda_0=eigenvalues, delta=deltas)
def test_the_free_step_size_is_the_largest_that_costs_no_width(count, lambda_0, delta):
    free = bounds.theorem_4_1_free_step_size(count, lambda_0)
    full = bounds.lemma_3_2_radius(count, lambda_0, delta)
    assert bounds.theorem_4_1_radius(count, lambda_0, delta, free) == pytest.approx(full)
    assert bounds.theorem_4_1_radius(count, lambda_0, delta, 1.01 * free) < full


@given(count=counts, lambda_0=eigenvalues, delta=deltas, start=st.floats(0.1, 1e4))
def test_at_its_width_the_reach_of_descent_is_its_radius(count, lambda_0, delta, start):
    step_size = 0.3 * lambda_0 / (2 * count**2)
    width = bounds.theorem_4_1_width_at(count, lambda_0, delta, start, step_size)
    reach = bounds.corollary_4_1_distance(count, width, lambda_0, start)
    radius = bounds.theorem_4_1_radius(count, lambda_0, delta, step_size)
    assert reach == pytest.approx(radius)


def test_table_uses_halves_of_delta_and_the_exact_misfit(found):
    row = {str(k).removeprefix("table_"): float(v) for k, v in found.isel(set=-1).items()
           if str(k).startswith("table_")}  # fmt: skip
    count, lambda_0, delta = int(row["count"]), row["lambda_0"], TINY.table_delta
    assert count == 2 * TINY.digits_per_class
    start = (count + count / 2) / (delta / 2)  # labels are signs, so ||y||^2 = n
    radius = math.sqrt(2 * math.pi) / 16 * (delta / 2) * lambda_0 / count**2
    assert row["radius"] == pytest.approx(radius)
    assert row["flow"] == pytest.approx(4 * count * start / (lambda_0 * radius) ** 2)
    assert row["descent"] == pytest.approx(4 * row["flow"])
    assert "digits 3 and 8" in found.attrs["data"]


def test_one_input_follows_the_closed_form(found):
    a = {name: array.values for name, array in found.items()}
    share = a["flow1_lambda_min"][:, :1]  # of units that are active, and H itself for n = 1
    misfit = a["flow1_misfit"]
    exact = np.exp(-2 * share * a["flow1_time"]) * misfit[:, :1]
    np.testing.assert_allclose(misfit, exact, rtol=2e-2)
    moved = np.sqrt(misfit[:, :1]) * -np.expm1(-share * a["flow1_sparse_time"])
    moved = moved / (share * np.sqrt(a["flow1_width"][:, None]))
    np.testing.assert_allclose(a["flow1_distance"], moved, rtol=2e-2)


def test_descent_contracts_by_its_gram_matrix(found):
    ratio = (found.descent1_misfit[:, 1] / found.descent1_misfit[:, 0]).values
    step_size = explicit_width._step_size(TINY, 1)
    known = (1 - step_size * found.descent1_lambda_min[:, 0].values) ** 2
    np.testing.assert_allclose(ratio, known, 1e-3)


@pytest.mark.parametrize(("kind", "factor"), [("flow1", 2), ("descent1", 4)])
def test_the_reach_is_that_of_the_theorem_that_is_run(found, kind, factor):
    """R' of Lemma 3.3 and of Corollary 4.1 for n = 1, lambda_0 = 1/2; and the rates of both."""
    misfit, width = found[f"{kind}_misfit"].values, found[f"{kind}_width"].values
    reach = factor * np.sqrt(misfit[:, 0]) / (np.sqrt(width) * 0.5)
    np.testing.assert_allclose(found[f"{kind}_reach"], reach, rtol=1e-12)
    eta, time = explicit_width._step_size(TINY, 1), found[f"{kind}_time"].values
    rate = np.exp(-0.5 * time) if kind == "flow1" else (1 - eta / 4) ** (time / eta)
    np.testing.assert_allclose(found[f"{kind}_bound"], misfit[:, :1] * rate, rtol=1e-9)


def test_the_judge_can_say_yes(found):
    assert judged(found) == {"du2019-width-explicit": "holds"}


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("flow1_distance", 100.0),
        ("descent1_lambda_min", 0.1),
        ("flow1_misfit", np.linspace(1, 50, 9)),
        ("descent1_radius", 1e-3),
    ],
)
def test_a_broken_link_is_seen(found, name, factor):
    def broken(array):
        changed = array * factor
        if changed.ndim > 1:  # the events, at the start, are as they were
            changed[:, 0] = array[:, 0]
        return changed

    other = {"descent1_near": 0.0} if name == "descent1_radius" else {}
    lied = judged(found, **{name: broken}, **other)
    assert lied == {"du2019-width-explicit": "fails"}


def test_events_that_fail_now_and_then_are_no_failure_and_always_decide_nothing(found):
    once = judged(found, flow1_near=np.array([1e9, 0, 0]))
    assert once == {"du2019-width-explicit": "holds"}
    twice = judged(found, flow1_near=np.array([1e9, 1e9, 0]))  # four good runs test nothing enough
    assert twice == {"du2019-width-explicit": "inconclusive"}
    never = judged(found, flow1_near=1e9, descent1_near=1e9, flow1_distance=1e3)
    assert never["du2019-width-explicit"] == "inconclusive"


@pytest.mark.parametrize(("share", "outcome"), [(0.76, "fails"), (0.74, "inconclusive")])
def test_a_start_is_good_from_three_quarters_of_lambda_0_on(found, share, outcome):
    """Where it is not, what the flow does says nothing about the proof."""

    def start(least):
        least[:, 0] = share * 0.5
        return least

    lied = judged(found, flow1_lambda_min=start, descent1_near=1e9, flow1_distance=1e3)
    assert lied == {"du2019-width-explicit": outcome}


def test_events_that_fail_more_often_than_delta_refute_the_probability(found):
    many = found.isel(seed=np.arange(40) % 2)
    wide = Settings(**{**TINY.model_dump(), "seeds": 40, "delta": 0.5})
    rare = {"flow1_near": np.r_[np.full(35, 1e9), np.zeros(5)], "descent1_near": 1e9}
    lied = outcomes(explicit_width, wide, many, **rare)
    assert lied == {"du2019-width-explicit": "fails"}


def test_more_memory_than_allowed_is_refused_before_anything_runs():
    with pytest.raises(InputError, match="memory_limit"):
        run(Settings(flow_counts=(2,), memory_limit=0.5), "cpu")
