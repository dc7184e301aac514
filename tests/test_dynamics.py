"""Gradient descent and gradient flow against SGD on autograd, SciPy, and closed forms."""

import math

import numpy as np
import pytest
import torch

from companion.datasets import DataSet, sphere
from companion.dynamics import (
    Every,
    gradient_descent,
    gradient_flow,
    linearised_flow_misfit,
    linearised_misfit,
    prediction_velocity,
)
from companion.errors import DivergedError, InputError
from companion.kernels import empirical_gram, empirical_output_gram
from companion.networks import TwoLayer, draw_two_layer, draw_zou
from companion.observables import State, max_distance, misfit, pattern_difference
from tests.oracles import (
    descent_by_autograd,
    flow_by_scipy,
    jacobian,
    linearised_descent_residual,
    linearised_flow_residual,
    predictions,
)

BOTH = pytest.mark.parametrize("layers", ["first", "both"])


@pytest.fixture
def data() -> DataSet:
    return sphere(6, 5, seed=1)


@pytest.fixture
def network() -> TwoLayer:
    return draw_two_layer(40, 5, seed=1)


@pytest.fixture
def rigid(data: DataSet) -> TwoLayer:
    """Weights so far from every kink that nothing switches while it trains."""
    network = draw_two_layer(400, 5, seed=2)
    near = network.preactivations(data.x).abs().min(dim=0).values
    far = near.topk(40).indices
    return TwoLayer(4 * network.weights[far], network.outputs[far])


def small_labels(network: TwoLayer, data: DataSet) -> torch.Tensor:
    return network.predict(data.x) + 0.05 * data.y


@BOTH
def test_descent_is_sgd_on_autograd(network, data, layers):
    path = descent_by_autograd(network, data.x, data.y, 0.3, 12, layers)
    trajectory = gradient_descent(
        network, data.x, data.y, step_size=0.3, steps=12, record={"misfit": misfit}, layers=layers
    )
    expected = [
        float((predictions(net.weights, net.outputs, data.x) - data.y).square().sum())
        for net in path
    ]
    np.testing.assert_allclose(trajectory["misfit"], expected, rtol=1e-10)
    torch.testing.assert_close(trajectory.network.weights, path[-1].weights, rtol=0, atol=1e-11)
    torch.testing.assert_close(trajectory.network.outputs, path[-1].outputs, rtol=0, atol=1e-11)


def test_descent_leaves_its_input_alone(network, data):
    weights, outputs = network.weights.clone(), network.outputs.clone()
    gradient_descent(network, data.x, data.y, step_size=0.3, steps=3, record={}, layers="both")
    assert torch.equal(network.weights, weights)
    assert torch.equal(network.outputs, outputs)


def test_first_layer_training_leaves_the_outputs(network, data):
    flow = gradient_flow(network, data.x, data.y, times=[0, 1], record={}, tolerance=1e-4)
    descent = gradient_descent(network, data.x, data.y, step_size=0.1, steps=3, record={})
    assert torch.equal(flow.network.outputs, network.outputs)
    assert torch.equal(descent.network.outputs, network.outputs)


def test_no_steps_is_no_change(network, data):
    trajectory = gradient_descent(
        network, data.x, data.y, step_size=0.3, steps=0, record={"misfit": misfit}
    )
    assert trajectory.at["misfit"].tolist() == [0]
    assert torch.equal(trajectory.network.weights, network.weights)


@BOTH
def test_flow_is_the_limit_of_small_steps(rigid, data, layers):
    """Euler's method is of first order: halving the step halves the difference."""
    time, y = 1.0, small_labels(rigid, data)
    steps_at = (400, 800, 1600) if layers == "both" else (100, 200, 400)
    flow = gradient_flow(
        rigid,
        data.x,
        y,
        times=[0, time],
        record={"misfit": misfit},
        layers=layers,
        tolerance=1e-9,
    )["misfit"][-1]
    gaps = [
        gradient_descent(
            rigid,
            data.x,
            y,
            step_size=time / steps,
            steps=steps,
            record={"misfit": misfit},
            layers=layers,
        )["misfit"][-1]
        / flow
        - 1
        for steps in steps_at
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.15)
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.15)


