"""Deviations from float64 that are there, that grow with coarser products, and can be refused."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.experiments.engines import precision
from companion.experiments.engines.precision import OBSERVABLES
from companion.lab.controls import with_controls
from companion.losses import CROSS_ENTROPY
from companion.networks import draw_zou
from companion.training import train
from tests.doctoring import doctored, outcomes

TINY = precision.Settings(count=30, dimension=5, depth=2, width=16, seeds=3, steps=10)
judged = partial(outcomes, precision, TINY)


@pytest.fixture(scope="module")
def found():
    return precision.run(TINY, "cpu")


def test_every_precision_starts_from_the_same_network(found):
    loss = {name: found[name].values[:, 0, 0] for name in ("float64", "float32", "bfloat16")}
    np.testing.assert_allclose(loss["float32"], loss["float64"], rtol=1e-6)
    np.testing.assert_allclose(loss["bfloat16"], loss["float64"], rtol=2e-2)
    assert (loss["float32"] != loss["float64"]).any()
    assert (np.abs(loss["bfloat16"] - loss["float64"]) > 1e-5).any()


def test_observables_are_those_of_the_network_trained(found):
    """At the end of one run: the loss written out, both distances by SVD, the patterns compared."""
    data, network = sphere(30, 5, seed=0), draw_zou(16, 5, 1, depth=2, dtype=torch.float64)
    x, y = data.x, data.y.sign()
    end = train(network, x, y, loss=CROSS_ENTROPY, step_size=1 / 16, steps=10).network
    changes = [(a - b).numpy() for a, b in zip(end.weights, network.weights, strict=True)]
    shares = [
        float((network.pattern(a) != end.pattern(b)).double().mean())
        for a, b in zip(network.run(x).gates, end.run(x).gates, strict=True)
    ]
    loss, pattern, frobenius, spectral = found.float64.values[1, :, -1]
    assert loss == pytest.approx(float(torch.log1p(torch.exp(-y * end.predict(x))).mean()))
    assert pattern == pytest.approx(np.mean(shares))
    assert frobenius == pytest.approx(np.sqrt(sum((change**2).sum() for change in changes)))
    norms = [np.linalg.norm(change, 2) for change in changes]
    assert spectral == pytest.approx(max(norms), rel=1e-3)


def test_coarser_products_are_farther_off(found):
    """2^-8 against 2^-24: at least a hundred times as far, where nothing is discrete."""
    fine, coarse = found.deviation.max("step").values
    smooth = [list(OBSERVABLES).index(name) for name in ("loss", "frobenius")]
    assert (coarse[smooth] > 100 * fine[smooth]).all()
    assert float(precision.values(TINY, found)["loss_bfloat16"]) == coarse[0]


def test_deviation_is_in_standard_deviations_over_seeds(found):
    exact, rough = found.float64.values, found.bfloat16.values
    apart = np.abs(rough[:, 0, -1] - exact[:, 0, -1]).max()
    known = apart / exact[:, 0, -1].std(ddof=1)
    assert float(found.deviation[1, 0, -1]) == pytest.approx(known)


def test_nothing_deviates_before_anything_moves(found):
    assert (found.deviation[:, 1:, 0] == 0).all()


def test_verdict_can_fail(found):
    """Three seeds know a standard deviation up to factors 0.58 and 4.4: 0.05 and 0.5 are clear."""
    good = doctored(found, deviation=np.full(found.deviation.shape, 0.05))
    assert set(judged(good).values()) == {"holds"}
    bad = good.deviation.values.copy()
    bad[0, 2, 4] = 0.5
    assert judged(good, deviation=bad) == {"engines-float32": "fails", "engines-bfloat16": "holds"}
    said = precision.judge(TINY, doctored(found, deviation=bad))[0].sentence
    assert "change the Frobenius distance from the start by more than" in said


@pytest.mark.parametrize(
    ("claim", "before", "after"),
    [("engines-float32", "holds", "inconclusive"), ("engines-bfloat16", "fails", "holds")],
)
def test_the_judge_sees_the_lie_that_its_card_tells(found, claim, before, after):
    """Of a run in which float32 is close and bfloat16 is not."""
    shares = np.array([0.05, 1.0])[:, None, None] * np.ones(found.deviation.shape)
    real = doctored(found, deviation=shares)
    verdicts = precision.judge(TINY, real)
    told = with_controls(verdicts, precision.CONTROLS, TINY, real, precision.judge)
    (verdict,) = (v for v in told if v.claim == claim)
    assert (verdict.outcome, verdict.control.outcome) == (before, after)


@pytest.mark.parametrize("share", [0.07, 0.3, np.nan])
def test_what_so_few_seeds_cannot_tell_is_left_open(found, share):
    good = doctored(found, deviation=np.full(found.deviation.shape, 0.05))
    unclear = good.deviation.values.copy()
    unclear[1, 1, 3] = share
    assert judged(good, deviation=unclear)["engines-bfloat16"] == "inconclusive"
