"""Assumption 4.3 and Corollary 4.4: margins by another solver, and judges that say no."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.optimize
import torch

from companion.errors import InputError
from companion.experiments.chen2021 import margin
from companion.experiments.chen2021._problem import draw, halves
from companion.kernels import infinite_width_ntk
from companion.lab.controls import unseen, with_controls
from companion.ntrf import ntrf_margin
from tests.doctoring import doctored, outcomes
from tests.experiments.chen2021.test_ntrf import by_autograd

TINY = margin.QUICK.override(
    {
        **{"count": 6, "dimension": 4, "seeds": 2, "counts": [4, 6, 8], "width": 12},
        **{"widths": [8, 16, 32], "losses": [0.1, 0.01, 0.001]},
    }
)
judged = partial(outcomes, margin, TINY)


@pytest.fixture(scope="module")
def found():
    return margin.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Laws in place of what small networks scatter."""
    level = np.array([1.0, 1.1])
    counts, logs = found["count"].values, -np.log(TINY.losses)
    rows = np.stack([np.full(3, 0.5), 2 * counts**-0.7])
    return doctored(
        found,
        margin=level[:, None, None] * rows,
        least=0.1,
        most=3.0,
        wide_margin=0.5 * level[:, None],
        limit=0.5,
        reach=3 * level[:, None, None],
        radius=level[:, None] * (0.2 + 0.5 * logs),
        proof=2 + logs,
        built_loss=0.5,
    )


def signed_gradients(problem):
    _, rows = by_autograd(problem)
    return problem.y[:, None] * torch.cat(rows, dim=1)


@pytest.mark.parametrize("labels", ["halves", "random"])
def test_the_margin_is_the_distance_of_the_hull_of_the_gradients_from_0(found, labels):
    """By SciPy's nonnegative least squares: rows of gradients, and a row that asks for sum 1."""
    settings = TINY.override({"count": 8})
    problem = draw(settings, "cpu", seed=1, width=12, layers=3, labels=labels)
    rows = signed_gradients(problem).numpy()
    weight = 1e4
    system = np.vstack([rows.T, weight * np.ones(8)])
    q, _ = scipy.optimize.nnls(system, np.append(np.zeros(rows.shape[1]), weight))
    nearest = (q / q.sum()) @ rows
    one = found.sel(seed=1, labels=labels, count=8)
    assert float(one.margin) == pytest.approx(np.linalg.norm(nearest) / 12**0.5, rel=1e-5)
    # The direction of the nearest point is a U of norm 1 with that margin.
    u = nearest / np.linalg.norm(nearest)
    assert (rows @ u).min() / 12**0.5 == pytest.approx(float(one.margin), rel=1e-5)
    ends = np.linalg.eigvalsh(rows @ rows.T)[[0, -1]]
    assert [float(one.least), float(one.most)] == pytest.approx(np.sqrt(ends / 8 / 12))


def test_the_proofs_network_moves_along_the_margins_direction(found):
    problem = draw(TINY, "cpu", seed=0, width=16, layers=3)
    best = ntrf_margin(problem.gram, problem.y)
    rows = signed_gradients(problem)
    u = (best.coefficients[0] * problem.y) @ rows
    assert float(u.norm()) == pytest.approx(1)
    f = problem.network.predict(problem.x)
    needed = -math.log(math.exp(0.05) - 1) + max(0.0, float((-problem.y * f).max()))
    v = needed / best.value * u
    tangent = problem.y * f + rows @ v
    assert float(tangent.min()) >= -math.log(math.exp(0.05) - 1) - 1e-8
    sizes = [weight.numel() for weight in problem.network.parameters]
    moved = [
        weight + part.reshape(weight.shape)
        for weight, part in zip(problem.network.parameters, v.split(sizes), strict=True)
    ]
    hidden = problem.x
    for weight in moved[:-1]:
        hidden = torch.relu(hidden @ weight.T)
    margins = problem.y * (4 * hidden @ moved[-1])
    worst = max(math.log1p(math.exp(-float(each))) for each in margins)
    assert float(found.built_loss.sel(seed=0, width=16)) == pytest.approx(worst / 0.1)


