"""Running experiments: from the store, from the records, or anew."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import xarray as xr

from companion.base.files import check_writable, read_checked, write_checked
from companion.base.inputs import input_file, only
from companion.base.memory import keep_freed_memory
from companion.base.paths import BOOK
from companion.errors import InputError, MissingDataError
from companion.lab.catalog import check_experiment
from companion.lab.contract import check_found, check_verdicts, reported
from companion.lab.controls import with_controls
from companion.lab.experiment import (
    Experiment,
    check_device,
    check_memory,
    expected_of,
    load,
    profiled,
    settings_of,
)
from companion.lab.fingerprint import (
    basis,
    data_identity,
    differences,
    fingerprint_of,
    inputs,
    on_the_data_of,
    shown_inputs,
)
from companion.lab.notebooks import check_injected
from companion.lab.provenance import provenance, work
from companion.lab.results import Result, Verdict, as_written, read_result
from companion.lab.settings import Settings
from companion.lab.store import Store, kept
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
    if not path.is_file():
        return None
    return profiled(read_result(input_file(path)), "paper")


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
        InputError: an unknown name, profile, device or setting, a run that diverges or that reads
            what it has not declared, or source that cannot be followed.
        MissingDataError: the run reads real data that are not on this machine.
    """
    check_injected()
    experiment = load(name)
    settings = settings_of(experiment, profile, overrides)
    check_device(device)
    parts = basis(name, settings, device)
    key, store = fingerprint_of(parts), Store()
    result = store.find(name, key)
    if result is None:
        check_memory(name, experiment.cost(settings), device)
        check_writable(store.root)
        result = _compute(experiment, name, settings, device, parts, store)
        store.save(result)
        _forget_parts(store, name, key)
    return judged(profiled(result, profile))


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


def reproduce_or_recorded(
    name: str, profile: str = "quick", device: str = "cpu", **overrides: object
) -> Result:
    """The same as `reproduce`; but without the data that a run reads, the committed record.

    This is what a chapter calls that has to be built on every machine. It then says that the run
    was left out, and why.

    Args:
        name: e.g. `zou2020/data`.
        profile: as of `reproduce`, as are all others.
        device: `cpu` or `cuda`.
        **overrides: settings to replace.

    Raises:
        InputError: as of `reproduce`.
        MissingDataError: the data are missing, and there is no record either.
    """
    try:
        return reproduce(name, profile, device, **overrides)
    except MissingDataError as missing:
        if record_of(name) is None:
            raise
        return dataclasses.replace(recorded(name), left_out=str(missing))


def judged(result: Result) -> Result:
    """The result with the values and verdicts that today's code takes from it.

    Raises:
        InputError: with its settings a value is not finite, or something is divided by 0; or what
            the keys of pages do not cover is read.
        ContractError: the experiment does not keep to what one has to.
    """
    name, experiment = result.experiment, load(result.experiment)
    settings = type(experiment.QUICK).model_validate(dict(result.settings))
    check_found(name, result.found, getattr(experiment, "MAY_BE_MISSING", ()))
    below = "put the file below book/published or book/benchmarks"
    with _sensible(name), only(f"the judge of {name}", shown_inputs(), below):
        with reported(name, "values"):
            values = {k: told(v) for k, v in experiment.values(settings, result.found).items()}
        with reported(name, "judge"):
            verdicts = experiment.judge(settings, result.found)
        check_verdicts(name, experiment.EXPECTED, verdicts)
        with reported(name, "CONTROLS"):
            lies, judge = experiment.CONTROLS, experiment.judge
            verdicts = with_controls(verdicts, lies, settings, result.found, judge)
    for quantity, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(
                f"with these settings {quantity} of {name} comes out as {value}; choose settings "
                "nearer to the profile's."
            )
    summary = experiment.summary(settings)
    return dataclasses.replace(result, summary=summary, values=values, verdicts=tuple(verdicts))


def told(value: Any) -> float | int | str | bool:
    """A number of any kind, an array of none too, as Python's; words as they are."""
    return value if isinstance(value, str) else np.asarray(value).item()


def is_current(record: Result) -> bool:
    """Whether today's code and paper-scale settings are those that a record was computed with."""
    return not why_stale(record)


