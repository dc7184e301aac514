"""The sides of a comparison take turns, each in a process of its own."""

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from benchmarks.harness.conditions import Conditions, competitor, environment
from benchmarks.harness.targets import PEERS, PROGRAMS, Case, Program, Target
from companion.errors import BuildError

# Seconds that one side measures before the other has its turn; a single repetition may take longer.
TURN_SECONDS = 0.4
# Before a turn: the threads of the side that had the last one spin for a while before they sleep.
PAUSE_SECONDS = 0.5
# Load from which on another program is suspected of running beside.
LOADED = 0.5
# What two sides computed in float32 may differ by.
AGREEMENT = 1e-3


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
        bound, memory = self.target.bound, self.target.memory
        if bound is None and memory is None:
            return None
        small = memory is None or self.ours.peak_bytes < memory
        if bound is None:
            return small
        fast = self.ratio <= bound if self.target.measure == "time" else self.ratio >= bound
        return fast and small


def measure(
    targets: Iterable[Target],
    here: Conditions,
    *,
    rounds: int,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Measure targets; those of one case together, so that a program runs once per case.

    Args:
        targets: what to measure.
        here: the conditions under which they are to run.
        rounds: how often every side has its turn.
        say: told about progress and failures, a line at a time.

    Returns:
        A row per target, in their order; none where a program failed or the sides disagree.
    """
    load = os.getloadavg()[0]  # no competitor of ours runs yet
    if load > LOADED:
        say(f"other work runs on this machine (load {load:.1f}): timings will be disturbed")
    groups: dict[str, list[Target]] = {}
    wanted = list(targets)
    for target in wanted:
        groups.setdefault(json.dumps(target.case, sort_keys=True), []).append(target)
    rows: list[Row] = []
    for number, group in enumerate(groups.values(), start=1):
        sides = list(dict.fromkeys(side for t in group for side in (t.ours, t.peer)))
        labels = ", ".join(side.label for side in sides)
        say(f"[{number}/{len(groups)}] {group[0].work}, {group[0].sizes}: {labels}")
        case = {**group[0].case, "device": here.device, "cores": here.cores}
        case["budget"] = TURN_SECONDS
        try:
            measured = _take_turns(sides, case, rounds, here.busy)
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


def _take_turns(
    sides: Sequence[Program], case: Case, rounds: int, busy: int
) -> dict[Program, Side]:
    with contextlib.ExitStack() as stack:
        running: dict[Program, _Running] = {}
        told: dict[Program, dict[str, Any]] = {}
        for side in sides:  # one by one, as a side may measure the machine to make its choices
            running[side] = stack.enter_context(_running(side, case))
            told[side] = running[side].read()
        turns: dict[Program, list[list[float]]] = {side: [] for side in sides}
        # Not earlier, as what a side chooses on a disturbed machine is kept for good.
        for _ in range(busy):
            stack.enter_context(competitor(case["cores"]))
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
