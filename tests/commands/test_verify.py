"""`companion verify`: its table, its exit codes, what it notes; and how pages tell it."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from companion import __main__
from companion.base.files import file_hash
from companion.commands import verify
from companion.errors import BuildError, InputError
from companion.lab import status, verified
from companion.lab.experiment import load, profiled
from companion.lab.fingerprint import fingerprint_of
from companion.lab.replay import Replayed
from companion.lab.reproduce import basis_of_today, reproduce
from companion.lab.results import read_result
from companion.lab.verified import Standing, standing, standing_of, verified_records
from companion.press.cards import figure_block, run_box
from companion.press.ledger import Findings
from companion.press.recorded import records_table
from companion.press.supervision import Supervisor
from tests.lab.small_record import doctor, keep
from tests.lab.tiny_run import NAME

COMMIT = "0123456789ab"


@pytest.fixture
def record(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only record, of a clean checkout; replays are computed in this process."""
    path = keep(tmp_path / "book", monkeypatch)
    monkeypatch.setattr(verify, "BOOK", tmp_path / "book")
    monkeypatch.setattr(verify, "commit", lambda: COMMIT)

    def here(part: verify.Drawn, seed: int, supervisor: Supervisor) -> Replayed:
        return verify.replayed(part.record.experiment, seed)

    monkeypatch.setattr(verify, "_in_a_process", here)
    return path


def command(*words: str) -> int:
    """The exit code of `companion verify` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["companion", "verify", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
    return int(ended.value.code or 0)


def test_what_agrees_is_told_and_noted_only_if_asked(
    record: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "table.json"
    assert command("--seed", "3", "--json", str(file)) == 0
    said = capsys.readouterr()
    head, row = said.out.splitlines()[:2]
    assert "largest difference  allowed  seconds  computed again" in head
    assert row.split()[:4] == [NAME, "agrees", "0", "1.5e-07"]
    assert "steps 3 of 5" in row
    assert "not compared are farthest, distance, " in said.out
    assert "'companion verify --seed 3' draws the same parts" in said.err
    (told,) = json.loads(file.read_text())["records"]
    assert (told["record"], told["outcome"], told["seed"]) == (NAME, "agrees", 3)
    assert verified_records() == {}
    assert command(NAME, "--seed", "3", "--write") == 0
    noted = verified_records()[NAME]
    assert (noted.commit, noted.seed, noted.largest) == (COMMIT, 3, 0.0)
    assert noted.sha256 == file_hash(record)
    assert noted.recomputed == told["recomputed"]


def test_a_mismatch_is_exit_code_1_and_takes_back_what_was_noted(
    record: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command("--write") == 0
    assert NAME in verified_records()

    def change(payload: dict) -> None:
        array = payload["found"]["arrays"]["misfit"]
        array["items"] = [1.01 * item for item in array["items"]]

    doctor(record, change)
    file = tmp_path / "table.json"
    assert command("--write", "--json", str(file)) == 1
    assert " differs " in capsys.readouterr().out
    (told,) = json.loads(file.read_text())["records"]
    assert (told["outcome"], told["where"]) == ("differs", "misfit")
    assert verified_records() == {}


def test_an_infinite_difference_is_json_too() -> None:
    row = Replayed(NAME, "differs", 0, "all of it", largest=np.inf, where="a", compared=1)
    assert json.loads(verify.told([row], 0))["records"][0]["largest"] == "inf"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["du2019/figur1"], "there is no record 'du2019/figur1'"),
        (["--seed", "-1"], "seed is -1; it must be at least 0."),
        (["--json", "."], "it is a folder"),
    ],
)
def test_bad_words_are_exit_code_2(
    record: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert command(*words) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("commit", "sentence"),
    [
        (f"{COMMIT}+changes", f"this checkout is {COMMIT}\\+changes; commit the changes"),
        ("unknown (git cannot be run)", "--write needs a git checkout"),
    ],
)
def test_only_a_commit_can_be_noted(
    record: Path, monkeypatch: pytest.MonkeyPatch, commit: str, sentence: str
) -> None:
    monkeypatch.setattr(verify, "commit", lambda: commit)
    with pytest.raises(InputError, match=sentence):
        verify.verify(seed=0, write=True)
    assert verified_records() == {}


def test_a_bad_record_is_refused_before_anything_is_computed(
    record: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_text("{}")
    assert command() == 2
    assert "damaged" in capsys.readouterr().err
    assert counted == []


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    runs: list[str] = []

    def run(settings: object, device: str) -> xr.Dataset:
        runs.append(device)
        raise AssertionError

    monkeypatch.setattr(load(NAME), "run", run)
    return runs


def test_a_process_tells_its_row_its_refusal_or_its_failure(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = verify.draw_replay(read_result(keep(tmp_path / "book", monkeypatch)), 0)
    row = Replayed(NAME, "agrees", 0, "all of it", compared=3, skipped={"a": "b"})
    answers = {
        0: json.dumps(dataclasses.asdict(row)),
        1: "the replay of x failed: KeyError: 'y'",
        2: "It is not so.",
    }
    monkeypatch.setattr(verify, "CACHE", tmp_path)
    for code, error in ((0, None), (1, BuildError), (2, InputError)):
        given = {}

        def run(
            self: Supervisor, words: list[str], log: Path, environment: dict, code: int = code
        ) -> tuple[int, str]:
            given.update(environment)  # noqa: B023
            return code, answers[code]

        monkeypatch.setattr(Supervisor, "run", run)
        with Supervisor() as supervisor:
            if error is None:
                assert verify._in_a_process(part, 0, supervisor) == row
            else:
                with pytest.raises(error, match=answers[code].split(":")[0]):
                    verify._in_a_process(part, 0, supervisor)
        assert given["OMP_NUM_THREADS"] == "1"
        assert given["COMPANION_PRODUCT"] == part.record.provenance["product"]


def noted(record: Path) -> Standing:
    """How the record stands once a replay by today's code has agreed with it."""
    found = read_result(record)
    entry = verified.Verified(
        file_hash(record), COMMIT, "2026-11-26", 3, "steps 3 of 5", 0.0, "", 1e-7,
        fingerprint_of(basis_of_today(found)), 2e9,
    )  # fmt: skip
    verified.note_verified({NAME: entry})
    return standing(found)


