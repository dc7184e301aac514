"""Gradient flow against SciPy, matrix exponentials and the limit of small steps."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from companion.datasets import random_labels, sphere
from companion.errors import InputError
from companion.kernels import empirical_gram
from companion.losses import LOSSES, QUADRATIC, SQUARED_HINGE
from companion.monitors import PatternDifference, mean_loss, misfit, unit_distances
from companion.networks import draw_chen, draw_du
from companion.training import Checkpoint, Stop, continuous, flow, prediction_velocity, train
from tests.oracles import (
    NETWORKS,
    deep_jacobians,
    flow_by_scipy,
    linearised_flow_residual,
)
from tests.training.cases import case


def test_flow_is_the_limit_of_small_steps():
    """Euler's method is of first order: halving the step halves the difference."""
    network, x, y = case(width=64, depth=2)
    record = {"loss": mean_loss, "pattern": PatternDifference()}
    limit = flow(
        network, x, y, loss=SQUARED_HINGE, times=[0, 0.05, 0.1], record=record, tolerance=1e-6
    )
    assert limit.at["loss"].tolist() == [0, 0.05, 0.1]
    assert limit["pattern"].shape == (3, 2)
    ends = [
        train(network, x, y, loss=SQUARED_HINGE, step_size=0.1 / steps, steps=steps, record=record)[
            "loss"
        ][-1]
        for steps in (100, 200, 400)
    ]
    gaps = [end / limit["loss"][-1] - 1 for end in ends]
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.3)
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.3)


@pytest.fixture
def data():
    return sphere(6, 5, seed=1)


def rigid(data, trained):
    """Weights so far from every kink that nothing switches while it trains."""
    many = draw_du(400, 5, seed=2, dtype=torch.float64)
    near = many.preactivations(data.x)[0].abs().min(dim=0).values
    far = near.topk(40).indices
    few = draw_du(40, 5, seed=2, trained=trained, dtype=torch.float64)
    return replace(few, weights=(4 * many.weights[0][far],), outputs=many.outputs[far])


def small_labels(network, data):
    return network.predict(data.x) + 0.05 * data.y


