"""Replays: a part of a record computed again by the code as it is now, and compared with it.

What may differ. Counts, flags and words have to be equal. Other numbers have to agree to half of
the digits of the precision that the run computes in, less one: to ten times the square root of its
machine epsilon, 3.5e-3 in float32 and 1.5e-7 in float64, relative to the largest absolute value of
the array's part that is compared. On one machine with one product a replay gives the same bits.
With another number of threads, another product or another processor sums are rounded in another
order, by an epsilon each, steps of descent add these up, and an activation at 0 may flip; between
two products, 25 steps of narrow networks at the edge of stability differed by 2,300 epsilon, and
what is allowed is twelve times that. Longer runs of such networks have nothing in common but their
statistics: replays of them are short, or a statistic has to lie in the record's interval. Where a
solver chooses its own steps, its numbers are known only to what it was asked for, and its tolerance
takes the place of epsilon.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import xarray as xr

from companion.errors import ContractError, InputError, MissingDataError
from companion.lab.experiment import check_device, load
from companion.lab.replay_plan import Drawn, draw_replay, readable_record, settings_of_record
from companion.lab.reproduce import apart, computed

Outcome = Literal["agrees", "differs", "left out"]
# What is allowed is that many times half of the digits.
_ROOM = 10.0


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
    flop = float(experiment.cost(settings_of_record(experiment, record)).flops)
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
        if why := _why_skipped(name, drawn):
            skipped[name] = why
        elif name not in known or known[name].dims != again[name].dims:
            differences.append(Difference(name, np.inf, 0.0))
        else:
            differences.append(_difference(name, known, again, drawn))
    if not differences:
        raise ContractError(
            f"REPLAY of companion/experiments/{drawn.record.experiment}.py leaves nothing to "
            "compare; let fewer arrays hang on what it replaces."
        )
    return differences, skipped


def _why_skipped(name: str, drawn: Drawn) -> str:
    """Why an array of the replay is not compared with the record's, or nothing."""
    reasons = drawn.declared.get("hangs_on", {})
    settings = {pattern: on for pattern, (on, _) in reasons.items()}
    if pattern := _hangs(settings, name, drawn.changes):
        return reasons[pattern][1]
    of = [each for each, ends in drawn.declared.get("between", {}).items() if name in ends]
    return f"the replay's {of[0]} has to lie between them" if of else ""


def _difference(name: str, known: xr.Dataset, again: xr.Dataset, drawn: Drawn) -> Difference:
    """How far an array is from the record's, or from the interval that the record has for it."""
    part, other = _beginning(known[name], again[name], drawn), again[name]
    ends = drawn.declared.get("between", {}).get(name)
    if ends is None:
        return Difference(name, apart(other.values, part.values), _allowed(name, part, drawn))
    low, high = (_beginning(known[end], other, drawn) for end in ends)
    inside = (part.isnull() & other.isnull()) | ((other >= low) & (other <= high))
    return Difference(name, 0.0 if bool(inside.all()) else np.inf, 0.0)


def _coordinates(
    record: xr.Dataset, found: xr.Dataset, drawn: Drawn
) -> tuple[xr.Dataset, xr.Dataset]:
    """Of the replay what is to be compared, and of the record what has the same coordinates."""
    found = found.sel({on: list(those) for on, those in drawn.declared.get("only", {}).items()})
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
    return _ROOM * math.sqrt(precision)


def _hangs(known: Mapping[str, Iterable[str]], name: str, changes: Mapping[str, Any]) -> str:
    """The pattern under which an array hangs on a setting that is replaced, or nothing."""
    for pattern, settings in known.items():
        if fnmatchcase(name, pattern) and set(settings) & changes.keys():
            return pattern
    return ""
