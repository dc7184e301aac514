"""One real build of a small book, and what happens to it afterwards."""

import base64
import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import nbformat
import pytest
import xarray as xr
from filelock import FileLock

from companion.base import paths
from companion.base.paths import BOOK, PACKAGE
from companion.errors import BuildError, InputError
from companion.lab import catalog, modules
from companion.lab.fingerprint import differences, shown_inputs
from companion.lab.results import Result, Verdict
from companion.press import book as book_module
from companion.press.book import Book, build
from companion.press.chapters import Chapter, read
from companion.press.drawn import figure_basis
from companion.press.keeping import seal as seal_notebook

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]
FILES = ("svg", "pdf", "png", "csv", "json", "bib")


@pytest.fixture
def copy(small_book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    """The small book with what was built, for tests that change it."""
    shutil.copytree(small_book.root.parent, tmp_path / "small")
    monkeypatch.setenv("COMPANION_STORE", str(tmp_path / "small" / "store"))
    return Book(tmp_path / "small" / "book", tmp_path / "small" / "built")


def edit(book: Book, page: str, old: str, new: str) -> None:
    path = book.path(page)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def rebuild(book: Book) -> list[str]:
    told: list[str] = []
    build(book, jobs=1, say=told.append)
    return told


def test_the_site_is_whole(small_book: Book) -> None:
    site = small_book.output / "html"
    assert "book/index.html" in (site / "index.html").read_text()
    page = (site / "book" / "chapter.html").read_text()
    assert "injected" not in page
    assert "{value}" not in page
    assert "verdict-holds" in page
    assert page.count("fig-du2019-linear-rate") >= 2
    assert "companion run du2019/linear_rate" in page
    assert {p.name for p in (site / "figures").iterdir()} == {
        *(f"du2019-linear-rate.{kind}" for kind in FILES),
        "du2019-linear-rate-narrow.svg",
    }


def test_the_ledger_says_everything_it_promises(small_book: Book) -> None:
    rows = json.loads((small_book.output / "html" / "claims.json").read_text())
    assert {row["id"] for row in rows} == set(catalog.expected("du2019/linear_rate"))
    assert set(rows[0]) == {
        *("id", "paper", "number", "kind", "name", "outcome", "predicted", "measured"),
        *("tolerance", "slack", "control", "control_outcome", "checks", "sentence", "experiment"),
        *("figure", "page", "profile", "fingerprint", "record"),
        *("rests_on", "supports", "scope", "evidence"),
        *("fresh", "fresh_stayed", "fresh_families", "fresh_others"),
    }
    shown = {row["id"] for row in rows if row["figure"] == "du2019-linear-rate"}
    assert shown == {"du2019-thm4.1", "du2019-thm4.1-rate", "du2019-cond4.1"}
    assert all(row["control"] and row["control_outcome"] and row["checks"] for row in rows)
    assert all((small_book.output / "html" / row["page"]).is_file() for row in rows)
    table = (small_book.output / "html" / "book" / "verdicts.html").read_text()
    assert table.count(">du2019/linear_rate<") == len(rows)
    assert f"{len(rows)} claims: " in table


def test_the_notebook_to_download_needs_no_file_beside_it(small_book: Book) -> None:
    site = small_book.output / "html"
    assert 'href="../_sources/book/chapter.ipynb"' in (site / "book" / "chapter.html").read_text()
    notebook = nbformat.read(site / "_sources" / "book" / "chapter.ipynb", as_version=4)
    nbformat.validate(notebook)
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", [])]
    table, drawn = shown
    assert table["text/markdown"].startswith("| claim | outcome |")
    drawing = site / "figures" / "du2019-linear-rate.png"
    assert base64.b64decode(drawn["image/png"]) == drawing.read_bytes()
    assert set(table) | set(drawn) == {"text/markdown", "text/plain", "image/png"}
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "*du2019-linear-rate.* " in prose
    assert r"asks for a width of $" in prose
    assert not re.search(r"\{[a-z][\w:]*\}", prose.replace(r"\lambda_{\min}", ""))
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [cell.source for cell in small_chapter(small_book).code]


def small_chapter(book: Book) -> Chapter:
    chapter = read("book/chapter", book.path("book/chapter"))
    assert chapter is not None
    return chapter


def test_pages_describe_themselves_to_those_who_link_them(small_book: Book) -> None:
    site = small_book.output / "html"
    for page in ("index", "book/index", "book/chapter", "book/verdicts"):
        head = (site / f"{page}.html").read_text().partition("</head>")[0]
        for name in ('name="description"', 'property="og:title"', 'property="og:description"'):
            assert head.count(name) == 1, (page, name)
    assert '<meta property="og:title" content="A small book">' in (site / "index.html").read_text()


def test_figure_files_are_the_same_bytes_again(small_book: Book, copy: Book) -> None:
    shutil.rmtree(copy.output / "figures")
    shutil.rmtree(copy.output / "executed")
    rebuild(copy)
    for kind in FILES:
        name = f"html/figures/du2019-linear-rate.{kind}"
        assert (copy.output / name).read_bytes() == (small_book.output / name).read_bytes(), kind


def test_a_prose_edit_rebuilds_the_page_and_runs_nothing(copy: Book) -> None:
    edit(copy, "book/chapter", "the theorem asks", "the theorem, however, asks")
    assert any("unchanged" in line for line in rebuild(copy))
    assert "however" in (copy.output / "html" / "book" / "chapter.html").read_text()


def test_a_code_edit_runs_the_chapter(copy: Book) -> None:
    edit(copy, "book/chapter", '"steps": 10', '"steps": 11')
    assert any("ran in" in line for line in rebuild(copy))


def test_a_result_and_a_figure_shown_twice_stand_once_under_their_labels(copy: Book) -> None:
    """As on a page whose record and whose run are the same result."""
    cell = "```{code-cell} python\n:tags: [hide-input]\nfrom companion.figures"
    twice = f"```{{code-cell}} python\nresult\n```\n\n{cell}"
    edit(copy, "book/chapter", cell, twice)
    again = '```{code-cell} python\nshow("du2019-linear-rate", result)\n```\n\nIn {numref}'
    edit(copy, "book/chapter", "In {numref}", again)
    rebuild(copy)
    page = (copy.output / "html" / "book" / "chapter.html").read_text()
    assert page.count('id="fig-du2019-linear-rate"') == 1
    assert page.count('id="verdict-du2019-cor4-1"') == 1


def test_a_page_that_left_the_contents_leaves_the_site(copy: Book) -> None:
    toc = copy.root / "_toc.yml"
    toc.write_text(toc.read_text().replace("  - file: book/verdicts\n", ""))
    rebuild(copy)
    assert not (copy.output / "html" / "book" / "verdicts.html").exists()


BREAKAGES = {
    "an unknown number": ("lambda_0:.3f", "lambda_zero:.3f", "quotes lambda_zero"),
    "a format that does not fit": ("lambda_0:.3f", "lambda_0:d", "which 0.* refuses"),
    "a citation that is not there": ("In {numref}", "{cite}`nobody` in {numref}", "nobody"),
    "a reference that is not there": ("In {numref}", "{ref}`nowhere` in {numref}", "nowhere"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_what_does_not_resolve_fails_and_the_old_site_stands(copy: Book, breakage: str) -> None:
    old, new, sentence = BREAKAGES[breakage]
    before = (copy.output / "html" / "book" / "chapter.html").read_bytes()
    edit(copy, "book/chapter", old, new)
    with pytest.raises(BuildError, match=sentence):
        rebuild(copy)
    assert (copy.output / "html" / "book" / "chapter.html").read_bytes() == before


def test_an_unexpected_verdict_fails_the_build(copy: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    from companion.press import ledger

    path = copy.output / "executed" / "book" / "chapter.ipynb"
    text = path.read_text().replace('"outcome": "holds"', '"outcome": "fails"')
    notebook = nbformat.reads(text, as_version=4)
    seal_notebook(notebook, notebook.metadata.companion.basis, 1.0)
    path.write_text(nbformat.writes(notebook))
    monkeypatch.setattr(ledger, "_is_custom", lambda result: False)
    with pytest.raises(BuildError, match=r"du2019-cor4\.1 is 'fails' where du2019/linear_rate"):
        rebuild(copy)


def test_a_page_missing_from_the_folder_is_named(copy: Book) -> None:
    copy.path("book/verdicts").unlink()
    with pytest.raises(InputError, match="names book/verdicts, but there is no"):
        rebuild(copy)


def test_an_output_that_cannot_be_written_is_refused_first(copy: Book, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        build(Book(copy.root, tmp_path / "file" / "out"), jobs=1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shutil.rmtree(folder),
        lambda folder: (folder / "du2019-linear-rate.svg").unlink(),
        lambda folder: (folder / "du2019-linear-rate.svg").write_text(""),
        lambda folder: (folder / "du2019-linear-rate.csv").write_text("k,misfit\n"),
        lambda folder: (folder / "du2019-linear-rate.json").write_text("{}"),
    ],
    ids=["all gone", "one gone", "emptied", "other numbers", "no caption"],
)
def test_damaged_figure_files_are_drawn_again(
    small_book: Book, copy: Book, damage: Callable[[Path], None]
) -> None:
    (folder,) = (
        p for p in (copy.output / "figures" / "du2019-linear-rate").iterdir() if p.is_dir()
    )
    damage(folder)
    rebuild(copy)
    for kind in FILES:
        name = f"html/figures/du2019-linear-rate.{kind}"
        assert (copy.output / name).read_bytes() == (small_book.output / name).read_bytes(), kind


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("")])
def test_what_sphinx_made_is_made_again_if_touched(
    copy: Book, damage: Callable[[Path], None]
) -> None:
    """Sphinx itself would leave the page missing, or the emptied page in its place."""
    made = copy.output / "site" / "_build"
    for path in (
        made / "html" / "book" / "chapter.html",
        made / ".doctrees" / "environment.pickle",
    ):
        damage(path)
        rebuild(copy)
        assert path.stat().st_size > 0
        assert "the theorem asks" in (copy.output / "html" / "book" / "chapter.html").read_text()


def test_complaints_are_made_again_until_they_are_mended(copy: Book) -> None:
    """Sphinx says nothing again of a page that has not changed since it complained."""
    edit(copy, "book/chapter", "In {numref}", "{cite}`nobody` in {numref}")
    for _ in range(2):
        with pytest.raises(BuildError, match="nobody"):
            rebuild(copy)


def test_a_second_build_waits_for_the_first(copy: Book) -> None:
    told: list[str] = []
    with FileLock(copy.output / ".lock") as lock:
        waiting = Thread(target=build, args=(copy,), kwargs={"jobs": 1, "say": told.append})
        waiting.start()
        while not told:
            assert waiting.is_alive()
            waiting.join(0.05)
        assert told == [f"another build is at work in {copy.output}; waiting for it"]
        lock.release()
        waiting.join()
    assert "unchanged" in told[1]


@pytest.mark.parametrize("name", ["html", "site", "figures"])
def test_a_user_s_folder_is_not_replaced(copy: Book, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine" / name / "file"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=f"holds '{name}', which a build would replace"):
        build(Book(copy.root, tmp_path / "mine"), jobs=1)
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine]


SLIPS = {
    "no folder": (lambda root: shutil.rmtree(root), r"has no _toc\.yml"),
    "no contents": (lambda root: (root / "_toc.yml").unlink(), r"has no _toc\.yml"),
    "empty contents": (lambda root: (root / "_toc.yml").write_text(""), "names no page"),
    "contents that are no YAML": (
        lambda root: (root / "_toc.yml").write_text("root: a\nb: [c"),
        r"_toc\.yml is not readable as YAML in line 2",
    ),
    "contents in latin-1": (
        lambda root: (root / "_toc.yml").write_bytes("root: Poczós".encode("latin-1")),
        r"_toc\.yml is not UTF-8 text",
    ),
    "no configuration": (lambda root: (root / "_config.yml").unlink(), r"has no _config\.yml"),
    "a list in itself": (
        lambda root: (root / "_toc.yml").write_text("chapters: &a\n- chapters: *a\n"),
        "a part of itself",
    ),
    "a page twice": (
        lambda root: (root / "_toc.yml").write_text(
            "root: book/index\nchapters:\n- file: book/chapter\n- file: book/chapter\n"
        ),
        "names book/chapter 2 times",
    ),
    "a page elsewhere": (
        lambda root: (root / "_toc.yml").write_text("root: ../book/index\n"),
        "no page below",
    ),
    "an empty entry": (
        lambda root: (root / "_toc.yml").write_text("root: book/index\nchapters:\n- file:\n"),
        "names None, which is no page below",
    ),
    "no title": (lambda root: (root / "_config.yml").write_text("a: b"), "has no 'title:'"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_folder_that_is_no_book_is_refused_in_a_sentence(copy: Book, slip: str) -> None:
    spoil, sentence = SLIPS[slip]
    spoil(copy.root)
    with pytest.raises(InputError, match=sentence) as caught:
        rebuild(copy)
    assert "\n" not in str(caught.value)


def test_a_figure_is_drawn_anew_when_anything_it_uses_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its helpers, the bounds it draws and the published values, not its own module alone."""
    shutil.copytree(PACKAGE, tmp_path / "companion")
    for name in ("published", "benchmarks"):
        shutil.copytree(BOOK / name, tmp_path / "book" / name)
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(sys.modules[shown_inputs.__module__], "BOOK", tmp_path / "book")
    flow, other = (
        Result(f"du2019/{name}", {}, xr.Dataset(), provenance={"created": "today"})
        for name in ("gradient_flow", "linear_rate")
    )
    before = figure_basis(flow), figure_basis(other)
    with (tmp_path / "companion" / "figures" / "du2019" / "gradient_flow.py").open("a") as helper:
        helper.write("# changed\n")
    assert differences(before[0], figure_basis(flow)) == [
        "file companion/figures/du2019/gradient_flow.py changed"
    ]
    assert figure_basis(other) == before[1]
    for path in (
        *("companion/bounds/du2019.py", "companion/figures/panels.py"),
        *("book/published/du2019_fig1a.csv", "book/benchmarks/two_cores.json"),
    ):
        known = figure_basis(other)
        (tmp_path / path).write_text((tmp_path / path).read_text() + "# changed\n")
        assert differences(known, figure_basis(other)) == [f"file {path} changed"]
    known = figure_basis(other)
    verdict = Verdict("du2019-thm4.1", "fails", "", "", "", "It fails.")
    for change in ({"fingerprint": "another"}, {"verdicts": (verdict,)}, {"values": {"a": 1}}):
        assert figure_basis(dataclasses.replace(other, **change)) != known


def test_toc_files_come_in_order() -> None:
    toc = {"root": "a", "parts": [{"caption": "x", "chapters": [{"file": "b"}, {"file": "c"}]}]}
    assert list(book_module._files(toc)) == ["a", "b", "c"]
