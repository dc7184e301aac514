"""Replays: a part of a record computed again by the code as it is now, and compared with it.

A replay is a smaller run of the same experiment whose arrays are a part of the record's. `REPLAY`
of the experiment says how the record's settings are made smaller, and a seed which part is drawn.

What may differ. Counts, flags and words have to be equal. Other numbers have to agree to half of
the digits of the precision that the run computes in, less one: to ten times the square root of its
machine epsilon, 3.5e-3 in float32 and 1.5e-7 in float64, relative to the largest absolute value of
the array's part that is compared. On one machine with one product a replay gives the same bits.
With another number of threads, another product or another processor sums are rounded in another
order, by an epsilon each, steps of descent add these up, and an activation at 0 may flip; between
two products, 25 steps of narrow networks at the edge of stability differed by 2,300 epsilon, and
what is allowed is ten times that. Longer runs of such networks have nothing in common but their
statistics, so replays of them are short. Where a solver chooses its own steps, its numbers are
known only to what it was asked for, and its tolerance takes the place of epsilon.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypedDict, cast

import numpy as np
import xarray as xr
from pydantic import ValidationError

from companion.base.paths import brief
from companion.errors import ContractError, InputError, MissingDataError
from companion.lab.experiment import Experiment, check_device, load
from companion.lab.reproduce import apart, computed, record_path
from companion.lab.results import Result, read_result
from companion.lab.settings import Settings
from companion.lab.words import listed

Outcome = Literal["agrees", "differs", "left out"]
# What is allowed is that many times half of the digits.
_ROOM = 10.0


class Replay(TypedDict, total=False):
    """What an experiment declares as `REPLAY`, a literal; every part may be left away.

    Arrays are named by patterns, such as `flow*`.

    Attributes:
        one_of: settings that are replaced together; one of these is drawn.
        few: setting -> how many of its values are drawn; `seeds` are drawn among the record's.
        places: dimension -> the array that tells where along it numbers stand, so that those at
            equal places are compared. Other dimensions are compared by their coordinates, or, if
            they have none, from their beginning.
        hangs_on: arrays -> the settings that they hang on as a whole, and why: they are compared
            only where none of these is replaced.
        absent: arrays -> the settings without whose value in the record a run has no such arrays.
        solved: arrays -> the setting that is the tolerance of the solver they come from.
    """

    one_of: Sequence[Mapping[str, Any]]
    few: Mapping[str, int]
    places: Mapping[str, str]
    hangs_on: Mapping[str, tuple[tuple[str, ...], str]]
    absent: Mapping[str, tuple[str, ...]]
    solved: Mapping[str, str]


@dataclass(frozen=True)
class Drawn:
    """The part of a record that is computed again.

    Attributes:
        record: as it was read.
        declared: `REPLAY` of its experiment.
        settings: of the replay.
        changes: what in these is not as in the record.
    """

    record: Result
    declared: Replay
    settings: Settings
    changes: Mapping[str, Any]

    @property
    def words(self) -> str:
        """What is computed again, e.g. `widths (100, 800), steps 10 of 400`."""
        known = self.record.settings
        told = [
            f"{name} {_plain(value)}{_of(value, known.get(name))}"
            for name, value in self.changes.items()
            if name not in ("seeds", "first_seed")
        ]
        if self.changes.keys() & {"seeds", "first_seed"}:
            told.append(f"seeds {listed(self.settings.each_seed)}")  # type: ignore[attr-defined]
        return ", ".join(told) or "all of it"


@dataclass(frozen=True)
class Difference:
    """How far an array of a replay is from the record's.

    Attributes:
        array: its name.
        apart: the largest difference, as a share of the largest absolute value in the record's
            part; infinite where there is nothing to subtract.
        allowed: how much that may be.
    """

    array: str
    apart: float
    allowed: float


@dataclass(frozen=True)
class Replayed:
    """What came of one record's replay.

    Attributes:
        record: name of its experiment.
        outcome: `agrees`, `differs` or, where data or device are missing here, `left out`.
        seed: that the part was drawn with.
        recomputed: that part, in words.
        largest: the difference that is nearest to what is allowed, or beyond.
        where: the array in which it is, or nothing.
        allowed: what it may be.
        compared: how many arrays were compared.
        skipped: array -> why it was computed and not compared.
        why: it was left out, or could not be computed.
        seconds: that it took.
        flop: floating-point operations that the record's run is estimated at.
    """

    record: str
    outcome: Outcome
    seed: int
    recomputed: str
    largest: float = 0.0
    where: str = ""
    allowed: float = 0.0
    compared: int = 0
    skipped: Mapping[str, str] | None = None
    why: str = ""
    seconds: float = 0.0
    flop: float = 0.0


def readable_record(name: str) -> Result:
    """The record of an experiment, if it can be computed again.

    Raises:
        DamagedError: it is damaged, or of another version.
        InputError: it does not say what it was computed with.
    """
    path = record_path(name)
    record = read_result(path)
    if record.experiment != name or not record.basis:
        raise InputError(
            f"{brief(path)} does not say what it was computed with, as of {name}; record it anew "
            f"with 'companion run {name} --profile paper --json {brief(path)}'."
        )
    return record


def replayed(name: str, seed: int) -> Replayed:
    """Compute a part of a record again, outside the store, and compare.

    Args:
        name: of the experiment.
        seed: which part is drawn; of one seed every record has always the same part.

    Raises:
        InputError: the record cannot be read, or its REPLAY is longer than it.
        ContractError: REPLAY is not as it has to be.
    """
    drawn = draw_replay(readable_record(name), seed)
    experiment, record = load(name), drawn.record
    flop = float(experiment.cost(_settings_of(experiment, record)).flops)
    started = time.perf_counter()

    def told(outcome: Outcome, **more: Any) -> Replayed:
        seconds = round(time.perf_counter() - started, 1)
        return Replayed(name, outcome, seed, drawn.words, seconds=seconds, flop=flop, **more)

    try:
        check_device(record.device)
        found = computed(experiment, name, drawn.settings, record.device)
    except MissingDataError as missing:
        return told("left out", why=str(missing))
    except InputError as problem:
        left_out = record.device == "cuda" and "no GPU" in str(problem)
        return told("left out" if left_out else "differs", why=str(problem))
    differences, skipped = compared(found, drawn)
    worst = max(differences, key=lambda each: (each.apart > each.allowed, each.apart, each.allowed))
    return told(
        "differs" if worst.apart > worst.allowed else "agrees",
        largest=worst.apart,
        where=worst.array if worst.apart else "",
        allowed=worst.allowed,
        compared=len(differences),
        skipped=skipped,
    )


def draw_replay(record: Result, seed: int) -> Drawn:
    """Draw the part of a record that is computed again.

    Raises:
        InputError: its settings are not those of today's experiment, or a part is longer than it.
        ContractError: REPLAY is not as it has to be.
    """
    name = record.experiment
    experiment = load(name)
    declared = declared_of(name)
    known = _settings_of(experiment, record)
    draws = np.random.default_rng([seed, *name.encode()])
    options = declared.get("one_of", ({},))
    changes = dict(options[int(draws.integers(len(options)))])
    for setting, value in changes.items():
        if _is_longer(value, getattr(known, setting)):
            raise InputError(
                f"REPLAY of companion/experiments/{name}.py asks for {setting}={_plain(value)}, "
                f"which is more than the record's {_plain(getattr(known, setting))}."
            )
    for setting, count in declared.get("few", {}).items():
        changes |= _few(name, known, setting, count, draws)
    changes = {k: v for k, v in changes.items() if v != getattr(known, k)}
    # Not validated: fewer sizes than a law in the width needs are enough here.
    return Drawn(record, declared, known.model_copy(update=changes), changes)


def declared_of(name: str) -> Replay:
    """`REPLAY` of an experiment, checked.

    Raises:
        ContractError: there is none, or it is not as it has to be.
    """
    declared = getattr(load(name), "REPLAY", None)
    for problem in replay_problems(name, declared):
        raise ContractError(problem)
    return cast(Replay, declared)


def replay_problems(name: str, declared: object) -> Iterator[str]:
    """What is not as it has to be in `REPLAY` of an experiment with a record, a sentence each."""
    where = f"companion/experiments/{name}.py"
    if not isinstance(declared, dict):
        yield (
            f"{where} has a record and no REPLAY; write REPLAY = {{...}}, which says how a run "
            "that 'companion verify' compares is made smaller."
        )
        return
    known = set(type(load(name).PAPER).model_fields)
    for part in declared.keys() - Replay.__annotations__.keys():
        parts = ", ".join(Replay.__annotations__)
        yield f"{where} has '{part}' in its REPLAY, which knows {parts}."
    named = [
        *itertools.chain.from_iterable(declared.get("one_of", ())),
        *declared.get("few", {}),
        *itertools.chain.from_iterable(on for on, _ in declared.get("hangs_on", {}).values()),
        *itertools.chain.from_iterable(declared.get("absent", {}).values()),
        *declared.get("solved", {}).values(),
    ]
    for setting in dict.fromkeys(named):
        if setting not in known:
            yield f"{where} names '{setting}' in its REPLAY, which is no setting of it."


def compared(found: xr.Dataset, drawn: Drawn) -> tuple[list[Difference], dict[str, str]]:
    """Every array of a replay beside the same part of the record's.

    Returns:
        A difference for each array that is compared, and array -> why for those that are not.

    Raises:
        InputError: the replay is longer than the record.
    """
    record, declared = drawn.record.found, drawn.declared
    differences, skipped = [], {}
    for name in map(str, record.data_vars):
        if name not in found and not _hangs(declared.get("absent", {}), name, drawn.changes):
            differences.append(Difference(name, np.inf, 0.0))
    known, again = _places(*_coordinates(record, found, drawn), drawn)
    for name in map(str, found.data_vars):
        reasons = declared.get("hangs_on", {})
        settings = {pattern: on for pattern, (on, _) in reasons.items()}
        if pattern := _hangs(settings, name, drawn.changes):
            skipped[name] = reasons[pattern][1]
            continue
        if name not in known or known[name].dims != again[name].dims:
            differences.append(Difference(name, np.inf, 0.0))
            continue
        part = _beginning(known[name], again[name], drawn)
        allowed = _allowed(name, part, drawn)
        differences.append(Difference(name, apart(again[name].values, part.values), allowed))
    if not differences:
        raise ContractError(
            f"REPLAY of companion/experiments/{drawn.record.experiment}.py leaves nothing to "
            "compare; let fewer arrays hang on what it replaces."
        )
    return differences, skipped


def _coordinates(
    record: xr.Dataset, found: xr.Dataset, drawn: Drawn
) -> tuple[xr.Dataset, xr.Dataset]:
    """Of the record what has the coordinates of the replay."""
    for dimension in map(str, found.dims):
        if dimension not in found.indexes or dimension not in record.indexes:
            continue
        asked = found.indexes[dimension]
        if missing := [value for value in asked if value not in record.indexes[dimension]]:
            raise InputError(
                f"the replay of {drawn.record.experiment} has {dimension}={missing[0]}, which the "
                "record does not have."
            )
        record = record.sel({dimension: asked})
    return record, found


def _places(record: xr.Dataset, found: xr.Dataset, drawn: Drawn) -> tuple[xr.Dataset, xr.Dataset]:
    """Of both what stands at equal places, where an array tells the places along a dimension."""
    for dimension, array in drawn.declared.get("places", {}).items():
        if array not in record or array not in found:
            continue
        before, after = (_along(each[array], dimension) for each in (record, found))
        _, known, again = np.intersect1d(before, after, return_indices=True)
        if not len(known):
            raise InputError(
                f"the replay of {drawn.record.experiment} has no place along {dimension} that the "
                f"record has, too; choose other values of REPLAY, or of 'places' in it."
            )
        record, found = record.isel({dimension: known}), found.isel({dimension: again})
    return record, found


def _along(array: xr.DataArray, dimension: str) -> np.ndarray:
    """The first row of an array along a dimension; of several runs, which have the same places."""
    rest = {other: 0 for other in array.dims if other != dimension}
    return np.asarray(array.isel(rest).values)


def _beginning(known: xr.DataArray, again: xr.DataArray, drawn: Drawn) -> xr.DataArray:
    """Of the record's array as much as the replay's has, along dimensions without coordinates."""
    for dimension, size in again.sizes.items():
        if size > known.sizes[dimension]:
            raise InputError(
                f"the replay of {drawn.record.experiment} is longer than the record: {again.name} "
                f"has {size} numbers along {dimension}, the record {known.sizes[dimension]}."
            )
        known = known.isel({dimension: slice(0, size)})
    return known


def _allowed(name: str, part: xr.DataArray, drawn: Drawn) -> float:
    """How far apart two results may be, as the docstring of this module says."""
    if part.dtype.kind != "f":
        return 0.0
    precision = float(np.finfo(str(drawn.record.settings["dtype"])).eps)
    for pattern, setting in drawn.declared.get("solved", {}).items():
        if fnmatchcase(name, pattern):
            precision = float(drawn.record.settings[setting])
    return _ROOM * precision**0.5


def _hangs(known: Mapping[str, Iterable[str]], name: str, changes: Mapping[str, Any]) -> str:
    """The pattern under which an array hangs on a setting that is replaced, or nothing."""
    for pattern, settings in known.items():
        if fnmatchcase(name, pattern) and set(settings) & changes.keys():
            return pattern
    return ""


def _few(
    name: str, known: Settings, setting: str, count: int, draws: np.random.Generator
) -> dict[str, Any]:
    """Some of a setting's values; of seeds some that follow each other."""
    values = known.each_seed if setting == "seeds" else getattr(known, setting)  # type: ignore[attr-defined]
    if count > len(values):
        raise InputError(
            f"REPLAY of companion/experiments/{name}.py draws {count} of {setting}, of which the "
            f"record has {len(values)}."
        )
    if setting == "seeds":
        first = int(draws.integers(len(values) - count + 1))
        return {"first_seed": values[first], "seeds": count}
    places = sorted(draws.choice(len(values), count, replace=False))
    return {setting: tuple(values[place] for place in places)}


def _settings_of(experiment: Experiment, record: Result) -> Settings:
    try:
        return type(experiment.PAPER).model_validate(dict(record.settings))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(
            f"the record of {record.experiment} has settings of another version: {where} is no "
            "longer taken; record it anew."
        ) from None


def _is_longer(value: object, known: object) -> bool:
    if isinstance(value, tuple | list) and isinstance(known, tuple | list):
        return not set(value) <= set(known)
    if isinstance(value, int | float) and isinstance(known, int | float):
        return value > known
    return False


def _plain(value: object) -> str:
    return "none" if value == () else str(value)


def _of(value: object, known: object) -> str:
    """How much the record has, where that is a number."""
    return f" of {known}" if isinstance(known, int | float) else ""
