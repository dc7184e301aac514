"""Files that are whole or absent: atomic writes, checksums, arrays as JSON; no pickle."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from companion.errors import InputError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or none of it.

    Raises:
        InputError: the folder is read-only, full, or not a folder.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as handle:
            temporary = Path(handle.name)
            handle.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot write {path} ({reason}); choose a folder that is writable and has room."
        ) from None


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written before hours are spent, not after.

    Raises:
        InputError: as `write_atomically`.
    """
    probe = folder / ".writable"
    write_atomically(probe, b"")
    probe.unlink()


def write_checked(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a JSON object with its SHA-256, atomically."""
    body = canonical(payload)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    write_atomically(path, f'{{"sha256": "{checksum}",\n"payload": {body}}}\n'.encode())


def read_checked(path: Path) -> dict[str, Any]:
    """Read back what `write_checked` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        payload, known = whole["payload"], whole["sha256"]
    except (ValueError, KeyError, TypeError):
        payload, known = {}, "unreadable"
    if hashlib.sha256(canonical(payload).encode()).hexdigest() != known:
        raise InputError(
            f"{path} is damaged: its checksum does not match; delete it and run again."
        )
    return cast(dict[str, Any], payload)


def canonical(payload: Mapping[str, Any]) -> str:
    """The one JSON text of an object: keys sorted, no spaces, no NaN."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: numbers in their shortest exact form, NaN as null."""
    flat = np.asarray(array).ravel()
    if flat.dtype.kind == "f":
        items: list[Any] = [None if np.isnan(v) else float(str(v)) for v in flat]
    else:
        items = flat.tolist()
    return {"dtype": flat.dtype.str, "shape": list(np.shape(array)), "items": items}


def decode(stored: Mapping[str, Any]) -> np.ndarray:
    """The array that `encode` wrote."""
    items = [np.nan if item is None else item for item in stored["items"]]
    return np.array(items, dtype=stored["dtype"]).reshape(stored["shape"])