def test_a_radius_times_the_margin_is_between_that_of_one_ball_and_of_l_balls(found):
    """Where f is 0 the single ball's is the margin asked for; L balls save sqrt(L) at most."""
    problem = draw(TINY, "cpu", seed=0, width=12, layers=3)
    for place, loss in enumerate(TINY.losses):
        asked = -math.log(math.exp(loss / 2) - 1)
        spread = float(problem.network.predict(problem.x).abs().max())
        reach = float(found.radius.sel(seed=0)[place])
        assert (asked - spread) / math.sqrt(3) <= reach <= asked + spread
        assert float(found.proof.sel(seed=0)[place]) <= asked + spread


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_what_the_gap_guarantees_is_a_floor_of_the_limit(layers):
    floor = margin.guaranteed(0.3, layers)
    if layers == 2:  # K = rho kappa_0 / 2 + kappa_1 has the linear coefficient 1/4 + 1/2
        assert floor == pytest.approx(0.3 * math.sqrt(3 / 4), rel=1e-6)
    for seed in range(3):
        data = halves(60, 3, 0.3, seed)
        kernel = infinite_width_ntk(data.x, depth=layers - 1, parameterisation="chen")
        assert ntrf_margin(kernel, data.y).value >= floor


def test_contradictory_labels_have_no_margin(found):
    assert (found.contradiction == 0).all()
    assert float(found.certificate.max()) < 1e-12
    assert found.infinite.all()


def test_losses_that_do_not_decrease_are_refused():
    with pytest.raises(InputError, match="must decrease"):
        margin.QUICK.override({"losses": [0.1, 0.2, 0.01]})


def test_verdicts_on_the_laws(settled):
    assert judged(settled) == margin.EXPECTED


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("ass4.3", {"margin_gap": 2e-8}),
        ("ass4.3", {"least": 0.6}),
        ("ass4.3", {"most": 0.4}),
        ("ass4.3", {"margin": lambda m: m / 5, "least": 0.01}),
        ("ass4.3", {"wide_margin": lambda m: m * np.array([8.0, 16.0, 32.0]) ** -0.2}),
        ("ass4.3-excluded", {"contradiction": 0.01}),
        ("ass4.3-excluded", {"certificate": 0.01}),
        ("ass4.3-excluded", {"infinite": False}),
        ("ass4.3-excluded", {"margin": lambda m: np.ones_like(m)}),
        ("cor4.4", {"radius_gap": 2e-8}),
        ("cor4.4", {"proof": 1.0}),
        ("cor4.4", {"radius": np.array([1.0, 2.0, 5.0])}),
        ("cor4.4", {"reach": np.array([1.0, 1.2, 1.4])}),
        ("cor4.4", {"built_loss": 1.01}),
    ],
)
def test_every_check_can_say_no(settled, name, lie):
    assert judged(settled, **lie)[f"chen2021-{name}"] == "fails"


def test_noise_decides_nothing(settled):
    random = np.random.default_rng(1)
    noise = np.exp(random.normal(size=settled.margin.shape))
    lied = judged(settled, margin=lambda m: m * noise, least=1e-3, most=1e3)
    assert lied["chen2021-ass4.3-excluded"] == "inconclusive"
    noise = np.exp(random.normal(size=settled.wide_margin.shape))
    lied = judged(settled, wide_margin=lambda m: m * noise)
    assert lied["chen2021-ass4.3"] == "inconclusive"
    noise = np.exp(random.normal(size=settled.reach.shape))
    assert judged(settled, reach=lambda r: r * noise)["chen2021-cor4.4"] == "inconclusive"


def test_the_lies_on_the_cards_are_seen(settled):
    verdicts = margin.judge(TINY, settled)
    assert not unseen(with_controls(verdicts, margin.CONTROLS, TINY, settled, margin.judge))
