"""Where the project's files lie, in a checkout and in an installed package."""

from pathlib import Path

from platformdirs import user_cache_dir

from companion.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
PROJECT = PACKAGE.parent
# An installed package brings the files of the book that experiments read (see setup.py); the
# pages, the benchmark's programs and the tests are in a checkout alone.
IS_CHECKOUT = (PROJECT / "_toc.yml").is_file()
BOOK = PROJECT / "book" if IS_CHECKOUT else PACKAGE / "_book"
# Where results and built books are kept if nothing else is asked for.
CACHE = PROJECT / "_build" if IS_CHECKOUT else Path(user_cache_dir("companion"))


def brief(path: Path) -> str:
    """A path as seen from the project, so that it is the same in every checkout."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def check_checkout(what: str) -> None:
    """Refuse what needs more files than an installed package has.

    Raises:
        InputError: this is not a checkout.
    """
    if not IS_CHECKOUT:
        raise InputError(
            f"{what} needs files that an installed package does not have; run it in a checkout of "
            "the project."
        )
