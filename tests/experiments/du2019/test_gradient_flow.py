"""Gradient flow: the identities its experiment uses, and that its judge can say no."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.bounds.du2019 import (
    lemma_3_2_radius,
    lemma_3_3_distance,
    theorem_3_2,
    theorem_3_2_width,
)
from companion.datasets import sphere
from companion.errors import InputError
from companion.experiments.du2019 import gradient_flow as experiment
from companion.lab.results import Result
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import descent_by_autograd, gram_by_loops, predictions_by_loops

TINY = experiment.QUICK.override(
    {
        "count": 8,
        "dimension": 8,
        "widths": (40, 160),
        "seeds": 2,
        "points": 9,
        "horizon": 2.0,
        "tolerance": 1e-4,
        "euler_steps": (4, 12, 36),
    }
)
judged = partial(outcomes, experiment.judge)


@pytest.fixture(scope="module")
def result() -> Result:
    return experiment.run(TINY, "cpu")


def test_every_claim_is_judged(result):
    assert judged(result).keys() == experiment.EXPECTED.keys()


def test_steps_agree_with_autograd_and_loops():
    """e(k) = u(k+1) - u(k) - eta H (y - u), from SGD on autograd and a Gram matrix by loops."""
    data, network = sphere(5, 5, 0), draw_two_layer(30, 5, 0)
    missed = predicted = 0.0
    path = descent_by_autograd(network, data.x, data.y, 0.3, 4)
    for before, after in itertools.pairwise(path):
        now, then = predictions_by_loops(before, data.x), predictions_by_loops(after, data.x)
        step = 0.3 * gram_by_loops(before, data.x) @ (data.y - now)
        missed += float((then - now - step).norm())
        predicted += float(step.norm())
    end, found = experiment._euler(network, data, 0.3, 4)
    torch.testing.assert_close(end.weights, path[-1].weights)
    assert found["share"] == pytest.approx(missed / predicted, rel=1e-9)
    assert found["unflipped"] < 1e-14


def test_one_input_closed_form():
    """One active unit of four: u = w/2 moves until u = y, so w - w(0) tends to 2 (2 - 1/2) = 3."""
    distance, camera_ready, draft = experiment._one_input(torch.float64, "cpu")
    assert distance == pytest.approx(3, abs=1e-4)
    assert draft == pytest.approx(2 * 1.5 / (2 * 0.5), rel=1e-12)
    assert camera_ready == draft / 2


def test_width_is_where_the_radii_meet():
    n, lambda_0, delta, start = 20, 0.2, 0.1, 300.0
    width = theorem_3_2_width(n, lambda_0, delta, start)
    inner = lemma_3_3_distance(n, round(width), lambda_0, start)
    assert inner == pytest.approx(lemma_3_2_radius(n, lambda_0, delta), rel=1e-9)


def test_bound_at_a_point():
    assert theorem_3_2(np.array([0.0, 2.0]), 0.5, 3.0).tolist() == [3.0, 3.0 / math.e]


def test_order_of_an_exact_power():
    steps = (5, 10, 20)
    samples = np.array([[1 / 5, 1 / 10, 1 / 20], [7 / 5, 7 / 10, 7 / 20]])
    assert experiment._order(steps, samples)[0] == pytest.approx(1)


def test_misfit_above_the_bound_fails(result):
    misfits = result.arrays["misfit"].copy()
    misfits[1, 0, 4] = misfits[1, 0, 0]
    found = judged(result, misfit=misfits)
    assert found["du2019-thm3.2"] == "fails"
    assert found["du2019-lem3.4"] == "fails"


def test_dynamics_can_hold_and_fail(result):
    eta = 1 / np.array(TINY.euler_steps)
    shape = result.arrays["share"].shape
    first_order, level = np.broadcast_to(eta, shape), np.full(shape, 0.01)
    assert judged(result, share=first_order)["du2019-eq5-7"] == "holds"
    assert judged(result, share=level)["du2019-eq5-7"] == "fails"
    wrong = result.arrays["velocity_error"] + 0.1
    assert judged(result, share=first_order, velocity_error=wrong)["du2019-eq5-7"] == "fails"


def test_drift_that_does_not_fall_fails(result):
    drift = np.ones_like(result.arrays["drift"])
    assert judged(result, drift=drift)["du2019-rem3.1b"] == "fails"


def test_distance_verdict(result):
    a, widths = result.arrays, np.array(TINY.widths)
    near = np.broadcast_to((widths**-0.5)[:, None], a["distance"].shape)
    assert judged(result, distance=near)["du2019-lem3.3"] == "holds"
    assert judged(result, distance=1e6 * near)["du2019-lem3.3"] == "fails"
    assert judged(result, distance=near**3)["du2019-lem3.3"] == "fails"
    bad = a["lambda_min"] * 0
    assert judged(result, lambda_min=bad + 1e-9)["du2019-lem3.3"] == "inconclusive"


def test_small_eigenvalue_fails_the_bootstrap(result):
    assert judged(result, lambda_min=result.arrays["lambda_min"] * 0.4)["du2019-lem3.4"] == "fails"


@pytest.mark.parametrize(
    "bad", [{"widths": (50,)}, {"horizon": 0.5}, {"points": 3}, {"tolerance": 0.0}]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError):
        experiment.QUICK.override(bad)


def test_cost_grows_with_the_width():
    small, large = (experiment.cost(TINY.override({"widths": (40, w)})) for w in (80, 8000))
    assert large.flops > small.flops > 0
    assert large.bytes > small.bytes > 0
