"""Running experiments: from the store, from the records, or anew."""

import dataclasses
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from companion.base.files import check_writable
from companion.base.memory import keep_freed_memory
from companion.base.paths import BOOK
from companion.errors import InputError
from companion.lab.catalog import check_experiment
from companion.lab.contract import check_found, check_verdicts, reported
from companion.lab.experiment import (
    Experiment,
    check_device,
    check_memory,
    load,
    settings_of,
)
from companion.lab.fingerprint import data_identity, fingerprint
from companion.lab.notebooks import check_injected
from companion.lab.provenance import provenance
from companion.lab.results import Result, Verdict, read_result
from companion.lab.settings import Settings
from companion.lab.store import Store
from companion.lab.sweep import PARTS, Parts


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
        judged(result)  # before it is kept: with odd settings it may have no values
        store.save(result)
        _forget_parts(store, name, key)
    return judged(result)


def recorded(name: str) -> Result:
    """The committed record of an experiment at the paper's scale, judged by today's code.

    Raises:
        InputError: no such experiment, or it has no record.
    """
    check_experiment(name)
    result = record_of(name)
    if result is None:
        raise InputError(f"{name} has no record in book/records; run it with --profile paper.")
    return judged(result)


def judged(result: Result) -> Result:
    """The result with the values and verdicts that today's code takes from it.

    Raises:
        InputError: with its settings a value is not finite, or something is divided by 0.
        ContractError: the experiment does not keep to what one has to.
    """
    experiment = load(result.experiment)
    settings = type(experiment.QUICK).model_validate(dict(result.settings))
    name = result.experiment
    check_found(name, result.found, getattr(experiment, "MAY_BE_MISSING", ()))
    with _sensible(name), reported(name, "values"):
        values = {k: told(v) for k, v in experiment.values(settings, result.found).items()}
    with _sensible(name), reported(name, "judge"):
        verdicts = experiment.judge(settings, result.found)
    check_verdicts(name, experiment.EXPECTED, verdicts)
    for quantity, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(
                f"with these settings {quantity} of {result.experiment} comes out as {value}; "
                "choose settings nearer to the profile's."
            )
    return dataclasses.replace(result, values=values, verdicts=tuple(verdicts))


def told(value: Any) -> float | int | str | bool:
    """A number of any kind, an array of none too, as Python's; words as they are."""
    return value if isinstance(value, str) else np.asarray(value).item()


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
    keep_freed_memory()
    started = time.perf_counter()
    token = PARTS.set(Parts(store.root / name / f"{key}.parts"))
    try:
        with _sensible(name):
            found = experiment.run(settings, device)
    finally:
        PARTS.reset(token)
    return Result(
        name,
        settings.model_dump(mode="json"),
        found,
        device=device,
        fingerprint=key,
        provenance=provenance(data_identity(name, settings), time.perf_counter() - started),
    )


@contextmanager
def _sensible(name: str) -> Iterator[None]:
    """Settings far from the profiles' may ask for what no number can say."""
    try:
        yield
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


def _forget_parts(store: Store, name: str, key: str) -> None:
    # Another process may be writing parts of the same run, or be done with them.
    shutil.rmtree(store.root / name / f"{key}.parts", ignore_errors=True)


def iter_records() -> Iterator[Result]:
    """Every committed record."""
    for path in sorted((BOOK / "records").glob("*/*.json")):
        yield read_result(path)
