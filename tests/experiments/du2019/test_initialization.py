"""The experiment du2019/initialization against quadrature, exact variances, and its own failure."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.errors import InputError
from companion.experiments.du2019 import initialization
from companion.kernels import empirical_gram, infinite_width_gram
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import pair_expectation

TINY = initialization.Settings(
    samples=(100, 1000, 10000),
    counts=(2, 3, 4),
    widths=(64, 256, 1024, 4096),
    trials=20,
    misfit_networks=200,
    misfit_width=20,
    seeds=3,
)
judged = partial(outcomes, initialization.judge)


@pytest.fixture(scope="module")
def result():
    return initialization.run(TINY, "cpu")


def test_tiny_run_is_as_expected(result):
    found = judged(result)
    assert found["du2019-def-Hinf"] == found["du2019-lem3.1"] == "holds"
    assert found["du2019-init-misfit"] == "fails"


def test_closed_form_is_quadrature(result):
    angles = np.linspace(0, np.pi, TINY.angles)
    known = [math.cos(t) * pair_expectation(math.cos(t), 0) for t in angles]
    assert np.allclose(result.arrays["closed"][0], known, atol=2e-5)


def test_expected_error_is_the_binomial_variance(result):
    """Var of one term is rho^2 p (1 - p), with p by quadrature."""
    angles = np.linspace(0, np.pi, TINY.angles)
    between = np.abs(angles[:, None] - angles[None, :])
    p = np.vectorize(lambda t: pair_expectation(math.cos(t), 0, points=20_000))(between)
    known = math.sqrt((np.cos(between) ** 2 * p * (1 - p)).mean() / 100)
    assert result.arrays["expected_error"][0, 0] == pytest.approx(known, rel=1e-3)


def test_entries_of_the_initial_gram_have_the_exact_variance():
    """E H(0) = H-infinity and Var H_ij(0) = rho^2 p (1 - p) / m, over 3000 networks."""
    x = sphere(3, 4, 0).x
    grams = torch.stack([empirical_gram(draw_two_layer(10, 4, s), x) for s in range(3000)])
    limit, rho = infinite_width_gram(x), x @ x.T
    p = limit / rho
    variance = rho.square() * p * (1 - p) / 10
    assert bool(((grams.mean(0) - limit).abs() <= 4 * (variance / 3000).sqrt()).all())
    assert torch.allclose(grams.var(0), variance, rtol=0.15)


def test_sufficient_width_is_the_last_to_recover():
    widths = (1, 2, 4, 8)
    cases = {
        (0.0, 0.5, 0.9, 1.0): 4,
        (0.9, 0.5, 1.0, 1.0): 4,
        (1.0, 1.0, 1.0, 1.0): 1,
    }
    for success, known in cases.items():
        assert initialization._sufficient(widths, np.array(success), 0.9) == known
    assert math.isnan(initialization._sufficient(widths, np.array([1, 1, 1, 0.5]), 0.9))


def test_success_is_both_events(result):
    trials = initialization._trials(TINY, 3, 256, "cpu")
    x = sphere(3, 3, 0).x
    limit = infinite_width_gram(x).numpy()
    lambda_0 = np.linalg.eigvalsh(limit)[0]
    for seed, (distance, good) in enumerate(zip(trials["distance"], trials["good"], strict=True)):
        gram = empirical_gram(draw_two_layer(256, 3, seed), x).numpy()
        norm = np.linalg.norm(gram - limit, 2)
        assert distance == pytest.approx(norm)
        assert good == (norm <= lambda_0 / 4 and np.linalg.eigvalsh(gram)[0] >= 0.75 * lambda_0)


def test_wrong_inputs_to_judge_fail(result):
    a = result.arrays
    flat = np.ones_like(a["distance"])
    assert judged(result, error=10 * a["error"])["du2019-def-Hinf"] == "fails"
    assert judged(result, distance=flat)["du2019-rem3.1a"] == "fails"
    assert judged(result, explicit_good=np.zeros(20, bool))["du2019-lem3.1"] == "fails"


def test_the_printed_misfit_would_be_recognised(result):
    a = result.arrays
    as_printed = a["misfit"] + (a["printed"] - a["misfit"].mean(axis=1))[:, None]
    assert judged(result, misfit=as_printed)["du2019-init-misfit"] == "holds"
    blurred = a["misfit"].mean(axis=1)[:, None] + 100 * (np.arange(200) % 2 - 0.5)
    assert judged(result, misfit=blurred)["du2019-init-misfit"] == "inconclusive"


def test_too_few_sizes_to_fit_are_refused():
    with pytest.raises(InputError, match=r"counts.*at least 3"):
        initialization.QUICK.override({"counts": (10, 20)})
