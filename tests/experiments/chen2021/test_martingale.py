"""Lemmas 6.5 and 6.6: both sides by plain loops, constants by other means, verdicts."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import independent_seed
from companion.experiments.chen2021 import martingale
from companion.experiments.chen2021._comparators import linearised_fit
from companion.experiments.chen2021._error_bounds import lemma_6_6
from companion.experiments.chen2021._problem import draw, halves
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions

TINY = martingale.Settings(
    count=6, dimension=3, seeds=2, widths=(8, 12, 16), runs=5, width=6, each=4, tests=8
)
judged = partial(outcomes, martingale, TINY)


@pytest.fixture(scope="module")
def found():
    return martingale.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """As many passes as the least delta needs, of which none goes beyond the lemma."""
    seen = np.linspace(0.2, 0.4, 400)
    one = found.drop_dims("run").assign(dict.fromkeys(("seen", "expected", "wrong"), ("run", seen)))
    return doctored(one, share=0.5, earned=0.5, room=0.1)


def passed(problem, eta):
    """Parameters before every step and after the last, and the margins met, by autograd."""
    at, margins = [problem.network.parameters], []
    for row in range(len(problem.y)):
        leaves = [p.clone().requires_grad_() for p in at[-1]]
        margin = problem.y[row] * chen_predictions(leaves[:-1], leaves[-1], problem.x[row, None])[0]
        gradients = torch.autograd.grad(torch.log1p(torch.exp(-margin)), leaves)
        margins.append(float(margin.detach()))
        at.append([(p - eta * g).detach() for p, g in zip(leaves, gradients, strict=True)])
    return at, margins


def test_both_sides_of_the_telescoped_inequality_are_those_of_a_loop(found):
    problem = draw(TINY, "cpu", seed=1, width=12, layers=3)
    star = linearised_fit(problem, TINY.target)
    eta = 1 / (3 * 12)
    at, margins = passed(problem, eta)
    far = [
        sum(
            float((p - q).square().sum()) for p, q in zip(now, star.network.parameters, strict=True)
        )
        for now in at
    ]
    losses = [math.log1p(math.exp(-margin)) for margin in margins]
    one = found.sel(seed=1, width=12)
    for steps in range(1, 7):
        left, met = far[0] - far[steps], eta * sum(losses[:steps])
        allowed = left + 2 * steps * eta * star.epsilon
        assert float(one.fall[steps - 1]) == pytest.approx(left / far[0])
        assert float(one.share[steps - 1]) == pytest.approx(met / allowed)
    assert float(one.earned[-1] / one.share[-1]) == pytest.approx(
        float(one.fall[-1] + one.room[-1])
    )


def test_what_the_proof_asks_is_measured(found):
    """(B.2) and the squared gradient of f, at the last step of a pass, by autograd."""
    problem = draw(TINY, "cpu", seed=0, width=8, layers=3)
    star = linearised_fit(problem, TINY.target)
    end, before = star.network.parameters, passed(problem, 1 / 24)[0][-2]
    leaves = [p.clone().requires_grad_() for p in before]
    value = chen_predictions(leaves[:-1], leaves[-1], problem.x[-1:])[0]
    slopes = torch.autograd.grad(value, leaves)
    along = sum(float((g * (q - p)).sum()) for g, q, p in zip(slopes, end, before, strict=True))
    there = float(chen_predictions(end[:-1], end[-1], problem.x[-1:])[0])
    error = abs(along - (there - float(value.detach())))
    one = found.sel(seed=0, width=8)
    assert float(one.error[-1]) == pytest.approx(error)
    assert float(one.reach) >= sum(float(g.square().sum()) for g in slopes) / 24 * (1 - 1e-12)


def test_errors_met_and_expected_are_those_of_a_loop(found):
    seed = independent_seed(0, 5, 3)
    problem = draw(TINY, "cpu", seed=seed, width=6, layers=3)
    fresh = halves(8, 3, TINY.gap, independent_seed(seed, 8))
    at, margins = passed(problem, 1 / 18)
    assert float(found.seen[3]) == pytest.approx(
        sum(1 / (1 + math.exp(margin)) for margin in margins) / 6
    )
    expected = wrong = 0.0
    for step, now in enumerate(at[:-1]):
        rows = slice(4 * step % 8, 4 * step % 8 + 4)
        fresh_margins = fresh.y[rows] * chen_predictions(now[:-1], now[-1], fresh.x[rows])
        expected += float((1 / (1 + fresh_margins.exp())).mean()) / 6
        wrong += float((fresh_margins < 0).double().mean()) / 6
    assert float(found.expected[3]) == pytest.approx(expected)
    assert float(found.wrong[3]) == pytest.approx(wrong)


def test_a_negative_right_hand_side_is_no_share():
    share = martingale.share(np.array([1.0, 1.0, 2.0]), np.array([4.0, -1.0, 0.0]))
    assert share.tolist() == [0.25, math.inf, math.inf]


def test_the_lemma_by_hand():
    assert lemma_6_6(0.1, 50, math.exp(-2)) == pytest.approx(0.4 + 8 / 50)
    assert lemma_6_6(0.1, 50, math.exp(-2), 1.5) == pytest.approx(0.15 + 3 / 50)


def test_the_least_ratio_is_below_that_of_the_cross_entropy():
    z = np.linspace(-30, 30, 100_001)
    ratio = np.log1p(np.exp(-z)) * (1 + np.exp(z)) ** 2
    assert martingale.LEAST_RATIO < ratio.min() < martingale.LEAST_RATIO + 0.01


def test_the_sharper_factor_holds_for_coins_and_hardly_a_smaller_one_would():
    """The worst Z are coins; for rare ones the exponential's mean is nearly 1."""
    mean = np.linspace(1e-4, 1, 1000)
    of_exponential = 1 - mean * (1 - math.exp(-1))
    assert (of_exponential * np.exp(mean / martingale.SHARP) <= 1).all()
    assert (of_exponential * np.exp(mean / (0.99 * martingale.SHARP)) > 1).any()


def test_verdicts_and_their_lies(settled):
    assert judged(settled) == martingale.EXPECTED
    verdicts = martingale.judge(TINY, settled)
    for told in with_controls(verdicts, martingale.CONTROLS, TINY, settled, martingale.judge):
        assert told.control.outcome != told.outcome


def test_one_step_beyond_the_lemma_is_seen(settled):
    def beyond(known):
        known[1, 2, 3] = 1.001
        return known

    assert judged(settled, share=beyond)["chen2021-lem6.5"] == "inconclusive"


@pytest.mark.parametrize(("beyond", "outcome"), [(0, "holds"), (3, "inconclusive"), (20, "fails")])
def test_passes_beyond_the_lemma_are_counted(settled, beyond, outcome):
    def some(known):
        known[:beyond] = 4.5
        return known

    assert judged(settled, expected=some)["chen2021-lem6.6"] == outcome


def test_too_few_passes_decide_nothing(found):
    assert judged(found)["chen2021-lem6.6"] == "inconclusive"


def test_the_factor_needed_is_that_of_a_share_of_the_passes(settled):
    extra = math.log(2) / 6
    factors = [seen / (seen + extra) for seen in settled.seen.values]
    assert martingale.needed(TINY, settled, 0.5) == pytest.approx(np.median(factors))
    assert float(martingale.covered(TINY, settled, 0.5, 0.62).mean()) == pytest.approx(
        np.mean(np.array(factors) <= 0.62)
    )
