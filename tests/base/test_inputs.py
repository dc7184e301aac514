"""The door for files: what is not known beforehand is refused, however it is opened."""

from pathlib import Path

import pytest

from companion.base import inputs
from companion.base.inputs import book_file, input_file, note_input, only
from companion.errors import InputError
from companion.lab.catalog import published


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book with two files, in place of the real one."""
    monkeypatch.setattr(inputs, "BOOK", tmp_path / "book")
    for name in ("a.csv", "b.csv"):
        path = tmp_path / "book" / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x,y\n1,2\n")
    return tmp_path / "book"


def test_outside_of_any_work_everything_may_be_read(book: Path) -> None:
    assert book_file("published/a.csv") == book / "published" / "a.csv"
    assert published("a")["y"].tolist() == [2]


def test_what_is_declared_is_let_in_and_the_rest_is_not(book: Path, tmp_path: Path) -> None:
    with only("the run of x", [book / "published" / "a.csv", "digits"], "declare it"):
        assert published("a")["y"].tolist() == [2]
        note_input("digits")
        with pytest.raises(InputError) as refusal:
            published("b")
        with pytest.raises(InputError, match=r"mine\.npz without having said so"):
            input_file(tmp_path / "mine.npz")
    assert str(refusal.value) == (
        f"the run of x reads {book}/published/b.csv without having said so; declare it."
    )
    assert published("b")["x"].tolist() == [1]


def test_a_file_of_the_book_cannot_be_opened_past_the_door(book: Path, tmp_path: Path) -> None:
    path = book / "published" / "b.csv"
    (tmp_path / "link").symlink_to(path)
    with only("the run of x", [], "declare it"):
        for way in (
            *(path.read_text, path.read_bytes, lambda: path.open().close()),
            lambda: open(path, "rb").close(),
            (tmp_path / "link").read_text,
        ):
            with pytest.raises(InputError, match=r"b\.csv without having said so"):
                way()
        (tmp_path / "other").write_text("elsewhere")
        assert (tmp_path / "other").read_text() == "elsewhere"


def test_work_within_work_has_its_own_inputs(book: Path) -> None:
    with only("the build", [book / "published" / "a.csv"], "declare it"):
        with (
            only("the judge", [], "put it there"),
            pytest.raises(InputError, match=r"the judge reads .*; put it there"),
        ):
            published("a")
        assert published("a")["y"].tolist() == [2]


def test_a_link_to_a_declared_file_is_that_file(book: Path, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(book / "published" / "a.csv")
    with only("the run", [tmp_path / "link.csv"], "declare it"):
        assert published("a")["y"].tolist() == [2]
