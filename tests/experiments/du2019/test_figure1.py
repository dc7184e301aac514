"""Figure 1 by other roads: autograd, matrix powers, sampled networks, doctored results."""

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from companion.datasets import sphere
from companion.experiments.du2019 import figure1
from companion.experiments.du2019._curves import published_curves
from companion.experiments.du2019._problem import draw
from companion.kernels import infinite_width_gram
from companion.lab.catalog import published
from companion.lab.reproduce import record_of
from companion.lab.results import Outcome
from companion.networks import draw_du
from tests.doctoring import doctored, outcomes
from tests.oracles import (
    descent_by_autograd,
    max_distance_by_loops,
    pattern_difference_by_loops,
    predictions,
)

SETTINGS = figure1.QUICK.override(
    {"count": 6, "dimension": 5, "widths": [8, 16, 32], "steps": 4, "seeds": 2, "ensemble": 3,
     "dtype": "float64", "fixed_step_size": 0.3, "eigenvalues_every": 2}
)  # fmt: skip


judged = partial(outcomes, figure1, SETTINGS)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return figure1.run(SETTINGS, "cpu")


def test_panels_agree_with_autograd_step_by_step(found: xr.Dataset) -> None:
    data, network = sphere(6, 5, seed=1), draw(SETTINGS, "cpu", seed=1, width=16).network
    (start,) = network.weights
    for convention, step_size in (("fixed", 0.3), ("inferred", 1e-3 * 4)):
        one = found.sel(seed=1, width=16, convention=convention)
        for k, now in enumerate(descent_by_autograd(network, data.x, data.y, step_size, 4)):
            residual = predictions(now.weights, now.outputs, data.x) - data.y
            assert float(one.misfit[k]) == pytest.approx(float(residual @ residual) / 6)
            flips = pattern_difference_by_loops(start, now.weights, data.x)
            assert float(one.flips[k]) == pytest.approx(flips)
            distance = max_distance_by_loops(start, now.weights)
            assert float(one.distance[k]) == pytest.approx(distance)


def test_limit_drop_is_a_power_of_the_limit_matrix(found: xr.Dataset) -> None:
    problem = draw(SETTINGS, "cpu", seed=0, width=1)
    residual = figure1._initial_residuals(problem, 3, 0)[2]
    step = torch.eye(6, dtype=torch.float64) - 0.3 * infinite_width_gram(problem.x)
    first = torch.linalg.matrix_power(step, 1) @ residual
    last = torch.linalg.matrix_power(step, 4) @ residual
    expected = float((last.square().sum() / first.square().sum()).log())
    one = found.limit_drop.sel(seed=0, width=16, convention="fixed")
    assert float(one[2]) == pytest.approx(expected)


def test_ensemble_has_the_covariance_of_drawn_networks() -> None:
    problem = draw(SETTINGS, "cpu", seed=5, width=1)
    networks = (draw_du(64, 5, seed, dtype=torch.float64) for seed in range(4000))
    drawn = torch.stack([network.predict(problem.x) for network in networks])
    residuals = figure1._initial_residuals(problem, 40000, 0)
    known = drawn.T @ drawn / len(drawn) + torch.eye(6, dtype=torch.float64)
    ensemble = residuals.T @ residuals / len(residuals)
    torch.testing.assert_close(ensemble, known, atol=0.08, rtol=0)  # 5 standard errors


UP = np.linspace(1, 3, 3)[None, :, None, None]


def test_the_explanation_follows_the_eigenvalue(found: xr.Dataset) -> None:
    misfit = np.exp(-UP * np.arange(5.0))
    rising, level = UP, 1 + 0.01 * UP
    assert judged(found, misfit=misfit, lambda_min=rising)["du2019-fig1-expl"] == "holds"
    assert judged(found, misfit=misfit, lambda_min=level)["du2019-fig1-expl"] == "fails"


def test_the_stated_step_size_is_judged_beyond_the_noise_of_a_run(found: xr.Dataset) -> None:
    quiet, noisy = ([-2 - s, -2 + s, -2] for s in (1e-3, 10.0))
    misfit = np.exp(-UP * np.arange(5.0))
    same = np.exp(-np.array([1, UP[0, 0, 0, 0]])[None, None, :, None] * np.arange(5.0))
    inferred_only = np.where(np.arange(2)[:, None] == 1, misfit, same)
    for drop, rises, levels in ((quiet, "holds", "fails"), (noisy, "inconclusive", "inconclusive")):
        assert judged(found, misfit=misfit, limit_drop=drop)["du2019-fig1a-stated"] == rises
        lied = judged(found, misfit=inferred_only, limit_drop=drop)
        assert lied["du2019-fig1a-stated"] == levels


@pytest.mark.parametrize("panel", ["fig1a", "fig1b", "fig1c"])
def test_where_nothing_was_published_nothing_is_compared(found: xr.Dataset, panel: str) -> None:
    """Whatever the order of the widths."""
    for array in ("misfit", "flips", "distance"):
        for changed in (found[array], lambda a: a[:, ::-1]):
            verdicts = figure1.judge(SETTINGS, doctored(found, **{array: changed}))
            (verdict,) = (v for v in verdicts if v.claim == f"du2019-{panel}")
            assert verdict.outcome == "inconclusive"
            assert verdict.sentence.startswith("Not comparable")


