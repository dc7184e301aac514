"""Results and verdicts: what an experiment found, under which fingerprint, and where it is kept."""

import dataclasses
import functools
import hashlib
import importlib
import itertools
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
import psutil
from tqdm import tqdm

from companion.catalog import BOOK, CACHE, check_experiment, constant
from companion.datafiles import digits_source
from companion.errors import DamagedError, InputError
from companion.files import (
    canonical,
    check_writable,
    decode,
    encode,
    file_hash,
    read_checked,
    set_aside,
    write_checked,
)
from companion.notebooks import check_injected
from companion.provenance import provenance
from companion.settings import Settings
from companion.sources import compute_hash

Outcome = Literal["holds", "fails", "outside-regime", "inconclusive"]
_Read = TypeVar("_Read")
PROFILES = ("quick", "paper")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Verdict:
    """What a result says about one claim.

    Attributes:
        claim: id in `book/claims.csv`.
        outcome: `holds` (seen where the statement applies), `outside-regime` (its conclusion was
            seen, at sizes its hypothesis does not reach), `fails`, or `inconclusive`.
        predicted: what the statement says, with its number.
        measured: what was found, with the spread over seeds.
        tolerance: how far apart the two may be.
        sentence: the verdict in one sentence.
    """

    claim: str
    outcome: Outcome
    predicted: str
    measured: str
    tolerance: str
    sentence: str


@dataclass(frozen=True)
class Result:
    """What one experiment found, as plain numbers and arrays.

    An experiment's `run` fills the first five; `reproduce` adds the rest.

    Attributes:
        experiment: name, e.g. `du2019/figure1`.
        settings: every setting, defaults included.
        values: named numbers and words.
        arrays: named arrays.
        data: what it was computed on, in words.
        profile: `quick`, `paper`, or `custom` where a setting was overridden.
        device: `cpu` or `cuda`.
        fingerprint: of everything that decides the numbers.
        provenance: commit, versions, machine, threads, date, seconds.
        verdicts: what `judge` made of it.
    """

    experiment: str
    settings: Mapping[str, Any]
    values: Mapping[str, float | int | str | bool]
    arrays: Mapping[str, np.ndarray]
    data: str
    profile: str = "custom"
    device: str = "cpu"
    fingerprint: str = ""
    provenance: Mapping[str, str | float | int] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()

    def verdict(self, claim: str) -> Verdict:
        """The verdict on one claim; KeyError if this result says nothing about it."""
        for verdict in self.verdicts:
            if verdict.claim == claim:
                return verdict
        raise KeyError(claim)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """In a notebook a result shows its verdicts; the mark lets the site place them."""
        rows = [
            "| claim | outcome | predicted | measured | tolerance |",
            "|---|---|---|---|---|",
            *(
                f"| {v.claim} | **{v.outcome}** | {v.predicted} | {v.measured} | {v.tolerance} |"
                for v in self.verdicts
            ),
        ]
        mark = {
            "experiment": self.experiment,
            "fingerprint": self.fingerprint,
            "verdicts": [dataclasses.asdict(verdict) for verdict in self.verdicts],
        }
        return {
            "text/markdown": "\n".join(rows),
            "text/plain": "\n".join(f"{v.claim}: {v.outcome}. {v.sentence}" for v in self.verdicts),
            "application/vnd.companion.result+json": mark,
        }


class Experiment(Protocol):
    """What a module in `companion/experiments/<paper>/` declares."""

    QUICK: Settings
    PAPER: Settings
    EXPECTED: dict[str, Outcome]

    def run(self, settings: Any, device: str) -> Result:
        """Compute."""

    def judge(self, result: Result) -> list[Verdict]:
        """Compare with the claims."""

    def cost(self, settings: Any) -> "Cost":
        """Estimate before computing."""


