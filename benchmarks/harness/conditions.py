"""Under which conditions sides run: cores, what else runs, and the processor's instructions."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness.targets import PROGRAMS, Condition
from companion.base.paths import PROJECT
from companion.errors import BuildError, InputError

# What keeps torch, oneDNN and MKL from instructions; that of oneDNN binds the one in jax, too.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


@dataclass(frozen=True)
class Conditions:
    """Those of one run of the benchmark.

    Attributes:
        device: `cpu` or `cuda`.
        cores: of the CPU, that programs may use.
        busy: how many of them another process keeps busy during every turn.
        instructions: the set of the CPU's that torch uses.
    """

    device: str
    cores: int
    busy: int
    instructions: str

    @property
    def kind(self) -> Condition:
        """Which bounds there are; those of a GPU do not depend on what the CPU knows."""
        if self.busy:
            return "busy"
        wide = self.device == "cuda" or self.instructions.startswith("AVX512")
        return "quiet" if wide else "no AVX-512"


def instructions_here(cores: int) -> str:
    """The set of instructions that torch uses in our programs, e.g. `AVX512`.

    Raises:
        InputError: some libraries are allowed less than others, so that sides would not be alike.
    """
    given = limits()
    if given and len(given) < len(LIMITS):
        raise InputError(
            f"of {', '.join(LIMITS)} only {' and '.join(given)} is set; set all or none, so that "
            "all sides use the same instructions."
        )
    words = [sys.executable, str(PROGRAMS / "instructions.py")]
    said = subprocess.run(words, env=environment(cores), stdout=subprocess.PIPE, check=True).stdout
    used: str = json.loads(said)["torch"]
    return used


def limits() -> dict[str, str]:
    """What of the processor libraries are allowed to use, where variables say so."""
    return {name: os.environ[name] for name in LIMITS if name in os.environ}


@contextlib.contextmanager
def competitor(cores: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that keeps one of the sides' cores busy, for as long as the context lasts."""
    program = PROGRAMS / "competitor.py"
    with subprocess.Popen(
        [sys.executable, str(program), str(os.getpid()), str(cores)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(cores),
    ) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise BuildError("the process that was to keep a core busy has ended.")
            yield process
        finally:
            process.kill()


def environment(cores: int) -> dict[str, str]:
    """Variables of the programs: so many threads, and no setting of the machine's that slows."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("OPENBLAS_")}
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    sources = os.pathsep.join([str(PROGRAMS), str(PROJECT)])
    return {**kept, **dict.fromkeys(threads, str(cores)), "PYTHONPATH": sources}


def cores_here() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