@pytest.mark.parametrize(
    "other", [{"steps": 99}, {"count": 999}, {"dimension": 999}, {"widths": [501]}]
)
def test_curves_of_other_settings_are_not_those_published(other: dict[str, object]) -> None:
    assert list(published_curves("a", figure1.QUICK)) == list(figure1.QUICK.widths)
    assert published_curves("a", figure1.QUICK.override(other)) == {}


def test_one_width_alone_has_nothing_to_explain() -> None:
    settings = SETTINGS.override({"widths": [8]})
    for verdict in figure1.judge(settings, figure1.run(settings, "cpu")):
        assert verdict.outcome == "inconclusive"
        assert "nan" not in f"{verdict.sentence} {verdict.measured} {verdict.tolerance}"


AS_PUBLISHED = figure1.QUICK.override({"widths": [500, 2000, 8000]})
AXES = ("seed", "width", "convention", "step")
PANELS = pytest.mark.parametrize(("name", "quantity"), [("b", "flips"), ("c", "distance")])


@pytest.fixture(scope="module")
def made() -> xr.Dataset:
    """The published curves, from misfits at the start that differ by a few per cent."""

    def stacked(panel: str) -> np.ndarray:
        curves = published(f"du2019_fig1{panel}")
        return np.stack([curves[f"width_{m}"][[0, *range(100)]] for m in AS_PUBLISHED.widths])

    start = np.array([1.0, 1.06, 0.97])[:, None, None, None]  # of each seed, over the published one
    both = np.ones((3, 3, 2, 101))
    draws = np.random.default_rng(0).normal(-2, 0.05, (3, 3, 2, 50))
    return xr.Dataset(
        {
            "misfit": (AXES, np.exp(stacked("a"))[:, None] * start * both),
            "flips": (AXES, stacked("b")[:, None] * start**0.5 * wobble(1) * both),
            "distance": (AXES, stacked("c")[:, None] ** 0.5 * start**0.5 * wobble(2) * both),
            "limit_drop": (("seed", "width", "convention", "member"), draws),
        },
        {
            "seed": range(3),
            "width": list(AS_PUBLISHED.widths),
            "convention": list(figure1.CONVENTIONS),
        },
    )


def wobble(number: int) -> np.ndarray:
    """A per cent or two by which one run differs from another."""
    return np.exp(0.01 * np.random.default_rng(number).normal(size=(3, 3, 1, 1)))


def panel(made: xr.Dataset, name: str, quantity: str) -> Outcome:
    shown, power = (made.flips, 0.5) if quantity == "flips" else (made.distance**2, 1.0)
    return figure1._panel(AS_PUBLISHED, made, name, shown, power, "it").outcome


@PANELS
def test_the_other_panels_are_met_or_not(made: xr.Dataset, name: str, quantity: str) -> None:
    """By the size of what is drawn, once the random misfit at the start is taken out."""
    assert panel(made, name, quantity) == "holds"
    for larger in (10.0, 1.2, 1 / 1.2):
        lied = doctored(made, **{quantity: larger * made[quantity]})
        assert panel(lied, name, quantity) == "fails"
    # A start as far off as this would make the flips, and the distances, larger than they are.
    assert panel(doctored(made, misfit=2 * made.misfit), name, quantity) == "fails"
    assert panel(made.isel(seed=[0]), name, quantity) == "inconclusive"


@PANELS
def test_the_order_of_the_widths_may_not_turn_round(
    made: xr.Dataset, name: str, quantity: str
) -> None:
    def turned(array: np.ndarray) -> np.ndarray:
        array[:, :, 0] = array[:, ::-1, 0]  # of one step size, which no published curve shows
        return array

    assert panel(doctored(made, **{quantity: turned}), name, quantity) == "fails"


@PANELS
def test_a_run_that_starts_far_off_turns_no_order_round(
    made: xr.Dataset, name: str, quantity: str
) -> None:
    """Four times the misfit of the others at one width: all of the run is larger in proportion."""
    power = 0.5  # of the flips, and of the distance itself
    far = xr.where((made.seed == 1) & (made.width == 2000), 4.0, 1.0)
    started = made.assign(
        {"misfit": made.misfit * far, quantity: (made[quantity] * far**power).transpose(*AXES)}
    )
    last = started[quantity].isel(step=-1)
    assert not bool((last.diff("width") < 0).all())
    assert panel(started, name, quantity) == "holds"


def test_the_published_drop_is_met_or_not(made: xr.Dataset) -> None:
    assert figure1._reproduction(AS_PUBLISHED, made).outcome == "holds"
    steeper = doctored(made, misfit=lambda a: a**1.3)
    assert figure1._reproduction(AS_PUBLISHED, steeper).outcome == "fails"
    backwards = doctored(made, misfit=lambda a: a[:, ::-1])
    assert figure1._reproduction(AS_PUBLISHED, backwards).outcome == "fails"


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
        known = record.found[name].isel(seed=[0], width=[0], step=slice(4))
        np.testing.assert_allclose(again[name], known, rtol=1e-4, atol=2e-6)
