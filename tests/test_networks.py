"""Networks against loops, finite differences and automatic differentiation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.draws import cpu_generator
from companion.errors import InputError
from companion.kernels import empirical_gram, layer_grams
from companion.losses import QUADRATIC
from companion.networks import (
    ReLUNetwork,
    check_inputs,
    draw_chen,
    draw_du,
    draw_zou,
)
from companion.training import train
from tests.modes import OneDevice, PeakMemory
from tests.oracles import (
    NETWORKS,
    deep_jacobians,
    finite_difference_gradient,
    gradient_by_loops,
    predictions_by_loops,
    zou_predictions,
)

EVERY = pytest.mark.parametrize(("draw", "formula"), NETWORKS.values(), ids=NETWORKS)


def _case(count=4, dimension=3, width=6, seed=0):
    network = draw_du(width, dimension, seed, trained="all", dtype=torch.float64)
    return network, sphere(count, dimension, seed)


def _gradients(network, data):
    """Of the half sum of squares, eq. (2), in W and in a."""
    forward = network.run(data.x)
    return network.gradients(forward, forward.predictions - data.y)


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
    network = draw_du(1, 2, 0).moved([torch.tensor([[0.0, 1.0]])])
    x, coefficient = torch.tensor([[1.0, 0.0]]), 2 * network.outputs
    (gradient,) = network.gradients(network.run(x), coefficient)
    torch.testing.assert_close(gradient, torch.tensor([[2.0, 0.0]]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_network_is_homogeneous_in_its_weights(seed, factor):
    network, data = _case(seed=seed)
    network = network.training("hidden")
    scaled = network.moved([factor * network.weights[0]])
    assert torch.allclose(scaled.predict(data.x), factor * network.predict(data.x))
    # Euler: <W, df/dW> = f, so the gradient at residual e_i gives back the prediction.
    one = torch.zeros(4, dtype=torch.float64)
    one[0] = 1
    (gradient,) = network.gradients(network.run(data.x), one)
    assert float((gradient * network.weights[0]).sum()) == pytest.approx(
        float(network.predict(data.x)[0]), abs=1e-12
    )


def test_initialisation_is_standard_normal_with_signs():
    network = draw_du(4000, 5, seed=0)
    (weights,) = network.weights
    assert network.widths == (4000,)
    assert set(network.outputs.tolist()) == {-1.0, 1.0}
    assert abs(float(network.outputs.mean())) < 4 / math.sqrt(4000)
    assert abs(float(weights.mean())) < 4 / math.sqrt(20000)
    assert abs(float(weights.var()) - 1) < 4 * math.sqrt(2 / 20000)


def test_initial_predictions_have_variance_one_half():
    x = sphere(1, 6, 0).x
    networks = (draw_du(20, 6, seed, dtype=torch.float64) for seed in range(2000))
    values = torch.stack([network.predict(x)[0] for network in networks])
    # Kurtosis is near 3 at this width: the variance has standard error 0.5 sqrt(2 / 2000).
    assert abs(float(values.square().mean()) - 0.5) < 4 * 0.5 * math.sqrt(2.5 / 2000)


def test_weights_and_inputs_of_one_seed_are_independent():
    network, data = _case(count=50, dimension=30, width=50, seed=3)
    directions = network.weights[0] / network.weights[0].norm(dim=1, keepdim=True)
    assert float((directions * data.x).sum(dim=1).abs().max()) < 0.9


def test_output_weights_are_drawn_after_the_hidden_ones():
    """From the stream's start again they would be the numbers, or the signs, behind W_1."""
    network = draw_chen(20, 30, seed=0, depth=2, dtype=torch.float64)
    drawn = [weight / math.sqrt(2 / 20) for weight in network.weights]
    drawn.append(network.outputs * math.sqrt(20))
    numbers = torch.cat([each.flatten() for each in drawn])
    apart = numbers.sort().values.diff()
    assert float(apart.min()) > 1e-12
    first = torch.randint(0, 2, (400,), generator=cpu_generator("weights", 0)).double() * 2 - 1
    signs = draw_du(400, 3, seed=0, dtype=torch.float64).outputs
    assert abs(float(first @ signs)) < 4 * math.sqrt(400)


