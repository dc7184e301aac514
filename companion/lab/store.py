"""Where results are kept: a folder of small files that can be written and read at any time."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from companion.base.files import set_aside
from companion.base.paths import CACHE
from companion.errors import DamagedError
from companion.lab.results import Result, read_result, write_result

_Read = TypeVar("_Read")


class Store:
    """A folder with one JSON file per result: written atomically, read with its checksum.

    Args:
        root: the folder; COMPANION_STORE names another than `_build/results`.
    """

    def __init__(self, root: Path | None = None) -> None:
        named = os.environ.get("COMPANION_STORE")
        self.root = (root or (Path(named) if named else CACHE / "results")).absolute()

    def path(self, experiment: str, fingerprint: str) -> Path:
        """Where that result is, or would be, kept."""
        return self.root / experiment / f"{fingerprint}.json"

    def find(self, experiment: str, fingerprint: str) -> Result | None:
        """The stored result, or None; a damaged file is set aside, and counts as none."""
        path = self.path(experiment, fingerprint)
        found = kept(path, read_result)
        if found is None or (found.experiment, found.fingerprint) == (experiment, fingerprint):
            return found
        set_aside(path, f"{path} holds the result {found.fingerprint} of {found.experiment}.")
        return None

    def latest(self, experiment: str, settings: Mapping[str, Any]) -> Result | None:
        """The most recently computed result of that experiment with these settings, or None."""
        found = [kept(path, read_result) for path in (self.root / experiment).glob("*.json")]
        alike = [result for result in found if result and dict(result.settings) == dict(settings)]
        return max(alike, key=lambda r: str(r.provenance["created"]), default=None)

    def save(self, result: Result) -> Path:
        """Keep a result.

        Raises:
            InputError: the folder cannot be written; nothing is left half-written.
        """
        path = self.path(result.experiment, result.fingerprint)
        write_result(path, result)
        return path


def kept(path: Path, read: Callable[[Path], _Read]) -> _Read | None:
    """What is read from a file of a cache; None if there is none, or none that can be read."""
    try:
        return read(path)
    except FileNotFoundError:  # also where another process has just removed it
        return None
    except DamagedError as problem:
        set_aside(path, problem)
        return None
