"""The benchmark's table and its programs. What is timed is never judged here, only what is told."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import table, targets, turns
from benchmarks.harness.targets import PEERS, TARGETS, Program, Target
from benchmarks.harness.turns import Row, Side
from companion import __main__
from companion.base.files import read_checked
from companion.base.paths import PROJECT
from companion.errors import BuildError, InputError

TOYS: dict[str, dict[str, Any]] = {
    "gram": {"n": 8, "d": 5, "m": 6, "depth": 3},
    "infinite": {"n": 8, "d": 5, "depth": 3},
    "step": {"n": 8, "d": 5, "m": 6, "depth": 3, "step_size": 0.01, "steps": 3},
    "recorded": {"n": 8, "d": 5, "m": 6, "depth": 3, "step_size": 0.01, "steps": 3},
    "fleet": {"n": 8, "d": 5, "m": 6, "depth": 3, "networks": 2, "alpha": 0.5}
    | {"step_size": 0.01, "steps": 3},
}


def toys(in_peers: bool) -> list[Target]:
    """Every pair of programs that the table compares, once, at a size of no weight."""
    pairs = {(t.work, t.ours, t.peer) for t in TARGETS if t.peer.in_peers == in_peers}
    return [
        Target(work, ours, peer, TOYS[work], None) for work, ours, peer in sorted(pairs, key=str)
    ]


def side(*seconds: float, check: tuple[float, ...] = (1.0,), **told: Any) -> Side:
    return Side(seconds, len(seconds), check, 2**30, {"peer": "1.2"}, **told)


def row(ours: Side, peer: Side, **changes: Any) -> Row:
    program = Program("ours/one", "companion"), Program("peers/other", "other")
    target = Target("work", *program, {"n": 3, "d": 4, "depth": 5}, 2.0)
    return Row(dataclasses.replace(target, **changes), ours, peer)


def test_a_ratio_is_the_median_over_rounds_of_pairs_taken_in_turn() -> None:
    ours, peer = side(1.0, 10.0, 1.0), side(3.0, 20.0, 5.0)
    assert row(ours, peer).ratio == 3.0
    assert row(ours, peer, measure="time").ratio == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("measure", "bound", "met"),
    [
        ("speed-up", 2.0, True),
        ("speed-up", 2.1, False),
        ("share", 2.0, True),
        ("time", 0.5, True),
        ("time", 0.49, False),
        ("speed-up", None, None),
    ],
)
def test_a_target_is_met_at_its_bound(measure: str, bound: float | None, met: bool | None) -> None:
    assert row(side(1.0), side(2.0), measure=measure, bound=bound).met is met


def test_memory_is_part_of_a_target() -> None:
    assert row(side(1.0), side(2.0), memory=2**30 + 1).met
    assert not row(side(1.0), side(2.0), memory=2**30).met


def test_the_table_says_sizes_times_versions_ratios_and_targets() -> None:
    roof = side(2.0, check=(), flops=4 * 10**9, detail="oneDNN")
    shown = table.table(
        [
            row(side(1.0), side(3.0)),
            row(side(4.0), roof, measure="share", bound=0.6, memory=2**32),
            row(side(1.0), side(1.0), measure="time", bound=1.05),
        ]
    ).splitlines()
    assert re.split(r"  +", shown[1]) == [
        "work", "3, 4, inf, 5", "1000", "3000", "other (peer 1.2)", "3x", ">= 2x", "yes",
    ]  # fmt: skip
    assert "other (peer 1.2, oneDNN, 2 GFLOP/s)" in shown[2]
    assert shown[2].endswith("50 %, 1.00 GiB  >= 60 %, < 4 GiB  NO")
    assert re.search(r"1x +<= 1.05x +yes$", shown[3])


def test_sides_that_compute_different_things_get_no_ratio() -> None:
    target = TARGETS[0]
    turns._row(target, side(1.0, check=(1.0, 0.0)), side(1.0, check=(1.0001, 1e-5)))
    with pytest.raises(BuildError, match="the sides disagree"):
        turns._row(target, side(1.0, check=(1.0, 0.0)), side(1.0, check=(1.01, 0.0)))
    with pytest.raises(BuildError, match="the sides disagree"):
        turns._row(target, side(1.0, check=(1.0,)), side(1.0, check=(float("nan"),)))


def test_names_are_unique_and_select_by_their_beginning() -> None:
    names = [target.name for target in TARGETS]
    assert len(set(names)) == len(names)
    chosen = targets.select(["fleet", "gram-256-torch"])
    assert [t.name for t in chosen if t.work == "gram"] == ["gram-256-torch.func"]
    assert sum(t.work == "fleet" for t in chosen) == 3


def test_the_harness_needs_no_torch() -> None:
    program = (
        "import sys; from benchmarks.harness import table, turns; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_programs_are_there() -> None:
    for target in TARGETS:
        for program in (target.ours, target.peer):
            assert (targets.PROGRAMS / f"{program.path}.py").is_file()


def test_the_peers_are_pinned() -> None:
    pins = (targets.PROGRAMS / "peers" / "requirements.txt").read_text().splitlines()
    wanted = [pin for pin in pins if not pin.startswith("#")]
    assert "neural-tangents==0.6.5" in wanted
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in wanted)


def test_threads_are_set_and_settings_that_slow_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    told = turns.environment(3)
    assert told["OMP_NUM_THREADS"] == told["OPENBLAS_NUM_THREADS"] == "3"
    assert "OPENBLAS_CORETYPE" not in told


def run_bench(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `companion bench`."""
    monkeypatch.setattr(sys, "argv", ["companion", "bench", *words])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "gram-256-neural-tangent-"], "did you mean 'gram-256-neural-tangents'?"),
        (["--only", "step", "--device", "tpu"], "there is no device 'tpu'"),
        (["--only", "step", "--rounds", "0"], "must be at least 1"),
        (["--only", "step", "--json", "no/such/folder/out.json"], "there is no folder"),
        ([], "'make bench' creates it"),
        (["--only", "infinite"], "'make bench' creates it"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(targets, "PEERS", tmp_path / "python")
    monkeypatch.setattr(turns, "measure", lambda *_, **__: pytest.fail("something was measured"))
    assert run_bench(*words, monkeypatch=monkeypatch) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert not told.out


def test_rows_that_need_no_peers_are_measured_without_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(targets, "PEERS", tmp_path / "python")
    assert len(targets.select(["fleet"])) == 3
    on_cuda = targets.select(device="cuda")
    assert on_cuda
    assert not any(target.peer.in_peers for target in on_cuda)
    with pytest.raises(InputError, match="no benchmark 'infinite'"):
        targets.select(["infinite"], device="cuda")


@pytest.mark.parametrize(
    ("bound", "code"), [(1e-9, 0), (1e9, 1), (None, 0)], ids=["met", "missed", "no target"]
)
def test_what_was_measured_is_shown_written_and_told_by_the_exit_code(
    bound: float | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    target = dataclasses.replace(TARGETS[0], bound=bound)
    measured = Row(target, side(1.0), side(2.0))
    monkeypatch.setattr(targets, "TARGETS", [target])
    monkeypatch.setattr(targets, "PEERS", Path(sys.executable))
    monkeypatch.setattr(turns, "measure", lambda *_, **__: [measured])
    out = tmp_path / "out.json"
    assert run_bench("--json", str(out), monkeypatch=monkeypatch) == code
    assert "2x" in capsys.readouterr().out
    told = read_checked(out)
    assert told["provenance"]["commit"]
    assert told["rows"][0]["ratio"] == 2.0
    assert told["rows"][0]["ours"]["seconds"] == [1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is a single repetition."""
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)


@pytest.mark.slow
def test_both_sides_compute_the_same_and_a_failure_costs_its_own_rows_only(no_time: None) -> None:
    said: list[str] = []
    wanted = toys(in_peers=False)
    broken = Target("gram", targets.GRAM, targets.TORCH_STEP, TOYS["gram"] | {"n": 9}, None)
    rows = turns.measure([broken, *wanted], rounds=2, cores=1, say=said.append)
    assert [row.target for row in rows] == wanted, said
    assert "peers/torch_step failed: KeyError: 'step_size'" in " ".join(said)
    assert all(len(row.ours.seconds) == len(row.peer.seconds) == 2 for row in rows)
    assert all(row.ratio > 0 and row.peer.versions for row in rows)
    json.dumps(table.told(rows, device="cpu", cores=1), allow_nan=False)


@pytest.mark.slow
@pytest.mark.skipif(not PEERS.is_file(), reason="'make bench' creates the peers' environment")
def test_the_peers_of_another_environment_compute_the_same(no_time: None) -> None:
    said: list[str] = []
    wanted = toys(in_peers=True)
    rows = turns.measure(wanted, rounds=1, cores=1, say=said.append)
    assert [row.target for row in rows] == wanted, said


def test_make_bench_makes_the_environment_that_is_asked_for() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert "bench: .venv/installed .venv-peers/installed" in makefile
    assert PEERS.relative_to(PROJECT).parts[0] == ".venv-peers"
