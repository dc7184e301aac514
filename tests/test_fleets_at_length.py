"""Fleets that are divided, stop and go on, and members with data and batches of their own."""

import json
import os

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import fleet_memory, train_fleet
from companion.losses import CROSS_ENTROPY, EXPONENTIAL
from companion.matmul import chosen_product
from companion.monitors import Distances, Every, PatternDifference, mean_loss, training_error
from companion.networks import draw_chen, draw_du, draw_zou
from companion.training import (
    GRADIENT_DESCENT,
    Adam,
    Checkpoint,
    Cosine,
    Momentum,
    Stop,
    train,
)
from tests.modes import PeakMemory


class CutOff(Exception):
    """Stands for a session that is cut off."""


def cut_off(moment):
    """The mean loss; cut off at the step and width that the environment names."""
    where = json.loads(os.environ.get("CUT_OFF_AT", "[-1, 0]"))
    if [moment.step, moment.network.widths[0]] == where:
        raise CutOff
    return mean_loss(moment)


RECORD = {
    "loss": cut_off,
    "error": Every(3, training_error),
    "pattern": PatternDifference(),
    "flips": Every(2, PatternDifference("last")),
    "distance": Every(2, Distances()),
}


def data(count=12, dimension=4, dtype=torch.float64):
    drawn = sphere(count, dimension, 0)
    return drawn.x.to(dtype), drawn.y.sign().to(dtype)


def assert_equal(found, known):
    assert (found.key, found.steps, found.ending) == (known.key, known.steps, known.ending)
    for a, b in zip(found.network.parameters, known.network.parameters, strict=True):
        assert torch.equal(a, b)
    for name in known.values:
        assert np.array_equal(found.at[name], known.at[name])
        assert np.array_equal(found[name], known[name])


@pytest.mark.parametrize("dimension", [4, 30])
@pytest.mark.parametrize("batches", [None, Batches(5, "epochs")])
@pytest.mark.parametrize("where", [[1, 6], [5, 6], [2, 8], [3, 8]])
def test_a_fleet_that_was_cut_off_goes_on_bit_for_bit(
    monkeypatch, tmp_path, where, batches, dimension
):
    """In its first shape and in its second, before and after members have left."""
    x, y = data(dimension=dimension)
    networks = {
        (width, seed): draw_chen(width, dimension, seed, depth=2, dtype=torch.float64)
        for seed in range(4)
        for width in (6, 8)
    }
    options = {
        "loss": CROSS_ENTROPY, "step_size": [0.1, 0.3, 0.2, 1e9, 0.3, 0.1, 0.4, 0.2],
        "batches": batches, "record": RECORD, "optimiser": Adam(),
        "stop": Stop(loss_below=0.3, every=2),
    }  # fmt: skip
    whole = train_fleet(networks, x, y, steps=12, **options)
    assert len({(run.ending, run.steps) for run in whole}) > 1
    path = tmp_path / "fleet.npz"
    monkeypatch.setenv("CUT_OFF_AT", json.dumps(where))
    with pytest.raises(CutOff) as stopped:
        train_fleet(networks, x, y, steps=12, checkpoint=Checkpoint(path, 0), **options)
    monkeypatch.delenv("CUT_OFF_AT")
    assert [run.key for run in stopped.value.history] == [*networks]
    kept = {"checkpoint": Checkpoint(path)}
    for _ in range(2):
        for found, known in zip(
            train_fleet(networks, x, y, steps=12, **options, **kept), whole, strict=True
        ):
            assert_equal(found, known)
    longer = train_fleet(networks, x, y, steps=17, **options)
    for found, known in zip(
        train_fleet(networks, x, y, steps=17, **options, **kept), longer, strict=True
    ):
        assert_equal(found, known)
    with pytest.raises(InputError, match=r"holds \d+ steps of this run and steps is 1;"):
        train_fleet(networks, x, y, steps=1, **options, **kept)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x": data()[0].flip(0)}, "its inputs"),
        ({"y": -data()[1]}, "its labels"),
        ({"networks": [draw_zou(8, 4, 9, depth=2, dtype=torch.float64)] * 2}, "its networks"),
        ({"step_size": [0.1, 0.2]}, "its step sizes"),
        ({"loss": EXPONENTIAL}, "its loss"),
        ({"batches": [Batches(3, seed=1), Batches(3, seed=2)]}, "its batches"),
        ({"subsets": [range(6), range(6)]}, "its subsets"),
        ({"optimiser": Adam()}, "its optimiser"),
        ({"schedule": Cosine(9)}, "its schedule"),
        ({"record": {"loss": mean_loss}}, "its monitor 'loss'"),
        ({"memory_budget": 10_000}, "its division by memory"),
    ],
)
def test_a_checkpoint_of_another_fleet_is_refused(tmp_path, changes, told):
    x, y = data()
    networks = [draw_zou(8, 4, seed, depth=2, dtype=torch.float64) for seed in range(2)]
    options = {"networks": networks, "x": x, "y": y, "loss": CROSS_ENTROPY, "step_size": 0.1}
    options |= {"steps": 3, "checkpoint": Checkpoint(tmp_path / "fleet.npz")}
    train_fleet(**options)
    if "subsets" in changes:
        changes = {"subsets": [torch.tensor([*rows]) for rows in changes["subsets"]]}
    with pytest.raises(InputError, match=f"it differs in {told}"):
        train_fleet(**{**options, **changes})
    with pytest.raises(InputError, match="is the checkpoint of another run"):
        train(networks[0], x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3,
              checkpoint=options["checkpoint"])  # fmt: skip


