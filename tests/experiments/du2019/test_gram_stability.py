"""Lemmas 3.2 and 4.1: the certified ceiling against brute force, the counts against integrals."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch

from companion.bounds.du2019 import (
    lemma_3_2_gram_change,
    lemma_3_2_radius,
    lemma_4_1_flips,
    near_boundary_bound,
    near_boundary_probability,
)
from companion.datasets import sphere
from companion.experiments.du2019 import gram_stability
from companion.kernels import empirical_gram, gram_change_bound, near_boundary
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import gram_by_loops

SMALL = {"count": 4, "dimension": 12, "width": 30000, "seeds": 2}


judged = partial(outcomes, gram_stability.judge)


@pytest.fixture(scope="module")
def result():
    return gram_stability.run(gram_stability.QUICK.override(SMALL), "cpu")


@pytest.mark.parametrize("radius", [1e-3, 0.1, 0.7, 3.0])
def test_probability_is_that_of_a_normal_number(radius):
    normal = scipy.stats.norm()
    exact = normal.cdf(radius) - normal.cdf(-radius)
    assert near_boundary_probability(radius) == pytest.approx(exact, rel=1e-12)
    assert near_boundary_bound(radius) == pytest.approx(2 * radius * normal.pdf(0), rel=1e-12)
    assert exact < near_boundary_bound(radius)


def test_lemma_radius_is_where_the_proof_reaches_a_quarter():
    n, lambda_0, delta = 7, 0.3, 0.2
    radius = lemma_3_2_radius(n, lambda_0, delta)
    assert lemma_3_2_gram_change(n, radius) / delta == pytest.approx(lambda_0 / 4)
    assert lemma_4_1_flips(n, 50, radius) == pytest.approx(350 * near_boundary_bound(radius))


def test_near_boundary_units_are_those_that_some_move_can_switch():
    """The best move against x_i is -z x_i / |z| R: it switches the unit iff R reaches |z|."""
    data, network = sphere(5, 6, seed=4), draw_two_layer(200, 6, seed=4)
    z = network.preactivations(data.x)
    near = near_boundary(z, 0.2)
    for i, r in np.ndindex(5, 200):
        moved = network.weights[r] - z[i, r].sign() * 0.2 * data.x[i]
        switched = bool(moved @ data.x[i] >= 0) != bool(z[i, r] >= 0)
        assert switched == bool(near[i, r])


def test_ceiling_is_the_extreme_over_all_patterns():
    """Brute force over every way to set the near-boundary pairs of a small network."""
    data, network = sphere(3, 4, seed=0), draw_two_layer(6, 4, seed=0)
    z, radius = network.preactivations(data.x), 0.4
    near = near_boundary(z, radius)
    places = near.nonzero().tolist()
    assert 2 <= len(places) <= 12
    start, worst = gram_by_loops(network, data.x), torch.zeros(3, 3, dtype=torch.float64)
    for choice in itertools.product([0.0, 1.0], repeat=len(places)):
        pattern = (z >= 0).double()
        for (i, r), value in zip(places, choice, strict=True):
            pattern[i, r] = value
        gram = (data.x @ data.x.T) * (pattern @ pattern.T) / 6
        worst = torch.maximum(worst, (gram - start).abs())
    torch.testing.assert_close(gram_change_bound(data.x, z, radius), worst)


def test_no_sampled_move_exceeds_the_ceiling_in_any_entry():
    data, network = sphere(6, 5, seed=1), draw_two_layer(300, 5, seed=1)
    z, start, radius = network.preactivations(data.x), empirical_gram(network, data.x), 0.3
    ceiling = gram_change_bound(data.x, z, radius)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        step = torch.randn(300, 5, generator=generator, dtype=torch.float64)
        step = radius * step / step.norm(dim=1, keepdim=True)
        moved = network.moved(network.weights + step)
        assert ((empirical_gram(moved, data.x) - start).abs() <= ceiling + 1e-15).all()


def test_adversaries_stay_in_the_ball_and_push_one_way():
    data, network = sphere(4, 30, seed=2), draw_two_layer(500, 30, seed=2)
    start = network.preactivations(data.x) >= 0
    moved = gram_stability.adversaries(network, data.x, 0.05)
    for net in moved.values():
        assert (net.weights - network.weights).norm(dim=1).max() <= 0.05 * (1 + 1e-12)
    on, off = (moved[kind].preactivations(data.x) >= 0 for kind in ("on", "off"))
    assert (on & ~start).sum() > 10
    assert (~off & start).sum() > 10


def test_count_of_one_unit_integrates_the_normal_density(result):
    expected = [math.erf(radius / math.sqrt(2)) for radius in result.settings["radii"]]
    spread = 5 * result.arrays["fraction_error"]
    assert (np.abs(result.arrays["fraction"] - expected) < spread).all()


def test_all_three_hold_on_a_small_run(result):
    assert judged(result) == gram_stability.EXPECTED


def test_width_below_lemma_3_1_is_outside_the_regime(result):
    assert judged(result, settings={"width": 100})["du2019-lem3.2"] == "outside-regime"


@pytest.mark.parametrize(
    "changes",
    [
        {"lemma_change": lambda a: 1e4 * a},
        {"lambda_min": lambda a: 0.4 * a},
        {"certified_norm": lambda a: a * np.array([8.0, 4.0, 2.0, 1.0])},
        {"certified_sum": lambda a: 1e3 * a},
        {"random": lambda a: 1e4 * a},
    ],
    ids=["moves too far", "least eigenvalue", "not linear", "sum above bound", "sample above it"],
)
def test_judge_sees_a_gram_matrix_that_moves_too_far(result, changes):
    assert judged(result, **changes)["du2019-lem3.2"] == "fails"


def test_judge_sees_a_wrong_count(result):
    lied = judged(result, fraction=lambda a: 1.2 * a)
    assert lied["du2019-lem3.2-prob"] == lied["du2019-lem4.1"] == "fails"


def test_judge_refuses_the_drafts_definition_of_s_i(result):
    lied = judged(result, fraction=lambda a: 1 - a)
    assert lied["du2019-lem4.1"] == "fails"