def test_draws_are_cast_from_the_same_numbers():
    for draw in (draw_du, draw_zou, draw_chen):
        single, double = (draw(6, 3, 0, depth=2, dtype=t) for t in (torch.float32, torch.float64))
        for narrow, wide in zip(single.weights, double.weights, strict=True):
            assert torch.equal(narrow, wide.float())
        assert torch.equal(single.outputs, double.outputs.float())


@pytest.mark.parametrize("sizes", [(0, 3), (-1, 3), (3, 0)])
def test_sizes_below_one_are_refused(sizes):
    for draw in (draw_du, draw_zou, draw_chen):
        with pytest.raises(InputError, match="it must be at least 1"):
            draw(*sizes, depth=2, seed=0)


def test_depth_below_one_is_refused():
    for draw in (draw_du, draw_zou, draw_chen):
        with pytest.raises(InputError, match="depth is 0"):
            draw(4, 3, 0, depth=0)


@EVERY
@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_predictions_and_gradients_are_those_of_autograd(
    draw, formula, depth, dimension, half, seed
):
    network = draw(2 * half, dimension, seed, depth=depth, dtype=torch.float64)
    x, c = sphere(4, dimension, seed).x, sphere(4, 2, seed).y
    forward = network.run(x)
    torch.testing.assert_close(
        forward.predictions, formula(network.weights, network.outputs, x), rtol=1e-12, atol=1e-13
    )
    known = [c @ jacobian for jacobian in deep_jacobians(network, x, formula)]
    scale = max(float(gradient.norm()) for gradient in known)
    for found, gradient in zip(network.gradients(forward, c), known, strict=True):
        assert float((found.flatten() - gradient).norm()) <= 1e-10 * scale


