"""What an experiment found and what that says about the claims; how it is written to a file."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from companion.base.files import decode, encode, read_checked, write_checked
from companion.errors import DamagedError

Outcome = Literal["holds", "fails", "outside-regime", "inconclusive"]
Answer = Literal["yes", "no", "unclear"]
# What kind of question a check asks, and so what kind of evidence it is. A note asks nothing.
Kind = Literal[
    "bound", "exponent", "fact", "identity", "limit", "mean", "note", "picture", "probability",
    "trend",
]  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One question to a measurement, with the words for its answer.

    Attributes:
        answer: `yes`, `no` or `unclear`.
        what: was measured.
        measured: what was found, with its spread.
        tolerance: what was asked for; nothing where nothing is asked, as of a note.
        slack: how wrong the claim could be and still pass, or by how much it is missed; nothing
            where there is only yes and no.
        anyway: whether it is true or false whatever the hypothesis of the claim, as an identity.
        kind: of the question.
    """

    answer: Answer
    what: str
    measured: str
    tolerance: str = ""
    slack: str = ""
    anyway: bool = False
    kind: Kind = "bound"


@dataclass(frozen=True)
class Control:
    """A lie about a result, which the judge of a claim has to see.

    Attributes:
        lie: in words, what is written into the result.
        outcome: what the judge makes of it.
    """

    lie: str
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """What a result says about one claim.

    Attributes:
        claim: id in `book/claims.csv`.
        outcome: `holds` (seen where the statement applies), `outside-regime` (its conclusion was
            seen, at sizes its hypothesis does not reach), `fails`, or `inconclusive`.
        predicted: what the statement says, with its number.
        sentence: the verdict in one sentence.
        checks: what was measured, what was asked of it, and with which slack.
        control: what would have come out of a doctored result.
    """

    claim: str
    outcome: Outcome
    predicted: str
    sentence: str
    checks: tuple[Check, ...]
    control: Control | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Verdict":
        """The verdict that `dataclasses.asdict` wrote.

        Raises:
            TypeError: it was written by another version.
        """
        checks = tuple(Check(**check) for check in told["checks"])
        control = told["control"] and Control(**told["control"])
        return cls(**{**told, "checks": checks, "control": control})

    @property
    def measured(self) -> str:
        """What was found, check by check."""
        return "; ".join(f"{c.what}: {c.measured}" if c.what else c.measured for c in self.checks)

    @property
    def tolerance(self) -> str:
        """What was asked for, each thing once."""
        return self._once("tolerance")

    @property
    def slack(self) -> str:
        """How wrong the claim could be and still pass, check by check."""
        return self._once("slack")

    @property
    def evidence(self) -> list[Kind]:
        """Which kinds of questions were asked, each once and in order."""
        return list(dict.fromkeys(c.kind for c in self.checks if c.kind != "note"))

    def _once(self, part: str) -> str:
        told = (getattr(check, part) for check in self.checks)
        return "; ".join(dict.fromkeys(words for words in told if words))


@dataclass(frozen=True)
class Result:
    """What one experiment found, and what that says.

    Attributes:
        experiment: name, e.g. `du2019/figure1`.
        settings: every setting, defaults included.
        found: what `run` returned, arrays with named axes.
        profile: `quick` or `paper` where the settings are those of today's profile, else `custom`;
            never stored, for profiles may change.
        device: `cpu` or `cuda`.
        fingerprint: of everything that decides the numbers.
        basis: what that is, part by part; empty in results of versions that did not keep it.
        provenance: commit, versions, machine, threads, date, seconds.
        summary: what was run, in one sentence.
        values: named numbers and words for prose, computed from `found`.
        verdicts: what `judge` made of it.
        left_out: why a page shows this record where it asked for a run, or nothing; never stored.
    """

    experiment: str
    settings: Mapping[str, Any]
    found: xr.Dataset
    profile: str = "custom"
    device: str = "cpu"
    fingerprint: str = ""
    basis: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str | float | int] = field(default_factory=dict)
    summary: str = ""
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    left_out: str = ""

    @property
    def data(self) -> str:
        """What it was computed on, in words."""
        return str(self.found.attrs["data"])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was found as plain arrays, by name."""
        return {str(name): array.values for name, array in self.found.data_vars.items()}

    def verdict(self, claim: str) -> Verdict:
        """The verdict on one claim; KeyError if this result says nothing about it."""
        for verdict in self.verdicts:
            if verdict.claim == claim:
                return verdict
        raise KeyError(claim)

    @property
    def mark(self) -> dict[str, Any]:
        """Which result it is, and what was taken from it, as JSON can hold it."""
        return {
            "experiment": self.experiment,
            "fingerprint": self.fingerprint,
            "profile": self.profile,
            "summary": self.summary,
            "values": dict(self.values),
            "verdicts": [dataclasses.asdict(verdict) for verdict in self.verdicts],
            "left_out": self.left_out,
        }

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """In a notebook a result shows its verdicts; the mark lets the site place them."""
        rows = [
            "| claim | outcome | predicted | measured | tolerance | slack |",
            "|---|---|---|---|---|---|",
            *(
                f"| {v.claim} | **{v.outcome}** | {v.predicted} | {v.measured} | {v.tolerance} | "
                f"{v.slack} |"
                for v in self.verdicts
            ),
        ]
        return {
            "text/markdown": "\n".join(rows),
            "text/plain": "\n".join(f"{v.claim}: {v.outcome}. {v.sentence}" for v in self.verdicts),
            "application/vnd.companion.result+json": self.mark,
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


def encode_dataset(dataset: xr.Dataset) -> dict[str, Any]:
    """A dataset as JSON can hold it."""
    return {
        "attributes": dict(dataset.attrs),
        "coordinates": {str(name): _encoded(a) for name, a in dataset.coords.items()},
        "arrays": {str(name): _encoded(a) for name, a in dataset.data_vars.items()},
    }


def decode_dataset(payload: Mapping[str, Any]) -> xr.Dataset:
    """The dataset that `encode_dataset` wrote."""
    arrays, coordinates = (
        {name: (each["dimensions"], decode(each)) for name, each in payload[kind].items()}
        for kind in ("arrays", "coordinates")
    )
    return xr.Dataset(arrays, coordinates, payload["attributes"])


def _encoded(array: xr.DataArray) -> dict[str, Any]:
    return {"dimensions": list(array.dims), **encode(array.values)}


def write_result(path: Path, result: Result) -> None:
    """Write a result as one JSON file with a checksum, atomically."""
    payload = {
        **{f.name: getattr(result, f.name) for f in dataclasses.fields(result)},
        "settings": dict(result.settings),
        "basis": dict(result.basis),
        "provenance": dict(result.provenance),
        "values": dict(result.values),
        "verdicts": [dataclasses.asdict(verdict) for verdict in result.verdicts],
        "found": encode_dataset(result.found),
    }
    del payload["profile"], payload["left_out"]
    write_checked(path, payload)


def read_result(path: Path) -> Result:
    """Read a result back, without what code takes from it: today's may take something else.

    Values, verdicts and the summary are left to `companion.lab.reproduce.judged`, and the profile
    to `companion.lab.experiment.profiled`.

    Raises:
        DamagedError: the file is damaged.
        FileNotFoundError: there is none.
    """
    payload = read_checked(path)
    with as_written(path):
        payload["found"] = decode_dataset(payload["found"])
        for taken in ("summary", "values", "verdicts"):
            payload.pop(taken, None)
        if not {"commit", "created", "seconds"} <= payload["provenance"].keys():
            raise KeyError
        return Result(**payload)
