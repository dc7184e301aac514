"""The experiment chen2021/initialization by loops and autograd, and its own failure."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import independent_seed
from companion.experiments.chen2021 import _linearity, initialization
from companion.experiments.chen2021._problem import draw
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

TINY = initialization.QUICK.override(
    {"count": 6, "widths": [32, 64, 128], "counts": [4, 8, 16], "count_width": 64, "seeds": 3,
     "draws": 20, "ball_widths": [16, 32, 64], "steps": 4, "every": 2}
)  # fmt: skip
A1, B1 = "chen2021-lemA.1", "chen2021-lemB.1"
judged = partial(outcomes, initialization, TINY)


@pytest.fixture(scope="module")
def found():
    return initialization.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run is noisy: here outputs have their order, and norms are level, with scatter."""
    seeds, draws = np.array([0.98, 1.0, 1.02]), np.linspace(0.5, 1.5, 20)
    scale = (found.width ** (found.alpha - 0.5)).transpose("alpha", "width").values
    root = np.log(found["count"].values / TINY.delta) ** 0.5
    one = seeds[:, None, None, None, None] * draws[:, None]
    return doctored(
        found,
        output=one * scale[None, :, :, None, None],
        largest=0.9 * seeds[:, None, None] * root[:, None] * draws,
        ball=1.2 * seeds[:, None, None, None],
    )


def test_a_settled_run_has_the_expected_outcomes(settled):
    assert judged(settled) == initialization.EXPECTED


def test_recorded_outputs_are_those_of_the_formula(found):
    own = independent_seed(2, 3, 250)
    known = draw(TINY, "cpu", seed=own, width=64, layers=3, alpha=0.25)
    right = chen_predictions(known.network.weights, known.network.outputs, known.x, alpha=0.25)
    one = found.output.sel(seed=2, alpha=0.25, width=64).isel(draw=3)
    np.testing.assert_allclose(one, right)
    other = TINY.override({"count": 8})
    known = draw(other, "cpu", seed=independent_seed(1, 4), width=64, layers=3)
    right = chen_predictions(known.network.weights, known.network.outputs, known.x).abs().max()
    assert float(found.largest.sel(seed=1, count=8).isel(draw=4)) == pytest.approx(float(right))


def norms_by_autograd(network, x, alpha):
    rows = deep_jacobians(network, x, partial(chen_predictions, alpha=alpha))
    return max(float(each.norm(dim=1).max()) for each in rows)


def test_recorded_norms_are_those_of_autograd(found):
    known = draw(TINY, "cpu", seed=1, width=32, layers=3, alpha=0.25)
    network, x, scale = known.network, known.x, 32**0.25
    norms = partial(norms_by_autograd, alpha=0.25)
    radius = TINY.reach / scale
    there = _linearity.moved(network, _linearity.random_direction(network, 1), radius)
    turned = [norms(_linearity.turned_on(network, row, radius), row) for row in x[:, None]]
    eta = TINY.step_size / (3 * scale**2)
    path = [known.train(eta, step).network for step in (0, 2, 4)]
    along = [norms(each, x) for each in path]
    one = found.sel(seed=1, alpha=0.25, wide=32)
    right = [norms(network, x), norms(there, x), max(turned), max(along)]
    np.testing.assert_allclose(one.ball * scale, right)
    np.testing.assert_allclose(one.along * scale, along)
    pairs = [zip(each.parameters, network.parameters, strict=True) for each in path]
    reached = [max(float((a - b).norm()) for a, b in pair) for pair in pairs]
    np.testing.assert_allclose(one.reached, np.array(reached) * scale)


def test_units_are_turned_on_within_the_ball():
    known = draw(TINY, "cpu", seed=1, width=128, layers=4)
    network, x = known.network, known.x[:1]
    there = _linearity.turned_on(network, x, 0.3)
    for a, b in zip(network.parameters, there.parameters, strict=True):
        assert 0.2 < float((a - b).norm()) <= 0.3 * (1 + 1e-9)
    before, after = (
        [network.pattern(gate)[0] for gate in each.run(x).gates] for each in (network, there)
    )
    assert (after[0] | ~before[0]).all()
    for one, other in zip(before, after, strict=True):
        assert other.sum() > 1.2 * one.sum()
    first = initialization.gradient_norms(network, x)
    assert (initialization.gradient_norms(there, x) > first).all()
    # Unit by unit: the next cheapest of the first layer would not be paid for.
    z = (x @ network.weights[0].T)[0]
    prices = torch.sort(z[z <= 0].abs()).values
    bought = int((after[0] & ~before[0]).sum())
    assert float(prices[:bought].norm()) <= 0.3 < float(prices[: bought + 1].norm()) * (1 + 1e-5)


@pytest.mark.parametrize(
    "lie",
    [
        {"output": lambda output: output * np.array([1.0, 1.3, 1.7])[:, None, None]},
        {"output": lambda output: 5 * output},
        {"largest": lambda largest: largest * np.array([1.0, 1.4, 1.9])[:, None]},
        {"largest": lambda largest: 3 * largest},
    ],
)
def test_larger_outputs_fail(settled, lie):
    assert judged(settled, **lie)[A1] == "fails"


@pytest.mark.parametrize("place", range(4))
def test_gradients_that_outgrow_the_scale_are_noticed_at_every_place(settled, place):
    def lie(ball):
        ball[..., place] *= np.array([1.0, 1.2, 1.4])[:, None][:, 0]
        return ball

    assert judged(settled, ball=lie)[B1] == "inconclusive"
    near = TINY.override({"reach": 1e-6})
    assert outcomes(initialization, near, settled, ball=lie)[B1] == "fails"


def test_noise_decides_nothing(settled):
    wild = np.random.default_rng(0)
    told = judged(
        settled,
        output=lambda output: output * np.exp(wild.normal(size=(3, 1, 3, 1, 1))),
        ball=lambda ball: ball * np.exp(wild.normal(size=ball.shape)),
    )
    assert set(told.values()) == {"inconclusive"}


@pytest.mark.parametrize("claim", initialization.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(settled, claim):
    verdicts = initialization.judge(TINY, settled)
    told = with_controls(verdicts, initialization.CONTROLS, TINY, settled, initialization.judge)
    known = {v.claim: v.control.outcome for v in told}
    assert known[claim] == ("fails" if claim == A1 else "inconclusive")