@EVERY
def test_inputs_stored_by_columns_give_the_same(draw, formula):
    network, data = draw(8, 3, 0, depth=3, dtype=torch.float64), sphere(5, 3, 0)
    forward, other = network.run(data.x), network.run(data.x.T.contiguous().T)
    assert other.hidden[-1].stride() == (1, 5)
    torch.testing.assert_close(other.predictions, forward.predictions)
    for ours, theirs in zip(
        network.gradients(forward, data.y), network.gradients(other, data.y), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_patterns_signals_and_gradient_at_a_kink_follow_each_paper():
    """A unit at 0 exactly: on in Du et al., off in Zou et al. and Chen et al."""
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    for draw, on in [(draw_du, True), (draw_zou, False), (draw_chen, False)]:
        drawn = draw(2, 2, 0, depth=2, dtype=torch.float64)
        trained = [torch.eye(2).double(), torch.tensor([[0.0, 1.0], [1.0, 2.0]]).double()]
        if drawn.trained == "all":
            trained.append(torch.ones(2).double())
        network = drawn.moved(trained)
        forward = network.run(x)
        patterns = [torch.tensor(p) for p in ([[True, on], [on, True]], [[on, True], [True, True]])]
        for gate, pattern in zip(forward.gates, patterns, strict=True):
            assert torch.equal(network.pattern(gate), pattern)
        top, below = network.signals(forward)
        wanted = network.output_gain * network.gains[1] * network.outputs * patterns[1]
        torch.testing.assert_close(top, wanted)
        wanted = network.gains[0] * (wanted @ network.weights[1]) * patterns[0]
        torch.testing.assert_close(below, wanted)


@EVERY
def test_euler_every_layer_gives_the_prediction_back(draw, formula):
    network, x = draw(8, 3, 1, depth=4, dtype=torch.float64), sphere(5, 3, 1).x
    forward = network.run(x)
    for i, one in enumerate(torch.eye(5, dtype=torch.float64)):
        for gradient, parameter in zip(
            network.gradients(forward, one), network.parameters, strict=True
        ):
            inner = float((gradient * parameter).sum())
            assert inner == pytest.approx(float(forward.predictions[i]), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(1e-3, 2))
def test_exact_telescoping_identity_of_zou_2020(seed, depth, far):
    """Appendix A.3: x_L' - x_L as a sum over layers, with the secant slopes of relu."""
    before = draw_zou(8, 4, seed, depth=depth, dtype=torch.float64)
    steps = draw_zou(8, 4, seed + 1, depth=depth, dtype=torch.float64).weights
    after = before.moved([w + far * step for w, step in zip(before.weights, steps, strict=True)])
    x = sphere(6, 4, seed).x
    old, new = before.run(x).hidden, after.run(x).hidden
    total = torch.zeros_like(old[-1])
    for layer in range(depth):
        change = old[layer] @ (after.weights[layer] - before.weights[layer]).T
        carried = change * _secant_slopes(before, after, old, new, layer)
        for above in range(layer + 1, depth):
            slopes = _secant_slopes(before, after, old, new, above)
            carried = (carried @ after.weights[above].T) * slopes
        total += carried
    scale = float(new[-1].abs().max() + old[-1].abs().max())
    assert float((total - (new[-1] - old[-1])).abs().max()) <= 1e-12 * max(scale, 1)


def _secant_slopes(before, after, old, new, layer):
    """Sigma + Sigma-tilde: (relu(b) - relu(a)) / (b - a) from old to new preactivations."""
    a = old[layer] @ before.weights[layer].T
    b = new[layer] @ after.weights[layer].T
    return torch.where(a == b, (a > 0).double(), (b.relu() - a.relu()) / (b - a))


@EVERY
def test_preactivations_are_those_of_the_layers_below(draw, formula):
    network, x = draw(8, 3, 0, depth=3, dtype=torch.float64), sphere(5, 3, 0).x
    hidden = x
    for weight, gain, found in zip(
        network.weights, network.gains, network.preactivations(x), strict=True
    ):
        torch.testing.assert_close(found, hidden @ weight.T)
        hidden = gain * torch.relu(hidden @ weight.T)


@EVERY
def test_hidden_norms_stay_near_one(draw, formula):
    network = draw(2000, 10, 0, depth=3, dtype=torch.float64)
    for layer in network.run(sphere(20, 10, 0).x).hidden:
        # Var of the squared norm is 5/m per layer (He initialisation).
        assert float((layer.square().sum(dim=1) - 1).abs().max()) < 5 * math.sqrt(3 * 5 / 2000)


def test_initial_scales_are_the_papers():
    """Deviations within five standard errors of a sample variance, sqrt(2 / count)."""
    for network, variances in [
        (draw_du(400, 300, 0, depth=2), [1, 1]),
        (draw_zou([400, 600], 300, 0), [2 / 400, 2 / 600]),
        (draw_chen(400, 300, 0, depth=2), [2 / 400, 2 / 400]),
    ]:
        for weight, variance in zip(network.weights, variances, strict=True):
            error = 5 * math.sqrt(2 / weight.numel())
            assert float(weight.var()) == pytest.approx(variance, rel=error)
            assert abs(float(weight.mean())) < 5 * math.sqrt(variance / weight.numel())
    assert draw_du(400, 3, 0).outputs.abs().tolist() == [1.0] * 400
    balanced = draw_zou([400, 600], 3, 0).outputs
    assert (balanced == 1).sum() == (balanced == -1).sum() == 300
    gaussian = draw_chen(4000, 3, 0, depth=1).outputs
    assert float(gaussian.var()) == pytest.approx(1 / 4000, rel=5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize(
    ("trained", "hidden", "outputs"),
    [("hidden", True, False), ("output", False, True), ("all", True, True)],
)
@pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])
def test_what_is_trained_and_what_may_move(draw, trained, hidden, outputs):
    network = draw(4, 3, 0, depth=2).training(trained)
    assert len(network.parameters) == 2 * hidden + outputs
    moved = network.moved([parameter + 1 for parameter in network.parameters])
    for new, old in zip(moved.parameters, network.parameters, strict=True):
        assert torch.equal(new, old + 1)
    for new, old in zip(moved.weights, network.weights, strict=True):
        assert torch.equal(new, old + hidden)
    assert torch.equal(moved.outputs, network.outputs + outputs)
    with pytest.raises(InputError, match=f"of which {2 * hidden + outputs} are trained"):
        network.moved(network.parameters[1:])


def test_each_paper_trains_what_it_says():
    assert [draw(4, 3, 0, depth=2).trained for draw in (draw_du, draw_zou, draw_chen)] == [
        "hidden",
        "hidden",
        "all",
    ]
    assert draw_du(4, 3, 0, trained="output").trained == "output"


