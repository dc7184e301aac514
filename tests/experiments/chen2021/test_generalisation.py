"""Theorem 3.5 and Lemma 6.4: descents by autograd, complexities by all signs, verdicts."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import independent_seed
from companion.experiments.chen2021 import generalisation
from companion.experiments.chen2021._error_bounds import (
    theorem_3_5,
    theorem_3_5_falling,
    theorem_3_5_rising,
)
from companion.experiments.chen2021._problem import HalvesSettings, draw, halves, on_data
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

TINY = generalisation.Settings(
    seeds=3,
    dimension=3,
    counts=(4, 8, 16),
    width=8,
    widths=(4, 8, 16),
    count=6,
    steps=4,
    tests=40,
    signs=20,
)
judged = partial(outcomes, generalisation, TINY)
LEVEL = np.array([0.98, 1.0, 1.02])[:, None]


@pytest.fixture(scope="module")
def found():
    return generalisation.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Errors that follow the laws, with a level a seed."""
    n, m = np.array(TINY.counts), np.array(TINY.widths)
    return doctored(
        found,
        training_slope=0.05,
        slope=0.05 + 0.4 * LEVEL / n,
        loss=0.06,
        error=0.04,
        wide_training_slope=0.05,
        wide_slope=0.05 + 0.1 * LEVEL * m**0.0,
        wide_loss=0.06,
        wide_error=0.04 * LEVEL * m**0.0,
        allowed=2.0,
    )


def test_a_run_is_gradient_descent_by_autograd(found):
    data, fresh = (
        halves(count, 3, TINY.gap, independent_seed(1, 8, part))
        for part, count in enumerate((8, 40))
    )
    problem = on_data(data, TINY, "cpu", seed=1, width=8, layers=3)
    start = leaves = list(problem.network.parameters)
    far = []
    for _ in range(4):
        leaves = [p.detach().clone().requires_grad_() for p in leaves]
        margins = data.y * chen_predictions(leaves[:-1], leaves[-1], data.x)
        gradients = torch.autograd.grad(torch.log1p(torch.exp(-margins)).mean(), leaves)
        leaves = [(p - 2 / 8 * g).detach() for p, g in zip(leaves, gradients, strict=True)]
        far.append(max(float((p - q).norm()) for p, q in zip(leaves, start, strict=True)))
    one = found.sel(seed=1, examples=8)
    assert float(one.radius) == pytest.approx(max(far) * 8**0.5)
    for each, slope in ((data, one.training_slope), (fresh, one.slope)):
        margins = each.y * chen_predictions(leaves[:-1], leaves[-1], each.x)
        assert float(slope) == pytest.approx(float((1 / (1 + margins.exp())).mean()))
    assert float(one.error) == pytest.approx(float((margins < 0).double().mean()))
    margins = data.y * chen_predictions(leaves[:-1], leaves[-1], data.x)
    assert float(one.loss) == pytest.approx(float(torch.log1p(torch.exp(-margins)).mean()))


@pytest.fixture(scope="module")
def small():
    return draw(HalvesSettings(count=5, dimension=3), "cpu", seed=0, width=6, layers=3)


def test_the_complexity_is_the_mean_over_all_signs(small):
    jacobians = deep_jacobians(small.network, small.x, chen_predictions)
    signs = torch.tensor([*itertools.product((-1.0, 1.0), repeat=5)], dtype=torch.float64)
    exact = sum(float((signs @ j).norm(dim=1).mean()) for j in jacobians) / (5 * 6**0.5)
    many = generalisation.complexity(small, 100_000, 0, 6**0.5)
    assert many["complexity"] == pytest.approx(exact, rel=2e-3)
    roots = sum(float(j.square().sum()) ** 0.5 for j in jacobians) / (5 * 6**0.5)
    assert many["trace"] == pytest.approx(roots)
    assert 2**-0.5 < many["least_share"] <= many["largest_share"] <= 1


def test_few_signs_stay_below_the_trace_bound_and_on_average_at_the_mean(small):
    few = [generalisation.complexity(small, 3, seed, 6**0.5) for seed in range(400)]
    assert max(each["largest_share"] for each in few) <= 1
    mean = np.mean([each["complexity"] for each in few])
    exact = generalisation.complexity(small, 100_000, 0, 6**0.5)["complexity"]
    assert mean == pytest.approx(exact, rel=0.02)


