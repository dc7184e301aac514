"""The proof of Theorem 4.1: each term against loops over units, the judge against false lines."""

import math

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.experiments.du2019 import proof_budget
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import descent_by_autograd, predictions_by_loops

SMALL = {"count": 5, "dimension": 6, "widths": [40, 80, 160], "seeds": 2, "steps": 6}
ETA, LAMBDA_0 = 0.9, 0.2


@pytest.fixture(scope="module")
def result():
    return proof_budget.run(proof_budget.QUICK.override(SMALL), "cpu")


@pytest.fixture(scope="module")
def step():
    """Step 2 -> 3 of a narrow network by autograd, with enough room for units to cross."""
    data, initial = sphere(5, 6, seed=0), draw_two_layer(30, 6, seed=0)
    path = descent_by_autograd(initial, data.x, data.y, ETA, 3)
    radius = max(float((p.weights - initial.weights).norm(dim=1).max()) for p in path)
    terms = proof_budget.step_terms(
        initial, path[2], path[3], data.x, data.y, ETA, radius, LAMBDA_0
    )
    return data, initial, path[2], path[3], radius, terms


def by_loops(step):
    """I_1, I_2, H-perp and |S_i-perp| unit by unit, from the definitions."""
    data, initial, before, after, radius, _ = step
    n, m = 5, 30
    i_1, i_2, counted = torch.zeros(3, n, dtype=torch.float64)
    perp = torch.zeros(n, n, dtype=torch.float64)
    for i, r in np.ndindex(n, m):
        x_i, w = data.x[i], before.weights[r]
        change = max(float(after.weights[r] @ x_i), 0) - max(float(w @ x_i), 0)
        change *= float(before.outputs[r]) / math.sqrt(m)
        if abs(float(initial.weights[r] @ x_i)) > radius:
            i_1[i] += change
            continue
        i_2[i] += change
        counted[i] += 1
        for j in range(n):
            if float(w @ x_i) >= 0 and float(w @ data.x[j]) >= 0:
                perp[i, j] += float(x_i @ data.x[j]) / m
    return i_1, i_2, perp, counted


def test_terms_are_those_of_loops(step):
    data, _, before, after, _, terms = step
    i_1, i_2, perp, counted = by_loops(step)
    assert 0 < counted.sum() < 150
    e = data.y - predictions_by_loops(before, data.x)
    moved = predictions_by_loops(after, data.x) - predictions_by_loops(before, data.x)
    torch.testing.assert_close(moved, i_1 + i_2)
    unit = ETA * LAMBDA_0 * float(e @ e)
    assert terms["perp_cost"] == pytest.approx(2 * ETA * float(e @ perp @ e) / unit)
    assert terms["i_2_cost"] == pytest.approx(-2 * float(e @ i_2) / unit)
    assert terms["square_cost"] == pytest.approx(float(moved @ moved) / unit)
    pairs = float(counted.sum())
    assert terms["perp_quotient"] == pytest.approx(
        np.linalg.norm(perp.numpy(), ord=2) / (5 * pairs / 30)
    )
    allowed = ETA * counted * math.sqrt(5) * float(e.norm()) / 30
    worst = max(float(a / b) for a, b in zip(i_2.abs(), allowed, strict=True) if b > 0)
    assert terms["i_2_quotient"] == pytest.approx(worst)
    assert terms["crossing_share"] == pytest.approx(pairs / 150)


def test_what_is_left_is_the_contraction(step):
    data, _, before, after, _, terms = step
    e, new = (data.y - predictions_by_loops(net, data.x) for net in (before, after))
    left = terms["gain"] - terms["perp_cost"] - terms["i_2_cost"] - terms["square_cost"]
    assert float(new @ new) / float(e @ e) == pytest.approx(1 - ETA * LAMBDA_0 * left, rel=1e-10)


def test_crossing_gram_is_not_symmetric(step):
    assert not torch.equal(by_loops(step)[2], by_loops(step)[2].T)


def test_a_radius_too_small_breaks_the_identity_for_i_1(step):
    """With S_i-perp empty, units that switch are counted as if they could not."""
    data, initial, before, after, _, _ = step
    terms = proof_budget.step_terms(initial, before, after, data.x, data.y, ETA, 0.0, LAMBDA_0)
    assert terms["sum_error"] < 1e-14
    assert terms["i_1_error"] > 1e-4


def test_small_run_holds(result):
    assert proof_budget.judge(result)[0].outcome == "holds"


def test_single_precision_holds_to_its_own_rounding():
    settings = proof_budget.QUICK.override({**SMALL, "dtype": "float32", "seeds": 1})
    assert proof_budget.judge(proof_budget.run(settings, "cpu"))[0].outcome == "holds"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sum_error", 1e-6),
        ("i_1_error", 1e-6),
        ("balance_error", 1e-6),
        ("i_2_quotient", 1.01),
        ("perp_quotient", 1.01),
        ("square_quotient", 1.01),
        ("gain", 0.4),
    ],
)
def test_judge_sees_a_false_line(result, name, value):
    array = result.arrays[name].copy()
    array[0, 1, 0, 2] = value
    assert outcomes(proof_budget.judge, result, **{name: array})["du2019-decomp"] == "fails"
