"""Output-layer training against automatic differentiation and NumPy; a verdict that can fail."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import DataSet, sphere
from companion.experiments.du2019 import output_layer
from companion.experiments.du2019.output_layer import (
    Settings,
    judge,
    least_squares_misfit,
    run,
    train_output,
)
from companion.kernels import empirical_gram, empirical_output_gram, lambda_max
from companion.networks import draw_two_layer
from tests.doctoring import doctored, outcomes
from tests.oracles import half_sum_loss

TINY = Settings(count=10, dimension=3, widths=(4, 10, 40), seeds=2, steps=60, fresh=20)
judged = partial(outcomes, judge)


@pytest.fixture(scope="module")
def result():
    return run(TINY, "cpu")


def problem(width, count=8):
    return draw_two_layer(width, 3, seed=0), sphere(count, 3, seed=0)


@pytest.mark.parametrize("width", [5, 20])
def test_hessian_by_automatic_differentiation_is_constant_and_semidefinite(width):
    network, data = problem(width)
    features = network.preactivations(data.x).relu() / width**0.5
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 10.0):
        point = scale * torch.randn(width, generator=generator, dtype=torch.float64)
        hessian = torch.autograd.functional.hessian(
            lambda outputs: half_sum_loss(network.weights, outputs, data.x, data.y), point
        )
        torch.testing.assert_close(hessian, features.T @ features)
        assert float(torch.linalg.eigvalsh(hessian)[0]) > -1e-14
    assert float(output_layer._hessian_change(network, data, seed=0)) < 1e-14


def test_descent_on_the_outputs_is_that_of_automatic_differentiation():
    network, data = problem(20)
    step_size = 1 / lambda_max(empirical_output_gram(network, data.x))
    outputs = network.outputs.clone().requires_grad_()
    optimiser = torch.optim.SGD([outputs], lr=step_size)
    for _ in range(25):
        optimiser.zero_grad()
        half_sum_loss(network.weights, outputs, data.x, data.y).backward()
        optimiser.step()
    trained, predicted = train_output(network, data, 25)
    torch.testing.assert_close(trained.outputs, outputs.detach())
    residual = trained.predict(data.x) - data.y
    torch.testing.assert_close(residual.square().sum(), predicted)


@pytest.mark.parametrize(("width", "fits"), [(7, False), (8, True), (30, True)])
def test_optimum_is_zero_from_as_many_units_as_inputs_on(width, fits):
    network, data = problem(width)
    features = np.maximum((data.x @ network.weights.T).numpy(), 0)
    projector = features @ np.linalg.pinv(features)
    rest = data.y.numpy() - projector @ data.y.numpy()
    found = float(least_squares_misfit(network, data))
    assert found == pytest.approx(float(rest @ rest), abs=1e-10)
    assert (found < 1e-10) == fits


def test_a_unit_that_no_input_activates_does_no_harm():
    network, data = problem(8)
    dead = network.moved(
        torch.cat([network.weights[:1] * 0 - 1e-9 * data.x.sum(0), network.weights[1:]])
    )
    data = DataSet(data.x[:3], data.y[:3], data.source)
    assert np.isfinite(float(least_squares_misfit(dead, data)))


def test_limit_changes_are_those_of_a_very_wide_network():
    everything = sphere(13, 5, seed=0)
    data, fresh = DataSet(everything.x[:8], everything.y[:8], "first eight"), everything.x[8:]
    target = data.y
    wide = draw_two_layer(200_000, 5, seed=1)
    for gram, limit in zip(
        (empirical_output_gram, empirical_gram),
        output_layer._limit_changes(data, fresh, target),
        strict=True,
    ):
        finite = gram(wide, everything.x)
        change = finite[8:, :8] @ torch.linalg.solve(finite[:8, :8], target)
        # Monte-Carlo error m^-1/2, amplified by the condition number of the Gram matrix.
        torch.testing.assert_close(change, limit, rtol=0, atol=0.05 * float(limit.norm()))


def test_limit_changes_interpolate_the_targets():
    _, data = problem(5)
    target = torch.linspace(-1, 1, len(data.y), dtype=torch.float64)
    for change in output_layer._limit_changes(data, data.x.clone(), target):
        torch.testing.assert_close(change, target, atol=1e-6, rtol=0)


def good(result):
    """The result as it would be after many more steps at a much greater width."""
    return doctored(result, limit_error=np.zeros_like, gd_output_exact=result.arrays["gd_output"])


def test_verdict_holds_where_it_should(result):
    assert judged(good(result))["du2019-fn-outputlayer"] == "holds"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hessian_change", 1e-3),
        ("hessian_least", -1e-3),
        ("gd_output_exact", 5.0),
        ("gd_output", -1.0),
        ("least_squares", 1.0),
        ("difference", 0.0),
    ],
)
def test_verdict_can_fail(result, name, value):
    lied = judged(good(result), **{name: lambda a: np.full_like(a, value)})
    assert lied["du2019-fn-outputlayer"] == "fails"


def test_first_layer_width_is_where_all_runs_fit(result):
    fitted = (result.arrays["gd_first"] < 1e-6 * result.arrays["start"]).all(axis=0)
    expected = next((m for k, m in enumerate(TINY.widths) if fitted[k:].all()), 0)
    assert result.values["first_layer_width"] == expected
