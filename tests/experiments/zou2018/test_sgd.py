"""Theorem 4.5: runs against plain autograd on the same batches, verdicts on written-in laws."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import Batches, independent_seed
from companion.errors import InputError
from companion.experiments.zou2018 import sgd
from companion.experiments.zou2018._problem import draw
from tests.doctoring import doctored, outcomes
from tests.experiments.zou2018.test_loss_decay import ON_MARGINS
from tests.oracles import layer_grams_by_autograd, zou_predictions

TINY = sgd.QUICK.override(
    {
        **{"count": 4, "dimension": 5, "width": 16, "seeds": 2, "steps": 120, "looks": 10},
        **{"fast_halvings": 5, "batch_sizes": [1, 2, 3]},
    }
)
judged = partial(outcomes, sgd, TINY)


@pytest.fixture(scope="module")
def found():
    return sgd.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Laws, and distances that fall with the size of the batches, with a level a seed."""
    level = np.array([1.0, 1.2])[:, None, None, None]
    inverse = 2.0**found.halving.values
    iterations = np.stack([9 * np.log(inverse), 7 * inverse])[:, None, None, None]
    return doctored(
        found,
        iterations=level * iterations,
        distance=level[..., 0] * found.batch.values[:, None] ** -0.05,
        first_small=30.0,
        first_right=29.0,
    )


def by_autograd(problem, of, step_size, batches):
    """Mean loss after every step, and the distance of the weights from the first ones."""
    start = problem.network.weights
    leaves = [weight.clone().requires_grad_() for weight in start]
    losses, far = [], []
    for step in range(TINY.steps + 1):
        margins = problem.y * zou_predictions(leaves, problem.network.outputs, problem.x)
        losses.append(of(margins).mean().item())
        moved = zip(leaves, start, strict=True)
        far.append(sum(float((a.detach() - b).square().sum()) for a, b in moved) ** 0.5)
        rows = range(4) if batches is None else batches.rows(step, 4)
        total = sum(of(margins[row]) for row in rows) / len(rows)
        gradients = torch.autograd.grad(total, leaves)
        leaves = [
            (leaf - step_size * gradient).detach().requires_grad_()
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
    return np.array(losses), np.array(far)


@pytest.mark.parametrize("loss", sgd.NAMES)
@pytest.mark.parametrize(("size", "run"), [(1, 1), (3, 0), (4, 0), (4, 1)])
def test_a_run_is_sgd_by_autograd(found, loss, size, run):
    """Of the second seed; gradient descent stands for all its runs."""
    problem = draw(TINY, "cpu", seed=1, width=16, depth=2)
    grams = sum(layer_grams_by_autograd(problem.network, problem.x, zou_predictions))
    largest_second_derivative = {"squared-hinge": 2, "cross-entropy": 1 / 4}[loss]
    eta = 1 / (largest_second_derivative * float(grams.diagonal().max()))
    own = None if size == 4 else Batches(size, "subsets", independent_seed(1, size, run))
    losses, far = by_autograd(problem, ON_MARGINS[loss], eta, own)
    one = found.sel(loss=loss, seed=1, batch=size).isel(run=run)
    known = one.mean_loss.dropna("look")
    least = np.minimum.accumulate(losses)
    np.testing.assert_allclose(known, least[known.look.values], rtol=1e-7)
    for halving in range(1, 6):
        at, reached = float(one.iterations.sel(halving=halving)), losses <= 0.5**halving
        assert at == np.flatnonzero(reached)[0] if reached.any() else np.isnan(at)
    if (losses < 0.5**5).any():
        assert float(one.distance) == pytest.approx(far[np.flatnonzero(losses < 0.5**5)[0]])
    else:
        assert np.isnan(one.distance)


def test_values_are_of_the_smallest_batches(settled):
    told = sgd.values(TINY, settled)
    assert float(told["longer_fast"]) == pytest.approx(1)
    assert float(told["farther_slow"]) == pytest.approx(4**0.05)


def test_verdicts_on_the_laws(settled):
    assert judged(settled) == sgd.EXPECTED


@pytest.mark.parametrize("place", [0, 1])
def test_each_loss_is_held_to_its_law(settled, place):
    beyond = np.ones((2, 1, 1, 1, 5))
    log = np.log(2.0) * settled.halving.values
    beyond[place] = np.exp(log / 4) if place else log
    lied = judged(settled, iterations=lambda known: known * beyond)
    assert lied["zou2018-thm4.5"] == "inconclusive"


def test_a_loss_that_no_iterate_reaches_is_seen(settled):
    def unreached(known):
        known[0, 0, 0, 0, -1] = np.nan
        return known

    assert judged(settled, iterations=unreached)["zou2018-thm4.5"] == "inconclusive"


def test_the_implication_needs_no_regime(settled):
    assert judged(settled, first_right=31.0)["zou2018-cor4.6"] == "fails"
    assert judged(settled, first_right=np.nan)["zou2018-cor4.6"] == "fails"
    never = judged(settled, first_right=np.nan, first_small=np.nan)
    assert never["zou2018-cor4.6"] == "inconclusive"


@pytest.mark.parametrize(("factor", "outcome"), [(1.01, "outside-regime"), (0.99, "inconclusive")])
def test_the_remark_asks_for_the_square_of_the_count(settled, factor, outcome):
    more = np.array([factor * 16, 1, 1, 1])[:, None, None]
    assert judged(settled, iterations=lambda k: k * more)["zou2018-rem4.7"] == outcome


@pytest.mark.parametrize(("power", "outcome"), [(-0.01, "holds"), (0.01, "fails")])
def test_smaller_batches_lead_farther(settled, power, outcome):
    level = np.array([1.0, 1.2])[:, None, None]
    lied = judged(settled, distance=level * settled.batch.values[:, None] ** power)
    assert lied["zou2018-rem4.7-distance"] == outcome


def test_noise_decides_nothing(settled):
    random = np.random.default_rng(0)
    noise = np.exp(random.normal(size=settled.iterations.shape))
    bumps = np.exp(random.normal(size=settled.distance.shape))
    lied = judged(settled, iterations=lambda k: k * noise, distance=lambda far: far * bumps)
    assert lied["zou2018-thm4.5"] == lied["zou2018-rem4.7-distance"] == "inconclusive"


@pytest.mark.parametrize("p", [Fraction(1, 4), Fraction(1, 2), Fraction(1)])
def test_the_proofs_powers_of_n_differ_by_two_to_four(p):
    """Those of the larger terms, of Theorems 4.5 and 4.1 in version 3, with B = 1.

    Iterations of gradient descent are K eta of Lemma 5.4 over eta = n^-3: K eta has n^(5 - 2p),
    n^4 log at p = 1/2, and n^5 where alpha_0 is finite.
    """
    half = p == Fraction(1, 2)
    widths = {"infinite": (28 - 25 if half else (30 - 4 * p) - (26 - 2 * p)), "finite": 28 - 26}
    steps = {
        "infinite": (10 - 7 if half else (12 - 4 * p) - (8 - 2 * p)),
        "finite": (11 if half else 12 - 2 * p) - 8,
    }
    assert all(2 <= power <= 4 for power in [*widths.values(), *steps.values()])


def test_a_batch_beyond_all_examples_is_refused():
    with pytest.raises(InputError, match="batch size"):
        sgd.run(TINY.override({"batch_sizes": [1, 2, 5]}), "cpu")