@dataclass(frozen=True)
class Cost:
    """An estimate made before anything runs.

    Attributes:
        flops: floating-point operations, eigenvalue problems included.
        bytes: peak memory of the arrays.
    """

    flops: float
    bytes: float


def load(name: str) -> Experiment:
    """Import an experiment by name.

    Raises:
        InputError: there is none of that name; the nearest is named.
    """
    check_experiment(name)
    return cast(
        Experiment, importlib.import_module(f"companion.experiments.{name.replace('/', '.')}")
    )


def settings_of(experiment: Experiment, profile: str, overrides: Mapping[str, object]) -> Settings:
    """The profile's settings with overrides applied.

    Raises:
        InputError: unknown profile or setting, wrong type, or out of range.
    """
    check_profile(profile)
    base = experiment.QUICK if profile == "quick" else experiment.PAPER
    return base.override(overrides)


def check_profile(profile: str) -> str:
    """Return `profile`, or raise `InputError`."""
    if profile not in PROFILES:
        raise InputError(f"there is no profile '{profile}'; choose {' or '.join(PROFILES)}.")
    return profile


def check_device(device: str) -> str:
    """Return `device` if this machine can compute on it.

    Raises:
        InputError: an unknown device, or cuda where there is none.
    """
    if device not in DEVICES:
        raise InputError(f"there is no device '{device}'; choose {' or '.join(DEVICES)}.")
    if device == "cuda":
        torch = importlib.import_module("torch")
        if not torch.cuda.is_available():
            raise InputError("device 'cuda' was asked for, but torch sees no GPU here; use cpu.")
    return device


def check_memory(name: str, cost: Cost, device: str) -> None:
    """Refuse a run that this machine's memory cannot hold.

    Raises:
        InputError: the arrays of a run on the CPU are estimated to take more than all of it.
    """
    total = psutil.virtual_memory().total
    if device == "cpu" and cost.bytes > total:
        raise InputError(
            f"{name} would take about {cost.bytes:.2g} bytes of memory with these settings, and "
            f"this machine has {total:.2g}; choose smaller sizes."
        )


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


class Store:
    """A folder with one JSON file per result: written atomically, read with its checksum.

    Args:
        root: the folder; COMPANION_STORE names another than `_build/results`.
    """

    def __init__(self, root: Path | None = None) -> None:
        named = os.environ.get("COMPANION_STORE")
        self.root = (root or (Path(named) if named else CACHE / "results")).absolute()

    def path(self, experiment: str, fingerprint: str) -> Path:
        """Where that result is, or would be, kept."""
        return self.root / experiment / f"{fingerprint}.json"

    def find(self, experiment: str, fingerprint: str) -> Result | None:
        """The stored result, or None; a damaged file is set aside, and counts as none."""
        path = self.path(experiment, fingerprint)
        found = _kept(path, read_result)
        if found is None or (found.experiment, found.fingerprint) == (experiment, fingerprint):
            return found
        set_aside(path, f"{path} holds the result {found.fingerprint} of {found.experiment}.")
        return None

    def latest(self, experiment: str, profile: str) -> Result | None:
        """The most recently computed result of that experiment and profile, or None."""
        found = [_kept(path, read_result) for path in (self.root / experiment).glob("*.json")]
        of_profile = [result for result in found if result and result.profile == profile]
        return max(of_profile, key=lambda r: str(r.provenance["created"]), default=None)

    def save(self, result: Result) -> Path:
        """Keep a result.

        Raises:
            InputError: the folder cannot be written; nothing is left half-written.
        """
        path = self.path(result.experiment, result.fingerprint)
        write_result(path, result)
        return path


def _kept(path: Path, read: Callable[[Path], _Read]) -> _Read | None:
    """What is read from a file of a cache; None if there is none, or none that can be read."""
    try:
        return read(path)
    except FileNotFoundError:  # also where another process has just removed it
        return None
    except DamagedError as problem:
        set_aside(path, problem)
        return None


