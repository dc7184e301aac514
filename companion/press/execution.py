"""Execution of chapters by papermill: one supervised process each, some at a time, outside Sphinx.

`python -m companion.press.execution JOB` is the program of such a process.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from companion.base.files import write_atomically
from companion.errors import BuildError
from companion.lab.store import Store
from companion.press.chapters import (
    Chapter,
    Executed,
    check_parameters,
    code_cells,
    read,
)
from companion.press.keeping import kept, seal
from companion.press.supervision import FOREIGN, Supervisor, end_with_parent

KERNEL = "companion"


@dataclass(frozen=True)
class Job:
    """What a chapter's process is told, as JSON.

    Attributes:
        name: of the chapter.
        path: of its source.
        parameters: given to papermill.
        folder: executed notebooks and logs are kept here.
        timeout: seconds one cell may take.
    """

    name: str
    path: str
    parameters: dict[str, object]
    folder: str
    timeout: int

    @classmethod
    def of(
        cls, chapter: Chapter, parameters: Mapping[str, object], folder: Path, timeout: int
    ) -> "Job":
        """The job of executing a chapter, in words that hold in any folder."""
        path, where = str(chapter.path.absolute()), str(folder.absolute())
        return cls(chapter.name, path, dict(parameters), where, timeout)

    def path_of(self, ending: str) -> Path:
        """A file of this chapter in the folder of executed ones."""
        return Path(self.folder) / f"{self.name}{ending}"


def execute(
    chapters: Sequence[Chapter],
    parameters: Mapping[str, object],
    folder: Path,
    *,
    jobs: int,
    timeout: int,
) -> Generator[Executed, None, None]:
    """Run the chapters whose key changed, `jobs` at a time; yield each as it is done.

    When one fails, or the iteration is left, those that still run are ended at once. What they
    have computed stays in the store, and they go on from there the next time.

    Args:
        chapters: in the order of the book.
        parameters: given to every chapter.
        folder: executed notebooks and logs are kept here.
        jobs: processes; the machine's threads are divided among them.
        timeout: seconds one cell may take.

    Raises:
        InputError: bad parameters, before anything runs.
        BuildError: a chapter raised, its kernel died, a cell took too long or was left unrun; the
            message names chapter and cell, and the log is kept.
    """
    for chapter in chapters:
        check_parameters(chapter, parameters)
    waiting = []
    for chapter in chapters:
        notebook = kept(chapter, chapter.key(parameters), folder)
        if notebook is None:
            waiting.append(chapter)
        else:
            yield Executed(chapter, notebook, 0.0)
    if not waiting:
        return
    threads = max(1, (os.cpu_count() or 1) // min(jobs, len(waiting)))
    variables = environment(folder, threads)
    pool = ThreadPoolExecutor(jobs)
    try:
        with Supervisor() as supervisor:
            futures = {}
            for chapter in waiting:
                job = Job.of(chapter, parameters, folder, timeout)
                futures[pool.submit(_supervise, job, supervisor, variables)] = chapter
            for future in as_completed(futures):
                chapter, seconds = futures[future], future.result()
                notebook = kept(chapter, chapter.key(parameters), folder)
                if notebook is None:
                    raise BuildError(
                        f"{chapter.name} ran, but its sources changed meanwhile; build again."
                    )
                yield Executed(chapter, notebook, seconds)
    finally:
        pool.shutdown(cancel_futures=True)


def environment(folder: Path, threads: int) -> dict[str, str]:
    """Variables of a chapter's process: this interpreter's kernel, and nothing of the user's.

    A kernel runs in the chapter's folder, so what is relative to this process's is made absolute.

    Args:
        folder: where the kernel's description is put.
        threads: of numerical libraries.
    """
    own = folder.absolute() / "jupyter"
    description = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
    }
    write_atomically(own / "kernels" / KERNEL / "kernel.json", json.dumps(description).encode())
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    specs = [str(own), *filter(None, [variables.get("JUPYTER_PATH")])]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        variables[name] = str(threads)
    for name in ("COMPANION_DATA", "PYTHONPATH"):
        if variables.get(name):
            entries = variables[name].split(os.pathsep)
            variables[name] = os.pathsep.join(os.path.abspath(entry) for entry in entries)
    return {
        **variables,
        "COMPANION_STORE": str(Store().root),
        "JUPYTER_PATH": os.pathsep.join(specs),
        "JUPYTER_NO_CONFIG": "1",
        "IPYTHONDIR": str(own / "ipython"),
    }


def _supervise(job: Job, supervisor: Supervisor, variables: Mapping[str, str]) -> float:
    """Execute one chapter in a process of its own; returns the seconds it took."""
    log = job.path_of(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    words = ["-m", __spec__.name, json.dumps(asdict(job))]
    code, told = supervisor.run(words, log, variables)
    if code != 0:
        reason = told.strip() or f"failed: its process ended with exit code {code}"
        raise BuildError(f"{job.name} {reason} (log: {log})")
    log.unlink(missing_ok=True)
    return time.perf_counter() - started


def main(job: Job) -> int:
    """Execute the chapter of a job in this process's kernel.

    A failure is told in one line at the standard output; all else goes to the error stream.
    """
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    end_with_parent()
    try:
        _run(job)
    except Exception as error:  # papermill and the kernel raise many kinds; all end the build alike
        traceback.print_exc()
        with answer:
            answer.write(f"failed {_where(job.path_of('.part.ipynb'))}: {_reason(error)}")
        return 1
    return 0


def _run(job: Job) -> None:
    import papermill

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
        cwd=str(chapter.path.parent),
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
    sys.exit(main(Job(**json.loads(sys.argv[1]))))
