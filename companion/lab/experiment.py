"""What an experiment declares, and whether it can run here with the settings asked for."""

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import psutil
import xarray as xr

from companion.errors import InputError
from companion.lab.catalog import check_experiment
from companion.lab.contract import check_declared
from companion.lab.controls import Lie
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Settings

PROFILES = ("quick", "paper")
DEVICES = ("cpu", "cuda")


# Numbers of any kind are told as Python's.
Values = Mapping[str, Any]


class Experiment(Protocol):
    """What a module in `companion/experiments/<paper>/` declares."""

    QUICK: Settings
    PAPER: Settings
    EXPECTED: dict[str, Outcome]  # of both profiles, but for what PAPER_EXPECTED may say of paper
    CONTROLS: dict[str, Lie]

    def run(self, settings: Any, device: str) -> xr.Dataset:
        """Compute; all that the fingerprint covers. Says what it computed on in `attrs`, `data`."""

    def summary(self, settings: Any) -> str:
        """What is run, in one sentence: data, labels, widths, seeds, how long."""

    def values(self, settings: Any, found: xr.Dataset) -> Values:
        """Numbers and words for prose and captions, from what `run` found."""

    def judge(self, settings: Any, found: xr.Dataset) -> list[Verdict]:
        """Compare what `run` found with the claims."""

    def cost(self, settings: Any) -> "Cost":
        """Estimate before computing."""


@dataclass(frozen=True)
class Cost:
    """An estimate made before anything runs.

    Attributes:
        flops: floating-point operations, eigenvalue problems included.
        bytes: peak memory of the arrays.
    """

    flops: float
    bytes: float


def load(name: str) -> Experiment:
    """Import an experiment by name.

    Raises:
        InputError: there is none of that name; the nearest is named.
        ContractError: it does not declare what an experiment has to.
    """
    check_experiment(name)
    module = importlib.import_module(f"companion.experiments.{name.replace('/', '.')}")
    check_declared(name, module)
    return cast(Experiment, module)


def settings_of(experiment: Experiment, profile: str, overrides: Mapping[str, object]) -> Settings:
    """The profile's settings with overrides applied.

    Raises:
        InputError: unknown profile or setting, wrong type, or out of range.
    """
    check_profile(profile)
    base = experiment.QUICK if profile == "quick" else experiment.PAPER
    return base.override(overrides)


def profiled(result: Result, asked: str = "quick") -> Result:
    """A result with the profile that its settings are today's settings of.

    Args:
        result: e.g. one that was stored.
        asked: the profile to name where both have these settings.
    """
    experiment, settings = load(result.experiment), dict(result.settings)
    for profile in (asked, *PROFILES):
        if settings == settings_of(experiment, profile, {}).model_dump(mode="json"):
            return dataclasses.replace(result, profile=profile)
    return dataclasses.replace(result, profile="custom")


def expected_of(experiment: Experiment, profile: str) -> dict[str, Outcome]:
    """Claim id -> outcome that the profiles are expected to give, or the one profile asked for."""
    at_paper = getattr(experiment, "PAPER_EXPECTED", {}) if profile == "paper" else {}
    return {**experiment.EXPECTED, **at_paper}


def check_profile(profile: str) -> str:
    """Return `profile`, or raise `InputError`."""
    if profile not in PROFILES:
        raise InputError(f"there is no profile '{profile}'; choose {' or '.join(PROFILES)}.")
    return profile


def check_device(device: str) -> str:
    """Return `device` if this machine can compute on it.

    Raises:
        InputError: an unknown device, or cuda where there is none.
    """
    if device not in DEVICES:
        raise InputError(f"there is no device '{device}'; choose {' or '.join(DEVICES)}.")
    if device == "cuda":
        torch = importlib.import_module("torch")
        if not torch.cuda.is_available():
            raise InputError("device 'cuda' was asked for, but torch sees no GPU here; use cpu.")
    return device


def check_memory(name: str, cost: Cost, device: str) -> None:
    """Refuse a run that this machine's memory cannot hold.

    Raises:
        InputError: the arrays of a run on the CPU are estimated to take more than all of it.
    """
    total = psutil.virtual_memory().total
    if device == "cpu" and cost.bytes > total:
        raise InputError(
            f"{name} would take about {cost.bytes:.2g} bytes of memory with these settings, and "
            f"this machine has {total:.2g}; choose smaller sizes."
        )
