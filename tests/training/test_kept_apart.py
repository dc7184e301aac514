"""What monitors keep is their own, diverging runs end, and Ctrl-C loses nothing."""

import math
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from companion.draws import Batches
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, QUADRATIC
from companion.monitors import (
    Distances,
    Every,
    PatternDifference,
    certified_lambda_min,
    frobenius_distances,
    gradient_norms,
    gram_lambda_min,
    largest_loss,
    largest_slope,
    layer_gram_drifts,
    layer_lambda_mins,
    mean_loss,
    misfit,
    separations,
    training_error,
    unit_distances,
)
from companion.networks import draw_chen, draw_du
from companion.training import Adam, Checkpoint, Stop, train
from companion.training.run import Course
from tests.oracles import NETWORKS
from tests.training.cases import case

MONITORS = {
    "distances": Distances(),
    "pattern": PatternDifference(),
    "flips": PatternDifference("last"),
    **{
        monitor.__name__: monitor
        for monitor in (
            mean_loss, largest_loss, largest_slope, training_error, gradient_norms,
            frobenius_distances, misfit, unit_distances, separations, gram_lambda_min,
            layer_lambda_mins, layer_gram_drifts, certified_lambda_min,
        )
    },
}  # fmt: skip


def both(network, x, y, **options):
    """The same run alone and as the only member of a fleet."""
    return [train(network, x, y, **options), *train_fleet([network], x, y, **options)]


