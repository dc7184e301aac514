"""Training against torch.optim.SGD on autograd, the flow's limit, and runs that stop and go on."""

import copy
import io
import itertools
import math
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion import training
import companion.training.run
from companion.datasets import sphere
from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, EXPONENTIAL, LOSSES, QUADRATIC, SQUARED_HINGE
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
    training_error,
)
from companion.networks import draw_chen, draw_du, draw_two_layer, draw_zou
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


def spoilt(number):
    x = torch.ones(10, 4, dtype=torch.float64)
    x[3, 2] = number
    return x


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


LIVE = {
    "weights": lambda m: m.network.weights[0],
    "slice": lambda m: m.network.weights[1][:2, ::2],
    "flat": lambda m: m.network.weights[1].flatten(),
    "turned": lambda m: m.network.weights[0].detach().T,
    "outputs": lambda m: m.network.outputs,
    "array": lambda m: m.network.weights[0].numpy(),
    "hidden": lambda m: m.forward.hidden[1][:, :2],
    "inputs": lambda m: m.forward.hidden[0],
    "gradient": lambda m: m.gradients[0],
}


def test_what_is_recorded_is_what_it_was_at_the_step():
    """README's kind of usage: weights as such gave the last ones at every step."""
    network, x, y = case(draw_chen)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1}
    history = train(
        network, x, y, **options, steps=5, record={**LIVE, "distance": frobenius_distances}
    )
    moved = np.linalg.norm(history["weights"] - history["weights"][0], axis=(1, 2))
    assert moved[0] == 0 < moved[1]
    np.testing.assert_allclose(moved, history["distance"][:, 0], rtol=1e-12)
    for step in range(6):
        then = train(network, x, y, **options, steps=step).network
        now = Moment(then, network, x, y, CROSS_ENTROPY, step)
        for name, monitor in LIVE.items():
            np.testing.assert_allclose(history[name][step], monitor(now), rtol=1e-12)


def test_the_flow_and_fleets_record_what_it_was_at_the_time():
    network, x, y = case(draw_chen, count=3)
    options = {"loss": CROSS_ENTROPY, "record": {**LIVE, "distance": frobenius_distances}}
    histories = [
        flow(network, x, y, times=[0, 0.5, 1], **options),
        *train_fleet([network, network], x, y, step_size=0.1, steps=5, rotate=False, **options),
    ]
    for history in histories:
        moved = np.linalg.norm(history["weights"] - history["weights"][0], axis=(1, 2))
        assert moved[1] > 0
        np.testing.assert_allclose(moved, history["distance"][:, 0], rtol=1e-9)
        copied = np.linalg.norm(history["outputs"] - history["outputs"][0], axis=1)
        np.testing.assert_allclose(copied, history["distance"][:, -1], rtol=1e-9)


def test_data_that_changes_after_a_run_leaves_its_history_alone():
    network, x, y = case()
    record = {"inputs": lambda m: m.x, "start": lambda m: m.initial.weights[0]}
    x = x.T.contiguous().T  # in the layout that is not copied
    known = x.clone(), network.weights[0].clone()
    history = train(network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=1, record=record)
    x.zero_()
    network.weights[0].zero_()
    assert np.array_equal(history["inputs"][0], known[0])
    assert np.array_equal(history["start"][0], known[1])


def moved_since_last(moment):
    """Keeps the live weights, as one would."""
    weights = moment.network.weights[0]
    before = moment.memory.get("before", weights[:0])
    moment.memory["before"] = weights
    moment.memory["view"] = weights.T[1:]
    return torch.linalg.vector_norm(weights - before) if len(before) else weights.new_zeros(())


