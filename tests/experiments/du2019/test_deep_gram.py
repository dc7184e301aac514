"""Per-layer Gram matrices against automatic differentiation, and a verdict that can fail."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.du2019 import _problem, deep_gram
from companion.experiments.du2019._problem import Problem
from companion.kernels import layer_grams
from companion.lab.controls import with_controls
from companion.networks import draw_du
from tests.doctoring import doctored, outcomes
from tests.oracles import deep_jacobians, du_predictions, layer_grams_by_autograd

TINY = deep_gram.QUICK.override(
    {"count": 5, "dimension": 4, "widths": [8, 16, 32], "seeds": 2, "steps": 4, "every": 2}
)
judged = partial(outcomes, deep_gram, TINY)


@pytest.fixture(scope="module")
def found():
    return deep_gram.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here 1 / m is written into it."""
    law = (8 / found.width.values)[None, :, None, None]
    scatter = np.array([1.0, 1.1])[:, None, None, None]
    along = np.array([0.0, 1.0, 0.5])[:, None]
    return doctored(found, drift=law * scatter * along, mismatch=0.0)


def problem(depth=3, seed=0, width=16):
    data = sphere(5, 4, seed)
    own = independent_seed(seed, depth, width)
    network = draw_du(width, 4, own, depth=depth, dtype=torch.float64)
    return Problem(network, data.x, data.y)


def sgd(start, step_size, steps):
    """The networks of torch.optim.SGD on the autograd loss, after 0, ..., `steps` steps."""
    leaves = [weight.clone().requires_grad_() for weight in start.network.weights]
    optimiser = torch.optim.SGD(leaves, lr=step_size)
    path = [start.network]
    for _ in range(steps):
        optimiser.zero_grad()
        rest = du_predictions(leaves, start.network.outputs, start.x) - start.y
        (0.5 * rest.square().sum()).backward()
        optimiser.step()
        path.append(start.network.moved([leaf.detach().clone() for leaf in leaves]))
    return path


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_layer_grams_are_those_of_the_jacobians(depth):
    known = problem(depth)
    for fast, slow in zip(
        layer_grams(known.network, known.x),
        layer_grams_by_autograd(known.network, known.x),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow)


def test_prediction_velocity_by_the_chain_rule_is_the_sum_of_grams():
    known = problem()
    network, x = known.network, known.x
    gradients = network.gradients(network.run(x), known.residual)
    rows = deep_jacobians(network, x)
    velocity = sum(row @ -each.flatten() for row, each in zip(rows, gradients, strict=True))
    total = torch.stack(layer_grams(network, x)).sum(dim=0)
    torch.testing.assert_close(velocity, total @ -known.residual)
    time = 1e-7
    ahead, behind = (
        network.moved(
            [w - sign * time * g for w, g in zip(network.weights, gradients, strict=True)]
        ).predict(x)
        for sign in (1, -1)
    )
    torch.testing.assert_close((ahead - behind) / (2 * time), velocity, rtol=1e-5, atol=1e-5)


def test_the_identity_is_seen_at_the_start_and_after_training_to_the_end():
    """After it, where the residual itself is rounding."""
    known = problem(width=64)
    trained = known.train(0.2, 2000).network
    assert float((trained.predict(known.x) - known.y).norm()) < 1e-10
    assert known.velocity_error() < 1e-13
    assert known.velocity_error(trained) < 1e-13


def test_a_missing_layer_would_be_noticed(monkeypatch):
    def without_first(network, x):
        return torch.stack(layer_grams(network, x)[1:]).sum(dim=0)

    monkeypatch.setattr(_problem, "empirical_gram", without_first)
    assert float(deep_gram.run(TINY, "cpu").mismatch.min()) > 0.01


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.5), (0.5, 0.0)])
def test_the_identity_is_asked_for_before_and_after_training(monkeypatch, before, after):
    def lie(_, network=None):
        return before if network is None else after

    monkeypatch.setattr(Problem, "velocity_error", lie)
    assert (deep_gram.run(TINY, "cpu").mismatch == 0.5).all()