def test_no_linearised_network_correlates_more_with_signs(small):
    """The supremum inside the complexity, against random points of the ball and its maximiser."""
    jacobians = deep_jacobians(small.network, small.x, chen_predictions)
    xi = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    claimed = sum(float((xi @ k @ xi).sqrt()) for k in (j @ j.T for j in jacobians))
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        moves = [torch.randn(j.shape[1], generator=generator).double() for j in jacobians]
        value = sum(float(xi @ j @ v / v.norm()) for j, v in zip(jacobians, moves, strict=True))
        assert value <= claimed
    best = [xi @ j for j in jacobians]
    reached = sum(float(xi @ j @ v / v.norm()) for j, v in zip(jacobians, best, strict=True))
    assert reached == pytest.approx(claimed)


def test_the_two_branches_by_hand():
    assert theorem_3_5_rising(2, 3.0, 100, 25) == pytest.approx(16 * 4 * 3 * 0.5)
    falling = theorem_3_5_falling(2, 3.0, 100, 64.0, 0.5)
    assert falling == pytest.approx(2**1.5 * 0.3 + 2 ** (11 / 3) * 3 ** (4 / 3) / 2)
    assert theorem_3_5(2, 3.0, 100, 1e-9, 0.5) == theorem_3_5_rising(2, 3.0, 100, 1e-9)
    assert theorem_3_5(2, 3.0, 100, 1e9, 0.5) == theorem_3_5_falling(2, 3.0, 100, 1e9, 0.5)


def test_the_branches_cross_where_it_is_told():
    peak = generalisation.crossover(TINY, 4.0)
    ends = [
        f(3, 4.0, 6, peak) for f in (theorem_3_5_rising, partial(theorem_3_5_falling, alpha=0.5))
    ]
    assert ends[0] == pytest.approx(ends[1])


def test_what_linearised_networks_are_allowed_is_explicit(found):
    one = found.sel(seed=2, examples=16)
    chance = 3 * math.sqrt(math.log(4 / 0.05) / 32)
    assert float(one.allowed) == pytest.approx(float(one.radius * one.complexity) / 2 + chance)


def test_verdicts_on_the_laws_and_their_lies(settled):
    assert judged(settled) == generalisation.EXPECTED
    verdicts = generalisation.judge(TINY, settled)
    for told in with_controls(
        verdicts, generalisation.CONTROLS, TINY, settled, generalisation.judge
    ):
        assert told.control.outcome != told.outcome


@pytest.mark.parametrize(("power", "outcome"), [(-0.3, "outside-regime"), (-0.2, "inconclusive")])
def test_the_difference_has_to_fall_with_n(settled, power, outcome):
    lied = judged(settled, slope=0.05 + 0.1 * LEVEL * np.array(TINY.counts) ** power)
    assert lied["chen2021-thm3.5"] == lied["chen2021-lem6.4"] == outcome


@pytest.mark.parametrize(("power", "outcome"), [(0.2, "outside-regime"), (0.3, "inconclusive")])
def test_the_difference_must_not_grow_with_the_width(settled, power, outcome):
    lied = judged(settled, wide_slope=0.05 + 0.1 * LEVEL * np.array(TINY.widths) ** power)
    assert lied["chen2021-thm3.5"] == lied["chen2021-lem6.4"] == outcome


def test_inequalities_of_one_network_need_no_regime(settled):
    assert judged(settled, error=0.9)["chen2021-thm3.5"] == "fails"
    assert judged(settled, wide_loss=0.04)["chen2021-thm3.5"] == "fails"


def test_the_complexity_has_to_lie_between_its_bounds(settled):
    assert judged(settled, least_share=0.7)["chen2021-lem6.4"] == "fails"
    assert judged(settled, largest_share=1.01)["chen2021-lem6.4"] == "fails"
    assert judged(settled, allowed=0.001)["chen2021-lem6.4"] == "inconclusive"


def test_a_bound_of_another_shape_is_seen(settled):
    assert judged(settled, bound=lambda known: known[::-1])["chen2021-rem3.7"] == "fails"


@pytest.mark.parametrize(("power", "outcome"), [(0.2, "holds"), (0.3, "fails")])
def test_a_test_error_that_rises_is_seen(settled, power, outcome):
    lied = judged(settled, wide_error=lambda known: known * np.array(TINY.widths) ** power)
    assert lied["chen2021-rem3.7"] == outcome


def test_noise_decides_nothing(settled):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(3, 3)))
    lied = judged(settled, wide_error=0.001 * noise, slope=0.05 + 0.1 * noise)
    assert set(lied.values()) == {"inconclusive"}