def record_path(experiment: str) -> Path:
    """Where the committed result at the paper's scale is, or would be."""
    return BOOK / "records" / f"{experiment}.json"


def record_of(experiment: str) -> Result | None:
    """The committed record of an experiment at the paper's scale, or None.

    Raises:
        DamagedError: it is damaged.
    """
    path = record_path(experiment)
    return read_result(path) if path.is_file() else None


def reproduce(
    name: str, profile: str = "quick", device: str = "cpu", **overrides: object
) -> Result:
    """Run an experiment, or take its stored result if nothing that decides its numbers changed.

    This is what a chapter calls.

    Args:
        name: e.g. `du2019/figure1`.
        profile: `quick` (minutes, on every build) or `paper` (the paper's own scale).
        device: `cpu` or `cuda`.
        **overrides: settings to replace.

    Raises:
        InputError: an unknown name, profile, device or setting, or a run that diverges.
    """
    check_injected()
    experiment = load(name)
    settings = settings_of(experiment, profile, overrides)
    check_device(device)
    key = fingerprint(name, settings, device)
    store = Store()
    result = store.find(name, key)
    if result is None:
        check_memory(name, experiment.cost(settings), device)
        check_writable(store.root)
        result = _compute(experiment, name, settings, device, key, store)
        base = experiment.QUICK if profile == "quick" else experiment.PAPER
        result = dataclasses.replace(result, profile=profile if settings == base else "custom")
        store.save(result)
        _forget_parts(store, name, key)
    return dataclasses.replace(result, verdicts=tuple(experiment.judge(result)))


def recorded(name: str) -> Result:
    """The committed record of an experiment at the paper's scale, judged by today's code.

    Raises:
        InputError: no such experiment, or it has no record.
    """
    experiment = load(name)
    result = record_of(name)
    if result is None:
        raise InputError(f"{name} has no record in book/records; run it with --profile paper.")
    return dataclasses.replace(result, verdicts=tuple(experiment.judge(result)))


def is_current(record: Result) -> bool:
    """Whether today's code and paper-scale settings are those that a record was computed with."""
    settings, data = load(record.experiment).PAPER, str(record.provenance["data"])
    today = fingerprint(record.experiment, settings, record.device, data)
    return today == record.fingerprint


def largest_difference(result: Result, record: Result) -> tuple[float, str]:
    """How far two results of one fingerprint are apart.

    Returns:
        The largest difference between arrays of the same name, relative to the largest absolute
        value in the record's array, and the name of that array.
    """
    worst, where = 0.0, ""
    for name, known in record.arrays.items():
        if known.dtype.kind == "f" and known.size:
            scale = float(np.nanmax(np.abs(known))) or 1.0
            apart = float(np.nanmax(np.abs(result.arrays[name] - known))) / scale
            if apart > worst:
                worst, where = apart, name
    return worst, where


def unexpected(result: Result) -> list[Verdict]:
    """Verdicts other than the experiment expects; empty where settings were overridden."""
    expected = load(result.experiment).EXPECTED
    if result.profile == "custom":
        return []
    return [v for v in result.verdicts if v.outcome != expected.get(v.claim)]


def _compute(
    experiment: Experiment, name: str, settings: Settings, device: str, key: str, store: Store
) -> Result:
    started = time.perf_counter()
    token = _PARTS.set(_Parts(store.root / name / f"{key}.parts"))
    try:
        result = experiment.run(settings, device)
    except ZeroDivisionError:
        raise InputError(
            f"with these settings a quantity that {name} divides by is 0; choose settings nearer "
            "to the profile's."
        ) from None
    except OverflowError:
        raise InputError(
            f"with these settings a number in {name} is too large; choose settings nearer to the "
            "profile's."
        ) from None
    finally:
        _PARTS.reset(token)
    for quantity, value in result.values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(
                f"with these settings {quantity} of {name} comes out as {value}; choose settings "
                "nearer to the profile's."
            )
    return dataclasses.replace(
        result,
        device=device,
        fingerprint=key,
        provenance=provenance(data_identity(name, settings), time.perf_counter() - started),
    )


