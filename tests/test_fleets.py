"""Members of a fleet against the same networks trained alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import fleet_memory, span, train_fleet
from companion.losses import CROSS_ENTROPY, HINGE, QUADRATIC
from companion.matmul import using
from companion.monitors import (
    Distances,
    Every,
    PatternDifference,
    gradient_norms,
    mean_loss,
    training_error,
)
from companion.networks import draw_chen, draw_du, draw_zou
from companion.stacks import Stack
from companion.training import GRADIENT_DESCENT, Momentum, Stop, train
from tests.modes import PeakMemory
from tests.oracles import NETWORKS

RECORD = {
    "loss": mean_loss,
    "error": Every(2, training_error),
    "pattern": PatternDifference(),
    "distance": Every(3, Distances()),
    "gradient": gradient_norms,
}
DRAWS = {name: draw for name, (draw, _) in NETWORKS.items()}
EVERY = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


def data(count=9, dimension=4, dtype=torch.float64):
    drawn = sphere(count, dimension, 0)
    return drawn.x.to(dtype), drawn.y.sign().to(dtype)


def fleet_of(draw, widths=(6, 4, 10, 6), dimension=4, depth=3, dtype=torch.float64):
    return [
        draw(width, dimension, seed, depth=depth, dtype=dtype) for seed, width in enumerate(widths)
    ]


def assert_same(found, known, rtol=1e-9):
    assert (found.steps, found.ending) == (known.steps, known.ending)
    for a, b in zip(found.network.parameters, known.network.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)
    assert found.network.gains == pytest.approx(known.network.gains)
    for name in known.values:
        assert np.array_equal(found.at[name], known.at[name])
        if name == "distance":  # bounds of the norm depend on where their iteration started
            for (f, low, high), (g, other_low, other_high) in zip(
                found[name].reshape(-1, 3), known[name].reshape(-1, 3), strict=True
            ):
                assert f == pytest.approx(g, rel=rtol)
                assert max(low, other_low) <= min(high, other_high) * (1 + rtol)
        else:
            np.testing.assert_allclose(found[name], known[name], rtol=rtol, atol=rtol)


@EVERY
@pytest.mark.parametrize("dimension", [4, 30])
@pytest.mark.parametrize("batches", [None, Batches(4, "subsets")])
def test_a_member_is_what_it_would_be_alone(draw, dimension, batches):
    """With d = 30 > n the fleet trains on the span of the inputs; the results do not show it."""
    x, y = data(dimension=dimension)
    networks = fleet_of(draw, dimension=dimension)
    options = {"loss": CROSS_ENTROPY, "steps": 7, "batches": batches, "record": RECORD}
    sizes = [0.1, 0.2, 0.05, 0.1]
    together = train_fleet(networks, x, y, step_size=sizes, **options)
    for network, size, found in zip(networks, sizes, together, strict=True):
        alone = train(network, x, y, step_size=size, **options)
        assert_same(found, alone)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 10**6)
)
def test_any_widths_and_depths(widths, depth, seed):
    x, y = data()
    networks = [
        draw_chen(w, 4, seed + k, depth=depth, dtype=torch.float64) for k, w in enumerate(widths)
    ]
    options = {"loss": QUADRATIC, "step_size": 0.05, "steps": 4, "record": {"loss": mean_loss}}
    for network, found in zip(networks, train_fleet(networks, x, y, **options), strict=True):
        assert_same(found, train(network, x, y, **options))


def test_sgd_looks_at_all_examples_once_an_epoch(monkeypatch):
    x, y = data(count=12)
    seen = []
    run = Stack.run
    monkeypatch.setattr(Stack, "run", lambda self, x, *a: seen.append(len(x)) or run(self, x, *a))
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 6, "batches": Batches(4)}
    train_fleet(fleet_of(draw_zou, (6, 6)), x, y, **options)
    assert seen == [12, 4, 4, 4, 12, 4, 4, 4, 12]
    seen.clear()
    train_fleet(fleet_of(draw_zou, (6, 6)), x, y, **options, stop=None)
    assert seen == [4] * 6


def test_unequal_widths_and_gains_within_members():
    x, y = data()
    networks = [draw_zou(widths, 4, 0, dtype=torch.float64) for widths in ([8, 4, 6], [5, 9, 10])]
    networks += [replace(networks[0], gains=(0.5, 1.0, 2.0), output_gain=0.7, trained="all")] * 2
    options = {"loss": HINGE, "step_size": 0.1, "steps": 5, "record": RECORD}
    for network, found in zip(networks, train_fleet(networks, x, y, **options), strict=True):
        history = train(network, x, y, **options)
        assert_same(found, history)


def test_a_stack_has_the_shape_of_its_members():
    stack = Stack.of([draw_zou([8, 4, 6], 5, seed) for seed in range(2)])
    assert (len(stack), stack.dimension, stack.widths) == (2, 5, (8, 4, 6))


def test_members_that_differ_at_the_kink_only():
    """A unit without weights learns only where a ReLU is on at 0."""
    x, y = data()
    (off,) = fleet_of(draw_zou, (6,))
    off.weights[0][0] = 0
    networks = [off, replace(off, on_at_zero=True)]
    still, moved = train_fleet(networks, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=5)
    assert not still.network.weights[0][0].any()
    assert moved.network.weights[0][0].all()


def test_a_gain_of_one_in_the_first_member_is_not_everyones():
    """In Du et al. the gain is sqrt(2 / m): 1 at width 2."""
    x, y = data()
    networks = fleet_of(draw_du, (2, 8))
    assert networks[0].gains == (1.0, 1.0, 1.0) != networks[1].gains
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 5}
    for network, found in zip(networks, train_fleet(networks, x, y, **options), strict=True):
        assert_same(found, train(network, x, y, **options))


@pytest.mark.parametrize("optimiser", [GRADIENT_DESCENT, Momentum(0.2)])
@pytest.mark.parametrize("own", [False, True])
def test_members_leave_when_they_stop_and_the_others_go_on(optimiser, own):
    """On examples of their own, too."""
    x, y = data(count=20)
    networks = fleet_of(draw_zou, (16, 64, 16, 64, 16, 16))
    sizes = [0.1, 0.1, 1e6, 0.2, 0.002, 0.3]
    options = {"loss": CROSS_ENTROPY, "steps": 60, "optimiser": optimiser}
    options |= {
        "record": {**RECORD, "loss": Every(10, mean_loss)},
        "stop": Stop(loss_below=0.3, every=2),
    }
    subsets = [torch.arange(20)[member : member + 15] for member in range(6)] if own else None
    together = train_fleet(networks, x, y, step_size=sizes, subsets=subsets, **options)
    of_width_16 = {together[member].steps for member in (0, 2, 4, 5)}
    assert len(of_width_16) == 4  # one after another leaves the others
    assert {history.ending for history in together} == {"loss", "budget", "diverged"}
    for member in (0, 1, 3, 4, 5):
        rows = subsets[member] if own else slice(None)
        alone = train(networks[member], x[rows], y[rows], step_size=sizes[member], **options)
        assert_same(together[member], alone, rtol=1e-7)


def test_zero_error_ends_a_member():
    x, y = data(count=20)
    networks = fleet_of(draw_zou, (64, 4))
    stop = Stop(zero_error=True, every=5)
    for network, found in zip(
        networks,
        train_fleet(networks, x, y, loss=CROSS_ENTROPY, step_size=0.05, steps=60, stop=stop),
        strict=True,
    ):
        assert_same(
            found, train(network, x, y, loss=CROSS_ENTROPY, step_size=0.05, steps=60, stop=stop)
        )
        if found.ending == "zero-error":
            assert bool((found.network.predict(x) * y > 0).all())


def test_the_span_keeps_inner_products_and_the_rest_does_not_move():
    x, y = data(count=5, dimension=12)
    basis, inside = span(x)
    torch.testing.assert_close(inside, x @ basis)
    torch.testing.assert_close(inside @ inside.T, x @ x.T)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5).double())
    twice = torch.cat([x[:3], x[:2]])  # a rank below n
    wide, coordinates = span(twice)
    torch.testing.assert_close(coordinates @ wide.T, twice)
    networks = fleet_of(draw_zou, dimension=12)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.3, "steps": 5}
    rotated = train_fleet(networks, x, y, **options)
    plain = train_fleet(networks, x, y, **options, rotate=False)
    off_span = torch.eye(12).double() - basis @ basis.T
    for a, b, start in zip(rotated, plain, networks, strict=True):
        assert_same(a, b)
        torch.testing.assert_close(
            a.network.weights[0] @ off_span, start.weights[0] @ off_span, rtol=0, atol=1e-14
        )


@pytest.mark.parametrize("road", ["torch", "onednn"])
def test_float32_members_agree_to_its_precision(road):
    x, y = data(count=300, dimension=40, dtype=torch.float32)
    networks = fleet_of(draw_chen, (24,) * 8, dimension=40, dtype=torch.float32)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.05, "steps": 5, "record": {"loss": mean_loss}}
    with using(road):
        together = train_fleet(networks, x, y, **options)
        for network, found in zip(networks, together, strict=True):
            assert_same(found, train(network, x, y, **options), rtol=2e-5)


@EVERY
def test_fleet_memory_is_about_what_is_allocated(draw):
    x, y = data(count=1000, dimension=30, dtype=torch.float32)
    networks = fleet_of(draw, (16,) * 10, dimension=30, dtype=torch.float32)
    told = fleet_memory(networks, 1000, 30)
    with PeakMemory() as memory:
        train_fleet(networks, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3)
    assert 0.6 * told <= memory.peak <= 1.1 * told


def test_any_iterable_is_a_fleet_and_any_numbers_are_step_sizes():
    x, y = data()
    networks = fleet_of(draw_zou)
    options = {"loss": CROSS_ENTROPY, "steps": 3, "record": {"loss": mean_loss}}
    known = train_fleet(networks, x, y, step_size=[0.125, 0.25, 0.125, 0.5], **options)
    for sizes in (np.array([0.125, 0.25, 0.125, 0.5]), torch.tensor([0.125, 0.25, 0.125, 0.5])):
        found = train_fleet((net for net in networks), x, y, step_size=sizes, **options)
        for a, b in zip(found, known, strict=True):
            assert np.array_equal(a["loss"], b["loss"])


@pytest.mark.parametrize("dimension", [4, 30])
def test_a_fleet_that_is_stopped_hands_its_histories_along(dimension):
    x, y = data(dimension=dimension)
    networks = fleet_of(draw_zou, dimension=dimension)
    last = networks[2].widths

    def failing(moment):
        if moment.step == 5 and moment.network.widths == last:
            raise RuntimeError("a slip")
        return mean_loss(moment)

    options = {"loss": CROSS_ENTROPY, "step_size": [0.1, 1e12, 0.1, 0.1]}
    with pytest.raises(RuntimeError, match="a slip") as stopped:
        train_fleet(networks, x, y, **options, steps=9, record={"loss": failing})
    known = train_fleet(networks, x, y, **options, steps=4, record={"loss": mean_loss})
    found = stopped.value.history
    endings = ["budget", "diverged", "interrupted", "budget"]
    assert [history.ending for history in found] == endings
    for a, b in zip(found, known, strict=True):
        assert a.network.weights[0].shape == b.network.weights[0].shape
        np.testing.assert_allclose(a["loss"][:5], b["loss"])


@pytest.mark.parametrize(
    ("networks", "changes", "told"),
    [
        ([], {}, "the fleet is empty"),
        (fleet_of(draw_zou)[0], {}, "networks is a companion.networks.network.ReLUNetwork; give"),
        ([torch.nn.Linear(4, 1)], {}, r"network is a torch\.nn.*Linear; give a ReLUNetwork"),
        (fleet_of(draw_zou), {"step_size": "0.1"}, "step_size is '0.1'; it must be a number"),
        (fleet_of(draw_zou), {"step_size": [0.1]}, "1 step sizes were given for 4 networks"),
        (fleet_of(draw_zou), {"step_size": [0.1, 0.1, 0.0, 0.1]}, "step_size is 0"),
        (fleet_of(draw_zou), {"batches": [Batches(2)]}, "1 batches were given for 4 networks"),
        (fleet_of(draw_zou), {"subsets": [[0]] * 3}, "3 subsets were given for 4 networks"),
        (fleet_of(draw_zou), {"subsets": [torch.tensor([9])] * 4}, "an index outside 0 to 8"),
        (fleet_of(draw_zou), {"subsets": [torch.tensor([-1])] * 4}, "an index outside 0 to 8"),
        (fleet_of(draw_zou), {"subsets": [torch.ones(3)] * 4}, "a subset is torch.float32"),
        (fleet_of(draw_zou), {"subsets": [torch.ones(9) > 0] * 4}, "a subset is torch.bool"),
        (fleet_of(draw_zou), {"subsets": [torch.arange(0)] * 4}, r"of shape \(0,\); the indices"),
        (fleet_of(draw_zou), {"subsets": [torch.eye(2).long()] * 4}, r"of shape \(2, 2\); the ind"),
        (
            fleet_of(draw_zou),
            {"subsets": [torch.arange(9)] * 3 + [torch.arange(3)], "batches": Batches(4)},
            "batch size is 4; it must lie in 1 to 3",
        ),
        (fleet_of(draw_zou), {"memory_budget": 1e3}, r"one network of widths \(6, 6, 6\) on 9 in"),
        (fleet_of(draw_zou) + fleet_of(draw_zou, dimension=5), {}, r"takes \(n, 5\)"),
        (fleet_of(draw_zou, dtype=torch.float32), {}, "convert one to the other"),
    ],
)
def test_bad_input_is_refused(networks, changes, told):
    x, y = data()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3}
    with pytest.raises(InputError, match=told):
        train_fleet(networks, x, y, **{**options, **changes})
