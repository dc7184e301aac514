"""What a run has recorded is what it was at the step, whoever recorded it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, QUADRATIC
from companion.monitors import (
    Moment,
    frobenius_distances,
    mean_loss,
)
from companion.networks import draw_chen, draw_zou
from companion.training import Checkpoint, flow, train
from tests.training.cases import LIVE, case, counted


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
        "fleet": lambda: train_fleet(  # whose first member leaves
            [network, draw_zou(8, 4, 1, depth=3, dtype=torch.float64), network],
            x, y, step_size=[1e9, 0.1, 0.1], steps=4, **options,
        )[2],
    }[run]()  # fmt: skip
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
