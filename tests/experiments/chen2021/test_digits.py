"""One pass over digits: no image held out is trained on, errors by a loop, intervals by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from companion.datafiles import digits_source
from companion.datasets import digits as images
from companion.draws import cpu_generator, independent_seed
from companion.errors import InputError
from companion.experiments.chen2021 import digits
from companion.experiments.chen2021._problem import on_data
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions

TINY = digits.Settings(
    seeds=2, per_class=10, held_out=4, width=8, counts=(4, 8, 16), each=2, dtype="float64"
)
judged = partial(outcomes, digits, TINY)


@pytest.fixture(scope="module")
def found():
    return digits.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    error = np.array([[0.5, 0.6], [0.3, 0.4], [0.1, 0.2]])
    return doctored(found, error=error, wrong=0.0)


def test_a_pass_is_a_loop_over_images_that_are_not_held_out(found):
    data = images(digits_source(), (3, 8), 14)
    own = independent_seed(1, 16)
    rows = torch.randperm(20, generator=cpu_generator("order", own))[:16]
    held = range(20, 28)
    assert not {*rows.tolist()} & {*held}
    assert float(data.y[20:].sum()) == 0
    own_data = type(data)(data.x[rows], data.y[rows], "")
    network = on_data(own_data, TINY, "cpu", seed=own, width=8, layers=3).network
    leaves, errors = list(network.parameters), []
    x, y = data.x[20:], data.y[20:]
    for step, row in enumerate(rows.tolist()):
        some = slice(2 * step % 8, 2 * step % 8 + 2)
        wrong = y[some] * chen_predictions(leaves[:-1], leaves[-1], x[some]) < 0
        errors.append(float(wrong.double().mean()))
        leaves = [p.detach().clone().requires_grad_() for p in leaves]
        margin = data.y[row] * chen_predictions(leaves[:-1], leaves[-1], data.x[row, None])[0]
        gradients = torch.autograd.grad(torch.log1p(torch.exp(-margin)), leaves)
        leaves = [(p - g / 24).detach() for p, g in zip(leaves, gradients, strict=True)]
    one = found.sel(seed=1, examples=16)
    assert float(one.error) == pytest.approx(np.mean(errors))
    wrong = (y * chen_predictions(leaves[:-1], leaves[-1], x) < 0).sum()
    assert int(one.wrong) == int(wrong)


def test_intervals_are_those_of_clopper_and_pearson(found):
    low, high = digits.interval(TINY, 2)
    assert stats.binom.sf(1, 8, low) == pytest.approx(0.025)
    assert stats.binom.cdf(2, 8, high) == pytest.approx(0.025)
    assert digits.limits(TINY, found).shape == (2, 2)


def test_verdict_and_its_lie(settled):
    assert judged(settled) == digits.EXPECTED
    verdicts = digits.judge(TINY, settled)
    (told,) = with_controls(verdicts, digits.CONTROLS, TINY, settled, digits.judge)
    assert told.control.outcome == "fails"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ([[0.5, 0.6], [0.3, 0.4], [0.31, 0.2]], "holds"),  # of one seed it rises a little once
        ([[0.3, 0.4], [0.4, 0.3], [0.3, 0.4]], "inconclusive"),
        ([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], "fails"),
    ],
)
def test_errors_that_do_not_fall_are_seen(settled, error, outcome):
    assert judged(settled, error=np.array(error)) == {"chen2021-thm3.8-digits": outcome}


def test_a_guess_at_the_end_is_seen(settled):
    assert judged(settled, wrong=3.0) == {"chen2021-thm3.8-digits": "fails"}


def test_more_images_than_there_are_refused():
    with pytest.raises(InputError, match="images"):
        digits.run(TINY.override({"per_class": 10_000}), "cpu")
