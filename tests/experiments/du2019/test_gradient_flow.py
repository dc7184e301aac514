"""Gradient flow: the identities its experiment uses, and that its judge can say yes and no."""

import math
from functools import partial

import numpy as np
import pytest

from companion.bounds.du2019 import (
    lemma_3_2_radius,
    lemma_3_3_distance,
    theorem_3_2,
    theorem_3_2_width,
)
from companion.errors import InputError
from companion.experiments.du2019 import gradient_flow
from companion.experiments.du2019._problem import draw
from companion.lab.controls import unseen, with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    descent_by_autograd,
    gram_by_loops,
    max_distance_by_loops,
    predictions_by_loops,
)

SMALL = gradient_flow.QUICK.override(
    {
        "count": 8,
        "dimension": 8,
        "widths": (40, 80, 160),
        "seeds": 2,
        "points": 9,
        "horizon": 2.0,
        "tolerance": 1e-4,
        "euler_steps": (4, 12, 36),
    }
)
# The widest network of this world is as wide as the theorem asks for.
WIDE = SMALL.override({"delta": 0.999999}).model_copy(update={"widths": (40, 80, 10**20)})
judged = partial(outcomes, gradient_flow, SMALL)
judged_wide = partial(outcomes, gradient_flow, WIDE)


@pytest.fixture(scope="module")
def found():
    return gradient_flow.run(SMALL, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here the true ones are written into it."""
    far = in_width(found, -0.5)
    return doctored(found, drift=far, distance=far)


def in_width(found, exponent):
    """0.01 ||y - u(0)|| m^exponent, with a little spread over the seeds."""
    law = found.width.values[:, None] ** exponent * np.array([1.0, 1.01])[:, None, None]
    return 0.01 * np.sqrt(found.misfit.values[..., :1]) * law


def noisy(samples):
    return samples * np.exp(3 * np.random.default_rng(0).normal(size=samples.shape))


def test_flow_is_the_limit_of_autograd_descent(found):
    # No unit slides here at that time, so that patterns can be compared exactly.
    one = found.sel(seed=1, width=80).isel(time=1)
    problem = draw(SMALL, "cpu", seed=1, width=80)
    path = descent_by_autograd(problem.network, problem.x, problem.y, float(one.times) / 1000, 1000)
    start, end = path[0], path[-1]
    residual = predictions_by_loops(end, problem.x) - problem.y
    gram, first = (gram_by_loops(net, problem.x).numpy() for net in (end, start))
    far = max_distance_by_loops(start.weights, end.weights)
    assert float(one.distance) == pytest.approx(far, rel=3e-3)
    assert float(one.misfit) == pytest.approx(float(residual @ residual), rel=3e-3)
    assert float(one.lambda_min) == pytest.approx(np.linalg.eigvalsh(gram)[0], abs=1e-9)
    assert float(one.drift) == pytest.approx(np.linalg.norm(gram - first, 2), abs=1e-9)


def test_descent_ends_where_autograd_does(found):
    problem, one = draw(SMALL, "cpu", seed=1, width=40), found.sel(seed=1, width=40)
    time, flow = float(one.times[2]), float(one.misfit[2])
    path = descent_by_autograd(problem.network, problem.x, problem.y, time / 4, 4)
    residual = predictions_by_loops(path[-1], problem.x) - problem.y
    error = abs(math.log(float(residual @ residual) / flow))
    assert float(one.euler_error[0]) == pytest.approx(error, rel=1e-6)


def test_one_input_closed_form(found):
    """One active unit of four: u = w/2 moves until u = y, so w - w(0) tends to 2 (2 - 1/2) = 3."""
    told = gradient_flow.values(SMALL, found)
    assert float(told["one_input_distance"]) == pytest.approx(3, abs=1e-4)
    assert told["one_input_draft"] == pytest.approx(2 * 1.5 / (2 * 0.5), rel=1e-12)
    assert told["one_input_camera_ready"] == told["one_input_draft"] / 2


def test_width_is_where_the_radii_meet():
    n, lambda_0, delta, start = 20, 0.2, 0.1, 300.0
    width = theorem_3_2_width(n, lambda_0, delta, start)
    inner = lemma_3_3_distance(n, round(width), lambda_0, start)
    assert inner == pytest.approx(lemma_3_2_radius(n, lambda_0, delta), rel=1e-9)


def test_bound_at_a_point():
    assert theorem_3_2(np.array([0.0, 2.0]), 0.5, 3.0).tolist() == [3.0, 3.0 / math.e]


def test_values_of_exact_laws(found):
    """Rates and orders that are known because they are written in."""
    steps, runs = np.array(SMALL.euler_steps), np.array([1.0, 7.0])[:, None, None]
    law = np.exp(-2 * 0.3 * found.times.values)
    known = doctored(found, misfit=law, lambda_min=0.2, euler_error=runs * steps**-1.5)
    told = gradient_flow.values(SMALL, known)
    assert told["euler_order"] == pytest.approx(1.5)
    assert float(told["rate_smallest_width"]) == pytest.approx(1.5)
    assert float(told["rate_largest_width"]) == pytest.approx(1.5)


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == gradient_flow.EXPECTED
    wide = judged_wide(settled)
    assert wide["du2019-thm3.2"] == wide["du2019-lem3.4"] == "holds"


def test_judge_sees_a_misfit_above_the_bound(settled):
    """Beyond the theorem's width that says nothing; at it, it would refute the theorem."""

    def stall(misfit):
        misfit[1, 0, 4] = misfit[1, 0, 0]
        return misfit

    for judge, outcome in ((judged, "inconclusive"), (judged_wide, "fails")):
        lied = judge(settled, misfit=stall)
        assert lied["du2019-thm3.2"] == lied["du2019-lem3.4"] == outcome


@pytest.mark.parametrize(
    "change", [{"lambda_min": lambda a: 0.4 * a}, {"distance": lambda a: 1e6 * a}]
)
def test_judge_sees_a_bootstrap_that_breaks(settled, change):
    assert judged(settled, **change)["du2019-lem3.4"] == "inconclusive"
    assert judged_wide(settled, **change)["du2019-lem3.4"] == "fails"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_judge_sees_a_bootstrap_that_breaks_at_one_width(settled, width):
    for share, outcome in ((0.51, "holds"), (0.49, "fails")):

        def low(least, share=share):
            at = 1, SMALL.widths.index(width)
            least[(*at, 7)] = share * float(settled.lambda_0[at])
            return least

        assert judged_wide(settled, lambda_min=low)["du2019-lem3.4"] == outcome


@pytest.mark.parametrize(
    ("exponent", "outcome"),
    [(-0.5, "holds"), (-1.0, "holds"), (-0.3, "fails"), (0.0, "fails"), (0.5, "fails")],
)
def test_a_fall_is_judged_one_sided(settled, exponent, outcome):
    law = in_width(settled, exponent)
    assert judged(settled, drift=law)["du2019-rem3.1b"] == outcome


@pytest.mark.parametrize(
    ("exponent", "outcome"), [(-0.5, "holds"), (-1.0, "fails"), (-0.3, "fails"), (0.0, "fails")]
)
def test_a_power_that_is_the_companion_s_decides_over_no_lemma(settled, exponent, outcome):
    lied = judged(settled, distance=in_width(settled, exponent))
    assert lied["du2019-lem3.3-exponent"] == outcome
    assert lied["du2019-lem3.3"] == "holds"


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.5])
def test_noise_settles_nothing(settled, exponent):
    law = noisy(in_width(settled, exponent))
    lied = judged(settled, drift=law, distance=law)
    assert {lied[f"du2019-{claim}"] for claim in ("rem3.1b", "lem3.3-exponent")} == {"inconclusive"}


