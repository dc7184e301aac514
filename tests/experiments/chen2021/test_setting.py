"""The experiment chen2021/setting against loops and closed forms, and its own failure."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import Batches, independent_seed
from companion.errors import InputError
from companion.experiments.chen2021 import _roads, setting
from companion.experiments.chen2021._problem import draw, halves
from companion.lab.controls import with_controls
from companion.networks import ReLUNetwork
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

TINY = setting.QUICK.override(
    {"count": 5, "widths": [8, 24], "alphas": [0.25, 0.5], "seeds": 2, "draws": 30, "width": 12,
     "steps": 4, "fresh": 20, "picks": 400}
)  # fmt: skip
judged = partial(outcomes, setting, TINY)


@pytest.fixture(scope="module")
def found():
    return setting.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle the moments: here they are the right ones, with some scatter."""
    scatter = np.linspace(0.95, 1.05, 30)
    scale = (found.width ** (2 * found.alpha)).transpose("alpha", "width").values
    width = found.width.values
    layers = np.array([0.5, 0.5, 0.5, 1.0])
    return doctored(
        found,
        output_square=(scale / width)[None, :, :, None] * scatter,
        gradient_square=scale[None, :, :, None, None] * scatter[:, None] * layers,
    )


def problem(alpha=0.25, width=8, seed=1):
    return draw(TINY, "cpu", seed=seed, width=width, layers=4, alpha=alpha)


def test_tiny_run_holds(settled):
    assert judged(settled) == setting.EXPECTED


def test_outputs_and_gradients_are_those_of_the_oracles():
    known = problem()
    network, x, scale = known.network, known.x, 8**0.25
    formula = partial(chen_predictions, alpha=0.25)
    right = formula(network.weights, network.outputs, x)
    torch.testing.assert_close(_roads.output(_roads.matrices_of(network), scale, x), right)
    torch.testing.assert_close(network.predict(x), right)
    jacobians = deep_jacobians(network, x, formula)
    for road in (_roads.by_products, _roads.by_autograd):
        rows = road(network, scale, x)
        assert [each.shape[1:] for each in rows] == [(8, 10), (8, 8), (8, 8), (1, 8)]
        for row, jacobian in zip(rows, jacobians, strict=True):
            torch.testing.assert_close(row.flatten(1), jacobian)


def test_moments_are_those_of_autograd(found):
    """The third network of a seed: its squared outputs and gradients, averaged over the inputs."""
    own = independent_seed(1, 2, 250)
    known = draw(TINY, "cpu", seed=own, width=24, layers=4, alpha=0.25)
    jacobians = deep_jacobians(known.network, known.x, partial(chen_predictions, alpha=0.25))
    one = found.sel(seed=1, alpha=0.25, width=24).isel(draw=2)
    squares = [float(each.square().sum(dim=1).mean()) for each in jacobians]
    np.testing.assert_allclose(one.gradient_square, squares)
    assert float(one.output_square) == pytest.approx(
        float(known.network.predict(known.x).square().mean())
    )


def test_the_moments_are_exact_at_a_small_width():
    """Of width 4, where a limit would be far: 4000 networks of three matrices, one input."""
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(4000, 4, k, generator=generator, dtype=torch.float64) / 2**0.5 for k in (3, 4)
    )
    last = torch.randn(4000, 4, generator=generator, dtype=torch.float64) / 2
    x = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    h = (first @ x).relu()
    z = (second @ h[:, :, None])[:, :, 0]
    b = last * (z > 0)
    below = (second.mT @ b[:, :, None])[:, :, 0] * (h > 0)
    for found, known in (
        ((z.relu() * last).sum(dim=1).square(), 1 / 4),
        (z.relu().square().sum(dim=1), 1),
        (b.square().sum(dim=1) * h.square().sum(dim=1), 1 / 2),
        (below.square().sum(dim=1), 1 / 2),
    ):
        # Units that are all off leave no signal at all: in one of 16 networks a layer.
        assert float(found.mean()) == pytest.approx(known, rel=0.2)


