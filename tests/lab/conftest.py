"""Fixtures of the tests of what an experiment is made of."""

import pytest
import xarray as xr

from companion.lab.experiment import load
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
