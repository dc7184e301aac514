"""What claims, experiments, figures, chapters and tests have to agree on, checked without a run.

Every problem is one sentence that names the file and says what would be right.
"""

import ast
import csv
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pybtex.database import parse_file

from companion.base.paths import BOOK, PACKAGE, PROJECT
from companion.errors import BuildError, InputError, one_of
from companion.lab import catalog
from companion.lab.experiment import load
from companion.lab.graph import graph_problems
from companion.lab.papers import papers
from companion.lab.replay_plan import replay_problems
from companion.lab.reproduce import record_path
from companion.press.book import Book
from companion.press.chapters import Chapter, read, read_page
from companion.press.differences import difference_problems, differences

# What is checked in a module by its text: the claims that a judge names in full.
_JUDGING = ("claim", "Verdict")
_PLACED = re.compile(r"\{(value|record)\}`([^`]*)`")
_CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
_SHOWN = re.compile(r"""show\(\s*["']([\w.-]+)["']""")


def problems(book: Book) -> list[str]:
    """All that is not as it has to be, in the order in which a newcomer would mend it.

    Args:
        book: the real one.
    """
    try:
        claims = catalog.claims()
        chapters = [c for page in book.pages if (c := read(page, book.path(page)))]
        found = [*_claims(), *graph_problems(claims), *_papers(), *_modules()]
        for name in catalog.experiments():
            found += _experiment(name, chapters)
        judged = [claim for name in catalog.experiments() for claim in _expected(name)]
        found += [
            f"book/claims.csv: no experiment expects a verdict on {claim}; add it to an EXPECTED "
            "or remove the row."
            for claim in claims
            if claim not in judged
        ]
        found += [
            f"{claim} is expected by {judged.count(claim)} experiments; a claim has one."
            for claim in dict.fromkeys(judged)
            if judged.count(claim) > 1
        ]
        expected = {c: o for name in catalog.experiments() for c, o in _expected(name).items()}
        found += difference_problems(differences(), expected, book.pages)
        return [*found, *_figures(chapters), *_pages(book, chapters), *_unfinished()]
    except (InputError, BuildError) as problem:
        return [str(problem)]


