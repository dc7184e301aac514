"""The proof of Theorem 4.1: each term against loops over units, the judge against false lines."""

import math
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from companion.experiments.du2019 import proof_budget
from companion.experiments.du2019._problem import Problem, draw
from companion.kernels import lambda_max
from companion.monitors import unit_distances
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    TwoLayers,
    descent_by_autograd,
    gram_by_loops,
    max_distance_by_loops,
    predictions_by_loops,
)

SMALL = proof_budget.QUICK.override(
    {"count": 5, "dimension": 6, "widths": [40, 80, 160], "seeds": 2, "steps": 6}
)
ETA = 0.9
# What the proof asks for: corrections of at most 1/2 and lambda_min(H(k)) of at least lambda_0/2.
FITS = {"perp_bound": 0.2, "i_2_bound": 0.2, "square_bound": 0.1, "lambda_min": 0.5}
judged = partial(outcomes, proof_budget, SMALL)


class Step(NamedTuple):
    """Step 2 -> 3 of a run by autograd, and R."""

    problem: Problem
    before: TwoLayers
    after: TwoLayers
    radius: float

    def terms(self, radius: float) -> dict[str, float]:
        x, (start,) = self.problem.x, self.problem.network.weights
        return proof_budget.step_terms(
            self.problem,
            x @ self.before.weights.T,
            x @ self.after.weights.T,
            gram_by_loops(self.before, x),
            (x @ start.T).abs() <= radius,
            ETA,
        )


@pytest.fixture(scope="module")
def found():
    return proof_budget.run(SMALL, "cpu")


@pytest.fixture(scope="module")
def step():
    """Of a narrow network, with enough room for units to cross."""
    problem = draw(SMALL, "cpu", seed=0, width=30)
    path = descent_by_autograd(problem.network, problem.x, problem.y, ETA, 3)
    radius = max(max_distance_by_loops(path[0].weights, each.weights) for each in path)
    return Step(problem, path[2], path[3], radius)


class Pieces(NamedTuple):
    i_1: Tensor
    i_2: Tensor
    perp: Tensor
    counted: Tensor


@pytest.fixture(scope="module")
def pieces(step):
    """I_1, I_2, H-perp and |S_i-perp| unit by unit, from the definitions."""
    x, (start,), n, m = step.problem.x, step.problem.network.weights, 5, 30
    i_1, i_2, counted = torch.zeros(3, n, dtype=torch.float64)
    perp = torch.zeros(n, n, dtype=torch.float64)
    for i, r in np.ndindex(n, m):
        w = step.before.weights[r]
        change = max(float(step.after.weights[r] @ x[i]), 0) - max(float(w @ x[i]), 0)
        change *= float(step.before.outputs[r]) / math.sqrt(m)
        if abs(float(start[r] @ x[i])) > step.radius:
            i_1[i] += change
            continue
        i_2[i] += change
        counted[i] += 1
        for j in range(n):
            if float(w @ x[i]) >= 0 and float(w @ x[j]) >= 0:
                perp[i, j] += float(x[i] @ x[j]) / m
    assert 0 < counted.sum() < n * m
    return Pieces(i_1, i_2, perp, counted)


def crossing(step):
    return (step.problem.x @ step.problem.network.weights[0].T).abs() <= step.radius


def test_the_change_is_split_as_by_loops(step, pieces):
    before, after = (step.problem.x @ net.weights.T for net in (step.before, step.after))
    i_1, i_2 = proof_budget.split_change(step.before.outputs, before, after, crossing(step))
    torch.testing.assert_close(i_1, pieces.i_1)
    torch.testing.assert_close(i_2, pieces.i_2)


def test_crossing_gram_is_that_of_loops_and_not_symmetric(step, pieces):
    x = step.problem.x
    perp = proof_budget.crossing_gram(x, x @ step.before.weights.T, crossing(step))
    torch.testing.assert_close(perp, pieces.perp)
    assert float((perp - perp.T).abs().max()) > 1e-3


