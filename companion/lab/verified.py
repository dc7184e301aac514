"""How a committed record stands to the code as it is now: current, verified or stale.

`companion verify --write` notes in `book/records/verified.json` which records a replay agreed with,
of which commit and with which code.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from companion.base.files import file_hash, read_checked, write_checked
from companion.base.paths import BOOK
from companion.errors import DamagedError
from companion.lab.fingerprint import differences, fingerprint_of
from companion.lab.reproduce import basis_of_today, record_path
from companion.lab.results import Result, as_written, read_result

State = Literal["current", "verified", "stale"]


@dataclass(frozen=True)
class Verified:
    """A replay that agreed with a record.

    Attributes:
        sha256: of the record's file.
        commit: of the code that computed the replay.
        date: on which.
        seed: that the part was drawn with.
        recomputed: that part, in words.
        largest: difference from the record, relative to the array's largest value.
        where: the array in which that is, or nothing.
        allowed: how large it might have been.
        fingerprint: of what a run of the whole record would have been computed with then.
        flop: floating-point operations of the record's run, as estimated.
    """

    sha256: str
    commit: str
    date: str
    seed: int
    recomputed: str
    largest: float
    where: str
    allowed: float
    fingerprint: str
    flop: float


@dataclass(frozen=True)
class Standing:
    """How a record stands.

    Attributes:
        state: `current` if what decides its numbers is what it was computed with; `verified` if
            its source or a library has changed since, and a replay by today's code agreed with it;
            else `stale`.
        commit: that it was recorded at.
        date: on which.
        against: the replay by today's code that agreed with it, if one is noted.
        why: what differs today, in words.
    """

    state: State
    commit: str
    date: str
    against: Verified | None
    why: tuple[str, ...]

    @property
    def words(self) -> str:
        """In a sentence."""
        told = f"Recorded at commit `{self.commit}` on {self.date}"
        if self.against is not None:
            told += f"; verified against commit `{self.against.commit}` on {self.against.date}"
        return (
            told
            + {
                "current": ".",
                "verified": ", though its source has changed since it was recorded.",
                "stale": "; stale, as what decides its numbers has changed since.",
            }[self.state]
        )

    @property
    def told(self) -> dict[str, str]:
        """As JSON can hold it, for machines."""
        against = self.against
        return {
            "state": self.state,
            "recorded_at": self.commit,
            "recorded_on": self.date,
            "verified_against": against.commit if against else "",
            "verified_on": against.date if against else "",
        }


def standing_of(result: Result) -> Standing | None:
    """How a result stands that is a committed record; None if it is none.

    Raises:
        DamagedError: the record or the list of verified ones is damaged.
    """
    path = record_path(result.experiment)
    if not path.is_file():
        return None
    record = read_result(path)
    same = (record.fingerprint, record.provenance) == (result.fingerprint, result.provenance)
    return standing(result) if same else None


def standing(record: Result) -> Standing:
    """How a committed record stands.

    Raises:
        InputError: its source cannot be followed.
        DamagedError: the list of verified records is damaged.
    """
    today = basis_of_today(record)
    why = differences(record.basis, today)
    noted = verified_records().get(record.experiment)
    if noted is not None and (noted.sha256, noted.fingerprint) != (
        file_hash(record_path(record.experiment)),
        fingerprint_of(today),
    ):
        noted = None
    if not why:
        state: State = "current"
    else:
        state = "verified" if noted and _is_same_run(record.basis, today) else "stale"
    told = record.provenance
    return Standing(state, str(told["commit"]), str(told["created"])[:10], noted, tuple(why))


def _is_same_run(known: Mapping[str, str], today: Mapping[str, str]) -> bool:
    """Whether the same is asked for, of whatever code: a replay of other settings shows nothing."""
    return all(
        known.get(key) == today.get(key)
        or key.startswith(("source ", "version "))
        or (key.startswith("setting ") and key not in known)
        for key in {*known, *today}
    )


def verified_path() -> Path:
    """The list of records that a replay agreed with."""
    return BOOK / "records" / "verified.json"


def verified_records() -> dict[str, Verified]:
    """Experiment -> the replay that agreed with its record; empty if none is noted.

    Raises:
        DamagedError: the list is damaged.
    """
    try:
        payload = read_checked(verified_path())
    except FileNotFoundError:
        return {}
    with as_written(verified_path()):
        return {name: Verified(**told) for name, told in payload.items()}


def note_verified(new: Mapping[str, Verified | None]) -> Path:
    """Add to the list, or take from it what is None; of other records all stays that are there.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        known = verified_records()
    except DamagedError:
        known = {}
    kept = {name: told for name, told in known.items() if record_path(name).is_file()}
    payload: dict[str, Any] = {name: asdict(v) for name, v in {**kept, **new}.items() if v}
    write_checked(verified_path(), payload)
    return verified_path()
