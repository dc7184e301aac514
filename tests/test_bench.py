"""The benchmark's table and its programs. What is timed is never judged here, only what is told."""

import contextlib
import dataclasses
import importlib
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import measuring
from benchmarks.harness import conditions, table, targets, turns
from benchmarks.harness.conditions import Conditions
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
    "recorded-fleet": {"n": 8, "d": 5, "m": 6, "depth": 3, "networks": 2, "alpha": 0.5}
    | {"step_size": 0.01, "steps": 3},
    # Rounding decides the least eigenvalue of a singular matrix: these are none.
    "least": {"n": 6, "d": 8, "m": 16, "depth": 2},
    "operator": {"n": 6, "d": 8, "m": 16, "depth": 2, "tolerance": 1e-4},
    "linearised": {"n": 8, "d": 5, "m": 64, "depth": 2}
    | {"step_size": 1e-4, "steps": 3, "horizon": 5},
}

ONE_CORE = Conditions("cpu", cores=1, busy=0, instructions="AVX512")


def toys(in_peers: bool) -> list[Target]:
    """Every pair of programs that the table compares, once, at a size of no weight."""
    pairs = {(t.work, t.ours, t.peer) for t in TARGETS if t.peer.in_peers == in_peers}
    return [
        Target(work, ours, peer, TOYS[work], None) for work, ours, peer in sorted(pairs, key=str)
    ]


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is a single repetition, and the next one follows at once."""
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)
    monkeypatch.setattr(turns, "PAUSE_SECONDS", 0)


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
    assert row(side(1.0), side(2.0), memory=2**30 + 1, bound=None).met is True
    assert row(side(1.0), side(2.0), memory=2**30, bound=None).met is False


def test_the_table_says_sizes_times_versions_ratios_and_targets() -> None:
    roof = side(2.0, check=(), flops=4 * 10**9, detail="oneDNN")
    shown = table.table(
        [
            row(side(1.0), side(3.0)),
            row(side(4.0), roof, measure="share", bound=0.6, memory=2**32),
            row(side(1.0), side(1.0), measure="time", bound=1.05),
            row(side(1.0), side(1.0), measure="time", bound=None, memory=2**31),
            row(side(1.0), side(1.0), bound=None),
        ]
    ).splitlines()
    assert re.split(r"  +", shown[1]) == [
        "work", "3, 4, inf, 5", "1000", "3000", "other (peer 1.2)", "3x", ">= 2x", "yes",
    ]  # fmt: skip
    assert "other (peer 1.2, oneDNN, 2 GFLOP/s)" in shown[2]
    assert shown[2].endswith("50 %, 1.00 GiB  >= 60 %, < 4 GiB  NO")
    assert re.search(r"1x +<= 1.05x +yes$", shown[3])
    assert re.search(r"1x, 1.00 GiB +< 2 GiB +yes$", shown[4])
    assert re.search(r"1x +-$", shown[5])


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


@pytest.mark.parametrize(
    ("busy", "used", "condition"),
    [
        (0, "AVX512", "quiet"),
        (0, "AVX512_VNNI", "quiet"),
        (0, "AVX2", "no AVX-512"),
        (0, "DEFAULT", "no AVX-512"),
        (1, "AVX512", "busy"),
        (1, "AVX2", "busy"),
    ],
)
def test_bounds_are_those_of_the_condition(busy: int, used: str, condition: str) -> None:
    assert Conditions("cpu", 2, busy, used).kind == condition
    chosen = {t.name: targets.promised(t, condition) for t in TARGETS}
    known = {"quiet": (2.5, None, 0.75), "busy": (1, None, None), "no AVX-512": (2.3, 0.5, 0.5)}
    names = ("gram-256-neural-tangents", "gram-256-best product", "gram-9943-best product")
    assert tuple(chosen[name].bound for name in names) == known[condition]
    assert (chosen["gram-9943-best product"].memory is None) == (condition == "busy")
    assert (chosen["recorded-2000-bare step"].bound is None) == (condition != "quiet")


def test_on_a_gpu_the_instructions_of_the_cpu_change_no_bound() -> None:
    assert Conditions("cuda", 2, 0, "AVX2").kind == "quiet"


def test_what_is_promised_elsewhere_is_measured() -> None:
    measured = {(target.work, target.peer) for target in TARGETS}
    assert all(measured.issuperset(promises) for promises in targets.ELSEWHERE.values())


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


def test_on_a_gpu_the_clock_waits_after_the_run_and_not_within(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks, waits = itertools.count(), []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(ticks)

        def elapsed_time(self, other: "Event") -> float:
            assert waits
            return 1000.0 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    monkeypatch.syspath_prepend(str(targets.PROGRAMS))
    clock = importlib.import_module("measuring_torch").Clock({"device": "cuda"})
    clock.read()  # of another run
    clock.begin()
    for _ in range(3):
        clock.read()
    assert not waits
    assert clock.seconds() == [1.0, 1.0]


def test_the_peers_are_pinned() -> None:
    pins = (targets.PROGRAMS / "peers" / "requirements.txt").read_text().splitlines()
    wanted = [pin for pin in pins if not pin.startswith("#")]
    assert "neural-tangents==0.6.5" in wanted
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in wanted)


def test_threads_are_set_and_settings_that_slow_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    told = conditions.environment(3)
    assert told["OMP_NUM_THREADS"] == told["OPENBLAS_NUM_THREADS"] == "3"
    assert "OPENBLAS_CORETYPE" not in told


def test_a_step_counts_the_operations_that_torch_counts() -> None:
    n, d, m, depth = 7, 5, 6, 4
    x = torch.ones(n, d)
    weights = [torch.ones(m, d if k == 0 else m, requires_grad=True) for k in range(depth)]
    with FlopCounterMode(display=False) as counter:
        hidden = x
        for weight in weights:
            hidden = torch.nn.functional.linear(hidden, weight).relu()
        hidden.sum().backward()
    case = {"n": n, "d": d, "m": m, "depth": depth}
    assert measuring.step_flops(case) == counter.get_total_flops()


def test_a_competitor_is_busy_until_the_end_whatever_ends_it() -> None:
    with conditions.competitor(1) as process:
        assert process.poll() is None
    assert process.returncode is not None
    with pytest.raises(KeyboardInterrupt), conditions.competitor(1) as process:
        raise KeyboardInterrupt
    assert process.returncode is not None


def test_a_competitor_ends_when_nobody_is_left_who_started_it() -> None:
    """A benchmark that is killed leaves no process that spins for ever."""
    words = [sys.executable, str(targets.PROGRAMS / "competitor.py"), "0", "1"]
    done = subprocess.run(words, capture_output=True, text=True, env=conditions.environment(1))
    assert (done.stdout, done.returncode) == ("busy\n", 0), done.stderr


class Told:
    """A program that is not there, and says that it had its turn."""

    def __init__(self, events: list[str], fails: bool) -> None:
        self.events, self.fails = events, fails

    def read(self) -> dict[str, Any]:
        self.events.append("ready")
        return {"check": [], "peak_bytes": 1, "versions": {"one": "1"}}

    def take_turn(self) -> list[float]:
        if self.fails:
            raise KeyboardInterrupt
        self.events.append("turn")
        return [1.0]


@pytest.mark.parametrize("fails", [False, True])
def test_a_core_is_busy_during_every_turn_and_no_warning_is_said_of_it(
    fails: bool, no_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def running(*_: Any) -> Iterator[Told]:
        yield Told(events, fails)

    @contextlib.contextmanager
    def competing(cores: int) -> Iterator[None]:
        events.append(f"busy of {cores}")
        load[0] = 1.0
        try:
            yield
        finally:
            events.append("free")

    load = [0.0]
    monkeypatch.setattr(turns, "_running", running)
    monkeypatch.setattr(turns, "competitor", competing)
    monkeypatch.setattr(turns.os, "getloadavg", lambda: load)
    said: list[str] = []
    with contextlib.suppress(KeyboardInterrupt):
        here = Conditions("cpu", cores=2, busy=1, instructions="AVX2")
        turns.measure([TARGETS[0]], here, rounds=2, say=said.append)
    shared = [] if fails else ["turn"] * 4
    assert events == ["ready", "ready", "busy of 2", *shared, "free"]
    assert not any("other work" in line for line in said)


def test_instructions_are_told_and_half_a_limit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in conditions.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert conditions.instructions_here(1) == torch.backends.cpu.get_cpu_capability()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    with pytest.raises(InputError, match="only ATEN_CPU_CAPABILITY is set; set all or none"):
        conditions.instructions_here(1)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")
    assert conditions.instructions_here(1) in {"DEFAULT", "NO AVX"}
    assert conditions.limits()["MKL_ENABLE_INSTRUCTIONS"] == "SSE4_2"


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
        (["--only", "step", "--cores", "2", "--busy", "3"], "busy is 3; 0 to 2 is needed"),
        (["--only", "step", "--busy", "-1"], "busy is -1; 0 to "),
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
    for module, work in ((turns, "measure"), (conditions, "instructions_here")):
        monkeypatch.setattr(module, work, lambda *_, **__: pytest.fail("something was run"))
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
    monkeypatch.setattr(conditions, "instructions_here", lambda cores: "AVX512")
    out = tmp_path / "out.json"
    assert run_bench("--json", str(out), monkeypatch=monkeypatch) == code
    assert "2x" in capsys.readouterr().out
    told = read_checked(out)
    assert told["provenance"]["commit"]
    assert told["provenance"]["instructions"] == "AVX512"
    assert (told["provenance"]["busy"], told["provenance"]["condition"]) == (0, "quiet")
    assert told["rows"][0]["ratio"] == 2.0
    assert told["rows"][0]["ours"]["seconds"] == [1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.slow
def test_both_sides_compute_the_same_and_a_failure_costs_its_own_rows_only(no_time: None) -> None:
    said: list[str] = []
    wanted = toys(in_peers=False)
    broken = Target("gram", targets.GRAM, targets.TORCH_STEP, TOYS["gram"] | {"n": 9}, None)
    rows = turns.measure([broken, *wanted], ONE_CORE, rounds=2, say=said.append)
    assert [row.target for row in rows] == wanted, said
    assert "peers/torch_step failed: KeyError: 'step_size'" in " ".join(said)
    assert all(len(row.ours.seconds) == len(row.peer.seconds) == 2 for row in rows)
    assert all(row.ratio > 0 and row.peer.versions for row in rows)
    json.dumps(table.told(rows, ONE_CORE), allow_nan=False)


@pytest.mark.slow
@pytest.mark.skipif(not PEERS.is_file(), reason="'make bench' creates the peers' environment")
def test_the_peers_of_another_environment_compute_the_same(no_time: None) -> None:
    said: list[str] = []
    wanted = toys(in_peers=True)
    rows = turns.measure(wanted, ONE_CORE, rounds=1, say=said.append)
    assert [row.target for row in rows] == wanted, said


def test_make_bench_makes_the_environment_that_is_asked_for() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert "bench: .venv/installed .venv-peers/installed" in makefile
    assert PEERS.relative_to(PROJECT).parts[0] == ".venv-peers"