@pytest.mark.parametrize("trained", ["outputs", "first", None, ["hidden"]])
def test_a_choice_of_what_is_trained_that_there_is_not_is_refused(trained):
    network = draw_zou(4, 3, 0, depth=1)
    for use in (network.training, lambda it: draw_du(4, 3, 0, trained=it)):
        with pytest.raises(InputError, match=r"trained is .*; choose hidden, output or all"):
            use(trained)


def test_widths_of_zou_may_differ_by_a_factor_of_two():
    network = draw_zou([8, 4, 6], 3, 0, dtype=torch.float64)
    assert (network.widths, network.depth, network.dimension) == ((8, 4, 6), 3, 3)
    data = sphere(5, 3, 0)
    torch.testing.assert_close(
        network.predict(data.x), zou_predictions(network.weights, network.outputs, data.x)
    )
    for bad, told in [
        (([9, 4], 3, 0), "widths run from 4 to 9"),
        (([4, 5], 3, 0), "last width is 5"),
        ((4, 3, 0), "depth is missing"),
    ]:
        with pytest.raises(InputError, match=told):
            draw_zou(*bad)
    with pytest.raises(InputError, match="2 widths were given for depth 3"):
        draw_zou([4, 4], 3, 0, depth=3)


@pytest.mark.parametrize("kind", [np.int64, np.uint16, torch.tensor])
def test_numbers_of_other_libraries_are_sizes(kind):
    eight, three, two, zero = map(kind, (8, 3, 2, 0))
    for found, known in [
        (draw_du(eight, three, zero, depth=two), draw_du(8, 3, 0, depth=2)),
        (draw_zou(eight, three, zero, depth=two), draw_zou(8, 3, 0, depth=2)),
        (draw_zou([eight, eight], three, zero), draw_zou(8, 3, 0, depth=2)),
        (draw_zou(np.array([8, 8]), three, zero), draw_zou(8, 3, 0, depth=2)),
        (
            draw_chen(eight, three, zero, depth=two, alpha=np.float32(0.25)),
            draw_chen(8, 3, 0, depth=2, alpha=0.25),
        ),
    ]:
        torch.testing.assert_close(found.weights, known.weights, rtol=0, atol=0)
        x = sphere(4, 3, zero).x.to(known.outputs.dtype)
        assert torch.equal(found.predict(x), known.predict(x))


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        ((8.0, 3, 0), {"depth": 2}, "width is 8.0; it must be a whole number"),
        (([8, 8.5], 3, 0), {}, "width is 8.5; it must be a whole number"),
        ((8, "3", 0), {"depth": 2}, "dimension is '3'; it must be a whole number"),
        ((8, 3, 0.0), {"depth": 2}, "seed is 0.0; it must be a whole number"),
        ((8, 3, 0), {"depth": 2.0}, "depth is 2.0; it must be a whole number"),
    ],
)
def test_sizes_that_are_no_whole_numbers_are_refused(arguments, options, told):
    with pytest.raises(InputError, match=told):
        draw_zou(*arguments, **options)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.51, math.nan])
def test_alpha_outside_its_interval_is_refused(alpha):
    with pytest.raises(InputError, match="it must lie in"):
        draw_chen(4, 3, 0, depth=1, alpha=alpha)


def test_inputs_that_do_not_fit_are_refused():
    network = draw_zou(4, 3, 0, depth=2)
    for x, told in [
        ([[1.0, 2.0, 3.0]], r"x is a list; give a torch tensor, torch.tensor\(x\)"),
        (np.ones((2, 4)), r"shape \(2, 4\)"),
        (1j * np.ones((2, 3)), "x is an array of complex128"),
        (torch.ones(2, 4), r"shape \(2, 4\)"),
        (torch.ones(3), r"shape \(3,\)"),
        (torch.ones(0, 3), r"shape \(0, 3\)"),
        (torch.ones(2, 3).half(), "must be torch.float32 or torch.float64"),
        (torch.ones(2, 3).double(), "convert one to the other"),
        (torch.ones(2, 3, device="meta"), "move one to the other"),
    ]:
        for taker in (lambda x: check_inputs(network, x), network.predict, network.preactivations):
            with pytest.raises(InputError, match=told):
                taker(x)


