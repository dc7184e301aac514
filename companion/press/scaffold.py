"""The files of a new claim, written so that they already run."""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from companion.base.files import write_atomically
from companion.base.paths import BOOK, PACKAGE, PROJECT, check_checkout
from companion.errors import InputError
from companion.lab import catalog
from companion.lab.papers import papers

SKELETONS = Path(__file__).parent / "skeleton"
_KINDS = {
    "thm": "Theorem", "lem": "Lemma", "cor": "Corollary", "prop": "Proposition", "rem": "Remark",
    "ass": "Assumption", "def": "Definition", "fig": "Figure", "eq": "Eq.", "cond": "Condition",
}  # fmt: skip


def write_new(experiment: str, claim: str) -> list[Path]:
    """Write experiment, figure, chapter and test of a claim, and register it; nothing is replaced.

    What is registered: the claim's row in `book/claims.csv`, the chapter in `book/papers.yml`, and
    for a paper that is new its declaration there and its entry in `book/references.bib`.

    Args:
        experiment: e.g. `arora2019/label_rates`.
        claim: the claim's id without the paper's, e.g. `thm4.1`.

    Returns:
        The files that were written or changed.

    Raises:
        InputError: no such name can be given, or it is taken.
    """
    check_checkout("writing new files")
    paper, name = _checked(experiment)
    identifier = f"{paper}-{claim}"
    if not re.fullmatch(r"[A-Za-z0-9.-]+", claim):
        raise InputError(f"claim '{claim}' is no id; write one like thm4.1.")
    if identifier in catalog.claims():
        raise InputError(f"{identifier} is a claim already; choose another id.")
    known = papers().get(paper)
    words = {
        "experiment": experiment,
        "paper": paper,
        "paper_name": known.name if known else paper,
        "name": name,
        "claim": identifier,
        "number": _number(claim),
        "label": identifier.replace(".", "-").lower(),
        "function": name,
        "figure": f"{paper}-{name.replace('_', '-')}",
    }
    files = _files(paper, name)
    taken = [path for path in files.values() if path.exists()]
    if taken:
        raise InputError(f"{taken[0].relative_to(PROJECT)} is there already; choose another name.")
    for skeleton, path in files.items():
        _package(path, paper)
        template = Template((SKELETONS / f"{skeleton}.txt").read_text(encoding="utf-8"))
        _write(path, template.substitute(words))
    return [*files.values(), *_register(paper, name, words, new=known is None)]


def _checked(experiment: str) -> tuple[str, str]:
    match = re.fullmatch(r"([a-z][a-z0-9]*)/([a-z][a-z0-9_]*)", experiment)
    if not match:
        raise InputError(
            f"'{experiment}' is no name of an experiment; write paper/name, such as "
            "arora2019/label_rates."
        )
    return match[1], match[2]


def _files(paper: str, name: str) -> dict[str, Path]:
    return {
        "experiment.py": PACKAGE / "experiments" / paper / f"{name}.py",
        "figure.py": PACKAGE / "figures" / paper / f"{name}.py",
        "chapter.md": BOOK / paper / f"{name}.md",
        "test.py": PROJECT / "tests" / "experiments" / paper / f"test_{name}.py",
    }


def _package(path: Path, paper: str) -> None:
    """Folders of the package say what they hold."""
    start = path.parent / "__init__.py"
    if PACKAGE in path.parents and not start.exists():
        _write(start, f'"""TODO: what {paper} is about."""\n')


def _register(paper: str, name: str, words: Mapping[str, str], new: bool) -> list[Path]:
    table, declared, references = (
        BOOK / file for file in ("claims.csv", "papers.yml", "references.bib")
    )
    row = io.StringIO()
    kind = words["number"].split()[0].lower()
    csv.writer(row, lineterminator="\n").writerow(
        [words["claim"], paper, words["number"], kind, "TODO: a name", "TODO: the statement.", ""]
    )
    _write(table, table.read_text(encoding="utf-8") + row.getvalue())
    text = declared.read_text(encoding="utf-8")
    if new:
        text += f'{paper}:\n  name: {paper}\n  subject: "TODO"\n  colour: "#56b4e9"\n'
    _write(declared, _with_chapter(text, paper, name))
    if not new:
        return [table, declared]
    entry = f"\n@misc{{{paper},\n  title = {{TODO}},\n  author = {{TODO}},\n  year = {{2000}}\n}}\n"
    _write(references, references.read_text(encoding="utf-8") + entry)
    return [table, declared, references]


def _with_chapter(text: str, paper: str, name: str) -> str:
    """The declarations with one more chapter of that paper, all else as it is written."""
    start = re.search(rf"^{paper}:\n", text, re.MULTILINE)
    if start is None:  # declared in some other way than this file's own
        raise InputError(f"book/papers.yml has no line '{paper}:'; add the chapter {name} there.")
    end = re.compile(r"^\S", re.MULTILINE).search(text, start.end())
    before, entry, after = (
        text[: start.end()],
        text[start.end() : end.start() if end else len(text)],
        text[end.start() :] if end else "",
    )
    if "  chapters:\n" not in entry:
        entry += "  chapters:\n"
    return f"{before}{entry}    - {name}\n{after}"


def _number(claim: str) -> str:
    """`Theorem 4.1` for `thm4.1`."""
    match = re.fullmatch(r"([a-z]+)([A-Z]?[\d.]+.*)", claim)
    return f"{_KINDS.get(match[1], match[1])} {match[2]}" if match else claim


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
