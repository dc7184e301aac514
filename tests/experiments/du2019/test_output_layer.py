"""Output-layer training against automatic differentiation and NumPy; a verdict that can fail."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import DataSet, sphere
from companion.draws import independent_seed
from companion.experiments.du2019 import output_layer
from companion.experiments.du2019._problem import Problem, on_data
from companion.kernels import (
    empirical_gram,
    infinite_width_gram,
    infinite_width_output_gram,
)
from companion.lab.controls import with_controls
from companion.networks import draw_du
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    descent_by_autograd,
    gram_by_autograd,
    half_sum_loss,
    linearised_descent_residual,
    predictions,
)

TINY = output_layer.QUICK.override(
    {"count": 10, "dimension": 3, "widths": [4, 10, 40], "seeds": 2, "steps": 60, "fresh": 20}
)
judged = partial(outcomes, output_layer, TINY)


@pytest.fixture(scope="module")
def found():
    return output_layer.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """The result as it would be after many more steps at a much greater width."""
    return doctored(found, limit_error=1e-3, gd_output_exact=found.gd_output.values)


def problem(width, count=8):
    data = sphere(count, 3, seed=0)
    return on_data(data, TINY, "cpu", seed=0, width=width, trained="output")


@pytest.mark.parametrize("width", [5, 20])
def test_hessian_by_automatic_differentiation_is_constant_and_semidefinite(width):
    known = problem(width)
    features, (weights,) = output_layer._features(known), known.network.weights
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 10.0):
        point = scale * torch.randn(width, generator=generator, dtype=torch.float64)
        hessian = torch.autograd.functional.hessian(
            lambda outputs: half_sum_loss(weights, outputs, known.x, known.y), point
        )
        torch.testing.assert_close(hessian, features.T @ features)
        assert float(torch.linalg.eigvalsh(hessian)[0]) > -1e-14
    assert output_layer._hessian_change(known, seed=0) < 1e-14


def test_a_gradient_that_is_not_linear_moves_the_hessian(monkeypatch):
    known = problem(20)
    right = type(known.network).gradients

    def wrong(network, forward, coefficients):
        return right(network, forward, coefficients + 0.1 * coefficients**2)

    monkeypatch.setattr(type(known.network), "gradients", wrong)
    assert output_layer._hessian_change(known, seed=0) > 1e-3


def test_both_ways_of_training_are_those_of_automatic_differentiation(found):
    everything = sphere(30, 3, seed=1)
    x, y, fresh = everything.x[:10], everything.y[:10], everything.x[10:]
    network = draw_du(40, 3, independent_seed(1, 10, 3, 40), dtype=torch.float64)
    one = found.sel(seed=1, width=40)
    (weights,), start = network.weights, network.predict(x) - y

    gram = gram_by_autograd(network, x, "outputs")
    step_size = 1 / float(torch.linalg.eigvalsh(gram)[-1])
    outputs = network.outputs.clone().requires_grad_()
    optimiser = torch.optim.SGD([outputs], lr=step_size)
    for _ in range(60):
        optimiser.zero_grad()
        half_sum_loss(weights, outputs, x, y).backward()
        optimiser.step()
    misfit = 2 * float(half_sum_loss(weights, outputs, x, y).detach())
    by_output = predictions(weights, outputs, fresh).detach()
    assert float(one.gd_output) == pytest.approx(misfit)
    law = linearised_descent_residual(gram, start, step_size, 60)
    assert float(one.gd_output_exact) == pytest.approx(float(law.square().sum()))
    np.testing.assert_allclose(one.by_output, by_output, rtol=1e-8)

    gram = gram_by_autograd(network, x)
    end = descent_by_autograd(network, x, y, 1 / float(torch.linalg.eigvalsh(gram)[-1]), 60)[-1]
    by_first = predictions(end.weights, end.outputs, fresh)
    assert float(one.gd_first) == pytest.approx(2 * float(half_sum_loss(*end, x, y)))
    np.testing.assert_allclose(one.by_first, by_first, rtol=1e-8)

    before = network.predict(fresh)
    apart = (by_output - by_first).norm() / (by_first - before).norm()
    assert float(one.difference) == pytest.approx(float(apart))
    limit_output, limit_first = (
        -_regression(kernel(everything.x), start)
        for kernel in (infinite_width_output_gram, infinite_width_gram)
    )
    off = [
        float((change - limit).norm() / (by_first - before).norm())
        for change, limit in ((by_output - before, limit_output), (by_first - before, limit_first))
    ]
    np.testing.assert_allclose(one.limit_error, off, rtol=1e-6)
    limits_apart = (limit_output - limit_first).norm() / limit_first.norm()
    assert float(one.limit_difference) == pytest.approx(float(limits_apart))


def _regression(kernel, target):
    """Kernel regression by NumPy, from the inputs with a target to all that follow."""
    n, kernel = len(target), kernel.numpy()
    return torch.from_numpy(kernel[n:, :n] @ np.linalg.inv(kernel[:n, :n]) @ target.numpy())


@pytest.mark.parametrize(("width", "fits"), [(7, False), (8, True), (30, True)])
def test_optimum_is_zero_from_as_many_units_as_inputs_on(width, fits):
    known = problem(width)
    features = np.maximum((known.x @ known.network.weights[0].T).numpy(), 0)
    projector = features @ np.linalg.pinv(features)
    rest = known.y.numpy() - projector @ known.y.numpy()
    found = output_layer._least_squares_misfit(known)
    assert found == pytest.approx(float(rest @ rest), abs=1e-10)
    assert (found < 1e-10) == fits


def test_a_unit_that_no_input_activates_does_no_harm():
    known = problem(8)
    (weights,), x = known.network.weights, known.x[:3]
    dead = -torch.linalg.solve(x, torch.ones(3, dtype=torch.float64))
    network = replace(known.network, weights=(torch.cat([dead[None], weights[1:]]),))
    assert (network.preactivations(x)[0][:, 0] < 0).all()
    assert output_layer._least_squares_misfit(Problem(network, x, known.y[:3])) < 1e-20


def test_limit_changes_are_those_of_a_very_wide_network():
    everything = sphere(13, 5, seed=0)
    data, fresh = DataSet(everything.x[:8], everything.y[:8], "first eight"), everything.x[8:]
    known = on_data(data, TINY, "cpu", seed=3, width=20)
    for kernel, trained in (
        (infinite_width_output_gram, "output"),
        (infinite_width_gram, "hidden"),
    ):
        wide = draw_du(200_000, 5, seed=1, trained=trained, dtype=torch.float64)
        change = -_regression(empirical_gram(wide, everything.x), known.residual)
        limit = output_layer._limit_change(kernel, known, fresh)
        # Monte-Carlo error m^-1/2, amplified by the condition number of the Gram matrix.
        torch.testing.assert_close(change, limit, rtol=0, atol=0.05 * float(limit.norm()))


def test_limit_changes_take_the_residual_away():
    known = problem(5)
    for kernel in (infinite_width_output_gram, infinite_width_gram):
        change = output_layer._limit_change(kernel, known, known.x.clone())
        torch.testing.assert_close(change, -known.residual, atol=1e-6, rtol=0)


def test_verdict_holds_where_it_should(settled):
    assert judged(settled) == output_layer.EXPECTED


@pytest.mark.parametrize(
    ("claim", "name", "value"),
    [
        ("", "hessian_change", 1e-3),
        ("", "hessian_least", -1e-3),
        ("-fit", "gd_output_exact", 5.0),
        ("-fit", "least_squares", 1.0),
        ("-fit", "least_squares", 0.0),
        ("-function", "difference", 0.0),
        ("-function", "limit_error", 10.0),
    ],
)
def test_each_verdict_can_fail_and_no_other_with_it(settled, claim, name, value):
    lied = judged(settled, **{name: value})
    assert lied.pop(f"du2019-fn-outputlayer{claim}") == "fails"
    assert set(lied.values()) == {"holds"}


@pytest.mark.parametrize("claim", output_layer.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(settled, claim):
    verdicts = output_layer.judge(TINY, settled)
    told = with_controls(verdicts, output_layer.CONTROLS, TINY, settled, output_layer.judge)
    assert {v.claim: v.control.outcome for v in told}[claim] == "fails"


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
def test_two_functions_differ_by_more_than_their_distances_from_the_limits(settled, share, outcome):
    """Each is `limit_error` away from its own, so that the sum of both would explain it."""
    parts = np.array([0.3, 0.7]) * settled.difference.values[..., None]
    lied = judged(settled, limit_error=share * parts)
    assert lied["du2019-fn-outputlayer-function"] == outcome


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
def test_rounding_is_allowed_for_and_no_more(settled, share, outcome):
    eps = np.finfo(float).eps
    rounding, steps = share * 100 * TINY.count * eps, share * TINY.steps * eps
    off = (rounding + steps) * settled.start.values
    for claim, change in (
        ("", {"hessian_change": rounding}),
        ("", {"hessian_least": -rounding}),
        ("-fit", {"gd_output_exact": settled.gd_output.values + off}),
    ):
        assert judged(settled, **change)[f"du2019-fn-outputlayer{claim}"] == outcome


def test_descent_below_the_optimum_is_noticed(settled):
    less = 0.5 * settled.least_squares.values
    lied = judged(settled, gd_output=less, gd_output_exact=less)
    assert lied["du2019-fn-outputlayer-fit"] == "fails"


def test_without_a_width_of_n_it_is_not_seen_that_all_labels_are_fitted(settled):
    narrow = settled.sel(width=[4])
    assert judged(narrow)["du2019-fn-outputlayer-fit"] == "inconclusive"


@pytest.mark.parametrize(
    ("left", "width"),
    [
        ([[0, 0, 0], [0, 0, 0]], 4),
        ([[1, 0, 0], [0, 0, 0]], 10),
        ([[0, 0, 0], [0, 1, 0]], 40),
        ([[0, 0, 1], [0, 0, 0]], 0),
    ],
)
def test_first_layer_width_is_where_all_runs_fit_from_there_on(found, left, width):
    lied = doctored(found, gd_first=np.array(left) * found.start.values)
    assert output_layer.values(TINY, lied)["first_layer_width"] == width
