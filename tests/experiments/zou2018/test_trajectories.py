"""Runs of gradient descent and SGD by automatic differentiation, and verdicts that can fail."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import Batches
from companion.experiments.zou2018 import trajectories
from companion.experiments.zou2018._paths import times_of
from companion.experiments.zou2018._problem import draw
from companion.lab.controls import with_controls
from companion.losses import LOSSES
from tests.doctoring import doctored, outcomes
from tests.oracles import zou_predictions

TINY = trajectories.Settings(
    count=4,
    dimension=5,
    seeds=3,
    widths=(8, 16, 32),
    steps=4,
    batch=2,
    batches=(1, 2, 4),
    every=2,
)
judged = partial(outcomes, trajectories, TINY)
SCATTER = np.array([0.99, 1.0, 1.01])[:, None, None, None]
OF_LOSS = {
    "cross-entropy": lambda z: torch.log1p(torch.exp(-z)),
    "squared-hinge": lambda z: torch.clamp(1 - z, min=0) ** 2,
    "hinge": lambda z: torch.clamp(1 - z, min=0),
}


@pytest.fixture(scope="module")
def found():
    return trajectories.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here constants are written into it."""
    return doctored(
        found,
        descent=0.9 * SCATTER,
        constant=0.05 * SCATTER,
        path=0.7 * SCATTER,
        sgd_rate=0.4 * SCATTER,
        sgd_constant=0.05 * SCATTER[..., 0],
        sgd_share=0.5,
        batch_per_time=0.3 * SCATTER,
    )


def by_autograd(loss, width, eta, rows=None):
    """Weights and mean losses of 0, ..., 4 steps of torch.optim.SGD, and gradients of the mean."""
    problem = draw(TINY, "cpu", seed=1, width=width, depth=2, loss=LOSSES[loss])
    weights = [weight.clone().requires_grad_() for weight in problem.network.weights]
    optimiser = torch.optim.SGD(weights, lr=eta)
    path, losses, squares, slopes = [], [], [], []
    for step in range(5):
        margins = problem.y * zou_predictions(weights, problem.network.outputs, problem.x)
        each = OF_LOSS[loss](margins)
        whole = torch.autograd.grad(each.mean(), weights, retain_graph=True)
        slopes.append(torch.autograd.grad(each.sum(), margins, retain_graph=True)[0].abs())
        losses.append(float(each.detach().mean()))
        squares.append(sum(float(g.square().sum()) for g in whole))
        path.append([weight.detach().clone() for weight in weights])
        optimiser.zero_grad()
        (each if rows is None else each[rows(step)]).mean().backward()
        optimiser.step()
    return path, np.array(losses), np.array(squares), slopes


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-hinge"])
def test_gradient_descent_is_that_of_torch(found, loss):
    eta = trajectories.STEP_SIZES[loss] / 16
    path, losses, squares, slopes = by_autograd(loss, 16, eta)
    one = found.sel(seed=1, loss=loss, width=16)
    decrease = (losses[:-1] - losses[1:]) / eta
    np.testing.assert_allclose(one.descent, decrease / squares[:-1], rtol=1e-8)
    means = np.array([float(s.mean()) for s in slopes[:-1]])
    np.testing.assert_allclose(one.constant, decrease / (16 * means**2), rtol=1e-8)
    moves = [[a - b for a, b in zip(now, path[0], strict=True)] for now in path[1:]]
    together = np.sqrt([sum(float(move.square().sum()) for move in each) for each in moves])
    bound = np.sqrt(2 * eta * np.arange(1, 5) * (losses[0] - losses[1:]))
    np.testing.assert_allclose(one.path, together / bound, rtol=1e-8)
    spectral = max(float(torch.linalg.matrix_norm(move, ord=2)) for move in moves[-1])
    assert float(one.far) == pytest.approx(spectral, rel=0.05)
    assert float(one.far) >= spectral * (1 - 1e-9)


