"""Sliding units: what is counted at kinks, the world without them, and a judge that needs both."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.errors import InputError
from companion.experiments.du2019 import _kinks, sliding_units
from companion.experiments.du2019._problem import Problem, draw
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    TwoLayers,
    descent_by_autograd,
    gram_by_loops,
    half_sum_loss,
    predictions_by_loops,
    tensors,
)

SMALL = sliding_units.QUICK.override(
    {"count": 8, "dimension": 8, "widths": (20, 40, 80), "seeds": 3, "windows": (3, 6, 12)}
)
TINY = SMALL.override({"count": 5, "dimension": 5})
judged = partial(outcomes, sliding_units, SMALL)
EQ, INCLUSION = "du2019-eq5-7", "du2019-fn-inclusion"


@pytest.fixture(scope="module")
def found():
    return sliding_units.run(SMALL, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle laws: here the true ones are written into it."""
    missed, fraction = in_windows(found, -0.02), in_windows(found, -0.7)
    missed[1] = in_windows(found, -2.0)[1]
    returned = np.round(0.4 * found.hits.values)
    returned[1] = 0
    return doctored(
        found, missed=missed, indicator=missed, fraction=fraction, returned=returned, positive=True
    )


def in_windows(found, exponent):
    """0.01 windows^exponent in every run, with a little spread over the seeds."""
    law = 0.01 * found.windows.values.astype(float) ** exponent
    spread = 1 + 0.01 * np.arange(3)[:, None, None] * np.array([0.0, 1.0, 0.3])
    return np.broadcast_to(law * spread, found.missed.shape).copy()


def noisy(samples):
    return samples * np.exp(3 * np.random.default_rng(0).normal(size=samples.shape))


def sides(path, x):
    """Whether each unit is active at each input, step by step; booleans of shape (k, n, m)."""
    return np.array(
        [[[float(w @ point) >= 0 for w in tensors(net).weights] for point in x] for net in path]
    )


def test_steps_agree_with_autograd_and_loops():
    """e(k) = u(k+1) - u(k) - eta H (y - u), from SGD on autograd and a Gram matrix by loops."""
    problem = draw(TINY, "cpu", seed=0, width=30)
    x, y = problem.x, problem.y
    path = descent_by_autograd(problem.network, x, y, 0.3, 4)
    steps = itertools.islice(_kinks.steps_of(problem, 0.3), 4)
    switched = False
    for before, after, step in zip(path[:-1], path[1:], steps, strict=True):
        now, then = predictions_by_loops(before, x), predictions_by_loops(after, x)
        expected = 0.3 * gram_by_loops(before, x) @ (y - now)
        error = then - now - expected
        torch.testing.assert_close(step.residual, now - y)
        torch.testing.assert_close(step.predicted, expected)
        torch.testing.assert_close(step.error, error, atol=1e-12, rtol=1e-6)
        assert step.unflipped < 1e-14 < float(error.norm())
        flips = sides([before], x)[0] != sides([after], x)[0]
        switched = switched or bool(flips.any())
    assert switched


def speeds_by_autograd(network, x, y, i, r):
    """Normal speeds just below and just above the kink of x_i, times sqrt(m), from eq. (4).

    Half an ulp from the kink autograd takes one side's derivative; the loss itself is continuous.
    """
    found = []
    with torch.no_grad():
        residual = predictions_by_loops(network, x) - y
    for side in (-1e-9, 1e-9):
        moved = tensors(network).weights.clone()
        moved[r] += (side - float(moved[r] @ x[i])) * x[i]
        moved.requires_grad_()
        # The residuals are those of the step, not of the network with its unit on the kink.
        here = predictions_by_loops(TwoLayers(moved.detach(), network.outputs), x)
        loss = half_sum_loss(moved, network.outputs, x, here - residual)
        (gradient,) = torch.autograd.grad(loss, moved)
        found.append(-float(gradient[r] @ x[i]) * math.sqrt(len(network.outputs)))
    return found


def test_pairs_are_counted_as_loops_count_them():
    """Switches step by step; at the first one the speeds of both sides, by autograd."""
    problem = draw(SMALL.override({"count": 6, "dimension": 6}), "cpu", seed=2, width=20)
    steps, step_size = 25, 0.2
    path = descent_by_autograd(problem.network, problem.x, problem.y, step_size, steps)
    active = sides(path, problem.x)
    flips = active[1:] != active[:-1]
    held = 0
    for i, r in np.argwhere(flips.any(axis=0)):
        at = path[int(flips[:, i, r].argmax())]
        below, above = speeds_by_autograd(at, problem.x, problem.y, i, r)
        held += below > 0 > above
    pairs = _kinks.Pairs(problem)
    for step in itertools.islice(_kinks.steps_of(problem, step_size), steps):
        pairs.take(step)
        pairs.close_window()
    told = pairs.counts()
    assert told["hits"] == flips.any(axis=0).sum() == len(np.argwhere(flips.any(axis=0)))
    assert told["returned"] == (flips.sum(axis=0) >= 3).sum() > 0
    assert told["held"] == held > 0
    assert told["early_hits"] == flips[0].sum()
    assert 0 <= told["early_held"] <= told["early_hits"]