def why_stale(record: Result) -> list[str]:
    """What differs, in words, between what a record was computed with and what there is today.

    Raises:
        InputError: the source cannot be followed.
    """
    return differences(record.basis, basis_of_today(record))


def basis_of_today(record: Result) -> dict[str, str]:
    """What a record would be computed with now, on the data that it was computed with.

    Raises:
        InputError: the source cannot be followed.
    """
    name = record.experiment
    # A result of today's profile has its settings; so the site is built without the experiments.
    paper = record.settings if record.profile == "paper" else _paper_settings(name)
    return on_the_data_of(record.basis, basis(name, paper, record.device))


def _paper_settings(name: str) -> Mapping[str, Any]:
    return load(name).PAPER.model_dump(mode="json")


def largest_difference(result: Result, record: Result) -> tuple[float, str]:
    """How far two results of one fingerprint are apart.

    Returns:
        The largest difference between arrays of the same name, relative to the largest absolute
        value in the record's array, and the name of that array; infinite where one has a number
        and the other none, or where words, flags or shapes differ.
    """
    worst, where = 0.0, ""
    for name, known in record.arrays.items():
        difference = apart(result.arrays[name], known)
        if difference > worst:
            worst, where = difference, name
    return worst, where


def apart(array: np.ndarray, known: np.ndarray) -> float:
    """The largest difference of two arrays, as a share of the largest absolute value of `known`.

    Infinite where shapes, words or flags differ, or one has a number and the other none.
    """
    if array.shape != known.shape or known.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(array, known) else np.inf
    if not np.array_equal(np.isnan(array), np.isnan(known)):
        return np.inf
    other = (array != known) & ~np.isnan(known)
    gaps = np.abs(array[other].astype(float) - known[other])
    scale = float(np.max(np.abs(known[np.isfinite(known)]), initial=0.0)) or 1.0
    return float(np.max(gaps, initial=0.0)) / scale


def unexpected(result: Result) -> list[Verdict]:
    """Verdicts other than the experiment expects; none where settings are the user's own."""
    return [] if result.profile == "custom" else unlike_expected(result)


def unlike_expected(result: Result) -> list[Verdict]:
    """Verdicts other than the profiles are expected to give, whatever the settings."""
    expected = expected_of(load(result.experiment), result.profile)
    return [v for v in result.verdicts if v.outcome != expected.get(v.claim)]


def _compute(
    experiment: Experiment,
    name: str,
    settings: Settings,
    device: str,
    parts: dict[str, str],
    store: Store,
) -> Result:
    key = fingerprint_of(parts)
    folder = store.root / name / f"{key}.parts"
    token = PARTS.set(Parts(folder))
    try:
        with _clock(folder) as spent:
            found = computed(experiment, name, settings, device)
            seconds = spent()
    finally:
        PARTS.reset(token)
    return Result(
        name,
        settings.model_dump(mode="json"),
        found,
        device=device,
        fingerprint=key,
        basis=parts,
        provenance={
            **provenance(data_identity(name, settings), seconds, device),
            **work(experiment.cost(settings).flops, seconds, device, settings.dtype),
        },
    )


@contextmanager
def _clock(folder: Path) -> Iterator[Callable[[], float]]:
    """Seconds since the beginning of a run, with those of the runs whose parts it goes on from."""
    path = folder / "seconds"
    earlier, started = kept(path, _read_seconds) or 0.0, perf_counter()

    def spent() -> float:
        return earlier + perf_counter() - started

    try:
        yield spent
    finally:
        if folder.exists():
            write_checked(path, {"seconds": spent()})


def _read_seconds(path: Path) -> float:
    with as_written(path):
        return float(read_checked(path)["seconds"])


def computed(experiment: Experiment, name: str, settings: Settings, device: str) -> xr.Dataset:
    """What a run finds, that reads nothing that it has not declared; nothing is kept.

    Raises:
        InputError: as of `reproduce`.
        MissingDataError: as of `reproduce`.
    """
    keep_freed_memory()
    declare = f"declare it in companion/experiments/{name}.py, e.g. DATA = 'published/file.csv'"
    with _sensible(name), only(f"the run of {name}", inputs(name, settings), declare):
        return experiment.run(settings, device)


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
        yield profiled(read_result(path), "paper")