def test_sgd_is_that_of_torch_on_the_same_batches(found):
    loss, order = "cross-entropy", Batches(2, "subsets", 1)
    eta = trajectories.STOCHASTIC[loss] / 32
    path, losses, _, slopes = by_autograd(loss, 32, eta, lambda step: order.rows(step, 4))
    one = found.sel(seed=1, rule=loss, width=32)
    moves = [now - then for now, then in zip(path[-1], path[0], strict=True)]
    far = max(float(torch.linalg.matrix_norm(move, ord=2)) for move in moves)
    in_batches = sum(float(slopes[t][order.rows(t, 4)].mean()) for t in range(4))
    assert float(one.sgd_far[-1]) == pytest.approx(far, rel=0.05)
    assert float(one.sgd_rate[-1]) == pytest.approx(far / (eta * 32**0.5 * in_batches), rel=0.05)
    assert float(one.sgd_per_time[-1]) == pytest.approx(far / (4 * eta * 32**0.5), rel=0.05)
    squares = sum(float(s.mean()) ** 2 for s in slopes[:4])
    earned = (losses[0] - losses[-1]) / (eta * 32 * squares)
    assert float(one.sgd_constant) == pytest.approx(earned)


def test_the_largest_gradient_is_that_of_one_example_in_one_layer(found):
    loss = "squared-hinge"
    eta = trajectories.STOCHASTIC[loss] / 8
    order = Batches(2, "subsets", 1)
    path, *_ = by_autograd(loss, 8, eta, lambda step: order.rows(step, 4))
    problem = draw(TINY, "cpu", seed=1, width=8, depth=2, loss=LOSSES[loss])
    weights = [weight.clone().requires_grad_() for weight in path[0]]
    norms = []
    for x, y in zip(problem.x, problem.y, strict=True):
        value = zou_predictions(weights, problem.network.outputs, x[None])[0]
        gradients = torch.autograd.grad(OF_LOSS[loss](y * value), weights)
        norms += [float(gradient.norm()) for gradient in gradients]
    first = max(float((a - b).norm()) for a, b in zip(path[1], path[0], strict=True))
    one = found.sel(seed=1, rule=loss, width=8)
    assert float(one.sgd_share[0]) == pytest.approx(first / (eta * max(norms)))


def test_a_loss_of_nothing_leaves_nothing_to_earn():
    known = times_of(np.array([0.0, 1.0, -1.0]), np.array([0.0, 2.0, 4.0]))
    assert known.tolist() == [np.inf, 0.5, -0.25]


def test_the_verdicts_can_be_what_is_expected(settled):
    assert judged(settled) == trajectories.EXPECTED


def widths(power):
    return np.array(TINY.widths, dtype=float) ** power


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("4-5", {"constant": lambda a: a / widths(0.3)[:, None]}),
        ("4-5", {"descent": 0.49}),
        ("6-7", {"sgd_rate": lambda a: a * widths(0.3)[:, None]}),
        ("6-7", {"sgd_constant": lambda a: a / widths(0.3)}),
        ("6-7", {"batch_per_time": lambda a: a / np.array(TINY.batches)[:, None] ** 1.2}),
    ],
)
def test_what_is_not_seen_outside_of_the_regime_decides_nothing(settled, claim, lie):
    name = f"zou2018-lem5.{claim}"
    assert judged(settled, **lie)[name] == "inconclusive"
    assert judged(doctored(settled, far=0.0, sgd_far=0.0), **lie)[name] == "fails"


def test_a_hinge_that_descends_less_fails_nothing(settled):
    hinge = np.array([1, 1, 1, -1])[:, None, None]
    assert judged(settled, descent=lambda a: a * hinge) == trajectories.EXPECTED


def test_a_distance_beyond_its_bound_fails_anyway(settled):
    assert judged(settled, path=1.01)["zou2018-lem5.4-5"] == "fails"
    assert judged(settled, sgd_share=1.01)["zou2018-lem5.6-7"] == "fails"


def test_a_run_that_does_not_descend_may_go_as_far_as_it_likes(settled):
    lied = judged(settled, path=1.01, descent=0.4)
    assert lied["zou2018-lem5.4-5"] == "inconclusive"


@pytest.mark.parametrize(("name", "power"), [("constant", -0.25), ("sgd_rate", 0.25)])
def test_noise_decides_nothing(settled, name, power):
    """On a law half way to the next one."""
    noise = np.exp(np.random.default_rng(0).normal(size=settled[name].shape))
    near = doctored(settled, far=0.0, sgd_far=0.0)
    lied = judged(near, **{name: lambda a: a * noise * widths(power)[:, None]})
    assert "inconclusive" in lied.values()


def test_the_judge_sees_the_lies_of_its_cards(settled):
    verdicts = trajectories.judge(TINY, settled)
    told = with_controls(verdicts, trajectories.CONTROLS, TINY, settled, trajectories.judge)
    assert [verdict.control.outcome for verdict in told] == ["inconclusive"] * 2
