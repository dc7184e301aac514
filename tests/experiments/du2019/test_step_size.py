"""Theorem 4.1's step size: the bisection against problems whose edge is known."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.errors import InputError
from companion.experiments.du2019 import step_size
from companion.kernels import empirical_gram, lambda_max
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import descent_by_autograd, half_sum_loss

SMALL = {"counts": [4, 6, 8], "widths": [50, 100, 200], "dimension": 8, "seeds": 2, "steps": 12}


judged = partial(outcomes, step_size.judge)


@pytest.fixture(scope="module")
def result():
    return step_size.run(step_size.QUICK.override(SMALL), "cpu")


@pytest.mark.parametrize("largest_eigenvalue", [0.5, 2.0, 9.0])
def test_bisection_finds_the_edge_of_a_quadratic(largest_eigenvalue):
    """One mode: the squared residual falls by (1 - eta lambda)^2, below 1 iff eta < 2 / lambda."""
    found = step_size.largest_stable_step_size(
        lambda eta: (1 - eta * largest_eigenvalue) ** 2, count=10, resolution=1e-4
    )
    edge = 2 / largest_eigenvalue
    assert edge * (1 - 1e-4) <= found <= edge


def test_worst_ratio_is_that_of_autograd_descent():
    data, network = sphere(5, 6, seed=0), draw_two_layer(60, 6, seed=0)
    path = descent_by_autograd(network, data.x, data.y, 1.1, 8)
    sizes = torch.stack([half_sum_loss(p.weights, p.outputs, data.x, data.y) for p in path])
    expected = float((sizes[1:] / sizes[:-1]).max())
    found = step_size.worst_ratio(network, data.x, data.y, 1.1, steps=8)
    assert found == pytest.approx(expected, rel=1e-9)


def test_worst_ratio_of_a_diverging_run_is_infinite():
    data, network = sphere(5, 6, seed=0), draw_two_layer(60, 6, seed=0)
    assert step_size.worst_ratio(network, data.x, data.y, 1e4, steps=40) == math.inf


def test_one_input_is_stable_up_to_the_edge():
    """With one input there is one mode, H(k) stays near H(0), and the edge is 2 / H_11."""
    data, network = sphere(1, 5, seed=1), draw_two_layer(4000, 5, seed=1)
    edge = 2 / lambda_max(empirical_gram(network, data.x))
    found = step_size.largest_stable_step_size(
        lambda eta: step_size.worst_ratio(network, data.x, data.y, eta, steps=5), 1, 0.005
    )
    assert found == pytest.approx(edge, rel=0.05)


def test_small_run_agrees(result):
    assert judged(result) == step_size.EXPECTED
    assert (result.arrays["largest"] > result.arrays["theorem"]).all()


def test_judge_sees_a_theorem_step_that_contracts_too_little(result):
    assert judged(result, theorem_ratio=np.ones_like)["du2019-thm4.1-eta"] == "fails"


def test_judge_sees_a_stable_range_that_shrinks_with_width(result):
    factor = 1 / np.sqrt(result.arrays["widths"])
    assert judged(result, largest=lambda a: a * factor)["du2019-thm4.1-eta"] == "fails"


def test_too_few_widths_for_an_exponent_are_refused():
    with pytest.raises(InputError, match="widths"):
        step_size.QUICK.override({"widths": [100]})
