"""The papers of the book, each declared once, in `book/papers.yml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from companion.base.paths import BOOK
from companion.errors import ContractError

_WORDS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip


@dataclass(frozen=True)
class Paper:
    """One paper, or what stands beside them as one does.

    Attributes:
        id: key in `papers.yml`, name of its folders, and its entry in `references.bib`.
        name: as the contents and the ledger call it.
        subject: what it is about, in a few words.
        colour: that its tables and figures are marked with.
        chapters: pages below `book/<id>`, in order.
        ours: whether it is not a paper but a part of the companion's own.
    """

    id: str
    name: str
    subject: str
    colour: str
    chapters: tuple[str, ...] = ()
    ours: bool = False

    @property
    def start(self) -> str:
        """Its first page, or nothing; a part of our own without chapters is the page of its id."""
        if self.chapters:
            return f"book/{self.id}/{self.chapters[0]}"
        return f"book/{self.id}" if self.ours else ""


@cache
def papers(path: Path = BOOK / "papers.yml") -> dict[str, Paper]:
    """Every paper, by id, in the order of the book.

    Raises:
        ContractError: the file is no mapping of ids to declarations.
    """
    try:
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: _paper(path, name, entry) for name, entry in declared.items()}
    except (yaml.YAMLError, AttributeError) as error:
        raise ContractError(f"{path} is not readable as one entry per paper.") from error


def in_words(count: int) -> str:
    """A small number as English has it."""
    return _WORDS[count] if count < len(_WORDS) else str(count)


def _paper(path: Path, name: str, entry: Any) -> Paper:
    if not isinstance(entry, Mapping):
        raise ContractError(f"{path}: {name} has no name, subject and colour.")
    known = {"name", "subject", "colour", "chapters", "ours"}
    for key in entry:
        if key not in known:
            raise ContractError(
                f"{path}: {name} has '{key}', which is none of {', '.join(sorted(known))}."
            )
    for key in ("name", "subject", "colour"):
        if not isinstance(entry.get(key), str):
            raise ContractError(f"{path}: {name} has no '{key}:'.")
    chapters = tuple(entry.get("chapters") or ())
    return Paper(
        name, entry["name"], entry["subject"], entry["colour"], chapters, bool(entry.get("ours"))
    )
