"""Theorem 3.8 and Remark 3.9: runs by plain loops, W* by its definition, verdicts."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import independent_seed
from companion.experiments.chen2021 import sgd
from companion.experiments.chen2021._comparators import linearised_fit, on_the_ray, squared_distance
from companion.experiments.chen2021._error_bounds import theorem_3_8, theorem_3_8_step_size
from companion.experiments.chen2021._problem import HalvesSettings, draw, halves
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

TINY = sgd.Settings(
    seeds=3,
    dimension=3,
    width=8,
    counts=(4, 8, 16),
    few=(4, 8, 16),
    steps=5,
    near=3,
    each=4,
    tests=16,
)
judged = partial(outcomes, sgd, TINY)


@pytest.fixture(scope="module")
def found():
    return sgd.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Errors that follow their laws, with a level a seed, below the bound."""
    level = np.array([0.9, 1.0, 1.1])
    n, few = np.array(TINY.counts), np.array(TINY.few)
    return doctored(
        found,
        error=(0.5 / n)[:, None, None] * level[:, None],
        descent_error=(0.2 / few)[:, None, None] * level[:, None],
        bound=(40 / n)[:, None] * level,
    )


def problem_of(seed, place, count):
    """As `run` draws it, in the second seed's narrow or wide world."""
    gap = (TINY.narrow, TINY.wide)[place]
    data = halves(count, 3, gap, independent_seed(seed, count, place))
    own = sgd.on_data(
        data, TINY, "cpu", seed=independent_seed(seed, place), width=8, layers=2, alpha=0.5
    )
    fresh = halves(16, 3, gap, independent_seed(seed, count, place, 16))
    return own, fresh


def descended(network, x, y, eta):
    """Parameters after one step on the mean loss of x, y by automatic differentiation."""
    leaves = [p.clone().requires_grad_() for p in network.parameters]
    margins = y * chen_predictions(leaves[:-1], leaves[-1], x)
    gradients = torch.autograd.grad(torch.log1p(torch.exp(-margins)).mean(), leaves)
    moved = [(p - eta * g).detach() for p, g in zip(leaves, gradients, strict=True)]
    return network.moved(moved), margins.detach()


@pytest.mark.parametrize("place", [0, 1])
def test_a_pass_is_sgd_by_autograd(found, place):
    problem, fresh = problem_of(1, place, 8)
    one = found.sel(seed=1, examples=8).isel(world=place)
    eta = (float(one.shortened) if place else 1) / (2 * 8)
    network, errors, mistakes = problem.network, [], 0
    for step in range(8):
        rows = slice(4 * step % 16, 4 * step % 16 + 4)
        errors.append((fresh.y[rows] * network.predict(fresh.x[rows]) < 0).double().mean())
        row = slice(step, step + 1)
        network, margins = descended(network, problem.x[row], problem.y[row], eta)
        mistakes += int(margins < 0)
    assert float(one.error) == pytest.approx(max(float(sum(errors)) / 8, 0.5 / 32))
    assert int(one.mistakes) == mistakes


def test_gradient_descent_is_by_autograd(found):
    problem, fresh = problem_of(2, 0, 16)
    network = problem.network
    for _ in range(5):
        network, _ = descended(network, problem.x, problem.y, 2 / 8)
    wrong = float((fresh.y * network.predict(fresh.x) < 0).double().mean())
    one = found.sel(seed=2, few=16, world="narrow")
    assert float(one.descent_error) == pytest.approx(max(wrong, 0.5 / 16))
    margins = problem.y * network.predict(problem.x)
    assert float(one.descent_loss) == pytest.approx(float(torch.log1p(torch.exp(-margins)).mean()))


