"""Joint training: its identities from autograd, and that its judge can say yes and no."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.bounds.du2019 import (
    lemma_a3_gram_changes,
    lemma_a3_radii,
    lemma_a4_distance,
    lemma_a5_distance,
    theorem_3_3_width,
)
from companion.errors import InputError
from companion.experiments.du2019 import joint_training
from companion.experiments.du2019._balls import (
    adversary,
    at_random,
    certified,
    change,
    change_bounds,
    largest,
)
from companion.experiments.du2019._problem import Problem, draw
from companion.kernels import infinite_width_output_gram, spectral_norm
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    TwoLayers,
    descent_by_autograd,
    gram_by_autograd,
    linearised_flow_residual,
    max_distance_by_loops,
    pair_expectation,
    predictions_by_loops,
)

SMALL = joint_training.QUICK.override(
    {
        "count": 8,
        "dimension": 8,
        "widths": (100, 200, 400),
        "seeds": 2,
        "points": 9,
        "horizon": 1.0,
        "tolerance": 1e-4,
        "multiples": (1.0, 100.0, 1e3),
        "draws": 30,
        "ball_count": 4,
        "ball_width": 65536,
    }
)
# The widest network of this world is as wide as the theorem asks for.
WIDE = SMALL.override({"delta": 0.999999}).model_copy(update={"widths": (100, 200, 10**20)})
SPREAD = np.array([1.0, 1.01])[:, None, None]
judged = partial(outcomes, joint_training, SMALL)
judged_wide = partial(outcomes, joint_training, WIDE)


@pytest.fixture(scope="module")
def found():
    return joint_training.run(SMALL, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here the true ones are written into it."""
    near = in_width(found, -0.5)
    frozen = found.frozen_output_distance.values[..., None]
    return doctored(found, distance=near, output_distance=1.1 * frozen * SPREAD)


def in_width(found, exponent):
    """0.1 ||y - u(0)|| m^exponent, with a little spread over the seeds."""
    law = found.width.values[:, None] ** exponent * SPREAD
    return 0.1 * np.sqrt(found.misfit.values[..., :1]) * law


def noisy(samples):
    return samples * np.exp(3 * np.random.default_rng(0).normal(size=samples.shape[:2]))[..., None]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return draw(SMALL.override({"count": 6, "dimension": 6}), "cpu", seed=0, width=30)


def hidden_gram(weights, outputs, x):
    return gram_by_autograd(TwoLayers(weights, outputs), x)


def test_flows_are_the_limits_of_autograd_descent(found):
    one = found.sel(seed=1, width=100).isel(time=1)
    start = draw(SMALL, "cpu", seed=1, width=100)
    known = start.network, start.x, start.y, float(one.times) / 1000, 1000
    for layers, name in (("first", "misfit_first"), ("both", "misfit")):
        end = descent_by_autograd(*known, layers)[-1]
        residual = predictions_by_loops(end, start.x) - start.y
        assert float(one[name]) == pytest.approx(float(residual @ residual), rel=5e-3)
    far = max_distance_by_loops(start.network.weights[0], end.weights)
    assert float(one.distance) == pytest.approx(far, rel=5e-3)
    far = float((end.outputs - start.network.outputs).abs().max())
    assert float(one.output_distance) == pytest.approx(far, rel=5e-3)
    for wrt, name in (("weights", "lambda_min"), ("outputs", "output_lambda_min")):
        least = np.linalg.eigvalsh(gram_by_autograd(end, start.x, wrt).numpy())[0]
        assert float(one[name]) == pytest.approx(least, rel=5e-3)


def test_velocity_is_the_joint_gram_product(problem):
    """Both Gram matrices from autograd, the velocity along a flow whose a is no longer +-1."""
    weights, outputs = problem.network.weights[0], 1.3 * problem.network.outputs
    network = problem.network.training("all").moved([weights, outputs])
    moved = TwoLayers(weights, outputs)
    gram = sum(gram_by_autograd(moved, problem.x, wrt) for wrt in ("weights", "outputs"))
    eta, (start, after) = 1e-7, descent_by_autograd(moved, problem.x, problem.y, 1e-7, 1, "both")
    change = predictions_by_loops(after, problem.x) - predictions_by_loops(start, problem.x)
    expected = gram @ (problem.y - predictions_by_loops(moved, problem.x))
    torch.testing.assert_close(change / eta, expected, rtol=1e-5, atol=1e-6)
    assert problem.velocity_error(network) < 1e-8