def test_terms_are_those_of_loops(step, pieces):
    x, y, terms = step.problem.x, step.problem.y, step.terms(step.radius)
    lambda_0, e = step.problem.lambda_0, y - predictions_by_loops(step.before, x)
    moved = predictions_by_loops(step.after, x) - predictions_by_loops(step.before, x)
    torch.testing.assert_close(moved, pieces.i_1 + pieces.i_2)
    unit = ETA * lambda_0 * float(e @ e)
    gram, size, pairs = gram_by_loops(step.before, x), float(e.norm()), float(pieces.counted.sum())
    allowed = ETA * pieces.counted * math.sqrt(5) * size / 30
    worst = [float(a / b) for a, b in zip(pieces.i_2.abs(), allowed, strict=True) if b > 0]
    norm = np.linalg.norm(pieces.perp.numpy(), ord=2)
    known = {
        "gain": 2 * ETA * float(e @ gram @ e) / unit,
        "perp_cost": 2 * ETA * float(e @ pieces.perp @ e) / unit,
        "i_2_cost": -2 * float(e @ pieces.i_2) / unit,
        "square_cost": float(moved @ moved) / unit,
        "perp_quotient": norm / (5 * pairs / 30),
        "i_2_quotient": max(worst),
        "square_quotient": float(moved @ moved) / (ETA**2 * 25 * size**2),
        "perp_bound": 2 * ETA * (5 * pairs / 30) * size**2 / unit,
        "i_2_bound": 2 * size * ETA * pairs * math.sqrt(5) * size / 30 / unit,
        "square_bound": ETA**2 * 25 * size**2 / unit,
        "lambda_min": np.linalg.eigvalsh(gram.numpy())[0] / lambda_0,
        "crossing_share": pairs / 150,
    }
    assert {name: terms[name] for name in known} == pytest.approx(known)


def test_the_identities_are_exact_and_what_is_left_is_the_contraction(step):
    terms = step.terms(step.radius)
    e, new = (
        step.problem.y - predictions_by_loops(net, step.problem.x)
        for net in (step.before, step.after)
    )
    left = terms["gain"] - terms["perp_cost"] - terms["i_2_cost"] - terms["square_cost"]
    contraction = 1 - ETA * step.problem.lambda_0 * left
    assert float(new @ new) / float(e @ e) == pytest.approx(contraction, rel=1e-10)
    assert max(terms[f"{name}_error"] for name in ("sum", "i_1", "balance")) < 1e-14


def test_a_radius_too_small_breaks_the_identity_for_i_1(step):
    """With S_i-perp empty, units that switch are counted as if they could not."""
    terms = step.terms(0.0)
    assert terms["crossing_share"] == terms["perp_quotient"] == terms["i_2_quotient"] == 0
    assert terms["sum_error"] < 1e-14
    assert terms["i_1_error"] > 1e-4


def test_recorded_terms_are_those_of_descent_by_autograd(found):
    problem = draw(SMALL, "cpu", seed=1, width=40)
    x, y, one = problem.x, problem.y, found.sel(seed=1, width=40)
    usual = 1 / lambda_max(problem.limit)
    np.testing.assert_allclose(one.step_sizes, [0.25 * problem.lambda_0 / 25, usual])
    for index, step_size in enumerate(one.step_sizes.values):
        path = descent_by_autograd(problem.network, x, y, float(step_size), 6)
        far = [max_distance_by_loops(path[0].weights, each.weights) for each in path]
        run = one.isel(eta=index)
        np.testing.assert_allclose(run.radius, np.maximum.accumulate(far)[1:], rtol=1e-8)
        start = (x @ path[0].weights.T).abs().numpy()
        near = [(start <= radius).mean() for radius in run.radius.values]
        np.testing.assert_allclose(run.crossing_share, near)
        rest = [y - predictions_by_loops(each, x) for each in path]
        for k in range(6):
            unit = step_size * problem.lambda_0 * float(rest[k] @ rest[k])
            gain = 2 * step_size * float(rest[k] @ gram_by_loops(path[k], x) @ rest[k])
            assert float(run.gain[k]) == pytest.approx(gain / unit)
            left = float(rest[k] @ rest[k] - rest[k + 1] @ rest[k + 1]) / unit
            assert float(proof_budget._net(run)[k]) == pytest.approx(left)