def test_everything_stays_on_the_device_it_was_moved_to():
    with OneDevice():
        data = sphere(4, 3, 0).to(torch.float32, "meta")
        found = []
        for draw, _ in NETWORKS.values():
            network = draw(6, 3, 0, depth=3, device="meta")
            found += [*network.preactivations(data.x), *_gradients(network, data)]
            found += [network.predict(data.x), empirical_gram(network, data.x)]
            found += layer_grams(network, data.x)
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert {tensor.dtype for tensor in found} == {torch.float32}


def test_a_tensor_left_on_another_device_would_be_seen():
    network, data = draw_du(6, 3, 0, dtype=torch.float64, device="meta"), sphere(4, 3, 0)
    with OneDevice(), pytest.raises(RuntimeError, match="mixes"):
        network.run(data.x)


@EVERY
def test_arrays_are_inputs(draw, formula):
    network, x = draw(6, 3, 0, depth=2), sphere(4, 3, 0).x
    forward, c = network.run(x.float()), sphere(4, 3, 0).y
    for found, known in [
        (network.gradients(forward, c.numpy()), network.gradients(forward, c.float())),
        (list(network.signals(forward, c.numpy())), list(network.signals(forward, c.float()))),
        (network.predict(x.numpy()), network.predict(x.float())),
        (network.preactivations(x.numpy()), network.preactivations(x.float())),
    ]:
        torch.testing.assert_close(found, known, rtol=0, atol=0)


@EVERY
def test_arrays_are_weights(draw, formula):
    known, x = draw(6, 3, 0, depth=2, dtype=torch.float64), sphere(4, 3, 0).x
    found = ReLUNetwork(
        [weight.numpy() for weight in known.weights],
        known.outputs.numpy(),
        list(map(np.float64, known.gains)),
        np.array(known.output_gain),
        known.trained,
        known.on_at_zero,
    )
    assert torch.equal(found.predict(x), known.predict(x))
    assert (found.gains, found.output_gain) == (known.gains, known.output_gain)
    assert {type(gain) for gain in (*found.gains, found.output_gain)} == {float}


@pytest.mark.parametrize("trained", ["hidden", "output", "all"])
@EVERY
def test_parameters_of_torch_modules_are_weights(draw, formula, trained):
    """What is computed by hand carries no derivatives; predictions have those of autograd."""
    plain = draw(6, 3, 0, depth=2, dtype=torch.float64).training(trained)
    parameters = [torch.nn.Parameter(each.clone()) for each in plain.parameters]
    network, data = plain.moved(parameters), sphere(4, 3, 0)
    known, found = plain.run(data.x), network.run(data.x)
    gradients = network.gradients(found, data.y)
    signals = list(network.signals(found))
    for ours, theirs in [
        (gradients, plain.gradients(known, data.y)),
        (signals, list(plain.signals(known))),
        ([empirical_gram(network, data.x)], [empirical_gram(plain, data.x)]),
    ]:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert not any(each.requires_grad for each in ours)
    torch.testing.assert_close(
        gradients, list(torch.autograd.grad(found.predictions @ data.y, parameters))
    )
    runs = [
        train(net, data.x, data.y, loss=QUADRATIC, step_size=0.1, steps=2).network.parameters
        for net in (network, plain)
    ]
    torch.testing.assert_close(*runs, rtol=0, atol=0)
    for parameter, start in zip(parameters, plain.parameters, strict=True):
        assert torch.equal(parameter, start)


@pytest.mark.parametrize("count", [3, 40])
@EVERY
def test_gains_enter_by_either_factor(draw, formula, count):
    """Few inputs are scaled, and many leave it to the weights; both by columns as well."""
    network, x = draw(8, 5, 0, depth=3, dtype=torch.float64), sphere(count, 5, 0).x
    for inputs in (x, x.T.contiguous().T):
        hidden = inputs
        found = network.run(inputs)
        for weight, gain, layer in zip(
            network.weights, network.gains, found.hidden[1:], strict=True
        ):
            hidden = gain * torch.relu(hidden @ weight.T)
            torch.testing.assert_close(layer, hidden, rtol=1e-13, atol=1e-14)
            assert layer.stride() == found.hidden[1].stride()
    torch.testing.assert_close(found.predictions, formula(network.weights, network.outputs, x))


