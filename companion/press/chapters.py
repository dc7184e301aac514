"""Chapters: MyST notebooks, read, checked, and joined with the outputs of their execution.

A chapter's key covers its code cells, its parameters, the source of the experiments it calls and
the files that it and they read, so prose can be edited without a run and nothing else can.
"""

import ast
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from companion.base.files import file_hash
from companion.base.paths import brief
from companion.errors import BuildError, InputError, one_of
from companion.lab.experiment import check_device, check_profile
from companion.lab.fingerprint import (
    data_identity,
    fingerprint_of,
    shown_inputs,
    sources_of,
)
from companion.lab.reproduce import record_path
from companion.lab.results import Result, read_result
from companion.lab.store import Store

# What a chapter calls to get a result.
_CALLS = ("reproduce", "recorded", "reproduce_or_recorded")
# Blocks in longer fences, which may show what a cell looks like.
_EXAMPLES = re.compile(r"^(`{4,})(?!\{code-cell\}).*?^\1$", re.MULTILINE | re.DOTALL)
RESULT_MARK = "application/vnd.companion.result+json"
# Of the marks in the outputs; pages of another layout run anew.
_LAYOUT = "4"
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
        """Names it passes to one of these functions.

        Raises:
            InputError: a name that cannot be read off the page, so that the build would not know
                what the page depends on.
        """
        names, called_nodes = [], []
        for node in ast.walk(self._tree):
            match node:
                case ast.Call(
                    func=ast.Name(id=called) | ast.Attribute(attr=called), args=arguments
                ) if called in _CALLS:
                    called_nodes.append(node.func)
                    match arguments:
                        case [ast.Constant(value=str(name)), *_]:
                            names.append(name)
                        case _:
                            raise InputError(
                                f"{self.path}: {ast.unparse(node)} does not name its experiment in "
                                f'quotes; write {called}("paper/experiment", ...).'
                            )
                case ast.alias(name=name, asname=str()) if name in _CALLS:
                    raise InputError(
                        f"{self.path} imports {name} under another name; call it {name}."
                    )
        for node in ast.walk(self._tree):
            match node:
                case ast.Name(id=called) | ast.Attribute(attr=called) if (
                    called in _CALLS and node not in called_nodes
                ):
                    raise InputError(
                        f"{self.path} uses {called} without calling it, so that what the page "
                        f'depends on cannot be read off; write {called}("paper/experiment", ...).'
                    )
        return list(dict.fromkeys(names))

    @cached_property
    def _tree(self) -> ast.Module:
        return ast.parse("\n".join(cell.source for cell in self.code))

    @property
    def parameters(self) -> dict[str, str]:
        """Parameter name -> declared type, from the cell tagged `parameters`."""
        return {name: ast.unparse(node.annotation) for name, node in self._declared()}

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameter name -> value it has if none is given.

        Raises:
            InputError: a value that is not written out.
        """
        try:
            return {
                name: ast.literal_eval(node.value) for name, node in self._declared() if node.value
            }
        except ValueError:
            raise InputError(
                f"{self.path}: a parameter's default is not written out; use numbers, strings, "
                "lists and dictionaries."
            ) from None

    def _declared(self) -> Iterator[tuple[str, ast.AnnAssign]]:
        for cell in self.code:
            if "parameters" in cell.metadata.get("tags", []):
                for node in ast.parse(cell.source).body:
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                        yield node.target.id, node

    def key(self, parameters: Mapping[str, object]) -> str:
        """Hash of all that decides the outputs; equal keys need no new run."""
        return fingerprint_of(self.basis(parameters))

    def basis(self, parameters: Mapping[str, object]) -> dict[str, str]:
        """All that decides the outputs, part by part.

        Raises:
            InputError: what the page or an experiment depends on cannot be read off.
        """
        cells = {str(n): _short(cell.source) for n, cell in enumerate(self.code, start=1)}
        sources: dict[str, str] = {}
        for name in self.experiments:
            roots = ("run", "summary", "values", "judge", "CONTROLS", "Settings", "QUICK", "PAPER")
            for part, known in sources_of(name, roots).items():
                sources[part] = sources.get(part, "") + known  # two experiments share much
        packages = ("torch", "numpy", "scipy", "matplotlib")
        return {
            "layout": _LAYOUT,
            **{f"cell {number}": text for number, text in cells.items()},
            **{f"parameter {name}": json.dumps(value) for name, value in parameters.items()},
            **{f"source {name}": known for name, known in sources.items()},
            **{f"data of {name}": data_identity(name) for name in self.experiments},
            **{f"file {self._brief(p)}": file_hash(p)[:12] for p in self._files(parameters)},
            **{f"version {package}": version(package) for package in packages},
        }

    def _brief(self, path: Path) -> str:
        folder = self.path.parent
        return str(path.relative_to(folder)) if path.is_relative_to(folder) else brief(path)

    def _files(self, parameters: Mapping[str, object]) -> list[Path]:
        """What the page, its judges and figures may read: published values, benchmarks, records.

        And files that it names, and modules beside it.
        """
        folder = self.path.parent
        texts = [n.value for n in ast.walk(self._tree) if isinstance(n, ast.Constant)]
        named = (folder / text for text in _texts([texts, self.defaults, parameters]))
        records = (record_path(name) for name in self.experiments)
        packages = (path.parent for path in folder.glob("*/__init__.py"))
        modules = [*folder.glob("*.py"), *(p for each in packages for p in each.rglob("*.py"))]
        files = [*shown_inputs(), *records, *modules, *named]
        return sorted({path for path in files if _is_file(path)})


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
        InputError: the file is not readable as MyST, or a code cell not as Python.
    """
    text = read_page(path)
    if not re.match(r"---\n.*?\bkernelspec:.*?\n---\n", text, re.DOTALL):
        if re.search(r"^`{3,}\{code-cell\}", _EXAMPLES.sub("", text), re.MULTILINE):
            raise InputError(f"{path} has code cells and no 'kernelspec:' in its front matter.")
        return None
    try:
        chapter = Chapter(name, path, jupytext.reads(text, fmt="md:myst"))
    except Exception as error:  # jupytext raises what its parsers raise
        raise InputError(
            f"{path} is not readable as a MyST notebook: {_first_line(error)}."
        ) from None
    _check_code(chapter)
    return chapter