def test_windows_agree_with_loops():
    """What indicators and fractions miss of a window, from the path alone."""
    problem = draw(TINY, "cpu", seed=1, width=20)
    x, y, eta, length = problem.x, problem.y, 0.2, 6
    path = descent_by_autograd(problem.network, x, y, eta, length)
    values = [predictions_by_loops(net, x) for net in path]
    theta = torch.from_numpy(sides(path[:-1], x).mean(axis=0))
    gram = torch.zeros(5, 5, dtype=torch.float64)
    for i, j in np.ndindex(5, 5):
        gram[i, j] = float(x[i] @ x[j]) * sum(theta[i, r] * theta[j, r] for r in range(20)) / 20
    mean = sum(y - value for value in values[:-1]) / length
    change = values[-1] - values[0]
    indicator = sum(
        eta * gram_by_loops(net, x) @ (y - u) for net, u in zip(path, values[:-1], strict=False)
    )
    expected = [change - indicator, change - length * eta * gram @ mean, change]
    steps = list(itertools.islice(_kinks.steps_of(problem, eta), length))
    told = _kinks.span(problem, steps, eta)
    assert told == pytest.approx([float(part.norm()) for part in expected], rel=1e-6)


def test_runs_cover_the_same_time(found):
    """T = 1 / lambda_0 on the sphere; the coarsest run, step by step."""
    problem = draw(SMALL, "cpu", seed=1, width=40)
    one = found.sel(world="sphere", seed=1, width=40)
    assert float(one.time) == pytest.approx(1 / problem.lambda_0)
    steps = list(itertools.islice(_kinks.steps_of(problem, float(one.time) / 9), 9))
    missed = sum(float(step.error.norm()) for step in steps)
    predicted = sum(float(step.predicted.norm()) for step in steps)
    assert float(one.missed[0]) == pytest.approx(missed / predicted, rel=1e-9)
    control = found.sel(world="one-signed", seed=1, width=40)
    limit = sliding_units.one_signed(problem).limit
    assert float(control.time) == pytest.approx(1 / float(torch.linalg.eigvalsh(limit)[-1]))


def test_no_unit_can_slide_in_the_control(found):
    """Both sides of every kink push the same way, by autograd; no pair switches twice."""
    problem = sliding_units.one_signed(draw(TINY, "cpu", seed=0, width=10))
    assert float((problem.x @ problem.x.T).min()) > 0
    assert float(problem.residual.max()) < 0
    for i, r in np.ndindex(5, 10):
        below, above = speeds_by_autograd(problem.network, problem.x, problem.y, i, r)
        sign = float(problem.network.outputs[r])
        assert below * sign >= 0
        assert above * sign > 0
    control = found.sel(world="one-signed")
    assert bool(control.positive.all())
    assert float(control.hits.min()) > 0
    for name in ("returned", "held", "early_held", "sliding_flux"):
        assert float(control[name].max()) == 0
    main = found.sel(world="sphere").isel(windows=-1)
    assert float(main.returned.sum()) > 0
    assert float(main.held.sum()) > 0


def test_nothing_slides_on_orthonormal_inputs():
    """Off its active side a pair has no drive at all, so it stops where it lands."""
    problem = draw(SMALL, "cpu", seed=0, width=80)
    network = problem.network
    alone = Problem(network, torch.eye(8, dtype=torch.float64), problem.y)
    told = sliding_units._follow(alone, 2.0, 12)
    assert told["hits"] > 10
    assert told["returned"] == told["held"] == 0
    assert _kinks.meetings(alone)[0] == 0


def test_speeds_at_the_start_by_autograd():
    problem = draw(TINY, "cpu", seed=3, width=6)
    slide = meet = 0.0
    for i, r in np.ndindex(5, 6):
        below, above = speeds_by_autograd(problem.network, problem.x, problem.y, i, r)
        slide += (below - above) * (below > 0 > above)
        meet += max(below, 0) + max(-above, 0)
    assert _kinks.meetings(problem) == pytest.approx((slide, meet), rel=1e-5)
    assert slide > 0


