"""Fixtures of the tests of what an experiment is made of."""

from pathlib import Path

import pytest
import xarray as xr

from companion.lab.experiment import load
from tests.lab.small_record import keep
from tests.lab.tiny_run import NAME


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the experiment really ran."""
    runs: list[str] = []
    experiment = load(NAME)
    original = experiment.run

    def run(settings: object, device: str) -> xr.Dataset:
        runs.append(device)
        return original(settings, device)

    monkeypatch.setattr(experiment, "run", run)
    return runs


@pytest.fixture
def record(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed record of a tiny run, in a book of its own."""
    return keep(tmp_path / "book", monkeypatch)
