"""One run by autograd on the whole network, the worst slopes by quadratic programming, judges."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from companion.datasets import twins
from companion.experiments.chen2021 import one_layer as experiment
from companion.experiments.chen2021._problem import on_data
from companion.kernels import layer_grams
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions

LEMMA, PROOF, MENDED = "chen2021-lemA.2", "chen2021-prop4.10-proof", "chen2021-prop4.10-mended"
TINY = experiment.QUICK.override(
    {"seeds": 3, "count": 4, "widths": [8, 12, 16], "counts": [4, 6, 8], "dimension": 4,
     "separations": [0.001, 0.002, 0.004], "separation": 0.8, "steps": 1500}
)  # fmt: skip
judged = partial(outcomes, experiment, TINY)
WIDTHS = np.array([8.0, 12, 16])


@pytest.fixture(scope="module")
def found():
    return experiment.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle an exponent: the laws are written into it."""
    factors = np.array([1.0, 1.1, 1.3])
    alphas = np.array(TINY.alphas)[:, None, None]
    return doctored(
        found,
        distance=WIDTHS[None, :, None] ** -alphas * factors,
        rate=np.ones((3, 1)) * factors,
        worst=np.ones((3, 1)) * factors,
        count_worst=factors[:, None] / np.array([4.0, 6, 8]),
        phi_worst=factors[:, None] * np.array([0.001, 0.002, 0.004]),
        reached=True,
        path_share=0.9,
        roots=0.5,
    )


def problem_of(seed, width, alpha):
    data = twins(4, 4, 0.8, seed)
    return on_data(data, TINY, "cpu", seed=seed, width=width, layers=3, alpha=alpha)


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_a_run_by_autograd_on_the_whole_network(found, alpha):
    """All matrices are there, one is trained, in its own coordinates."""
    problem, n = problem_of(1, 12, alpha), 4
    network = problem.network
    gram = layer_grams(network, problem.x)[1]
    step = 0.5 * n / (2 * float(torch.linalg.eigvalsh(gram)[-1]))
    weights, threshold = network.weights[1].clone(), math.log(20) + 1
    losses, norms, roots = [], [], []
    while not losses or losses[-1] >= 1 / n:
        leaf = weights.clone().requires_grad_()
        f = chen_predictions([network.weights[0], leaf], network.outputs, problem.x, alpha)
        each = (threshold - problem.y * f).clamp(min=0) ** 2
        (gradient,) = torch.autograd.grad(each.mean(), leaf)
        losses.append(each.mean().item())
        norms.append(float(gradient.norm()))
        roots.append((each.sqrt().sum() ** 2 / (n * each.sum())).item())
        weights = weights - step * gradient
    moved = float((weights + step * gradient - network.weights[1]).norm())
    one = found.sel(seed=1, width=12, alpha=alpha)
    unit = 12 ** (2 * alpha)
    rate = min(g**2 / loss for g, loss in zip(norms[:-1], losses[:-1], strict=True))
    assert float(one.distance) == pytest.approx(moved)
    assert float(one.rate) == pytest.approx(rate / unit)
    assert float(one.roots) == pytest.approx(min(roots))
    taken = min((a - b) / (step * g**2) for a, b, g in zip(losses, losses[1:], norms, strict=False))
    assert float(one.path_share) == pytest.approx(moved * taken / (2 * math.sqrt(losses[0] / rate)))
    place = next(k for k, loss in enumerate(losses) if loss <= 0.1 * losses[0])
    level = int(np.argmin(np.abs(experiment.LEVELS - 0.1)))
    before, after = (unit * step * (place + shift) for shift in (-2, 1))
    assert before <= float(one.time[level]) <= after
    assert bool(one.reached)


def test_the_worst_slopes_by_quadratic_programming(found):
    problem = problem_of(2, 16, 0.5)
    gram = layer_grams(problem.network, problem.x)[1].numpy()
    y = problem.y.numpy()
    signed = gram * np.outer(y, y) / 16
    done = minimize(
        lambda q: q @ signed @ q, np.full(4, 0.25), jac=lambda q: 2 * signed @ q,
        bounds=[(0, 1)] * 4, constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
        options={"ftol": 1e-14},
    )  # fmt: skip
    told = float(found.worst.sel(seed=2, width=16, alpha=0.5))
    assert told == pytest.approx(done.fun, rel=1e-5)
    # For every slopes the gradient is at least that.
    slopes = np.random.default_rng(0).random(4)
    layer, below = experiment.last_hidden_layer(problem.network, problem.x)
    gradient = layer.gradients(layer.run(below), torch.from_numpy(slopes * y))[0]
    assert float(gradient.norm()) ** 2 >= 16 * told * slopes.sum() ** 2


def test_the_layer_alone_is_the_network(found):
    problem = problem_of(0, 16, 0.25)
    layer, below = experiment.last_hidden_layer(problem.network, problem.x)
    torch.testing.assert_close(layer.predict(below), problem.network.predict(problem.x))
    assert layer.weights[0].shape == (16, 4)


def test_a_small_squared_hinge_is_a_small_cross_entropy(found):
    """Lambda - z = 1 is the edge: log(1 + eps) <= eps."""
    assert float(found.implied.max()) == pytest.approx(math.log1p(0.05) / 0.05)


def test_the_judges_can_say_yes(settled):
    assert judged(settled) == experiment.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie", "outcome"),
    [
        (LEMMA, {"distance": lambda a: a * WIDTHS[:, None] ** 0.2}, "inconclusive"),
        (LEMMA, {"rate": lambda a: a * WIDTHS[:, None] ** -0.2}, "inconclusive"),
        (LEMMA, {"worst": lambda a: a * WIDTHS[:, None] ** -0.2}, "inconclusive"),
        (LEMMA, {"count_worst": lambda a: a * np.array([4.0, 6, 8]) ** -2.1}, "inconclusive"),
        (LEMMA, {"phi_worst": lambda a: a**1.1}, "inconclusive"),
        (LEMMA, {"path_share": 1.01}, "inconclusive"),
        (LEMMA, {"reached": False}, "inconclusive"),
        (LEMMA, {"implied": 1.01}, "fails"),
        (PROOF, {"roots": 1.0}, "holds"),
        (MENDED, {"roots": 0.2}, "fails"),
        (MENDED, {"alone": lambda a: a * 1.01}, "fails"),
    ],
)
def test_each_check_can_refute(settled, claim, lie, outcome):
    assert judged(settled, **lie)[claim] == outcome


def test_noise_settles_nothing(settled):
    noise = np.exp(3 * np.random.default_rng(0).normal(size=(2, 3, 3)))
    assert judged(settled, distance=lambda a: a * noise)[LEMMA] == "inconclusive"


def test_every_control_is_seen(settled):
    for claim, outcome in ((LEMMA, "inconclusive"), (PROOF, "holds"), (MENDED, "fails")):
        lied = experiment.judge(TINY, experiment.CONTROLS[claim].told(TINY, settled))
        assert {v.claim: v.outcome for v in lied}[claim] == outcome
