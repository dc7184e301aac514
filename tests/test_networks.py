"""Networks against loops, finite differences and automatic differentiation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import empirical_gram, empirical_output_gram, layer_grams
from companion.networks import TwoLayer, draw_deep, draw_two_layer
from tests.oracles import (
    deep_jacobians,
    deep_predictions,
    finite_difference_gradient,
    gradient_by_loops,
    predictions_by_loops,
)


def _case(count=4, dimension=3, width=6, seed=0):
    return draw_two_layer(width, dimension, seed), sphere(count, dimension, seed)


def _gradients(network, data):
    preactivations = network.preactivations(data.x)
    residual = network.predict_from(preactivations) - data.y
    return (
        network.weight_gradient(data.x, preactivations, residual),
        network.output_gradient(preactivations, residual),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 8), st.integers(0, 10**6))
def test_predictions_and_gradient_are_eq_1_and_4(count, dimension, width, seed):
    network, data = _case(count, dimension, width, seed)
    assert torch.allclose(network.predict(data.x), predictions_by_loops(network, data.x))
    gradient, _ = _gradients(network, data)
    assert torch.allclose(gradient, gradient_by_loops(network, data.x, data.y), atol=1e-14)


def test_gradients_are_finite_differences():
    network, data = _case()
    for found, known in zip(
        _gradients(network, data), finite_difference_gradient(network, data.x, data.y), strict=True
    ):
        # Rounding of the loss, 1e-16, over the difference step, 1e-5.
        assert torch.allclose(found, known, atol=1e-9)


def test_the_derivative_at_the_kink_is_one():
    network = TwoLayer(torch.tensor([[0.0, 1.0]]), torch.tensor([1.0]))
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([-2.0])
    preactivations = network.preactivations(x)
    gradient = network.weight_gradient(x, preactivations, network.predict(x) - y)
    assert torch.equal(gradient, torch.tensor([[2.0, 0.0]]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_network_is_homogeneous_in_its_weights(seed, factor):
    network, data = _case(seed=seed)
    scaled = network.moved(factor * network.weights)
    assert torch.allclose(scaled.predict(data.x), factor * network.predict(data.x))
    # Euler: <W, df/dW> = f, so the gradient at residual e_i gives back the prediction.
    one = torch.zeros(4, dtype=torch.float64)
    one[0] = 1
    gradient = network.weight_gradient(data.x, network.preactivations(data.x), one)
    assert float((gradient * network.weights).sum()) == pytest.approx(
        float(network.predict(data.x)[0]), abs=1e-12
    )


def test_initialisation_is_standard_normal_with_signs():
    network = draw_two_layer(4000, 5, seed=0)
    assert network.width == 4000
    assert set(network.outputs.tolist()) == {-1.0, 1.0}
    assert abs(float(network.outputs.mean())) < 4 / math.sqrt(4000)
    assert abs(float(network.weights.mean())) < 4 / math.sqrt(20000)
    assert abs(float(network.weights.var()) - 1) < 4 * math.sqrt(2 / 20000)


def test_initial_predictions_have_variance_one_half():
    x = sphere(1, 6, 0).x
    values = torch.stack([draw_two_layer(20, 6, seed).predict(x)[0] for seed in range(2000)])
    # Kurtosis is near 3 at this width: the variance has standard error 0.5 sqrt(2 / 2000).
    assert abs(float(values.square().mean()) - 0.5) < 4 * 0.5 * math.sqrt(2.5 / 2000)


def test_weights_and_inputs_of_one_seed_are_independent():
    network, data = draw_two_layer(50, 30, 3), sphere(50, 30, 3)
    directions = network.weights / network.weights.norm(dim=1, keepdim=True)
    assert float((directions * data.x).sum(dim=1).abs().max()) < 0.9


def test_draws_are_cast_from_the_same_numbers():
    assert torch.equal(
        draw_two_layer(5, 3, 0, torch.float32).weights, draw_two_layer(5, 3, 0).weights.float()
    )
    single, double = draw_deep(5, 3, 2, 0, torch.float32), draw_deep(5, 3, 2, 0)
    for narrow, wide in zip(single.weights, double.weights, strict=True):
        assert torch.equal(narrow, wide.float())


@pytest.mark.parametrize("sizes", [(0, 3), (-1, 3), (3, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(InputError, match="it must be at least 1"):
        draw_two_layer(*sizes, seed=0)
    with pytest.raises(InputError, match="it must be at least 1"):
        draw_deep(*sizes, depth=2, seed=0)


def test_depth_below_one_is_refused():
    with pytest.raises(InputError, match="depth is 0"):
        draw_deep(3, 3, 0, seed=0)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_deep_predictions_and_gradients_are_autograds(depth):
    network, data = draw_deep(7, 3, depth, seed=depth), sphere(5, 3, depth)
    assert torch.allclose(
        network.predict(data.x), deep_predictions(network.weights, network.outputs, data.x)
    )
    residual = network.predict(data.x) - data.y
    jacobians = deep_jacobians(network, data.x)
    for gradient, jacobian in zip(network.gradients(data.x, residual), jacobians, strict=True):
        assert torch.allclose(gradient.flatten(), residual @ jacobian, atol=1e-13)


def test_one_hidden_layer_is_the_two_layer_network():
    deep, shallow, data = draw_deep(9, 3, 1, 0), draw_two_layer(9, 3, 0), sphere(4, 3, 0)
    assert torch.equal(deep.weights[0], shallow.weights)
    assert torch.allclose(deep.predict(data.x), shallow.predict(data.x))


def test_hidden_norms_stay_near_one():
    layers, _ = draw_deep(2000, 10, 3, 0).hidden(sphere(20, 10, 0).x)
    for layer in layers:
        # Var of the squared norm is 5/m per layer (He initialisation).
        assert float((layer.square().sum(dim=1) - 1).abs().max()) < 5 * math.sqrt(3 * 5 / 2000)


class _OneDevice(TorchDispatchMode):
    """Refuses every operation on tensors of two devices, as a GPU would; copies are allowed.

    The other device is `meta`, which has shapes and no numbers, so that no GPU is needed.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        if len(devices) > 1 and "copy" not in func.__name__:
            raise RuntimeError(f"{func} mixes {devices}")
        return func(*args, **(kwargs or {}))


def test_everything_stays_on_the_device_it_was_moved_to():
    with _OneDevice():
        data = sphere(4, 3, 0).to(torch.float32, "meta")
        network = draw_two_layer(6, 3, 0, torch.float32, "meta")
        deep = draw_deep(6, 3, 3, 0, torch.float32, "meta")
        found = [
            network.predict(data.x),
            *_gradients(network, data),
            empirical_gram(network, data.x),
            empirical_output_gram(network, data.x),
            *deep.gradients(data.x, deep.predict(data.x) - data.y),
            *layer_grams(deep, data.x),
        ]
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert {tensor.dtype for tensor in found} == {torch.float32}


def test_a_tensor_left_on_another_device_would_be_seen():
    network, data = draw_two_layer(6, 3, 0, device="meta"), sphere(4, 3, 0)
    with _OneDevice(), pytest.raises(RuntimeError, match="mixes"):
        network.predict(data.x)
