"""Every iterate beside W* by automatic differentiation, and verdicts that can fail."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.errors import InputError
from companion.experiments.chen2021 import descent_lemma
from companion.experiments.chen2021._comparators import linearised_fit
from companion.experiments.chen2021._problem import draw
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes

TINY = descent_lemma.Settings(
    count=4, dimension=3, seeds=2, alphas=(0.25, 0.5), widths=(8, 16, 24), looks=5
)
judged = partial(outcomes, descent_lemma, TINY)


@pytest.fixture(scope="module")
def found():
    return descent_lemma.run(TINY, "cpu")


def predicted(weights, x, scale):
    for weight in weights[:-1]:
        x = torch.relu(x @ weight.T)
    return scale * (x @ weights[-1])


class ByAutograd:
    """One run, all of whose gradients are automatic."""

    def __init__(self, seed, alpha, width):
        self.problem = draw(TINY, "cpu", seed=seed, width=width, layers=3, alpha=alpha)
        self.scale = width**alpha
        self.start = [w.clone() for w in self.problem.network.parameters]
        _, rows = self.rows(self.start)
        squares = [sum(float(g.square().sum()) for g in row) for row in rows]
        self.eta = TINY.step_share / (2 * max(squares))

    def rows(self, weights):
        weights = [w.clone().requires_grad_() for w in weights]
        f = predicted(weights, self.problem.x, self.scale)
        rows = [torch.autograd.grad(each, weights, retain_graph=True) for each in f]
        return f.detach(), rows

    def losses(self, f):
        return torch.log1p(torch.exp(-self.problem.y * f))

    def path(self, steps):
        weights = [w.clone().requires_grad_() for w in self.start]
        for _ in range(steps):
            yield [w.detach().clone() for w in weights]
            mean = self.losses(predicted(weights, self.problem.x, self.scale)).mean()
            gradients = torch.autograd.grad(mean, weights)
            weights = [
                (w - self.eta * g).detach().requires_grad_()
                for w, g in zip(weights, gradients, strict=True)
            ]


def together(a, b):
    return sum(float((x - y).square().sum()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", descent_lemma.KINDS)
def test_both_sides_are_those_of_torch(found, kind):
    run = ByAutograd(0, 0.5, 16)
    one = found.sel(seed=0, alpha=0.5, width=16, kind=kind)
    assert 5 < int(one.horizon) < 1500
    path = [*run.path(1500)]
    outputs = [predicted(weights, run.problem.x, run.scale) for weights in path]
    losses = np.array([run.losses(f).numpy() for f in outputs])
    if kind == "iterate":
        star = path[int(np.argmax(losses.max(axis=1) < TINY.epsilon))]
    else:
        star = [*linearised_fit(run.problem, TINY.epsilon).network.parameters]
    there = predicted(star, run.problem.x, run.scale)
    epsilon = float(run.losses(there).max())
    radius = 4 * max(float((a - b).norm()) for a, b in zip(star, run.start, strict=True))
    count = math.ceil(3 * radius**2 / (16 * run.eta * epsilon))
    assert int(one.horizon) == count
    assert float(one.epsilon) == pytest.approx(epsilon)
    assert float(one.radius) == pytest.approx(radius, rel=1e-4)

    path = path[: count + 1]
    measured = [run.rows(weights) for weights in path]
    squares = [together(weights, star) for weights in path]
    shares, errors, quotients, printed = [], [], [], []
    for t, (f, rows) in enumerate(measured):
        along = torch.stack(
            [
                sum((g * (s - w)).sum() for g, s, w in zip(row, star, path[t], strict=True))
                for row in rows
            ]
        )
        slopes = -run.problem.y * torch.sigmoid(-run.problem.y * f)
        error = (there - f - along).abs()
        quotient = (run.losses(there) - slopes * along) / run.losses(f)
        errors.append(float(error.max()))
        printed.append(float((f - there - along).abs().max()))
        quotients += [float(q) for q, e in zip(quotient, error, strict=True) if e <= 0.25]
        if t:
            way = squares[0] - squares[t] + 2 * t * run.eta * epsilon
            shares.append(run.eta * losses[:t].mean(axis=1).sum() / way)
    assert float(one.most_share) == pytest.approx(max(shares), rel=1e-4)
    assert float(one.share[-1]) == pytest.approx(shares[-1], rel=1e-4)
    assert float(one.error[-1]) == pytest.approx(errors[count - 1], abs=1e-4)
    assert float(one.quotient) == pytest.approx(min(quotients), rel=1e-4)
    assert float(one.printed) == pytest.approx(printed[0], rel=1e-4)
    close = [max(errors[:t]) <= 0.25 for t in range(1, count + 1)]
    assert float(one.time_close) == pytest.approx(np.mean(close))
    kept = [share for share, near in zip(shares, close, strict=True) if near]
    assert float(one.close_share) == pytest.approx(max(kept, default=0), rel=1e-4)
    far = [max(float((a - b).norm()) for a, b in zip(w, run.start, strict=True)) for w in path]
    assert float(one.most_ball) == pytest.approx(max(far) * 4 / (6 * radius), rel=1e-4)
    apart = [
        math.sqrt(squares[t] / (squares[0] + 2 * t * run.eta * epsilon))
        for t in range(1, count + 1)
    ]
    np.testing.assert_allclose(one.apart[-1], apart[-1], rtol=1e-4, atol=1e-6)
    assert float(one.most_apart) == pytest.approx(max(apart), rel=1e-4)


def test_the_largest_step_is_that_of_the_steepest_gradient(found):
    run = ByAutograd(0, 0.25, 8)
    one = found.sel(seed=0, alpha=0.25, width=8)
    steepest = 0.0
    for weights in run.path(int(one.horizon.max()) + 1):
        _, rows = run.rows(weights)
        steepest = max(steepest, *(sum(float(g.square().sum()) for g in r) for r in rows))
    assert float(one.step) == pytest.approx(2 * run.eta * steepest)


def test_a_target_out_of_reach_is_refused():
    with pytest.raises(InputError, match="after 3 steps a loss is still above"):
        descent_lemma.run(TINY.override({"most": 3}), "cpu")


def test_a_target_that_the_start_meets_is_refused():
    with pytest.raises(InputError, match=r"at initialisation every loss is below 0\.95"):
        descent_lemma.run(TINY.override({"epsilon": 0.95}), "cpu")


def test_the_verdicts_are_what_is_expected(found):
    assert judged(found) == descent_lemma.EXPECTED
    near = judged(found, radius=1e-9)  # W* so near that the lemma reaches
    assert set(near.values()) == {"holds"}


@pytest.mark.parametrize(
    ("claim", "lie", "outcome"),
    [
        ("lem6.2", {"most_share": 1.01}, "inconclusive"),
        ("lem6.2", {"close_share": 1.01, "step": 1.0}, "fails"),
        ("lem6.2", {"close_share": 1.01, "step": 1.1}, "outside-regime"),
        ("lem6.2", {"quotient": 0.74}, "fails"),
        ("lem6.2", {"most_share": np.nan}, "inconclusive"),
        ("eq6.3", {"most_ball": 1.01}, "inconclusive"),
        ("eq6.3", {"most_apart": 1.01}, "inconclusive"),
    ],
)
def test_each_judge_sees_what_would_refute_it(found, claim, lie, outcome):
    assert judged(found, **lie)[f"chen2021-{claim}"] == outcome


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("lem6.2", {"most_share": 1.01}),
        ("eq6.3", {"most_ball": 1.01}),
        ("eq6.3", {"most_apart": 1.01}),
    ],
)
def test_within_the_regime_each_lie_refutes(found, claim, lie):
    assert judged(doctored(found, radius=1e-9), **lie)[f"chen2021-{claim}"] == "fails"


def test_the_judge_sees_the_lies_of_its_cards(found):
    verdicts = descent_lemma.judge(TINY, found)
    told = with_controls(verdicts, descent_lemma.CONTROLS, TINY, found, descent_lemma.judge)
    lied = {verdict.claim: verdict.control.outcome for verdict in told}
    assert lied == {"chen2021-lem6.2": "fails", "chen2021-eq6.3": "inconclusive"}
