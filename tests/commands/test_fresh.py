"""`companion run ... --fresh N` and `companion fresh`: what they print, write, leave and refuse."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import psutil
import pytest

from companion import __main__
from companion.commands import fresh
from companion.commands.fresh import Gathered
from companion.errors import BuildError
from companion.lab import provenance
from companion.lab.fresh import Family, identity_of

# Of one claim each, which takes no second to run.
NAME, CLAIM = "zou2018/data_separation", "zou2018-ass3.5"
OTHER, OTHERS_CLAIM = "zou2018/polynomials", "zou2018-thm4.1-poly"
TINY = ["--set", "counts=[8,12]", "--set", "seeds=1"]


@pytest.fixture
def counts(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's counts are kept."""
    path = tmp_path / "fresh.json"
    monkeypatch.setattr(provenance, "COUNTS", path)
    monkeypatch.setattr(fresh, "CACHE", tmp_path)
    return path


@pytest.fixture
def companion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    """The command, in this process."""

    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["companion", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        told = capsys.readouterr()
        return SimpleNamespace(code=int(ended.value.code or 0), out=told.out, err=told.err)

    return run


def families(claim: str, usual: str, **others: str) -> tuple[Family, ...]:
    """Ten families with the usual outcome, but for those named, as in `k3="fails"`."""
    seeds = {k: 1_000_000 * k for k in range(1, 11)}
    return tuple(Family(seed, {claim: others.get(f"k{k}", usual)}) for k, seed in seeds.items())


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Gathered | BaseException]:
    """What the processes are to tell, instead of computing."""
    told: dict[str, Gathered | BaseException] = {}

    def gather(supervisor: object, name: str, count: int) -> Gathered:
        answer = told.pop(name)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(fresh, "_gather", gather)
    return told


def repeat_with(monkeypatch: pytest.MonkeyPatch, *given: Family) -> None:
    monkeypatch.setattr(fresh, "repeat", lambda *words: iter(given))


