"""Chapters: MyST notebooks that are executed by papermill, one process each, and read back.

Execution happens outside Sphinx. A chapter's key covers its code cells, its parameters and the
source of the experiments it calls, so prose can be edited without a run and package code cannot
be edited without one.
"""

import ast
import hashlib
import json
import logging
import os
import re
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from companion.catalog import one_of
from companion.errors import BuildError, InputError
from companion.files import write_atomically
from companion.results import (
    Result,
    Store,
    check_device,
    check_profile,
    data_identity,
    iter_records,
    source_hash,
)

RESULT_MARK = "application/vnd.companion.result+json"
FIGURE_MARK = "application/vnd.companion.figure+json"


@dataclass(frozen=True)
class Chapter:
    """One MyST notebook.

    Attributes:
        name: path below the book's root without its suffix, e.g. `book/du2019/5_experiments`.
        path: the file.
        notebook: freshly read, without outputs.
    """

    name: str
    path: Path
    notebook: NotebookNode

    @property
    def code(self) -> list[NotebookNode]:
        """Its code cells."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @property
    def experiments(self) -> list[str]:
        """Names it passes to `reproduce` or `recorded`."""
        names = []
        for node in ast.walk(ast.parse("\n".join(cell.source for cell in self.code))):
            match node:
                case ast.Call(func=ast.Name(id="reproduce" | "recorded"), args=[first, *_]):
                    names.append(str(ast.literal_eval(first)))
        return list(dict.fromkeys(names))

    @property
    def parameters(self) -> dict[str, str]:
        """Parameter name -> declared type, from the cell tagged `parameters`."""
        for cell in self.code:
            if "parameters" in cell.metadata.get("tags", []):
                return {
                    node.target.id: ast.unparse(node.annotation)
                    for node in ast.parse(cell.source).body
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
                }
        return {}

    def key(self, parameters: Mapping[str, object]) -> str:
        """Hash of all that decides the outputs; equal keys need no new run."""
        parts = {
            "code": [cell.source for cell in self.code],
            "parameters": dict(parameters),
            "experiments": {
                name: [
                    source_hash(name, ("run", "judge", "Settings", "QUICK", "PAPER")),
                    data_identity(name),
                ]
                for name in self.experiments
            },
            "versions": [version(package) for package in ("torch", "numpy", "matplotlib")],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Executed:
    """A chapter with the outputs of its run.

    Attributes:
        chapter: what was run.
        notebook: the executed notebook, with injected parameters.
        seconds: how long the run took; 0 where an earlier one still holds.
    """

    chapter: Chapter
    notebook: NotebookNode
    seconds: float

    def marks(self, kind: str) -> list[dict[str, Any]]:
        """What results or figures its outputs hold, in order."""
        return [
            output.data[kind]
            for cell in self.notebook.cells
            for output in cell.get("outputs", [])
            if kind in output.get("data", {})
        ]


def read(name: str, path: Path) -> Chapter | None:
    """A chapter, or None for a page without code.

    Raises:
        InputError: the file is not readable as MyST.
    """
    text = path.read_text(encoding="utf-8")
    if not re.match(r"---\n.*?\bkernelspec:.*?\n---\n", text, re.DOTALL):
        return None
    try:
        return Chapter(name, path, jupytext.reads(text, fmt="md:myst"))
    except Exception as error:  # jupytext raises what its parsers raise
        raise InputError(f"{path} is not readable as a MyST notebook: {error}.") from None


def check_parameters(chapter: Chapter, parameters: Mapping[str, object]) -> None:
    """Refuse what papermill would only warn about.

    Raises:
        InputError: a parameter the chapter does not declare, of another type, or out of range.
    """
    declared = chapter.parameters
    for name, value in parameters.items():
        one_of(f"parameter of {chapter.name}", name, declared)
        if type(value).__name__ != declared[name]:
            raise InputError(
                f"parameter {name} of {chapter.name} is a {declared[name]}, not "
                f"{type(value).__name__} {value!r}."
            )
    check_profile(str(parameters.get("profile", "quick")))
    check_device(str(parameters.get("device", "cpu")))


def execute(
    chapters: Sequence[Chapter],
    parameters: Mapping[str, object],
    folder: Path,
    *,
    jobs: int,
    timeout: int,
) -> Iterator[Executed]:
    """Run the chapters whose key changed, `jobs` at a time; yield each as it is done.

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
        kept = _kept(chapter, chapter.key(parameters), folder)
        if kept is None:
            waiting.append(chapter)
        else:
            yield Executed(chapter, kept, 0.0)
    threads = max(1, (os.cpu_count() or 1) // max(1, min(jobs, len(waiting) or 1)))
    pool = ProcessPoolExecutor(
        max_workers=jobs, mp_context=get_context("spawn"), initializer=_limit, initargs=(threads,)
    )
    with pool:
        futures: dict[Future[float], Chapter] = {
            pool.submit(_run, chapter, dict(parameters), folder, timeout): chapter
            for chapter in waiting
        }
        try:
            for future in as_completed(futures):
                chapter = futures[future]
                seconds = future.result()
                kept = _kept(chapter, chapter.key(parameters), folder)
                if kept is None:
                    raise BuildError(
                        f"{chapter.name} ran, but its sources changed meanwhile; build again."
                    )
                yield Executed(chapter, kept, seconds)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def graft(executed: Executed) -> NotebookNode:
    """Fresh prose with the outputs of the run: prose edits show without a new run.

    Raises:
        BuildError: the code cells are not those that ran.
    """
    ran = _code_cells(executed.notebook)
    fresh: NotebookNode = nbformat.from_dict(executed.chapter.notebook)
    cells = _code_cells(fresh)
    if [cell.source for cell in ran] != [cell.source for cell in cells]:
        raise BuildError(
            f"the code of {executed.chapter.name} is not the code that ran; run it again."
        )
    for cell, source in zip(cells, ran, strict=True):
        cell.outputs = source.outputs
        cell.execution_count = source.execution_count
    return fresh


def result_of(mark: Mapping[str, Any]) -> Result | None:
    """The stored or recorded result behind a mark; None if it is no longer kept."""
    found = Store().find(mark["experiment"], mark["fingerprint"])
    if found is None:
        recorded = (r for r in iter_records() if r.fingerprint == mark["fingerprint"])
        return next(recorded, None)
    return found


def _code_cells(notebook: Any) -> list[Any]:
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]