def test_two_monitors_of_one_kind_measure_as_each_would_alone():
    network, x, y = case(count=12)
    kinds = {
        "a": PatternDifference(),
        "b": Every(5, PatternDifference()),
        "c": PatternDifference("last"),
        "d": Every(3, PatternDifference("last")),
        "e": Distances(),
        "f": Every(2, Distances()),
        "g": Distances(directions=2),
    }
    options = {"loss": CROSS_ENTROPY, "step_size": 0.3, "steps": 12}
    for together, alone in zip(
        both(network, x, y, record=kinds, **options),
        zip(
            *(both(network, x, y, record={k: m}, **options) for k, m in kinds.items()), strict=True
        ),
        strict=True,
    ):
        for name, single in zip(kinds, alone, strict=True):
            assert np.array_equal(together.at[name], single.at[name])
            np.testing.assert_allclose(together[name], single[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dimension", [4, 30])
@pytest.mark.parametrize("name", MONITORS)
@pytest.mark.parametrize("draw", [draw for draw, _ in NETWORKS.values()], ids=NETWORKS)
def test_a_monitor_sees_the_same_network_in_a_fleet(draw, name, dimension):
    """With d = 30 > n the fleet trains in other coordinates."""
    networks = [draw(width, dimension, seed, depth=3, dtype=torch.float64)
                for seed, width in enumerate([6, 4, 6])]  # fmt: skip
    x = torch.nn.functional.normalize(torch.eye(9, dimension) + 0.2, dim=1).double()
    x, y = x.flip(0) + 0.01 * torch.arange(9)[:, None], torch.tensor([1.0, -1, 1] * 3).double()
    options = {"loss": CROSS_ENTROPY, "steps": 6, "record": {name: Every(2, MONITORS[name])}}
    sizes = [0.1, 0.05, 0.2]
    fleet = train_fleet(networks, x, y, step_size=sizes, **options)
    for network, size, found in zip(networks, sizes, fleet, strict=True):
        alone = train(network, x, y, step_size=size, **options)
        assert np.array_equal(found.at[name], alone.at[name])
        columns = slice(0, 1) if name == "distances" else slice(None)  # its bounds may differ
        np.testing.assert_allclose(
            found[name][..., columns], alone[name][..., columns], rtol=1e-7, atol=1e-10
        )


@dataclass(frozen=True)
class Watched:
    """A monitor of one's own that looks at every layer during the pass."""

    together: bool = False

    def watch(self, moment, gate):
        moment.noted(self).append(gate.sum(dim=(-2, -1)))

    def __call__(self, moment):
        assert len(moment.forward.gates) == len(moment.noted(self))
        return torch.stack(moment.noted(self), dim=-1)


def test_a_monitor_of_ones_own_sees_inputs_weights_and_passes_as_they_are():
    """Of a fleet that trains in coordinates of the inputs' span, too."""
    networks = [draw_chen(6, 30, seed, depth=2, dtype=torch.float64) for seed in range(3)]
    x = torch.nn.functional.normalize(
        torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    )
    x, y = x.double(), torch.tensor([1.0, -1.0] * 4).double()
    test = torch.eye(30).double()[:5]
    record = {
        "norm": lambda m: m.network.weights[0].norm(),
        "entries": lambda m: m.network.weights[0][:2, :3],
        "start": lambda m: m.initial.weights[0][0],
        "inputs": lambda m: m.x[:2],
        "below": lambda m: m.forward.hidden[0][1],
        "hidden": lambda m: m.forward.hidden[1],
        "elsewhere": lambda m: m.network.predict(test),
        "gradient": lambda m: m.gradients[0][1],
        "watched": Every(3, Watched()),
        "watched together": Every(3, Watched(together=True)),
    }
    options = {"loss": CROSS_ENTROPY, "step_size": 0.2, "steps": 4, "record": record}
    for member, found in zip(networks, train_fleet(networks, x, y, **options), strict=True):
        alone = train(member, x, y, **options)
        for name in record:
            np.testing.assert_allclose(found[name], alone[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e200])
@pytest.mark.parametrize("name", MONITORS)
def test_no_monitor_keeps_a_diverging_run_from_ending_so(name, number):
    network, x, y = case(draw_chen)
    options = {"loss": QUADRATIC, "step_size": 1e40, "steps": 40, "record": {name: MONITORS[name]}}
    for history in both(network, x, y, **options):
        assert history.ending == "diverged"
        assert len(history[name]) == history.steps + 1

    def spoil(moment):
        if moment.step == 2:
            for weight in moment.network.weights:
                weight.fill_(number)
        return 0.0

    record = {"spoil": spoil, name: MONITORS[name]}
    history = train(network, x, y, **{**options, "step_size": 1e-3, "record": record})
    assert history.ending == "diverged"


class Pressable(Adam):
    """Ctrl-C after every change of the step that the environment names."""

    def step(self, parameter, gradient, kept, size, number):
        super().step(parameter, gradient, kept, size, number)
        if number == int(os.environ.get("PRESSED_AT", -1)):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("batches", [None, Batches(4, "subsets")])
@pytest.mark.parametrize("fleet", [False, True])
def test_ctrl_c_between_two_writes_loses_nothing(monkeypatch, tmp_path, fleet, batches):
    network, x, y = case(draw_chen)
    networks = [draw_chen(width, 4, width, depth=3, dtype=torch.float64) for width in (6, 8, 6)]

    def run(**options):
        if fleet:
            return train_fleet(networks, x, y, **options)
        return [train(network, x, y, **options)]

    options = {"loss": CROSS_ENTROPY, "step_size": 0.05, "steps": 9, "optimiser": Pressable()}
    options |= {
        "batches": batches,
        "record": {"loss": mean_loss, "flips": PatternDifference("last")},
    }
    whole = run(**options)
    kept = Checkpoint(tmp_path / "run.npz", seconds=1e9)
    monkeypatch.setenv("PRESSED_AT", "5")
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(checkpoint=kept, **options)
    monkeypatch.delenv("PRESSED_AT")
    assert (tmp_path / "run.npz").is_file()
    so_far = stopped.value.history if fleet else [stopped.value.history]
    assert so_far[0].steps == 6
    assert len(so_far[0]["loss"]) == 6
    for found, known in zip(run(checkpoint=kept, **options), whole, strict=True):
        for a, b in zip(found.network.parameters, known.network.parameters, strict=True):
            assert torch.equal(a, b)
        for name in options["record"]:
            assert np.array_equal(found[name], known[name])


def test_a_plateau_ends_a_run_where_the_loss_no_longer_falls():
    network, x, y = case(draw_du)
    record = {"loss": mean_loss}
    options = {"loss": CROSS_ENTROPY, "step_size": 1e-3, "steps": 60, "record": record}
    for rule, ending, steps in [
        ({"plateau": 10, "fall": 0.5}, "plateau", 10),
        ({"plateau": 70}, "budget", 60),
        ({"plateau": 1, "fall": 0}, "budget", 60),
        ({"plateau": 10, "fall": 0.5, "every": 7}, "plateau", 14),
    ]:
        for history in both(network, x, y, stop=Stop(**rule), **options):
            assert (history.ending, history.steps) == (ending, steps), rule
    # A fall of more than one part in a hundred of the least loss so far, in so many steps.
    for history in both(network, x, y, stop=Stop(plateau=20, fall=0.01), **options):
        least, lowered = math.inf, 0
        for step, loss in enumerate(history["loss"]):
            if loss < least * 0.99:
                least, lowered = loss, step
        assert history.steps == min(60, lowered + 20)


@pytest.mark.parametrize(
    ("rule", "seen", "ending"),
    [
        ({}, [(0.5, 1), (4.9e5, 1)], None),
        ({}, [(0.5, 1), (5.1e5, 1)], "diverged"),
        ({}, [(0.5, 1), (math.nan, 1)], "diverged"),
        ({}, [(0.0, 0), (9e-7, 0)], None),  # rounding, after a start without loss
        ({}, [(0.0, 0), (2e-6, 0)], "diverged"),
        ({"loss_below": 0.5}, [(0.5, 0)], None),
        ({"loss_below": 0.5}, [(0.49, 1)], "loss"),
        ({"zero_error": True}, [(0.1, 0.01)], None),
        ({"zero_error": True}, [(0.1, 0)], "zero-error"),
        ({"plateau": 1, "fall": 0}, [(0.5, 1), (0.5, 1)], "plateau"),
        ({"plateau": 1, "fall": 0}, [(0.5, 1), (0.499, 1)], None),
        ({"plateau": 1}, [(0.5, 1), (0.4996, 1)], "plateau"),
        ({"plateau": 1}, [(0.5, 1), (0.4994, 1)], None),
        ({"plateau": 2}, [(0.5, 1), (0.4996, 1), (0.4994, 1)], None),  # small falls add up
    ],
)
def test_the_rules_by_which_a_run_ends(rule, seen, ending):
    """At mean losses and training errors of one's own; only the last look ends it."""
    course = Course()
    *before, last = [
        Stop(**rule).ending(course, step, loss, error) for step, (loss, error) in enumerate(seen)
    ]
    assert (set(before), last) == ({None} if before else set(), ending)


def test_looks_are_once_an_epoch_and_the_last_batch_may_be_smaller():
    assert [s for s in range(8) if Stop().looks(s, 10, Batches(4))] == [0, 3, 6]
    assert [s for s in range(8) if Stop(every=5).looks(s, 10, Batches(4))] == [0, 5]
    assert all(Stop().looks(s, 10, None) for s in range(8))


def test_a_rule_that_is_met_at_the_budget_names_the_ending():
    network, x, y = case(draw_du)
    stop = Stop(plateau=10, fall=0.5)
    for history in both(network, x, y, loss=CROSS_ENTROPY, step_size=1e-3, steps=10, stop=stop):
        assert history.ending == "plateau"


def test_a_plateau_is_counted_on_where_a_run_was_cut_off(tmp_path):
    network, x, y = case(draw_du)
    options = {"loss": CROSS_ENTROPY, "step_size": 1e-3, "stop": Stop(plateau=10, fall=0.5)}
    for run in (train, lambda network, *data, **more: train_fleet([network], *data, **more)[0]):
        kept = Checkpoint(tmp_path / f"{run.__name__}.npz")
        assert run(network, x, y, steps=6, checkpoint=kept, **options).ending == "budget"
        resumed = run(network, x, y, steps=60, checkpoint=kept, **options)
        assert (resumed.ending, resumed.steps) == ("plateau", 10)


def test_a_members_plateau_is_its_own_when_another_has_left():
    """The first learns for some steps and leaves; the loss of the second has not fallen since 0."""
    network, x, y = case(width=64)
    options = {"loss": CROSS_ENTROPY, "steps": 60}
    stop = Stop(plateau=12, fall=0.02, loss_below=0.2)
    first, second = train_fleet(
        [network, network], x, y, step_size=[0.1, 1e-9], stop=stop, **options
    )
    assert first.ending == "loss"
    assert 2 < first.steps < 12
    assert (second.ending, second.steps) == ("plateau", 12)
