"""Per-layer Gram matrices against automatic differentiation, and a verdict that can fail."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.errors import InputError
from companion.experiments.du2019 import deep_gram
from companion.experiments.du2019.deep_gram import QUICK, Settings, derivative_mismatch, judge, run
from companion.kernels import layer_grams
from companion.networks import draw_du
from tests.doctoring import doctored, outcomes
from tests.oracles import deep_jacobians, du_predictions, layer_grams_by_autograd

TINY = Settings(count=5, dimension=4, depth=3, widths=(8, 16, 32), seeds=2, steps=4, every=2)
judged = partial(outcomes, judge)


@pytest.fixture(scope="module")
def result():
    return run(TINY, "cpu")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_layer_grams_are_those_of_the_jacobians(depth):
    data = sphere(5, 4, seed=depth)
    network = draw_du(16, 4, seed=3, depth=depth, dtype=torch.float64)
    for fast, slow in zip(
        layer_grams(network, data.x), layer_grams_by_autograd(network, data.x), strict=True
    ):
        torch.testing.assert_close(fast, slow)


def test_prediction_velocity_by_the_chain_rule_is_the_sum_of_grams():
    data = sphere(5, 4, seed=0)
    network = draw_du(16, 4, seed=1, depth=3, dtype=torch.float64)
    residual = network.predict(data.x) - data.y
    velocity = sum(
        rows @ -gradient.flatten()
        for rows, gradient in zip(
            deep_jacobians(network, data.x),
            network.gradients(network.run(data.x), residual),
            strict=True,
        )
    )
    total = torch.stack(layer_grams(network, data.x)).sum(dim=0)
    torch.testing.assert_close(velocity, total @ -residual)
    assert derivative_mismatch(network, data) < 1e-13
    time = 1e-7
    ahead, behind = (
        deep_gram._stepped(network, data.x, residual, sign * time).predict(data.x)
        for sign in (1, -1)
    )
    torch.testing.assert_close((ahead - behind) / (2 * time), velocity, rtol=1e-5, atol=1e-5)


def test_a_missing_layer_would_be_noticed(monkeypatch):
    data, network = sphere(5, 4, seed=0), draw_du(16, 4, seed=1, depth=3, dtype=torch.float64)
    monkeypatch.setattr(deep_gram, "layer_grams", lambda *a: layer_grams(*a)[1:])
    assert derivative_mismatch(network, data) > 0.01


def test_descent_is_that_of_automatic_differentiation():
    data = sphere(TINY.count, TINY.dimension, seed=0)
    network = draw_du(16, TINY.dimension, seed=0, depth=3, dtype=torch.float64)
    leaves = [weight.clone().requires_grad_() for weight in network.weights]
    optimiser = torch.optim.SGD(leaves, lr=0.2)
    for _ in range(3):
        residual = network.predict(data.x) - data.y
        network = deep_gram._stepped(network, data.x, residual, 0.2)
        optimiser.zero_grad()
        loss = 0.5 * (du_predictions(leaves, network.outputs, data.x) - data.y).square().sum()
        loss.backward()
        optimiser.step()
    for ours, theirs in zip(network.weights, leaves, strict=True):
        torch.testing.assert_close(ours, theirs.detach())


def test_recorded_drift_starts_at_zero_and_misfit_falls(result):
    assert np.abs(result.arrays["drift"][..., 0, :]).max() == 0
    assert result.arrays["steps"][0, 0].tolist() == [0, 2, 4]
    assert (result.arrays["misfit"][..., -1] < result.arrays["misfit"][..., 0]).all()
    assert result.arrays["drift"].shape == (2, 3, 3, 3)


@pytest.mark.parametrize("name", ["mismatch", "least", "drift"])
def test_verdict_can_fail(result, name):
    falling = np.array([1.0, 0.5, 0.25])[None, :, None, None] * np.ones((2, 1, 3, 3))
    good = doctored(result, drift=falling, mismatch=np.zeros((2, 3)))
    assert judged(good)["du2019-deep-conj"] == "holds"
    bad = {"mismatch": np.full((2, 3), 0.1), "least": -result.arrays["least"], "drift": falling**0}
    assert judged(good, **{name: bad[name]})["du2019-deep-conj"] == "fails"


def test_two_widths_make_no_exponent():
    with pytest.raises(InputError, match="widths"):
        QUICK.override({"widths": (8, 16)})


def test_one_trained_layer_is_the_two_layer_matrix():
    data = sphere(5, 4, seed=0)
    deep = draw_du(16, 4, seed=0, dtype=torch.float64)
    (gram,) = layer_grams(deep, data.x)
    active = (data.x @ deep.weights[0].T >= 0).double()
    torch.testing.assert_close(gram, (data.x @ data.x.T) * (active @ active.T) / 16)
