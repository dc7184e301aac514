"""Training against torch.optim.SGD on autograd, the flow's limit, and runs that stop and go on."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, EXPONENTIAL, LOSSES, QUADRATIC, SQUARED_HINGE
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
    training_error,
)
from companion.networks import draw_chen, draw_du, draw_zou
from companion.training import Checkpoint, Stop, flow, train, training_memory
from tests.modes import OneDevice, PeakMemory
from tests.oracles import NETWORKS, chen_predictions

DRAWS = [draw for draw, _ in NETWORKS.values()]
MONITORS = [
    mean_loss,
    largest_loss,
    largest_slope,
    training_error,
    gradient_norms,
    frobenius_distances,
    Distances(),
]
RECORD = {
    "loss": mean_loss,
    "error": Every(3, training_error),
    "pattern": PatternDifference(),
    "flips": PatternDifference("last"),
    "distance": Every(2, Distances()),
}


def case(draw=draw_zou, width=8, depth=3, count=10, seed=0, dtype=torch.float64):
    network = draw(width, 4, seed, depth=depth, dtype=dtype)
    data = sphere(count, 4, seed)
    return network, data.x.to(dtype), data.y.sign().to(dtype)


def descent_by_torch(network, formula, x, y, loss, step_size, steps, batches=None):
    """torch.optim.SGD on the autograd loss, mean over the examples of the batch."""
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    outputs = network.outputs.clone().requires_grad_(network.trained == "all")
    trained = [*weights, outputs] if network.trained == "all" else weights
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


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.data())
def test_batches_are_what_they_say(count, data):
    size, seed = data.draw(st.integers(1, count)), data.draw(st.integers(0, 99))
    per_epoch = math.ceil(count / size)
    epochs = Batches(size, "epochs", seed)
    for epoch in range(2):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        rows = torch.cat([epochs.rows(step, count) for step in steps]).tolist()
        assert sorted(rows) == list(range(count))
    once = Batches(size, "once", seed)
    rows = torch.cat([once.rows(step, count) for step in range(per_epoch)])
    assert rows.tolist() == list(range(count))
    subset = Batches(size, "subsets", seed).rows(3, count)
    assert len(set(subset.tolist())) == size
    drawn = Batches(size, "replacement", seed)
    assert drawn.rows(4, count).tolist() == drawn.rows(4, count).tolist()
    assert all(0 <= row < count for row in drawn.rows(4, count).tolist())


def test_variance_of_batch_means_is_that_of_lemma_d2():
    """Zou et al. (2018): (n - B) / (B (n - 1)) of the mean square, for sums that vanish."""
    count, size, draws = 12, 4, 20_000
    u = torch.arange(count).double() - (count - 1) / 2
    mean_square = float(u.square().mean())
    for order, predicted in [
        ("subsets", mean_square * (count - size) / (size * (count - 1))),
        ("replacement", mean_square / size),
    ]:
        batches = Batches(size, order)
        means = torch.stack([u[batches.rows(step, count)].mean() for step in range(draws)])
        measured = float(means.square().mean())
        assert measured == pytest.approx(predicted, rel=5 * math.sqrt(2 / draws))


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


class Interrupted(Exception):
    """Stands for a session that is cut off."""


def interrupting(step):
    def monitor(moment):
        if moment.step == step:
            raise Interrupted
        return mean_loss(moment)

    return monitor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batches", [None, Batches(4, "epochs")])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(tmp_path, dtype, batches):
    network, x, y = case(draw_chen, dtype=dtype)
    path = tmp_path / "run.npz"
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 11, "batches": batches}
    whole = train(network, x, y, **options, record=RECORD)
    with pytest.raises(Interrupted):
        train(
            network, x, y, **options, checkpoint=Checkpoint(path, 0),
            record={**RECORD, "loss": interrupting(5)},
        )  # fmt: skip
    resumed = train(network, x, y, **options, record=RECORD, checkpoint=Checkpoint(path, 0))
    again = train(network, x, y, **options, record=RECORD, checkpoint=Checkpoint(path, 0))
    longer = train(
        network, x, y, **{**options, "steps": 13}, record=RECORD, checkpoint=Checkpoint(path, 0)
    )
    straight = train(network, x, y, **{**options, "steps": 13}, record=RECORD)
    for other, known in [(resumed, whole), (again, whole), (longer, straight)]:
        for a, b in zip(other.network.parameters, known.network.parameters, strict=True):
            assert torch.equal(a, b)
        for name in RECORD:
            assert np.array_equal(other.at[name], known.at[name])
            assert np.array_equal(other[name], known[name])
            assert other[name].dtype == known[name].dtype


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    network, x, y = case()
    path = tmp_path / "run.npz"
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "checkpoint": Checkpoint(path)}
    train(network, x, y, **options)
    kept = path.read_bytes()
    other = copy.deepcopy(network)
    other.weights[0][0, 0] += 1e-9
    for change in [
        lambda: train(other, x, y, **options),
        lambda: train(network, x, -y, **options),
        lambda: train(network, x, y, **{**options, "step_size": 0.2}),
        lambda: train(network, x, y, **{**options, "loss": EXPONENTIAL}),
        lambda: train(network, x, y, **options, record={"loss": mean_loss}),
        lambda: train(network, x, y, **options, batches=Batches(2)),
    ]:
        with pytest.raises(InputError, match="checkpoint of another run"):
            change()
    path.write_bytes(kept[:100])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(network, x, y, **options)


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


@pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])
def test_training_memory_is_about_what_is_allocated(draw):
    network = draw(64, 30, 0, depth=4)
    x, y = sphere(2000, 30, 0).x.float(), sphere(2000, 30, 0).y.sign().float()
    with PeakMemory() as memory:
        train(network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3)
    told = training_memory(network, 2000)
    assert 0.6 * told <= memory.peak <= 1.1 * told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"step_size": 0.0}, "step_size is 0"),
        ({"step_size": math.inf}, "step_size is inf"),
        ({"step_size": math.nan}, "step_size is nan"),
        ({"steps": -1}, "steps is -1"),
        ({"y": torch.zeros(10).double()}, "labels must be -1 or \\+1"),
        ({"y": torch.ones(9).double()}, r"labels have shape \(9,\)"),
        ({"y": torch.ones(10)}, "torch.float32 on cpu"),
        ({"x": torch.ones(10, 5).double()}, r"the network takes \(n, 4\)"),
        ({"x": torch.ones(10, 4).half()}, "inputs are torch.float16"),
        ({"batches": Batches(0)}, "batch size is 0"),
        ({"batches": Batches(11)}, "must lie in 1 to 10"),
        ({"batches": Batches(3, "sorted")}, "order is 'sorted'"),
        ({"batches": Batches(3, "once"), "steps": 5}, "takes 4"),
        ({"record": {"loss": Every(-1, mean_loss)}}, "every -1 steps"),
    ],
)
def test_bad_input_is_refused(changes, told):
    network, x, y = case()
    options = {"x": x, "y": y, "loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3}
    with pytest.raises(InputError, match=told):
        train(network, **{**options, **changes})


@pytest.mark.parametrize("times", [[0], [1, 2], [0, 2, 1], [0, 0]])
def test_times_that_do_not_increase_are_refused(times):
    network, x, y = case()
    with pytest.raises(InputError, match="times must start at 0"):
        flow(network, x, y, loss=CROSS_ENTROPY, times=times, record={})


def test_quadratic_loss_takes_real_labels():
    network, x, _ = case()
    history = train(
        network, x, sphere(10, 4, 0).y, loss=QUADRATIC, step_size=0.1, steps=2,
        record={"loss": mean_loss},
    )  # fmt: skip
    assert history["loss"][2] < history["loss"][0]


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("batches", [None, Batches(3, "subsets")])
def test_a_run_stays_on_its_device_and_never_waits_for_it(draw, batches):
    """On `meta` there are no numbers to wait for: a look at one would raise."""
    with OneDevice():
        network, x, y = (item.to("meta") for item in case(draw, dtype=torch.float32))
        options = {"loss": QUADRATIC, "step_size": 0.1, "steps": 2, "stop": None}
        ended = train(network, x, y, **options, batches=batches).network
        (fleet,) = train_fleet([network], x, y, **options, batches=batches)
        moment = Moment(ended, network, x, y, QUADRATIC, 1, watchers=(PatternDifference(),))
        found = [monitor(moment) for monitor in (*MONITORS, *moment.watchers)]
    for tensor in (*ended.parameters, *fleet.network.parameters, *found):
        assert tensor.device.type == "meta"
