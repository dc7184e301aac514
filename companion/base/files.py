"""Files that are whole or absent: atomic writes, checksums, arrays as JSON; no pickle."""

import contextlib
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from companion.errors import DamagedError, InputError

_log = logging.getLogger("companion")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or none of it, and leave what stands there the kind of file it is.

    What is written has reached the disk when this returns, and a power cut leaves the old file or
    the new one.

    A link goes on naming its file, and that file is replaced. A file that is replaced keeps its
    permissions and owner; a new one gets those that the umask leaves. A device, a pipe and this
    process's own output cannot be replaced and are written into.

    Raises:
        InputError: the folder is read-only, full, or not a folder, or `path` names a folder.
    """
    with _sentence(path):
        known = _status(path)
        if known is not None and _is_stream(known):
            _write_into(path, known, content)
        else:
            _replace_surely(Path(os.path.realpath(path)), content, known)


def check_target(path: Path) -> None:
    """Refuse a file that cannot be written before hours are spent, not after.

    Missing folders are made.

    Raises:
        InputError: as `write_atomically`, or the file that stands there is read-only.
    """
    with _sentence(path):
        known = _status(path)
        if known is not None and not os.access(path, os.W_OK):
            raise PermissionError(0, "it is read-only")
        if known is None or not _is_stream(known):
            check_writable(Path(os.path.realpath(path)).parent)


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written before hours are spent, not after.

    A missing folder is made.

    Raises:
        InputError: as `write_atomically`.
    """
    with _sentence(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe, descriptor = _create_in(folder)
        os.close(descriptor)
        probe.unlink()


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """Say what the system refuses in one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot write {path} ({reason}); choose a file in a folder that is writable and has "
            "room."
        ) from None


def _status(path: Path) -> os.stat_result | None:
    """What stands at the end of a path's links; None for nothing, and no folder."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(0, "it is a folder")
    return known


def _is_stream(known: os.stat_result) -> bool:
    return not stat.S_ISREG(known.st_mode) or _own_output(known) is not None


def _own_output(known: os.stat_result) -> int | None:
    """The descriptor of this process's output or error stream that a file is, if it is one."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(known, os.fstat(descriptor)):
                return descriptor
    return None


def _write_into(path: Path, known: os.stat_result, content: bytes) -> None:
    own = _own_output(known)
    sys.stdout.flush()
    # Opened by its name, a redirected output would be cut to nothing first.
    with path.open("wb") if own is None else os.fdopen(os.dup(own), "wb") as stream:
        stream.write(content)


def _replace_surely(path: Path, content: bytes, known: os.stat_result | None) -> None:
    """Replace, and once more if another process has removed the folder meanwhile."""
    for again in (True, True, False):
        try:
            return _replace(path, content, known)
        except FileNotFoundError:
            if not again:
                raise
    return None


def _replace(path: Path, content: bytes, known: os.stat_result | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, descriptor = _create_in(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            if known is not None:
                with contextlib.suppress(PermissionError):  # of another owner: it becomes ours
                    os.fchown(handle.fileno(), known.st_uid, known.st_gid)
                os.fchmod(handle.fileno(), stat.S_IMODE(known.st_mode))
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Have the new name survive a power cut, too, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create_in(folder: Path) -> tuple[Path, int]:
    """A new file of a name that nothing has, with the permissions that the umask leaves."""
    path = folder / f".companion-{secrets.token_hex(6)}.part"
    return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def write_checked(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a JSON object with its SHA-256, atomically."""
    body = canonical(payload)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    write_atomically(path, f'{{"sha256": "{checksum}",\n"payload": {body}}}\n'.encode())


def read_checked(path: Path) -> dict[str, Any]:
    """Read back what `write_checked` wrote.

    Raises:
        DamagedError: the file is damaged.
        FileNotFoundError: there is none.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        payload, known = whole["payload"], whole["sha256"]
        found = hashlib.sha256(canonical(payload).encode()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedError(f"{path} is damaged: it is not what this program writes.") from None
    if found != known or not isinstance(payload, dict):
        raise DamagedError(f"{path} is damaged: its checksum does not match.")
    return cast(dict[str, Any], payload)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Note the checksums of all files in a folder, beside it, so that damage can be told."""
    write_checked(_seal_of(folder), _checksums(folder))


def unseal(folder: Path) -> None:
    """Forget the checksums of a folder that is about to change or to go."""
    _seal_of(folder).unlink(missing_ok=True)


def is_sealed(folder: Path) -> bool:
    """Whether a folder holds what it held when it was sealed, no more and no less."""
    try:
        return read_checked(_seal_of(folder)) == _checksums(folder)
    except (FileNotFoundError, DamagedError):
        return False


def _seal_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".sha256")


def _checksums(folder: Path) -> dict[str, str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): file_hash(path) for path in paths}


def set_aside(path: Path, problem: object) -> None:
    """Move a damaged file or folder of a cache out of the way, and say so.

    Args:
        path: it is renamed to end in `.damaged`, over what was set aside before.
        problem: what is wrong with it.
    """
    aside = path.with_name(path.name + ".damaged")
    # Another process may have set it aside just now.
    with _sentence(aside), contextlib.suppress(FileNotFoundError):
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        _log.warning("%s It is set aside as %s and made again.", problem, aside.name)


def canonical(payload: Mapping[str, Any]) -> str:
    """The one JSON text of an object: keys sorted, no spaces, no NaN."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: numbers in their shortest exact form, NaN as null, infinity in words."""
    flat = np.asarray(array).ravel()
    items = [_encoded(v) for v in flat] if flat.dtype.kind == "f" else flat.tolist()
    return {"dtype": flat.dtype.str, "shape": list(np.shape(array)), "items": items}


def _encoded(number: np.floating[Any]) -> float | str | None:
    if np.isnan(number):
        return None
    shortest = float(str(number))
    return shortest if math.isfinite(shortest) else str(shortest)


def decode(stored: Mapping[str, Any]) -> np.ndarray:
    """The array that `encode` wrote."""
    items, dtype = stored["items"], np.dtype(stored["dtype"])
    if dtype.kind == "f":
        items = [np.nan if item is None else float(item) for item in items]
    return np.array(items, dtype=dtype).reshape(stored["shape"])
