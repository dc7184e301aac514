"""The experiment du2019/gradient against loops, SGD by autograd, and its own failure."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from companion.dynamics import gradient_descent

from companion.datasets import sphere
from companion.experiments.du2019 import gradient
from companion.kernels import empirical_gram, lambda_max
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import (
    descent_by_autograd,
    gram_by_loops,
    linearised_descent_residual,
    pattern_difference_by_loops,
    predictions_by_loops,
)

TINY = gradient.Settings(
    count=5, dimension=3, widths=(8, 40), seeds=2, directions=2, step_sizes=(1e-4, 0.5), steps=6
)


judged = partial(outcomes, gradient.judge)


@pytest.fixture(scope="module")
def result():
    return gradient.run(TINY, "cpu")


def test_tiny_run_holds(result):
    assert judged(result) == gradient.EXPECTED


def test_recorded_steps_are_those_of_loops(result):
    """Flips and the distance from the recursion, recomputed with SGD and loops."""
    data, network = sphere(5, 3, 1), draw_two_layer(40, 3, 1)
    step_size = 0.5 / lambda_max(empirical_gram(network, data.x))
    path = descent_by_autograd(network, data.x, data.y, step_size, 6)
    start = predictions_by_loops(network, data.x) - data.y
    for step, (now, after) in enumerate(pairwise(path)):
        flips = pattern_difference_by_loops(now.weights, after.weights, data.x) * 5 * 40
        assert result.arrays["flips"][1, 1, 1, step] == round(flips)
        residual = predictions_by_loops(now, data.x) - data.y
        recursion = linearised_descent_residual(
            gram_by_loops(now, data.x), residual, step_size, steps=1
        )
        error = predictions_by_loops(after, data.x) - data.y - recursion
        assert result.arrays["recursion_gap"][1, 1, 1, step] == pytest.approx(
            float(error.norm() / start.norm()), abs=1e-13
        )


def test_descent_is_sgd_on_the_autograd_loss():
    data, network = sphere(5, 3, 0), draw_two_layer(20, 3, 0)
    known = descent_by_autograd(network, data.x, data.y, 0.3, 10)[-1]
    found = gradient_descent(network, data.x, data.y, step_size=0.3, steps=10, record={}).network
    assert torch.allclose(found.weights, known.weights, atol=1e-13)
    assert torch.equal(found.outputs, network.outputs)


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("du2019-eq1-4", {"values": {"autograd_gap": 1e-3}}),
        ("du2019-eq1-4", {"values": {"gram_gap": 1e-3}}),
        ("du2019-eq1-4", {"values": {"difference_gap": 1e-3}}),
        ("du2019-algo-gd", {"values": {"still_gap": 1e-6}}),
        ("du2019-algo-gd", {"flip_excess": np.full((2, 2, 2, 6), 1e-6)}),
        ("du2019-algo-gd", {"repeats": np.array(False)}),
    ],
)
def test_each_disagreement_fails(result, claim, changes):
    assert judged(result, **changes)[claim] == "fails"


def test_without_a_still_step_nothing_is_decided(result):
    assert judged(result, values={"still_steps": 0})["du2019-algo-gd"] == "inconclusive"


def test_a_wrong_gradient_is_noticed(monkeypatch):
    """Eq. (4) without its factor 1 / sqrt(m)."""
    right = gradient.TwoLayer.weight_gradient

    def wrong(self, *args):
        return right(self, *args) * self.width**0.5

    monkeypatch.setattr(gradient.TwoLayer, "weight_gradient", wrong)
    assert set(judged(gradient.run(TINY, "cpu")).values()) == {"fails"}


def test_single_precision_is_judged_by_its_own_rounding():
    single = TINY.override({"dtype": "float32"})
    assert judged(gradient.run(single, "cpu")) == gradient.EXPECTED