def test_output_limit_by_quadrature(problem):
    known = infinite_width_output_gram(problem.x[:4])
    for i, j in np.ndindex(4, 4):
        rho = float((problem.x[i] @ problem.x[j]).clamp(-1, 1))
        assert float(known[i, j]) == pytest.approx(pair_expectation(rho, 1), abs=1e-4)


def test_frozen_distance_adds_up_the_frozen_gradients():
    """|a_r - a_r(0)| = |sum_i relu(w_r . x_i) int (y - u)_i dt| / sqrt m, by the midpoint rule."""
    start = draw(SMALL, "cpu", seed=3, width=9, trained="all")
    residual = predictions_by_loops(start.network, start.x) - start.y
    middles = (np.arange(400) + 0.5) * 3.0 / 400
    paths = [linearised_flow_residual(start.limit, residual, time) for time in middles]
    impulse = -torch.stack(paths).sum(dim=0) * 3.0 / 400
    moved = [
        sum(max(float(w @ x), 0.0) * float(p) for x, p in zip(start.x, impulse, strict=True)) / 3
        for w in start.network.weights[0]
    ]
    known = max(abs(move) for move in moved)
    assert joint_training._frozen(start, start.limit, 3.0) == pytest.approx(known, rel=1e-4)


def test_kernels_are_those_of_autograd(found):
    start = draw(SMALL, "cpu", seed=1, width=100)
    gram = gram_by_autograd(start.network, start.x, "outputs")
    gap = (gram - infinite_width_output_gram(start.x)).numpy()
    one = found.sel(seed=1, width=100)
    assert float(one.output_gram_error) == pytest.approx(np.linalg.norm(gap, 2))
    assert float(one.output_gram_size) == pytest.approx(np.linalg.norm(gram.numpy(), 2))


def test_a_random_neighbour_lies_on_the_balls_and_an_adversary_in_them(problem):
    weights, outputs = at_random(problem, 0.2, 0.1, 0)
    far_w = (weights - problem.network.weights[0]).norm(dim=1)
    far_a = (outputs - problem.network.outputs).abs()
    torch.testing.assert_close(far_w, torch.full_like(far_w, 0.2))
    torch.testing.assert_close(far_a, torch.full_like(far_a, 0.1))
    weights, outputs = adversary(problem, 0.2, 0.1)
    assert float((weights - problem.network.weights[0]).norm(dim=1).max()) < 0.2 + 1e-12
    torch.testing.assert_close(outputs, 1.1 * problem.network.outputs)


def test_adversary_switches_on_what_it_can_and_nothing_off(problem):
    (before,) = problem.network.preactivations(problem.x)
    weights, _ = adversary(problem, 0.2, 0.0)
    after = problem.x @ weights.T
    could = ((before < 0) & (before > -0.2)).any(dim=0)
    on = ((before < 0) & (after >= 0)).any(dim=0)
    assert 0 < int(could.sum()) < len(could)
    assert torch.equal(on, could)


def test_changes_are_those_of_gram_matrices_from_autograd(problem):
    before = hidden_gram(problem.network.weights[0], problem.network.outputs, problem.x)
    for pair in (at_random(problem, 0.2, 0.1, 3), adversary(problem, 0.2, 0.1)):
        gap = (hidden_gram(*pair, problem.x) - before).numpy()
        assert change(problem, pair) == pytest.approx(np.linalg.norm(gap, 2), rel=1e-10)


def test_certificate_bounds_both_parts_of_every_move(problem):
    """Entry by entry, for the random and the adversarial move, with Gram matrices from autograd."""
    a, x = problem.network.outputs, problem.x
    before = hidden_gram(problem.network.weights[0], a, x)
    for far_w, far_a in ((0.2, 0.1), (0.4, 0.5)):
        bounds = change_bounds(problem, far_w, far_a)
        for pair in (at_random(problem, far_w, far_a, 3), adversary(problem, far_w, far_a)):
            half, full = hidden_gram(pair[0], a, x), hidden_gram(*pair, x)
            for gap, bound in zip((half - before, full - half), bounds, strict=True):
                assert bool((gap.abs() <= bound + 1e-14).all())
            assert 0 < change(problem, pair) <= certified(problem, far_w, far_a)
    assert certified(problem, 0.0, 0.0) == 0


