"""Descent against torch.optim.SGD on autograd, step by step, and when it ends."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from companion import matmul
from companion.datasets import sphere
from companion.draws import Batches
from companion.errors import DivergedError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, LOSSES, QUADRATIC
from companion.matmul import PRODUCTS, using
from companion.monitors import (
    Distances,
    Every,
    Moment,
    PatternDifference,
    frobenius_distances,
    gradient_norms,
    largest_loss,
    largest_slope,
    mean_loss,
    misfit,
    training_error,
    unit_distances,
)
from companion.networks import draw_chen, draw_du, draw_zou
from companion.training import Stop, descent, flow, train, training_memory
from tests.modes import OneDevice, PeakMemory
from tests.oracles import NETWORKS, chen_predictions, descent_by_autograd, predictions
from tests.training.cases import RECORD, case

DRAWS = [draw for draw, _ in NETWORKS.values()]


MONITORS = [
    mean_loss,
    largest_loss,
    largest_slope,
    training_error,
    gradient_norms,
    frobenius_distances,
    Distances(),
    misfit,
    unit_distances,
]


def descent_by_torch(network, formula, x, y, loss, step_size, steps, batches=None):
    """torch.optim.SGD on the autograd loss, mean over the examples of the batch."""
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    outputs = network.outputs.clone().requires_grad_()
    trained = {"hidden": weights, "output": [outputs], "all": [*weights, outputs]}[network.trained]
    optimiser = torch.optim.SGD(trained, lr=step_size)
    losses = []
    for step in range(steps):
        rows = slice(None) if batches is None else batches.rows(step, len(x))
        losses.append(float(loss.values(formula(weights, outputs, x), y).mean().detach()))
        optimiser.zero_grad()
        loss.values(formula(weights, outputs, x[rows]), y[rows]).mean().backward()
        optimiser.step()
    return losses, trained


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(("draw", "formula"), NETWORKS.values(), ids=NETWORKS)
def test_descent_is_sgd_on_autograd(loss, draw, formula):
    network, x, y = case(draw)
    losses, trained = descent_by_torch(network, formula, x, y, loss, 0.05, 8)
    history = train(network, x, y, loss=loss, step_size=0.05, steps=8, record={"loss": mean_loss})
    np.testing.assert_allclose(history["loss"][:-1], losses, rtol=1e-11)
    for found, known in zip(history.network.parameters, trained, strict=True):
        torch.testing.assert_close(found, known.detach(), rtol=1e-11, atol=1e-13)
    assert (history.steps, history.ending) == (8, "budget")


@pytest.mark.parametrize("order", ["subsets", "replacement", "epochs", "once"])
def test_sgd_is_sgd_on_autograd(order):
    network, x, y = case(draw_chen)
    batches = Batches(3, order, seed=5)
    losses, trained = descent_by_torch(
        network, chen_predictions, x, y, CROSS_ENTROPY, 0.1, 4, batches
    )
    history = train(
        network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=4, batches=batches,
        record={"loss": mean_loss},
    )  # fmt: skip
    np.testing.assert_allclose(history["loss"][:-1], losses, rtol=1e-11)
    for found, known in zip(history.network.parameters, trained, strict=True):
        torch.testing.assert_close(found, known.detach(), rtol=1e-11, atol=1e-13)


def test_recording_changes_no_number_and_costs_no_other_pass(monkeypatch):
    network, x, y = case()
    passes = []
    run = type(network).run
    monkeypatch.setattr(type(network), "run", lambda self, *a: passes.append(1) or run(self, *a))
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 6}
    bare = train(network, x, y, **options)
    count = len(passes)
    recorded = train(network, x, y, **options, record=RECORD)
    assert len(passes) == 2 * count == 14
    for a, b in zip(bare.network.parameters, recorded.network.parameters, strict=True):
        assert torch.equal(a, b)
    assert recorded.at["loss"].tolist() == list(range(7))
    assert recorded.at["error"].tolist() == [0, 3, 6]
    assert recorded["pattern"].shape == (7, 3)
    assert recorded["distance"].shape == (4, 3, 3)


def test_sgd_looks_at_all_examples_once_an_epoch(monkeypatch):
    network, x, y = case(count=12)
    seen = []
    run = type(network).run
    monkeypatch.setattr(
        type(network), "run", lambda self, x, *a: seen.append(len(x)) or run(self, x, *a)
    )
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 6, "batches": Batches(4)}
    train(network, x, y, **options)
    assert seen == [12, 4, 4, 4, 12, 4, 4, 4, 12]
    seen.clear()
    train(network, x, y, **options, stop=None)
    assert seen == [4] * 6


def test_the_network_given_is_left_alone():
    network, x, y = case()
    before = [parameter.clone() for parameter in network.parameters]
    train(network, x, y, loss=CROSS_ENTROPY, step_size=1.0, steps=3)
    for a, b in zip(before, network.parameters, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("road", PRODUCTS)
def test_a_run_that_diverges_says_so_by_every_product(road):
    """The relu of oneDNN once hid that all weights had become NaN."""
    data = sphere(count=100, dimension=20, seed=0)
    x, y = data.x.float(), data.y.sign().float()
    network = draw_zou(width=256, dimension=20, seed=0, depth=3)
    with using(road):
        history = train(
            network, x, y, loss=CROSS_ENTROPY, step_size=1e25, steps=60,
            record={"loss": mean_loss, "error": training_error},
        )  # fmt: skip
    assert history.ending == "diverged"
    assert history["error"][-1] == 1


def test_stopping_rules():
    network, x, y = case(width=64)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 400, "record": RECORD}
    whole = train(network, x, y, **options)
    assert whole.ending == "budget"
    first = int(np.argmax(whole["loss"] < 0.2))
    below = train(network, x, y, **options, stop=Stop(loss_below=0.2))
    assert (below.ending, below.steps) == ("loss", first)
    assert below.at["error"][-1] == below.at["distance"][-1] == first
    perfect = train(network, x, y, **options, stop=Stop(zero_error=True))
    assert perfect.ending == "zero-error"
    assert perfect["error"][-1] == 0
    assert (network.predict(x) * y <= 0).any()
    coarse = train(network, x, y, **options, stop=Stop(loss_below=0.2, every=50))
    assert coarse.steps == math.ceil(first / 50) * 50
    wild = train(
        network, x, y, loss=QUADRATIC, step_size=50.0, steps=400, record={"loss": mean_loss}
    )
    assert wild.ending == "diverged"
    assert wild.steps < 400
    unseen = train(network, x, y, loss=QUADRATIC, step_size=50.0, steps=9, stop=None)
    assert unseen.ending == "budget"


def test_each_step_descends_by_half_the_squared_gradient():
    """Equation (5.1) of Zou et al. (2020), at a step size well below the inverse curvature."""
    network, x, y = case(width=256)
    history = train(
        network, x, y, loss=CROSS_ENTROPY, step_size=1e-3, steps=50,
        record={"loss": mean_loss, "gradient": gradient_norms},
    )  # fmt: skip
    descent = -np.diff(history["loss"])
    squared = (history["gradient"][:-1] ** 2).sum(axis=1)
    assert (descent >= 1e-3 / 2 * squared).all()
    assert (descent <= 2 * 1e-3 * squared).all()


@pytest.mark.parametrize("draw", [draw_zou, draw_chen])
def test_one_and_two_threads_agree(draw):
    """To float32's rounding, grown by the steps; float64 to its own."""
    threads = torch.get_num_threads()
    found = {}
    try:
        for dtype, count in itertools.product((torch.float32, torch.float64), (1, 2)):
            torch.set_num_threads(count)
            network, x, y = case(draw, width=200, count=300, dtype=dtype)
            found[dtype, count] = train(
                network, x, y, loss=CROSS_ENTROPY, step_size=0.01, steps=4,
                record={"loss": mean_loss},
            )["loss"]  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(found[torch.float32, 1], found[torch.float32, 2], rtol=1e-5)
    np.testing.assert_allclose(found[torch.float64, 1], found[torch.float64, 2], rtol=1e-13)
    np.testing.assert_allclose(found[torch.float32, 1], found[torch.float64, 1], rtol=1e-5)


