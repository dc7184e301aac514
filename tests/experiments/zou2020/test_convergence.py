"""Theorem 4.4: runs by automatic differentiation, laws with known exponents, judges that say no."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from companion.errors import InputError
from companion.experiments.zou2018._problem import draw
from companion.experiments.zou2020 import convergence
from tests.doctoring import doctored, outcomes
from tests.oracles import deep_jacobians, zou_predictions

THEOREM, REMARK = "zou2020-thm4.4", "zou2020-rem4.1"
TINY = convergence.QUICK.override(
    {"count": 4, "dimension": 6, "widths": [8, 16, 32], "seeds": 3, "steps": 200, "constant": 8.0,
     "depths": [1, 2, 3], "depths_width": 8, "hard_count": 5, "hard_dimension": 3,
     "stable_steps": 4}
)  # fmt: skip
judged = partial(outcomes, convergence, TINY)


@pytest.fixture(scope="module")
def found():
    return convergence.run(TINY, "cpu")


@pytest.fixture(scope="module")
def lawful(found):
    """A small run settles no exponent: here the laws of the theorem are written into it."""
    steps, seeds = np.arange(201) / 8, np.array([1.0, 1.1, 1.2])[:, None, None]
    loss = np.broadcast_to(1 / (1 + seeds * steps), found.loss.shape)
    error = np.where(loss > 0.5, 0.25, 0.0)
    m, depth = (np.array(each) for each in zip(*convergence._cells(TINY), strict=True))
    largest = np.array([1.0, 1.1, 1.3])[:, None] * 20 / (m * depth)
    return doctored(found, loss=loss, error=error, largest=largest)


@pytest.fixture
def within(monkeypatch):
    """As if these widths were what the theorem asks for."""
    monkeypatch.setattr(convergence, "theorem_4_4_width", lambda *_: 32.0)


def losses_by_autograd(problem, step_size, steps):
    """Mean losses of descent on the formula's gradient, and shares of examples that are wrong."""
    weights, losses, errors = list(problem.network.weights), [], []
    for _ in range(steps + 1):
        leaves = [weight.detach().clone().requires_grad_() for weight in weights]
        margins = problem.y * zou_predictions(leaves, problem.network.outputs, problem.x)
        loss = torch.log1p(torch.exp(-margins)).mean()
        gradients = torch.autograd.grad(loss, leaves)
        losses.append(float(loss.detach()))
        errors.append(float((margins.detach() <= 0).double().mean()))
        weights = [w.detach() - step_size * g for w, g in zip(leaves, gradients, strict=True)]
    return losses, errors


def test_a_run_is_that_of_automatic_differentiation(found):
    problem = draw(TINY, "cpu", seed=1, width=16, depth=2)
    losses, errors = losses_by_autograd(problem, 8 / (16 * 8), 200)
    one = found.sel(seed=1, width=16)
    np.testing.assert_allclose(one.loss, losses, rtol=1e-9)
    np.testing.assert_allclose(one.error, errors)
    apart = [
        float((problem.x[i] - problem.x[j]).norm())
        for i in range(4)
        for j in range(4)
        if problem.y[i] != problem.y[j]
    ]
    assert float(one.separation) == pytest.approx(min(apart))


def test_the_frozen_run_is_that_of_the_linear_model(found):
    """Predictions f + J theta with the Jacobian of the start, theta trained by its gradient."""
    problem = draw(TINY, "cpu", seed=2, width=8, depth=2)
    rows = torch.cat(deep_jacobians(problem.network, problem.x, zou_predictions), dim=1)
    start, theta = problem.network.predict(problem.x), torch.zeros(rows.shape[1]).double()
    known = []
    for _ in range(201):
        f = start + rows @ theta
        known.append(float(torch.log1p(torch.exp(-problem.y * f)).mean()))
        slopes = -problem.y * torch.sigmoid(-problem.y * f)
        theta = theta - 8 / (8 * 8) * rows.T @ slopes / 4
    np.testing.assert_allclose(found.frozen.sel(seed=2, width=8), known, rtol=1e-8)


def test_the_largest_step_is_stable_and_a_larger_one_is_not(found):
    cells = convergence._cells(TINY)
    assert cells == [(8, 2), (16, 2), (32, 2), (8, 1), (8, 2), (8, 3)]
    hard = TINY.override({"count": 5, "dimension": 3})
    for cell in (1, 5):
        width, depth = cells[cell]
        problem = draw(hard, "cpu", seed=0, width=width, depth=depth)
        one = found.sel(seed=0).isel(cell=cell)
        rows = torch.cat(deep_jacobians(problem.network, problem.x, zou_predictions), dim=1)
        top = float(torch.linalg.eigvalsh(rows @ rows.T)[-1])
        assert float(one.predicted) == pytest.approx(8 * 5 / top)
        for share, stable in ((1.0, True), (1.06, False)):
            losses, _ = losses_by_autograd(problem, share * float(one.largest), 4)
            assert bool((np.diff(losses) < 0).all()) == stable


def test_worst_ratio_of_a_diverging_run_is_infinite():
    problem = draw(TINY, "cpu", seed=0, width=8, depth=2)
    assert convergence.worst_ratio(problem, 1e200, 4) == math.inf


