"""The report against training, prediction and derivatives that are computed apart from it."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from companion.datasets import DataSet, sphere, with_bias
from companion.errors import InputError
from companion.linearised import linearise
from companion.networks import ReLUNetwork, draw_chen, draw_du
from companion.regime import demands, quantities
from companion.regime.examination import examination_memory, examine
from companion.regime.report import Report
from companion.training import train


def example(count: int = 10, dimension: int = 5) -> DataSet:
    data = sphere(count, dimension, seed=2)
    return DataSet(data.x, data.y.sign(), data.source)


def gradients(network: ReLUNetwork, x: torch.Tensor) -> np.ndarray:
    """One row of derivatives an input, by automatic differentiation, shape (n, p)."""
    rows = []
    for row in x:
        leaves = [each.detach().clone().requires_grad_() for each in network.parameters]
        network.moved(leaves).predict(row[None]).sum().backward()
        rows.append(torch.cat([leaf.grad.ravel() for leaf in leaves]).numpy())
    return np.array(rows, dtype=float)


def share(difference: np.ndarray, way: np.ndarray) -> float:
    return float(np.linalg.norm(difference) / np.linalg.norm(way))


@pytest.mark.parametrize(("loss", "name"), [("cross-entropy", "du"), ("quadratic", "chen")])
def test_the_report_is_that_of_training_and_linearisation(loss, name):
    data = example()
    report = examine(
        data.x, data.y, width=64, depth=2, loss=loss, parameterisation=name, steps=30, seed=4
    )
    draw = {"du": draw_du, "chen": draw_chen}[name]
    network, x, y = draw(64, 5, seed=4, depth=2), data.x.float(), data.y.float()
    options = {"loss": loss, "step_size": report.run.step_size, "steps": 30}
    beside = linearise(network, x, y, measured=True, **options)
    assert report.run.step_size == pytest.approx(beside.largest_stable_step_size / 2)
    assert report.curves.step.tolist() == list(range(31))
    assert report.curves.measured == pytest.approx(beside.measured.losses.numpy(), rel=1e-5)
    assert report.curves.predicted == pytest.approx(beside.losses.numpy(), rel=1e-4)
    limit = linearise(network, x, y, kernel="infinite", **options)
    assert report.curves.limit == pytest.approx(limit.losses.numpy(), rel=1e-4)
    way = (beside.measured.predictions - beside.measured.predictions[0]).norm(dim=1)
    gap = beside.measured.gap.max() * math.sqrt(10) / way.max()
    assert report.departure.gap == pytest.approx(float(gap), rel=1e-3)
    first = report.curves.measured[0]
    worst = np.abs(report.curves.measured - report.curves.predicted).max() / first
    assert report.departure.curve == pytest.approx(worst)

    end = train(network, x, y, **options).network
    old, new = gradients(network, x), gradients(end, x)
    kernel = old @ old.T
    assert report.departure.kernel == pytest.approx(share(new @ new.T - kernel, kernel), rel=1e-3)
    ends = [torch.cat([p.ravel() for p in each.parameters]).numpy() for each in (network, end)]
    assert report.departure.distance == pytest.approx(share(ends[1] - ends[0], ends[0]), rel=1e-4)
    went = (end.predict(x) - network.predict(x)).numpy()
    tangent = old @ (ends[1] - ends[0])
    assert report.departure.tangent == pytest.approx(share(went - tangent, went), rel=1e-2)
    flipped = []
    for before, after in zip(network.run(x).gates, end.run(x).gates, strict=True):
        flipped.append(float(((before > 0) != (after > 0)).double().mean()))
    assert report.departure.of_layers == pytest.approx(flipped)
    assert report.departure.patterns == pytest.approx(sum(flipped) / 2)


def test_quantities_and_demands_are_those_of_the_data():
    data = example()
    report = examine(data.x, data.y, width=8, depth=2, steps=3, accuracy=0.2, delta=0.05)
    found = quantities(data.x, data.y, depth=2, accuracy=0.2)
    assert report.quantities == found
    assert report.demands == demands(found, width=8, delta=0.05, loss="cross-entropy")


def test_a_wide_network_is_lazy_and_a_narrow_one_is_not():
    data = example()
    options = {"depth": 1, "loss": "quadratic", "steps": 60}
    wide = examine(data.x, data.y, width=8192, **options)
    narrow = examine(data.x, data.y, width=8, **options)
    assert wide.lazy
    assert not narrow.lazy
    assert "it is lazy" in wide.answer
    assert "it is not lazy" in narrow.answer
    for name in ("distance", "patterns", "kernel", "tangent", "gap", "curve", "limit"):
        assert getattr(wide.departure, name) < getattr(narrow.departure, name) / 3, name
    strict = dataclasses.replace(wide, tolerance=wide.departure.gap / 2)
    assert not strict.lazy
    assert f"{strict.tolerance:.0%}" in strict.rule


@pytest.fixture(scope="module")
def report() -> Report:
    data = example()
    return examine(with_bias(data.x, 0.3), data.y, width=32, depth=1, loss="quadratic", steps=5)


def test_the_answer_names_the_theorem_that_asks_for_least(report: Report):
    speaking = [each for each in report.demands if each.inside and each.algorithm != "none"]
    assert {each.paper for each in speaking} == {"du2019"}
    least = min(speaking, key=lambda each: each.width)
    assert f"{least.work}, {least.statement}" in report.answer
    assert f"{least.width / 32:.2g} times" in report.answer
    assert "none of the theorems" in report.answer


def test_the_answer_follows_the_widths(report: Report):
    def with_widths(width: float, explicit: bool) -> Report:
        every = [
            dataclasses.replace(each, width=width, explicit=explicit) for each in report.demands
        ]
        return dataclasses.replace(report, demands=every)

    assert "is in the regime of Du et al. (2019)" in with_widths(32.0, True).answer
    assert "constant that nobody knows" in with_widths(32.0, False).answer
    assert "none of the theorems" in with_widths(33.0, True).answer
    unmet = [dataclasses.replace(each, unmet=("it is not",)) for each in report.demands]
    assert "No theorem" in dataclasses.replace(report, demands=unmet).answer
    still = dataclasses.replace(report.departure, gap=math.nan)
    assert "does not move" in dataclasses.replace(report, departure=still).answer


def test_all_of_it_is_json(report: Report):
    told = json.loads(json.dumps(report.told(), allow_nan=False))
    assert told["quantities"]["lambda_0"]["value"] == report.quantities.lambda_0.value
    assert [each["width"] for each in told["demands"]] == [e.width for e in report.demands]
    assert told["demands"][0]["times_the_width"] == report.demands[0].width / 32
    assert told["curves"]["measured"] == report.curves.measured.tolist()
    assert told["departure"]["kernel"]["share"] == report.departure.kernel
    assert told["answer"] == report.answer
    none = dataclasses.replace(report.demands[0], width=math.inf)
    told = dataclasses.replace(report, demands=[none]).told()
    assert told["demands"][0]["width"] == "inf"


def test_equal_inputs_are_told():
    data = example()
    x = data.x.clone()
    same = (data.y == data.y[0]).nonzero()[:, 0].tolist()
    x[same[1]] = x[0]
    told = examine(x, data.y, width=8, depth=1, steps=2).warnings
    assert len(told) == 1
    assert f"Inputs 0, {same[1]} are equal" in told[0]
    other = int((data.y != data.y[0]).nonzero()[0, 0])
    x[other] = x[0]
    report = examine(x, data.y, width=8, depth=1, steps=2)
    assert "no network fits them" in report.warnings[0]
    assert "No theorem" in report.answer
    json.dumps(report.told(), allow_nan=False)
    divided = examine(2 * data.x, data.y, width=8, depth=1, steps=2, normalise=True)
    assert "were off 1 by 1 at most" in divided.warnings[0]


def test_long_runs_are_looked_at_seldom():
    data = example(6, 3)
    report = examine(data.x, data.y, width=8, depth=1, steps=250)
    assert report.curves.step.tolist() == [*range(0, 250, 3), 250]


def test_memory_is_told_before():
    data = example(60, 3)
    needed = examination_memory(60, 3, 1000, 2)
    with pytest.raises(InputError, match=r"60 inputs with width 1000.*about \d+ inputs would fit"):
        examine(data.x, data.y, width=1000, depth=2, memory_budget=needed * 0.9)
    with pytest.raises(InputError, match="take a smaller width"):
        examine(data.x, data.y, width=10**7, depth=2, memory_budget=1e9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "width is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"step_size": -1.0}, "step_size is -1"),
        ({"loss": "cross-entrpy"}, "did you mean 'cross-entropy'"),
        ({"loss": "hinge"}, "--step-size"),
        ({"loss": "quadratic", "step_size": 1e4, "steps": 40}, "diverged"),
        ({"parameterisation": "dy"}, "did you mean 'du'"),
        ({"tolerance": 0}, "tolerance is 0"),
        ({"delta": 2}, "delta is 2"),
        ({"accuracy": 2}, "accuracy is 2"),
    ],
)
def test_bad_options_are_one_sentence(options, said):
    data = example(6, 3)
    with pytest.raises(InputError, match=said) as told:
        examine(data.x, data.y, **{"width": 8, "depth": 1, "steps": 2, **options})
    assert "\n" not in str(told.value)


def test_data_on_two_devices_are_refused():
    data = example(6, 3)
    with pytest.raises(InputError, match="y is on cpu but meets tensors on meta"):
        examine(data.x.to("meta"), data.y, width=8, depth=1, steps=2)
