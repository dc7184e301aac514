"""Joint training: its identities from autograd, and that its judge can say no."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from companion.dynamics import prediction_velocity

from companion.bounds.du2019 import (
    lemma_a3_gram_changes,
    lemma_a3_radii,
    lemma_a4_distance,
    lemma_a5_distance,
    theorem_3_3_width,
)
from companion.datasets import sphere
from companion.errors import InputError
from companion.experiments.du2019 import joint_training as experiment
from companion.kernels import empirical_gram, infinite_width_output_gram, spectral_norm
from companion.lab.results import Result
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import gram_by_autograd, pair_expectation

TINY = experiment.QUICK.override(
    {
        "count": 8,
        "dimension": 8,
        "widths": (200, 800),
        "seeds": 2,
        "points": 9,
        "horizon": 1.0,
        "tolerance": 1e-4,
        "multiples": (1.0, 10.0, 1e4),
    }
)
judged = partial(outcomes, experiment.judge)


@pytest.fixture(scope="module")
def result() -> Result:
    return experiment.run(TINY, "cpu")


def test_every_claim_is_judged(result):
    assert judged(result).keys() == experiment.EXPECTED.keys()


def test_velocity_is_the_joint_gram_product():
    """Both Gram matrices from autograd, the velocity by differences."""
    data, network = sphere(6, 6, 0), draw_two_layer(30, 6, 0)
    network = network.moved(network.weights, 1.3 * network.outputs)
    gram = gram_by_autograd(network, data.x) + gram_by_autograd(network, data.x, "outputs")
    expected = gram @ (data.y - network.predict(data.x))
    found = prediction_velocity(network, data.x, data.y, "both")
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert experiment._identity_error(network, data) < 1e-8


def test_output_limit_by_quadrature():
    x = sphere(4, 4, 0).x
    found = infinite_width_output_gram(x)
    for i, j in np.ndindex(4, 4):
        rho = float((x[i] @ x[j]).clamp(-1, 1))
        assert float(found[i, j]) == pytest.approx(pair_expectation(rho, 1), abs=1e-4)


def test_neighbours_lie_on_the_balls():
    data, network = sphere(6, 6, 0), draw_two_layer(30, 6, 0)
    pairs = experiment._neighbours(network, data.x, network.preactivations(data.x), 0.2, 0.1, 0)
    for weights, outputs in pairs:
        far_w = (weights - network.weights).norm(dim=1)
        far_a = (outputs - network.outputs).abs()
        torch.testing.assert_close(far_w, torch.full_like(far_w, 0.2))
        torch.testing.assert_close(far_a, torch.full_like(far_a, 0.1))


def test_adversary_switches_every_unit_it_can():
    data, network = sphere(6, 6, 0), draw_two_layer(30, 6, 0)
    before = network.preactivations(data.x)
    _, (weights, _) = experiment._neighbours(network, data.x, before, 0.2, 0.0, 0)
    after = network.moved(weights).preactivations(data.x)
    switched = ((before >= 0) != (after >= 0)).any(dim=0)
    assert bool(switched[before.abs().min(dim=0).values < 0.2].all())


def test_growing_outputs_change_the_gram_matrix_by_two_r_plus_r_squared():
    """The strict piece of Lemma A.3, reached; what the paper prints, 2 R, would be too little."""
    data, network = sphere(6, 6, 0), draw_two_layer(30, 6, 0)
    gram, far = empirical_gram(network, data.x), 0.5
    grown = empirical_gram(network.moved(network.weights, network.outputs * (1 + far)), data.x)
    expected = (2 * far + far**2) * spectral_norm(gram)
    assert spectral_norm(grown - gram) == pytest.approx(expected, rel=1e-12)
    assert lemma_a3_gram_changes(6, 0.0, far)[1] == 36 * 1.25


def test_bounds_at_a_point():
    radius_w, radius_a = lemma_a3_radii(10, 0.2, 0.1)
    assert radius_w == pytest.approx(math.sqrt(2 * math.pi) * 0.02 / 3200)
    assert radius_a == pytest.approx(0.2 / 1600)
    assert lemma_a3_gram_changes(10, radius_w, 0.0)[0] / 0.1 == pytest.approx(0.2 / 8)
    assert lemma_a4_distance(9, 4, 0.5, 16.0) == pytest.approx(48.0)


def test_width_is_where_the_last_radius_fits():
    """At the width both inequalities hold with equality in one; at half of it, one is broken."""
    n, lambda_0, delta, start = 20, 0.2, 0.1, 300.0
    radius_w, radius_a = lemma_a3_radii(n, lambda_0, delta)
    width = theorem_3_3_width(n, lambda_0, delta, start)

    def worst(m: int) -> float:
        return max(
            lemma_a4_distance(n, m, lambda_0, start) / radius_w,
            lemma_a5_distance(n, m, lambda_0, start, delta) / radius_a,
        )

    assert worst(round(width)) == pytest.approx(1, rel=1e-6)
    assert worst(round(width / 2)) > 1


def test_joint_training_is_faster(result):
    a = result.arrays
    assert (a["misfit"] < a["misfit_first"])[..., 1:].all()


def test_misfit_above_the_bound_fails(result):
    misfits = result.arrays["misfit"].copy()
    misfits[1, 0, 4] = misfits[1, 0, 0]
    found = judged(result, misfit=misfits)
    assert found["du2019-thm3.3"] == "fails"
    assert found["du2019-lemA.6"] == "fails"
    assert found["du2019-lemA.2"] == "fails"


def test_a_broken_identity_fails(result):
    assert judged(result, velocity_error=lambda a: a + 1)["du2019-thm3.3"] == "fails"


def test_a_negative_output_gram_fails(result):
    negative = result.arrays["output_lambda_min"] - 1
    assert judged(result, output_lambda_min=negative)["du2019-lemA.2"] == "fails"


def test_an_unmet_hypothesis_is_inconclusive(result):
    found = judged(result, lambda_min=result.arrays["lambda_min"] * 0.1)
    assert found["du2019-lemA.2"] == found["du2019-lemA.4-5"] == "inconclusive"
    assert found["du2019-lemA.6"] == "fails"


def test_a_large_change_fails_the_perturbation(result):
    certified = result.arrays["weight_certified"] + 1
    assert judged(result, weight_certified=certified)["du2019-lemA.3"] == "fails"
    reached = result.arrays["output_change"] + 1e9
    assert judged(result, output_change=reached)["du2019-lemA.3"] == "fails"


def test_distance_verdict(result):
    a, widths = result.arrays, np.array(TINY.widths)
    start = np.sqrt(a["misfit"][..., :1])
    near = start * (widths**-0.5)[:, None] * np.ones_like(a["distance"])
    slow = near * np.sqrt(np.log(widths))[:, None]
    tiny = 1e-7
    for distance, output_distance, outcome in (
        (near, slow, "outside-regime"),
        (1e5 * near, slow, "fails"),
        (near**3, slow, "fails"),
        (tiny * near, tiny * slow, "holds"),
    ):
        found = judged(result, distance=distance, output_distance=output_distance)
        assert found["du2019-lemA.4-5"] == outcome


@pytest.mark.parametrize("bad", [{"widths": (50,)}, {"multiples": (1.0,)}, {"delta": 1.0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError):
        experiment.QUICK.override(bad)
