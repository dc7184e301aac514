"""What is fresh, stale or missing of results and records, and why; nothing is computed."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from companion.errors import DamagedError, InputError
from companion.lab.catalog import experiments
from companion.lab.experiment import PROFILES, load, settings_of
from companion.lab.fingerprint import basis, differences, fingerprint_of
from companion.lab.reproduce import record_path
from companion.lab.results import Result, read_result
from companion.lab.settings import Settings
from companion.lab.store import Store
from companion.lab.verified import standing

State = Literal["fresh", "verified", "stale", "missing"]


@dataclass(frozen=True)
class Status:
    """How one thing that is kept stands to the sources of today.

    Attributes:
        kind: `experiment`, `record`, `chapter` or `figure`.
        name: e.g. `du2019/figure1 quick`.
        state: `fresh`, `stale` or `missing`; of a record also `verified`, if what it was computed
            with has changed, but a part of it that today's code computed agrees with it.
        why: what differs, each in words; empty for what is fresh.
    """

    kind: str
    name: str
    state: State
    why: tuple[str, ...] = ()

    def in_short(self, lines: int = 4) -> list[str]:
        """The first reasons, and how many there are beside them."""
        rest = len(self.why) - lines
        return [*self.why[:lines], *([f"and {rest} more"] if rest > 0 else [])]


def results_status(device: str = "cpu") -> Iterator[Status]:
    """Every experiment with its quick profile, and with its paper profile where that was run."""
    for name in experiments():
        kept = _kept(name, device)
        for profile in PROFILES:
            settings = settings_of(load(name), profile, {})
            if profile == "quick" or any(_alike(result, settings) for result in kept):
                yield _result_status(f"{name} {profile}", name, settings, device, kept)


def records_status() -> Iterator[Status]:
    """Every committed record."""
    for name in experiments():
        path = record_path(name)
        if not path.is_file():
            continue
        try:
            found = standing(read_result(path))
        except InputError as problem:  # a damaged record, or source that cannot be followed
            yield Status("record", name, "stale", (str(problem),))
            continue
        state: State = "fresh" if found.state == "current" else found.state
        yield Status("record", name, state, found.why)


def why_changed(result: Result) -> list[str]:
    """What differs today from what a result was computed with, in words."""
    name = result.experiment
    try:
        settings = type(load(name).QUICK)().override(result.settings)
        return differences(result.basis, basis(name, settings, result.device))
    except InputError as problem:
        return [str(problem)]


def _result_status(
    label: str, name: str, settings: Settings, device: str, kept: list[Result]
) -> Status:
    try:
        today = basis(name, settings, device)
    except InputError as problem:
        return Status("experiment", label, "stale" if kept else "missing", (str(problem),))
    key = fingerprint_of(today)
    if any(result.fingerprint == key for result in kept):
        return Status("experiment", label, "fresh")
    alike = [result for result in kept if _alike(result, settings)]
    nearest = min(alike or kept, key=lambda r: len(differences(r.basis, today)), default=None)
    if nearest is None:
        return Status("experiment", label, "missing", ("it was not run yet",))
    why = differences(nearest.basis, today)
    return Status("experiment", label, "stale" if alike else "missing", tuple(why))


def _alike(result: Result, settings: Settings) -> bool:
    return dict(result.settings) == settings.model_dump(mode="json")


def _kept(name: str, device: str) -> list[Result]:
    results = (_read(path) for path in (Store().root / name).glob("*.json"))
    of_device = [result for result in results if result and result.device == device]
    return sorted(of_device, key=lambda r: str(r.provenance["created"]), reverse=True)


def _read(path: Path) -> Result | None:
    with contextlib.suppress(DamagedError, FileNotFoundError):
        return read_result(path)
    return None
