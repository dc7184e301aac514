"""Definition 4.1 and Proposition 4.2: members in parameter space, and judges that say no."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.errors import InputError
from companion.experiments.chen2021 import ntrf
from companion.experiments.chen2021._increments import increment
from companion.experiments.chen2021._problem import draw
from companion.lab.controls import unseen, with_controls
from companion.ntrf import class_value
from tests.doctoring import doctored, outcomes
from tests.ntrf.primal import Case, primal_radius

TINY = ntrf.QUICK.override(
    {
        **{"count": 5, "dimension": 3, "seeds": 2, "width": 10, "radii": [0.5, 1, 2, 3]},
        **{"widths": [8, 16, 32], "losses": [0.2, 0.05]},
    }
)
judged = partial(outcomes, ntrf, TINY)


@pytest.fixture(scope="module")
def found():
    return ntrf.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here 1 / sqrt(m) is written into the error."""
    law = np.array([1.0, 1.1])[:, None, None, None] * found.width.values**-0.5
    return doctored(found, error=law, loss_within=0.9)


def by_autograd(problem):
    """Predictions, and the flattened gradients of every layer, written out in plain torch."""
    leaves = [weight.clone().requires_grad_() for weight in problem.network.parameters]
    hidden = problem.x
    for weight in leaves[:-1]:
        hidden = torch.relu(hidden @ weight.T)
    f = problem.network.output_gain * hidden @ leaves[-1]
    rows = [torch.autograd.grad(value, leaves, retain_graph=True) for value in f]
    return f.detach(), [torch.stack([row[k].flatten() for row in rows]) for k in range(len(leaves))]


def mean_loss(margins):
    return float(np.mean([math.log1p(math.exp(-float(margin))) for margin in margins]))


@pytest.mark.parametrize("labels", ["halves", "random"])
def test_the_least_loss_is_that_of_projected_gradient_descent(found, labels):
    """Over the increments themselves, within max_l ||V_l||_F <= R m^-alpha."""
    problem = draw(TINY, "cpu", seed=1, width=10, layers=3, labels=labels)
    f, rows = by_autograd(problem)
    rho = 2 / 10**0.5
    parts = [torch.zeros(row.shape[1], dtype=torch.float64) for row in rows]
    for step in range(6000):
        tangent = f + sum(row @ part for row, part in zip(rows, parts, strict=True))
        pull = problem.y * torch.sigmoid(-problem.y * tangent)
        parts = [
            part + 0.3 / (1 + step) ** 0.3 * row.T @ pull / 5
            for row, part in zip(rows, parts, strict=True)
        ]
        parts = [part * min(1.0, rho / float(part.norm() + 1e-300)) for part in parts]
    tangent = f + sum(row @ part for row, part in zip(rows, parts, strict=True))
    known = float(found.value.sel(seed=1, labels=labels, radius=2))
    reached = mean_loss(problem.y * tangent)
    assert known <= reached * (1 + 1e-9)
    assert reached == pytest.approx(known, rel=1e-4)


def test_tangent_and_network_are_those_of_autograd():
    problem = draw(TINY, "cpu", seed=0, width=10, layers=4)
    coefficients = torch.arange(20, dtype=torch.float64).reshape(4, 5) / 40 - 0.2
    member = increment(problem.network, problem.x, problem.y, coefficients, 0.5)
    f, rows = by_autograd(problem)
    steps = [0.5 * c @ row for c, row in zip(coefficients, rows, strict=True)]
    for part, step in zip(member.parts, steps, strict=True):
        torch.testing.assert_close(part.flatten(), step)
    tangent = f + sum(row @ step for row, step in zip(rows, steps, strict=True))
    torch.testing.assert_close(member.tangent, tangent)
    hidden = problem.x
    moved = [w + p for w, p in zip(problem.network.parameters, member.parts, strict=True)]
    for weight in moved[:-1]:
        hidden = torch.relu(hidden @ weight.T)
    network = problem.network.output_gain * hidden @ moved[-1]
    torch.testing.assert_close(member.predictions, network)
    assert member.error == pytest.approx(float((network - tangent).abs().max()))
    assert float(member.losses.mean()) == pytest.approx(mean_loss(problem.y * network))
    shared = increment(problem.network, problem.x, problem.y, coefficients[:1])
    torch.testing.assert_close(shared.parts[3].flatten(), coefficients[0] @ rows[3])


