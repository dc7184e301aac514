"""Deviations from float64 that are there, that grow with coarser products, and can be refused."""

from functools import partial

import numpy as np
import pytest

from companion.experiments.engines.precision import OBSERVABLES, Settings, judge, run
from tests.doctoring import doctored, outcomes

TINY = Settings(count=30, dimension=5, depth=2, width=16, seeds=3, steps=10)
judged = partial(outcomes, judge)


@pytest.fixture(scope="module")
def result():
    return run(TINY, "cpu")


def test_every_precision_starts_from_the_same_network(result):
    loss = {name: result.arrays[name][:, 0, 0] for name in ("float64", "float32", "bfloat16")}
    np.testing.assert_allclose(loss["float32"], loss["float64"], rtol=1e-6)
    np.testing.assert_allclose(loss["bfloat16"], loss["float64"], rtol=2e-2)
    assert (loss["float32"] != loss["float64"]).any()
    assert (np.abs(loss["bfloat16"] - loss["float64"]) > 1e-5).any()


def test_coarser_products_are_farther_off(result):
    """2^-8 against 2^-24: at least a hundred times as far, where nothing is discrete."""
    fine, coarse = result.arrays["deviation"].max(axis=2)
    smooth = [OBSERVABLES.index(name) for name in ("loss", "frobenius")]
    assert (coarse[smooth] > 100 * fine[smooth]).all()
    assert result.values["loss_bfloat16"] == coarse[0]


def test_deviation_is_in_standard_deviations_over_seeds(result):
    exact, rough = result.arrays["float64"], result.arrays["bfloat16"]
    apart = np.abs(rough[:, 0, -1] - exact[:, 0, -1]).max()
    known = apart / exact[:, 0, -1].std(ddof=1)
    assert result.arrays["deviation"][1, 0, -1] == pytest.approx(known)


def test_verdict_can_fail(result):
    shape = result.arrays["deviation"].shape
    good = doctored(result, deviation=np.full(shape, 0.09))
    assert set(judged(good).values()) == {"holds"}
    bad = np.full(shape, 0.09)
    bad[0, 2, 4] = 0.11
    assert judged(good, deviation=bad) == {"engines-float32": "fails", "engines-bfloat16": "holds"}
    assert "frobenius most" in judge(doctored(result, deviation=bad))[0].sentence