@pytest.mark.parametrize(
    ("trained", "steps_at"), [("hidden", (100, 200, 400)), ("all", (400, 800, 1600))]
)
def test_nothing_switches_and_the_flow_is_the_limit_of_small_steps(data, trained, steps_at):
    network = rigid(data, trained)
    options = {"loss": QUADRATIC, "record": {"misfit": misfit}}
    args, time = (network, data.x, small_labels(network, data)), 6.0
    limit = flow(*args, times=[0, time], tolerance=1e-9, **options)["misfit"][-1]
    ends = [
        train(*args, step_size=time / steps, steps=steps, **options)["misfit"][-1]
        for steps in steps_at
    ]
    gaps = [end / limit - 1 for end in ends]
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.15)
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(("trained", "layers"), [("hidden", "first"), ("all", "both")])
def test_flow_agrees_with_scipy(data, trained, layers):
    """Another solver, on the autograd gradient; nothing switches, so both keep their tolerance."""
    network = rigid(data, trained)
    y = small_labels(network, data)
    times = [0.0, 0.5, 2.0]
    path = flow_by_scipy(network, data.x, y, times, layers)
    found = flow(
        network, data.x, y, loss=QUADRATIC, times=[6 * time for time in times],
        record={"weights": lambda moment: moment.network.weights[0]}, tolerance=1e-9,
    )  # fmt: skip
    for weights, known in zip(found["weights"], path, strict=True):
        np.testing.assert_allclose(weights, known.weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.network.outputs, path[-1].outputs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("trained", ["hidden", "output"])
def test_flow_is_the_matrix_exponential_where_nothing_switches(data, trained):
    """With one of the layers trained f is linear in it: the clock is n times that of the sum."""
    network = rigid(data, trained)
    y, times = small_labels(network, data), [0.0, 0.5, 1.0, 4.0]
    found = flow(
        network, data.x, y, loss=QUADRATIC, times=[6 * time for time in times],
        record={"misfit": misfit, "switched": PatternDifference()}, tolerance=1e-9,
    )  # fmt: skip
    gram, start = empirical_gram(network, data.x), network.predict(data.x) - y
    expected = [float(linearised_flow_residual(gram, start, time).square().sum()) for time in times]
    assert found["switched"].max() == 0
    np.testing.assert_allclose(found["misfit"], expected, rtol=1e-6)


def test_flow_records_at_its_times(data):
    network = draw_du(40, 5, seed=1, dtype=torch.float64)
    found = flow(
        network, data.x, data.y, loss=QUADRATIC, times=[0, 0.5, 0.7], tolerance=1e-4,
        record={"distance": unit_distances, "time": lambda moment: moment.step},
    )  # fmt: skip
    assert found["time"].tolist() == found.at["distance"].tolist() == [0, 0.5, 0.7]
    assert found["distance"][0].tolist() == [[0, 0]]
    assert found["distance"][2, 0, 0] > 0
    assert (found.steps, found.ending) == (0.7, "budget")


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(("draw", "formula"), NETWORKS.values(), ids=NETWORKS)
def test_prediction_velocity_is_the_jacobian_times_the_gradient(loss, draw, formula):
    network, x, y = case(draw)
    slopes = loss.derivatives(network.predict(x), y) / len(y)
    rows = torch.cat(deep_jacobians(network, x, formula), dim=1)
    with torch.no_grad():  # as experiments may compute
        found = prediction_velocity(network, x, y, loss=loss)
    torch.testing.assert_close(found, -rows @ (rows.T @ slopes), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found, -empirical_gram(network, x) @ slopes, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("draw", [draw for draw, _ in NETWORKS.values()], ids=NETWORKS)
def test_prediction_velocity_is_what_a_short_flow_does(draw):
    """A central difference of two flows, one against the time; curvature cancels."""
    network, x, y = case(draw)
    step = 1e-5
    leaves = [parameter.clone().requires_grad_() for parameter in network.parameters]
    loss = 0.5 * (network.moved(leaves).predict(x) - y).square().mean()
    pairs = list(zip(network.parameters, torch.autograd.grad(loss, leaves), strict=True))
    ahead = network.moved([parameter - step * gradient for parameter, gradient in pairs])
    back = network.moved([parameter + step * gradient for parameter, gradient in pairs])
    found = prediction_velocity(network, x, y, loss=QUADRATIC)
    known = (ahead.predict(x) - back.predict(x)) / (2 * step)
    torch.testing.assert_close(found, known, rtol=1e-5, atol=1e-7)


def test_a_flow_that_takes_too_long_is_ended_with_what_it_has(data):
    network = draw_du(10, 5, seed=1, dtype=torch.float64)
    options = {"loss": QUADRATIC, "times": [0, 0.5, 50.0], "record": {"misfit": misfit}}
    whole = flow(network, data.x, data.y, **options)
    with pytest.raises(InputError, match=r"40 evaluations of the gradient by time 0\.5") as e:
        flow(network, data.x, data.y, most_evaluations=40, tolerance=1e-9, **options)
    so_far = e.value.history
    assert (so_far.steps, so_far.ending) == (0.5, "interrupted")
    np.testing.assert_allclose(so_far["misfit"], whole["misfit"][:2], rtol=1e-3)


def test_a_flow_whose_first_trial_step_overflows_takes_a_smaller_one():
    """Compared with descent in steps of 1/4000."""
    data = random_labels(sphere(120, 20, 0), 0)
    network = draw_chen(8, 20, 0, depth=3, dtype=torch.float64)
    record = {"predictions": lambda moment: moment.forward.predictions}
    options = {"loss": QUADRATIC, "record": record}
    found = flow(network, data.x, data.y, times=[0, 0.25], tolerance=1e-6, **options)
    known = train(network, data.x, data.y, step_size=1 / 4000, steps=1000, **options)
    np.testing.assert_allclose(found["predictions"][-1], known["predictions"][-1], atol=2e-3)


def test_a_flow_that_the_solver_cannot_follow_is_ended_in_a_sentence(monkeypatch, data):
    def stuck(*arguments, **options):
        raise AssertionError("underflow in dt 0.0")

    monkeypatch.setattr(continuous, "odeint", stuck)
    network = draw_du(10, 5, seed=1, dtype=torch.float64)
    with pytest.raises(InputError, match=r"beyond time 0 .*\(underflow in dt 0\.0\); take") as e:
        flow(network, data.x, data.y, loss=QUADRATIC, times=[0, 1], record={"misfit": misfit})
    assert e.value.history.ending == "interrupted"


class CutOff(Exception):
    """Stands for a session that is cut off."""


def cut_off(moment):
    if moment.step == float(os.environ.get("CUT_OFF_AT", -1)):
        raise CutOff
    return misfit(moment)


@pytest.mark.parametrize("time", [0.2, 0.4])
def test_a_flow_goes_on_where_it_was_cut_off(monkeypatch, tmp_path, data, time):
    network = draw_du(30, 5, seed=1, dtype=torch.float64)
    options = {"loss": QUADRATIC, "times": [0, 0.2, 0.3, 0.4, 1.0]}
    options["record"] = {"misfit": cut_off, "flips": PatternDifference("last")}
    whole = flow(network, data.x, data.y, **options)
    kept = {"checkpoint": Checkpoint(tmp_path / "flow.npz", 0)}
    monkeypatch.setenv("CUT_OFF_AT", str(time))
    with pytest.raises(CutOff):
        flow(network, data.x, data.y, **options, **kept)
    monkeypatch.delenv("CUT_OFF_AT")
    for _ in range(2):
        resumed = flow(network, data.x, data.y, **options, **kept)
        assert torch.equal(resumed.network.weights[0], whole.network.weights[0])
        for name in options["record"]:
            assert np.array_equal(resumed.at[name], whole.at[name])
            assert np.array_equal(resumed[name], whole[name])
    for changes, told in [
        ({"times": [0, 0.2, 0.3, 0.5, 1.0]}, "its times"),
        ({"tolerance": 1e-4}, "its tolerance"),
    ]:
        with pytest.raises(InputError, match=f"it differs in {told};"):
            flow(network, data.x, data.y, **{**options, **changes}, **kept)


def test_a_flow_ends_at_the_first_time_that_is_enough(data):
    network = draw_du(200, 5, seed=1, dtype=torch.float64)
    options = {"loss": QUADRATIC, "times": np.linspace(0, 60, 31), "record": {"loss": mean_loss}}
    whole = flow(network, data.x, data.y, **options)
    found = flow(network, data.x, data.y, stop=Stop(loss_below=0.05), **options)
    first = int(np.argmax(whole["loss"] < 0.05))
    assert (found.ending, found.steps) == ("loss", 2 * first)
    np.testing.assert_array_equal(found["loss"], whole["loss"][: first + 1])
    slow = flow(network, data.x, data.y, stop=Stop(plateau=5, fall=0.999), **options)
    assert (slow.ending, slow.steps) == ("plateau", 2 * 5)
