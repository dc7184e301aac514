"""The one door for files that enter numbers: what is read is noted, and must be known beforehand.

A key over files can only be right if nobody reads a file that is not in it. So whoever computes a
key says which files it covers, and while that work is under way nothing else is let through.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from companion.base.paths import BOOK
from companion.errors import InputError

# The images of digits, wherever they lie on this machine; their checksum is known.
DIGITS = "digits"
# The five training batches of CIFAR-10 and its test batch; their checksums are known.
CIFAR10 = "cifar10"


@dataclass(frozen=True)
class Known:
    """What may be read while some work is under way.

    Attributes:
        who: that work, in words, e.g. `the run of du2019/figure1`.
        inputs: real paths of files, and `digits` or `cifar10`.
        instead: what to do about an input that is not among them.
    """

    who: str
    inputs: frozenset[str]
    instead: str


_KNOWN: ContextVar[Known | None] = ContextVar("KNOWN", default=None)


def input_file(path: Path) -> Path:
    """Let a file in, and return its path; all that enters numbers is read through here.

    Raises:
        InputError: the work under way has not declared it.
    """
    note_input(os.path.realpath(path))
    return path


def book_file(name: str) -> Path:
    """Let in a file of the book, e.g. `published/du2019_fig1a.csv`, and return its path.

    Raises:
        InputError: the work under way has not declared it.
    """
    return input_file(BOOK / name)


def note_input(name: str) -> None:
    """Let in what has no path, such as `digits`.

    Raises:
        InputError: the work under way has not declared it.
    """
    known = _KNOWN.get()
    if known is not None and name not in known.inputs:
        raise InputError(f"{known.who} reads {name} without having said so; {known.instead}.")


@contextlib.contextmanager
def only(who: str, inputs: Iterable[Path | str], instead: str) -> Iterator[None]:
    """While this is entered, nothing but `inputs` is let in, and no other file of the book opened.

    Args:
        who: whose inputs they are, in words.
        inputs: files, or `digits` or `cifar10`.
        instead: what to do about an input that is not among them.
    """
    _watch()
    names = (i if isinstance(i, str) else os.path.realpath(i) for i in inputs)
    token = _KNOWN.set(Known(who, frozenset(names), instead))
    try:
        yield
    finally:
        _KNOWN.reset(token)


@functools.cache
def _watch() -> None:
    """Look at every file that Python opens from now on."""
    sys.addaudithook(_refuse_unknown)


def _refuse_unknown(event: str, details: tuple[object, ...]) -> None:
    if event != "open" or _KNOWN.get() is None or not isinstance(details[0], str | os.PathLike):
        return
    path = os.path.realpath(os.fspath(details[0]))
    if isinstance(path, str) and path.startswith(os.path.realpath(BOOK) + os.sep):
        note_input(path)
