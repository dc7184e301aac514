"""Theorem 4.1's step size: the bisection against problems whose edge is known."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.du2019 import step_size
from companion.experiments.du2019._problem import on_data
from companion.kernels import empirical_gram, infinite_width_gram, lambda_max
from companion.networks import draw_du
from tests.doctoring import outcomes
from tests.oracles import descent_by_autograd, gram_by_loops, half_sum_loss

SMALL = step_size.QUICK.override(
    {"counts": [4, 6, 8], "widths": [50, 100, 200], "dimension": 8, "seeds": 2, "steps": 12}
)
# A width at which the hypothesis is met, as nobody could run it.
WIDE = SMALL.override({"delta": 0.999999}).model_copy(update={"widths": (50, 100, 10**18)})
judged = partial(outcomes, step_size, SMALL)


@pytest.fixture(scope="module")
def found():
    return step_size.run(SMALL, "cpu")


def problem(count, dimension, width, seed):
    return on_data(sphere(count, dimension, seed), SMALL, "cpu", seed=seed, width=width)


@pytest.mark.parametrize("largest_eigenvalue", [0.5, 2.0, 9.0])
def test_bisection_finds_the_edge_of_a_quadratic(largest_eigenvalue):
    """One mode: the squared residual falls by (1 - eta lambda)^2, below 1 iff eta < 2 / lambda."""
    known = step_size.largest_stable_step_size(
        lambda eta: (1 - eta * largest_eigenvalue) ** 2, count=10, resolution=1e-4
    )
    edge = 2 / largest_eigenvalue
    assert edge * (1 - 1e-4) <= known <= edge


def test_worst_ratio_is_that_of_autograd_descent():
    own = independent_seed(0, 5, 6, 60)
    data, network = sphere(5, 6, seed=0), draw_du(60, 6, seed=own, dtype=torch.float64)
    path = descent_by_autograd(network, data.x, data.y, 1.1, 8)
    sizes = torch.stack([half_sum_loss(p.weights, p.outputs, data.x, data.y) for p in path])
    expected = float((sizes[1:] / sizes[:-1]).max())
    ratio = step_size.worst_ratio(problem(5, 6, 60, 0), 1.1, steps=8)
    assert ratio == pytest.approx(expected, rel=1e-9)


def test_worst_ratio_of_a_diverging_run_is_infinite():
    assert step_size.worst_ratio(problem(5, 6, 60, 0), 1e4, steps=40) == math.inf


def test_one_input_is_stable_up_to_the_edge():
    """With one input there is one mode, H(k) stays near H(0), and the edge is 2 / H_11."""
    one = problem(1, 5, 4000, 1)
    edge = 2 / lambda_max(empirical_gram(one.network, one.x))
    largest = step_size.largest_stable_step_size(
        partial(step_size.worst_ratio, one, steps=5), 1, 0.005
    )
    assert largest == pytest.approx(edge, rel=0.05)


def test_cells_are_their_networks(found):
    """The last cell: n = 6, m = 200, with its edge at the start and after its run, by loops."""
    one = found.sel(seed=1).isel(cell=-1)
    assert (int(one.counts), int(one.widths)) == (6, 200)
    x, y = (getattr(sphere(6, 8, seed=1), name) for name in ("x", "y"))
    network = draw_du(200, 8, seed=independent_seed(1, 6, 8, 200), dtype=torch.float64)
    eigenvalues = np.linalg.eigvalsh(infinite_width_gram(x))
    assert float(one.theorem) == pytest.approx(eigenvalues[0] / 36)
    assert float(one.limit_edge) == pytest.approx(2 / eigenvalues[-1])
    path = descent_by_autograd(network, x, y, float(one.largest), 12)
    for edge, net in ((one.edge, path[0]), (one.final_edge, path[-1])):
        largest = np.linalg.eigvalsh(gram_by_loops(net, x))[-1]
        assert float(edge) == pytest.approx(2 / largest)


def test_values_are_of_the_cells_they_name(found):
    """Cells: n = 4, 6, 8 at m = 100, then m = 50, 100, 200 at n = 6."""
    numbers, a = step_size.values(SMALL, found), found
    slack, ratio = (a.largest / a.theorem).values, (a.largest / a.edge).values
    assert float(numbers["least_slack"]) == pytest.approx(slack[:, 0].mean())
    assert float(numbers["most_slack"]) == pytest.approx(slack[:, 2].mean())
    assert float(numbers["edge_ratio_narrowest"]) == pytest.approx(ratio[:, 3].mean())
    assert float(numbers["edge_ratio_widest"]) == pytest.approx(ratio[:, 5].mean())
    trace = (a.largest.values * np.array([4, 6, 8, 6, 6, 6]) / 4).min()
    assert float(numbers["least_over_trace"]) == pytest.approx(trace)


def test_small_run_agrees(found):
    assert judged(found) == step_size.EXPECTED
    assert (found.largest > found.theorem).all()


def test_judge_sees_a_step_size_that_does_not_do(found):
    """Beyond the theorem's width that says nothing; at it, it would refute the theorem."""
    slow = {"theorem_ratio": np.ones_like}
    assert judged(found, **slow)["du2019-thm4.1-eta"] == "inconclusive"
    assert outcomes(step_size, WIDE, found)["du2019-thm4.1-eta"] == "holds"
    assert outcomes(step_size, WIDE, found, **slow)["du2019-thm4.1-eta"] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(1.001, "holds"), (0.999, "fails")])
def test_a_step_removes_half_of_eta_lambda_0(found, share, outcome):
    ratio = 1 - share * found.theorem.values * found.lambda_0.values / 2
    lied = outcomes(step_size, WIDE, found, theorem_ratio=ratio)
    assert lied["du2019-thm4.1-eta"] == outcome


def test_a_range_that_shrinks_with_width_refutes_our_floor_and_not_the_theorem(found):
    lied = judged(found, largest=lambda a: a / np.sqrt([50, 50, 50, 50, 100, 200]))
    assert lied["du2019-thm4.1-eta-edge"] == "fails"
    assert lied["du2019-thm4.1-eta"] == "outside-regime"


@pytest.mark.parametrize("claim", step_size.EXPECTED)
def test_where_the_hypothesis_is_met_every_lie_refutes_its_claim(found, claim):
    lied = step_size.judge(WIDE, step_size.CONTROLS[claim].told(WIDE, found))
    assert {v.claim: v.outcome for v in lied}[claim] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(0.981, "holds"), (0.979, "fails")])
def test_the_stable_range_may_end_at_the_floor_and_not_below_it(found, share, outcome):
    """2 / (lambda_max + lambda_0 / 4), of the limit, less the bisection's resolution of 0.02."""
    lambda_max, least = 2 / found.limit_edge.values, found.lambda_0.values
    lied = outcomes(step_size, WIDE, found, largest=share * 2 / (lambda_max + least / 4))
    assert lied["du2019-thm4.1-eta-edge"] == outcome


def test_what_is_no_number_decides_nothing(found):
    lied = outcomes(step_size, WIDE, found, largest=lambda a: np.where(a == a.min(), np.nan, a))
    assert lied["du2019-thm4.1-eta-edge"] == "inconclusive"


def test_too_few_widths_for_an_exponent_are_refused():
    with pytest.raises(InputError, match="widths"):
        step_size.QUICK.override({"widths": [100]})