def test_the_radius_never_shrinks_where_units_come_back():
    """At a step size beyond the edge units swing: the farthest one is farther after odd steps."""
    problem = draw(SMALL, "cpu", seed=0, width=4000)
    step_size = 1.9 / lambda_max(problem.limit)
    far = [float(unit_distances(moment)[0, 0])
           for moment in islice(problem.moments(step_size), 1, 9)]  # fmt: skip
    assert min(np.diff(far)) < 0
    run = proof_budget._along(problem, step_size, 8)
    np.testing.assert_allclose(run.radius, np.maximum.accumulate(far), rtol=1e-12)


def test_small_run_holds(found):
    assert judged(found) == proof_budget.EXPECTED


def test_single_precision_holds_to_its_own_rounding():
    single = SMALL.override({"dtype": "float32", "seeds": 1})
    found = proof_budget.run(single, "cpu")
    assert outcomes(proof_budget, single, found) == proof_budget.EXPECTED


def test_values_add_up_the_bounds_at_each_step_size(found):
    bounds = {"perp_bound": 1.0, "i_2_bound": 2.0, "square_bound": np.array([[4.0], [8.0]])}
    known = proof_budget.values(SMALL, doctored(found, **bounds))
    assert (float(known["small_bounds"]), float(known["usual_bounds"])) == (7, 11)
    fast = (found.width.values / 40.0)[None, :, None, None] ** -0.5
    known = proof_budget.values(SMALL, doctored(found, perp_bound=fast))
    assert float(known["perp_exponent"]) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sum_error", 1e-6),
        ("i_1_error", 1e-6),
        ("balance_error", 1e-6),
        ("i_2_quotient", 1.01),
        ("perp_quotient", 1.01),
        ("square_quotient", 1.01),
    ],
)
def test_judge_sees_a_false_line(found, name, value):
    def lie(array):
        array[0, 1, 0, 2] = value
        return array

    assert judged(found, **{name: lie})["du2019-decomp"] == "fails"


@pytest.mark.parametrize(
    ("name", "value"),
    [("gain", 0.4), ("perp_cost", 10.0), ("i_2_cost", 10.0), ("square_cost", 10.0)],
)
def test_judge_sees_a_step_that_leaves_over_too_little(found, name, value):
    """Where the proof's bounds do not fit that says nothing; where they do, it would refute it."""

    def lie(array):
        array[0, 1, 0, 2] = value
        return array

    assert judged(found, **{name: lie})["du2019-decomp-net"] == "inconclusive"
    assert judged(found, **FITS)["du2019-decomp-net"] == "holds"
    assert judged(found, **FITS, **{name: lie})["du2019-decomp-net"] == "fails"
    assert judged(found, **{name: lie})["du2019-decomp"] == "holds"


@pytest.mark.parametrize(("name", "value"), [("square_bound", 0.11), ("lambda_min", 0.49)])
def test_the_last_line_asks_for_bounds_that_fit_and_a_gram_matrix_near_its_start(
    found, name, value
):
    assert judged(found, **(FITS | {name: value}))["du2019-decomp-net"] == "outside-regime"


def test_the_judge_sees_its_controls(found):
    """Where the bounds fit, the lie about what is left over refutes the last line."""
    for claim, lie in proof_budget.CONTROLS.items():
        lied = proof_budget.judge(SMALL, lie.told(SMALL, doctored(found, **FITS)))
        assert {v.claim: v.outcome for v in lied}[claim] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
@pytest.mark.parametrize("name", ["sum_error", "i_1_error", "balance_error"])
def test_rounding_is_allowed_for_and_no_more(found, name, share, outcome):
    """Of m + d additions."""
    lied = judged(found, **{name: share * (160 + 6) * np.finfo(float).eps})
    assert lied["du2019-decomp"] == outcome


def test_what_is_no_number_decides_nothing(found):
    assert judged(found, i_2_quotient=np.nan)["du2019-decomp"] == "inconclusive"
