"""Figure 1 by other roads: autograd, matrix powers, sampled networks, doctored results."""

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.experiments.du2019 import figure1
from companion.kernels import infinite_width_gram
from companion.lab.catalog import published
from companion.lab.reproduce import record_of
from companion.lab.results import Outcome, Result
from companion.networks import draw_two_layer
from tests.doctoring import outcomes
from tests.oracles import (
    descent_by_autograd,
    max_distance_by_loops,
    pattern_difference_by_loops,
)

SETTINGS = figure1.QUICK.override(
    {"count": 6, "dimension": 5, "widths": [8, 16, 32], "steps": 4, "seeds": 2, "ensemble": 3,
     "dtype": "float64", "fixed_step_size": 0.3, "eigenvalues_every": 2}
)  # fmt: skip


@pytest.fixture(scope="module")
def result() -> Result:
    return figure1.run(SETTINGS, "cpu")


def test_panels_agree_with_autograd_step_by_step(result: Result) -> None:
    data = sphere(6, 5, seed=1)
    start = draw_two_layer(16, 5, seed=1)
    for convention, step_size in enumerate((0.3, 1e-3 * 4)):
        for k, now in enumerate(descent_by_autograd(start, data.x, data.y, step_size, 4)):
            at = (1, 1, convention, k)
            residual = now.predict(data.x) - data.y
            assert result.arrays["misfit"][at] == pytest.approx(float(residual @ residual) / 6)
            flips = pattern_difference_by_loops(start.weights, now.weights, data.x)
            assert result.arrays["flips"][at] == pytest.approx(flips)
            distance = max_distance_by_loops(start.weights, now.weights)
            assert result.arrays["distance"][at] == pytest.approx(distance)


def test_limit_drop_is_a_power_of_the_limit_matrix(result: Result) -> None:
    x = sphere(6, 5, seed=0).x
    residual = figure1._initial_residuals(x, 3, 0)[2]
    step = torch.eye(6, dtype=torch.float64) - 0.3 * infinite_width_gram(x)
    first = torch.linalg.matrix_power(step, 1) @ residual
    last = torch.linalg.matrix_power(step, 4) @ residual
    expected = float((last.square().sum() / first.square().sum()).log())
    assert result.arrays["limit_drop"][0, 1, figure1.FIXED, 2] == pytest.approx(expected)


def test_ensemble_has_the_covariance_of_drawn_networks() -> None:
    x = sphere(4, 3, seed=5).x
    drawn = torch.stack([draw_two_layer(64, 3, seed).predict(x) for seed in range(4000)])
    residuals = figure1._initial_residuals(x, 40000, 0)
    networks = drawn.T @ drawn / len(drawn) + torch.eye(4, dtype=torch.float64)
    ensemble = residuals.T @ residuals / len(residuals)
    torch.testing.assert_close(ensemble, networks, atol=0.08, rtol=0)  # 5 standard errors


def judged(result: Result, **arrays: np.ndarray) -> dict[str, Outcome]:
    """Outcomes after some arrays were replaced, and with them the values."""
    values = figure1._summary({**result.arrays, **arrays}, SETTINGS.widths)
    return outcomes(figure1.judge, result, values=values, **arrays)


def test_verdicts_follow_the_numbers(result: Result) -> None:
    backwards = result.arrays["flips"][:, ::-1]
    assert judged(result, flips=backwards)["du2019-fig1b"] == "fails"
    up = np.linspace(1, 3, 3)[None, :, None, None]
    distance = np.ones_like(result.arrays["distance"])
    assert judged(result, distance=distance * up)["du2019-fig1c"] == "fails"
    assert judged(result, distance=distance / up)["du2019-fig1c"] == "holds"
    misfit = np.exp(-up * np.arange(5.0)) * np.ones_like(result.arrays["misfit"])
    assert judged(result, misfit=misfit)["du2019-fig1a-stated"] == "holds"
    eigenvalues = up * np.ones_like(result.arrays["lambda_min"])
    explained = judged(result, misfit=misfit, lambda_min=eigenvalues)
    assert explained["du2019-fig1-expl"] == "holds"
    flat = judged(result, misfit=misfit, lambda_min=np.ones_like(eigenvalues) + 0.01 * up)
    assert flat["du2019-fig1-expl"] == "fails"


def test_curves_that_were_not_published_are_inconclusive(result: Result) -> None:
    assert judged(result)["du2019-fig1a"] == "inconclusive"


def test_a_drop_far_from_the_published_one_fails() -> None:
    widths, epochs = (500, 1000, 2000), 101
    fall = np.linspace(1, 2, 3)[None, :, None, None] * np.arange(epochs)
    settings = figure1.QUICK.model_dump(mode="json")
    curves = published("du2019_fig1a")
    close = np.stack([curves[f"width_{m}"][[0, *range(100)]] for m in widths])[None, :, None]
    arrays = {"limit_drop": np.random.default_rng(0).normal(-2, 0.05, (1, 3, 2, 50))}
    for misfit, outcome in ((np.exp(-fall), "fails"), (np.exp(close), "holds")):
        both = np.broadcast_to(misfit, (1, 3, 2, epochs))
        made = Result("du2019/figure1", settings, {}, {**arrays, "misfit": both}, "")
        verdict = figure1._judge_reproduction(made, figure1.drops(dict(made.arrays)))
        assert verdict.outcome == outcome


def test_published_ends_are_those_of_the_paper() -> None:
    a, c = published("du2019_fig1a"), published("du2019_fig1c")
    assert [round(a[f"width_{m}"][-1], 2) for m in (500, 8000)] == [-1.60, -5.67]
    assert round(c["width_500"][-1], 2) == 2.78


@pytest.mark.slow
def test_the_record_starts_as_today_s_code_does() -> None:
    """Prefix replay: a trajectory is deterministic, so its first steps check an hour's record."""
    record = record_of("du2019/figure1")
    assert record is not None
    again = figure1.run(figure1.PAPER.override({"widths": [500], "seeds": 1, "steps": 3}), "cpu")
    for name in ("misfit", "flips", "distance"):
        known = record.arrays[name][:1, :1, :, :4]
        np.testing.assert_allclose(again.arrays[name], known, rtol=1e-4, atol=2e-6)