def test_iterates_are_the_printed_steps():
    known, eta = problem(), 0.3
    rows = [[0, 1, 2, 3, 4], [2], [1, 3]]
    found = _roads.iterates(known, 8**0.25, eta, rows)
    weights = _roads.matrices_of(known.network)
    for batch, later in zip(rows, found[1:], strict=True):
        leaves = [w.clone().requires_grad_() for w in weights]
        values = chen_predictions(leaves[:-1], leaves[-1][0], known.x[batch], alpha=0.25)
        torch.nn.functional.softplus(-known.y[batch] * values).mean().backward()
        weights = [w - eta * leaf.grad for w, leaf in zip(weights, leaves, strict=True)]
        for one, other in zip(later, weights, strict=True):
            torch.testing.assert_close(one, other)
    fixed = _roads.iterates(known, 8**0.25, eta, rows, last_layer=False)[-1]
    assert torch.equal(fixed[-1], found[0][-1])
    assert not torch.equal(fixed[0], found[0][0])


def test_one_pass_uses_every_example_once_and_allows_no_second():
    batches = Batches(1, "once")
    assert [batches.rows(step, 5).tolist() for step in range(5)] == [[0], [1], [2], [3], [4]]
    with pytest.raises(InputError, match="one pass"):
        problem().train(0.1, 6, batches=batches)


def test_losses_of_fresh_examples_are_those_of_the_iterates(found):
    known = draw(TINY, "cpu", seed=1, width=12, layers=4, alpha=0.5)
    fresh = halves(20, 10, TINY.gap, independent_seed(1, 20))
    eta = TINY.step_size / (4 * 12)
    for step in (0, 3):
        network = known.train(eta, step, batches=Batches(1, "once")).network
        loss = torch.nn.functional.softplus(-fresh.y * network.predict(fresh.x)).mean()
        one = found.fresh_loss.sel(seed=1, alpha=0.5).isel(example=step)
        assert float(one) == pytest.approx(float(loss))


def test_the_judge_notices_an_output_that_leaves_out_the_first_iterate(found):
    """Uniform on the later iterates alone is off by more than the draws' scatter."""
    losses = np.linspace(0.8, 0.4, 5)
    told = judged(found, fresh_loss=losses, picked_loss=losses[1:].mean(), picked_error=0.005)
    assert told["chen2021-algo2"] == "fails"


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        *[
            ("chen2021-model", {name: 1e-6})
            for name in (
                "output_gap", "product_gap", "autograd_gap", "difference_gap", "euler_gap",
                "alpha_gap",
            )
        ],
        ("chen2021-model", {"output_square": lambda square: 1.5 * square}),
        ("chen2021-model", {"gradient_square": lambda square: square[..., ::-1]}),
        ("chen2021-algo1", {"descent_gap": 1e-6}),
        ("chen2021-algo2", {"pass_gap": 1e-6}),
        ("chen2021-algo2", {"used": False}),
        ("chen2021-algo2", {"picked_loss": lambda loss: 1.2 * loss}),
    ],
)  # fmt: skip
def test_each_disagreement_fails(settled, claim, lie):
    assert judged(settled, **lie)[claim] == "fails"


def test_noise_decides_nothing(settled):
    wild = np.where(np.arange(30) % 4, 0.0, 4.0)
    square = settled.output_square.values / np.linspace(0.95, 1.05, 30) * wild
    told = judged(settled, output_square=square, picked_error=lambda error: error + 0.1)
    assert told["chen2021-model"] == told["chen2021-algo2"] == "inconclusive"


@pytest.mark.parametrize("claim", setting.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(settled, claim):
    verdicts = setting.judge(TINY, settled)
    told = with_controls(verdicts, setting.CONTROLS, TINY, settled, setting.judge)
    assert {v.claim: v.control.outcome for v in told}[claim] == "fails"


def test_a_wrong_gradient_is_noticed(monkeypatch):
    right = ReLUNetwork.gradients
    monkeypatch.setattr(
        ReLUNetwork, "gradients", lambda self, *args: [1.001 * each for each in right(self, *args)]
    )
    once = TINY.override({"seeds": 1, "widths": [8], "alphas": [0.5], "draws": 2})
    assert set(outcomes(setting, once, setting.run(once, "cpu")).values()) == {"fails"}
