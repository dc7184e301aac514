"""Members of tar archives that strangers packed: by name and size, and never written from here."""

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from companion.errors import InputError


def members(archive: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """The wanted files of a .tar.gz, as name and content, in the order of the archive.

    Nothing is extracted: what is read is given to the caller, who checks it and names the file.

    Args:
        archive: the file.
        sizes: wanted name, without folders -> its size in bytes; a member of another size is none.

    Raises:
        InputError: it is no such archive, is cut off, or has a member whose path leads out of it.
    """
    try:
        with tarfile.open(archive, "r|gz") as stream:
            for member in stream:
                path = PurePosixPath(member.name.replace("\\", "/"))
                drive = ":" in member.name.partition("/")[0]  # of Windows
                if path.is_absolute() or ".." in path.parts or drive:
                    raise InputError(
                        f"{archive} has a member '{member.name}' that leads out of its folder; "
                        "delete it and fetch it again."
                    )
                content = stream.extractfile(member) if member.isfile() else None
                if content is not None and sizes.get(path.name) == member.size:
                    yield path.name, content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error):
        raise InputError(
            f"{archive} is no whole .tar.gz archive; delete it and fetch it again."
        ) from None
