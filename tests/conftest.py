"""Fixtures that several folders of tests share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from companion.book import Book, build
from companion.catalog import PROJECT


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of this test's own."""
    folder = tmp_path / "store"
    monkeypatch.setenv("COMPANION_STORE", str(folder))
    return folder


@pytest.fixture(scope="session")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """A book of three pages, built by the code that builds the real one."""
    root = tmp_path_factory.mktemp("small") / "book"
    shutil.copytree(PROJECT / "tests" / "small_book", root)
    shutil.copy(PROJECT / "_config.yml", root)
    shutil.copy(PROJECT / "book" / "references.bib", root / "book")
    book = Book(root, root.parent / "built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_STORE", str(root.parent / "store"))
        build(book, jobs=1, say=lambda line: None)
        yield book


@pytest.fixture(scope="session", params=["small", "whole"])
def built_site(request: pytest.FixtureRequest) -> Path:
    """The small book's site, and the whole book's where it has been built."""
    if request.param == "small":
        small: Book = request.getfixturevalue("small_book")
        return small.output / "html"
    whole = Book().output / "html"
    if not (whole / "index.html").is_file():
        pytest.skip("the book has not been built here; 'make book' does it")
    return whole
