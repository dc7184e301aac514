"""Theorem 4.1, Condition 4.1, Corollary 4.1: the run against autograd, the judge against lies."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.bounds.du2019 import corollary_4_1_distance, theorem_4_1
from companion.datasets import sphere
from companion.dynamics import linearised_distances
from companion.errors import InputError
from companion.experiments.du2019 import linear_rate
from companion.kernels import infinite_width_gram, lambda_max, lambda_min
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import (
    descent_by_autograd,
    half_sum_loss,
    linearised_descent_residual,
    max_distance_by_loops,
)

SMALL = {"count": 6, "dimension": 8, "widths": [50, 100, 200], "seeds": 2, "steps": 12}


judged = partial(outcomes, linear_rate.judge)


@pytest.fixture(scope="module")
def result():
    return linear_rate.run(linear_rate.QUICK.override(SMALL), "cpu")


def test_misfit_and_distance_are_those_of_autograd_descent(result):
    data, network = sphere(6, 8, seed=1), draw_two_layer(100, 8, seed=1)
    eta = 1 / lambda_max(infinite_width_gram(data.x))
    path = descent_by_autograd(network, data.x, data.y, eta, 12)
    misfits = [2 * half_sum_loss(net.weights, net.outputs, data.x, data.y) for net in path]
    np.testing.assert_allclose(result.arrays["misfit"][1, 1, -1], misfits, rtol=1e-8)
    farthest = max_distance_by_loops(path[0].weights, path[-1].weights)
    assert result.arrays["distance"][1, 1, -1] == pytest.approx(farthest, rel=1e-9)


def test_first_step_size_is_the_theorems(result):
    lambda_0 = lambda_min(infinite_width_gram(sphere(6, 8, seed=0).x))
    assert result.arrays["step_sizes"][0, 0, 0] == pytest.approx(lambda_0 / 36)


def test_bounds_by_hand():
    assert theorem_4_1(np.array([0, 2]), 0.5, 0.4, 10.0) == pytest.approx([10.0, 10 * 0.9**2])
    assert corollary_4_1_distance(4, 100, 0.5, 9.0) == pytest.approx(4 * 2 * 3 / (10 * 0.5))


def test_corollary_is_the_geometric_series_it_comes_from():
    """sum_k eta sqrt(n/m) (1 - eta lambda_0/2)^{k/2} ||y - u(0)|| stays below the bound."""
    eta, lambda_0, n, m, start = 0.3, 0.4, 5, 70, 2.0
    total = sum(
        eta * math.sqrt(n / m) * (1 - eta * lambda_0 / 2) ** (k / 2) * math.sqrt(start)
        for k in range(2000)
    )
    assert 0.9 < total / corollary_4_1_distance(n, m, lambda_0, start) <= 1


def test_linearised_distances_add_up_the_frozen_gradients():
    data, network = sphere(5, 7, seed=3), draw_two_layer(9, 7, seed=3)
    gram, eta = infinite_width_gram(data.x), 0.8
    start = network.predict(data.x) - data.y
    moved = torch.zeros_like(network.weights)
    for k in range(4):
        residual = linearised_descent_residual(gram, start, eta, k)
        for r, i in np.ndindex(9, 5):
            if float(network.weights[r] @ data.x[i]) >= 0:
                moved[r] -= eta * residual[i] * network.outputs[r] * data.x[i] / 3
    found = linearised_distances(network, data.x, data.y, gram, step_size=eta, steps=4)
    torch.testing.assert_close(found, moved.norm(dim=1))


def test_linearised_distances_are_exact_for_one_step(result):
    data, network = sphere(6, 8, seed=2), draw_two_layer(40, 8, seed=2)
    after = descent_by_autograd(network, data.x, data.y, 0.7, 1)[1]
    found = linearised_distances(
        network, data.x, data.y, torch.eye(6, dtype=torch.float64), step_size=0.7, steps=1
    )
    torch.testing.assert_close(found, (after.weights - network.weights).norm(dim=1))


def test_judge_sees_a_step_that_contracts_too_little(result):
    def stall(misfit):
        misfit[0, 0, 1, 5] = misfit[0, 0, 1, 4]
        return misfit

    assert judged(result, misfit=stall)["du2019-thm4.1"] == "fails"


def test_judge_sees_a_rate_that_grows_with_the_width():
    """The rate of a step size proportional to sqrt m."""
    settings = {**SMALL, "widths": [100, 400, 1600], "seeds": 1}
    result = linear_rate.run(linear_rate.QUICK.override(settings), "cpu")
    ratio = np.exp(-0.1 * np.sqrt(np.array([1.0, 4.0, 16.0])))
    misfit = np.broadcast_to(
        ratio[None, :, None, None] ** np.arange(13), result.arrays["misfit"].shape
    )
    lied = judged(result, misfit=misfit, lambda_0=lambda a: 0.01 * a)
    assert lied["du2019-cond4.1"] == "outside-regime"
    assert lied["du2019-thm4.1"] == "fails"


def test_judge_sees_a_residual_above_the_induction_hypothesis(result):
    slow = 0.9999999 ** np.arange(13)
    lied = judged(result, misfit=lambda a: a[..., :1] * slow)
    assert lied["du2019-cond4.1"] == "fails"
    assert lied["du2019-cor4.1"] == "inconclusive"


@pytest.mark.parametrize(
    "change",
    [lambda a: 1e3 * a, lambda a: a * np.array([1.0, 2.0, 4.0])[None, :, None]],
    ids=["beyond the ball", "another power of m"],
)
def test_judge_sees_weights_that_move_too_far(result, change):
    assert judged(result, distance=change)["du2019-cor4.1"] == "fails"


def test_too_few_widths_for_an_exponent_are_refused():
    with pytest.raises(InputError, match="widths"):
        linear_rate.QUICK.override({"widths": [100, 200]})