@EVERY
def test_a_pass_copies_no_wide_weights(draw, formula):
    """Width 35 million does not fit twice: beside the layers' outputs a pass takes little."""
    width, count, dimension = 40_000, 4, 50
    network, x = draw(width, dimension, 0, depth=1), sphere(count, dimension, 0).x.float()
    with torch.no_grad(), PeakMemory() as memory:
        kept = network.run(x)
    copies = 2 if network.on_at_zero else 1
    assert memory.peak >= 4 * count * width * copies
    assert memory.peak < 4 * (width * (count * copies + 1) + 2 * count * dimension) + 1000
    assert len(kept.hidden) == 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 129)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("draw", "on"), [(draw_du, True), (draw_zou, False)])
def test_units_that_are_off_send_zero_whatever_they_were_sent(draw, on, dtype, shape):
    """In place, by rows and by columns; NaN times 0 would be NaN."""
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    levels = torch.tensor([-math.inf, -1, -tiny, -0.0, 0.0, tiny, 1, math.inf], dtype=dtype)
    sent = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 2, -3, tiny], dtype=dtype)
    places = torch.arange(shape[0] * shape[1]).view(shape)
    network = draw(2, 3, 0, depth=1, dtype=dtype)
    for shift in range(8):
        gate, signal = levels[(places + shift) % 8], sent[places % 7]
        is_on = gate >= 0 if on else gate > 0
        wanted = torch.where(is_on, signal, 0)
        for layout in (torch.clone, lambda each: each.T.contiguous().T):
            place = layout(signal)
            found = network.gated(place, layout(gate))
            assert found is place
            torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
            assert not found[~is_on].signbit().any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": torch.ones(4, 3)}, "weights is a torch.Tensor of torch.float32; give a tuple"),
        ({"gains": 1.0}, "gains is 1.0; give a tuple with one number for each layer"),
        ({"weights": ()}, "there are 0 weights and 2 gains"),
        ({"gains": (1.0,)}, "there are 2 weights and 1 gains; one of each is needed"),
        ({"gains": (1.0, 0.0)}, "a gain is 0.0; it must be a positive number"),
        ({"gains": (1.0, math.nan)}, "a gain is nan; it must be a positive number"),
        ({"output_gain": "1"}, "output_gain is '1'; it must be a number"),
        ({"weights": (torch.ones(4, 3), torch.ones(4, 3))}, r"shapes \(4, 3\), \(4, 3\), \(4,\)"),
        ({"weights": (torch.ones(4), torch.ones(4, 4))}, r"shapes \(4,\), \(4, 4\), \(4,\); they"),
        ({"outputs": torch.ones(3)}, r"shapes \(4, 3\), \(4, 4\), \(3,\); they must be"),
        ({"outputs": torch.ones(4, 4)}, r"shapes \(4, 3\), \(4, 4\), \(4, 4\); they must be"),
        ({"outputs": torch.ones(4).double()}, "weights are torch.float32 on cpu and torch.float64"),
        (
            {"outputs": torch.ones(4, device="meta")},
            "float32 on cpu and torch.float32 on meta; all",
        ),
        ({"outputs": [1.0] * 4}, r"outputs is a list; give a torch tensor"),
        ({"outputs": np.array(["a"] * 4)}, "outputs is an array of <U1"),
    ],
)
def test_weights_and_gains_that_do_not_fit_are_refused(change, told):
    network = draw_zou(4, 3, 0, depth=2)
    with pytest.raises(InputError, match=told):
        replace(network, **change)


@pytest.mark.parametrize("dtype", [np.float64, "float64", float])
def test_a_dtype_that_is_not_torchs_is_refused(dtype):
    for use in (draw_zou(4, 3, 0, depth=1).to, lambda dtype: draw_du(4, 3, 0, dtype=dtype)):
        with pytest.raises(InputError, match=r"dtype is .*; give a torch dtype, such as torch\.fl"):
            use(dtype=dtype)


def test_tensors_of_other_shapes_and_integers_are_no_parameters():
    network = draw_zou(4, 3, 0, depth=2)
    with pytest.raises(InputError, match=r"shapes \(4, 3\), \(4, 5\), \(4,\)"):
        network.moved([torch.ones(4, 3), torch.ones(4, 5)])
    with pytest.raises(InputError, match=r"weights are torch\.int64 on cpu; all need one floating"):
        draw_zou(4, 3, 0, depth=2, dtype=torch.int64)
