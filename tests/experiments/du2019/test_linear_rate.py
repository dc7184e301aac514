"""Theorem 4.1, Condition 4.1, Corollary 4.1: the run against autograd, the judge against lies."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.bounds.du2019 import corollary_4_1_distance, theorem_4_1
from companion.datasets import sphere
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.du2019 import linear_rate
from companion.experiments.du2019._problem import draw
from companion.kernels import infinite_width_gram, lambda_max, lambda_min
from companion.networks import draw_du
from tests.doctoring import outcomes
from tests.oracles import (
    descent_by_autograd,
    half_sum_loss,
    linearised_descent_residual,
    max_distance_by_loops,
)

SMALL = linear_rate.QUICK.override(
    {"count": 6, "dimension": 8, "widths": [50, 100, 200], "seeds": 2, "steps": 12}
)
# A width at which the hypothesis is met, as nobody could run it.
WIDE = SMALL.override({"delta": 0.999999}).model_copy(update={"widths": (50, 100, 10**18)})
judged = partial(outcomes, linear_rate, SMALL)


@pytest.fixture(scope="module")
def found():
    return linear_rate.run(SMALL, "cpu")


@pytest.fixture(scope="module")
def settled():
    """A small run does not settle exponents: here the true ones are written into it."""
    found = linear_rate.run(SMALL, "cpu")
    widths, seeds = found.width.values[:, None], np.array([1.0, 1.01])[:, None, None]
    start = np.sqrt(found.misfit[:, :, -1, :1].values)
    law = 0.05 * widths**-0.5 * np.ones(3) * seeds * start
    rate = np.exp(-0.5 * np.arange(13)) * np.ones((2, 3, 3, 1)) * found.misfit[..., :1].values
    return found.assign(
        {
            name: (found[name].dims, law)
            for name in ("farthest", "distance", "rms_distance", "frozen_distance")
        }
        | {"misfit": (found.misfit.dims, rate)}
    )


def test_misfit_and_distance_are_those_of_autograd_descent(found):
    own = independent_seed(1, 6, 8, 100)
    data, network = sphere(6, 8, seed=1), draw_du(100, 8, seed=own, dtype=torch.float64)
    eta = 1 / lambda_max(infinite_width_gram(data.x))
    path = descent_by_autograd(network, data.x, data.y, eta, 12)
    misfits = [2 * half_sum_loss(net.weights, net.outputs, data.x, data.y) for net in path]
    one = found.sel(seed=1, width=100).isel(eta=-1)
    np.testing.assert_allclose(one.misfit, misfits, rtol=1e-8)
    far = [max_distance_by_loops(path[0].weights, each.weights) for each in path]
    assert float(one.distance) == pytest.approx(far[-1], rel=1e-9)
    assert float(one.farthest) == pytest.approx(max(far), rel=1e-9)


def test_the_farthest_unit_is_sought_at_every_step():
    """Beyond the edge of stability units swing back: the last step is not the one to look at."""
    swinging = SMALL.override({"step_sizes": [1.95], "steps": 2, "seeds": 1})
    found = linear_rate.run(swinging, "cpu").isel(eta=-1)
    assert (found.farthest > 1.1 * found.distance).any()


def test_first_step_size_is_the_theorems(found):
    lambda_0 = lambda_min(infinite_width_gram(sphere(6, 8, seed=0).x))
    assert float(found.step_size[0, 0, 0]) == pytest.approx(lambda_0 / 36)


def test_bounds_by_hand():
    assert theorem_4_1(np.array([0, 2]), 0.5, 0.4, 10.0) == pytest.approx([10.0, 10 * 0.9**2])
    assert corollary_4_1_distance(4, 100, 0.5, 9.0) == pytest.approx(4 * 2 * 3 / (10 * 0.5))


def test_corollary_is_the_geometric_series_it_comes_from():
    """sum_k eta sqrt(n/m) (1 - eta lambda_0/2)^{k/2} ||y - u(0)|| stays below the bound."""
    eta, lambda_0, n, m, start = 0.3, 0.4, 5, 70, 2.0
    total = sum(
        eta * math.sqrt(n / m) * (1 - eta * lambda_0 / 2) ** (k / 2) * math.sqrt(start)
        for k in range(2000)
    )
    assert 0.9 < total / corollary_4_1_distance(n, m, lambda_0, start) <= 1


def test_frozen_distances_add_up_the_frozen_gradients():
    problem = draw(SMALL, "cpu", seed=3, width=9)
    (weights,), outputs, eta = problem.network.weights, problem.network.outputs, 0.8
    moved = torch.zeros_like(weights)
    for k in range(4):
        residual = linearised_descent_residual(problem.limit, problem.residual, eta, k)
        for r, i in np.ndindex(9, 6):
            if float(weights[r] @ problem.x[i]) >= 0:
                moved[r] -= eta * residual[i] * outputs[r] * problem.x[i] / 3
    known = float(moved.norm(dim=1).max())
    assert linear_rate._frozen(problem, eta, 4) == pytest.approx(known)


def test_frozen_distances_are_exact_for_one_step():
    problem = draw(SMALL, "cpu", seed=2, width=40)
    after = descent_by_autograd(problem.network, problem.x, problem.y, 0.7, 1)[1]
    known = float((after.weights - problem.network.weights[0]).norm(dim=1).max())
    assert linear_rate._frozen(problem, 0.7, 1) == pytest.approx(known)


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == linear_rate.EXPECTED


@pytest.mark.parametrize("claim", linear_rate.EXPECTED)
def test_where_the_hypothesis_is_met_every_lie_refutes_its_claim(settled, claim):
    assert set(outcomes(linear_rate, WIDE, settled).values()) == {"holds"}
    lied = linear_rate.judge(WIDE, linear_rate.CONTROLS[claim].told(WIDE, settled))
    assert {v.claim: v.outcome for v in lied}[claim] == "fails"


def test_beyond_the_hypothesis_a_residual_above_the_bound_says_nothing(settled):
    slow = 0.9999999 ** np.arange(13)
    lied = judged(settled, misfit=lambda a: a[..., :1] * slow)
    assert (lied["du2019-thm4.1"], lied["du2019-cond4.1"]) == ("inconclusive", "inconclusive")
    assert lied["du2019-cor4.1"] != "holds"


@pytest.mark.parametrize("eta", [0, 1, 2])
def test_the_bound_adds_up_what_the_steps_contract(settled, eta):
    """A step that stands still after five that fell far below the bound breaks the induction."""

    def stall(misfit):
        misfit[0, 0, eta, 6:] = misfit[0, 0, eta, 5]
        return misfit

    late = outcomes(linear_rate, WIDE, settled, misfit=stall)
    assert (late["du2019-thm4.1"], late["du2019-cond4.1"]) == ("holds", "fails")


@pytest.mark.parametrize(("share", "outcome"), [(1.001, "holds"), (0.999, "fails")])
@pytest.mark.parametrize("eta", [0, 1, 2])
def test_the_bound_is_judged_at_every_step_size(settled, eta, share, outcome):
    """A residual that just keeps to (1 - eta lambda_0 / 2)^k, and one that does not."""
    one = settled.isel(eta=eta)
    bound = (1 - one.step_size * one.lambda_0 / 2).values[..., None] ** (share * np.arange(13))

    def slow(misfit):
        misfit[:, :, eta] = misfit[:, :, eta, :1] * bound
        return misfit

    assert outcomes(linear_rate, WIDE, settled, misfit=slow)["du2019-thm4.1"] == outcome


def test_the_card_tells_every_step_size_apart(settled):
    (theorem,) = [v for v in linear_rate.judge(SMALL, settled) if v.claim == "du2019-thm4.1"]
    ends = (r"\lambda_0/n^2$", r"0.5/\lambda_{\max}(H^\infty)$", r"1/\lambda_{\max}(H^\infty)$")
    assert len(theorem.checks) == 3
    assert all(c.what.endswith(end) for c, end in zip(theorem.checks, ends, strict=True))


def test_judge_sees_a_rate_that_grows_with_the_width(settled):
    """The rate of a step size proportional to sqrt m; a bound does not mind a faster fall."""
    rate = 0.1 * np.sqrt(settled.width.values / 50)[:, None, None]
    lied = judged(
        settled,
        misfit=np.exp(-rate * np.arange(13)) * np.ones((2, 3, 3, 1)),
        lambda_0=lambda a: 0.01 * a,
    )
    assert lied["du2019-thm4.1"] == lied["du2019-cond4.1"] == "outside-regime"
    assert lied["du2019-thm4.1-rate"] == "fails"


def test_a_unit_beyond_the_ball_refutes_the_corollary_and_not_the_exponents(settled):
    lied = judged(settled, farthest=lambda a: 1e3 * a)
    assert lied["du2019-cor4.1"] == "fails"
    assert lied["du2019-cor4.1-exponent"] == "holds"


@pytest.mark.parametrize("name", ["distance", "rms_distance"])
def test_another_power_of_the_width_refutes_the_exponents_and_not_the_corollary(settled, name):
    lied = judged(settled, **{name: lambda a: a * np.array([1.0, 2.0, 4.0])[None, :, None]})
    assert lied["du2019-cor4.1-exponent"] == "fails"
    assert lied["du2019-cor4.1"] == "holds"


def test_noise_does_not_settle_an_exponent(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=(2, 3, 3)))
    lied = judged(settled, distance=lambda a: a * noise)
    assert lied["du2019-cor4.1-exponent"] == "inconclusive"


def test_too_few_widths_for_an_exponent_are_refused():
    with pytest.raises(InputError, match="widths"):
        linear_rate.QUICK.override({"widths": [100, 200]})
