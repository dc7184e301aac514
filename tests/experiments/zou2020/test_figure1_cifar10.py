"""The photographs' figures are those of the digits on other images, and say what is missing."""

from pathlib import Path

import pytest
import torch
import xarray as xr

from companion import cifarfiles
from companion.datasets import DataSet, sphere
from companion.errors import MissingDataError
from companion.experiments.zou2020 import _images, figure1, figure1_cifar10
from companion.images import cifar10
from companion.lab.reproduce import reproduce

SMALL = {
    "per_class": 4, "depth": 2, "widths": [8, 16, 32], "step_size": 0.002,
    "other_step_size": 0.001, "steps": 4, "every": 2, "seeds": 1,
}  # fmt: skip


def signs(per_class: int | None = None) -> DataSet:
    """Eight inputs as long as a photograph, half of each class."""
    x = sphere(8, 3072, 0).x
    return DataSet(x, torch.tensor([1.0, -1.0] * 4, dtype=torch.float64), "drawn photographs")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    monkeypatch.setattr(_images, "cifar10", signs)
    return figure1_cifar10.run(figure1_cifar10.QUICK.override(SMALL), "cpu")


def test_the_runs_are_on_photographs(found: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found.attrs["data"] == "drawn photographs"
    monkeypatch.setattr(_images, "mnist", signs)
    same = figure1.run(figure1.QUICK.override(SMALL), "cpu")
    xr.testing.assert_identical(found, same)


def test_a_claim_of_each_figure_has_its_own_name(found: xr.Dataset) -> None:
    settings = figure1_cifar10.QUICK.override(SMALL)
    judged = [verdict.claim for verdict in figure1_cifar10.judge(settings, found)]
    assert set(judged) == set(figure1_cifar10.EXPECTED)
    digits = [verdict.claim for verdict in figure1.judge(settings, found)]
    assert judged == [f"{claim}-cifar10" for claim in digits]


@pytest.mark.parametrize("name", ["zou2020/figure1", "zou2020/figure1_cifar10"])
def test_photographs_that_are_not_here_are_told(
    name: str, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifarfiles, "find", lambda name: None)
    with pytest.raises(MissingDataError, match="companion data fetch cifar10"):
        reproduce(name, **{**SMALL, "dataset": "cifar10"})


@pytest.mark.skipif(not cifarfiles.is_here(), reason="CIFAR-10 is not on this machine")
def test_the_sizes_that_costs_are_told_by_are_those_of_the_files() -> None:
    data = cifar10()
    assert (len(data.x), data.x.shape[1]) == _images.SIZES["cifar10"]
