"""Explicit widths: the constants by another road, one run against its closed form, and failing."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from companion.bounds import du2019 as bounds
from companion.errors import InputError
from companion.experiments.du2019 import explicit_width
from companion.experiments.du2019.explicit_width import Settings, judge, run
from tests.doctoring import outcomes

TINY = Settings(
    spheres=(5, 8), digits_per_class=5, delta=0.8, label_norm=0.1, seeds=2, duration=1.0
)

counts = st.integers(1, 2000)
eigenvalues = st.floats(1e-4, 0.5)
deltas = st.floats(1e-3, 0.99)
judged = partial(outcomes, judge)


@pytest.fixture(scope="module")
def result():
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


def test_table_uses_halves_of_delta_and_the_exact_misfit(result):
    row = {k.removeprefix("table_"): v[-1] for k, v in result.arrays.items() if "table_" in k}
    count, lambda_0, delta = int(row["count"]), row["lambda_0"], TINY.table_delta
    assert count == 2 * TINY.digits_per_class
    start = (count + count / 2) / (delta / 2)  # labels are signs, so ||y||^2 = n
    radius = math.sqrt(2 * math.pi) / 16 * (delta / 2) * lambda_0 / count**2
    assert row["radius"] == pytest.approx(radius)
    assert row["flow"] == pytest.approx(4 * count * start / (lambda_0 * radius) ** 2)
    assert row["descent"] == pytest.approx(4 * row["flow"])
    assert "digits 3 and 8" in result.data


def test_one_input_follows_the_closed_form(result):
    a = result.arrays
    share = a["flow1_lambda_min"][:, :1]  # of units that are active, and H itself for n = 1
    misfit = a["flow1_misfit"]
    exact = np.exp(-2 * share * a["flow1_time"]) * misfit[:, :1]
    np.testing.assert_allclose(misfit, exact, rtol=2e-2)
    moved = np.sqrt(misfit[:, :1]) * -np.expm1(-share * a["flow1_sparse_time"])
    moved = moved / (share * np.sqrt(a["flow1_width"][:, None]))
    np.testing.assert_allclose(a["flow1_distance"], moved, rtol=2e-2)


def test_descent_contracts_by_its_gram_matrix(result):
    a = result.arrays
    ratio = a["descent1_misfit"][:, 1] / a["descent1_misfit"][:, 0]
    step_size = explicit_width._step_size(TINY, 1)
    np.testing.assert_allclose(ratio, (1 - step_size * a["descent1_lambda_min"][:, 0]) ** 2, 1e-3)


def test_verdict_holds_and_can_fail(result):
    assert judged(result)["du2019-width-explicit"] == "holds"
    for name, factor in (
        ("flow1_distance", 100.0),
        ("descent1_lambda_min", 0.1),
        ("flow1_misfit", np.linspace(1, 50, 9)),
    ):
        changed = result.arrays[name] * factor
        changed[:, 0] = result.arrays[name][:, 0]
        assert judged(result, **{name: changed})["du2019-width-explicit"] == "fails", name


def test_events_that_always_fail_refute_the_probability(result):
    settings = {"seeds": 20, "delta": 0.5}
    arrays = {
        name: np.repeat(array, 10, axis=0) if name.startswith(("flow", "descent")) else array
        for name, array in result.arrays.items()
    }
    arrays["flow1_near"] = np.full(20, 1e9)
    found = judged(result, settings=settings, **arrays)
    assert found["du2019-width-explicit"] == "fails"


def test_tail_is_the_binomial_one():
    for failures in range(6):
        expected = scipy.stats.binom.sf(failures - 1, 5, 0.3)
        assert explicit_width._tail(5, failures, 0.3) == pytest.approx(expected)


def test_more_memory_than_allowed_is_refused_before_anything_runs():
    with pytest.raises(InputError, match="memory_limit"):
        run(Settings(flow_counts=(2,), memory_limit=0.5), "cpu")