def test_first_steps_by_loops(found):
    known = convergence.first_steps(TINY, found)
    zero_error = math.log(2) / 4
    np.testing.assert_allclose(known.inverse, [1 / zero_error, 2 / zero_error, 4 / zero_error])
    for place, share in enumerate(TINY.shares):
        for seed in range(3):
            for width in (8, 16, 32):
                losses = found.loss.sel(seed=seed, width=width).values
                hits = [k for k, loss in enumerate(losses) if loss <= share * zero_error]
                one = float(known.isel(inverse=place).sel(seed=seed, width=width))
                assert one == hits[0] if hits else math.isnan(one)


def test_values_of_known_laws(lawful):
    told = convergence.values(TINY, lawful)
    assert float(told["slope_width"]) == pytest.approx(0)
    assert float(told["slope_accuracy"]) == pytest.approx(1, abs=0.2)
    assert float(told["edge_width"]) == pytest.approx(1)
    assert float(told["edge_depth"]) == pytest.approx(1)
    # 1 / (1 + s k / 8) is at most 1/2 from k = 8 / s on; the errors end there.
    assert float(told["steps_to_zero_error"]) == pytest.approx((8 + 8 + 7) / 3)
    assert float(told["least_loss_there"]) == pytest.approx(1 / 2.1 / (math.log(2) / 4))
    ratio = (lawful.largest / lawful.predicted).values.mean()
    assert float(told["edge_ratio"]) == pytest.approx(ratio)


def test_verdicts_outside_of_the_regime(lawful):
    assert judged(lawful) == convergence.EXPECTED


def test_verdicts_within_the_regime(lawful, within):
    assert judged(lawful) == {THEOREM: "holds", REMARK: "holds"}


def rising(loss):
    loss[0, 0, 7] = 1.001 * loss[0, 0, 6]
    return loss


def slow(loss):
    return loss**0.75


def wider_is_slower(loss):
    steps = np.arange(201) / 8
    for place, power in enumerate((1.0, 1.6, 2.4)):
        loss[:, place] = 1 / (1 + steps / power)
    return loss


@pytest.mark.parametrize(
    "lie",
    [
        {"loss": rising},
        {"loss": slow},
        {"loss": wider_is_slower},
        {"largest": lambda a: a / np.array([1, 2, 4, 1, 1, 1])},
        {"largest": lambda a: a / np.array([1, 1, 1, 1, 2, 3.0]) ** 3},
    ],
    ids=["a step rises", "accuracy", "width", "step size in m", "step size in L"],
)
def test_each_check_can_refute(lawful, lie, within):
    near = TINY.override({"shares": [1.0, 0.8, 0.65]})  # which slow runs reach, too
    assert outcomes(convergence, near, lawful)[THEOREM] == "holds"
    assert outcomes(convergence, near, lawful, **lie)[THEOREM] == "fails"


def test_outside_of_the_regime_nothing_is_refuted(lawful):
    assert judged(lawful, loss=rising)[THEOREM] == "inconclusive"


def test_a_step_size_may_fall_like_the_cube_of_the_depth(lawful):
    cubed = {"largest": lambda a: a / np.array([1, 1, 1, 1, 2, 3.0]) ** 2}
    assert judged(lawful, **cubed)[THEOREM] == "outside-regime"


def test_noise_settles_nothing(lawful):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(3, 6)))
    assert judged(lawful, largest=lambda a: a * noise)[THEOREM] == "inconclusive"


def test_runs_that_do_not_get_there_settle_nothing(lawful):
    found = judged(lawful, loss=lambda loss: 0.2 + 0.8 * loss)
    assert found == {THEOREM: "inconclusive", REMARK: "inconclusive"}


def test_one_error_below_the_loss_refutes_the_remark(lawful):
    def wrong(error):
        error[2, 1, 40] = 0.25
        return error

    assert judged(lawful, error=wrong)[REMARK] == "fails"
    above = judged(lawful, error=lambda error: np.where(lawful.loss > math.log(2) / 4, 0.25, error))
    assert above[REMARK] == "holds"


@pytest.mark.parametrize("claim", convergence.EXPECTED)
def test_every_control_is_seen(lawful, claim, within):
    lied = convergence.judge(TINY, convergence.CONTROLS[claim].told(TINY, lawful))
    assert {v.claim: v.outcome for v in lied}[claim] == "fails"


def test_log_2_over_n_is_sharp():
    """One example with all the loss and a margin of 0; a little less loss puts it right."""
    margins = np.array([0.0, 800.0, 800.0, 800.0])
    assert np.log1p(np.exp(-margins)).mean() == pytest.approx(math.log(2) / 4, abs=1e-15)


def test_steps_that_never_come_are_not_counted():
    flags = xr.DataArray([[False, True], [False, False]], dims=("seed", "step"))
    first = convergence._first(flags).values
    assert first[0] == 1
    assert math.isnan(first[1])


def test_two_losses_make_no_exponent():
    with pytest.raises(InputError, match="shares"):
        convergence.QUICK.override({"shares": [1.0, 0.5]})