@pytest.mark.parametrize("run", ["train", "flow", "fleet"])
def test_memory_holds_what_was_put_there(run):
    network, x, y = case()
    options = {"loss": QUADRATIC, "record": {"moved": moved_since_last, "w": LIVE["weights"]}}
    history = {
        "train": lambda: train(network, x, y, step_size=0.1, steps=4, **options),
        "flow": lambda: flow(network, x, y, times=[0, 0.1, 0.2, 0.3, 0.4], **options),
        "fleet": lambda: train_fleet([network], x, y, step_size=0.1, steps=4, **options)[0],
    }[run]()
    steps = np.linalg.norm(np.diff(history["w"], axis=0), axis=(1, 2))
    assert steps.min() > 0
    np.testing.assert_allclose(history["moved"][1:], steps, rtol=1e-9)


NUMBERS = {
    "float": lambda m: 0.1,
    "int": lambda m: 2**40 + 1,
    "bool": lambda m: m.step > 1,
    "scalar": lambda m: np.float32(0.1),
    "array": lambda m: np.arange(3)[::-1],
    "later a float": lambda m: 0 if m.step == 0 else 0.5,
    "bfloat16": lambda m: torch.ones(2, dtype=torch.bfloat16),
    "with derivatives": lambda m: torch.ones(2, requires_grad=True),
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_monitors_may_give_any_numbers(tmp_path, number):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "record": {"it": number}}
    checkpoint = Checkpoint(tmp_path / "run.npz")
    whole = train(network, x, y, **options, steps=3)
    train(network, x, y, **options, steps=1, checkpoint=checkpoint)
    resumed = train(network, x, y, **options, steps=3, checkpoint=checkpoint)
    for history in (whole, resumed):
        for step in range(4):
            given = number(SimpleNamespace(step=step))
            given = given.detach().float() if isinstance(given, torch.Tensor) else given
            assert np.array_equal(history["it"][step], given)
    assert whole["it"].dtype == resumed["it"].dtype
    assert whole["it"].dtype.kind == np.asarray(given).dtype.kind


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        "0.5",
        {"loss": 0.5},
        [0.5],
        np.array(["a"]),
        np.array([None]),
        torch.eye(2).to_sparse(),
    ],
    ids=str,
)
def test_monitors_that_give_no_numbers_are_refused_before_the_first_step(monkeypatch, nothing):
    network, x, y = case()
    made = counted(monkeypatch)
    options = {"loss": CROSS_ENTROPY, "record": {"fine": mean_loss, "it": lambda m: nothing}}
    runs = [
        lambda: train(network, x, y, step_size=0.1, steps=3, **options),
        lambda: flow(network, x, y, times=[0, 1], **options),
        lambda: train_fleet([network], x, y, step_size=0.1, steps=3, **options),
    ]
    for run in runs:
        with pytest.raises(InputError, match=r"monitor 'it' gives .*; it must give a dense tensor"):
            run()
    assert made == []


def test_memory_that_no_checkpoint_could_hold_is_refused_before_the_first_step(monkeypatch):
    network, x, y = case()
    made = counted(monkeypatch)

    def counting(moment):
        moment.memory["count"] = 1 + moment.memory.get("count", 0)
        return moment.memory["count"]

    with pytest.raises(InputError, match=r"memory\['count'\] is 1; monitors can keep dense tens"):
        train(network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3, record={"it": counting})
    assert made == []


def growing(moment):
    return moment.y[: 1 + (moment.step > 2)]


def test_a_monitor_that_changes_its_shape_drops_nothing(tmp_path):
    network, x, y = case()
    path = tmp_path / "run.npz"
    options = {
        "loss": CROSS_ENTROPY,
        "step_size": 0.1,
        "record": {"loss": mean_loss, "it": growing},
    }
    told = r"monitor 'it' gives shape \(2,\) at step 3 and gave \(1,\) before"
    with pytest.raises(InputError, match=told) as stopped:
        train(network, x, y, **options, steps=9, checkpoint=Checkpoint(path))
    known = train(network, x, y, **options, steps=2)
    so_far = stopped.value.history
    assert (so_far.steps, so_far.ending) == (3, "interrupted")
    for name in options["record"]:
        assert np.array_equal(so_far[name], known[name])
    with pytest.raises(InputError, match=told) as again:
        train(network, x, y, **options, steps=9, checkpoint=Checkpoint(path))
    assert np.array_equal(again.value.history["loss"], known["loss"])
    with pytest.raises(InputError, match=told) as stopped:
        train_fleet([network] * 2, x, y, **options, steps=9)
    assert len(stopped.value.history) == 2
    np.testing.assert_allclose(stopped.value.history[0]["loss"], known["loss"])
    late = {**options["record"], "it": lambda m: m.y[: 1 + (m.step > 0.2)]}
    with pytest.raises(InputError, match=r"at step 0\.3 and gave") as stopped:
        flow(network, x, y, loss=CROSS_ENTROPY, times=[0, 0.1, 0.3], record=late)
    assert stopped.value.history.at["loss"].tolist() == [0, 0.1]


