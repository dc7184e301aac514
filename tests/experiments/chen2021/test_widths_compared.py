"""Points of the grids in logarithms, a run by autograd, and judges that see what they should."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.experiments.chen2021 import widths_compared as experiment
from companion.experiments.chen2021._problem import draw
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions

WIDTH, REMARK = "chen2021-thm3.3-width", "chen2021-rem4.11"
TINY = experiment.QUICK.override(
    {"seeds": 2, "counts": [4, 6, 8], "widths": [4, 8, 16], "reference": 32, "dimension": 4}
)
judged = partial(outcomes, experiment, TINY)


@pytest.fixture(scope="module")
def found():
    return experiment.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    return doctored(found, sufficient=4.0, asked=1e15)


def test_points_of_both_grids_in_logarithms(found):
    """The last of each: R = 100, L = 20, alpha = 1/2; and n = 100,000, eps = 1e-10."""
    expected = 8 * math.log(100) + 22 * math.log(20)
    assert math.log(float(found.printed[-1])) == pytest.approx(expected)
    assert math.log(float(found.closed[-1])) == pytest.approx(expected)
    one = found.isel(depth=-1)
    edge = 100_000 ** (1 / 3)
    layers = math.ceil(4 * 2 ** (1 / 6) * edge)
    assert int(one.grid_layers) == layers
    assert not bool(one.below)
    quotient = 6 * math.log(layers) - math.log(2e10)
    assert math.log(float(one.quotient)) == pytest.approx(quotient)
    own = 22 * math.log(layers) + 12 * math.log(1e5) + 4 * math.log(2)
    assert math.log(float(one.own)) == pytest.approx(own)
    other = 18 * math.log(layers) + 3 * math.log(1e5)
    assert math.log(float(one.other_condition)) == pytest.approx(other)
    assert int(found.below.sum()) == len(experiment.BELOW) * 9


def test_the_depths_on_both_sides_are_close_to_the_crossing(found):
    """Where both terms are equal the crossing is 2^(1/6) times the remark's depth."""
    equal = found.isel(depth=found.grid_n == 1000)
    near = np.abs(np.log(equal.quotient)).min()
    assert float(near) < 1


def test_steps_by_autograd(found):
    s, seed = TINY.override({"count": 6}), 1
    problem = draw(s, "cpu", seed=seed, width=8, layers=3)
    leaves = [
        each.clone().requires_grad_()
        for each in (*problem.network.weights, problem.network.outputs)
    ]
    steps = 0
    while True:
        f = chen_predictions(leaves[:2], leaves[2], problem.x)
        loss = torch.nn.functional.softplus(-problem.y * f).mean()
        if loss.item() < 0.3:
            break
        gradients = torch.autograd.grad(loss, leaves)
        leaves = [
            (leaf - grad / 24).detach().requires_grad_()
            for leaf, grad in zip(leaves, gradients, strict=True)
        ]
        steps += 1
    one = found.sel(seed=seed, count=6)
    assert int(one.steps.sel(m=8)) == steps
    assert int(one.budget) == math.floor(9 * float(one.radius) ** 2 / 0.1)
    log = math.log(60) ** (4 / 3)
    assert float(one.asked) == pytest.approx(float(one.radius) ** 8 * 3**22 * log)


def test_a_width_is_enough_if_no_wider_one_fails(found, monkeypatch):
    reached = {(4, 0): [1, 0, 1], (4, 1): [1, 1, 1], (6, 0): [1, 1, 1], (6, 1): [0, 1, 1]}

    def told(settings, device, *, seed, count):
        known = found.sel(seed=seed, count=count)
        flags = reached.get((count, seed), [1, 1, 0])
        return {
            "radius": float(known.radius), "budget": 9, "asked": 1.0,
            "steps": ("m", [1, 1, 1]), "reached": ("m", np.array(flags, dtype=bool)),
        }  # fmt: skip

    monkeypatch.setattr(experiment, "_train", told)
    again = experiment.run(TINY, "cpu")
    np.testing.assert_array_equal(again.sufficient, [16, 8, np.nan])
    assert judged(again)[WIDTH] == "inconclusive"


@pytest.mark.parametrize(("hidden", "start"), [(1, 2048), (4, 745)])
def test_one_network_has_one_more_layer_in_the_remark(hidden, start):
    """(H + 1)^22 <= H^16 (n^2 + n / log 2), solved by hand."""
    needed = (hidden + 1) ** 22 / hidden**16
    root = (-1 / math.log(2) + math.sqrt(1 / math.log(2) ** 2 + 4 * needed)) / 2
    assert experiment._even(hidden) == math.ceil(root)
    assert abs(math.ceil(root) - start) <= 1


def test_the_judges_can_say_yes(settled):
    assert judged(settled) == experiment.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        (WIDTH, {"printed": lambda a: a * (1 + 1e-9)}),
        (WIDTH, {"sufficient": 1e16}),
        (REMARK, {"own": lambda a: a * (1 + 1e-9)}),
        (REMARK, {"quotient": lambda a: a * (1 + 1e-9)}),
        (REMARK, {"quotient": lambda a: 3 * a, "expected": lambda a: 3 * a}),
        (REMARK, {"quotient": lambda a: a / 30, "expected": lambda a: a / 30}),
        (REMARK, {"other_condition": 0.9}),
    ],
)
def test_each_check_can_refute(settled, claim, lie):
    lied = judged(settled, **lie)
    other = {WIDTH: REMARK, REMARK: WIDTH}[claim]
    assert (lied[claim], lied[other]) == ("fails", "holds")


@pytest.mark.parametrize("claim", experiment.EXPECTED)
def test_every_control_is_seen(settled, claim):
    lied = experiment.judge(TINY, experiment.CONTROLS[claim].told(TINY, settled))
    assert {v.claim: v.outcome for v in lied}[claim] == "fails"