@pytest.mark.parametrize("draw", DRAWS, ids=NETWORKS)
def test_training_memory_is_about_what_is_allocated(draw):
    x, y = sphere(2000, 30, 0).x.float(), sphere(2000, 30, 0).y.sign().float()
    uneven = tuple(draw(m, d, 0, depth=1).weights[0] for m, d in [(16, 30), (256, 16), (16, 256)])
    for network in (draw(64, 30, 0, depth=4), replace(draw(16, 30, 0, depth=3), weights=uneven)):
        with PeakMemory() as memory:
            train(network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3)
        told = training_memory(network, 2000)
        assert 0.6 * told <= memory.peak <= 1.1 * told


def test_quadratic_loss_takes_real_labels():
    network, x, _ = case()
    history = train(
        network, x, sphere(10, 4, 0).y, loss=QUADRATIC, step_size=0.1, steps=2,
        record={"loss": mean_loss},
    )  # fmt: skip
    assert history["loss"][2] < history["loss"][0]


@pytest.mark.parametrize("draw", DRAWS, ids=NETWORKS)
@pytest.mark.parametrize("batches", [None, Batches(3, "subsets")])
def test_a_run_stays_on_its_device_and_never_waits_for_it(draw, batches):
    """On `meta` there are no numbers to wait for: a look at one would raise."""
    with OneDevice():
        network, x, y = (item.to("meta") for item in case(draw, dtype=torch.float32))
        options = {"loss": QUADRATIC, "step_size": 0.1, "steps": 2, "stop": None}
        ended = train(network, x, y, **options, batches=batches).network
        (fleet,) = train_fleet([network], x, y, **options, batches=batches)
        moment = Moment(ended, network, x, y, QUADRATIC, 1)
        watching = {"pattern": PatternDifference()}
        shown = Moment(ended, network, x, y, QUADRATIC, 1, watchers=watching, name="pattern")
        found = [*(monitor(moment) for monitor in MONITORS), watching["pattern"](shown)]
    for tensor in (*ended.parameters, *fleet.network.parameters, *found):
        assert tensor.device.type == "meta"