def test_derivatives_are_left_outside():
    network, x, y = case(draw_chen)
    options = {"loss": CROSS_ENTROPY, "record": {"loss": mean_loss}}
    known = train(network, x, y, step_size=0.1, steps=3, **options)
    weights = tuple(torch.nn.Parameter(weight) for weight in network.weights)
    leaf = replace(network, weights=weights, outputs=torch.nn.Parameter(network.outputs))
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    found = train(leaf, x, y, step_size=0.1, steps=3, **options)
    (member,) = train_fleet([leaf], x, y, step_size=0.1, steps=3, **options)
    limit = flow(leaf, x, y, times=[0, 0.1], **options)
    assert np.array_equal(found["loss"], known["loss"])
    np.testing.assert_allclose(member["loss"], known["loss"])
    assert limit["loss"].shape == (2,)
    for history in (found, member, limit):
        assert not any(parameter.requires_grad for parameter in history.network.parameters)
    assert weights[0].grad is None


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


def counted(monkeypatch):
    """The steps that runs make from here on."""
    made = []
    descend = training.run.Run.descend
    monkeypatch.setattr(
        training.run.Run, "descend", lambda self, *a: made.append(1) or descend(self, *a)
    )
    return made


class Interrupted(Exception):
    """Stands for a session that is cut off."""


def interruptible(moment):
    """The mean loss; cut off at the step that the environment names, so it stays the same code."""
    if moment.step == int(os.environ.get("CUT_OFF_AT", -1)):
        raise Interrupted
    return mean_loss(moment)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batches", [None, Batches(4, "epochs")])
@pytest.mark.parametrize("seconds", [0, 1e9])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(monkeypatch, tmp_path, dtype, batches, seconds):
    """With monitors before and after the one that fails, whose memory of the step is undone."""
    network, x, y = case(draw_chen, dtype=dtype)
    path = tmp_path / "run.npz"
    record = {**RECORD, "cut off": interruptible, "flips": PatternDifference("last")}
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 11, "batches": batches}
    options["record"] = record
    whole = train(network, x, y, **options)
    kept = {"checkpoint": Checkpoint(path, seconds)}
    monkeypatch.setenv("CUT_OFF_AT", "5")
    with pytest.raises(Interrupted) as cut:
        train(network, x, y, **options, **kept)
    monkeypatch.delenv("CUT_OFF_AT")
    so_far = cut.value.history
    assert (so_far.steps, so_far.ending) == (5, "interrupted")
    for name in record:
        count = sum(step < 5 for step in whole.at[name])
        assert np.array_equal(so_far.at[name], whole.at[name][:count])
        assert np.array_equal(so_far[name], whole[name][:count])
    made = counted(monkeypatch)
    resumed = train(network, x, y, **options, **kept)
    assert len(made) == 11 - 5
    again = train(network, x, y, **options, **kept)
    assert len(made) == 11 - 5
    longer = train(network, x, y, **{**options, "steps": 13}, **kept)
    straight = train(network, x, y, **{**options, "steps": 13})
    for other, known in [(resumed, whole), (again, whole), (longer, straight)]:
        for a, b in zip(other.network.parameters, known.network.parameters, strict=True):
            assert torch.equal(a, b)
        for name in record:
            assert np.array_equal(other.at[name], known.at[name])
            assert np.array_equal(other[name], known[name])
            assert other[name].dtype == known[name].dtype