def test_coordinates_are_of_the_run(tmp_path):
    x, y = data(dimension=30)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3}
    options["checkpoint"] = Checkpoint(tmp_path / "fleet.npz")
    networks = [draw_zou(8, 30, 0, depth=2, dtype=torch.float64)]
    train_fleet(networks, x, y, **options)
    with pytest.raises(InputError, match="it differs in its coordinates;"):
        train_fleet(networks, x, y, rotate=False, **options)


@pytest.mark.parametrize("dimension", [4, 30])
@pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])
@pytest.mark.parametrize("own", ["batches", "subsets", "both"])
def test_members_with_data_and_batches_of_their_own(draw, own, dimension):
    x, y = data(dimension=dimension)
    networks = [draw(6, dimension, s, depth=2, dtype=torch.float64) for s in range(4)]
    rows = [[0, 2, 4, 7, 11, 5], [1, 2, 3, 8, 6], [11, 10, 9, 8, 0, 1], [3, 1, 4, 5, 9, 2]]
    subsets = [*map(torch.tensor, rows)]
    orders = [(5, "subsets"), (5, "epochs"), (2, "subsets"), (5, "subsets")]
    batches = [Batches(*order, seed) for seed, order in enumerate(orders)]
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 7}
    record = {**RECORD, "inputs": lambda m: m.x.sum(), "count": lambda m: len(m.y)}
    given = {"batches": batches, "subsets": subsets}
    fleet = train_fleet(
        networks, x, y, record=record, **options,
        **(given if own == "both" else {own: given[own]}),
    )  # fmt: skip
    for member, found in enumerate(fleet):
        rows = slice(None) if own == "batches" else subsets[member]
        alone = train(
            networks[member], x[rows], y[rows], record=record, **options,
            batches=None if own == "subsets" else batches[member],
        )  # fmt: skip
        assert (found.key, found.steps, found.ending) == (member, alone.steps, alone.ending)
        for a, b in zip(found.network.parameters, alone.network.parameters, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
        for name in record:
            assert np.array_equal(found.at[name], alone.at[name])
            if name != "distance":
                np.testing.assert_allclose(found[name], alone[name], rtol=1e-9, atol=1e-11)


def test_a_fleet_keeps_to_its_memory_and_gives_the_same():
    x, y = data(count=500, dimension=30, dtype=torch.float32)
    networks = [draw_chen(16, 30, seed, depth=3) for seed in range(12)]
    networks += [draw_chen(8, 30, seed, depth=3) for seed in range(3)]
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3}
    budget = fleet_memory(networks, 500, 30) / 3
    assert fleet_memory(networks[:1], 500, 30) < budget
    with PeakMemory() as memory:
        divided = train_fleet(networks, x, y, memory_budget=budget, **options)
    assert 0.3 * budget < memory.peak <= 1.1 * budget
    for found, known in zip(divided, train_fleet(networks, x, y, **options), strict=True):
        for a, b in zip(found.network.parameters, known.network.parameters, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dimension", [100, 1000])
@pytest.mark.parametrize("optimiser", [GRADIENT_DESCENT, Momentum(), Adam()])
def test_memory_of_members_that_have_more_weights_than_the_data_have_numbers(optimiser, dimension):
    """And most of all in their first layers, in which the fleet leaves the inputs' span again."""
    x = torch.nn.functional.normalize(torch.eye(20, dimension) + 0.1, dim=1)
    networks = [draw_chen(128, dimension, seed, depth=2) for seed in range(4)]
    chosen_product()  # is measured once for a machine, which takes memory of its own
    options = {"loss": CROSS_ENTROPY, "step_size": 1e-3, "steps": 3, "optimiser": optimiser}
    for inputs in (x, x.repeat(6, 1)[:100]):
        told = fleet_memory(networks, len(inputs), dimension, optimiser)
        with PeakMemory() as memory:
            train_fleet(networks, inputs, torch.ones(len(inputs)), **options)
        assert 0.8 * told <= memory.peak <= 1.05 * told


@pytest.mark.parametrize("optimiser", [GRADIENT_DESCENT, Adam()])
@pytest.mark.parametrize("count", [None, 5])
def test_a_budget_is_met_to_the_byte(optimiser, count):
    """Of one network, which cannot be divided, on all examples or on those of its own."""
    x, y = data(dimension=30)
    networks = [draw_zou(8, 30, seed, depth=2, dtype=torch.float64) for seed in range(2)]
    told = fleet_memory(networks[:1], count or len(x), 30, optimiser, subsets=count is not None)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 1, "optimiser": optimiser}
    options["subsets"] = None if count is None else [torch.arange(count)] * 2
    assert len(train_fleet(networks, x, y, memory_budget=told, **options)) == 2
    with pytest.raises(InputError, match=f"widths .8, 8. on {count or len(x)} inputs needs"):
        train_fleet(networks, x, y, memory_budget=told - 1, **options)


