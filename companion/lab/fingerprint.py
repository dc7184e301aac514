"""What decides the numbers of an experiment, in one hash."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from companion.base.files import canonical, file_hash
from companion.base.paths import BOOK
from companion.datafiles import digits_source
from companion.lab.catalog import constant
from companion.lab.settings import Settings
from companion.lab.sources import compute_hash


def fingerprint(name: str, settings: Settings, device: str, data: str | None = None) -> str:
    """Everything that decides an experiment's numbers, in 16 hexadecimal digits.

    All settings with their defaults, the source that computes, the checksum of real data, the
    device class, and the minor version of torch. Figures, prose, comments and docstrings stay
    outside. `data` stands for the data of this machine, where another machine's is meant.
    """
    parts = {
        "experiment": name,
        "settings": settings.model_dump(mode="json"),
        "source": source_hash(name, ("run", "Settings")),
        "data": data or data_identity(name, settings),
        "device": device,
        "torch": ".".join(version("torch").split(".")[:2]),
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]


def source_hash(name: str, roots: Iterable[str]) -> str:
    """Hash of the source that some definitions of an experiment reach."""
    return compute_hash(f"companion.experiments.{name.replace('/', '.')}", roots)


def data_identity(name: str, settings: Settings | None = None) -> str:
    """Name and checksum of a user's file or of the data that DATA declares; or how it is drawn.

    DATA is `digits`, or the path of a file below `book`.
    """
    declared = constant(name, "DATA")
    file: Path | None = getattr(settings, "file", None)
    if file is None and declared is None:
        return "drawn from seeds"
    if file is None and declared == "digits":
        return digits_source().identity
    file = file or BOOK / str(declared)
    return f"{file.name} (sha256 {file_hash(file)[:12]})"
