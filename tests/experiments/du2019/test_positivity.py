"""The experiment du2019/positivity against explicit spans, another solver, and its own failure."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch

from companion.datasets import sphere, with_antipodes
from companion.experiments.du2019 import positivity
from companion.kernels import infinite_width_gram, lambda_min
from tests.doctoring import outcomes
from tests.oracles import pair_expectation

TINY = positivity.Settings(
    counts=(4, 8),
    dimensions=(3, 6),
    per_class=(2, 4),
    seeds=2,
    angles=(1e-6, 1e-3, 0.1),
    pair_count=5,
    antipodal_dimension=3,
)
judged = partial(outcomes, positivity, TINY)


@pytest.fixture(scope="module")
def found():
    return positivity.run(TINY, "cpu")


def test_tiny_run_holds(found):
    assert judged(found) == positivity.EXPECTED


def test_least_eigenvalue_by_quadrature_and_another_solver(found):
    x = sphere(4, 3, 0).x.numpy()
    rho = np.clip(x @ x.T, -1, 1)
    gram = rho * np.vectorize(lambda r: pair_expectation(r, 0))(rho)
    known = scipy.linalg.svdvals(gram).min()
    assert float(found.sphere_lambda[0, 0, 0]) == pytest.approx(known, abs=1e-4)


def test_features_span_what_the_kernel_says():
    """Feature maps x 1{w.x >= 0} at many w: d antipodal pairs are independent, d + 1 are not.

    The rank of sampled features is a road without the closed form.
    """
    x = sphere(5, 3, 0).x
    w = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for pairs, deficit in [(0, 0), (3, 0), (4, 1), (5, 2)]:
        rows = with_antipodes(x, pairs)
        active = (rows @ w.T >= 0).double()
        features = (active[:, :, None] * rows[:, None, :]).flatten(1)
        assert int(torch.linalg.matrix_rank(features)) == len(rows) - deficit
        zeros = torch.linalg.eigvalsh(infinite_width_gram(rows)) < 1e-12
        assert int(zeros.sum()) == deficit


def test_a_data_set_is_no_better_than_its_closest_pair(found):
    """Interlacing, on the digits: lambda_0 is at most the pair's least eigenvalue."""
    assert (found.digits_lambda <= found.digits_bound).all()
    assert (found.planted_lambda <= found.pair_lambda * (1 + 1e-9)).all()


def test_constructed_points_lie_in_their_own_hyperplane_only():
    x = sphere(6, 4, 0).x
    assert positivity._clearance(x, 0) > 1e-6
    assert positivity._clearance(with_antipodes(x, 1), 0) < 1e-15
    # In the plane D_i is a line, so the clearance is known: the least |sin| of an angle.
    plane = torch.tensor([[1.0, 0.0], [math.cos(0.3), math.sin(0.3)]], dtype=torch.float64)
    assert positivity._clearance(plane, 0) == pytest.approx(math.sin(0.3))


def test_least_angle_is_that_of_the_closest_pair():
    x = sphere(6, 4, 0).x
    cosines = (x @ x.T).fill_diagonal_(-1)
    assert positivity._least_angle(x) == pytest.approx(math.acos(float(cosines.max())))


def test_duplicates_have_no_positive_least_eigenvalue():
    x = sphere(6, 4, 0).x
    assert abs(lambda_min(infinite_width_gram(torch.cat([x, x[:1]])))) < 1e-15


def test_single_precision_is_judged_by_its_own_rounding():
    single = TINY.override({"dtype": "float32"})
    found = positivity.run(single, "cpu")
    assert outcomes(positivity, single, found) == positivity.EXPECTED


@pytest.mark.parametrize(
    ("claim", "name", "value"),
    [
        ("du2019-ass3.1", "sphere_lambda", np.zeros((2, 2, 2))),
        ("du2019-ass3.1", "digits_lambda", np.array([0.1, -1e-3])),
        ("du2019-thm3.1", "sphere_lambda", np.zeros((2, 2, 2))),
        ("du2019-thm3.1-rate", "pair_lambda", np.array([1e-6, 1e-3, 0.1])),
        ("du2019-thm3.1-rate", "pair_lambda", np.array([1e-6, 1e-3, 0.5]) / (2 * np.pi)),
        ("du2019-thm3.1-rate", "planted_lambda", np.full((2, 3), 0.1)),
        ("du2019-thm3.1-rate", "duplicate_lambda", np.array([0.0, 1e-3])),
        ("du2019-thm3.1-antipodes", "antipodal_lambda", np.array([0.1, 0.1, 0.1, 0.0, 0.0, 0.0])),
        ("du2019-thm3.1-antipodes", "antipodal_lambda", np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.0])),
        ("du2019-lemA.1", "sphere_clearance", np.zeros((2, 2, 2))),
        ("du2019-lemA.1", "digits_clearance", np.array([0.1, 1e-16])),
        ("du2019-thm3.1", "digits_lambda", np.array([0.1, 0.0])),
        ("du2019-thm3.1", "planted_lambda", np.array([[0.0, 1e-4, 0.01], [1e-7, 1e-4, 0.01]])),
    ],
)
def test_each_disagreement_fails(found, claim, name, value):
    assert judged(found, **{name: value})[claim] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
@pytest.mark.parametrize("place", [1, 2])
def test_a_pair_may_be_off_its_law_by_the_next_term(found, place, share, outcome):
    """phi / 2 pi (1 + pi phi / 2 + ...), of which a share of 2 phi is allowed."""

    def off(pair):
        angle = TINY.angles[place]
        pair[place] = angle / (2 * math.pi) * (1 + share * 2 * angle)
        return pair

    assert judged(found, pair_lambda=off)["du2019-thm3.1-rate"] == outcome


def test_what_the_companion_adds_refutes_no_theorem(found):
    lied = judged(found, pair_lambda=lambda a: 2 * a, antipodal_lambda=0.0)
    assert lied["du2019-thm3.1-rate"] == lied["du2019-thm3.1-antipodes"] == "fails"
    assert lied["du2019-thm3.1"] == "holds"


def test_parallel_inputs_are_a_control_of_the_lemma(found):
    assert float(found.parallel_clearance.max()) < 1e-15


def test_what_is_no_number_decides_nothing(found):
    names = ("sphere_lambda", "sphere_clearance", "pair_lambda", "antipodal_lambda")
    lied = judged(found, **{name: lambda a: np.full_like(a, np.nan) for name in names})
    assert set(lied.values()) == {"inconclusive"}


def test_fresh_seeds_draw_other_spheres(found):
    fresh = positivity.run(TINY.override({"first_seed": 1}), "cpu")
    np.testing.assert_array_equal(fresh.sphere_lambda.sel(seed=1), found.sphere_lambda.sel(seed=1))
    assert (fresh.digits_clearance != found.digits_clearance).all()