def test_a_member_is_fitted_to_the_loss_and_no_farther_than_needed(found):
    """The least radius is that of SLSQP over the increments themselves."""
    one = found.sel(seed=0, alpha=0.25, loss=0.05, width=8)
    problem = draw(TINY, "cpu", seed=0, width=8, layers=3, alpha=0.25)
    f, rows = by_autograd(problem)
    member, radius = ntrf.fitted(problem, 0.05)
    case = Case(problem.network, problem.x, problem.y)
    slow = primal_radius(case, -math.log(math.exp(0.025) - 1), "per-layer")
    assert float(one.least_radius) == pytest.approx(radius)
    assert radius == pytest.approx(slow * 8**0.25, rel=1e-6)
    tangent = f + sum(row @ part.flatten() for row, part in zip(rows, member.parts, strict=True))
    worst = max(math.log1p(math.exp(-float(margin))) for margin in problem.y * tangent)
    assert worst == pytest.approx(0.025, rel=1e-6)
    assert float(one.true_loss) == pytest.approx(float(member.losses.max()) / 0.05)


def test_the_ball_as_printed_holds_weights_and_not_increments(found):
    """W in the ball around 0: the tangent at W has f + <df, W - W^(0)>, by autograd."""
    problem = draw(TINY, "cpu", seed=1, width=10, layers=3)
    f, rows = by_autograd(problem)
    start = [weight.flatten() for weight in problem.network.parameters]
    shifted = f - sum(row @ w for row, w in zip(rows, start, strict=True))
    grams, rho = [row @ row.T for row in rows], 0.5 / 10**0.5
    known = class_value(grams, shifted, problem.y, rho).value
    assert float(found.printed.sel(seed=1)) == pytest.approx(known, rel=1e-9)
    assert float(found.start.sel(seed=1)) == pytest.approx(
        max(float(w.norm()) for w in start) / rho
    )


def test_the_chord_is_linear_between_the_neighbours(found):
    law = 7 - 2 * found.radius.values
    straight = doctored(found, value=law)
    np.testing.assert_allclose(ntrf.below_chord(straight), 1, rtol=1e-12)
    convex = doctored(found, value=1 / found.radius.values)
    assert (ntrf.below_chord(convex) < 1).all()
    np.testing.assert_allclose(ntrf.steps_down(convex)[0, 0], [1 / 2, 1 / 2, 2 / 3])


@pytest.mark.parametrize("eps", [1e-8, 1e-3, 0.1, 3.0])
def test_half_of_the_loss_asks_for_log_2_more_margin(eps):
    (gain,) = ntrf.target_gain(np.array([eps]))
    assert gain == pytest.approx(math.log(math.exp(eps / 2) + 1), rel=1e-9)
    assert gain > math.log(2)


def test_verdicts_on_the_laws(settled):
    assert judged(settled) == ntrf.EXPECTED


@pytest.mark.parametrize(
    "lie", [{"gap": 2e-8}, {"mismatch": 1e-7}, {"far": 1.001}, {"value": lambda v: v[..., ::-1]}]
)
def test_every_part_of_the_definition_is_looked_at(settled, lie):
    assert judged(settled, **lie)["chen2021-def4.1"] == "fails"


def test_a_curve_that_is_not_convex_is_seen(settled):
    concave = np.array([10.0, 9.0, 6.0, 1.0])
    assert judged(settled, value=concave)["chen2021-def4.1"] == "fails"


@pytest.mark.parametrize(
    ("lie", "outcome"),
    [
        ({"loss_within": 1.01}, "fails"),
        ({"loss_within": np.nan}, "inconclusive"),
        ({"tangent_loss": 1.1}, "fails"),
        ({"error": lambda e: e * np.array([8.0, 16.0, 32.0]) ** 0.4}, "fails"),
    ],
)
def test_the_proposition_is_held_to_its_bounds(settled, lie, outcome):
    assert judged(settled, **lie)["chen2021-prop4.2"] == outcome


def test_noise_does_not_settle_the_exponents(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=settled.error.shape))
    assert judged(settled, error=lambda e: e * noise)["chen2021-prop4.2"] == "inconclusive"


def test_the_lies_on_the_cards_are_seen(settled):
    verdicts = ntrf.judge(TINY, settled)
    assert not unseen(with_controls(verdicts, ntrf.CONTROLS, TINY, settled, ntrf.judge))


@pytest.mark.parametrize(
    "lie",
    [{"alphas": [0.6]}, {"alphas": [0]}, {"losses": [-1]}, {"gap": 1}, {"radii": [1, 3, 2]}],
)
def test_what_the_paper_excludes_is_refused(lie):
    with pytest.raises(InputError):
        ntrf.QUICK.override(lie)