def test_one_family_that_flips_is_told_with_its_seed(
    counts: Path, companion: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_with(monkeypatch, *families(CLAIM, "holds", k3="fails"))
    done = companion("run", NAME, "--fresh", "10")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{NAME}, 10 times: each about ")
    assert lines[2] == "[2/10] first_seed=2000000: every verdict stays"
    assert lines[3] == f"[3/10] first_seed=3000000: {CLAIM} fails"
    assert lines[-2].endswith(f"({CLAIM}): holds in 9 of 10")
    assert lines[-1] == "  fails with first_seed 3000000"
    assert not counts.exists()


def test_two_that_flip_are_exit_code_1(
    counts: Path, companion: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Family(8_000_000, {}, "training has diverged by step 3.")
    given = [*families(CLAIM, "holds", k3="inconclusive")]
    repeat_with(monkeypatch, *given[:7], refused, *given[8:])
    done = companion("run", NAME, "--fresh", "10")
    assert done.code == 1
    assert "[8/10] first_seed=8000000: no verdict, training has diverged by step 3." in done.out
    assert "  no verdict with first_seed 8000000\n" in done.out
    assert done.out.endswith(f"\nin fewer than nine of ten: {CLAIM}\n")


def test_settings_of_one_s_own_are_repeated_for_real(
    counts: Path, companion: Callable, store: Path
) -> None:
    done = companion("run", NAME, "--fresh", "2", *TINY)
    assert (done.code, done.err) == (0, "")
    assert f"({CLAIM}): holds in 2 of 2" in done.out
    settings = [json.loads(p.read_text())["payload"]["settings"] for p in store.rglob("*.json")]
    assert sorted(each["first_seed"] for each in settings) == [0, 1_000_000, 2_000_000]


def test_a_count_is_kept_experiment_by_experiment_and_what_is_rare_is_listed(
    counts: Path, companion: Callable, gathered: dict
) -> None:
    gathered[NAME] = Gathered(identity_of(NAME), families(CLAIM, "holds", k3="fails"))
    rare = families(OTHERS_CLAIM, "fails", k1="holds", k2="holds")
    gathered[OTHER] = Gathered(identity_of(OTHER), rare)
    done = companion("fresh", OTHER, NAME, "zou2018/losses")
    assert (done.code, done.err) == (1, "")
    assert f"{OTHERS_CLAIM} stayed in 8 of 10 ({OTHER})" in done.out.splitlines()
    assert f"{CLAIM} stayed in 9 of 10 ({NAME})" not in done.out
    assert "zou2018/losses: draws nothing from seeds\n" in done.out
    told = json.loads(counts.read_text())
    assert {name: each["claims"] for name, each in told.items()} == {
        NAME: {CLAIM: {"outcome": "holds", "stayed": 9, "others": {"fails": [3_000_000]}}},
        OTHER: {
            OTHERS_CLAIM: {
                "outcome": "fails", "stayed": 8, "others": {"holds": [1_000_000, 2_000_000]}
            }
        },
    }  # fmt: skip
    again = companion("fresh", NAME)  # nothing is left to be gathered: it would raise
    assert (again.code, again.err) == (0, "")
    assert "1 of 1 experiments are counted already" in again.out


def test_what_cannot_be_counted_takes_nothing_from_the_others(
    counts: Path, companion: Callable, gathered: dict
) -> None:
    gathered[NAME] = BuildError("a process of this build ended with exit code 9 (log: it).")
    gathered[OTHER] = Gathered(identity_of(OTHER), families(OTHERS_CLAIM, "fails"))
    done = companion("fresh", NAME, OTHER)
    assert done.code == 1
    assert f"{NAME} is left out: a process of this build ended with exit code 9" in done.out
    assert list(json.loads(counts.read_text())) == [OTHER]
    gathered[NAME] = Gathered(left_out="CIFAR-10 is not here.")
    done = companion("fresh", NAME, OTHER)
    assert (done.code, done.err) == (0, "")
    assert f"{NAME} is left out: CIFAR-10 is not here." in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", NAME, "--fresh", "0"], "0 families of seeds were asked for"),
        (["run", NAME, "--fresh", "2", "--json", "out.json"], "leave --json and --figure out"),
        (["run", NAME, "--fresh", "2", "--figure", "out.svg"], "leave --json and --figure out"),
        (["run", "zou2018/losses", "--fresh", "2"], "draws nothing from seeds"),
        (["run", NAME, "--fresh", "2", "--set", "first_seed=3"], "do not set it"),
        (["run", NAME, "--fresh", "2", "--device", "tpu"], "no device 'tpu'"),
        (["run", NAME, "--fresh", "2", "--profile", "slow"], "no profile 'slow'"),
        (["fresh", "--families", "0"], "families is 0; it must be at least 1"),
        (["fresh", "--jobs", "0"], "jobs is 0; it must be at least 1"),
        (["fresh", "zou2018/polynomial"], "did you mean 'zou2018/polynomials'?"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    counts: Path, companion: Callable, store: Path, words: list[str], told: str
) -> None:
    done = companion(*words)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert done.err.count("\n") == 1
    assert not counts.exists()
    assert not store.exists()


def test_damaged_counts_are_one_sentence_and_stay(
    counts: Path, companion: Callable, gathered: dict
) -> None:
    counts.write_text("<<<<<<< HEAD")
    done = companion("fresh", NAME)
    assert done.code == 2
    assert "is not as 'companion fresh' writes it" in done.err
    assert counts.read_text() == "<<<<<<< HEAD"


@pytest.mark.slow
def test_processes_of_their_own_count_for_real(
    counts: Path, companion: Callable, store: Path
) -> None:
    done = companion("fresh", OTHER, "--families", "2")
    assert (done.code, done.err) == (0, "")
    kept = json.loads(counts.read_text())[OTHER]
    assert (kept["identity"], kept["families"]) == (identity_of(OTHER), 2)
    assert kept["claims"][OTHERS_CLAIM]["stayed"] == 2
    assert len(list(store.rglob("*.json"))) == 2
    assert not list(counts.parent.rglob("*.log"))


@pytest.mark.slow
def test_ctrl_c_ends_all_and_keeps_what_was_computed(
    counts: Path, companion: Callable, store: Path, ctrl_c: None
) -> None:
    children: list[psutil.Process] = []

    def interrupt() -> None:
        while len(list(store.rglob("*.json"))) < 3:
            time.sleep(0.2)
        children.extend(psutil.Process().children(recursive=True))
        os.kill(os.getpid(), signal.SIGINT)

    waiting = Thread(target=interrupt)
    waiting.start()
    done = companion("fresh", OTHER, "--families", "1000")
    waiting.join()
    assert (done.code, done.out) == (130, "")
    assert done.err == "companion: stopped; what was computed is kept.\n"
    assert children
    assert not psutil.wait_procs(children, timeout=30)[1]
    assert len(list(store.rglob("*.json"))) >= 3
    assert not counts.exists()
