"""Runs by automatic differentiation, radii by another solver, and verdicts that can fail."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from companion.errors import InputError
from companion.experiments.chen2021 import gradient_descent
from companion.experiments.chen2021._comparators import (
    horizon,
    linearised_fit,
    squared_distance,
)
from companion.experiments.chen2021._horizons import Run, follow_past
from companion.experiments.chen2021._problem import draw
from companion.experiments.chen2021._tangent import first_order
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes

TINY = gradient_descent.Settings(
    count=4,
    dimension=3,
    seeds=3,
    alphas=(0.25, 0.5),
    widths=(8, 16, 32),
    targets=(0.3, 0.35, 0.4, 0.5),
    octaves=3,
    octaves_width=16,
    shown=4,
)
judged = partial(outcomes, gradient_descent, TINY)
WIDTHS = np.array(TINY.widths, dtype=float)
SCATTER = np.array([0.99, 1.0, 1.01])


@pytest.fixture(scope="module")
def found():
    return gradient_descent.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here laws are written into it."""
    targets = np.array(TINY.targets)
    radius = SCATTER[:, None, None, None] * (1 + np.log(1 / targets))
    past = SCATTER[:, None] * (2 + 0.7 * np.arange(TINY.octaves + 1))
    return doctored(
        found,
        radius=radius,
        least_radius=0.8 * radius[:, :, 0],
        reached=SCATTER[:, None, None, None] * 5 / targets,
        share=0.3,
        ntrf_share=0.3,
        distance=2 * SCATTER[:, None, None],
        past_distance=past,
        past_error=0.1 * past,
    )


def by_autograd(alpha, steps, width=16, eta=1.0, seed=1):
    """Weights, the four losses and gradients of predictions along torch.optim.SGD."""
    problem = draw(TINY, "cpu", seed=seed, width=width, layers=3, alpha=alpha)
    weights = [w.clone().requires_grad_() for w in problem.network.parameters]
    optimiser = torch.optim.SGD(weights, lr=eta / width ** (2 * alpha))
    path, losses = [], []
    for _ in range(steps):
        each = torch.log1p(torch.exp(-problem.y * predicted(weights, problem.x, width**alpha)))
        path.append([w.detach().clone() for w in weights])
        losses.append(each.detach())
        optimiser.zero_grad()
        each.mean().backward()
        optimiser.step()
    return path, torch.stack(losses).numpy()


def predicted(weights, x, scale):
    for weight in weights[:-1]:
        x = torch.relu(x @ weight.T)
    return scale * (x @ weights[-1])


def far(weights, start):
    return max(float((a - b).norm()) for a, b in zip(weights, start, strict=True))


@pytest.mark.parametrize("alpha", TINY.alphas)
def test_radius_average_and_first_steps_are_those_of_torch(found, alpha):
    path, losses = by_autograd(alpha, 400)
    one = found.sel(seed=1, alpha=alpha, width=16)
    means = losses.mean(axis=1)
    for place, target in enumerate(TINY.targets):
        first = int(np.argmax(losses.max(axis=1) < target))
        radius = 16**alpha * far(path[first], path[0])
        assert float(one.radius[place]) == pytest.approx(radius)
        late = [k for k in range(1, 400) if means[k] <= target]
        assert float(one.reached[place]) == late[0]
        if place >= len(TINY.targets) - TINY.followed:
            count = math.ceil(3 * radius**2 / target)
            share = means[:count].mean() / (3 * target)
            assert float(one.share[place - len(TINY.targets) + TINY.followed]) == (
                pytest.approx(share)
            )
            if place == len(TINY.targets) - TINY.followed:
                last = path[max(count, first + 1) - 1]
                assert float(one.distance) == pytest.approx(16**alpha * far(last, path[0]))
    np.testing.assert_allclose(one.loss, means[TINY.looks])


def jacobian(problem):
    weights = [w.clone().requires_grad_() for w in problem.network.parameters]
    f = predicted(weights, problem.x, problem.network.output_gain)
    return f.detach(), [torch.autograd.grad(each, weights, retain_graph=True) for each in f]


def test_the_linearised_fit_is_the_shortest_by_another_solver():
    problem = draw(TINY, "cpu", seed=2, width=8, layers=3, alpha=0.5)
    target, scale = 0.4, 8**0.5
    fit = linearised_fit(problem, target)
    f, rows = jacobian(problem)
    moves = [b - a for a, b in zip(problem.network.parameters, fit.network.parameters, strict=True)]
    assert scale * max(float(v.norm()) for v in moves) == pytest.approx(fit.radius, rel=1e-4)
    along = torch.stack([sum((g * v).sum() for g, v in zip(r, moves, strict=True)) for r in rows])
    margin = -math.log(math.exp(target) - 1)
    assert float((problem.y * (f + along)).min()) == pytest.approx(margin, abs=1e-4)

    flat = [torch.stack([r[layer].flatten() for r in rows]).numpy() for layer in range(3)]
    needed, y = (margin - problem.y * f).numpy(), problem.y.numpy()

    def radius(a):  # the dual: no point of the cone is better than the optimum
        a = np.abs(a)
        return -(a @ needed) / sum(np.linalg.norm((a * y) @ layer) for layer in flat)

    starts = np.random.default_rng(0).random((3, 4)) + 0.1
    best = min(minimize(radius, a, method="Nelder-Mead", tol=1e-9).fun for a in starts)
    assert scale * -best == pytest.approx(fit.radius, rel=1e-3)
    moved = predicted(fit.network.parameters, problem.x, scale)
    assert fit.epsilon == pytest.approx(float(torch.log1p(torch.exp(-problem.y * moved)).max()))


