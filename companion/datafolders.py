"""Where real data may lie on this machine, in the order of search; nothing is read here.

COMPANION_DATA names the one folder that is searched, so that a build says what it was given. If it
is not set, there are a `shared/data` folder beside the project and this user's cache.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from companion.base.paths import PROJECT
from companion.errors import InputError

# What the official archives call a data set's folder, where it is not the data set's name.
_OTHER_NAMES = {"cifar10": ("cifar-10-batches-bin",)}


def places(data: str) -> Iterator[Path]:
    """Every folder in which files of a data set may lie, the first to be preferred.

    Args:
        data: `mnist` or `cifar10`; its files lie in a folder of that name, or without one.

    Raises:
        InputError: COMPANION_DATA names no folder.
    """
    for root in folders():
        yield from (root / name for name in (data, *_OTHER_NAMES.get(data, ()), "."))


def folders() -> list[Path]:
    """The folders of data in the order of search.

    Raises:
        InputError: COMPANION_DATA names no folder.
    """
    named = os.environ.get("COMPANION_DATA")
    if not named:
        return [PROJECT.parent / "shared" / "data", cache_folder()]
    if not Path(named).is_dir():
        raise InputError(
            f"COMPANION_DATA={named} is no folder; name the one that holds mnist and cifar10, or "
            "unset it."
        )
    return [Path(named)]


def fetched_to(data: str) -> Path:
    """Where the files of a data set are put when they are fetched: they are found there."""
    return Path(os.environ.get("COMPANION_DATA") or cache_folder()) / data


def cache_folder() -> Path:
    """Of this user, for what was fetched or decompressed."""
    return Path(platformdirs.user_cache_dir("companion"))
