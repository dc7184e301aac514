"""The processes that execute chapters, forked from one that has imported what they need.

`python -m companion.press.running ORDER` is that one. To import torch, xarray, matplotlib
and papermill takes longer than most chapters do, so it is done once. For every chapter a process
is forked that runs papermill, and another that is its kernel. The kernel keeps nothing of this
package: what its chapter imports is what the files say at that time.
"""

import contextlib
import gc
import importlib
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import nbformat
import papermill
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

from companion.base.files import write_atomically
from companion.errors import BuildError
from companion.press.chapters import code_cells, read
from companion.press.execution import Ended, Job
from companion.press.keeping import seal
from companion.press.supervision import end_at_once, end_with, kill, lifeline

_FORK = multiprocessing.get_context("fork")
KERNEL = "companion"
# Seconds that a kernel has to begin, on a machine that does much else.
START = 120


def main(jobs: Sequence[Job], at_once: int, libraries: Sequence[str]) -> None:
    """Execute chapters, some at a time; tell each, as a line of JSON, when it has ended."""
    parent = lifeline()
    with contextlib.redirect_stdout(sys.stderr):
        # Other systems' own libraries may not be used after a fork.
        for library in libraries if sys.platform == "linux" else ():
            importlib.import_module(library)
    gc.freeze()  # so that the forks go on sharing what is there
    waiting, running = deque(jobs), dict[int, _Begun]()
    while waiting or running:
        while waiting and len(running) < at_once:
            begun = _Begun(waiting.popleft(), parent)
            running[begun.process.sentinel] = begun
        for ready in wait([parent, *running]):
            if ready == parent:
                end_at_once()
            print(json.dumps(asdict(running.pop(int(ready)).ended())), flush=True)  # type: ignore


class _Begun:
    """A chapter's process that has begun."""

    def __init__(self, job: Job, parent: int) -> None:
        self._name, self._started = job.name, time.perf_counter()
        self._answer, answer = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_execute, args=(job, parent, answer))
        self.process.start()
        answer.close()

    def ended(self) -> Ended:
        """What is told of it once it has ended."""
        self.process.join()
        try:
            told = self._answer.recv()
        except EOFError:  # it had nothing to say, or was killed
            told = ""
        self._answer.close()
        code, seconds = self.process.exitcode or 0, time.perf_counter() - self._started
        self.process.close()
        return Ended(self._name, code, told, seconds)


def _execute(job: Job, parent: int, answer: "Connection[str, str]") -> None:
    """In a chapter's process: execute it, and answer with what went wrong, in one line."""
    path = job.path_of(".log")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        with _kernel(job) as manager:
            end_with(parent)
            _run(job, manager)
    except Exception as error:  # papermill and the kernel raise many kinds; all end the build alike
        traceback.print_exc()
        answer.send(f"failed {_where(job.path_of('.part.ipynb'))}: {_reason(error)}")
        sys.exit(1)


@contextmanager
def _kernel(job: Job) -> Iterator[AsyncKernelManager]:
    """A kernel for a chapter, forked before this process has threads; it ends with the block."""
    ours, theirs = _FORK.Pipe()
    file = job.path_of(".kernel.json")
    file.unlink(missing_ok=True)
    process = _FORK.Process(target=_serve, args=(theirs, ours, file, Path(job.path).parent))
    process.start()
    assert process.pid is not None
    theirs.close()
    try:
        if not ours.poll(START):
            raise BuildError(f"its kernel did not start within {START} seconds")
        ours.recv()
        manager = _Forked(process)
        manager.load_connection_file(str(file))
        yield manager
    finally:
        kill(process.pid)
        process.join()
        file.unlink(missing_ok=True)


class _Forked(AsyncKernelManager):
    """What papermill is told of a kernel that runs already."""

    has_kernel = True

    def __init__(self, process: Any) -> None:
        super().__init__()
        self._process = process

    async def _async_is_alive(self) -> bool:
        return bool(self._process.is_alive())

    is_alive = _async_is_alive


def _serve(
    pipe: "Connection[str, str]", theirs: "Connection[str, str]", file: Path, folder: Path
) -> None:
    """In a kernel's process: forget this package, and be the kernel until the pipe closes.

    A kernel that chooses its ports itself chooses none that another is about to take.
    """
    theirs.close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "companion"]:
        del sys.modules[name]
    end_with(pipe.fileno())
    os.chdir(folder)
    sys.path.append("")  # a chapter may import what lies beside it
    kernel: Any = IPKernelApp.instance()
    kernel.initialize(["-f", str(file), f"--IPKernelApp.parent_handle={os.getppid()}"])
    pipe.send("ready")
    kernel.start()


def _run(job: Job, manager: AsyncKernelManager) -> None:
    source, partial = job.path_of(".source.ipynb"), job.path_of(".part.ipynb")
    partial.unlink(missing_ok=True)
    chapter = read(job.name, Path(job.path))
    assert chapter is not None
    basis, started = chapter.basis(job.parameters), time.perf_counter()
    write_atomically(source, nbformat.writes(chapter.notebook).encode())
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill.execute_notebook(
        str(source),
        str(partial),
        parameters=job.parameters,
        kernel_name=KERNEL,
        km=manager,
        progress_bar=False,
        execution_timeout=job.timeout,
    )
    executed = nbformat.read(partial, as_version=4)
    _check_complete(executed)
    seal(executed, basis, time.perf_counter() - started)
    write_atomically(job.path_of(".ipynb"), nbformat.writes(executed).encode())
    for leftover in (source, partial):
        leftover.unlink(missing_ok=True)


def _check_complete(notebook: NotebookNode) -> None:
    """A dead kernel or a SystemExit leaves cells that only look run."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        if cell.source.strip() and cell.execution_count is None:
            raise BuildError(f"code cell {number} was left unrun")


def _where(partial: Path) -> str:
    """Which code cell the run stopped in, as the reader counts them: the last that started.

    A dead kernel may leave its cell with or without an execution count, so that cannot tell.
    """
    if not partial.is_file():
        return "before its first cell"
    cells = code_cells(nbformat.read(partial, as_version=4))
    started = [i for i, cell in enumerate(cells) if cell.metadata.papermill.get("start_time")]
    if not started:
        return "before its first cell"
    first = next(iter(cells[started[-1]].source.strip().splitlines()), "")
    return f"in code cell {started[-1] + 1} ('{first}')"


def _reason(error: Exception) -> str:
    """One line of an exception: its last telling line."""
    name, value = getattr(error, "ename", None), getattr(error, "evalue", None)
    if name is not None:
        return f"{name}: {str(value).strip().splitlines()[0] if value else ''}".strip()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    main([Job(**job) for job in order["jobs"]], order["at_once"], order["libraries"])