def test_a_reference_is_within_its_radius_with_its_losses():
    problem = draw(HalvesSettings(count=6, dimension=3), "cpu", seed=0, width=16, layers=3)
    one, far = on_the_ray(problem, 0.1, (1.0, 1.5))
    jacobians = deep_jacobians(problem.network, problem.x, chen_predictions)
    moves = [w - v for w, v in zip(one.network.parameters, problem.network.parameters, strict=True)]
    change = sum(j @ move.flatten() for j, move in zip(jacobians, moves, strict=True))
    linear = problem.y * (problem.network.predict(problem.x) + change)
    assert float(torch.log1p(torch.exp(-linear)).max()) == pytest.approx(0.1, rel=1e-4)
    norms = [float(move.norm()) for move in moves]
    assert one.radius == pytest.approx(4 * max(norms))
    assert squared_distance(problem.network, one.network) == pytest.approx(
        sum(norm**2 for norm in norms)
    )
    weights = far.network.parameters
    margins = problem.y * chen_predictions(weights[:-1], weights[-1], problem.x)
    assert far.epsilon == pytest.approx(float(torch.log1p(torch.exp(-margins)).max()))
    assert far.radius == pytest.approx(1.5 * one.radius)


def test_no_point_is_nearer_than_the_reference():
    """By the dual: margins of the linearised network grow by less than the radius allows."""
    problem = draw(HalvesSettings(count=6, dimension=3), "cpu", seed=0, width=16, layers=3)
    one = linearised_fit(problem, 0.1)
    target = -math.log(math.expm1(0.1))
    jacobians = deep_jacobians(problem.network, problem.x, chen_predictions)
    weights = torch.rand(2000, 6, generator=torch.Generator().manual_seed(0)).double() ** 4
    sums = [((weights * problem.y) @ j).norm(dim=1) for j in jacobians]
    lacking = weights @ (target - problem.y * problem.network.predict(problem.x))
    least = (lacking / sum(sums)).max() * 4  # m^alpha
    assert 0.5 * one.radius < float(least) <= one.radius * (1 + 1e-6)


def test_the_bound_and_the_step_size_by_hand():
    assert theorem_3_8(2, 3.0, 100, 0.01, math.exp(-1)) == pytest.approx(2.88 + 0.08 + 0.24)
    assert theorem_3_8_step_size(2, 3.0, 100, 0.01, 16, 0.5) == pytest.approx(0.5 / 16)
    assert theorem_3_8_step_size(2, 3.0, 10_000, 0.1, 16, 0.25) == pytest.approx(0.018 / 4)


def test_the_bound_of_a_run_is_by_its_own_reference(found):
    known = 8 * 4 * found.radius**2 / found.examples
    known = known + 8 * math.log(10) / found.examples + 24 * found.accuracy
    np.testing.assert_allclose(found.bound, known)


def test_verdicts_on_the_laws_and_their_lies(settled):
    assert judged(settled) == sgd.EXPECTED
    verdicts = sgd.judge(TINY, settled)
    for told in with_controls(verdicts, sgd.CONTROLS, TINY, settled, sgd.judge):
        assert told.control.outcome != told.outcome


def test_an_error_above_the_bound_is_seen(settled):
    above = settled.error.values.copy()
    above[1, 2, 1] = 1.01 * settled.bound.values[1, 2]
    assert judged(settled, error=above)["chen2021-thm3.8"] == "inconclusive"


@pytest.mark.parametrize(("power", "outcome"), [(-0.8, "outside-regime"), (-0.7, "inconclusive")])
def test_the_error_of_sgd_has_to_fall_nearly_like_one_over_n(settled, power, outcome):
    n = np.array(TINY.counts)[:, None, None] / 4
    lied = judged(settled, error=lambda known: known * n ** (power + 1))
    assert lied == {"chen2021-thm3.8": outcome, "chen2021-rem3.9": outcome}


@pytest.mark.parametrize(("power", "outcome"), [(-0.51, "outside-regime"), (-0.49, "inconclusive")])
def test_that_of_gradient_descent_like_its_root(settled, power, outcome):
    few = np.array(TINY.few)[:, None, None] / 4
    lied = judged(settled, descent_error=lambda known: known * few ** (power + 1))
    assert lied["chen2021-rem3.9"] == outcome


def test_noise_decides_nothing(settled):
    random = np.random.default_rng(0)
    noise = np.exp(random.normal(size=settled.error.shape))
    assert set(judged(settled, error=lambda known: known * noise).values()) == {"inconclusive"}
    unclear = sgd.judge(TINY, doctored(settled, error=lambda known: known * noise))
    assert all("cannot tell" in verdict.sentence for verdict in unclear)