def state_of(record: Path) -> str:
    return standing(read_result(record)).state


def test_a_record_is_current_then_stale_then_verified(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert standing(read_result(record)).against is None
    assert "verified" not in standing(read_result(record)).words
    stands = noted(record)
    assert stands.state == "current"
    assert f"verified against commit `{COMMIT}` on 2026-11-26." in stands.words
    source = "source companion.lab.sweep:sweep"
    doctor(record, lambda payload: payload["basis"].update({source: "older"}))
    assert state_of(record) == "stale"  # what was verified was another file
    stands = noted(record)
    assert (stands.state, stands.why) == ("verified", (f"{source} changed",))
    assert "though its source has changed since" in stands.words
    monkeypatch.setattr(status, "experiments", lambda: [NAME])
    (told,) = status.records_status()
    assert (told.state, told.why) == ("verified", stands.why)
    with monkeypatch.context() as patch:  # a later change of the code
        later = {**basis_of_today(read_result(record)), source: "newer"}
        patch.setattr(verified, "basis_of_today", lambda record: later)
        assert state_of(record) == "stale"
    with monkeypatch.context() as patch:  # the paper's scale is another by now
        patch.setattr(load(NAME), "PAPER", load(NAME).PAPER.override({"steps": 6}))
        assert noted(record).state == "stale"


def test_a_damaged_list_is_named(record: Path) -> None:
    noted(record)
    verified.verified_path().write_text("{}")
    with pytest.raises(InputError, match=r"verified\.json is damaged"):
        standing(read_result(record))


def test_pages_and_claims_tell_how_a_record_stands(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert noted(record).state == "current"
    shown = profiled(read_result(record), "paper")
    with monkeypatch.context() as patch:  # a site is built without importing experiments
        patch.setattr(sys.modules[reproduce.__module__], "load", None)
        stands = standing_of(shown)
    assert stands is not None
    run_here = dataclasses.replace(shown, provenance={**shown.provenance, "created": "2027"})
    assert standing_of(run_here) is None
    words = {"alt": "Alt.", "caption": "Caption."}
    assert stands.words in figure_block("page", "du2019-x", shown, words, stands)
    assert stands.words in run_box(shown, stands)
    assert "Recorded" not in figure_block("page", "du2019-x", shown, words) + run_box(shown)
    findings = Findings({"page": [shown]}, standings={shown.fingerprint: stands})
    row = records_table(findings).splitlines()[-1]
    assert f"`{NAME}`, current |" in row
    assert f"`{COMMIT}`: steps 3 of 5 |" in row
    assert f"| {float(shown.provenance['flop']) / 1e9:,.0f} GFLOP in " in row
    assert stands.told == {
        "state": "current",
        "recorded_at": shown.provenance["commit"],
        "recorded_on": str(shown.provenance["created"])[:10],
        "verified_against": COMMIT,
        "verified_on": "2026-11-26",
    }