def test_the_cpus_products_are_not_measured_for_runs_elsewhere(monkeypatch):
    monkeypatch.delenv(matmul.VARIABLE, raising=False)
    monkeypatch.setattr(matmul._choice, "product", None)
    monkeypatch.setattr(matmul, "_fastest_here", lambda: pytest.fail("it was measured"))
    network, x, y = (item.to("meta") for item in case(dtype=torch.float32))
    options = {"loss": QUADRATIC, "step_size": 0.1, "steps": 2, "stop": None}
    assert train(network, x, y, **options).steps == 2
    assert train_fleet([network], x, y, **options)[0].steps == 2


def two_layers(trained="hidden", width=40, seed=1):
    data = sphere(6, 5, seed)
    network = draw_du(width, 5, seed, trained=trained, dtype=torch.float64)
    return network, data.x, data.y


@pytest.mark.parametrize(("trained", "layers"), [("hidden", "first"), ("all", "both")])
def test_descent_on_the_sum_is_descent_on_the_mean_with_n_times_the_step(trained, layers):
    """Du et al. (2019), eq. (2)-(4), by torch.optim.SGD on eq. (1) written out."""
    network, x, y = two_layers(trained)
    path = descent_by_autograd(network, x, y, 0.3, 12, layers)
    history = train(
        network, x, y, loss=QUADRATIC, step_size=0.3 * len(y), steps=12, record={"misfit": misfit}
    )
    expected = [
        float((predictions(net.weights, net.outputs, x) - y).square().sum()) for net in path
    ]
    np.testing.assert_allclose(history["misfit"], expected, rtol=1e-10)
    ended = history.network
    torch.testing.assert_close(ended.weights[0], path[-1].weights, rtol=0, atol=1e-11)
    torch.testing.assert_close(ended.outputs, path[-1].outputs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("trained", "hidden", "outputs"),
    [("hidden", True, False), ("output", False, True), ("all", True, True)],
)
def test_what_is_not_trained_stays_bit_for_bit(trained, hidden, outputs):
    network, x, y = two_layers(trained)
    options = {"loss": QUADRATIC, "step_size": 0.6}
    runs = [
        train(network, x, y, steps=3, **options),
        *train_fleet([network, network], x, y, steps=3, **options),
        *train_fleet([network] * 2, x[:3], y[:3], steps=3, **options),  # on the inputs' span
        flow(network, x, y, loss=QUADRATIC, times=[0, 1], record={}, tolerance=1e-4),
    ]
    for run in runs:
        assert torch.equal(run.network.weights[0], network.weights[0]) != hidden
        assert torch.equal(run.network.outputs, network.outputs) != outputs


def test_no_steps_is_no_change():
    network, x, y = two_layers()
    history = train(network, x, y, loss=QUADRATIC, step_size=0.3, steps=0, record={"it": misfit})
    assert history.at["it"].tolist() == [0]
    assert torch.equal(history.network.weights[0], network.weights[0])


