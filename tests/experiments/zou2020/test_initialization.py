"""The initial loss against autograd and quadrature, and judges that can say no."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.experiments.zou2018._problem import draw
from companion.experiments.zou2020 import initialization
from tests.doctoring import doctored, outcomes
from tests.oracles import zou_predictions

TINY = initialization.Settings(
    seeds=14, count=4, dimension=6, depth=2, widths=(16, 32, 64), depths=(1, 2, 3), deep_width=32,
    examples=(2, 4, 8), examples_width=16, pairs=2, pair_counts=(2, 4, 6), pair_widths=(16, 32, 64),
    pair_width=64, product_depths=(2, 3, 4), product_width=12, sparsities=(1, 2, 4),
    kept_separation=0.9, samples=200,
)  # fmt: skip
judged = partial(outcomes, initialization, TINY)


@pytest.fixture(scope="module")
def found():
    return initialization.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Small networks settle no exponent: here the laws are written into the run."""
    scatter = np.linspace(0.99, 1.01, 14)[:, None]
    loss = initialization.limit_loss() * scatter
    layers = np.array(TINY.product_depths)
    return doctored(
        found,
        loss=loss,
        loss_by_depth=loss,
        loss_by_count=loss,
        deviation=scatter * np.array(TINY.widths) ** -0.5,
        deviation_by_depth=scatter * np.array(TINY.depths) ** 0.5,
        by_width=scatter * np.array(TINY.pair_widths),
        by_count=scatter,
        by_separation=scatter * np.array(TINY.pair_separations),
        masked=scatter * layers**0.45,
        perturbed=scatter * layers**0.45,
        output_norm=scatter,
        output_form=scatter[..., None] * np.array(TINY.sparsities) ** 0.3,
        kept=0.7,
        share=lambda a: a + 0.05,
        premise=0.5,
    )


def test_the_judge_can_say_yes(settled):
    told = judged(settled)
    assert set(told) == set(initialization.EXPECTED)
    assert set(told.values()) <= {"holds", "outside-regime"}


def test_the_loss_is_the_mean_of_log_of_one_plus_exp(found):
    problem = draw(TINY, "cpu", seed=3, width=32, depth=2)
    outputs = zou_predictions(problem.network.weights, problem.network.outputs, problem.x)
    known = np.mean([
        math.log(1 + math.exp(-float(y * f))) for y, f in zip(problem.y, outputs, strict=True)
    ])  # fmt: skip
    assert float(found.loss.sel(seed=3, width=32)) == pytest.approx(known)


def test_the_limit_is_a_gaussian_mean():
    z = torch.randn(4_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sample = torch.nn.functional.softplus(-math.sqrt(1 - 1 / math.pi) * z).mean()
    assert initialization.limit_loss() == pytest.approx(float(sample), rel=1e-3)
    assert initialization.limit_loss() > math.log(2)


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("zou2020-lem5.1", {"loss": lambda a: a * np.array([1.0, 1.3, 1.7])}),
        ("zou2020-lem5.1", {"loss_by_depth": lambda a: a * np.array([1.0, 1.3, 1.7])}),
        ("zou2020-lem5.1", {"loss_by_count": lambda a: a * np.array([1.0, 1.3, 1.7])}),
        ("zou2020-lem5.1", {"loss": math.log(2)}),
        ("zou2020-lemA.1-2", {"deviation": np.ones_like}),
        ("zou2020-lemA.1-2", {"by_width": np.ones_like}),
        ("zou2020-lemA.3", {"masked": lambda a: a**2}),
        ("zou2020-lemA.3", {"perturbed": lambda a: a**2}),
        ("zou2020-lemA.3", {"output_norm": lambda a: a * np.array([1.0, 1.5, 2.0])}),
        ("zou2020-lemA.3", {"output_form": lambda a: a**3}),
        ("zou2020-lemB.1-2", {"kept": 0.4}),
        ("zou2020-lemB.1-2", {"share": lambda a: a / 1000}),
    ],
)
def test_the_judge_sees(settled, claim, change):
    before, after = judged(settled)[claim], judged(settled, **change)[claim]
    assert after == ("fails" if before == "holds" else "inconclusive")


def test_noise_decides_nothing(settled):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(14, 3)))
    told = judged(
        settled, loss=lambda a: a * noise, masked=lambda a: a * noise, by_width=lambda a: a * noise
    )
    assert told["zou2020-lem5.1"] == told["zou2020-lemA.3"] == "inconclusive"
    assert told["zou2020-lemA.1-2"] == "inconclusive"


def test_controls_are_seen(settled):
    before = judged(settled)
    for claim, lie in initialization.CONTROLS.items():
        lied = initialization.judge(TINY, lie.told(TINY, settled))
        assert {v.claim: v.outcome for v in lied}[claim] != before[claim]


def test_the_quick_run_is_in_the_regime_with_constants_one():
    assert initialization._narrow(initialization.QUICK) == ""
    assert initialization._kept_width(initialization.QUICK) >= 16 * 16 * math.log(4**2 * 2 / 0.2)
