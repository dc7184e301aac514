"""The real book: every claim has its place, and the house rules of a chapter hold."""

import ast
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from companion.base.paths import BOOK, PROJECT
from companion.lab import catalog
from companion.lab.papers import Paper, papers
from companion.press.book import Book
from companion.press.chapters import Chapter, read, read_page

REAL = Book()
API = "book/engines/api"
CHAPTERS = [c for page in REAL.pages if (c := read(page, REAL.path(page)))]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
).stdout.split()


def visible(chapter: Chapter) -> list[str]:
    """Code lines that a reader sees."""
    cells = [c for c in chapter.code if "hide-input" not in c.metadata.get("tags", [])]
    return [line for cell in cells for line in cell.source.splitlines() if line.strip()]


def test_every_claim_is_judged_by_exactly_one_experiment() -> None:
    judged = [claim for name in catalog.experiments() for claim in catalog.expected(name)]
    assert sorted(judged) == sorted(catalog.claims())


def test_every_experiment_has_a_chapter_a_figure_and_a_test() -> None:
    shown = {name for chapter in CHAPTERS for name in chapter.experiments}
    assert shown == set(catalog.experiments())
    assert set(catalog.figures().values()) == set(catalog.experiments())
    for name in catalog.experiments():
        paper, short = name.split("/")
        assert (PROJECT / f"tests/experiments/{paper}/test_{short}.py").is_file()


def test_every_figure_is_shown_on_a_page() -> None:
    text = "\n".join(cell.source for chapter in CHAPTERS for cell in chapter.code)
    shown = set(re.findall(r'show\("([\w-]+)"', text))
    assert shown == set(catalog.figures())


def test_every_page_in_the_folder_is_in_the_contents() -> None:
    pages = {
        str(path.relative_to(PROJECT).with_suffix(""))
        for path in (PROJECT / "book").rglob("*.md")
        if "published" not in path.parts and "records" not in path.parts
    }
    assert pages == set(REAL.pages)


@pytest.mark.parametrize(
    "paper", [p for p in papers().values() if "index" in p.chapters and not p.ours]
)
def test_the_first_page_of_a_paper_lists_its_other_pages(paper: Paper) -> None:
    listed = re.findall(r"\{doc\}`(\w+)`", (BOOK / paper.id / "index.md").read_text("utf-8"))
    assert set(paper.chapters) - {"index"} <= set(listed)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.name)
def test_a_chapter_is_thin_and_takes_parameters(chapter: Chapter) -> None:
    assert len(visible(chapter)) <= 20
    assert chapter.parameters == {"profile": "str", "device": "str", "settings": "dict"}
    assert len(chapter.experiments) == 1
    calls = [
        node
        for cell in chapter.code
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("reproduce", "reproduce_or_recorded")
    ]
    assert len(calls) == 1
    assert ast.unparse(calls[0]).endswith("profile, device, **settings)")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.name)
def test_a_chapter_states_a_claim_and_quotes_source(chapter: Chapter) -> None:
    prose = "\n".join(c.source for c in chapter.notebook.cells if c.cell_type == "markdown")
    assert "{literalinclude}" in prose
    own = papers()[chapter.name.split("/")[1]].ours
    assert own or re.search(r"\{prf:\w+\}|^## What the paper states$", prose, re.MULTILINE)


def test_every_public_name_is_on_the_page_of_the_library() -> None:
    shown = re.findall(r"^\.\. [\w:]+:: companion\.(\w+)", read_page(REAL.path(API)), re.MULTILINE)
    stub = ast.parse((PROJECT / "companion" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert sorted(shown) == sorted(alias.name for node in imports for alias in node.names)


def test_no_notebook_and_no_large_file_is_committed() -> None:
    assert not [name for name in TRACKED if name.endswith(".ipynb")]
    large = [n for n in TRACKED if (PROJECT / n).stat().st_size > 2**20]
    assert not large


def test_no_record_is_damaged_or_stray() -> None:
    from companion.lab.reproduce import iter_records

    for record in iter_records():
        assert record.experiment in catalog.experiments()
        assert record.profile == "paper"
        assert "changes" not in str(record.provenance["commit"])


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_the_ledger_of_the_book_covers_every_claim(whole_book: Book) -> None:
    rows = json.loads((whole_book.output / "html" / "claims.json").read_text(encoding="utf-8"))
    assert {row["id"] for row in rows} == set(catalog.claims())
    for row in rows:
        expected = catalog.expected(row["experiment"], row["profile"])
        assert row["outcome"] == expected[row["id"]], row["id"]


def test_public_functions_of_the_package_are_documented() -> None:
    bare = []
    for path in sorted((PROJECT / "companion").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                bare.append(f"{path.name}:{node.name}")
    assert bare == []


def test_published_files_are_described() -> None:
    folder = BOOK / "published"
    described = (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("*.csv"):
        assert f"`{path.name}`" in described
        columns = catalog.published(path.stem)
        assert all(np.isfinite(column).all() for column in columns.values())
        if "epoch" in columns:
            assert len(columns["epoch"]) == 100


def test_citation_file_has_the_package_version() -> None:
    import yaml

    import companion

    cited = yaml.safe_load(Path(PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == companion.__version__
