"""The experiment du2019/gradient against loops, SGD by autograd, and its own failure."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.draws import independent_seed
from companion.experiments.du2019 import gradient
from companion.experiments.du2019._problem import draw
from companion.kernels import empirical_gram, lambda_max
from companion.lab.controls import with_controls
from companion.networks import ReLUNetwork, draw_du
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    descent_by_autograd,
    finite_difference_gradient,
    gram_by_loops,
    linearised_descent_residual,
    pattern_difference_by_loops,
    predictions_by_loops,
)

TINY = gradient.QUICK.override(
    {
        "count": 5,
        "dimension": 3,
        "widths": [8, 40],
        "seeds": 2,
        "directions": 2,
        "step_sizes": [1e-4, 0.5],
        "steps": 6,
    }
)
EPS = float(np.finfo(float).eps)
judged = partial(outcomes, gradient, TINY)


@pytest.fixture(scope="module")
def found():
    return gradient.run(TINY, "cpu")


def test_tiny_run_holds(found):
    assert judged(found) == gradient.EXPECTED


def test_recorded_steps_are_those_of_loops(found):
    """Flips and the distance from the recursion, recomputed with SGD and loops."""
    data = sphere(5, 3, seed=1)
    network = draw_du(40, 3, independent_seed(1, 5, 3, 40), dtype=torch.float64)
    step_size = 0.5 / lambda_max(empirical_gram(network, data.x))
    path = descent_by_autograd(network, data.x, data.y, step_size, 6)
    start = predictions_by_loops(network, data.x) - data.y
    one = found.sel(seed=1, width=40).isel(eta=1)
    assert one.flips.sum() > 0
    for step, (now, after) in enumerate(pairwise(path)):
        flips = pattern_difference_by_loops(now.weights, after.weights, data.x) * 5 * 40
        assert one.flips[step] == round(flips)
        residual = predictions_by_loops(now, data.x) - data.y
        recursion = linearised_descent_residual(
            gram_by_loops(now, data.x), residual, step_size, steps=1
        )
        error = predictions_by_loops(after, data.x) - data.y - recursion
        assert float(one.recursion_gap[step]) == pytest.approx(
            float(error.norm() / start.norm()), abs=1e-13
        )
        bound = [
            sum(
                abs(float((new - old) @ x))
                for old, new in zip(now.weights, after.weights, strict=True)
                if (old @ x >= 0) != (new @ x >= 0)
            )
            / 40**0.5
            for x in data.x
        ]
        excess = (error.abs() - torch.tensor(bound)).clamp(min=0).max() / start.norm()
        assert float(one.flip_excess[step]) == pytest.approx(float(excess), abs=1e-13)


def test_the_excess_over_the_flip_bound_is_the_largest_over_inputs(monkeypatch):
    """There is none to see, so the recursion is made wrong: with twice the Gram matrix."""
    right = gradient.empirical_gram
    monkeypatch.setattr(gradient, "empirical_gram", lambda *given: 2 * right(*given))
    problem = draw(TINY, "cpu", seed=0, width=8)
    one = gradient._descend(problem, 0.5, 1)
    step_size = 0.5 / lambda_max(problem.gram)
    start, after = descent_by_autograd(problem.network, problem.x, problem.y, step_size, 1)
    residual = predictions_by_loops(start, problem.x) - problem.y
    doubled = linearised_descent_residual(
        2 * gram_by_loops(start, problem.x), residual, step_size, steps=1
    )
    errors = (predictions_by_loops(after, problem.x) - problem.y - doubled).abs()
    excesses = []
    for x, error in zip(problem.x, errors, strict=True):
        old, new = start.weights @ x, after.weights @ x
        flipped = (old >= 0) != (new >= 0)
        excesses.append(float(error) - float((new - old).abs()[flipped].sum()) / 8**0.5)
    assert max(excesses) > 1.5 * sum(excesses) / len(excesses) > 0
    expected = max(excesses) / float(residual.norm())
    assert float(one.flip_excess[0]) == pytest.approx(expected)


def test_descent_is_sgd_on_the_autograd_loss():
    problem = draw(TINY, "cpu", seed=0, width=20)
    known = descent_by_autograd(problem.network, problem.x, problem.y, 0.3, 10)[-1]
    trained = problem.train(0.3, 10).network
    assert torch.allclose(trained.weights[0], known.weights, atol=1e-13)
    assert torch.equal(trained.outputs, problem.network.outputs)


def test_a_difference_along_one_weight_is_that_weights_derivative():
    problem = draw(TINY, "cpu", seed=0, width=8)
    right, _ = finite_difference_gradient(problem.network, problem.x, problem.y)
    direction = torch.zeros_like(right)
    direction[2, 1] = 1
    assert gradient._difference_gap(problem, right, direction, 1e-5) < 1e-9
    wrong = right + 0.5 * direction
    gap = gradient._difference_gap(problem, wrong, direction, 1e-5)
    assert gap == pytest.approx(0.5 / float(wrong.norm()))


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        ("du2019-eq1-4", "autograd_gap"),
        ("du2019-eq1-4", "gram_gap"),
        ("du2019-eq1-4", "difference_gap"),
        ("du2019-algo-gd", "recursion_gap"),
        ("du2019-algo-gd-flips", "flip_excess"),
    ],
)
def test_each_disagreement_fails(found, claim, name):
    def lie(array):
        array[1, 0] = 1e-6
        return array

    assert judged(found, **{name: lie})[claim] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
@pytest.mark.parametrize(
    ("claim", "name", "edge"),
    [
        ("du2019-eq1-4", "autograd_gap", 10 * math.sqrt(40 * 3) * EPS),
        ("du2019-eq1-4", "gram_gap", 10 * math.sqrt(40 * 3) * EPS),
        ("du2019-eq1-4", "difference_gap", math.sqrt(EPS)),
        ("du2019-algo-gd", "recursion_gap", 10 * math.sqrt(40) * EPS),
        ("du2019-algo-gd-flips", "flip_excess", 10 * math.sqrt(40) * EPS),
    ],
)
def test_rounding_is_allowed_for_and_no_more(found, claim, name, edge, share, outcome):
    assert judged(found, **{name: share * edge})[claim] == outcome


def test_a_run_that_does_not_repeat_is_told_and_refutes_no_identity(found):
    once = doctored(found, repeats=~np.eye(2, dtype=bool))
    verdict = {v.claim: v for v in gradient.judge(TINY, once)}["du2019-algo-gd"]
    assert verdict.outcome == "holds"
    assert "4 of 8 runs gave the same weights bit by bit" in verdict.measured
    assert "8 of 8 runs" in gradient.judge(TINY, found)[1].measured


@pytest.mark.parametrize("claim", gradient.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(found, claim):
    verdicts = gradient.judge(TINY, found)
    told = with_controls(verdicts, gradient.CONTROLS, TINY, found, gradient.judge)
    assert {v.claim: v.control.outcome for v in told}[claim] == "fails"


def test_without_a_still_step_nothing_is_decided(found):
    assert judged(found, flips=1)["du2019-algo-gd"] == "inconclusive"


def test_steps_with_flips_may_leave_the_recursion(found):
    moved = found.recursion_gap.where(found.flips == 0, 1.0)
    assert judged(found, recursion_gap=moved.values) == gradient.EXPECTED
    known = gradient.values(TINY, found.assign(recursion_gap=moved))
    assert known["moved_gap"] == 1
    assert known["still_gap"] < 1e-13
    assert known["still_steps"] == (found.flips == 0).sum()


def test_a_wrong_gradient_is_noticed(monkeypatch, found):
    """Eq. (4) without its factor 1 / sqrt(m)."""
    right = ReLUNetwork.gradients

    def wrong(self, *args):
        return [each * self.widths[0] ** 0.5 for each in right(self, *args)]

    monkeypatch.setattr(ReLUNetwork, "gradients", wrong)
    assert set(judged(gradient.run(TINY, "cpu")).values()) == {"fails"}


def test_single_precision_is_judged_by_its_own_rounding():
    single = TINY.override({"dtype": "float32"})
    assert outcomes(gradient, single, gradient.run(single, "cpu")) == gradient.EXPECTED
