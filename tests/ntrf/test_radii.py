"""Class values and radii against solvers in parameter space and closed forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.ntrf import (
    class_value,
    ji_telgarsky_margin,
    margin_target,
    ntrf_margin,
    regression_radius,
    smallest_radius,
)
from tests.ntrf.primal import (
    BALLS,
    Case,
    agree,
    case,
    mean_loss,
    moved,
    primal_class_value,
    primal_radius,
    radius_of,
    seeds,
)


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("radius", [0.03, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_class_value_is_the_minimum_over_parameters(seed, radius, ball):
    given = case(seed)
    found = class_value(given.grams, given.f, given.y, radius, ball=ball)
    assert found.value == pytest.approx(primal_class_value(given, radius, ball), rel=1e-6)
    assert 0 <= found.gap <= 1e-10 * found.value


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_smallest_radius_is_the_minimum_over_parameters(seed, ball):
    given = case(seed)
    found = smallest_radius(given.grams, given.f, given.y, 1.0, ball=ball)
    assert found.value == pytest.approx(primal_radius(given, 1.0, ball), rel=1e-6)
    assert 0 <= found.gap <= 1e-8 * found.value


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(1e-2, 3))
def test_coefficients_attain_the_class_value_within_the_ball(ball, seed, radius):
    given = case(seed)
    found = class_value(given.grams, given.f, given.y, radius, ball=ball)
    v, margins = moved(given, found)
    assert radius_of(v, ball) <= radius * (1 + 1e-12)
    assert mean_loss(margins) == pytest.approx(found.value, rel=1e-9)
    assert torch.allclose(found.dual, torch.sigmoid(-margins), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(1e-3, 0.6))
def test_the_smallest_radius_reaches_the_target_and_a_smaller_one_does_not(ball, seed, max_loss):
    given = case(seed, count=5)
    found = smallest_radius(given.grams, given.f, given.y, margin_target(max_loss), ball=ball)
    if found.value in (0, math.inf):
        return
    v, margins = moved(given, found)
    assert radius_of(v, ball) == pytest.approx(found.value, rel=1e-7)
    assert float(torch.log1p(torch.exp(-margins)).max()) <= max_loss * (1 + 1e-9)
    # The dual of the largest loss itself, a weighted mean, shows that less does not suffice.
    weights = found.dual / found.dual.sum()
    steps = [np.linalg.norm(weights.numpy() @ rows) for rows in given.jacobians()]
    reach = sum(steps) if ball == "per-layer" else math.hypot(*steps)
    mean_margin = float(weights @ (given.y * given.f)) + 0.999 * found.value * reach
    assert mean_margin < margin_target(max_loss)


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(1e-3, 10))
def test_balls_are_nested(seed, radius):
    given = case(seed)
    root = math.sqrt(len(given.grams))
    inner = class_value(given.grams, given.f, given.y, radius, ball="single")
    middle = class_value(given.grams, given.f, given.y, radius)
    outer = class_value(given.grams, given.f, given.y, root * radius, ball="single")
    assert inner.upper >= middle.lower
    assert middle.upper >= outer.lower
    single = smallest_radius(given.grams, given.f, given.y, 2.0, ball="single")
    layered = smallest_radius(given.grams, given.f, given.y, 2.0)
    assert layered.lower <= single.upper
    assert single.lower <= root * layered.upper


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(0, 5), st.floats(0, 5), st.floats(0, 1))
def test_class_value_falls_and_is_convex_in_the_radius(ball, seed, one, other, share):
    given = case(seed)
    between = share * one + (1 - share) * other
    first, second, middle = (
        class_value(given.grams, given.f, given.y, radius, ball=ball)
        for radius in (one, other, between)
    )
    assert middle.lower <= share * first.upper + (1 - share) * second.upper + 1e-15
    smaller, larger = (first, second) if one <= other else (second, first)
    assert larger.lower <= smaller.upper
    if other > one + 0.1:
        assert second.value < first.value


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_order_of_the_data_and_units_of_the_gradients_do_not_matter(seed):
    given = case(seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    shuffled = [gram[order][:, order] for gram in given.grams]
    scaled = [9 * gram for gram in given.grams]
    known = class_value(given.grams, given.f, given.y, 0.6)
    permuted = class_value(shuffled, given.f[order], given.y[order], 0.6)
    agree(permuted, known)
    assert torch.allclose(permuted.dual, known.dual[order], atol=1e-3)
    agree(class_value(scaled, given.f, given.y, 0.2), known)
    for quantity in (
        lambda grams: smallest_radius(grams, given.f, given.y, 1.0),
        lambda grams: regression_radius(torch.stack(grams).sum(0), given.y),
    ):
        agree(quantity(scaled), quantity(given.grams), 1 / 3)
    agree(ntrf_margin(9 * given.gram, given.y), ntrf_margin(given.gram, given.y), 3)


def test_a_radius_of_0_gives_the_loss_at_initialisation():
    given = case()
    found = class_value(given.grams, given.f, given.y, 0.0)
    assert found.value == pytest.approx(mean_loss(given.y * given.f), rel=1e-15)
    assert found.gap < 1e-15
    assert not found.coefficients.any()


@pytest.mark.parametrize("ball", BALLS)
def test_large_radii_on_separable_data_leave_no_loss_and_no_nan(ball):
    given = case(width=30)
    for radius, most in [(10.0, 1e-3), (100.0, 1e-20), (1e4, 1e-40), (1e8, 1e-40)]:
        found = class_value(given.grams, given.f, given.y, radius, ball=ball)
        v, margins = moved(given, found)
        assert 0 <= found.lower <= found.upper < most
        assert mean_loss(margins) <= max(2 * found.upper, 1e-16)
        assert radius_of(v, ball) <= radius * (1 + 1e-12)
        # Even where V stops short of the boundary, `lower` is for the whole ball.
        start = given.y * given.f
        outermost = start + (margins - start) * (radius / radius_of(v, ball))
        assert found.lower <= mean_loss(outermost) * (1 + 1e-9) + 1e-300


@pytest.mark.parametrize("ball", BALLS)
def test_opposite_labels_of_one_input_are_not_separable(ball):
    once = case(width=30)
    x, y = torch.cat([once.x, once.x[:1]]), torch.cat([once.y, -once.y[:1]])
    given = Case(once.network, x, y)
    for radius in (1.0, 10.0, 100.0):
        found = class_value(given.grams, given.f, y, radius, ball=ball)
        assert found.upper >= 2 / 9 * math.log(2)
        assert found.gap <= 1e-4 * found.value
    # In the limit the pair has the margin 0, and no other input any loss.
    assert found.value == pytest.approx(2 / 9 * math.log(2), rel=1e-4)
    radius = smallest_radius(given.grams, given.f, y, 0.1, ball=ball)
    assert (radius.lower, radius.value, radius.gap) == (math.inf, math.inf, 0)
    margin = ntrf_margin(given.gram, y)
    assert (margin.value, margin.lower) == (0, 0)
    assert margin.upper < 1e-6
    z = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert ji_telgarsky_margin(x, y, z).value == 0
    # A target that the pair can share is feasible nevertheless: margins -0.1 and 0.1.
    pair = [gram[[0, -1]][:, [0, -1]] for gram in given.grams]
    start = torch.tensor([0.5, -0.5], dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0])
    feasible = smallest_radius(pair, -start.abs(), signs, -0.3, ball=ball)
    norms = [math.sqrt(float(gram[0, 0])) for gram in pair]
    reach = sum(norms) if ball == "per-layer" else math.hypot(*norms)
    assert feasible.value == pytest.approx(0.2 / reach, rel=1e-7)


def test_equal_labels_of_one_input_change_nothing():
    once = case(width=30)
    x, y = torch.cat([once.x, once.x[:1]]), torch.cat([once.y, once.y[:1]])
    twice = Case(once.network, x, y)
    for quantity in (
        lambda given: smallest_radius(given.grams, given.f, given.y, 1.0),
        lambda given: ntrf_margin(given.gram, given.y),
        lambda given: regression_radius(given.gram, given.y - given.f),
    ):
        assert quantity(twice).value == pytest.approx(quantity(once).value, rel=1e-7)


def test_more_data_than_parameters():
    """Random labels on a tiny network: the optimum is within the ball for some of the layers."""
    given = case(0, count=40, width=3)
    for ball in BALLS:
        found = class_value(given.grams, given.f, given.y, 3.0, ball=ball)
        assert found.value == pytest.approx(primal_class_value(given, 3.0, ball), rel=1e-5)
        assert found.gap <= 1e-6 * found.value
        assert smallest_radius(given.grams, given.f, given.y, 1.0, ball=ball).lower == math.inf
    assert ntrf_margin(given.gram, given.y).value == 0
    assert regression_radius(given.gram, given.y - given.f).value == math.inf


def test_gradients_that_vanish():
    zero, y = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([1.0, -1.0])
    f = torch.tensor([0.5, 0.25], dtype=torch.float64)
    assert class_value([zero], f, y, 3.0).value == pytest.approx(mean_loss(y * f), rel=1e-15)
    assert smallest_radius([zero], f, y, 1.0).gap == 0
    assert smallest_radius([zero], f, y, 1.0).value == math.inf
    assert smallest_radius([zero], f, y, -1.0).value == 0
    assert ntrf_margin(zero, y).value == 0
    assert regression_radius(zero, f).value == math.inf
    assert regression_radius(zero, 0 * f).value == 0


@pytest.mark.parametrize("size", [-1000.0, -30.0, 30.0, 1000.0])
def test_extreme_initialisations(size):
    given = case()
    found = class_value(given.grams, size * given.y, given.y, 0.01)
    if size < 0:
        steps = [np.linalg.norm(rows.sum(0)) for rows in given.jacobians()]
        assert found.value == pytest.approx(-size - 0.01 * sum(steps) / 8, rel=1e-10)
    assert 0 <= found.lower <= found.upper
    assert found.gap <= 1e-10 * found.upper


def test_initialisation_that_is_good_enough_needs_no_radius():
    given = case()
    found = smallest_radius(given.grams, 3 * given.y, given.y, 2.5)
    assert (found.lower, found.upper, found.gap) == (0, 0, 0)
    assert not found.coefficients.any()


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(0.01, 5), st.floats(0, 3), st.sampled_from([-1.0, 1.0]))
def test_one_input(f, size, radius, sign):
    grams = [torch.tensor([[size**2]]).double(), torch.tensor([[4 * size**2]]).double()]
    y, start = torch.tensor([sign]), torch.tensor([f], dtype=torch.float64)
    norms = [math.sqrt(float(gram)) for gram in grams]
    for ball, reach in [("per-layer", sum(norms)), ("single", math.hypot(*norms))]:
        margin = sign * f + radius * reach
        found = class_value(grams, start, y, radius, ball=ball)
        assert found.value == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-10)
        least = smallest_radius(grams, start, y, 1.0, ball=ball)
        assert least.value == pytest.approx(max(1 - sign * f, 0) / reach, rel=1e-8)
    assert ntrf_margin(grams[0], y).value == pytest.approx(norms[0], rel=1e-8)
    assert regression_radius(grams[0], start).value == pytest.approx(abs(f) / norms[0])


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-8, 50))
def test_margin_target_inverts_the_loss(max_loss):
    b = margin_target(max_loss)
    loss = math.log1p(math.exp(-b)) if b > 0 else -b + math.log1p(math.exp(b))
    assert loss == pytest.approx(max_loss, rel=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_regression_radius_is_that_of_least_squares(seed):
    given = case(seed, width=10)
    rows = np.hstack(given.jacobians()) * given.y.numpy()[:, None]
    known = np.linalg.lstsq(rows, (given.y - given.f).numpy(), rcond=None)[0]
    found = regression_radius(given.gram, given.y - given.f)
    assert found.value == pytest.approx(np.linalg.norm(known), rel=1e-9)
    assert found.lower <= np.linalg.norm(known) * (1 + 1e-12)
    assert 0 <= found.gap <= 1e-9 * found.value
    forward = given.network.run(given.x)
    v = torch.cat(
        [part.flatten() for part in given.network.gradients(forward, found.coefficients[0])]
    )
    assert np.allclose(v.numpy(), known, atol=1e-9)


def test_the_upper_bound_on_a_regression_radius_pays_for_an_ill_conditioned_matrix():
    """Hilbert's matrix times 360360, whose inverse has whole numbers over that."""
    n, scale = 7, math.lcm(*range(1, 14))
    gram = [[scale // (i + j + 1) for j in range(n)] for i in range(n)]
    inverse = scipy.linalg.invhilbert(n, exact=True)
    for seed in range(20):
        residual = np.random.default_rng(seed).integers(-5, 6, n)
        square = int(residual.astype(object) @ inverse @ residual)
        exact = math.sqrt(square / scale)
        found = regression_radius(torch.tensor(gram).double(), torch.tensor(residual).double())
        assert exact <= found.upper
        assert found.value == pytest.approx(exact, rel=1e-7)
        assert 0 < found.gap <= 1e-6 * exact


def test_bounds_come_apart_where_the_solver_is_stopped(monkeypatch):
    """The gap is no ornament: with one crude stage it is wide, and the optimum is inside."""
    given = case()
    known = {
        "loss": class_value(given.grams, given.f, given.y, 1.0).value,
        "radius": smallest_radius(given.grams, given.f, given.y, 1.0).value,
    }
    monkeypatch.setattr("companion.ntrf._solver._STAGES", 1)
    crude = {
        "loss": class_value(given.grams, given.f, given.y, 1.0),
        "radius": smallest_radius(given.grams, given.f, given.y, 1.0),
    }
    for name, found in crude.items():
        assert found.gap > 1e-6 * found.value
        assert found.lower < known[name] < found.upper
        assert found.upper - known[name] <= found.gap


def test_single_precision_is_close_to_double():
    given = case(width=20)
    singles = [gram.float() for gram in given.grams]
    for quantity in (
        lambda grams: class_value(grams, given.f, given.y, 0.5).value,
        lambda grams: smallest_radius(grams, given.f, given.y, 1.0).value,
        lambda grams: ntrf_margin(torch.stack(grams).sum(0), given.y).value,
        lambda grams: regression_radius(torch.stack(grams).sum(0), given.y).value,
    ):
        assert quantity(singles) == pytest.approx(quantity(given.grams), rel=1e-4)


@pytest.mark.parametrize("seed", [16, 30, 48, 49, 286])
def test_bounds_allow_for_rounding_where_a_layer_cancels(seed):
    """Tiny networks, of which one layer can do without the whole ball."""
    given = case(seed, width=4)
    found = smallest_radius(given.grams, given.f, given.y, 1.0)
    v, margins = moved(given, found)
    assert min(float(part.norm()) for part in v) < 0.99 * found.value
    assert float(margins.min()) >= 1 - 1e-12
    assert radius_of(v, "per-layer") <= found.upper * (1 + 1e-6)
    singles = [gram.float() for gram in given.grams]
    rough = smallest_radius(singles, given.f, given.y, 1.0)
    assert rough.lower <= found.upper
    assert found.lower <= rough.upper


@pytest.mark.parametrize("rounded", [{0}, {1}, {2}, {0, 1, 2}], ids=str)
@pytest.mark.parametrize("radius", [0.5, 3.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_bounds_on_a_loss_allow_for_the_rounding_of_every_gram_matrix(seed, radius, rounded):
    """Of tiny networks, whose losses at a radius stand between bounds that rounding matters to."""
    for width in (2, 3, 4):
        given = case(seed, width=width)
        found = class_value(given.grams, given.f, given.y, radius)
        some = [gram.float() if k in rounded else gram for k, gram in enumerate(given.grams)]
        rough = class_value(some, given.f, given.y, radius)
        assert rough.lower <= found.upper
        assert found.lower <= rough.upper
        assert rough.gap <= 1e-2 * rough.value
