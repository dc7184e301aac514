"""The experiment zou2020/setting against NumPy, loops and autograd, and its own failure."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import cpu_generator, independent_seed
from companion.errors import InputError
from companion.experiments.zou2018 import _roads
from companion.experiments.zou2020 import setting
from companion.kernels import infinite_width_layer_ntks
from companion.lab.controls import with_controls
from companion.networks import draw_zou
from tests.doctoring import doctored, outcomes
from tests.oracles import layer_grams_by_autograd, zou_predictions

TINY = setting.QUICK.override(
    {"count": 4, "dimension": 4, "widths": [8, 16, 32], "seeds": 3, "networks": 2, "steps": 4,
     "points": 2000, "sums": 200}
)  # fmt: skip
judged = partial(outcomes, setting, TINY)


@pytest.fixture(scope="module")
def found():
    return setting.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here m^(-1/2) is written into it."""
    scatter = np.array([0.99, 1.0, 1.01])[:, None, None, None]
    law = (found.width.values / 8.0)[:, None] ** -0.5
    return doctored(found, gram_gap=scatter * law)


def test_tiny_run_holds(settled):
    assert judged(settled) == setting.EXPECTED


def test_gram_gaps_are_those_of_autograd(found):
    layers, data = [8, 16, 8], setting._data(TINY, 1)
    limits = infinite_width_layer_ntks(data.x, depth=3)
    squares = np.zeros(3)
    for number in range(2):
        seed = independent_seed(independent_seed(1, number), 4, 4, 3, *layers)
        network = draw_zou(layers, 4, seed, dtype=torch.float64)
        grams = layer_grams_by_autograd(network, data.x, zou_predictions)
        for layer, (gram, limit) in enumerate(zip(grams, limits, strict=True)):
            far = gram.numpy() / layers[layer] - limit.numpy()
            squares[layer] += np.linalg.norm(far) ** 2 / np.linalg.norm(limit) ** 2 / 2
    np.testing.assert_allclose(found.gram_gap.sel(seed=1, ratio=2, width=8), np.sqrt(squares))


def test_beyond_the_assumption_networks_are_drawn_in_the_same_way():
    """Within it the package's draw has these weights; beyond it refuses, and the rule goes on."""
    data = setting._data(TINY, 0)
    problem = setting._network(TINY, data, "cpu", 5, [8, 32, 8])
    generator = cpu_generator("weights", independent_seed(5, 8, 32, 8))
    for weight, (before, after) in zip(
        problem.network.weights, [(4, 8), (8, 32), (32, 8)], strict=True
    ):
        drawn = torch.randn(after, before, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(weight, drawn * math.sqrt(2 / after))
    assert problem.network.outputs.tolist() == [1.0] * 4 + [-1.0] * 4
    inside = draw_zou([8, 16, 8], 4, 7, dtype=torch.float64)
    generator = cpu_generator("weights", 7)
    for weight in inside.weights:
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(weight, drawn * math.sqrt(2 / len(weight)))
    with pytest.raises(InputError, match="largest is at most twice the smallest"):
        draw_zou([8, 32, 8], 4, 5)


def test_the_guard_is_where_the_assumption_is(monkeypatch):
    assert all(setting._is_guarded(TINY, ratio) for ratio in (1, 2, 3, 4))
    assert setting._is_guarded(TINY, 2, 2)
    monkeypatch.setattr(setting, "draw_zou", lambda *_: None)
    assert [setting._is_guarded(TINY, ratio) for ratio in (1, 2, 3)] == [True, True, False]


def test_distances_are_those_of_numpy(found):
    """After the last step, by SGD on a loss that is written down here."""
    problem = setting._network(TINY, setting._data(TINY, 2), "cpu", 2, [8, 16, 8])
    gram = sum(layer_grams_by_autograd(problem.network, problem.x, zou_predictions))
    eta = 0.1 * 4 * 4 / float(np.linalg.eigvalsh(gram.numpy())[-1])
    weights = _roads.descent_by_autograd(problem, eta, 4)
    one = found.sel(seed=2, ratio=2).isel(step=-1)
    for layer, (after, before) in enumerate(zip(weights, problem.network.weights, strict=True)):
        change = (after - before).numpy()
        assert float(one.frobenius[layer]) == pytest.approx(np.linalg.norm(change))
        assert float(one.spectral[layer]) == pytest.approx(np.linalg.norm(change, 2), rel=1e-6)
    assert float(found.above.max()) <= 1 + 1e-9
    assert float(found.below.max()) <= 1 + 1e-9


def test_the_inequality_is_that_of_its_formula(found):
    z = np.linspace(-40, 40, 4001)
    left, loss = 1 / (1 + np.exp(z)), np.logaddexp(0, -z)
    share = left / np.minimum(0.5, loss / (2 * math.log(2)))
    assert float(found.floor) == pytest.approx(share.min())
    assert float(found.floor_at_0) == pytest.approx(share[2000])
    assert float(found.floor_place) == pytest.approx(0, abs=1e-12)
    generator = cpu_generator("margins", 1)
    margins = torch.randn(200, 4, generator=generator, dtype=torch.float64).numpy()
    margins = margins * 10 ** np.linspace(-2, 1.3, 200)[:, None]
    sums = [
        sum(1 / (1 + math.exp(v)) for v in row)
        / min(0.5, sum(math.log(1 + math.exp(-v)) for v in row) / (2 * math.log(2)))
        for row in margins.tolist()
    ]
    assert float(found.sum_share.sel(seed=1)) == pytest.approx(min(sums))


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        *[
            ("zou2020-setting", {name: 1e-6})
            for name in ("autograd_gap", "product_gap", "square_gap", "descent_gap")
        ],
        ("zou2020-setting", {"spectral": lambda spectral: 3 * spectral}),
        ("zou2020-setting", {"above": 1.001}),
        ("zou2020-setting", {"below": 1.001}),
        ("zou2020-ass4.3", {"guarded": lambda guarded: ~guarded}),
        ("zou2020-ass4.3", {"edge": False}),
        ("zou2020-ass4.3", {"gram_gap": lambda gap: gap**0.5}),
        ("zou2020-ce-ineq", {"floor": 0.999}),
        ("zou2020-ce-ineq", {"sum_share": 0.999}),
        ("zou2020-ce-ineq-sharp", {"floor_at_0": 1.001}),
        ("zou2020-ce-ineq-sharp", {"floor_place": 0.5}),
    ],
)
def test_each_lie_fails(settled, claim, lie):
    assert judged(settled, **lie)[claim] == "fails"


def test_one_ratio_of_the_widths_is_enough_to_fail(settled):
    def stuck(gaps):
        gaps[:, -1] = 0.5
        return gaps * np.array([0.99, 1.0, 1.01])[:, None, None, None]

    assert judged(settled, gram_gap=stuck)["zou2020-ass4.3"] == "fails"


def test_noise_does_not_settle_an_exponent(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=(3, 3, 3, 1)))
    assert judged(settled, gram_gap=lambda gap: gap * noise)["zou2020-ass4.3"] == "inconclusive"


@pytest.mark.parametrize("claim", setting.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(settled, claim):
    verdicts = setting.judge(TINY, settled)
    told = with_controls(verdicts, setting.CONTROLS, TINY, settled, setting.judge)
    assert {v.claim: v.control.outcome for v in told}[claim] == "fails"
