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
        values: named numbers and words for prose, computed from `found`.
        verdicts: what `judge` made of it.
    """

    experiment: str
    settings: Mapping[str, Any]
    found: xr.Dataset
    profile: str = "custom"
    device: str = "cpu"
    fingerprint: str = ""
    basis: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str | float | int] = field(default_factory=dict)
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()

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
            "values": dict(self.values),
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
    del payload["profile"]
    write_checked(path, payload)


def read_result(path: Path) -> Result:
    """Read a result back; its profile is left to `companion.lab.experiment.profiled`.

    Raises:
        DamagedError: the file is damaged.
        FileNotFoundError: there is none.
    """
    payload = read_checked(path)
    with as_written(path):
        payload["found"] = decode_dataset(payload["found"])
        payload["verdicts"] = tuple(Verdict(**verdict) for verdict in payload["verdicts"])
        if not {"commit", "created", "seconds"} <= payload["provenance"].keys():
            raise KeyError
        return Result(**payload)