def test_two_inputs_slide_as_the_closed_form_says():
    """w = (0, v) with dv/dt = (1 - c^2)^0.5 (y_2 - u_2), u_2 = (1 - c^2)^0.5 v, on the kink."""
    told = sliding_units.run(SMALL.override({"windows": (1, 2, 3), "seeds": 1}), "cpu")
    step, across = _kinks.DURATION / _kinks.STEPS, math.sqrt(1 - _kinks.COSINE**2)
    late = told.path.isel(tick=slice(100, None)).values
    assert np.abs(late[..., 0]).max() < 1.5 * step
    for path in late:
        ends = across * path[:, 1] - _kinks.LABELS[1]
        fall = math.exp(-(across**2) * _kinks.DURATION / 2)
        assert ends[-1] / ends[0] == pytest.approx(fall, rel=0.02)
    assert float(told.sliding_rate) == pytest.approx(across**2, rel=0.02)
    below, above, sliding = told.velocity.values
    assert below[0] > 0 > above[0]
    assert sliding == pytest.approx([0, below[1]], abs=1e-12)
    y_2 = told.kink.values @ [_kinks.COSINE, across] - _kinks.LABELS[1]
    assert below == pytest.approx([-_kinks.COSINE * y_2, -across * y_2])
    assert abs(float(told.theta[0] - told.theta[1])) < 0.01


def test_values_are_those_of_the_arrays(settled):
    by_law = {
        "missed": np.array([2**-0.02, 2**-2.0]).reshape(2, 1, 1, 1) ** np.arange(3),
        "fraction": 2 ** (-0.7 * np.arange(3)),
    }
    told = sliding_units.values(SMALL, doctored(settled, **by_law))
    assert float(told["last_factor"]) == pytest.approx(2**-0.02)
    assert float(told["control_last_factor"]) == pytest.approx(2**-2.0)
    assert float(told["fraction_last_factor"]) == pytest.approx(2**-0.7)
    assert float(told["share_exponent"]) == pytest.approx(0, abs=1e-9)
    assert float(told["returned_share"]) == pytest.approx(0.4, abs=0.02)
    # n = d: tau^2 = 1/2.
    root = math.sqrt(1.5)
    assert told["derived_independent"] == pytest.approx(1 / (2 * root * (math.sqrt(0.5) + root)))


def test_the_judge_says_what_is_expected_and_the_control_otherwise(settled):
    assert judged(settled) == sliding_units.EXPECTED
    for claim, lie in sliding_units.CONTROLS.items():
        told = judged(lie.told(SMALL, settled))
        assert told[claim] == {EQ: "holds", INCLUSION: "fails"}[claim]


def in_main(change):
    """Written into the sphere's world alone."""

    def both(samples):
        samples[0] = change(samples[0])
        return samples

    return both


@pytest.mark.parametrize(
    "change",
    [
        {"returned": in_main(np.zeros_like)},  # a plateau without a unit that slides
        {"missed": in_main(lambda a: a * np.array([1.0, 0.3, 0.05]))},  # and the reverse
        {"missed": noisy},
        {"returned": in_main(lambda a: a * np.array([0.0, 0.01, 1.0])[:, None, None])},
        {"missed": np.nan},
        {"positive": False},  # no control
        {"missed": lambda a: np.broadcast_to(a[:1], a.shape)},  # a control with a plateau
        {"returned": lambda a: np.broadcast_to(a[:1], a.shape)},  # a control that slides
    ],
)
def test_one_of_two_signs_or_a_broken_control_settles_nothing(settled, change):
    assert judged(settled, **change)[EQ] == "inconclusive"


def test_the_worst_width_decides(settled):
    """Where the share vanishes at two widths and levels off at the third, it does not vanish."""

    def one_levels(missed):
        missed[0, :, :2] = missed[1, :, :2]
        return missed

    assert judged(settled, missed=one_levels)[EQ] == "fails"


def test_judge_sees_an_identity_that_is_off(settled):
    holding = sliding_units.CONTROLS[EQ].told(SMALL, settled)
    for lie in ("velocity_error", "unflipped"):
        assert judged(holding, **{lie: lambda a: a + 0.1})[EQ] == "fails"


@pytest.mark.parametrize(
    ("exponent", "outcome"), [(-1.0, "holds"), (-0.5, "holds"), (0.0, "fails")]
)
def test_fractions_are_judged_by_what_they_leave(settled, exponent, outcome):
    fraction = in_windows(settled, exponent) / 10
    assert judged(settled, fraction=fraction)[INCLUSION] == outcome


def test_fractions_may_be_no_worse_than_indicators_and_noise_settles_nothing(settled):
    assert judged(settled, fraction=lambda a: 100 * a)[INCLUSION] == "fails"
    assert judged(settled, fraction=noisy, indicator=np.inf)[INCLUSION] == "inconclusive"
    assert judged(settled, theta=np.array([0.2, 0.4]))[INCLUSION] == "fails"
    assert judged(settled, fraction=np.nan)[INCLUSION] == "inconclusive"


@pytest.mark.parametrize("bad", [{"widths": (50, 100)}, {"windows": (4,)}, {"horizon": 0.0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError):
        sliding_units.QUICK.override(bad)


def test_cost_grows_with_the_width_and_the_windows():
    small, wide, long = (
        sliding_units.cost(SMALL.override(each))
        for each in ({}, {"widths": (20, 40, 8000)}, {"windows": (3, 6, 40)})
    )
    assert min(wide.flops, long.flops) > small.flops > 0
    assert wide.bytes > small.bytes > 0
