"""The experiment zou2018/minibatches against exact fractions and loops, and its own failure."""

from fractions import Fraction
from functools import partial
from itertools import combinations, product
from statistics import fmean

import numpy as np
import pytest
import torch

from companion.draws import Batches, independent_seed
from companion.experiments.zou2018 import _minibatches, minibatches
from companion.experiments.zou2018._problem import draw
from companion.lab.controls import with_controls
from tests.doctoring import outcomes
from tests.oracles import zou_predictions

TINY = minibatches.QUICK.override(
    {"count": 6, "enumerated": 4, "dimension": 4, "width": 8, "seeds": 3, "steps": 4,
     "batch_sizes": [2, 3], "draws": 1500}
)  # fmt: skip
judged = partial(outcomes, minibatches, TINY)


@pytest.fixture(scope="module")
def found():
    return minibatches.run(TINY, "cpu")


def test_tiny_run_holds(found):
    assert judged(found) == minibatches.EXPECTED


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_exact_shares_are_those_of_fractions(size):
    """Over all subsets, and over all sequences of independent draws."""
    u = [Fraction(k) for k in (5, -3, 1, -7, 4)]
    single = sum(v * v for v in u) / 5
    for order, batches in (
        ("subsets", list(combinations(u, size))),
        ("replacement", list(product(u, repeat=size))),
    ):
        square = sum((sum(batch) / size) ** 2 for batch in batches) / len(batches)
        exact = _minibatches.exact_share(5, size, order)
        assert exact == pytest.approx(float(square / single), abs=1e-15)


def test_enumeration_finds_a_bias_and_the_mean_square():
    u = torch.tensor([[5.0, 0.0], [-3.0, 2.0], [1.0, -1.0], [-3.0, -1.0]], dtype=torch.float64)
    biases, squares = _minibatches.enumerated(lambda rows: u[rows].mean(dim=0), 4)
    single = float(u.square().sum(dim=1).mean())
    for size in range(1, 5):
        means = [u[list(rows)].mean(dim=0) for rows in combinations(range(4), size)]
        known = fmean(float(mean.square().sum()) for mean in means) / single
        assert squares[size - 1] == pytest.approx(known)
        assert biases[size - 1] == pytest.approx(0, abs=1e-15)
    # The first example instead of the mean: of two it is off, of one it is not.
    biases, _ = _minibatches.enumerated(lambda rows: u[rows[0]], 4)
    assert biases[1] > 0.1


def test_drawn_means_are_those_of_loops():
    u = torch.tensor([2.0, -1.0, -1.0, 3.0, -3.0], dtype=torch.float64)[:, None]
    means, errors = _minibatches.drawn(torch.stack([u @ u.T, 9 * u @ u.T]), [2, 3], 50, seed=4)
    assert means.shape == errors.shape == (2, 2, 2)
    for place, order in enumerate(("subsets", "replacement")):
        for column, size in enumerate((2, 3)):
            batches = Batches(size, order, independent_seed(4, place, size))
            squares = [
                fmean(float(u[i, 0]) for i in batches.rows(step, 5)) ** 2 for step in range(50)
            ]
            error = np.std(squares, ddof=1) / 50**0.5 / 4.8
            for scale in (0, 1):  # of which nothing depends
                assert means[scale, place, column] == pytest.approx(fmean(squares) / 4.8)
                assert errors[scale, place, column] == pytest.approx(error)


def test_gradients_of_minibatches_are_those_of_autograd(found):
    """The mean square of two examples, from gradients of a loss that is written down here."""
    known = draw(TINY.override({"count": 4}), "cpu", seed=1, width=8, depth=3)
    rows = []
    for x, y in zip(known.x, known.y, strict=True):
        leaves = [w.clone().requires_grad_() for w in known.network.weights]
        margin = y * zou_predictions(leaves, known.network.outputs, x[None])[0]
        grads = torch.autograd.grad(torch.nn.functional.softplus(-margin), leaves)
        rows.append(torch.cat([g.flatten() for g in grads]))
    each = torch.stack(rows) - torch.stack(rows).mean(dim=0)
    pairs = [(each[i] + each[j]).square().sum() / 4 for i, j in combinations(range(4), 2)]
    share = float(sum(pairs) / len(pairs) / each.square().sum(dim=1).mean())
    assert float(found.gradient_share.sel(seed=1, size=2)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("zou2018-algo-sgd", {"sgd_gap": 1e-6}),
        ("zou2018-algo-sgd", {"bias": 1e-6}),
        ("zou2018-lemD.2", {"number_share": lambda share: 1.4 * share}),
        ("zou2018-lemD.2-exact", {"number_share": lambda share: 0.999 * share}),
        ("zou2018-lemD.2-exact", {"gradient_share": lambda share: 0.999 * share}),
        ("zou2018-lemD.2-exact", {"drawn_number": lambda mean: 1.5 * mean}),
        ("zou2018-lemD.2-exact", {"drawn_gradient": lambda mean: mean[:, ::-1]}),
    ],
)
def test_each_lie_fails(found, claim, lie):
    assert judged(found, **lie)[claim] == "fails"


def test_a_smaller_variance_keeps_to_the_bound(found):
    told = judged(found, number_share=lambda share: 0.5 * share)
    assert (told["zou2018-lemD.2"], told["zou2018-lemD.2-exact"]) == ("holds", "fails")


def test_noise_decides_nothing(found):
    wild = judged(
        found, drawn_gradient_error=lambda error: 30 * error, drawn_number=np.array([[0.4]])
    )
    assert wild["zou2018-lemD.2-exact"] == "fails"  # the numbers are well known
    wild = judged(found, drawn_gradient_error=lambda error: 30 * error)
    assert wild["zou2018-lemD.2-exact"] == "inconclusive"


@pytest.mark.parametrize("claim", minibatches.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(found, claim):
    verdicts = minibatches.judge(TINY, found)
    told = with_controls(verdicts, minibatches.CONTROLS, TINY, found, minibatches.judge)
    assert {v.claim: v.control.outcome for v in told}[claim] == "fails"