def test_certificate_of_outputs_is_reached_by_one_input():
    """H is |x|^2 times the share of active units, which grows by (1 + R_a)^2 and no more."""
    one = draw(SMALL, "cpu", seed=0, width=50, count=1)
    reached = change(one, adversary(one, 0.0, 0.3))
    assert certified(one, 0.0, 0.3) == pytest.approx(reached, rel=1e-12)


def test_largest_size_is_found_to_a_sixteen_thousandth():
    assert largest(lambda size: size**2, 2.0, 4.0) == pytest.approx(2**0.5, abs=4 / 2**14)


def test_ball_of_one_draw_by_loops(found):
    start = draw(SMALL, "cpu", seed=5, width=65536, count=4)
    lambda_0 = float(np.linalg.eigvalsh(start.limit.numpy())[0])
    radius = math.sqrt(2 * math.pi) * lambda_0 * 0.1 / (32 * 16)
    near = (start.x @ start.network.weights[0].T).abs() <= radius
    one = found.sel(start=5)
    assert int(one.ball_pairs) == int(near.sum())
    most = certified(start, radius, lambda_0 / (16 * 16))
    least = np.linalg.eigvalsh(start.gram.numpy())[0]
    assert float(one.ball_change) == pytest.approx(most / lambda_0)
    assert float(one.ball_least) == pytest.approx((least - most) / lambda_0)
    # Each near pair changes at most 2 n - 1 entries of the sum, by at most 1 / m.
    printed = 4 * 16 * radius / math.sqrt(2 * math.pi)
    assert float(one.ball_weight_share) <= int(near.sum()) * 7 / 65536 / printed


def test_larger_balls_are_safe_up_to_one_multiple_and_broken_from_another(found):
    start = draw(SMALL, "cpu", seed=1, width=65536, count=4)
    one = found.sel(seed=1)
    radii = float(one.weight_radius), float(one.output_radius)
    for name, measure in (
        ("safe", lambda far_w, far_a: certified(start, far_w, far_a)),
        ("broken", lambda far_w, far_a: change(start, adversary(start, far_w, far_a))),
    ):
        around = [
            measure(*(share * float(one[f"{name}_multiple"]) * radius for radius in radii))
            for share in (0.99, 1.01)
        ]
        assert around[0] < float(one.ball_lambda_0) / 4 < around[1]
    assert 1 < float(one.safe_multiple) < float(one.broken_multiple)


def test_growing_outputs_change_the_gram_matrix_by_two_r_plus_r_squared(problem):
    """The strict piece of Lemma A.3, reached; what the paper prints, 2 R, would be too little."""
    (weights,), outputs, far = problem.network.weights, problem.network.outputs, 0.5
    gram = hidden_gram(weights, outputs, problem.x)
    grown = hidden_gram(weights, outputs * (1 + far), problem.x)
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


def test_joint_training_is_faster(found):
    assert (found.misfit < found.misfit_first).isel(time=slice(1, None)).all()


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == joint_training.EXPECTED
    wide = judged_wide(settled, distance=lambda a: 1e-9 * a, output_distance=lambda a: 1e-9 * a)
    assert wide["du2019-thm3.3"] == wide["du2019-lemA.6"] == wide["du2019-lemA.4-5"] == "holds"


def test_judge_sees_a_misfit_above_the_bound(settled):
    """Beyond the theorem's width that says nothing; at it, or for Lemma A.2, it refutes."""

    def stall(misfit):
        misfit[1, 0, 4] = misfit[1, 0, 0]
        return misfit

    for judge, outcome in ((judged, "inconclusive"), (judged_wide, "fails")):
        lied = judge(settled, misfit=stall)
        assert lied["du2019-thm3.3"] == lied["du2019-lemA.6"] == outcome
        assert lied["du2019-lemA.2"] == "fails"


def test_judge_sees_a_broken_identity_at_any_width(settled):
    assert judged(settled, velocity_error=lambda a: a + 1)["du2019-thm3.3"] == "fails"


def test_judge_sees_a_negative_output_gram(settled):
    lied = partial(judged, settled, output_lambda_min=lambda a: a - 1)
    assert lied()["du2019-lemA.2"] == "fails"
    assert lied(lambda_min=1e-9)["du2019-lemA.2"] == "fails"


