"""Executed chapters on disk: sealed with their key, and taken only if they are whole."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from companion.base.files import set_aside
from companion.errors import DamagedError
from companion.lab.fingerprint import fingerprint_of
from companion.press.chapters import RESULT_MARK, Chapter, Executed, result_of


def seal(notebook: NotebookNode, basis: Mapping[str, str], seconds: float) -> None:
    """Note in an executed notebook what it belongs to, and a checksum of its cells."""
    notebook.metadata["companion"] = {
        "key": fingerprint_of(basis),
        "basis": dict(basis),
        "seconds": round(seconds, 1),
        "sha256": _checksum(notebook),
    }


def kept(chapter: Chapter, key: str, folder: Path) -> NotebookNode | None:
    """The executed notebook of that key, if it and its results are still there as they were.

    A damaged one is set aside.
    """
    try:
        notebook = executed_in(chapter, folder)
    except DamagedError as problem:
        set_aside(executed_path(chapter, folder), problem)
        return None
    if notebook is None or notebook.metadata["companion"]["key"] != key:
        return None
    return None if gone_results(chapter, notebook) else notebook


def executed_path(chapter: Chapter, folder: Path) -> Path:
    """Where the executed notebook of a chapter is, or would be, kept."""
    return folder / f"{chapter.name}.ipynb"


def executed_in(chapter: Chapter, folder: Path) -> NotebookNode | None:
    """The executed notebook of a chapter, of whatever key, or None.

    Raises:
        DamagedError: it is not what was written.
    """
    path = executed_path(chapter, folder)
    if not path.is_file():
        return None
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)
        told = notebook.metadata["companion"]
        intact = told["sha256"] == _checksum(notebook) and isinstance(told["key"], str)
    except (OSError, ValueError, AttributeError, KeyError, nbformat.ValidationError):
        intact = False
    if not intact:
        raise DamagedError(f"{path} is damaged.")
    return notebook


def gone_results(chapter: Chapter, notebook: NotebookNode) -> list[str]:
    """The results that an executed notebook shows and that are no longer kept, in words."""
    marks = Executed(chapter, notebook, 0.0).marks(RESULT_MARK)
    return [
        f"the result {mark['fingerprint']} of {mark['experiment']} is no longer kept"
        for mark in marks
        if result_of(mark) is None
    ]


def _checksum(notebook: NotebookNode) -> str:
    return hashlib.sha256(json.dumps(notebook.cells, sort_keys=True).encode()).hexdigest()
