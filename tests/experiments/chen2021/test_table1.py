"""Both algorithms by autograd, powers by fractions, and a judge that sees what it should."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import independent_seed
from companion.experiments.chen2021 import table1 as experiment
from companion.experiments.chen2021._problem import draw, halves, on_data
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions

TABLE = "chen2021-tab1"
TINY = experiment.QUICK.override(
    {"seeds": 2, "count": 6, "width": 12, "dimension": 4, "accuracies": [0.2, 0.15, 0.1],
     "steps": 60, "samples": [16, 32, 64], "tests": 50}
)  # fmt: skip
judged = partial(outcomes, experiment, TINY)


@pytest.fixture(scope="module")
def found():
    return experiment.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle an exponent: the laws are written into it."""
    factors, inverse = np.array([1.0, 1.2])[:, None], 1 / np.array(TINY.accuracies)
    return doctored(
        found,
        average=factors * inverse,
        first=factors * inverse**0.6,
        error=factors / np.array(TINY.samples),
    )


def stepped(leaves, loss, eta):
    gradients = torch.autograd.grad(loss, leaves)
    return [
        (leaf - eta * grad).detach().requires_grad_()
        for leaf, grad in zip(leaves, gradients, strict=True)
    ]


def leaves_of(network):
    return [each.clone().requires_grad_() for each in (*network.weights, network.outputs)]


def test_gradient_descent_by_autograd(found):
    problem = draw(TINY, "cpu", seed=1, width=12, layers=3)
    leaves, losses = leaves_of(problem.network), []
    for _ in range(61):
        f = chen_predictions(leaves[:2], leaves[2], problem.x)
        loss = torch.nn.functional.softplus(-problem.y * f).mean()
        losses.append(loss.item())
        leaves = stepped(leaves, loss, 4 / (3 * 12))
    for accuracy in TINY.accuracies:
        one = found.sel(seed=1, accuracy=accuracy)
        first = next(k for k, each in enumerate(losses) if each <= 3 * accuracy)
        assert int(one["first"]) == first
        means = [sum(losses[: k + 1]) / (k + 1) for k in range(61)]
        average = next((k for k, each in enumerate(means) if each <= 3 * accuracy), np.nan)
        np.testing.assert_equal(float(one.average), float(average))


def test_sgd_by_autograd(found):
    seed = 1
    stream = halves(64, 4, 0.1, independent_seed(seed, 1))
    test = halves(50, 4, 0.1, independent_seed(seed, 2))
    problem = on_data(stream, TINY, "cpu", seed=seed, width=12, layers=3)
    leaves, errors = leaves_of(problem.network), []
    for k in range(64):
        if k % 8 == 0:
            wrong = chen_predictions(leaves[:2], leaves[2], test.x) * test.y < 0
            errors.append(float(wrong.double().mean()))
        f = chen_predictions(leaves[:2], leaves[2], stream.x[k : k + 1])
        loss = torch.nn.functional.softplus(-stream.y[k] * f).mean()
        leaves = stepped(leaves, loss, 4 / (3 * 12))
    for place, n in enumerate((16, 32, 64)):
        told = float(found.error.sel(seed=seed)[place])
        assert told == pytest.approx(np.mean(errors[: n // 8]))


def test_powers_of_theorems(found):
    assert float(found.iterations_power) == pytest.approx(1)
    assert float(found.gd_samples_power) == pytest.approx(2)
    assert float(found.sgd_samples_power) == pytest.approx(1)
    assert float(found.cao_gu_width_power) == pytest.approx(14)
    assert (found.power.sel(need="iterations") >= 0).all()
    assert int((found.power < 0).sum()) == 2  # polynomials of no degree


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == experiment.EXPECTED


@pytest.mark.parametrize(
    ("lie", "outcome"),
    [
        ({"average": lambda a: a**1.3}, "inconclusive"),
        ({"first": lambda a: a**2.1}, "inconclusive"),
        ({"error": lambda a: a**0.2}, "inconclusive"),
        ({"average": np.nan}, "inconclusive"),
        ({"iterations_power": 2.0}, "fails"),
        ({"sgd_samples_power": 1.01}, "fails"),
        ({"cao_gu_width_power": 7.0}, "fails"),
    ],
)
def test_each_check_can_refute(settled, lie, outcome):
    assert judged(settled, **lie)[TABLE] == outcome


def test_noise_settles_nothing(settled):
    noise = np.exp(3 * np.random.default_rng(0).normal(size=(2, 3)))
    assert judged(settled, error=lambda a: a * noise)[TABLE] == "inconclusive"


def test_the_control_is_seen(settled):
    lied = experiment.judge(TINY, experiment.CONTROLS[TABLE].told(TINY, settled))
    assert lied[0].outcome == "inconclusive"
