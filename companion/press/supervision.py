"""Child processes that never outlive the process that started them.

Each child reads from a pipe that its parent holds open and never writes to. However the parent
ends, by an error, Ctrl-C, SIGTERM or SIGKILL, the pipe closes; then the child ends its own
children, kernels among them, and itself. Children are in sessions of their own, so that Ctrl-C
reaches the parent alone.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType

import psutil

from companion.errors import BuildError

# Settings of other programs that would run code in a child, or change or break what it makes.
FOREIGN = (
    "MATPLOTLIBRC",
    "MPLBACKEND",
    "PYTHONINSPECT",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "SOURCE_DATE_EPOCH",
)
# How long a child has to end its own children; after that they are all killed from here.
GRACE = 3.0


class Supervisor:
    """Starts children, from any thread, and ends those still running when its block is left."""

    def __init__(self) -> None:
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = Lock()
        self._leaving = False

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._leaving = True
            children = list(self._children)
        for child in children:
            _close_lifeline(child)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)
            if child.poll() is None:
                kill(child.pid)

    def run(
        self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a Python program that calls `end_with_parent` first, and wait for it.

        Args:
            words: what follows the interpreter on its command line.
            log: what it says on its error stream is written there.
            environment: of the child; None for this process's own.

        Returns:
            Its exit code and what it wrote to its output.

        Raises:
            InterruptedError: the supervisor's block was left.
        """
        child = self._begin(words, log, environment)
        assert child.stdout is not None
        with child.stdout:
            told = child.stdout.read()
        return self._ended(child), told

    def lines(
        self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[str]:
        """Run such a program, and give every line of its output as soon as it is written.

        Args:
            words: as of `run`, as are the others.
            log: as of `run`.
            environment: as of `run`.

        Raises:
            InterruptedError: as of `run`.
            BuildError: it ended with an exit code other than 0.
        """
        child = self._begin(words, log, environment)
        assert child.stdout is not None
        with child.stdout:
            yield from child.stdout
        code = self._ended(child)
        if code != 0:
            raise BuildError(f"a process of this build ended with exit code {code} (log: {log}).")
        log.unlink(missing_ok=True)

    def _begin(
        self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None
    ) -> subprocess.Popen[str]:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors, self._lock:
            if self._leaving:
                raise InterruptedError
            child = subprocess.Popen(
                # No module of the folder that the user happens to be in is imported.
                [sys.executable, "-P", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            self._children.add(child)
        return child

    def _ended(self, child: subprocess.Popen[str]) -> int:
        code = child.wait()
        with self._lock:
            self._children.discard(child)
            _close_lifeline(child)
        return code


def lifeline() -> int:
    """In a child: the pipe at standard input that its parent holds open; nobody else waits there.

    Returns:
        A descriptor that has something to read when the parent has ended, however it did.
    """
    kept = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return kept


def end_with(held: int) -> None:
    """End this process, with all its children, when the pipe behind a descriptor closes."""

    def wait() -> None:
        os.read(held, 1)
        end_at_once()

    Thread(target=wait, daemon=True).start()


def end_with_parent() -> None:
    """In a child: end, with all children, when the parent does."""
    end_with(lifeline())


def end_at_once() -> None:
    """End this process and all its children."""
    for child in psutil.Process().children(recursive=True):
        kill(child.pid)
    os._exit(1)


def _close_lifeline(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    with contextlib.suppress(OSError):
        child.stdin.close()


def kill(pid: int) -> None:
    """Kill a process and all below it, those that are still there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
