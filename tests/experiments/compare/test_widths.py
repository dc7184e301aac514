"""Quantities by loops, SciPy and a support vector machine, widths by hand, a run by torch."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import minimize
from sklearn.svm import SVC

from companion.datasets import random_labels, sphere
from companion.draws import Batches, independent_seed
from companion.errors import InputError
from companion.experiments.compare import widths as experiment
from companion.experiments.compare._asked import THEOREMS
from companion.images import mnist
from companion.lab.controls import with_controls
from companion.networks import draw_zou
from tests.doctoring import doctored, outcomes
from tests.figures.compared import by_hand

TINY = experiment.QUICK.override(
    {"sphere": 12, "per_class": 7, "subset": 10, "counts": [6, 8, 10], "seeds": 2,
     "widths": [2, 16], "runs": 2, "batch": 5, "epochs": 30}
)  # fmt: skip
judged = partial(outcomes, experiment, TINY)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return experiment.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found: xr.Dataset) -> xr.Dataset:
    """What tiny data leave open is written into it: powers of n as on larger ones."""
    counts = found["count"].values.astype(float)
    return doctored(
        found, wrong=0, part_across=0.5, part_lambda_0=0.1 * counts**-0.3,
        part_radius=5 * counts**0.6,
    )  # fmt: skip


def inputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    data = random_labels(sphere(12, 12, 0), 0) if name == "sphere" else mnist(per_class=7)
    return data.x.numpy(), data.y.numpy()


def angles(x: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(x @ x.T, -1, 1))


def tangent(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the two layers' matrices over m^(2 alpha), the first trained alone and the last."""
    theta = angles(x)
    first = np.cos(theta) * (np.pi - theta) / (2 * np.pi)
    return first, (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi


@pytest.mark.parametrize("name", TINY.sets)
def test_separation_and_eigenvalue_by_loops(found: xr.Dataset, name: str) -> None:
    x, y = inputs(name)
    pairs = list(itertools.combinations(range(len(x)), 2))
    apart = {pair: math.dist(x[pair[0]], x[pair[1]]) for pair in pairs}
    one = found.sel(data=name)
    assert (int(one["size"]), int(one.dimension)) == x.shape
    across = min(far for (i, j), far in apart.items() if y[i] != y[j])
    assert float(one.across) == pytest.approx(across, rel=1e-9)
    assert float(one.all_pairs) == pytest.approx(min(apart.values()), rel=1e-9)
    theta = angles(x)
    gram = np.cos(theta) * (np.pi - theta) / (2 * np.pi)
    assert float(one.lambda_0) == pytest.approx(np.linalg.eigvalsh(gram)[0], abs=1e-8)


def subset(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The ten inputs of margin and radius."""
    data = random_labels(sphere(12, 12, 0), 0) if name == "sphere" else mnist(per_class=7)
    some = experiment._some(data, 10, 0)
    return some.x.numpy(), some.y.numpy()


@pytest.mark.parametrize("name", TINY.sets)
def test_the_margin_is_that_of_a_support_vector_machine(found: xr.Dataset, name: str) -> None:
    x, y = subset(name)
    kernel = sum(tangent(x))
    # SVC has a bias. It vanishes for data together with their mirror images.
    mirrored = np.block([[kernel, -kernel], [-kernel, kernel]])
    labels = np.concatenate([y, -y])
    machine = SVC(kernel="precomputed", C=1e12, tol=1e-10).fit(mirrored, labels)
    dual = machine.dual_coef_[0]
    inside = mirrored[np.ix_(machine.support_, machine.support_)]
    one = found.sel(data=name)
    assert int(one.measured) == 10
    assert float(one.margin) == pytest.approx(1 / math.sqrt(dual @ inside @ dual), rel=1e-5)


@pytest.mark.parametrize("name", TINY.sets)
def test_the_radius_is_the_least_in_the_primal(found: xr.Dataset, name: str) -> None:
    x, y = subset(name)
    factors = [np.linalg.cholesky(kernel + 1e-12 * np.eye(10)) for kernel in tangent(x)]
    target = -math.log(math.exp(math.log(2) / len(inputs(name)[0]) / 2) - 1)

    def spare(v: np.ndarray) -> np.ndarray:
        return np.asarray(y * (factors[0] @ v[:10] + factors[1] @ v[10:20]) - target)

    known = minimize(
        lambda v: v[-1],
        np.append(np.zeros(20), 10.0),
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": spare},
            {"type": "ineq", "fun": lambda v: v[-1] ** 2 - [v[:10] @ v[:10], v[10:20] @ v[10:20]]},
        ],
        options={"maxiter": 2000, "ftol": 1e-12},
    )
    assert known.success
    assert float(found.sel(data=name).radius) == pytest.approx(known.fun, rel=1e-4)


def test_subsets_are_nested_and_measured_as_the_whole_is(found: xr.Dataset) -> None:
    data = random_labels(sphere(12, 12, 0), 0)
    few, more = (experiment._some(data, count, 1) for count in (6, 8))
    assert {tuple(row) for row in few.x.tolist()} < {tuple(row) for row in more.x.tolist()}
    theta = angles(few.x.numpy())
    gram = np.cos(theta) * (np.pi - theta) / (2 * np.pi)
    one = found.sel(data="sphere", seed=1, count=6)
    assert float(one.part_lambda_0) == pytest.approx(np.linalg.eigvalsh(gram)[0], abs=1e-8)
    assert int(one.part_size) == 6


@pytest.mark.parametrize("name", TINY.sets)
def test_widths_are_the_formulas(found: xr.Dataset, name: str) -> None:
    one = found.sel(data=name)
    known = by_hand(
        *(float(one[key]) for key in ("size", "across", "lambda_0", "radius")), TINY.delta
    )
    told = experiment.demanded(TINY, found).sel(data=name)
    assert set(known) == set(THEOREMS)
    for key, width in known.items():
        assert float(told.width.sel(theorem=key)) == pytest.approx(width, rel=1e-9)


def test_step_sizes_and_iterations_are_the_formulas(found: xr.Dataset) -> None:
    told, one = experiment.demanded(TINY, found).sel(data="sphere"), found.sel(data="sphere")
    n, phi, least, radius = 12, float(one.across), float(one.lambda_0), float(one.radius)
    eps = math.log(2) / n
    sizes, steps = (
        told[key].sel(theorem=list(THEOREMS)).values for key in ("step_size", "iterations")
    )
    width = dict(zip(THEOREMS, told.width.values, strict=True))
    by_key = dict(zip(THEOREMS, zip(sizes, steps, strict=True), strict=True))
    assert np.isnan(by_key["du_flow"]).all()
    assert by_key["du"][0] == pytest.approx(n * least * (1 - n**-0.5) / (4 * n**2))
    assert by_key["zou2018"] == pytest.approx(
        (phi / n**3 / width["zou2018"], (n**8 + n**6 / eps) / phi**2)
    )
    assert by_key["zou2020"] == pytest.approx((1 / width["zou2020"], (n**5 + n**3 / eps) / phi))
    assert by_key["chen"] == pytest.approx((1 / (2 * width["chen"]), 4 * radius**2 / eps))


def test_a_run_is_that_of_torch(found: xr.Dataset) -> None:
    """Width 2 on the sphere, which is too narrow to end early."""
    data, own = random_labels(sphere(12, 12, 0), 0), independent_seed(1, 12, 12, 2)
    network = draw_zou(2, 12, own, depth=1, dtype=torch.float32)
    weight = network.weights[0].clone().requires_grad_()
    x, y = data.x.float(), data.y.float()
    optimiser = torch.optim.Adam([weight], lr=TINY.step_size)
    batches = Batches(TINY.batch, seed=own)

    def margins(rows: torch.Tensor) -> torch.Tensor:
        return y[rows] * (torch.relu(x[rows] @ weight.T) @ network.outputs)

    for step in range(3 * TINY.epochs):
        optimiser.zero_grad()
        torch.log1p(torch.exp(-margins(batches.rows(step, 12)))).mean().backward()
        optimiser.step()
    wrong = int((margins(torch.arange(12)) <= 0).sum())
    one = found.isel(run=1).sel(data="sphere", width=2)
    assert wrong > 0
    assert (int(one.wrong), float(one.epochs)) == (wrong, TINY.epochs)


def test_a_width_suffices_if_every_run_ends_without_an_error(found: xr.Dataset) -> None:
    wrong = np.zeros((2, 2, 2), dtype=int)
    assert experiment.sufficient(doctored(found, wrong=wrong)).values.tolist() == [2, 2]
    wrong[1, 0, 1] = 1
    assert experiment.sufficient(doctored(found, wrong=wrong)).values.tolist() == [2, 16]
    wrong[1, 1, 0] = 1
    told = doctored(found, wrong=wrong)
    assert np.isnan(experiment.sufficient(told).values[1])
    assert experiment.values(TINY, told)["digits_sufficed"] == "none"


def test_no_wider_network_is_trained_than_one_that_sufficed(found: xr.Dataset) -> None:
    for name in TINY.sets:
        wrong = found.wrong.sel(data=name).values
        reached = [place for place, runs in enumerate(wrong) if not runs.any()]
        beyond = wrong[reached[0] + 1 :] if reached else wrong[:0]
        assert np.isnan(beyond).all()
        assert np.isfinite(wrong[: len(wrong) - len(beyond)]).all()
    first = found.isel(width=0, run=0)
    assert float(first.wrong.sel(data="digits")) == 0 < float(first.wrong.sel(data="sphere"))


def test_the_verdicts_can_be_what_is_expected(settled: xr.Dataset) -> None:
    assert judged(settled) == experiment.EXPECTED


@pytest.mark.parametrize(("part", "outcome"), [(0.5, "holds"), (2, "fails")])
def test_a_factor_of_a_million_decides(settled: xr.Dataset, part: float, outcome: str) -> None:
    """Both kinds of data fit at the width that is written in, which makes the gap 1e6 / part."""
    least = float(experiment.demanded(TINY, settled).width.sel(theorem="du_flow").min())
    widths = part * least / 1e6 * np.array([1.0, 8.0])
    told = judged(settled.assign_coords(width=widths))
    assert told["compare-gap"] == outcome


@pytest.mark.parametrize(
    ("array", "power"), [("part_radius", 1.5), ("part_lambda_0", -3.0), ("part_across", 4.0)]
)
def test_the_order_fails_where_data_change_it(
    settled: xr.Dataset, array: str, power: float
) -> None:
    lie = {array: lambda a: a * settled["count"].values.astype(float) ** power}
    assert judged(settled, **lie)["compare-order"] == "fails"


def test_what_cannot_be_told_is_left_open(settled: xr.Dataset) -> None:
    assert judged(settled, wrong=1)["compare-gap"] == "inconclusive"
    assert judged(settled, lambda_0=0.0)["compare-gap"] == "inconclusive"
    noisy = np.exp(3 * np.random.default_rng(0).standard_normal(settled.part_radius.shape))
    assert judged(settled, part_radius=noisy)["compare-order"] == "inconclusive"


def test_the_judge_sees_the_lies_of_its_cards(settled: xr.Dataset) -> None:
    verdicts = experiment.judge(TINY, settled)
    told = with_controls(verdicts, experiment.CONTROLS, TINY, settled, experiment.judge)
    assert [v.control.outcome for v in told if v.control] == ["fails", "fails"]


def test_a_subset_larger_than_a_data_set_is_refused() -> None:
    with pytest.raises(InputError, match="has 12 inputs; no subset can be larger"):
        experiment.run(TINY.override({"counts": [6, 8, 13]}), "cpu")
