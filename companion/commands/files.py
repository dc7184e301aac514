"""Files that commands write."""

from pathlib import Path

from companion.base.files import check_target
from companion.errors import InputError


def check_file(file: Path | None) -> None:
    """Refuse a file that cannot be written before anything is computed, not after.

    Raises:
        InputError: its folder is not there, or as of `check_target`.
    """
    if file is None:
        return
    if not file.parent.is_dir():  # more likely misspelt than to be made
        raise InputError(f"cannot write {file}: there is no folder {file.parent}.")
    check_target(file)