def test_the_memory_of_several_shapes_is_that_of_the_largest():
    small, large = ([draw_zou(w, 30, seed, depth=2) for seed in range(3)] for w in (8, 16))
    told = fleet_memory(large, 1000, 30)
    assert fleet_memory([*small, *large], 1000, 30) == told == fleet_memory(large + small, 1000, 30)
    assert fleet_memory({"a": large[0]}, 1000, 30) < told
    with pytest.raises(InputError, match=r"network is a torch\.nn.*Linear; give a ReLUNetwork"):
        fleet_memory([torch.nn.Linear(4, 1)], 1000, 30)


@pytest.mark.parametrize("optimiser", [Adam(), None])
def test_memory_of_members_with_data_of_their_own(optimiser):
    x, y = data(count=2000, dimension=30, dtype=torch.float32)
    networks = [draw_zou(8, 30, seed, depth=2) for seed in range(6)]
    subsets = [torch.arange(1000) + 100 * member for member in range(6)]
    options = {"optimiser": optimiser} if optimiser else {}
    told = fleet_memory(networks, 1000, 30, *options.values(), subsets=True)
    with PeakMemory() as memory:
        train_fleet(
            networks, x, y, loss=CROSS_ENTROPY, step_size=0.01, steps=3, subsets=subsets, **options
        )
    assert 0.6 * told <= memory.peak <= 1.1 * told


def test_members_of_any_kinds_and_depths_are_one_fleet():
    x, y = data()
    networks = [
        draw_zou([8, 6], 4, 0, dtype=torch.float64),
        draw_chen(6, 4, 1, depth=3, alpha=0.3, dtype=torch.float64),
        draw_du(5, 4, 2, trained="output", dtype=torch.float64),
        draw_chen(6, 4, 3, depth=3, alpha=0.5, dtype=torch.float64),
    ]
    options = {"loss": "cross-entropy", "step_size": 0.1, "steps": 4, "record": RECORD}
    fleet = train_fleet(networks, x.numpy(), y.numpy(), **options)
    for network, found in zip(networks, fleet, strict=True):
        alone = train(network, x, y, **options)
        np.testing.assert_allclose(found["loss"], alone["loss"], rtol=1e-9)
        for a, b in zip(found.network.parameters, alone.network.parameters, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
