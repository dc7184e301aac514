"""Gradients of units against loops and angles, and judges that can say no."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.experiments.zou2018 import gradient_nodes
from companion.experiments.zou2018._nodes import (
    large_shares,
    lemma_shares,
    node_bound,
    node_count,
    probability_bound,
    weightings,
)
from companion.experiments.zou2018._problem import DeepSettings, draw_twins
from companion.losses import CROSS_ENTROPY
from tests.doctoring import doctored, outcomes

TINY = gradient_nodes.Settings(
    seeds=4, count=4, dimension=6, widths=(32, 64, 128), counts=(2, 4, 6), width=64,
    counts_width=64, samples=400, lemma_counts=(4,), lemma_separations=(0.1, 0.2),
)  # fmt: skip
judged = partial(outcomes, gradient_nodes, TINY)


@pytest.fixture(scope="module")
def found():
    return gradient_nodes.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Few units settle no exponent: here their limits are written into the run."""
    scatter = np.linspace(0.98, 1.02, 4)[:, None]
    return doctored(
        found,
        by_width=scatter * np.array(TINY.widths),
        by_count=scatter,
        by_separation=scatter * np.array(TINY.separations),
        by_width_over_bound=20.0,
        by_count_over_bound=20.0,
        by_separation_over_bound=20.0,
        share=lambda a: a + 0.05,
    )


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == gradient_nodes.EXPECTED


def test_shares_by_loops():
    problem = draw_twins(TINY, "cpu", seed=1, width=32, depth=2, separation=0.2)
    below = problem.network.run(problem.x).hidden[1]
    a = weightings(problem.y, 0)
    counts = []
    for weights in a:
        large = 0
        for unit in problem.network.weights[1]:
            total = torch.zeros(32, dtype=torch.float64)
            for i in range(4):
                if float(unit @ below[i]) > 0:
                    total += weights[i] * problem.y[i] * below[i]
            large += float(total.norm()) >= 0.25
        counts.append(large)
    active = (below @ problem.network.weights[1].T) > 0
    shares = large_shares(below, problem.y, active, a, 0.25)
    assert np.allclose(32 * shares, counts)
    assert node_count(problem, 0) == pytest.approx(min(counts))


def test_a_unit_s_gradient_is_the_loss_gradient_s_column():
    """With a_i = -l'(y_i f_i) the sums are rows of dL/dW_L over v_j, by autograd."""
    problem = draw_twins(TINY, "cpu", seed=2, width=16, depth=2, separation=0.3)
    first, last = (weight.clone().requires_grad_() for weight in problem.network.weights)
    hidden = torch.relu(problem.x @ first.T)
    margins = problem.y * (torch.relu(hidden @ last.T) @ problem.network.outputs)
    torch.nn.functional.softplus(-margins).mean().backward()
    a = torch.sigmoid(-margins).detach()
    sums = ((hidden @ last.T > 0) * (a * problem.y)[:, None]).T.double() @ hidden / 4
    assert torch.allclose(-last.grad * problem.network.outputs[:, None], sums.detach())
    known = CROSS_ENTROPY.derivatives(problem.network.predict(problem.x), problem.y)
    assert torch.allclose(known, -problem.y * a)


def test_weightings_are_nonnegative_with_largest_entry_one():
    a = weightings(torch.tensor([1.0, -1.0, 1.0, -1.0]).double(), 0)
    assert bool((a >= 0).all() and (a.amax(dim=1) == 1).all())
    assert a[4].tolist() == [1, 1, 0, 0]
    assert a[5].tolist() == [0, 0, 1, 1]


def test_one_pair_has_the_share_of_its_angle():
    """A unit counts for equal weights if it is active on one input of the pair: angle over pi."""
    pair = torch.tensor([[1.0, 0.0], [math.cos(0.2), math.sin(0.2)]], dtype=torch.float64)
    w = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, a = torch.tensor([1.0, -1.0]).double(), torch.ones(1, 2).double()
    share = float(large_shares(pair, y, (pair @ w.T) > 0, a, 0.5)[0])
    assert share == pytest.approx(0.2 / math.pi, rel=0.03)


def test_the_bounds_are_those_of_the_proof():
    """P(E) >= phi / (sqrt(32 e) n) at the gamma that the proof sets, half of it for one side."""
    phi, n = 0.3, 7
    gamma = math.sqrt(math.pi) * phi / (4 * n)
    event = (
        math.sqrt(2 / (math.pi * math.e)) * gamma * (1 - 2 / math.sqrt(math.pi) * n * gamma / phi)
    )
    assert probability_bound(phi, n) == pytest.approx(event / 2)
    assert node_bound(phi, n, 100) == pytest.approx(100 * phi / (8 * math.sqrt(32 * math.e) * n))


def test_the_premise_is_measured_on_the_vectors():
    near = lemma_shares(
        DeepSettings(count=4, dimension=6, mu=0.8), "cpu", seed=0, separation=0.1, samples=10
    )
    far = lemma_shares(
        DeepSettings(count=4, dimension=6, mu=0.8), "cpu", seed=0, separation=0.9, samples=10
    )
    assert near["premise"] < 1 < far["premise"]


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("zou2018-thm5.1viii", {"by_width": np.ones_like}),
        ("zou2018-thm5.1viii", {"by_count": lambda a: a * np.array([1.0, 0.2, 0.04])}),
        ("zou2018-thm5.1viii", {"by_separation": lambda a: a**2}),
        ("zou2018-thm5.1viii", {"by_width_over_bound": 0.9}),
    ],
)
def test_the_judge_sees_what_is_not_there_outside_of_the_regime(settled, claim, change):
    assert judged(settled, **change)[claim] == "inconclusive"


def test_within_the_regime_the_same_would_refute(settled, monkeypatch):
    monkeypatch.setattr(gradient_nodes, "_asked", lambda settings: 1.0)
    assert judged(settled)["zou2018-thm5.1viii"] == "holds"
    assert judged(settled, by_width=np.ones_like)["zou2018-thm5.1viii"] == "fails"


def test_the_judge_sees_rare_gradients(settled):
    assert judged(settled, share=lambda a: a / 1000)["zou2018-lemA.14"] == "fails"
    assert judged(settled, share=np.nan)["zou2018-lemA.14"] == "inconclusive"
    assert judged(settled, premise=1.1)["zou2018-lemA.14"] == "outside-regime"


def test_noise_decides_nothing(settled):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(4, 3)))
    assert judged(settled, by_width=lambda a: a * noise)["zou2018-thm5.1viii"] == "inconclusive"