def test_products_with_gradients_are_those_of_autograd():
    problem = draw(TINY, "cpu", seed=0, width=8, layers=3, alpha=0.25)
    other = draw(TINY, "cpu", seed=5, width=8, layers=3, alpha=0.25).network
    _, rows = jacobian(problem)
    moves = [b - a for a, b in zip(problem.network.parameters, other.parameters, strict=True)]
    forward = problem.network.run(problem.x)
    along = [float(sum((g * v).sum() for g, v in zip(r, moves, strict=True))) for r in rows]
    np.testing.assert_allclose(first_order(problem.network, forward, moves), along)
    apart = sum(float(v.square().sum()) for v in moves)
    assert squared_distance(problem.network, other) == pytest.approx(apart)


def test_past_the_horizon_it_is_the_same_run(found):
    path, losses = by_autograd(0.5, 700)
    first = int(np.argmax(losses.max(axis=1) < 0.5))
    count = max(horizon(3, 4 * far(path[first], path[0]), 0.5, 1.0), first + 1)
    one = found.sel(seed=1)
    assert int(one.past_horizon) == count
    problem = draw(TINY, "cpu", seed=1, width=16, layers=3, alpha=0.5)
    for octave in range(TINY.octaves + 1):
        at = count * 2**octave
        assert float(one.past_distance[octave]) == pytest.approx(4 * far(path[at], path[0]))
        assert float(one.past_share[octave]) == pytest.approx(losses[:at].mean() / 1.5)
        weights = [w.clone().requires_grad_() for w in path[at]]
        f = predicted(weights, problem.x, 4)
        rows = [torch.autograd.grad(each, weights, retain_graph=True) for each in f]
        error = [
            b
            - a
            - sum((g * (v - w)).sum() for g, v, w in zip(r, path[first], weights, strict=True))
            for a, b, r in zip(f, predicted(path[first], problem.x, 4), rows, strict=True)
        ]
        largest = max(abs(each.item()) for each in error)
        assert float(one.past_error[octave]) == pytest.approx(largest, abs=1e-9)


def test_what_is_not_reached_is_missing_or_refused():
    assert math.isnan(Run([0.7, 0.6]).average(0.1, 3))
    assert math.isnan(Run([0.7, 0.6]).average(0.1, math.nan))
    assert Run([0.3, 0.6]).average(0.1, 2) == pytest.approx(1.5)
    assert math.isnan(Run([0.2, 0.6]).first_below(0.5))
    problem = draw(TINY, "cpu", seed=1, width=8, layers=3)
    with pytest.raises(InputError, match="after 2 steps a loss is still above"):
        follow_past(problem, 1.0, 0.01, 2, 2)
    short = {"most": 30, "seeds": 1, "targets": (0.0001, 0.1, 0.2, 0.69)}
    cut = gradient_descent.run(TINY.override(short), "cpu")
    assert cut.radius.isel(target=0).isnull().all()
    assert cut.reached.isel(target=0).isnull().all()


def test_the_verdicts_can_be_what_is_expected(settled):
    assert judged(settled) == gradient_descent.EXPECTED


def inverse(power):
    return (1 / np.array(TINY.targets)) ** power


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("ass3.2", {"radius": lambda a: a * WIDTHS[:, None, None] ** 0.3}),
        ("ass3.2", {"least_radius": lambda a: a * WIDTHS[:, None] ** 0.4}),
        ("ass3.2", {"radius": SCATTER[:, None, None, None] * inverse(0.5)}),
        ("ass3.2", {"least_radius": SCATTER[:, None, None] * inverse(0.5)}),
        ("ass3.2", {"radius": np.nan}),
        ("thm3.3", {"share": 1.01}),
        ("thm3.3", {"ntrf_share": 1.01}),
        ("thm3.3", {"reached": lambda a: a * inverse(1.5)}),
        ("thm3.3", {"reached": lambda a: a * WIDTHS[:, None, None] ** 0.4}),
        ("thm3.3", {"distance": lambda a: a * WIDTHS[:, None] ** 0.4}),
        ("rem3.4", {"past_distance": lambda a: 3 + 0 * a}),
        ("rem3.4", {"past_distance": lambda a: a**3}),
        ("rem3.4", {"past_error": 0.1}),
    ],
)
def test_each_judge_sees_what_would_refute_it(settled, claim, lie):
    expected = gradient_descent.EXPECTED[f"chen2021-{claim}"]
    outcome = judged(settled, **lie)[f"chen2021-{claim}"]
    assert outcome == ("fails" if expected == "holds" else "inconclusive")


@pytest.mark.parametrize(
    ("claim", "name"), [("ass3.2", "radius"), ("thm3.3", "distance"), ("rem3.4", "past_distance")]
)
def test_noise_decides_nothing(settled, claim, name):
    noise = np.exp(np.random.default_rng(3).normal(size=settled[name].shape))
    assert judged(settled, **{name: lambda a: a * noise})[f"chen2021-{claim}"] == "inconclusive"


def test_the_judge_sees_the_lies_of_its_cards(settled):
    verdicts = gradient_descent.judge(TINY, settled)
    told = with_controls(verdicts, gradient_descent.CONTROLS, TINY, settled, gradient_descent.judge)
    lied = {verdict.claim: verdict.control.outcome for verdict in told}
    assert lied["chen2021-ass3.2"] == "fails"
    assert lied["chen2021-rem3.4"] == "inconclusive"
    small = TINY.override({"targets": (0.05, 0.1, 0.15, 0.2)})
    (idle,) = (
        verdict
        for verdict in gradient_descent.judge(
            small, gradient_descent.CONTROLS["chen2021-thm3.3"].told(small, settled)
        )
        if verdict.claim == "chen2021-thm3.3"
    )
    assert idle.outcome == "inconclusive"