def test_an_unmet_hypothesis_refutes_nothing(settled):
    bad = partial(judged, settled, lambda_min=1e-9)
    assert bad()["du2019-lemA.2"] == bad()["du2019-lemA.4-5"] == "outside-regime"
    assert bad()["du2019-lemA.6"] == "inconclusive"
    assert bad(misfit=lambda a: a[..., :1])["du2019-lemA.2"] == "inconclusive"
    assert bad(distance=lambda a: 1e6 * a)["du2019-lemA.4-5"] == "inconclusive"
    assert judged_wide(settled, lambda_min=1e-9)["du2019-lemA.6"] == "fails"


def test_judge_sees_balls_in_which_the_gram_matrix_moves_too_far(settled):
    def some(share, value):
        return lambda a: np.where(np.arange(30) < 30 * share, value, a)

    for share, outcome in ((0.0, "holds"), (0.1, "inconclusive"), (0.3, "fails")):
        assert judged(settled, ball_change=some(share, 0.26))["du2019-lemA.3"] == outcome
        assert judged(settled, ball_least=some(share, 0.49))["du2019-lemA.3"] == outcome
    few = SMALL.model_copy(update={"draws": 9})
    nine = settled.isel(start=slice(9))
    assert outcomes(joint_training, few, nine)["du2019-lemA.3"] == "inconclusive"


@pytest.mark.parametrize("name", ["ball_weight_share", "ball_output_share"])
@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
def test_a_piece_may_not_take_more_than_the_proof_gives_it(settled, name, share, outcome):
    assert judged(settled, **{name: share})["du2019-lemA.3"] == outcome


def test_a_ball_in_which_nothing_switches_is_no_test(settled):
    lied = judged(settled, ball_pairs=lambda a: 0 * a)
    assert lied["du2019-lemA.3"] == "inconclusive"


def test_a_perturbation_above_the_certificate_refutes_it_at_any_width(settled):
    narrow = SMALL.model_copy(update={"ball_width": 100})
    assert outcomes(joint_training, narrow, settled)["du2019-lemA.3"] == "outside-regime"
    for kind in ("random", "adversary"):
        lied = outcomes(joint_training, narrow, settled, **{kind: settled.certified * 1.01})
        assert lied["du2019-lemA.3"] == "fails"


@pytest.mark.parametrize(
    ("exponent", "outcome"),
    [(-0.5, "holds"), (-1.0, "holds"), (-0.3, "fails"), (0.0, "fails"), (0.5, "fails")],
)
def test_falls_are_judged_one_sided_and_refute_no_lemma(settled, exponent, outcome):
    """In the regime of the lemmas, so small are the distances; either layer's may be too flat."""
    law, usual = 1e-7 * in_width(settled, exponent), 1e-7 * in_width(settled, -0.5)
    frozen = (settled.width.values**-0.5)[None]
    start = np.sqrt(settled.misfit.values[..., :1])
    for distance, output_distance, claim in (
        (law, usual, "du2019-lemA.4-5-order"),
        (usual, law, "du2019-lemA.5-frozen"),
    ):
        lied = judged(
            settled,
            distance=distance,
            output_distance=output_distance / start,
            frozen_output_distance=frozen,
        )
        assert lied[claim] == outcome
        assert lied["du2019-lemA.4-5"] == "holds"


def test_noise_settles_nothing(settled):
    tiny = {name: noisy(1e-12 * settled[name].values) for name in ("distance", "output_distance")}
    lied = judged(settled, **tiny)
    assert lied["du2019-lemA.4-5-order"] == lied["du2019-lemA.5-frozen"] == "inconclusive"
    assert lied["du2019-lemA.4-5"] == "holds"


def test_judge_sees_a_layer_that_leaves_its_ball(settled):
    near = {"distance": lambda a: 1e-9 * a, "output_distance": lambda a: 1e-9 * a}
    wide = partial(judged_wide, settled)
    for name in near:
        assert wide(**near | {name: lambda a: 1e6 * a})["du2019-lemA.6"] == "fails"
        assert judged(settled, **{name: lambda a: 1e6 * a})["du2019-lemA.4-5"] == "inconclusive"


@pytest.mark.parametrize("bad", [{"widths": (50, 60)}, {"multiples": (1.0,)}, {"delta": 1.0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError):
        joint_training.QUICK.override(bad)
