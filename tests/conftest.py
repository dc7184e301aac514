"""Fixtures that several folders of tests share."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from companion.base.paths import PROJECT
from companion.press.book import Book, build


def pytest_configure(config: pytest.Config) -> None:
    """Every run computes anew what it judges: one empty store and cache for all its workers."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="companion-tests-")
        os.environ["COMPANION_STORE"] = os.path.join(folder, "store")
        os.environ["XDG_CACHE_HOME"] = os.path.join(folder, "cache")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of this test's own."""
    folder = tmp_path / "store"
    monkeypatch.setenv("COMPANION_STORE", str(folder))
    return folder


@pytest.fixture
def ctrl_c():
    """Ctrl-C interrupts, also where the tests run in the background of a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A book of three pages, built by the code that builds the real one."""
    root = tmp_path_factory.mktemp("small") / "book"
    shutil.copytree(PROJECT / "tests" / "small_book", root)
    shutil.copy(PROJECT / "_config.yml", root)
    shutil.copy(PROJECT / "book" / "references.bib", root / "book")
    book = Book(root, root.parent / "built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_STORE", str(root.parent / "store"))
        build(book, jobs=1, say=lambda line: None)
    return book


@pytest.fixture(scope="session")
def whole_book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """The real book, built from the sources as they are."""
    book = Book(PROJECT, tmp_path_factory.mktemp("whole") / "built")
    build(book, jobs=1, say=lambda line: None)
    return book


@pytest.fixture(scope="session", params=["small", "whole"])
def built_site(request: pytest.FixtureRequest) -> Path:
    """Both books' sites."""
    book: Book = request.getfixturevalue(f"{request.param}_book")
    return book.output / "html"
