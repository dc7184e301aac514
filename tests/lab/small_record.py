"""A record of the smallest run, in a book of its own, and how a part of it is computed again."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from companion.base.files import read_checked, write_checked
from companion.lab import verified
from companion.lab.experiment import load
from companion.lab.reproduce import record_path, reproduce
from companion.lab.results import write_result
from tests.lab.tiny_run import NAME, TINY

ENDS = (("steps",), "they are of the last step")
REPLAY = {
    "one_of": ({"steps": 3},),
    "few": {"seeds": 1, "widths": 2},
    "hangs_on": {"*distance": ENDS, "farthest": ENDS},
}


def keep(book: Path, patch: pytest.MonkeyPatch) -> Path:
    """Commit, so to speak, a record of tiny settings below another `book`; its path."""
    experiment = load(NAME)
    patch.setattr(experiment, "PAPER", experiment.QUICK.override(TINY))
    patch.setattr(experiment, "REPLAY", REPLAY, raising=False)
    for module in (sys.modules[reproduce.__module__], verified):
        patch.setattr(module, "BOOK", book)
    path = record_path(NAME)
    write_result(path, reproduce(NAME, "paper"))
    return path


def doctor(path: Path, change: Callable[[dict], object]) -> None:
    """Change a record and give it the checksum of what it says now."""
    payload = read_checked(path)
    change(payload)
    write_checked(path, payload)
