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
from companion.draws import independent_seed
from companion.experiments.du2019 import gram_stability
from companion.experiments.du2019._balls import adversaries
from companion.kernels import (
    empirical_gram,
    gram_change_bound,
    infinite_width_gram,
    near_boundary,
)
from companion.networks import draw_du
from tests.doctoring import outcomes
from tests.oracles import gram_by_loops

SMALL = gram_stability.QUICK.override(
    {"count": 4, "dimension": 12, "width": 30000, "seeds": 2, "draws": 30}
)
judged = partial(outcomes, gram_stability, SMALL)
draw = partial(draw_du, dtype=torch.float64)


def drawn(width, *, seed):
    """The network of that seed on 4 inputs in dimension 12."""
    return draw(width, 12, independent_seed(seed, 4, 12, width))


@pytest.fixture(scope="module")
def found():
    return gram_stability.run(SMALL, "cpu")


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
    data, network = sphere(5, 6, seed=4), draw(200, 6, seed=4)
    (z,) = network.preactivations(data.x)
    near = near_boundary(z, 0.2)
    for i, r in np.ndindex(5, 200):
        moved = network.weights[0][r] - z[i, r].sign() * 0.2 * data.x[i]
        switched = bool(moved @ data.x[i] >= 0) != bool(z[i, r] >= 0)
        assert switched == bool(near[i, r])


def test_ceiling_is_the_extreme_over_all_patterns():
    """Brute force over every way to set the near-boundary pairs of a small network."""
    data, network = sphere(3, 4, seed=0), draw(6, 4, seed=0)
    (z,), radius = network.preactivations(data.x), 0.4
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
    data, network = sphere(6, 5, seed=1), draw(300, 5, seed=1)
    (z,), start, radius = network.preactivations(data.x), empirical_gram(network, data.x), 0.3
    ceiling = gram_change_bound(data.x, z, radius)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        step = torch.randn(300, 5, generator=generator, dtype=torch.float64)
        step = radius * step / step.norm(dim=1, keepdim=True)
        moved = network.moved([network.weights[0] + step])
        assert ((empirical_gram(moved, data.x) - start).abs() <= ceiling + 1e-15).all()


def test_adversaries_stay_in_the_ball_and_push_one_way():
    data, network = sphere(4, 30, seed=2), draw(500, 30, seed=2)
    start = network.preactivations(data.x)[0] >= 0
    moved = adversaries(network, data.x, 0.05)
    for net in moved.values():
        far = (net.weights[0] - network.weights[0]).norm(dim=1)
        assert ((far < 1e-12) | ((far - 0.05).abs() < 1e-12)).all()
    on, off = (moved[kind].preactivations(data.x)[0] >= 0 for kind in ("on", "off"))
    assert (on & ~start).sum() > 10
    assert (~off & start).sum() > 10


def test_event_is_that_of_the_lemma_on_a_draw_of_its_own(found):
    data, network = sphere(4, 12, seed=7), drawn(30000, seed=7)
    limit = infinite_width_gram(data.x)
    lambda_0 = float(np.linalg.eigvalsh(limit)[0])
    radius = math.sqrt(2 * math.pi) * 0.1 * lambda_0 / (16 * 4**2)
    z = data.x @ network.weights[0].T
    change = np.linalg.norm(gram_change_bound(data.x, z, radius), 2)
    least = np.linalg.eigvalsh(empirical_gram(network, data.x))[0]
    one = found.sel(draw=7)
    assert float(one.draw_change) == pytest.approx(change / lambda_0)
    assert float(one.draw_least) == pytest.approx((least - change) / lambda_0)
    per_unit = (z.abs() <= 0.1).double().mean(dim=0).numpy()
    assert float(one.fraction.sel(radius=0.1)) == pytest.approx(per_unit.mean())
    error = per_unit.std(ddof=1) / math.sqrt(30000)
    assert float(one.fraction_error.sel(radius=0.1)) == pytest.approx(error)


def test_certified_radius_is_where_the_certified_change_reaches_its_limit(found):
    data, network = sphere(4, 12, seed=1), drawn(30000, seed=1)
    z, one = data.x @ network.weights[0].T, found.sel(seed=1)
    changes = [
        float(np.linalg.norm(gram_change_bound(data.x, z, r * float(one.certified_radius)), 2))
        for r in (0.99, 1.01)
    ]
    assert changes[0] < float(one.lambda_0) / 4 < changes[1]
    for name, radius in (("lemma", one.lemma_radius), ("draft", one.lemma_radius / 0.1)):
        known = np.linalg.norm(gram_change_bound(data.x, z, float(radius)), 2)
        assert float(one[f"{name}_change"]) == pytest.approx(known)


def test_changes_at_a_radius_are_those_of_moved_networks(found):
    """By loops over the units, for the largest R of the sweep."""
    settings = SMALL.override({"width": 40, "seeds": 1, "draws": 1})
    one = gram_stability.run(settings, "cpu").isel(seed=0, radius=-1)
    data, network = sphere(4, 12, seed=0), drawn(40, seed=0)
    start = gram_by_loops(network, data.x)
    for kind, moved in adversaries(network, data.x, 0.1).items():
        change = np.linalg.norm(gram_by_loops(moved, data.x) - start, 2)
        assert float(one[kind]) == pytest.approx(change)


def test_count_of_one_unit_integrates_the_normal_density(found):
    expected = [math.erf(radius / math.sqrt(2)) for radius in SMALL.radii]
    assert (np.abs(found.fraction - expected) < 5 * found.fraction_error).all()