def _kept(chapter: Chapter, key: str, folder: Path) -> NotebookNode | None:
    """The executed notebook of that key, if it and its results are still there."""
    path = folder / f"{chapter.name}.ipynb"
    if not path.is_file():
        return None
    notebook = nbformat.read(path, as_version=4)
    if notebook.metadata.get("companion", {}).get("key") != key:
        return None
    marks = Executed(chapter, notebook, 0.0).marks(RESULT_MARK)
    return notebook if all(result_of(mark) is not None for mark in marks) else None


def _limit(threads: int) -> None:
    """In a fresh process, before any numerical library is loaded."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def _run(chapter: Chapter, parameters: dict[str, object], folder: Path, timeout: int) -> float:
    """Execute one chapter in this process's kernel; returns the seconds it took."""
    import papermill

    target = folder / f"{chapter.name}.ipynb"
    source, partial, log = (target.with_suffix(s) for s in (".source.ipynb", ".part.ipynb", ".log"))
    key, started = chapter.key(parameters), time.perf_counter()
    write_atomically(source, nbformat.writes(chapter.notebook).encode())
    logging.getLogger("papermill").setLevel(logging.ERROR)
    _redirect_output(log)
    try:
        papermill.execute_notebook(
            str(source),
            str(partial),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(chapter.path.parent),
            progress_bar=False,
            execution_timeout=timeout,
        )
        executed = nbformat.read(partial, as_version=4)
        _check_complete(executed)
    except Exception as error:  # papermill and the kernel raise many kinds; all end the build alike
        traceback.print_exc()
        raise BuildError(
            f"{chapter.name} failed {_where(partial)}: {_reason(error)} (log: {log})"
        ) from None
    seconds = time.perf_counter() - started
    executed.metadata["companion"] = {"key": key, "seconds": round(seconds, 1)}
    write_atomically(target, nbformat.writes(executed).encode())
    for leftover in (source, partial, log):
        leftover.unlink(missing_ok=True)
    return seconds


def _redirect_output(log: Path) -> None:
    """Send what this process and its kernel say to the chapter's log."""
    with log.open("wb") as handle:
        for stream in (1, 2):
            os.dup2(handle.fileno(), stream)


def _check_complete(notebook: NotebookNode) -> None:
    """A dead kernel or a SystemExit leaves cells that only look run."""
    for number, cell in enumerate(_code_cells(notebook), start=1):
        if cell.source.strip() and cell.execution_count is None:
            raise BuildError(f"code cell {number} was left unrun")


def _where(partial: Path) -> str:
    """Which code cell the run stopped in, as the reader counts them: the last that started.

    A dead kernel may leave its cell with or without an execution count, so that cannot tell.
    """
    if not partial.is_file():
        return "before its first cell"
    cells = _code_cells(nbformat.read(partial, as_version=4))
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
