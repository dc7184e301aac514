"""The contents that readers find their way by: papers with their pages below, names that differ."""

import re
from pathlib import Path

from companion.press.book import Book
from companion.press.chapters import read_page

REAL = Book()
DECLARED = """
a1:
  {name: A (1), subject: s, colour: "#000000", chapters: [index, 1_one, 2_two]}
b2:
  {name: B (2), subject: s, colour: "#000000"}
code:
  {name: Code, subject: s, colour: "#000000", chapters: [index], ours: true}
"""


def test_the_chapters_of_a_paper_stand_below_its_first(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "papers.yml").write_text(DECLARED)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts: [{caption: Rest, chapters: [{file: book/x}]}]\n"
    )
    book = Book(tmp_path)
    below = [{"file": "book/a1/1_one"}, {"file": "book/a1/2_two"}]
    assert book.contents["parts"] == [
        {"caption": "The papers", "chapters": [{"file": "book/a1/index", "sections": below}]},
        {"caption": "The package", "chapters": [{"file": "book/code/index"}]},
        {"caption": "Rest", "chapters": [{"file": "book/x"}]},
    ]
    assert book.pages == [
        *("book/index", "book/a1/index", "book/a1/1_one", "book/a1/2_two"),
        *("book/code/index", "book/x"),
    ]


def test_no_two_pages_have_names_that_begin_alike() -> None:
    """After the section's number, which several pages of a section share."""
    names = {}
    for page in REAL.pages:
        heading = re.search(r"^# (.+)$", read_page(REAL.path(page)), re.MULTILINE)
        assert heading, page
        names[page] = re.sub(r"^[\d.]+ ", "", heading[1])
    begun = [" ".join(name.split()[:4]) for name in names.values()]
    assert len(set(begun)) == len(begun), sorted(begun)