def test_values_compare_with_the_printed_bound(found):
    numbers = gram_stability.values(SMALL, found)
    printed = 4 * 4**2 * np.array(SMALL.radii) / math.sqrt(2 * math.pi)
    slack = (printed / found.certified_norm.values).mean()
    assert float(numbers["norm_slack"]) == pytest.approx(slack)
    best = np.maximum(found.on.values, found.off.values)[:, 0]
    reached = (best / found.certified_norm.values[:, 0]).mean()
    assert float(numbers["reached"]) == pytest.approx(reached)
    assert float(numbers["near_share"] + numbers["misprint_share"]) == pytest.approx(1)
    assert float(numbers["lemma_change"]) == pytest.approx(float(found.draw_change.max()))


def test_all_four_hold_on_a_small_run(found):
    assert judged(found) == gram_stability.EXPECTED


def test_width_below_lemma_3_1_is_outside_the_regime(found):
    narrow = SMALL.model_copy(update={"width": 100})
    assert outcomes(gram_stability, narrow, found)["du2019-lem3.2"] == "outside-regime"


@pytest.mark.parametrize(
    "changes",
    [
        {"draw_change": lambda a: 1e4 * a},
        {"draw_least": lambda a: 0.4 * a},
        {"certified_sum": lambda a: 1e3 * a},
        {"random": lambda a: 1e4 * a},
    ],
    ids=["moves too far", "least eigenvalue", "sum above bound", "sample above it"],
)
def test_judge_sees_a_gram_matrix_that_moves_too_far(found, changes):
    assert judged(found, **changes)["du2019-lem3.2"] == "fails"


@pytest.mark.parametrize("shape", [[8.0, 4.0, 2.0, 1.0], [0.5, 0.7, 0.9, 1.0]])
def test_a_change_of_another_order_refutes_no_lemma(found, shape):
    """The order is the companion's own: of a change that is small enough the paper says no more."""
    lied = judged(found, certified_norm=lambda a: a * np.array(shape), random=0.0, on=0.0, off=0.0)
    assert lied["du2019-lem3.2-order"] == "fails"
    assert lied["du2019-lem3.2"] == "holds"


def test_noise_decides_no_order(found):
    noise = np.exp(0.5 * np.random.default_rng(0).normal(size=(2, 4)))
    lied = judged(found, certified_norm=lambda a: a * noise)
    assert lied["du2019-lem3.2-order"] == "inconclusive"


def test_a_sample_above_its_ceiling_refutes_whatever_the_width(found):
    narrow = SMALL.model_copy(update={"width": 100})
    lied = outcomes(gram_stability, narrow, found, random=lambda a: 1e4 * a)
    assert lied["du2019-lem3.2"] == "fails"


def test_few_draws_do_not_show_a_probability(found):
    few = found.isel(draw=slice(28))
    lied = outcomes(gram_stability, SMALL, few)
    assert lied["du2019-lem3.2"] == lied["du2019-lem4.1"] == "inconclusive"


def test_some_bad_draws_leave_the_probability_open_and_many_refute_it(found):
    def moved_too_far(draws):
        return {"draw_change": lambda a: np.where(np.arange(30) < draws, 1.0, a)}

    assert judged(found, **moved_too_far(2))["du2019-lem3.2"] == "inconclusive"
    assert judged(found, **moved_too_far(8))["du2019-lem3.2"] == "fails"


def test_judge_sees_a_wrong_count(found):
    lied = judged(found, fraction=lambda a: 1.2 * a)
    assert lied["du2019-lem3.2-prob"] == "fails"
    assert lied["du2019-lem4.1"] == "holds"  # which is a bound, and ten times the mean


def test_judge_sees_counts_above_the_bound_at_one_radius(found):
    lied = judged(found, fraction=lambda a: a * np.array([1.0, 1.0, 1.0, 11.0]))
    assert lied["du2019-lem4.1"] == "fails"


def test_the_probability_is_judged_at_the_worst_radius(found):
    def often(draws):
        above = (np.arange(30) < draws)[:, None] * np.array([0.0, 0.0, 100.0, 0.0])
        return {"fraction": lambda a: a * (1 + above)}

    assert judged(found, **often(0))["du2019-lem4.1"] == "holds"
    assert judged(found, **often(3))["du2019-lem4.1"] == "inconclusive"
    assert judged(found, **often(15))["du2019-lem4.1"] == "fails"


def test_noise_in_the_counts_decides_nothing(found):
    noise = np.exp(0.5 * np.random.default_rng(0).normal(size=(30, 4)))
    lied = judged(found, fraction=lambda a: a * noise, fraction_error=lambda a: 100 * a)
    assert lied["du2019-lem3.2-prob"] == "inconclusive"


@pytest.mark.parametrize(("share", "outcome"), [(0.049, "holds"), (0.051, "inconclusive")])
def test_the_share_is_to_be_known_to_five_per_cent(found, share, outcome):
    """By four standard errors of the mean over all draws, at every radius."""
    exact = np.array([near_boundary_probability(radius) for radius in SMALL.radii])
    error = share * exact / 4 * math.sqrt(SMALL.draws)
    lied = judged(found, fraction_error=error)
    assert lied["du2019-lem3.2-prob"] == outcome


def test_judge_refuses_the_drafts_definition_of_s_i(found):
    assert judged(found, fraction=lambda a: 1 - a)["du2019-lem4.1"] == "fails"


@pytest.mark.parametrize("name", ["certified_sum", "fraction", "on"])
def test_what_is_no_number_decides_nothing(found, name):
    lied = judged(found, **{name: lambda a: np.where(a == a.max(), np.nan, a)})
    assert "inconclusive" in lied.values()
    assert "fails" not in lied.values()
