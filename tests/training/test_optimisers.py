"""Optimisers and schedules against torch.optim, step by step, alone and in fleets."""

import math

import numpy as np
import pytest
import torch

from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY
from companion.matmul import chosen_product
from companion.monitors import mean_loss
from companion.networks import draw_chen
from companion.training import (
    GRADIENT_DESCENT,
    Adam,
    Checkpoint,
    Cosine,
    Momentum,
    StepDecay,
    Warmup,
    train,
    training_memory,
)
from tests.modes import PeakMemory
from tests.oracles import NETWORKS
from tests.training.cases import case

# Ours, and torch's of the same name.
OPTIMISERS = {
    "descent": (GRADIENT_DESCENT, lambda p, lr: torch.optim.SGD(p, lr=lr)),
    "momentum": (Momentum(0.8), lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.8)),
    "nesterov": (
        Momentum(0.9, nesterov=True),
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    ),
    "adam": (Adam(), lambda p, lr: torch.optim.Adam(p, lr=lr)),
    "adam, other settings": (
        Adam(0.7, 0.95, 1e-3),
        lambda p, lr: torch.optim.Adam(p, lr=lr, betas=(0.7, 0.95), eps=1e-3),
    ),
}


def falling(step):
    return 1 / (1 + step)


SCHEDULES = {
    "none": (None, lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
    "steps": (StepDecay(3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "cosine": (Cosine(6), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6)),
    "own": (falling, lambda o: torch.optim.lr_scheduler.LambdaLR(o, falling)),
}
SGD = Batches(3, "subsets", seed=2)


def by_torch(network, formula, x, y, optimiser, schedule, steps, batches=None, step_size=0.05):
    """Parameters after every step of torch's optimiser on the autograd loss."""
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    outputs = network.outputs.clone().requires_grad_()
    trained = {"hidden": weights, "output": [outputs], "all": [*weights, outputs]}[network.trained]
    optimiser = optimiser(trained, step_size)
    scheduler = schedule(optimiser)
    path = []
    for step in range(steps):
        rows = slice(None) if batches is None else batches.rows(step, len(x))
        optimiser.zero_grad()
        CROSS_ENTROPY.values(formula(weights, outputs, x[rows]), y[rows]).mean().backward()
        optimiser.step()
        scheduler.step()
        path.append([parameter.detach().clone() for parameter in trained])
    return path


@pytest.mark.parametrize("batches", [None, SGD])
@pytest.mark.parametrize(("schedule", "torchs"), SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("optimiser", "known"), OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("network", ["zou", "chen", "du, all trained"])
def test_every_step_is_that_of_torch(network, optimiser, known, schedule, torchs, batches):
    draw, formula = NETWORKS[network]
    net, x, y = case(draw)
    path = by_torch(net, formula, x, y, known, torchs, 6, batches)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.05, "batches": batches}
    for steps in (1, 2, 6):
        ended = train(
            net, x, y, steps=steps, optimiser=optimiser, schedule=schedule, **options
        ).network
        for found, expected in zip(ended.parameters, path[steps - 1], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dimension", [4, 30])
@pytest.mark.parametrize("batches", [None, SGD])
@pytest.mark.parametrize("optimiser", [ours for ours, _ in OPTIMISERS.values()], ids=OPTIMISERS)
def test_a_member_moves_as_it_would_alone(optimiser, batches, dimension):
    """With d = 30 > n the steps of Adam, which depend on the coordinates, are made in all d."""
    x = torch.nn.functional.normalize(torch.eye(10, dimension) + 0.3, dim=1).double()
    y = torch.tensor([1.0, -1.0] * 5).double()
    networks = [
        draw_chen(width, dimension, seed, depth=2, dtype=torch.float64)
        for seed, width in enumerate([6, 4, 6])
    ]
    options = {
        "loss": CROSS_ENTROPY, "steps": 9, "batches": batches, "optimiser": optimiser,
        "schedule": Cosine(12, 0.1), "record": {"loss": mean_loss},
    }  # fmt: skip
    sizes = [0.05, 0.02, 0.1]
    fleet = train_fleet(networks, x, y, step_size=sizes, **options)
    for network, size, found in zip(networks, sizes, fleet, strict=True):
        alone = train(network, x, y, step_size=size, **options)
        np.testing.assert_allclose(found["loss"], alone["loss"], rtol=1e-8)
        for a, b in zip(found.network.parameters, alone.network.parameters, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("optimiser", [ours for ours, _ in OPTIMISERS.values()], ids=OPTIMISERS)
def test_a_run_goes_on_with_what_its_optimiser_kept(tmp_path, optimiser):
    network, x, y = case(draw_chen)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.05, "optimiser": optimiser, "batches": SGD}
    whole = train(network, x, y, steps=9, **options)
    kept = Checkpoint(tmp_path / "run.npz")
    train(network, x, y, steps=4, checkpoint=kept, **options)
    resumed = train(network, x, y, steps=9, checkpoint=kept, **options)
    for a, b in zip(resumed.network.parameters, whole.network.parameters, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimiser": Adam(0.8)}, "its optimiser"),
        ({"optimiser": Momentum()}, "its optimiser"),
        ({"schedule": Cosine(7)}, "its schedule"),
        ({"schedule": None}, "its schedule"),
        ({"schedule": lambda step: 1.0}, "its schedule"),
    ],
)
def test_another_optimiser_or_schedule_is_another_run(tmp_path, changes, told):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.05, "steps": 3, "optimiser": Adam()}
    options |= {"schedule": Cosine(8), "checkpoint": Checkpoint(tmp_path / "run.npz")}
    train(network, x, y, **options)
    with pytest.raises(InputError, match=f"it differs in {told};"):
        train(network, x, y, **{**options, **changes})


def test_warmup_rises_and_hands_over():
    warm = Warmup(4, Cosine(4))
    expected = [0.25, 0.5, 0.75, 1, *(0.5 + 0.5 * math.cos(math.pi * k / 4) for k in range(4)), 0]
    assert [warm(step) for step in range(9)] == pytest.approx(expected)
    assert [Warmup(2)(step) for step in range(4)] == [0.5, 1, 1, 1]
    assert Cosine(3, 0.2)(50) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Momentum(1.0), r"beta is 1.0; it must lie in \[0, 1\)"),
        (lambda: Momentum("0.9"), "beta is '0.9'; it must be a number"),
        (lambda: Adam(beta_2=-0.1), r"beta_2 is -0.1; it must lie in"),
        (lambda: Adam(epsilon=0), "epsilon is 0.0; it must be a positive number"),
        (lambda: StepDecay(0), "every is 0; it must be at least 1"),
        (lambda: StepDecay(3, -1), "factor is -1.0; it must be a positive"),
        (lambda: Cosine(2.5), "steps is 2.5; it must be a whole number"),
        (lambda: Cosine(3, 1), r"least is 1.0; it must lie in"),
        (lambda: Warmup(0), "steps is 0; it must be at least 1"),
    ],
)
def test_settings_that_are_none_are_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()


@pytest.mark.parametrize(("optimiser", "copies"), [(Momentum(), 1), (Adam(), 2)])
def test_what_an_optimiser_keeps_is_told(optimiser, copies):
    network = draw_chen(300, 200, 0, depth=3)
    x, y = torch.eye(200)[:20], torch.ones(20)
    told = training_memory(network, 20, optimiser)
    parameters = sum(4 * parameter.numel() for parameter in network.parameters)
    passing = 4 * 300 * 300  # the largest parameter, once
    assert told - training_memory(network, 20) == copies * parameters + passing
    chosen_product()  # is measured once for a machine, which takes memory of its own
    with PeakMemory() as memory:
        train(network, x, y, loss=CROSS_ENTROPY, step_size=1e-3, steps=3, optimiser=optimiser)
    assert 0.6 * told <= memory.peak <= 1.1 * told
