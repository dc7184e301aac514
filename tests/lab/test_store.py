"""The store: damaged, foreign and half-written files, and several processes at once."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from companion.base.files import read_checked, write_checked
from companion.errors import InputError
from companion.lab.reproduce import largest_difference, recorded, reproduce
from companion.lab.results import Result
from companion.lab.store import Store
from tests.lab.tiny_run import NAME, TINY

DAMAGES = {
    "emptied": lambda text: "",
    "cut off": lambda text: text[:-40],
    "one digit": lambda text: text.replace('"seconds":', '"seconds":1', 1),
    "not a number": lambda text: text.replace('"dtype":"float64"', '"dtype":NaN', 1),
    "no text": lambda text: "\udcff",
}


def rechecked(path: Path, change: Callable[[dict], None]) -> None:
    """Change a file and give it the checksum of what it says now."""
    payload = read_checked(path)
    change(payload)
    write_checked(path, payload)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_named_set_aside_and_computed_again(
    store: Path, counted: list[str], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    first = reproduce(NAME, **TINY)
    path = Store().path(NAME, first.fingerprint)
    text = path.read_text()
    assert DAMAGES[damage](text) != text
    path.write_text(DAMAGES[damage](text), errors="surrogateescape")
    assert Store().latest(NAME, first.settings) is None  # as `companion list` asks
    again = reproduce(NAME, **TINY)
    assert len(counted) == 2
    assert largest_difference(again, first) == (0.0, "")
    assert str(path) in caplog.text
    assert path.with_name(path.name + ".damaged").is_file()
    assert Store().find(NAME, first.fingerprint) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: payload.update(extra=1),
        lambda payload: payload.pop("found"),
        lambda payload: payload["found"]["arrays"].update(misfit={"dtype": "<f8"}),
        lambda payload: payload.update(found=3),
        lambda payload: payload.update(provenance={}),
        lambda payload: payload.update(fingerprint="0123456789abcdef"),
        lambda payload: payload.update(experiment="du2019/figure1"),
    ],
    ids=[
        *("extra field", "missing field", "no array", "no arrays", "no provenance"),
        *("another result", "another experiment"),
    ],
)
def test_a_result_of_another_version_is_set_aside(
    store: Path, counted: list[str], change: Callable[[dict], None]
) -> None:
    first = reproduce(NAME, **TINY)
    rechecked(Store().path(NAME, first.fingerprint), change)
    assert largest_difference(reproduce(NAME, **TINY), first) == (0.0, "")
    assert len(counted) == 2


def test_a_result_with_verdicts_of_another_version_is_taken(
    store: Path, counted: list[str]
) -> None:
    """Verdicts and values are taken from what was found, by today's code."""
    first = reproduce(NAME, **TINY)
    strange = {"verdicts": [{"claim": "x"}], "values": {"old": 1}, "summary": 3}
    rechecked(Store().path(NAME, first.fingerprint), lambda payload: payload.update(strange))
    again = reproduce(NAME, **TINY)
    assert (again.verdicts, again.values, again.summary) == (
        first.verdicts,
        first.values,
        first.summary,
    )
    assert len(counted) == 1


def test_the_latest_of_several_results_with_these_settings_is_found(store: Path) -> None:
    for number, (steps, created) in enumerate([(5, "12"), (5, "31"), (5, "24"), (6, "40")]):
        told = {"commit": "1", "seconds": 1.0, "created": f"2026-01-01T00:00:{created}"}
        result = Result(
            NAME, {"steps": steps}, xr.Dataset(), fingerprint=str(number), provenance=told
        )
        Store().save(result)
    latest = Store().latest(NAME, {"steps": 5})
    assert latest is not None
    assert latest.fingerprint == "1"
    assert Store().latest(NAME, {"steps": 7}) is None


def test_a_damaged_part_is_computed_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    whole = reproduce(NAME, **TINY)
    Store().path(NAME, whole.fingerprint).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            reproduce(NAME, **TINY)
    parts = sorted((store / NAME).glob("*.parts/*.json"))
    assert len(parts) == len(TINY["widths"]) * TINY["seeds"]
    parts[0].write_text("")
    parts[1].write_text(parts[1].read_text().replace("[", "[1", 1))
    shutil.copy(parts[2], parts[3])  # under another's name
    (parts[0].parent / ".companion-0123.part").write_text("left by a killed run")
    resumed = reproduce(NAME, **TINY)
    assert largest_difference(resumed, whole) == (0.0, "")
    assert not list(store.rglob("*.parts"))


def test_a_damaged_record_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules[reproduce.__module__], "record_path", lambda name: tmp_path / "record.json"
    )
    (tmp_path / "record.json").write_text("")
    with pytest.raises(InputError, match="damaged"):
        recorded("du2019/figure1")
    assert (tmp_path / "record.json").is_file()


@pytest.mark.slow
def test_processes_may_compute_the_same_at_once(store: Path) -> None:
    code = (
        "from companion.lab.reproduce import reproduce\n"
        f"for steps in range(3, 8): reproduce({NAME!r}, **{{**{TINY!r}, 'steps': steps}})"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    assert len(list((store / NAME).glob("*.json"))) == 5
    assert not list(store.rglob("*.part*"))


def test_a_store_is_the_same_wherever_a_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPANION_STORE", "mine")
    assert Store().root == tmp_path / "mine"