def test_flow_agrees_with_scipy(rigid, data):
    """Another solver, on the autograd gradient; nothing switches, so both keep their tolerance."""
    y = small_labels(rigid, data)
    times = [0.0, 0.5, 2.0]
    path = flow_by_scipy(rigid, data.x, y, times, "both")
    flow = gradient_flow(
        rigid, data.x, y, times=times, record={}, layers="both", tolerance=1e-9
    ).network
    torch.testing.assert_close(flow.weights, path[-1].weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(flow.outputs, path[-1].outputs, rtol=0, atol=1e-6)


def test_flow_is_the_matrix_exponential_where_nothing_switches(rigid, data):
    y, times = small_labels(rigid, data), [0.0, 0.5, 1.0, 4.0]
    flow = gradient_flow(
        rigid,
        data.x,
        y,
        times=times,
        record={"misfit": misfit, "switched": pattern_difference},
        tolerance=1e-9,
    )
    gram, start = empirical_gram(rigid, data.x), rigid.predict(data.x) - y
    expected = [float(linearised_flow_residual(gram, start, time).square().sum()) for time in times]
    assert flow["switched"].max() == 0
    np.testing.assert_allclose(flow["misfit"], expected, rtol=1e-6)


def test_linearised_misfits_are_matrix_powers_and_exponentials(network, data):
    gram, start = empirical_gram(network, data.x), network.predict(data.x) - data.y
    values, vectors = torch.linalg.eigh(gram)
    coordinates = vectors.T @ start
    steps, times = torch.tensor([0.0, 1.0, 7.0]), torch.tensor([0.0, 0.7, 3.0])
    by_steps = [
        float(linearised_descent_residual(gram, start, 0.4, int(k)).square().sum()) for k in steps
    ]
    by_times = [
        float(linearised_flow_residual(gram, start, float(t)).square().sum()) for t in times
    ]
    found_steps = linearised_misfit(values, coordinates, 0.4, steps.double())
    found_times = linearised_flow_misfit(values, coordinates, times.double())
    np.testing.assert_allclose(found_steps, by_steps, rtol=1e-10)
    np.testing.assert_allclose(found_times, by_times, rtol=1e-6)


@BOTH
def test_prediction_velocity_is_the_jacobian_times_the_gradient(network, data, layers):
    residual = network.predict(data.x) - data.y
    expected = torch.zeros_like(residual)
    for wrt in ("weights", "outputs") if layers == "both" else ("weights",):
        rows = jacobian(network, data.x, wrt)
        expected -= rows @ (rows.T @ residual)
    found = prediction_velocity(network, data.x, data.y, layers)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_prediction_velocity_is_the_gram_product(network, data):
    gap = data.y - network.predict(data.x)
    first, second = empirical_gram(network, data.x), empirical_output_gram(network, data.x)
    found = prediction_velocity(network, data.x, data.y)
    both = prediction_velocity(network, data.x, data.y, "both")
    torch.testing.assert_close(found, first @ gap, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(both, (first + second) @ gap, rtol=1e-8, atol=1e-10)


def test_a_unit_slides_along_its_kink():
    """Two inputs, one unit on the kink of the first, pushed to it from both sides.

    There u_1 = 0 and u_2 - y_2 decays with rate 1 - rho^2; with an indicator of 0 it would be 1.
    """
    rho, y = 0.6, torch.tensor([-1.0, 1.5], dtype=torch.float64)
    across = math.sqrt(1 - rho**2)
    x = torch.tensor([[1.0, 0.0], [rho, across]], dtype=torch.float64)
    unit = TwoLayer(
        torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    )
    residuals = []
    gradient_descent(
        unit,
        x,
        y,
        step_size=1e-3,
        steps=500,
        record={"residual": lambda state: residuals.append(state.residual) or 0.0},
    )
    ends = torch.stack(residuals)[-1]
    expected = (across - 1.5) * math.exp(-(across**2) * 0.5)
    assert float(ends[0]) == pytest.approx(1.0, abs=2e-3)
    assert float(ends[1]) == pytest.approx(expected, rel=2e-3)
    with_indicator = (across - 1.5) * math.exp(-0.5)
    assert abs(float(ends[1]) - with_indicator) > 0.05


def test_every_records_multiples_and_the_last(network, data):
    trajectory = gradient_descent(
        network,
        data.x,
        data.y,
        step_size=0.1,
        steps=7,
        record={"some": Every(3, misfit), "all": misfit},
    )
    assert trajectory.at["some"].tolist() == [0, 3, 6, 7]
    assert trajectory.at["all"].tolist() == list(range(8))
    np.testing.assert_array_equal(trajectory["some"], trajectory["all"][[0, 3, 6, 7]])


def test_flow_records_at_its_times(network, data):
    flow = gradient_flow(
        network,
        data.x,
        data.y,
        times=[0, 0.5, 0.7],
        record={"distance": max_distance, "time": lambda state: state.step},
        tolerance=1e-4,
    )
    assert flow["time"].tolist() == [0, 0.5, 0.7]
    assert flow["distance"][0] == 0
    assert flow["distance"][2] > 0


def test_divergence_is_refused(network, data):
    with pytest.raises(DivergedError, match="choose a step size below"):
        gradient_descent(network, data.x, data.y, step_size=1e3, steps=400, record={})


def test_divergence_can_be_watched(network, data):
    trajectory = gradient_descent(
        network,
        data.x,
        data.y,
        step_size=1e3,
        steps=400,
        record={"misfit": misfit},
        stop_when_diverged=True,
    )
    assert trajectory.diverged_at is not None
    assert len(trajectory["misfit"]) == trajectory.diverged_at
    assert trajectory["misfit"].max() <= 1e6 * trajectory["misfit"][0]


def test_a_stable_run_is_not_called_diverged(network, data):
    assert (
        gradient_descent(network, data.x, data.y, step_size=0.1, steps=5, record={}).diverged_at
        is None
    )


@pytest.mark.parametrize("step_size", [0.0, -1.0, math.nan, math.inf])
def test_bad_step_sizes_are_refused(network, data, step_size):
    with pytest.raises(InputError, match="step_size"):
        gradient_descent(network, data.x, data.y, step_size=step_size, steps=1, record={})


def test_negative_steps_are_refused(network, data):
    with pytest.raises(InputError, match="steps"):
        gradient_descent(network, data.x, data.y, step_size=0.1, steps=-1, record={})


@pytest.mark.parametrize("times", [[0.0], [0.1, 1.0], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0], []])
def test_bad_times_are_refused(network, data, times):
    with pytest.raises(InputError, match="times"):
        gradient_flow(network, data.x, data.y, times=times, record={})


def test_states_carry_the_network_of_their_step(network, data):
    seen: list[State] = []
    gradient_descent(
        network,
        data.x,
        data.y,
        step_size=0.3,
        steps=2,
        record={"state": lambda state: seen.append(state) or 0.0},
    )
    path = descent_by_autograd(network, data.x, data.y, 0.3, 2)
    for state, expected in zip(seen, path, strict=True):
        torch.testing.assert_close(state.network.weights, expected.weights)


def test_what_is_recorded_is_what_it_was_at_the_step():
    """Here descent makes new weights at every step, so even views of them stay as they were."""
    network, data = draw_two_layer(6, 3, 0), sphere(4, 3, 0)
    live = {
        "weights": lambda state: state.network.weights.numpy(),
        "outputs": lambda state: state.network.outputs.numpy(),
    }
    record = {**live, "distance": max_distance}
    runs = [
        gradient_descent(
            network, data.x, data.y, step_size=0.1, steps=4, record=record, layers="both"
        ),
        gradient_flow(network, data.x, data.y, times=[0, 0.1, 0.2], record=record, layers="both"),
    ]
    for run in runs:
        moved = run["weights"] - run["weights"][0]
        np.testing.assert_allclose(np.linalg.norm(moved, axis=2).max(axis=1), run["distance"])
        assert (np.diff(run["outputs"], axis=0) != 0).any(axis=1).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": draw_zou(4, 3, 0, depth=1)}, "network is a .*ReLUNetwork; give a TwoLayer"),
        ({"x": np.ones((4, 3))}, r"x is a numpy.ndarray; give a torch tensor, torch.from_numpy"),
        ({"y": [1.0] * 4}, "y is a list; give a torch tensor"),
        ({"step_size": "0.1"}, "step_size is '0.1'; it must be a number"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"x": torch.full((4, 3), math.nan).double()}, "input 0 holds a number that is not finite"),
    ],
)
def test_slips_are_refused_in_a_sentence(changes, told):
    data = sphere(4, 3, 0)
    options = {"network": draw_two_layer(6, 3, 0), "x": data.x, "y": data.y, "record": {}}
    with pytest.raises(InputError, match=told):
        gradient_descent(**{**options, "step_size": 0.1, "steps": 2, **changes})
    if not {"step_size", "steps"} & changes.keys():
        with pytest.raises(InputError, match=told):
            gradient_flow(**{**options, "times": [0, 1], **changes})


def test_derivatives_are_left_outside():
    data = sphere(4, 3, 0)
    network = draw_two_layer(6, 3, 0)
    leaf = TwoLayer(network.weights.clone().requires_grad_(), network.outputs)
    options = {"step_size": np.float32(0.125), "steps": np.int64(3), "record": {"misfit": misfit}}
    found = gradient_descent(leaf, data.x.clone().requires_grad_(), data.y, **options)
    known = gradient_descent(network, data.x, data.y, **options)
    assert not found.network.weights.requires_grad
    assert np.array_equal(found["misfit"], known["misfit"])