@dataclass(frozen=True)
class _Parts:
    """The parts of the run under way: their folder, and the names met so far."""

    folder: Path
    names: set[str] = field(default_factory=set)


_PARTS: ContextVar[_Parts | None] = ContextVar("_PARTS", default=None)


def checkpoint(part: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One part of a long run, kept on disk until the whole is done, so that a stopped run resumes.

    Args:
        part: name, unique within the run, fit for a file name.
        compute: returns named arrays; called only if the part is not there yet.

    Raises:
        ValueError: the run has a part of that name already, whose arrays would be taken for it.
    """
    parts = _PARTS.get()
    if parts is None:
        return compute()
    if part in parts.names:
        raise ValueError(f"two parts of a run have the name '{part}'")
    parts.names.add(part)
    path = parts.folder / f"{part}.json"
    kept = _kept(path, functools.partial(_read_part, part))
    if kept is not None:
        return kept
    arrays = compute()
    encoded = {name: encode(array) for name, array in arrays.items()}
    write_checked(path, {"part": part, "arrays": encoded})
    return arrays


def sweep(
    name: str, compute: Callable[..., dict[str, np.ndarray]], **axes: Iterable[Any]
) -> dict[str, np.ndarray]:
    """Compute every point of a grid, each with a checkpoint, and stack the arrays along its axes.

    Args:
        name: unique within the run, fit for a file name; shown by the progress bar, which is
            silent in notebooks and logs.
        compute: called with one keyword per axis; returns arrays of the same shapes everywhere.
        **axes: name -> values, the slowest first.

    Returns:
        Arrays of shape (length of each axis, ..., shape at a point).
    """
    values = [list(axis) for axis in axes.values()]
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*values)]
    parts = [
        checkpoint(
            "-".join([name, *(f"{axis}{value}" for axis, value in point.items())]),
            functools.partial(compute, **point),
        )
        for point in tqdm(points, desc=name, disable=None, file=sys.stderr)
    ]
    shape = [len(axis) for axis in values]
    return {
        key: np.stack([part[key] for part in parts]).reshape(*shape, *parts[0][key].shape)
        for key in parts[0]
    }


def _read_part(part: str, path: Path) -> dict[str, np.ndarray]:
    with _as_written(path):
        payload = read_checked(path)
        if payload["part"] != part:
            raise ValueError
        return {name: decode(array) for name, array in payload["arrays"].items()}


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """A file with the right checksum may still be of another version of this program."""
    try:
        yield
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path} is not as this version writes it.") from None


def _forget_parts(store: Store, name: str, key: str) -> None:
    # Another process may be writing parts of the same run, or be done with them.
    shutil.rmtree(store.root / name / f"{key}.parts", ignore_errors=True)


def write_result(path: Path, result: Result) -> None:
    """Write a result as one JSON file with a checksum, atomically."""
    payload = dataclasses.asdict(dataclasses.replace(result, arrays={}))
    payload["arrays"] = {name: encode(array) for name, array in result.arrays.items()}
    write_checked(path, payload)


def read_result(path: Path) -> Result:
    """Read a result back.

    Raises:
        DamagedError: the file is damaged.
        FileNotFoundError: there is none.
    """
    payload = read_checked(path)
    with _as_written(path):
        payload["arrays"] = {name: decode(array) for name, array in payload["arrays"].items()}
        payload["verdicts"] = tuple(Verdict(**verdict) for verdict in payload["verdicts"])
        if not {"commit", "created", "seconds"} <= payload["provenance"].keys():
            raise KeyError
        return Result(**payload)


def iter_records() -> Iterator[Result]:
    """Every committed record."""
    for path in sorted((BOOK / "records").glob("*/*.json")):
        yield read_result(path)