def scaled(factor):
    return lambda moment: factor * mean_loss(moment)


@dataclass(frozen=True)
class Power:
    """A monitor with a setting."""

    exponent: int = 1

    def __call__(self, moment):
        return mean_loss(moment) ** self.exponent


def changed(network):
    other = copy.deepcopy(network)
    other.weights[0][0, 0] += 1e-9
    return other


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": changed}, "its network"),
        ({"network": lambda net: replace(net, output_gain=2.0)}, "its network"),
        ({"y": torch.neg}, "its labels"),
        ({"x": lambda x: x * (1 + 2**-50)}, "its inputs"),
        ({"step_size": 0.10002}, "its step size"),
        ({"step_size": math.nextafter(0.10001, 1)}, "its step size"),
        ({"loss": EXPONENTIAL}, "its loss"),
        ({"loss": replace(EXPONENTIAL, name="cross-entropy")}, "its loss"),
        ({"batches": Batches(2)}, "its batches"),
        ({"record": {}}, "its monitor 'q' and monitor 'power'"),
        ({"record": {"q": largest_loss, "power": Power()}}, "its monitor 'q'"),
        ({"record": {"q": scaled(3), "power": Power()}}, "its monitor 'q'"),
        ({"record": {"q": Every(2, scaled(2)), "power": Power()}}, "its monitor 'q'"),
        ({"record": {"q": scaled(2), "power": Power(2)}}, "its monitor 'power'"),
        ({"record": {"q": scaled(2), "power": Power(), "r": mean_loss}}, "its monitor 'r'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changes, told):
    network, x, y = case()
    options = {
        "network": network, "x": x, "y": y, "loss": CROSS_ENTROPY, "step_size": 0.10001,
        "steps": 3, "record": {"q": scaled(2), "power": Power()},
        "checkpoint": Checkpoint(tmp_path / "run.npz"),
    }  # fmt: skip
    known = train(**options)
    same = {"step_size": torch.tensor(0.10001, dtype=torch.float64), "loss": replace(CROSS_ENTROPY)}
    again = train(**{**options, **same, "record": {"q": scaled(2), "power": Power()}})
    assert np.array_equal(again["q"], known["q"])
    for name, change in changes.items():
        options[name] = change(options[name]) if callable(change) else change
    with pytest.raises(
        InputError, match=f"run.npz is the checkpoint of another run: it differs in {told};"
    ):
        train(**options)


def test_another_precision_or_python_is_another_run(monkeypatch, tmp_path):
    network, x, y = case(dtype=torch.float32)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "record": {"loss": mean_loss}}
    options["checkpoint"] = Checkpoint(tmp_path / "run.npz")
    train(network, x, y, **options)
    with (
        using(precision="bfloat16"),
        pytest.raises(InputError, match="it differs in its precision;"),
    ):
        train(network, x, y, **options)
    monkeypatch.setattr(training, "sys", SimpleNamespace(version_info=(3, 99, 0)))
    with pytest.raises(InputError, match="it differs in its Python version;"):
        train(network, x, y, **options)


def test_a_checkpoint_with_more_steps_than_asked_for_is_refused(tmp_path):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "checkpoint": Checkpoint(tmp_path / "r")}
    train(network, x, y, **options, steps=20)
    with pytest.raises(InputError, match="holds 20 steps of this run and steps is 10; ask for at"):
        train(network, x, y, **options, steps=10)
    assert train(network, x, y, **options, steps=20).steps == 20


def test_a_monitor_without_identity_is_refused_with_a_checkpoint_only(tmp_path):
    network, x, y = case()
    lock = threading.Lock()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 1}
    options["record"] = {"q": lambda moment: float(lock.locked())}
    assert train(network, x, y, **options)["q"].tolist() == [0, 0]
    with pytest.raises(InputError, match=r"monitor 'q' depends on a _thread\.lock"):
        train(network, x, y, **options, checkpoint=Checkpoint(tmp_path / "run.npz"))


