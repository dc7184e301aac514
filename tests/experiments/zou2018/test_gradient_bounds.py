"""Quotients against active sets and automatic differentiation, and verdicts that can fail."""

from functools import partial
from itertools import chain, combinations

import numpy as np
import pytest
import torch

from companion.datasets import DataSet, twins, with_bias
from companion.draws import Batches, independent_seed
from companion.experiments.zou2018 import gradient_bounds
from companion.experiments.zou2018._gradients import (
    GradientQuotients,
    beyond,
    gradient_radius,
    largest_quotient,
    least_quotient,
    least_quotient_of_largest,
    product_radius,
    separation_of,
)
from companion.experiments.zou2018._problem import on_data
from companion.lab.controls import with_controls
from companion.monitors import Moment
from tests.doctoring import doctored, outcomes
from tests.oracles import layer_grams_by_autograd, zou_predictions

TINY = gradient_bounds.Settings(
    count=4,
    dimension=5,
    seeds=3,
    widths=(8, 16, 32),
    counts=(2, 4, 6),
    depths=(2, 3, 4),
    narrow=8,
    steps=4,
    every=2,
)
judged = partial(outcomes, gradient_bounds, TINY)
SCATTER = np.array([0.99, 1.0, 1.01])


@pytest.fixture(scope="module")
def found():
    return gradient_bounds.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here those of the limit are written into it."""
    runs, sizes = SCATTER[:, None, None, None], SCATTER[:, None]
    return doctored(
        found,
        least=0.01 * runs,
        last=0.1 * runs,
        largest=0.5 * runs,
        reached=0.3 * runs,
        deep_least=0.01 * runs,
        deep_last=0.1 * runs,
        deep_largest=0.5 * runs,
        deep_reached=0.3 * runs,
        least_by_count=sizes / np.array(TINY.counts),
        limit_by_separation=sizes * np.array(TINY.small),
        least_over_limit=sizes * np.ones(4),
    )


def drawn(seed=0, width=8, depth=2, count=4):
    """The training problem on twins, made by hand."""
    plain = twins(count, 4, 0.2 / (1 - 0.3**2) ** 0.5, seed)
    data = DataSet(with_bias(plain.x, 0.3), plain.y, "twins")
    return on_data(data, TINY, "cpu", seed=seed, width=width, depth=depth)


def moment(problem, step=0):
    network = problem.network
    return Moment(network, network, problem.x, problem.y, problem.loss, step)


def random_gram(seed, count=4):
    rows = np.random.default_rng(seed).normal(size=(count, 3 * count))
    return torch.from_numpy(rows @ rows.T), torch.tensor([1.0, -1.0] * (count // 2)).double()


def by_active_sets(gram, y, fixed=None):
    """The least quotient over the cone, by a linear system for every set of free examples."""
    signed = (y[:, None] * gram * y).numpy()
    n, values = len(y), []
    for free in chain.from_iterable(combinations(range(n), k) for k in range(1, n + 1)):
        part = [*free]
        if fixed is None:
            a = np.linalg.solve(signed[np.ix_(part, part)], np.ones(len(part)))
            if (a >= 0).all():
                values.append(1 / a.sum())
        elif fixed in free:
            rest = [i for i in part if i != fixed]
            a = np.zeros(n)
            a[fixed] = 1
            if rest:
                a[rest] = np.linalg.solve(signed[np.ix_(rest, rest)], -signed[rest, fixed])
            if (a >= 0).all():
                values.append(a @ signed @ a)
    return min(values)


@pytest.mark.parametrize("seed", range(5))
def test_least_quotients_are_those_of_the_best_active_set(seed):
    gram, y = random_gram(seed)
    assert least_quotient(gram, y) == pytest.approx(by_active_sets(gram, y), rel=1e-6)
    of_largest = min(by_active_sets(gram, y, fixed) for fixed in range(4))
    assert least_quotient_of_largest(gram, y) == pytest.approx(of_largest)


def test_no_vector_of_the_cone_has_a_smaller_or_larger_quotient():
    gram, y = random_gram(7)
    c = -y * torch.from_numpy(np.random.default_rng(0).exponential(size=(2000, 4)))
    values = torch.einsum("ki,ij,kj->k", c, gram, c)
    quotients = values / c.abs().sum(dim=1).square()
    assert least_quotient(gram, y) <= float(quotients.min())
    assert float(quotients.max()) <= largest_quotient(gram)
    assert least_quotient_of_largest(gram, y) <= float((values / c.square().amax(dim=1)).min())


@pytest.mark.parametrize("batches", [None, Batches(2, "subsets", 5)])
def test_quotients_are_those_of_the_differentiated_loss(batches):
    problem, step = drawn(), 3
    weights = [weight.clone().requires_grad_() for weight in problem.network.weights]
    outputs = problem.network.outputs
    rows = torch.arange(4) if batches is None else batches.rows(step, 4)
    margins = (problem.y * zou_predictions(weights, outputs, problem.x))[rows]
    torch.log1p(torch.exp(-margins)).sum().backward()
    slopes = torch.sigmoid(-margins.detach()).sum()
    own = [float(weight.grad.square().sum() / slopes**2) / 8 for weight in weights]
    least, last, largest, reached = GradientQuotients(batches)(moment(problem, step))
    assert (last, reached) == pytest.approx((own[-1], max(own)))
    grams = layer_grams_by_autograd(problem.network, problem.x, zou_predictions)
    assert least == pytest.approx(by_active_sets(grams[-1], problem.y) / 8, rel=1e-6)
    assert largest == pytest.approx(max(float(gram.diagonal().max()) for gram in grams) / 8)


def test_runs_start_at_the_drawn_networks_and_move(found):
    problem = drawn(seed=2, width=16)
    (gram,) = layer_grams_by_autograd(problem.network, problem.x, zou_predictions)[1:]
    known = by_active_sets(gram, problem.y) / 16
    start = found.least.sel(seed=2, width=16).isel(look=0)
    np.testing.assert_allclose(start, known, rtol=1e-6)
    assert float(found.distance.min()) > 0
    assert found.sizes["look"] == 3


def test_counts_and_separations_have_draws_of_their_own(found):
    plain = twins(6, 4, 0.2 / (1 - 0.3**2) ** 0.5, independent_seed(1, 6))
    data = DataSet(with_bias(plain.x, 0.3), plain.y, "twins")
    problem = on_data(data, TINY, "cpu", seed=independent_seed(1, 6), width=16, depth=2)
    gram = layer_grams_by_autograd(problem.network, problem.x, zou_predictions)[-1]
    known = by_active_sets(gram, problem.y) / 16
    assert float(found.least_by_count.sel(seed=1, count=6)) == pytest.approx(known, rel=1e-6)


def test_a_close_pair_has_the_limit_s_first_order():
    """Of two inputs at a small distance: the half that remains of phi / pi when both weigh 1/2."""
    pair = gradient_bounds._limit(TINY.override({"count": 2, "mu": 1e-6}), seed=0, small=0.003)
    theta = 0.003 * (1 - 1 / (3 * np.pi) * 0.003)
    assert pair["limit_by_separation"] == pytest.approx(theta / (4 * np.pi), rel=0.02)


def test_radii_and_the_words_for_what_is_beyond_them():
    assert gradient_radius(10, 2, 0.25) == pytest.approx(0.125 / 4000)
    assert product_radius(2, 100) == pytest.approx(2.0**-11 * np.log(100) ** -1.5)
    assert beyond(0.1, 0.2) == ""
    assert "0.3 from the start" in beyond(0.3, 0.2)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert separation_of(x, torch.tensor([1.0, 1.0, -1.0])) == pytest.approx(0.4**0.5)


def test_the_verdicts_can_be_what_is_expected(settled):
    assert judged(settled) == gradient_bounds.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("vii", {"least": lambda a: a / np.array(TINY.widths)[:, None, None] ** 0.2}),
        ("vii", {"least_by_count": lambda a: a / np.array(TINY.counts) ** 2.2}),
        ("vii", {"limit_by_separation": lambda a: a * np.array(TINY.small) ** 0.2}),
        ("vii", {"least_over_limit": lambda a: a * np.array(TINY.separations) ** 0.3}),
        ("viii", {"largest": lambda a: a * np.array(TINY.widths)[:, None, None] ** 0.4}),
        ("viii", {"deep_largest": lambda a: a * np.array(TINY.depths)[:, None, None] ** 4.2}),
    ],
)
def test_what_is_not_seen_outside_of_the_regime_decides_nothing(settled, claim, lie):
    assert judged(settled, **lie)[f"zou2018-thm5.3{claim}"] == "inconclusive"


def test_within_the_ball_the_same_fails(settled):
    near = doctored(settled, distance=0.0)
    assert set(judged(near).values()) == {"holds"}
    widths = np.array(TINY.widths)[:, None, None]
    assert judged(near, least=lambda a: a / widths**0.2)["zou2018-thm5.3vii"] == "fails"
    assert judged(near, largest=lambda a: a * widths**0.4)["zou2018-thm5.3viii"] == "fails"


def test_a_gradient_outside_of_the_extremes_fails_anyway(settled):
    assert judged(settled, last=0.005)["zou2018-thm5.3vii"] == "fails"
    assert judged(settled, reached=0.6)["zou2018-thm5.3viii"] == "fails"
    assert judged(settled, deep_reached=0.6)["zou2018-thm5.3viii"] == "fails"


def test_noise_decides_nothing(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=(3, 3, 2, 3)))

    def noisy(array):
        return array * noise

    assert judged(settled, least=noisy, last=noisy)["zou2018-thm5.3vii"] == "inconclusive"
    assert judged(settled, largest=noisy, reached=noisy)["zou2018-thm5.3viii"] == "inconclusive"
    steep = np.array(TINY.counts) ** -2.0 * noise[:, :, 0, 0]  # one power from the theorem's
    lied = judged(doctored(settled, least_by_count=lambda a: a * steep), distance=0.0)
    assert lied["zou2018-thm5.3vii"] == "inconclusive"


def test_the_judge_sees_the_lies_of_its_cards(settled):
    verdicts = gradient_bounds.judge(TINY, settled)
    told = with_controls(verdicts, gradient_bounds.CONTROLS, TINY, settled, gradient_bounds.judge)
    assert [verdict.control.outcome for verdict in told] == ["inconclusive"] * 2