def test_every_records_multiples_and_the_last():
    network, x, y = two_layers()
    record = {"some": Every(3, misfit), "all": misfit}
    history = train(network, x, y, loss=QUADRATIC, step_size=0.6, steps=7, record=record)
    assert history.at["some"].tolist() == [0, 3, 6, 7]
    assert history.at["all"].tolist() == list(range(8))
    np.testing.assert_array_equal(history["some"], history["all"][[0, 3, 6, 7]])


def test_a_run_that_diverged_is_refused_where_a_stable_one_is_asked_for():
    network, x, y = two_layers()
    options = {"loss": QUADRATIC, "record": {"misfit": misfit}}
    wild = train(network, x, y, step_size=6e3, steps=400, **options)
    assert wild.ending == "diverged"
    assert len(wild["misfit"]) == wild.steps + 1
    assert wild["misfit"][:-1].max() <= 1e6 * wild["misfit"][0] < wild["misfit"][-1]
    with pytest.raises(DivergedError, match="choose a smaller step size, below 2 / lambda_max"):
        wild.stable()
    calm = train(network, x, y, step_size=0.6, steps=5, **options)
    assert calm.stable() is calm


def test_a_unit_slides_along_its_kink():
    """Two inputs, one unit on the kink of the first, pushed to it from both sides.

    There u_1 = 0 and u_2 - y_2 decays with rate 1 - rho^2; with an indicator of 0 it would be 1.
    """
    rho, y = 0.6, torch.tensor([-1.0, 1.5], dtype=torch.float64)
    across = math.sqrt(1 - rho**2)
    x = torch.tensor([[1.0, 0.0], [rho, across]], dtype=torch.float64)
    one = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    unit = replace(draw_du(1, 2, 0, dtype=torch.float64), weights=(one,), outputs=one[0, 1:])
    moments = descent(unit, x, y, loss=QUADRATIC, step_size=1e-3 * 2)
    ends = next(itertools.islice(moments, 500, None)).forward.predictions - y
    expected = (across - 1.5) * math.exp(-(across**2) * 0.5)
    assert float(ends[0]) == pytest.approx(1.0, abs=2e-3)
    assert float(ends[1]) == pytest.approx(expected, rel=2e-3)
    with_indicator = (across - 1.5) * math.exp(-0.5)
    assert abs(float(ends[1]) - with_indicator) > 0.05


@pytest.mark.parametrize("batches", [None, Batches(3, "subsets", 2)])
@pytest.mark.parametrize("draw", DRAWS, ids=NETWORKS)
def test_moments_are_the_steps_of_a_run(draw, batches):
    network, x, y = case(draw)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.2, "batches": batches}
    record = {"loss": mean_loss, "gradient": gradient_norms}
    history = train(network, x, y, steps=6, record=record, **options)
    for step, moment in enumerate(itertools.islice(descent(network, x, y, **options), 7)):
        assert moment.step == step
        assert float(mean_loss(moment)) == history["loss"][step]
        np.testing.assert_array_equal(gradient_norms(moment), history["gradient"][step])
    for found, known in zip(moment.network.parameters, history.network.parameters, strict=True):
        assert torch.equal(found, known)


def test_a_moment_lasts_until_the_next_is_asked_for_and_its_passes_stay(monkeypatch):
    network, x, y = two_layers()
    path = descent_by_autograd(network, x, y, 0.3, 2)
    passes = []
    run = type(network).run
    monkeypatch.setattr(type(network), "run", lambda self, *a: passes.append(1) or run(self, *a))
    moments = descent(network, x, y, loss=QUADRATIC, step_size=0.3 * len(y))
    seen, weights = [], []
    for moment, known in zip(moments, path, strict=False):
        torch.testing.assert_close(moment.network.weights[0], known.weights)
        seen.append((moment, moment.forward.predictions.clone()))
        weights.append(moment.network.weights[0].clone())
    assert len(passes) == 3  # the step takes the pass that was looked at
    for moment, then in seen:
        assert torch.equal(moment.forward.predictions, then)
    assert torch.equal(seen[0][0].initial.weights[0], weights[0])
    assert torch.equal(network.weights[0], weights[0])
    assert not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("size", [3, 5])
def test_moments_end_where_every_example_was_used_once(size):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "batches": Batches(size, "once")}
    steps = math.ceil(10 / size)
    found = [moment.network.weights[0].clone() for moment in descent(network, x, y, **options)]
    assert len(found) == 1 + steps
    known = train(network, x, y, steps=steps, **options).network.weights[0]
    assert torch.equal(found[-1], known)
