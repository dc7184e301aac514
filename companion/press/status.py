"""What is fresh, stale or missing of a built book's chapters and figures, and why."""

import ast
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from companion.base.files import is_sealed
from companion.base.paths import IS_CHECKOUT, PROJECT
from companion.errors import DamagedError, InputError
from companion.lab.catalog import figures
from companion.lab.fingerprint import differences, fingerprint_of
from companion.lab.reproduce import judged
from companion.lab.status import Status, records_status, results_status, why_changed
from companion.lab.store import Store
from companion.press.book import Book
from companion.press.chapters import Chapter, read, result_of
from companion.press.drawn import Drawn, drawn_in, figure_basis
from companion.press.keeping import executed_in, gone_results


def whole_status(device: str, root: Path, output: Path) -> Iterator[Status]:
    """Every experiment and record, and the chapters and figures of a book where there is one."""
    yield from results_status(device)
    yield from records_status()
    if root != PROJECT or IS_CHECKOUT:
        yield from pages_status(Book(root, output))


def told(statuses: Iterable[Status]) -> bytes:
    """What a status says, as JSON for machines."""
    return (json.dumps([asdict(each) for each in statuses], indent=1) + "\n").encode()


def pages_status(book: Book) -> Iterator[Status]:
    """Every chapter of a book, then every figure that its chapters show."""
    chapters = [c for page in book.pages if (c := read(page, book.path(page)))]
    for chapter in chapters:
        yield _chapter_status(chapter, book.output / "executed")
    folders = sorted(path for path in (book.output / "figures").glob("*") if path.is_dir())
    drawn = {folder: note for folder in folders if (note := drawn_in(folder))}
    for identifier in dict.fromkeys(i for chapter in chapters for i in _shown(chapter)):
        kept = {folder: note for folder, note in drawn.items() if note.figure == identifier}
        for folder, note in kept.items():
            why = _why_redrawn(folder, note)
            yield Status("figure", folder.name, "stale" if why else "fresh", tuple(why))
        if not kept:
            yield Status("figure", identifier, "missing", ("it was not drawn yet",))


def _chapter_status(chapter: Chapter, folder: Path) -> Status:
    try:
        notebook = executed_in(chapter, folder)
        if notebook is None:
            return Status("chapter", chapter.name, "missing", ("it was not executed yet",))
        known: dict[str, str] = dict(notebook.metadata["companion"].get("basis", {}))
        parameters = {
            key.removeprefix("parameter "): json.loads(value)
            for key, value in known.items()
            if key.startswith("parameter ")
        }
        why = differences(known, chapter.basis(parameters))
        why = why or gone_results(chapter, notebook)
    except (DamagedError, InputError) as problem:
        why = [str(problem)]
    return Status("chapter", chapter.name, "stale" if why else "fresh", tuple(why))


def _shown(chapter: Chapter) -> Iterator[str]:
    """The figures that a chapter's code names."""
    known = figures()
    for cell in chapter.code:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Constant) and node.value in known:
                yield str(node.value)


def _why_redrawn(folder: Path, drawn: Drawn) -> list[str]:
    profile = drawn.basis["profile"]
    mark = {"experiment": drawn.experiment, "fingerprint": drawn.fingerprint, "profile": profile}
    result = result_of(mark)
    if result is None:
        return [f"the result {drawn.fingerprint} of {drawn.experiment} is no longer kept"]
    if not is_sealed(folder / fingerprint_of(drawn.basis)):
        return ["its files are not those that were drawn"]
    of_store = Store().path(drawn.experiment, drawn.fingerprint).is_file()
    of_result = why_changed(result) if of_store else []
    told = (f"its result: {why}" for why in of_result)
    try:
        return [*told, *differences(drawn.basis, figure_basis(judged(result)))]
    except InputError as problem:  # what today's code makes of it
        return [*told, str(problem)]