def _claims() -> Iterator[str]:
    with (BOOK / "claims.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        where = f"book/claims.csv, line {line}"
        needed = {name: text for name, text in row.items() if name != "rests_on"}
        if None in row or None in row.values() or "" in needed.values():
            yield f"{where}: a row has seven columns, none but the last of them empty."
            continue
        if row["paper"] not in papers():
            yield (
                f"{where}: '{row['paper']}' is no paper of book/papers.yml; mend the column or "
                "declare the paper."
            )
        if row["id"] in seen:
            yield f"{where}: the id {row['id']} is there already."
        if not row["id"].startswith(f"{row['paper']}-"):
            yield f"{where}: the id {row['id']} must start with '{row['paper']}-'."
        for text in row.values():
            if "|" in text:
                yield f"{where}: a '|' would break the ledger's table; write \\lvert or \\vert."
        seen.add(row["id"])


def _papers() -> Iterator[str]:
    known = parse_file(str(BOOK / "references.bib")).entries
    for paper in papers().values():
        if not paper.ours and paper.id not in known:
            yield f"book/references.bib has no entry '{paper.id}', which book/papers.yml declares."
        if not re.fullmatch(r"#[0-9a-f]{6}", paper.colour):
            yield f"book/papers.yml: the colour of {paper.id} is not of the form #0072b2."


def _modules() -> Iterator[str]:
    for kind in ("experiments", "figures"):
        for folder in sorted({path.parent for path in (PACKAGE / kind).glob("*/*.py")}):
            place = folder.relative_to(PROJECT)
            if not (folder / "__init__.py").is_file():
                yield f"{place} has no __init__.py; write one with a docstring."
            if folder.name not in papers():
                yield f"{place} belongs to no paper of book/papers.yml; declare {folder.name}."


def _experiment(name: str, chapters: list[Chapter]) -> Iterator[str]:
    where, (paper, short) = f"companion/experiments/{name}.py", name.split("/")
    yield from _told(load, name)
    if record_path(name).is_file():
        yield from replay_problems(name, catalog.constant(name, "REPLAY"))
    expected, judged = set(_expected(name)), _named_claims(name)
    for claim in sorted(judged - expected):
        yield f"{where} judges '{claim}', which is not in its EXPECTED."
    if not any(name in chapter.experiments for chapter in chapters):
        yield (
            f"no chapter calls reproduce('{name}'); write book/{paper}/{short}.md and name it in "
            "book/papers.yml."
        )
    test = f"tests/experiments/{paper}/test_{short}.py"
    if not (PROJECT / test).is_file():
        yield f"{where} has no test; write {test}."
    if name not in catalog.figures().values():
        yield f"{where} has no figure; write companion/figures/{name}.py."


def _expected(name: str) -> dict[str, str]:
    declared = catalog.constant(name, "EXPECTED")
    return declared if isinstance(declared, dict) else {}


def _named_claims(name: str) -> set[str]:
    """Ids that the module's judge writes out in full."""
    tree = ast.parse((PACKAGE / "experiments" / f"{name}.py").read_text(encoding="utf-8"))
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _JUDGING
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def _figures(chapters: list[Chapter]) -> Iterator[str]:
    figures = catalog.figures()
    for identifier, experiment in figures.items():
        where = f"companion/figures/{experiment}.py"
        if experiment not in catalog.experiments():
            near = _told(one_of, "experiment", experiment, catalog.experiments())
            yield f"{where} is named like no experiment: {next(near, '')}"
        elif not any(f'"{identifier}"' in text for text in _code(chapters)):
            yield f'{where}: no chapter shows {identifier}; write show("{identifier}", result).'
        yield from _told(
            importlib.import_module, f"companion.figures.{experiment.replace('/', '.')}"
        )
    for chapter in chapters:
        for text in (cell.source for cell in chapter.code):
            for shown in _SHOWN.findall(text):
                for problem in _told(catalog.check_figure, shown):
                    yield f"{chapter.name}.md: {problem}"


def _pages(book: Book, chapters: list[Chapter]) -> Iterator[str]:
    listed = set(book.pages)
    for path in sorted((book.root / "book").rglob("*.md")):
        page = str(path.relative_to(book.root).with_suffix(""))
        if page not in listed and not {"published", "records"} & set(path.parts):
            yield f"{page}.md is in no table of contents; name it in book/papers.yml or _toc.yml."
    for chapter in chapters:
        for name in chapter.experiments:
            for problem in _told(catalog.check_experiment, name):
                yield f"{chapter.name}.md: {problem}"
    known = parse_file(str(BOOK / "references.bib")).entries
    for page in book.pages:
        text = read_page(book.path(page))
        for role, content in _PLACED.findall(text):
            if not re.fullmatch(r"(?:\w+/\w+ )?[\w.]+:[^`]*", content):
                yield (
                    f"{page}.md: {{{role}}}`{content}` has no format; write "
                    f"{{{role}}}`{content}:.3g`."
                )
        for keys in _CITED.findall(text):
            for key in keys.split(","):
                if key.strip() not in known:
                    yield f"{page}.md cites '{key.strip()}', which is not in book/references.bib."
    for kind in ("ledger", "gallery"):
        yield from _sections(book, kind)
    letters = (BOOK / "notation.md").read_text(encoding="utf-8")
    for paper in papers().values():
        author, year = paper.name.split()[0], re.sub(r"\D", "", paper.name)
        if paper.chapters and not paper.ours and not re.search(rf"\| {author}\b.*{year}", letters):
            yield f"book/notation.md has no column for the letters of {paper.name}."


def _sections(book: Book, kind: str) -> Iterator[str]:
    """Whether every paper with claims has its section on some page."""
    shown = {
        match
        for page in book.pages
        for match in re.findall(
            rf"^```\{{{kind}\}} *(\w*)$", read_page(book.path(page)), re.MULTILINE
        )
    }
    if "" in shown:
        return
    for paper in dict.fromkeys(claim.paper for claim in catalog.claims().values()):
        if paper not in shown:
            yield f"no page has a {{{kind}}} of {paper}; {{{kind}}} without a name shows all."


def _unfinished() -> Iterator[str]:
    """What `companion new` has left to be written."""
    files = [BOOK / name for name in ("claims.csv", "papers.yml", "references.bib")]
    for folder in (PACKAGE / "experiments", PACKAGE / "figures", BOOK):
        files += sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".md"))
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        if count := sum("TODO:" in line or line.endswith("{TODO},") for line in lines):
            yield f"{path.relative_to(PROJECT)} has {count} lines to do, marked TODO."


def _code(chapters: list[Chapter]) -> list[str]:
    return [cell.source for chapter in chapters for cell in chapter.code]


def _told(attempt: Callable[..., object], *arguments: object) -> Iterator[str]:
    """What an attempt is refused with, or fails with, in one sentence."""
    try:
        attempt(*arguments)
    except (InputError, BuildError) as problem:
        yield str(problem)
    except Exception as problem:  # of a module that somebody is writing
        frame = Path(getattr(problem, "filename", None) or "").name
        told = " ".join(str(problem).split())
        yield f"{type(problem).__name__}{f' in {frame}' if frame else ''}: {told}."