def read_page(path: Path) -> str:
    """The text of a page, without the mark that some editors put before UTF-8.

    Raises:
        InputError: the file cannot be read as UTF-8, or blank lines stand before its front matter,
            which would then count as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path} is not UTF-8 text (line {line}); save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    if re.match(r"\s+---\n.*?\n---\n", text, re.DOTALL):
        raise InputError(f"{path} must start with its '---'; delete what is blank before it.")
    return text


def _check_code(chapter: Chapter) -> None:
    """Refuse code that cannot be read, and so cannot be told from other code."""
    for number, cell in enumerate(chapter.code, start=1):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            lines = cell.source.splitlines()
            line = lines[min(error.lineno or 1, len(lines)) - 1].strip()[:80] if lines else ""
            hint = "; magics have no place in a chapter" if line.startswith(("%", "!")) else ""
            raise InputError(
                f"{chapter.path}: code cell {number} is not Python at '{line}' ({error.msg}){hint}."
            ) from None
        except (MemoryError, RecursionError, ValueError):  # nested too deep, or a null character
            raise InputError(
                f"{chapter.path}: code cell {number} is not code that Python can read."
            ) from None


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_file(path: Path) -> bool:
    """Whether a text of the page is the path of a file; most are something else altogether."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a path, say
        return False


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _texts(value: object) -> Iterator[str]:
    """Every string in nested lists and dictionaries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def check_parameters(chapter: Chapter, parameters: Mapping[str, object]) -> None:
    """Refuse what papermill would only warn about.

    Raises:
        InputError: a parameter the chapter does not declare, of another type, or out of range.
    """
    declared = chapter.parameters
    if parameters and not declared:
        raise InputError(f"{chapter.path} has no cell tagged 'parameters' that declares any.")
    for name, value in parameters.items():
        one_of(f"parameter of {chapter.name}", name, declared)
        if type(value).__name__ != declared[name]:
            raise InputError(
                f"parameter {name} of {chapter.name} is a {declared[name]}, not "
                f"{type(value).__name__} {value!r}."
            )
    check_profile(str(parameters.get("profile", "quick")))
    check_device(str(parameters.get("device", "cpu")))


def graft(executed: Executed) -> NotebookNode:
    """Fresh prose with the outputs of the run: prose edits show without a new run.

    Raises:
        BuildError: the code cells are not those that ran.
    """
    ran = code_cells(executed.notebook)
    fresh: NotebookNode = nbformat.from_dict(executed.chapter.notebook)
    cells = code_cells(fresh)
    if [cell.source for cell in ran] != [cell.source for cell in cells]:
        raise BuildError(
            f"the code of {executed.chapter.name} is not the code that ran; run it again."
        )
    for cell, source in zip(cells, ran, strict=True):
        cell.outputs = source.outputs
        cell.execution_count = source.execution_count
    return fresh


def result_of(mark: Mapping[str, Any]) -> Result | None:
    """The stored or recorded result behind a mark; None if it is no longer kept.

    The mark knows the profile, which may have been derived where the experiment was at hand.
    """
    found = Store().find(mark["experiment"], mark["fingerprint"])
    if found is None:
        path = record_path(mark["experiment"])
        found = read_result(path) if path.is_file() else None
    if found is None or found.fingerprint != mark["fingerprint"]:
        return None
    return dataclasses.replace(found, profile=mark["profile"])


def code_cells(notebook: Any) -> list[Any]:
    """The code cells of a notebook, without the one that papermill adds."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