def test_judge_sees_weights_that_leave_the_ball(settled):
    assert judged(settled, distance=lambda a: 1e6 * a)["du2019-lem3.3"] == "fails"
    assert judged(settled, one_input_distance=lambda a: 1.01 * a)["du2019-lem3.3"] == "fails"


@pytest.mark.parametrize(("times", "outcome"), [(0.5, "holds"), (0.51, "fails"), (1, "fails")])
def test_half_the_radius_is_too_small_for_one_input(settled, times, outcome):
    lied = judged(settled, one_input_distance=lambda a: times * a)
    assert lied["du2019-lem3.3-camera-ready"] == outcome
    assert lied["du2019-lem3.3"] == "holds"


def test_judge_sees_drawn_data_that_leave_half_the_ball(settled):
    """Those that leave the whole one too are the lemma's affair as well."""
    share = gradient_flow._ball_shares(SMALL, settled)
    for radii, lemma in ((0.6, "holds"), (1.1, "fails")):

        def far(distance, radii=radii):
            return distance * radii / float(share.max())

        lied = judged(settled, distance=far, one_input_distance=lambda a: a / 2)
        assert lied["du2019-lem3.3"] == lemma
        assert lied["du2019-lem3.3-camera-ready"] == "fails"


def test_a_misfit_above_its_bound_refutes_the_lemma_whose_hypothesis_is_measured(settled):
    lied = gradient_flow.CONTROLS["du2019-thm3.2"].told(SMALL, settled)
    assert {v.claim: v.outcome for v in gradient_flow.judge(SMALL, lied)}[
        "du2019-lem3.3"
    ] == "fails"


@pytest.mark.parametrize("claim", gradient_flow.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(settled, claim):
    verdicts = gradient_flow.judge(SMALL, settled)
    told = with_controls(verdicts, gradient_flow.CONTROLS, SMALL, settled, gradient_flow.judge)
    assert claim not in {verdict.claim for verdict in unseen(told)}


def test_an_unmet_hypothesis_refutes_nothing(settled):
    bad = partial(judged, settled, lambda_min=1e-9)
    assert bad()["du2019-lem3.3"] == "outside-regime"
    assert bad(distance=lambda a: 1e6 * a)["du2019-lem3.3"] == "inconclusive"


def test_only_runs_that_meet_the_hypothesis_are_judged(settled):
    """A run whose Gram matrix goes bad may leave the ball; another may not."""
    one, other = (np.zeros((2, 3, 1), bool) for _ in range(2))
    one[0, 2], other[1, 2] = True, True
    bad = partial(judged, settled, lambda_min=lambda a: np.where(one, 1e-9, a))

    def far(where):
        return bad(distance=lambda a: np.where(where, 1e6 * a, a))["du2019-lem3.3"]

    assert far(other) == "fails"
    assert far(one) == "holds"


def test_not_a_number_settles_nothing(settled):
    lied = judged(settled, misfit=np.nan, drift=np.nan, one_input_distance=np.nan)
    assert set(lied.values()) == {"inconclusive"}


@pytest.mark.parametrize(
    "bad", [{"widths": (50, 100)}, {"horizon": 0.5}, {"points": 3}, {"tolerance": 0.0}]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError):
        gradient_flow.QUICK.override(bad)


def test_cost_grows_with_the_width():
    small, large = (gradient_flow.cost(SMALL.override({"widths": (40, 60, w)})) for w in (80, 8000))
    assert large.flops > small.flops > 0
    assert large.bytes > small.bytes > 0
