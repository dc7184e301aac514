"""What an experiment found and what that says about the claims; how it is written to a file."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from companion.base.files import decode, encode, read_checked, write_checked
from companion.errors import DamagedError

Outcome = Literal["holds", "fails", "outside-regime", "inconclusive"]


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
        profile: `quick` or `paper` where the settings are those of today's profile, else `custom`;
            never stored, for profiles may change.
        device: `cpu` or `cuda`.
        fingerprint: of everything that decides the numbers.
        basis: what that is, part by part; empty in results of versions that did not keep it.
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
    basis: Mapping[str, str] = field(default_factory=dict)
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
            "profile": self.profile,
            "verdicts": [dataclasses.asdict(verdict) for verdict in self.verdicts],
        }
        return {
            "text/markdown": "\n".join(rows),
            "text/plain": "\n".join(f"{v.claim}: {v.outcome}. {v.sentence}" for v in self.verdicts),
            "application/vnd.companion.result+json": mark,
        }


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """A file with the right checksum may still be of another version of this program."""
    try:
        yield
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path} is not as this version writes it.") from None


def write_result(path: Path, result: Result) -> None:
    """Write a result as one JSON file with a checksum, atomically."""
    payload = dataclasses.asdict(dataclasses.replace(result, arrays={}))
    del payload["profile"]
    payload["arrays"] = {name: encode(array) for name, array in result.arrays.items()}
    write_checked(path, payload)


def read_result(path: Path) -> Result:
    """Read a result back; its profile is left to `companion.lab.experiment.profiled`.

    Raises:
        DamagedError: the file is damaged.
        FileNotFoundError: there is none.
    """
    payload = read_checked(path)
    with as_written(path):
        payload.pop("profile", None)  # earlier versions stored it
        payload["arrays"] = {name: decode(array) for name, array in payload["arrays"].items()}
        payload["verdicts"] = tuple(Verdict(**verdict) for verdict in payload["verdicts"])
        if not {"commit", "created", "seconds"} <= payload["provenance"].keys():
            raise KeyError
        return Result(**payload)
