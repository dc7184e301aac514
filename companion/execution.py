"""Execution of chapters by papermill: one supervised process each, some at a time, outside Sphinx.

`python -m companion.execution JOB` is the program of such a process.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from companion.chapters import Chapter, Executed, check_parameters, code_cells, kept, read, seal
from companion.errors import BuildError
from companion.files import write_atomically
from companion.results import Store
from companion.supervision import Supervisor, end_with_parent

KERNEL = "companion"


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
            futures = {
                pool.submit(
                    _execute, chapter, dict(parameters), folder, timeout, variables, supervisor
                ): chapter
                for chapter in waiting
            }
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
    variables = dict(os.environ)
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


def _execute(
    chapter: Chapter,
    parameters: Mapping[str, object],
    folder: Path,
    timeout: int,
    variables: Mapping[str, str],
    supervisor: Supervisor,
) -> float:
    """Execute one chapter in a process of its own; returns the seconds it took."""
    log = (folder / chapter.name).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    job = {
        "name": chapter.name,
        "path": str(chapter.path.absolute()),
        "parameters": parameters,
        "folder": str(folder.absolute()),
        "timeout": timeout,
    }
    started = time.perf_counter()
    code, told = supervisor.run(["-m", __spec__.name, json.dumps(job)], log, variables)
    if code != 0:
        reason = told.strip() or f"failed: its process ended with exit code {code}"
        raise BuildError(f"{chapter.name} {reason} (log: {log})")
    log.unlink(missing_ok=True)
    return time.perf_counter() - started


def main(job: Mapping[str, object]) -> int:
    """Execute the chapter of a job in this process's kernel.

    A failure is told in one line at the standard output; all else goes to the error stream.
    """
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    end_with_parent()
    path, folder, timeout = Path(str(job["path"])), Path(str(job["folder"])), job["timeout"]
    chapter = read(str(job["name"]), path)
    assert chapter is not None
    assert isinstance(job["parameters"], dict)
    assert isinstance(timeout, int)
    partial = folder / f"{chapter.name}.part.ipynb"
    try:
        _run(chapter, job["parameters"], folder, partial, timeout)
    except Exception as error:  # papermill and the kernel raise many kinds; all end the build alike
        traceback.print_exc()
        with answer:
            answer.write(f"failed {_where(partial)}: {_reason(error)}")
        return 1
    return 0


def _run(
    chapter: Chapter, parameters: dict[str, object], folder: Path, partial: Path, timeout: int
) -> None:
    import papermill

    target = folder / f"{chapter.name}.ipynb"
    source = target.with_suffix(".source.ipynb")
    key, started = chapter.key(parameters), time.perf_counter()
    write_atomically(source, nbformat.writes(chapter.notebook).encode())
    partial.unlink(missing_ok=True)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill.execute_notebook(
        str(source),
        str(partial),
        parameters=parameters,
        kernel_name=KERNEL,
        cwd=str(chapter.path.parent),
        progress_bar=False,
        execution_timeout=timeout,
    )
    executed = nbformat.read(partial, as_version=4)
    _check_complete(executed)
    seal(executed, key, time.perf_counter() - started)
    write_atomically(target, nbformat.writes(executed).encode())
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
    sys.exit(main(json.loads(sys.argv[1])))