def test_recorded_numbers_are_those_of_automatic_differentiation(found):
    start = problem(seed=1)
    grams = layer_grams_by_autograd(start.network, start.x)
    total = torch.stack(grams).sum(dim=0)
    path = sgd(start, 1 / float(torch.linalg.eigvalsh(total)[-1]), 4)
    one = found.sel(seed=1, width=16)
    misfits = [float((net.predict(start.x) - start.y).square().sum()) for net in path]
    np.testing.assert_allclose(one.misfit, misfits, rtol=1e-10)
    assert one.steps.values.tolist() == [0, 2, 4]
    least, shares = [], []
    for look, net in enumerate(path[::2]):
        now = layer_grams_by_autograd(net, start.x)
        drift = [
            np.linalg.norm((new - old).numpy(), ord=2) for new, old in zip(now, grams, strict=True)
        ]
        np.testing.assert_allclose(one.drift[look], drift, rtol=1e-8, atol=1e-13)
        spectra = [np.linalg.eigvalsh(gram.numpy()) for gram in now]
        least.append([spectrum[0] / spectrum[-1] for spectrum in spectra])
        shares.append(float(torch.linalg.eigvalsh(torch.stack(now).sum(dim=0))[0]))
    np.testing.assert_allclose(one.least, np.min(least, axis=0), rtol=1e-8)
    assert float(one.least_share) == pytest.approx(min(shares) / shares[0])
    norms = [np.linalg.norm(gram.numpy(), ord=2) for gram in grams]
    np.testing.assert_allclose(one.norm, norms)


def test_values_follow_the_largest_drift_of_each_layer(found):
    growing = np.array([0.0, 2.0, 1.0])[:, None] * np.array([1.0, 2.0, 3.0])
    law = (found.width.values / 8.0)[None, :, None, None] ** -0.5
    known = deep_gram.values(TINY, doctored(found, drift=law * growing, norm=6.0))
    assert [float(known[f"drift_{h}"]) for h in (1, 2, 3)] == pytest.approx([1, 2, 3])
    assert (float(known["narrow_share"]), float(known["wide_share"])) == pytest.approx((1, 0.5))
    assert [float(known[f"slope_{h}"]) for h in (1, 2, 3)] == pytest.approx([-0.5] * 3)


def test_verdict_can_hold(settled):
    assert judged(settled) == {"du2019-deep-conj": "holds"}


@pytest.mark.parametrize(
    "lie",
    [
        {"mismatch": 0.1},
        {"least": lambda least: -least},
        {"drift": lambda drift: np.ones_like(drift) * np.array([1, 1.1])[:, None, None, None]},
    ],
    ids=["identity", "semidefinite", "drift"],
)
def test_verdict_can_fail(settled, lie):
    assert judged(settled, **lie)["du2019-deep-conj"] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
@pytest.mark.parametrize(("name", "edge"), [("mismatch", 1e5), ("least", -10 * 5)])
def test_rounding_is_allowed_for_and_no_more(settled, name, edge, share, outcome):
    lied = judged(settled, **{name: share * edge * np.finfo(float).eps})
    assert lied["du2019-deep-conj"] == outcome


def test_one_unsteady_layer_is_enough_to_fail(settled):
    def unsteady(drift):
        drift[..., 1] *= (settled.width.values / 8)[None, :, None]
        return drift

    assert judged(settled, drift=unsteady)["du2019-deep-conj"] == "fails"


def test_noise_does_not_settle_an_exponent(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=(2, 3, 1, 1)))
    lied = judged(settled, drift=lambda drift: drift * noise)
    assert lied["du2019-deep-conj"] == "inconclusive"


@pytest.mark.parametrize(("exponent", "outcome"), [(-0.5, "holds"), (-0.15, "holds"), (0, "fails")])
def test_the_conjecture_states_no_rate(settled, exponent, outcome):
    """A drift that falls at all is what it expects; one that stays is not."""
    law = (settled.width.values / 8.0)[:, None, None] ** exponent
    lied = judged(settled, drift=law * np.array([1.0, 1.1])[:, None, None, None])
    assert lied["du2019-deep-conj"] == outcome


def test_the_judge_sees_the_lie_that_its_card_tells(settled):
    """On the conjectured power: a matrix that moves alike at all widths."""
    law = doctored(
        settled, drift=lambda drift: drift * np.sqrt(settled.width.values / 8)[:, None, None]
    )
    (told,) = with_controls(
        deep_gram.judge(TINY, law), deep_gram.CONTROLS, TINY, law, deep_gram.judge
    )
    assert (told.outcome, told.control.outcome) == ("holds", "fails")


def test_two_widths_make_no_exponent():
    with pytest.raises(InputError, match="widths"):
        deep_gram.QUICK.override({"widths": [8, 16]})


def test_one_trained_layer_is_the_two_layer_matrix():
    known = problem(depth=1)
    (gram,) = layer_grams(known.network, known.x)
    active = (known.x @ known.network.weights[0].T >= 0).double()
    torch.testing.assert_close(gram, (known.x @ known.x.T) * (active @ active.T) / 16)
