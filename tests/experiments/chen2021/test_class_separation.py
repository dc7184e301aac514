"""Distances by loops, radii by another solver, and judges that see what they should."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from companion.datasets import twins
from companion.draws import independent_seed
from companion.experiments.chen2021 import class_separation as experiment
from companion.networks import draw_chen
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, layer_grams_by_autograd

ASSUMPTION, PROPOSITION = "chen2021-ass4.9", "chen2021-prop4.10"
TINY = experiment.QUICK.override(
    {"seeds": 3, "counts": [4, 6, 8], "count": 4, "width": 32, "per_class": 10, "dimension": 4,
     "separations": [0.001, 0.002, 0.004]}
)  # fmt: skip
judged = partial(outcomes, experiment, TINY)


@pytest.fixture(scope="module")
def found():
    return experiment.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle an exponent: the laws are written into it."""
    factors = np.array([1.0, 1.1, 1.3])
    counts, phis = np.array([4.0, 6, 8]), np.array([0.001, 0.002, 0.004])
    return doctored(
        found,
        radius=factors[:, None, None] * np.sqrt(counts),
        phi_radius=factors[:, None] * phis**-0.5,
    )


@pytest.mark.parametrize("kind", experiment.SETS)
def test_distances_by_loops(found, kind):
    data = experiment._drawn(TINY, kind, 8, 1)
    x, y = data.x.numpy(), data.y.numpy()
    apart = {(i, j): np.linalg.norm(x[i] - x[j]) for i, j in itertools.combinations(range(8), 2)}
    one = found.sel(seed=1, set=kind)
    assert float(one.all_pairs) == pytest.approx(min(apart.values()), abs=1e-12)
    unlike = [far for (i, j), far in apart.items() if y[i] != y[j]]
    assert float(one.different) == pytest.approx(min(unlike, default=math.inf))


def least_radius(grams, start, y, margin):
    """By the primal: coefficients of a common V in every layer, SLSQP from several starts."""
    roots = [np.linalg.cholesky(gram + 1e-10 * np.eye(len(y))) for gram in grams]
    n, count = len(y), len(grams)

    def predictions(z):
        parts = z[1:].reshape(count, n)
        return start + sum(root @ part for root, part in zip(roots, parts, strict=True))

    def room(k, z):
        return z[0] ** 2 - (z[1 + k * n : 1 + (k + 1) * n] ** 2).sum()

    limits = [
        {"type": "ineq", "fun": lambda z: y * predictions(z) - margin},
        *({"type": "ineq", "fun": partial(room, k)} for k in range(count)),
    ]
    first = np.r_[50.0, np.concatenate([np.linalg.solve(r, y * margin) for r in roots])]
    done = minimize(lambda z: z[0], first, constraints=limits, options={"maxiter": 1000})
    assert done.success, done.message
    return done.x[0]


def test_a_radius_by_its_primal(found):
    seed, count = 2, 4
    data = experiment._drawn(TINY, "twins", count, seed)
    x = data.x.numpy()
    first = np.clip(x @ x.T, -1, 1)

    def gates(rho):
        return 1 - np.arccos(rho) / math.pi

    def outputs(rho):
        angle = np.arccos(rho)
        return (np.sin(angle) + rho * (math.pi - angle)) / math.pi

    second = np.clip(outputs(first), -1, 1)
    third = outputs(second)
    grams = [first * gates(first) * gates(second) / 2, second * gates(second) / 2, third]
    start = experiment._limit_predictions(data.x, 2, independent_seed(seed, count)).numpy()
    target = -math.log(math.expm1(TINY.accuracy))
    told = float(found.radius.sel(seed=seed, kind="twins", count=count))
    assert told == pytest.approx(least_radius(grams, start, data.y.numpy(), target), rel=1e-3)


def test_predictions_of_the_limit_have_its_covariance():
    x = twins(4, 4, 0.5, 0).x
    drawn = torch.stack([experiment._limit_predictions(x, 2, seed) for seed in range(1000)])
    networks = [draw_chen(64, 4, seed, depth=2, dtype=torch.float64) for seed in range(600)]
    finite = torch.stack([network.predict(x) for network in networks])
    np.testing.assert_allclose(torch.cov(drawn.T), torch.cov(finite.T), atol=0.2)


def test_the_network_s_radius_by_gram_matrices_of_autograd(found):
    from companion.experiments.chen2021._problem import on_data
    from companion.ntrf import smallest_radius

    phi = TINY.network_separations[-1]
    problem = on_data(twins(4, 4, phi, 0), TINY, "cpu", seed=0, width=32, layers=3)
    formula = partial(chen_predictions, alpha=0.5)
    grams = layer_grams_by_autograd(problem.network, problem.x, formula)
    start = problem.network.predict(problem.x)
    rho = smallest_radius(grams, start, problem.y, -math.log(math.expm1(0.05))).value
    told = float(found.network_radius.sel(seed=0, network_phi=phi))
    assert told == pytest.approx(rho * math.sqrt(32), rel=1e-4)


def test_images_and_what_is_said_of_them(found):
    assert list(found.pair.values) == ["3 and 8", "4 and 9"]
    assert (found.images == 20).all()
    told = experiment.values(TINY, found)
    assert told["one_pair"] == "3 and 8"
    assert float(told["one_different"]) >= float(told["one_all"]) > 0
    assert "3 and 8" in found.attrs["data"]


def test_the_judges_can_say_yes(settled):
    assert judged(settled) == experiment.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        (ASSUMPTION, {"image_different": 0.0}),
        (ASSUMPTION, {"different": lambda a: a * 0.9}),
        (ASSUMPTION, {"all_pairs": lambda a: a + 1e-6}),
        (PROPOSITION, {"radius": lambda a: a * np.array([4.0, 6, 8]) ** 1.1}),
        (PROPOSITION, {"phi_radius": lambda a: a * np.array([0.001, 0.002, 0.004]) ** -0.1}),
    ],
)
def test_each_check_can_refute(settled, claim, lie):
    lied = judged(settled, **lie)
    other = {ASSUMPTION: PROPOSITION, PROPOSITION: ASSUMPTION}[claim]
    assert (lied[claim], lied[other]) == ("fails", "holds")


def test_noise_settles_nothing(settled):
    noise = np.exp(3 * np.random.default_rng(0).normal(size=(3, 3)))
    assert judged(settled, phi_radius=lambda a: a * noise)[PROPOSITION] == "inconclusive"


@pytest.mark.parametrize("claim", experiment.EXPECTED)
def test_every_control_is_seen(settled, claim):
    lied = experiment.judge(TINY, experiment.CONTROLS[claim].told(TINY, settled))
    assert {v.claim: v.outcome for v in lied}[claim] == "fails"
