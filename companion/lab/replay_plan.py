"""Which part of a record is computed again: what experiments declare, and what a seed draws of it.

A replay is a smaller run of the same experiment whose arrays are a part of the record's. `REPLAY`
of the experiment says how the record's settings are made smaller; no run reaches it, so it enters
no fingerprint.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import numpy as np
from pydantic import ValidationError

from companion.base.paths import brief
from companion.errors import ContractError, InputError
from companion.lab.experiment import Experiment, load
from companion.lab.reproduce import record_path
from companion.lab.results import Result, read_result
from companion.lab.settings import Settings
from companion.lab.words import listed


class Replay(TypedDict, total=False):
    """What an experiment declares as `REPLAY`, a literal; every part may be left away.

    Arrays are named by patterns, such as `flow*`.

    Attributes:
        one_of: settings that are replaced together; one of these is drawn.
        few: setting -> how many of its values are drawn, unless it is replaced; `seeds` are drawn
            among the record's.
        places: dimension -> the array that tells where along it numbers stand, so that those at
            equal places are compared. Other dimensions are compared by their coordinates, or, if
            they have none, from their beginning.
        hangs_on: arrays -> the settings that they hang on as a whole, and why: they are compared
            only where none of these is replaced.
        absent: arrays -> the settings without whose value in the record a run has no such arrays.
        solved: arrays -> the setting that is the tolerance of the solver they come from.
        between: array -> the two that are the interval of its statistic in the record, in which the
            replay's has to lie: of long runs whose rounding errors decide single outcomes.
        only: dimension -> the coordinates that are compared, where the replay leaves out what gives
            the others.
    """

    one_of: Sequence[Mapping[str, Any]]
    few: Mapping[str, int]
    places: Mapping[str, str]
    hangs_on: Mapping[str, tuple[tuple[str, ...], str]]
    absent: Mapping[str, tuple[str, ...]]
    solved: Mapping[str, str]
    between: Mapping[str, tuple[str, str]]
    only: Mapping[str, Sequence[Any]]


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


def draw_replay(record: Result, seed: int) -> Drawn:
    """Draw the part of a record that is computed again.

    Raises:
        InputError: its settings are not those of today's experiment, or a part is longer than it.
        ContractError: REPLAY is not as it has to be.
    """
    name = record.experiment
    experiment = load(name)
    declared = declared_of(name)
    known = settings_of_record(experiment, record)
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
        if setting not in changes:
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


def settings_of_record(experiment: Experiment, record: Result) -> Settings:
    """The settings of a record, as today's experiment takes them.

    Raises:
        InputError: it does not take them any more.
    """
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
    if isinstance(value, tuple | list):
        return listed(value) if value else "none"
    return str(value)


def _of(value: object, known: object) -> str:
    """How much the record has, where that is a number."""
    return f" of {known}" if isinstance(known, int | float) else ""
