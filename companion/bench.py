"""The benchmark: every promise of speed as a ratio to a peer, both sides measured in one run.

The programs lie in `tests/benchmarks`. Each runs in a process of its own and measures when told to,
so that the sides of a comparison take turns and the machine's moods hit them alike; each says what
it computed in a few numbers, and sides that disagree get no ratio. Nothing here imports torch.
"""

import contextlib
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

from companion import __version__
from companion.base.machine import processor
from companion.base.paths import PROJECT
from companion.errors import BuildError, InputError, one_of
from companion.lab.provenance import commit

PROGRAMS = PROJECT / "tests" / "benchmarks"
PEERS = PROJECT / ".venv-peers" / "bin" / "python"
# Seconds that one side measures before the other has its turn; a single repetition may take longer.
TURN_SECONDS = 0.4
# Before a turn: the threads of the side that had the last one spin for a while before they sleep.
PAUSE_SECONDS = 0.5
# Load from which on another program is suspected of running beside.
BUSY = 0.5
# What two sides computed in float32 may differ by.
AGREEMENT = 1e-3
GIB = 2**30

Case = Mapping[str, Any]
# How a time compares with the peer's: how often it goes into it, which share of the machine's best
# speed it reaches, or how much of the peer's time it takes.
Measure = Literal["speed-up", "share", "time"]