def rewritten(path, **changes):
    """The checkpoint with other arrays, or without some."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.read_bytes()[:100],
        lambda path: b"",
        lambda path: b"no archive",
        lambda path: path.read_bytes().replace(b"NUMPY", b"numpy"),
        lambda path: rewritten(path, told=None),
        lambda path: rewritten(path, told=np.array("[1, 2]")),
        lambda path: rewritten(path, told=np.array('{"identity": "of an older version"}')),
        lambda path: rewritten(path, **{"parameter/0": None}),
        lambda path: rewritten(path, **{"value/loss": None}),
    ],
)
def test_a_checkpoint_that_is_damaged_or_old_is_refused(tmp_path, damage):
    network, x, y = case()
    path = tmp_path / "run.npz"
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "record": {"loss": mean_loss}}
    train(network, x, y, **options, checkpoint=Checkpoint(path))
    path.write_bytes(damage(path))
    with pytest.raises(InputError, match="not a readable checkpoint of this version; delete it"):
        train(network, x, y, **options, checkpoint=Checkpoint(path))


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(
    monkeypatch, tmp_path
):
    network, x, y = case()
    made = counted(monkeypatch)
    (tmp_path / "afile").write_text("no folder")
    os.mkfifo(tmp_path / "pipe")
    for path, told in [
        (tmp_path / "afile" / "run.npz", "cannot write .*run.npz"),
        (tmp_path, "cannot write"),
        (tmp_path / "pipe", "not a readable checkpoint"),
    ]:
        with pytest.raises(InputError, match=told):
            train(
                network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3,
                checkpoint=Checkpoint(path),
            )  # fmt: skip
    assert made == []


def test_a_disk_that_fails_at_the_end_drops_nothing(monkeypatch, tmp_path):
    network, x, y = case()

    def full(path, content):
        raise InputError("cannot write (No space left on device)")

    monkeypatch.setattr(training, "write_atomically", full)
    with pytest.raises(InputError, match="No space left") as stopped:
        train(
            network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3, record={"loss": mean_loss},
            checkpoint=Checkpoint(tmp_path / "run.npz"),
        )  # fmt: skip
    assert len(stopped.value.history["loss"]) == 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": 7}, "path is 7; give the path of an .npz file"),
        ({"seconds": -1}, "seconds is -1; it must be at least 0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"seconds": "60"}, "seconds is '60'; it must be a number"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        Checkpoint(**{"path": "run.npz", **changes})


def test_a_checkpoint_takes_any_kind_of_path(tmp_path):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "record": {"loss": mean_loss}}
    path = str(tmp_path / "new" / "run.npz")
    whole = train(network, x, y, **options, checkpoint=Checkpoint(path))
    assert Path(path).is_file()
    again = train(network, x, y, **options, checkpoint=Checkpoint(Path(path)))
    assert np.array_equal(again["loss"], whole["loss"])


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
        ({"x": np.ones((10, 4))}, r"x is a numpy.ndarray; give a torch tensor, torch.from_numpy"),
        ({"y": np.ones(10)}, r"y is a numpy.ndarray; give a torch tensor, torch.from_numpy\(y\)"),
        ({"y": [1.0] * 10}, r"y is a list; give a torch tensor, torch.tensor\(y\)"),
        ({"network": draw_two_layer(4, 4, 0)}, r"a ReLUNetwork, relu_network\(network\)"),
        ({"network": torch.nn.Linear(4, 1)}, r"network is a torch.nn.*Linear; give a ReLUNetwork"),
        ({"loss": "hinge"}, r"loss is 'hinge'; give a Loss, such as losses.LOSSES\['hinge'\]"),
        ({"loss": torch.nn.MSELoss()}, r"loss is a torch.*MSELoss; give a Loss, such as losses"),
        ({"batches": 5}, r"batches is 5; give Batches\(size=5\)"),
        ({"stop": 0.1}, r"stop is 0.1; give Stop\(\.\.\.\) or None"),
        ({"record": mean_loss}, "record is a function; give a mapping, name -> monitor"),
        ({"record": [mean_loss]}, "record is a list"),
        ({"record": {"loss": "mean_loss"}}, "monitor 'loss' is 'mean_loss'; give a function"),
        ({"record": {1: mean_loss}}, "the name of a monitor is 1; give text"),
        ({"record": {"loss": Every(1.5, mean_loss)}}, "of monitor 'loss' is 1.5; it must be a who"),
        ({"checkpoint": "run.npz"}, r"checkpoint is 'run.npz'; give Checkpoint\('run.npz'\)"),
        ({"steps": 3.0}, "steps is 3.0; it must be a whole number"),
        ({"steps": "3"}, "steps is '3'; it must be a whole number"),
        ({"step_size": "0.1"}, "step_size is '0.1'; it must be a number"),
        ({"step_size": None}, "step_size is None; it must be a number"),
        ({"step_size": torch.ones(2)}, "step_size is a torch.Tensor of torch.float32; it must be"),
        ({"x": spoilt(math.nan)}, "input 3 holds a number that is not finite"),
        ({"x": spoilt(-math.inf)}, "input 3 holds a number that is not finite"),
        ({"y": spoilt(math.nan)[:, 2], "loss": QUADRATIC}, "label 3 holds a number that is not"),
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
        ({"record": {"loss": Every(-1, mean_loss)}}, "of monitor 'loss' is -1"),
    ],
)
def test_bad_input_is_refused(changes, told):
    network, x, y = case()
    options = {"network": network, "x": x, "y": y, "loss": CROSS_ENTROPY, "step_size": 0.1}
    options |= {"steps": 3, **changes}
    with pytest.raises(InputError, match=told):
        train(**options)
    if "checkpoint" not in options and "torch.Tensor" not in told:  # a fleet takes many step sizes
        with pytest.raises(InputError, match=told):
            train_fleet(networks=[options.pop("network")], **options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x": np.ones((10, 4))}, "x is a numpy.ndarray"),
        ({"network": draw_two_layer(4, 4, 0)}, r"relu_network\(network\)"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"record": mean_loss}, "record is a function"),
        ({"times": 1.0}, "times is 1.0; give a list of numbers"),
        ({"times": [0, "1"]}, "a time is '1'; it must be a number"),
        ({"tolerance": 0}, "tolerance is 0.0; it must be positive"),
        ({"x": spoilt(math.nan)}, "input 3 holds a number that is not finite"),
    ],
)
def test_bad_input_of_a_flow_is_refused(changes, told):
    network, x, y = case()
    options = {"network": network, "x": x, "y": y, "loss": CROSS_ENTROPY, "times": [0, 1]}
    with pytest.raises(InputError, match=told):
        flow(**{**options, "record": {}, **changes})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": 0}, "every is 0; it must be at least 1"),
        ({"every": 2.5}, "every is 2.5; it must be a whole number"),
        ({"loss_below": "0.1"}, "loss_below is '0.1'; it must be a number"),
    ],
)
def test_a_stop_that_is_none_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        Stop(**options)


def test_numbers_of_other_libraries_are_numbers():
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "record": {"loss": Every(2, mean_loss)}}
    known = train(
        network, x, y, step_size=0.125, steps=4, batches=Batches(3, "subsets", 1), **options
    )
    others = {"loss": CROSS_ENTROPY, "record": {"loss": Every(np.int32(2), mean_loss)}}
    for step_size, steps in [
        (np.float32(0.125), np.int64(4)),
        (torch.tensor(0.125), torch.tensor(4)),
    ]:
        batches = Batches(np.int64(3), "subsets", np.int64(1))
        found = train(
            network, x, y, step_size=step_size, steps=steps, batches=batches, **others,
            stop=Stop(loss_below=np.float32(0), every=np.int64(1)),
        )  # fmt: skip
        assert np.array_equal(found["loss"], known["loss"])
        (member,) = train_fleet(
            [network], x, y, step_size=step_size, steps=steps, batches=batches, **others
        )
        np.testing.assert_allclose(member["loss"], known["loss"])


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