@dataclass(frozen=True)
class Program:
    """One side of a comparison.

    Attributes:
        path: below `tests/benchmarks`, without `.py`.
        label: what it stands for, in the table and in the names of targets.
        in_peers: whether it runs in the peers' environment; then it knows no CUDA.
    """

    path: str
    label: str
    in_peers: bool = False


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        work: what is computed.
        ours: this project's program.
        peer: the program it is compared with.
        case: sizes and settings, the same for both.
        bound: least speed-up or share, most time; None where nothing is promised.
        measure: what the bound is on.
        memory: most bytes that our process may take.
    """

    work: str
    ours: Program
    peer: Program
    case: Case
    bound: float | None
    measure: Measure = "speed-up"
    memory: float | None = None

    @property
    def name(self) -> str:
        """What `--only` selects by, e.g. `gram-256-neural-tangents`."""
        return f"{self.work}-{self.case['n']}-{self.peer.label}"


GRAM = Program("ours/empirical_gram", "companion")
INFINITE = Program("ours/infinite_width", "companion")
STEP = Program("ours/step", "bare step")
RECORDED = Program("ours/step_recorded", "companion")
FLEET = Program("ours/fleet", "companion")
PRODUCT = Program("peers/torch_product", "best product")
TORCH_FUNC = Program("peers/torch_func_gram", "torch.func")
TORCH_STEP = Program("peers/torch_step", "torch.optim.SGD")
TORCH_FLEET = Program("peers/torch_fleet", "torch.optim.SGD")
JAX_STEP = Program("peers/jax_step", "jax.jit", in_peers=True)
TANGENTS = Program("peers/neural_tangents_gram", "neural-tangents", in_peers=True)
TANGENTS_INFINITE = Program("peers/neural_tangents_infinite", "neural-tangents", in_peers=True)

_GRAMS: list[Case] = [
    {"n": 256, "d": 784, "m": 512, "depth": 5},
    {"n": 512, "d": 784, "m": 256, "depth": 15},
    {"n": 1000, "d": 784, "m": 1000, "depth": 5},
    {"n": 2000, "d": 784, "m": 500, "depth": 5},
]
_LARGE_GRAM: Case = {"n": 9943, "d": 784, "m": 256, "depth": 15}
_INFINITE: list[Case] = [
    {"n": 512, "d": 784, "depth": 15},
    {"n": 2000, "d": 784, "depth": 5},
]
_STEPS: list[Case] = [
    {"n": n, "d": 784, "m": m, "depth": 15, "step_size": 1e-4, "steps": steps}
    for n, m, steps in [(2000, 500, 5), (9943, 256, 5), (4000, 1000, 3)]
]
# Five trained matrices: four hidden layers and the output weights.
_FLEETS: list[tuple[Case, float]] = [
    (
        {"networks": networks, "n": n, "d": 3072, "m": m, "depth": 4, "alpha": 0.5}
        | {"step_size": 1e-3, "steps": steps},
        bound,
    )
    for networks, n, m, steps, bound in [
        (40, 100, 8, 100, 30),
        (40, 1000, 12, 40, 10),
        (20, 10000, 24, 4, 4),
    ]
]

TARGETS = (
    *(Target("gram", GRAM, TANGENTS, case, 2) for case in _GRAMS),
    *(Target("gram", GRAM, TORCH_FUNC, case, 500) for case in _GRAMS[:2]),
    *(Target("gram", GRAM, PRODUCT, case, None, "share") for case in _GRAMS),
    Target("gram", GRAM, PRODUCT, _LARGE_GRAM, 0.6, "share", memory=4 * GIB),
    *(Target("infinite", INFINITE, TANGENTS_INFINITE, case, 5) for case in _INFINITE),
    *(Target("step", STEP, TORCH_STEP, case, 1.8) for case in _STEPS),
    *(Target("step", STEP, JAX_STEP, case, 1.25) for case in _STEPS),
    *(Target("recorded", RECORDED, STEP, case, 1.05, "time") for case in _STEPS),
    *(Target("fleet", FLEET, TORCH_FLEET, case, bound) for case, bound in _FLEETS),
)


@dataclass(frozen=True)
class Side:
    """What one program measured on one case.

    Attributes:
        seconds: the median of each round.
        repetitions: how many in all.
        check: what it computed, in a few numbers.
        peak_bytes: the most memory its process, or its GPU, held after the first run.
        versions: of the packages it stands for, the leading one first.
        detail: what else it says about itself.
        flops: of the work, where the program counts them.
    """

    seconds: tuple[float, ...]
    repetitions: int
    check: tuple[float, ...]
    peak_bytes: int
    versions: Mapping[str, str]
    detail: str = ""
    flops: int | None = None


@dataclass(frozen=True)
class Row:
    """A target and what was measured for it."""

    target: Target
    ours: Side
    peer: Side

    @property
    def ratio(self) -> float:
        """Speed-up, share or time, as the target's measure says: the median over rounds."""
        pairs = zip(self.ours.seconds, self.peer.seconds, strict=True)
        if self.target.measure == "time":
            return statistics.median(ours / peer for ours, peer in pairs)
        return statistics.median(peer / ours for ours, peer in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None where nothing is promised."""
        target = self.target
        if target.bound is None:
            return None
        small = target.memory is None or self.ours.peak_bytes < target.memory
        fast = (
            self.ratio <= target.bound if target.measure == "time" else self.ratio >= target.bound
        )
        return fast and small


def select(only: Sequence[str] = (), device: str = "cpu") -> list[Target]:
    """The targets to measure: whose names start with one of `only`, or all if it is empty.

    On cuda those beside a peer that knows no CUDA are left out.

    Raises:
        InputError: one of `only` begins no name; or the programs, or the peers' environment where
            a target needs it, are not here.
    """
    possible = [t for t in TARGETS if device == "cpu" or not t.peer.in_peers]
    names = [target.name for target in possible]
    for name in only:
        if not any(known.startswith(name) for known in names):
            one_of("benchmark", name, names)
    chosen = [t for t in possible if not only or t.name.startswith(tuple(only))]
    if not PROGRAMS.is_dir():
        raise InputError("the benchmark's programs are in the repository; run it in a checkout.")
    if any(target.peer.in_peers for target in chosen) and not PEERS.is_file():
        raise InputError(
            "the peers' environment .venv-peers is missing; 'make bench' creates it, or choose "
            "rows that need none with --only."
        )
    return chosen


def measure(
    targets: Iterable[Target],
    *,
    device: str = "cpu",
    rounds: int,
    cores: int,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Measure targets; those of one case together, so that a program runs once per case.

    Args:
        targets: what to measure.
        device: `cpu` or `cuda`.
        rounds: how often every side has its turn.
        cores: cores of the CPU that programs may use.
        say: told about progress and failures, a line at a time.

    Returns:
        A row per target, in their order; none where a program failed or the sides disagree.
    """
    busy = os.getloadavg()[0]
    if busy > BUSY:
        say(f"other work runs on this machine (load {busy:.1f}): timings will be disturbed")
    groups: dict[str, list[Target]] = {}
    wanted = list(targets)
    for target in wanted:
        groups.setdefault(json.dumps(target.case, sort_keys=True), []).append(target)
    rows: list[Row] = []
    for number, group in enumerate(groups.values(), start=1):
        sides = list(dict.fromkeys(side for t in group for side in (t.ours, t.peer)))
        labels = ", ".join(side.label for side in sides)
        say(f"[{number}/{len(groups)}] {group[0].work}, {_sizes(group[0].case)}: {labels}")
        case = {**group[0].case, "device": device, "cores": cores, "budget": TURN_SECONDS}
        try:
            measured = _take_turns(sides, case, rounds)
            rows += [_row(t, measured[t.ours], measured[t.peer]) for t in group]
        except BuildError as error:
            say(f"  {error}")
    return sorted(rows, key=lambda row: wanted.index(row.target))


def _row(target: Target, ours: Side, peer: Side) -> Row:
    """A row, if both sides computed the same; a side without numbers is only a clock."""
    if ours.check and peer.check:
        scale = max(map(abs, peer.check))
        pairs = zip(ours.check, peer.check, strict=True)
        if not all(math.isclose(*p, rel_tol=AGREEMENT, abs_tol=AGREEMENT * scale) for p in pairs):
            raise BuildError(
                f"{target.name}: the sides disagree, {ours.check} and {peer.check}; no ratio."
            )
    return Row(target, ours, peer)


def _take_turns(sides: Sequence[Program], case: Case, rounds: int) -> dict[Program, Side]:
    with contextlib.ExitStack() as stack:
        running: dict[Program, _Running] = {}
        told: dict[Program, dict[str, Any]] = {}
        for side in sides:  # one by one, as a side may measure the machine to make its choices
            running[side] = stack.enter_context(_running(side, case))
            told[side] = running[side].read()
        turns: dict[Program, list[list[float]]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, process in running.items():
                time.sleep(PAUSE_SECONDS)
                turns[side].append(process.take_turn())
    return {side: _side(told[side], turns[side]) for side in sides}


def _side(told: Mapping[str, Any], turns: Sequence[Sequence[float]]) -> Side:
    return Side(
        seconds=tuple(statistics.median(turn) for turn in turns),
        repetitions=sum(map(len, turns)),
        **{**told, "check": tuple(told["check"])},
    )


@contextlib.contextmanager
def _running(program: Program, case: Case) -> Iterator["_Running"]:
    """A program at work in a process of its own, for as long as the context lasts."""
    python = str(PEERS) if program.in_peers else sys.executable
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [python, str(PROGRAMS / f"{program.path}.py"), json.dumps(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(case["cores"]),
        ) as process,
    ):
        try:
            yield _Running(program, process, errors)
        finally:
            process.kill()


@dataclass(frozen=True)
class _Running:
    """A conversation with a program: a line in is a turn to take, a line out what it says."""

    program: Program
    process: "subprocess.Popen[str]"
    errors: IO[str]

    def take_turn(self) -> list[float]:
        """Seconds of each repetition of one turn."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        seconds: list[float] = self.read()["seconds"]
        return seconds

    def read(self) -> dict[str, Any]:
        """The next line the program says.

        Raises:
            BuildError: it stopped instead; with the last line it complained with.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().splitlines() or ["nothing was said"]
            raise BuildError(f"{self.program.path} failed: {lines[-1]}")
        told: dict[str, Any] = json.loads(line)
        return told


def environment(cores: int) -> dict[str, str]:
    """Variables of the programs: so many threads, and no setting of the machine's that slows."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("OPENBLAS_")}
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**kept, **dict.fromkeys(threads, str(cores)), "PYTHONPATH": str(PROGRAMS)}


def cores_here() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned."""
    head = ("work", "n, d, m, depth", "ours ms", "peer ms", "peer", "measured", "target", "met")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    target, ours, peer = row.target, row.ours, row.peer
    measured, wanted = _worded(target.measure, row.ratio), "-"
    if target.bound is not None:
        wanted = ("<= " if target.measure == "time" else ">= ") + _worded(
            target.measure, target.bound
        )
    if target.memory is not None:
        measured += f", {ours.peak_bytes / GIB:.2f} GiB"
        wanted += f", < {target.memory / GIB:.3g} GiB"
    return (
        target.work,
        _sizes(target.case),
        _milliseconds(ours),
        _milliseconds(peer),
        _peer(target.peer, peer),
        measured,
        wanted,
        {True: "yes", False: "NO", None: ""}[row.met],
    )


def _worded(measure: Measure, ratio: float) -> str:
    return f"{100 * ratio:.0f} %" if measure == "share" else f"{ratio:.3g}x"


def _milliseconds(side: Side) -> str:
    return f"{1000 * statistics.median(side.seconds):.4g}"


def _peer(program: Program, side: Side) -> str:
    package, version = next(iter(side.versions.items()))
    told = [f"{package} {version}" if package != program.label else version]
    if side.flops is not None:
        told += [side.detail, f"{side.flops / statistics.median(side.seconds) / 1e9:.0f} GFLOP/s"]
    return f"{program.label} ({', '.join(told)})"


def _sizes(case: Case) -> str:
    sizes = ", ".join(str(case.get(name, "inf")) for name in ("n", "d", "m", "depth"))
    return f"{case['networks']} of {sizes}" if "networks" in case else sizes


def told(rows: Sequence[Row], *, device: str, cores: int) -> dict[str, Any]:
    """The rows and where they were measured, fit for JSON."""
    return {
        "provenance": {
            "commit": commit(),
            "companion": __version__,
            "python": platform.python_version(),
            "processor": processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "device": device,
            "cores": cores,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "rows": [
            {"name": row.target.name, **asdict(row), "ratio": row.ratio, "met": row.met}
            for row in rows
        ],
    }
