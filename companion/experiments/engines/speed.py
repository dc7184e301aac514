"""The engines are as fast beside their peers as they promise, by the recorded benchmark.

Refuted for a promise by a recorded ratio on the wrong side of its target. The numbers were measured
by `companion bench`; here they are only judged, so that no page and no test depends on a clock.
"""

import math
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import FilePath

from companion.base.files import read_checked
from companion.base.inputs import book_file, input_file
from companion.errors import InputError
from companion.lab.checks import claim, note, slack_factor
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Settings as BaseSettings
from companion.lab.words import Side, listed, number

EXPECTED: dict[str, Outcome] = {
    "engines-gram": "fails",
    "engines-gram-torch": "fails",
    "engines-roof": "fails",
    "engines-infinite": "holds",
    "engines-step-torch": "fails",
    "engines-step-jax": "fails",
    "engines-recorded": "fails",
    "engines-fleet": "fails",
    "engines-recorded-fleet": "holds",
    "engines-least": "fails",
    "engines-operator": "holds",
    "engines-linearised": "holds",
    "engines-busy": "fails",
    "engines-avx2": "fails",
}
# Records of a quiet machine, of one with a busy core, and of one without AVX-512.
DATA = (
    "benchmarks/two_cores.json",
    "benchmarks/two_cores_busy.json",
    "benchmarks/two_cores_avx2.json",
)
QUIET, BUSY, NARROW = "quiet", "busy", "no AVX-512"
# Beside a process that keeps a core busy, at least this share of the quiet ratio.
KEPT_WHEN_BUSY = 0.7
# Of rows beside which no best product was measured, or that promise no time, or no memory.
MAY_BE_MISSING = ("most", "bound", "memory")
GIB = 2**30
# Of the names of values, by condition.
SUFFIXES = {QUIET: "", BUSY: "_busy", NARROW: "_avx2"}
# How a ratio of each measure is read.
RELATIONS = {"speed-up": "times as fast as", "share": "of the speed of", "time": "times as long as"}
# The peers, as a sentence names them.
BESIDE = {
    "neural-tangents": "the reference implementation",
    "torch.func": "the contraction of Jacobians in torch.func's tutorial",
    "best product": "the machine's best matrix product",
    "torch.optim.SGD": "torch.optim.SGD on autograd",
    "jax.jit": "jax's compiled gradient",
    "bare step": "the same step without records",
    "bare fleet": "the same fleet without records",
    "torch.linalg.eigvalsh": "all eigenvalues by torch.linalg.eigvalsh",
    "whole matrix": "forming the matrix",
    "training run": "the run itself, step by step",
}
# Claim -> work and peer of the rows of a quiet machine that decide it.
ROWS = {
    "engines-gram": ("gram", "neural-tangents"),
    "engines-gram-torch": ("gram", "torch.func"),
    "engines-roof": ("gram", "best product"),
    "engines-infinite": ("infinite", "neural-tangents"),
    "engines-step-torch": ("step", "torch.optim.SGD"),
    "engines-step-jax": ("step", "jax.jit"),
    "engines-recorded": ("recorded", "bare step"),
    "engines-fleet": ("fleet", "torch.optim.SGD"),
    "engines-recorded-fleet": ("recorded-fleet", "bare fleet"),
    "engines-least": ("least", "torch.linalg.eigvalsh"),
    "engines-operator": ("operator", "whole matrix"),
    "engines-linearised": ("linearised", "training run"),
}
# Claim -> condition, all of whose rows decide it.
CONDITIONS = {"engines-busy": BUSY, "engines-avx2": NARROW}


class Settings(BaseSettings):
    """What is judged.

    Attributes:
        dtype: of what was measured.
        file: written by `companion bench --json`, instead of the recorded benchmark.
    """

    dtype: Literal["float32"] = "float32"
    file: FilePath | None = None


QUICK = PAPER = Settings()


def cost(settings: Settings) -> Cost:
    """Reading a file."""
    return Cost(1e3, 1e5)


def summary(settings: Settings) -> str:
    """What is judged."""
    told = "the file that was given" if settings.file else "the benchmark recorded with the package"
    return (
        "Nothing is run: the ratios of times are those of "
        f"{told}, for whose every row both sides took turns in one session."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Read the benchmark: its rows with a target, the columns of a table.

    Raises:
        InputError: the file is not one that `companion bench --json` wrote.
    """
    given = [input_file(settings.file)] if settings.file else [*map(book_file, DATA)]
    records = [_Record.read(path) for path in given]
    rows = [row for record in records for row in record.rows()]
    quiet = {_name(row): row["ratio"] for row in rows if row["condition"] == QUIET}
    rows = [_beside_quiet(row, quiet.get(_name(row))) for row in rows]
    return xr.Dataset(
        {name: ("row", [row[name] for row in rows]) for name in (*COLUMNS, "condition", "most")},
        attrs={
            "data": "; ".join(f"benchmark on {r.machine}, {r.measured}" for r in records),
            # Those of the first one, for whoever asks about no condition.
            "machine": records[0].machine,
            "measured": records[0].measured,
            **{f"machine{SUFFIXES[r.condition]}": r.machine for r in records},
            **{f"measured{SUFFIXES[r.condition]}": r.measured for r in records},
        },
    )


@dataclass(frozen=True)
class _Record:
    """What `companion bench --json` wrote, read."""

    provenance: dict[str, Any]
    every: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "_Record":
        try:
            written = read_checked(path)
        except (InputError, OSError, UnicodeDecodeError):
            written = {}
        record = cls(written.get("provenance", {}), written.get("rows", []))
        if not record.rows():
            raise InputError(
                f"{path} holds no intact benchmark; 'companion bench --json FILE' writes one."
            )
        return record

    @property
    def condition(self) -> str:
        """Under which it was measured; a file of version 0.1.0 does not say that it was quiet."""
        return str(self.provenance.get("condition", QUIET))

    @property
    def machine(self) -> str:
        """Processor, cores, and what else was running or not allowed."""
        cores = f"{self.provenance['processor']}, {self.provenance['cores']} cores"
        kept = {QUIET: "", BUSY: ", one of them busy", NARROW: ", without AVX-512"}
        return cores + kept[self.condition]

    @property
    def measured(self) -> str:
        return f"{self.provenance['created'][:10]}, commit {self.provenance['commit']}"

    def rows(self) -> list[dict[str, Any]]:
        """Those of which something is promised, column by column."""
        return [
            {
                **{name: column(row) for name, column in COLUMNS.items()},
                "condition": self.condition,
                "most": _most(row, self.every),
            }
            for row in self.every
            if row["met"] is not None
        ]


def _name(row: dict[str, Any]) -> str:
    return f"{row['work']}-{row['n']}-{row['peer']}"


def _beside_quiet(row: dict[str, Any], quiet: float | None) -> dict[str, Any]:
    """A row beside a busy core has to keep a share of its quiet ratio, too."""
    if row["condition"] != BUSY or quiet is None:
        return row
    bound = max(row["bound"], KEPT_WHEN_BUSY * quiet)
    return {**row, "bound": bound, "met": row["ratio"] >= bound}


def _most(row: dict[str, Any], every: list[dict[str, Any]]) -> float:
    """How often the operations of a Gram matrix, at the machine's best product, go into torch.func.

    No factorised computation can do better. The operations are those that the benchmark counts
    for one triangle, 2 n (d m + (D - 1) m^2) for the forward pass, 2 n (D - 1) m^2 for the signals.

    Args:
        row: of the benchmark; NaN without a best product of the same n, or for another peer.
        every: row of the benchmark.
    """
    n, d, m, depth = (row["target"]["case"].get(name) for name in ("n", "d", "m", "depth"))
    best = [
        other
        for other in every
        if (other["target"]["peer"]["label"], other["target"]["case"]["n"]) == ("best product", n)
    ]
    if row["target"]["peer"]["label"] != "torch.func" or not best:
        return math.nan
    flops = best[-1]["peer"]["flops"]
    operations = flops + 2 * n * (d * m + 2 * (depth - 1) * m**2)
    slow, fast = (statistics.median(r["peer"]["seconds"]) for r in (row, best[-1]))
    return float(slow / (fast * operations / flops))


def _versions(row: dict[str, Any]) -> str:
    """The peer's packages with their versions, the one it is named by first.

    E.g. `neural-tangents 0.6.5 with jax 0.4.23`: in the file they stand in no order of rank.
    """
    label, versions = row["target"]["peer"]["label"], row["peer"]["versions"]
    ranked = sorted(versions, key=lambda package: not label.startswith(package))
    first, *others = (f"{package} {versions[package]}" for package in ranked)
    return f"{first} with {listed(others)}" if others else first


def _number(number: float | None) -> float:
    return math.nan if number is None else number


def _size(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row["target"]["case"].get(name, 0)


# What is kept of a row of the file, and where it stands there.
COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "work": lambda row: row["target"]["work"],
    "peer": lambda row: row["target"]["peer"]["label"],
    "versions": _versions,
    **{size: _size(size) for size in ("networks", "n", "d", "m", "depth")},
    "measure": lambda row: row["target"]["measure"],
    "bound": lambda row: _number(row["target"]["bound"]),
    "memory": lambda row: _number(row["target"]["memory"]),
    "ratio": lambda row: row["ratio"],
    "met": lambda row: row["met"],
    "ours_seconds": lambda row: statistics.median(row["ours"]["seconds"]),
    "peer_seconds": lambda row: statistics.median(row["peer"]["seconds"]),
    "peak_bytes": lambda row: row["ours"]["peak_bytes"],
}


def rows_of(columns: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """The rows of the benchmark, one per target, from columns with the names of `COLUMNS`."""
    names = (*COLUMNS, "condition", "most")
    table = [np.asarray(columns[name]).tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*table, strict=True)]


def sizes_of(row: dict[str, Any]) -> str:
    """E.g. `$n=100$, $d=3072$, $m=8$, depth 4, 40 networks`."""
    sizes = [f"${name}={row[name]}$" for name in ("n", "d", "m") if row[name]]
    networks = [f"{row['networks']} networks"] if row["networks"] else []
    return ", ".join([*sizes, f"depth {row['depth']}", *networks])


def worded(row: dict[str, Any], ratio: float, rounded: Side = "") -> str:
    """A ratio as the row's measure says it: a factor, or a share of the machine's best."""
    return number(ratio, ".0%" if row["measure"] == "share" else ".3g", rounded)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Every ratio by work, n and peer, what was measured where and when, and what products allow.

    `versions_jax_jit`, for instance, names the packages of that peer with their versions;
    `gram_256_neural_tangents_busy` is the ratio beside a busy core.
    """
    rows = rows_of(found)
    return {
        **{
            re.sub(r"\W", "_", f"{_name(row)}{SUFFIXES[row['condition']]}"): row["ratio"]
            for row in rows
        },
        **{
            key: told
            for key, told in found.attrs.items()
            if key.startswith(("machine", "measured"))
        },
        **{re.sub(r"\W", "_", f"versions_{row['peer']}"): row["versions"] for row in rows},
        **{
            f"most_{row['n']}{SUFFIXES[row['condition']]}": row["most"]
            for row in rows
            if np.isfinite(row["most"])
        },
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """A promise is kept if all rows of its work and peer, or condition, reached their targets."""
    rows = rows_of(found)
    deciding = {promise: [row for row in rows if decides(promise, row)] for promise in EXPECTED}
    return [
        (_judge_condition if promise in CONDITIONS else _judge)(promise, those)
        for promise, those in deciding.items()
    ]


def decides(promise: str, row: Mapping[str, Any]) -> bool:
    """Whether a row is one of those that a promise is about."""
    if promise in CONDITIONS:
        return bool(row["condition"] == CONDITIONS[promise])
    return row["condition"] == QUIET and (row["work"], row["peer"]) == ROWS[promise]


def _not_measured(promise: str) -> Verdict:
    return claim(
        promise,
        "Its target",
        Check("unclear", "the ratio", "not in this file", "that it was measured"),
        holds="",
        fails="",
        unclear="The benchmark was not run for this work.",
    )


def _judge_condition(promise: str, rows: list[dict[str, Any]]) -> Verdict:
    """Of all works together."""
    if not rows:
        return _not_measured(promise)
    missed = [f"{row['work']} at $n={row['n']}$ ({row['peer']})" for row in rows if not row["met"]]
    where = {BUSY: "Beside a process that keeps a core busy", NARROW: "Without AVX-512"}
    begun = where[CONDITIONS[promise]]
    return claim(
        promise,
        f"Every ratio of this condition reaches its bound, of {len(rows)} rows",
        *map(_check, rows),
        holds=f"{begun} every promise is kept.",
        fails=f"{begun} {len(missed)} of {len(rows)} promises are not kept: {listed(missed)}."
        if missed
        else "",
    )


def _judge(promise: str, rows: list[dict[str, Any]]) -> Verdict:
    if not rows:
        return _not_measured(promise)
    beside = f"{BESIDE[rows[0]['peer']]} ({rows[0]['versions']})"
    missed = [f"$n={row['n']}$" for row in rows if not row["met"]]
    bounds = dict.fromkeys(_asked(row) for row in rows)
    most = [f"{row['most']:.0f}" for row in rows if np.isfinite(row["most"])]
    roof = (
        f" At the speed of the machine's best product {listed(most)} would be the most."
        if most
        else ""
    )
    return claim(
        promise,
        f"{listed(bounds).capitalize()} {RELATIONS[rows[0]['measure']]} {beside}"
        if np.isfinite(rows[0]["bound"])
        else f"{listed(bounds).capitalize()}, beside {beside}",
        *map(_check, rows),
        *(
            note(f"At most {number(row['peak_bytes'] / GIB, '.2f', 'up')} GiB of memory were taken")
            for row in rows
            if np.isfinite([row["memory"], row["bound"]]).all()
        ),
        holds=f"The promise beside {beside} is kept at every size.",
        fails=f"The promise beside {beside} is not kept at {listed(missed or ['any size'])}.{roof}",
    )


def _check(row: dict[str, Any]) -> Check:
    """One row; its median ratio of one session."""
    if math.isnan(row["bound"]):
        return _memory_check(row)
    relation = RELATIONS[row["measure"]]
    beyond: Side = "up" if row["measure"] == "time" else "down"
    return Check(
        "yes" if row["met"] else "no",
        f"{row['work']}, median of one session in which both sides take turns, at {sizes_of(row)}",
        f"{worded(row, row['ratio'], beyond)} {relation} the peer",
        _asked(row),
        slack_factor(_reach(row), 1),
    )


def _memory_check(row: dict[str, Any]) -> Check:
    """A row that promises no time."""
    time = f"it took {number(row['ratio'], '.3g', 'up')} {RELATIONS['time']} the peer"
    return Check(
        "yes" if row["met"] else "no",
        f"memory of the whole process, at {sizes_of(row)}",
        f"{number(row['peak_bytes'] / GIB, '.2f', 'up')} GiB; {time}",
        _asked(row),
        slack_factor(_reach(row), 1),
    )


def _asked(row: dict[str, Any]) -> str:
    """What a row has to reach."""
    if math.isnan(row["bound"]):
        return f"less than {row['memory'] / GIB:.3g} GiB"
    return f"{_side(row)} {worded(row, row['bound'])}"


def _side(row: dict[str, Any]) -> str:
    """On which side of its bound a ratio has to be."""
    return "at most" if row["measure"] == "time" else "at least"


def _reach(row: dict[str, Any]) -> float:
    """How often a row's ratio reaches its target: 1 where it is just met."""
    ratio, bound = float(row["ratio"]), float(row["bound"])
    if math.isnan(bound):
        return float(row["memory"] / row["peak_bytes"])
    return bound / ratio if row["measure"] == "time" else ratio / bound


def _reaching(promise: str, reach: float) -> Callable[[Settings, xr.Dataset], xr.Dataset]:
    """The result with every ratio of a promise at that multiple of its target."""

    def told(settings: Settings, found: xr.Dataset) -> xr.Dataset:
        rows = rows_of(found)
        place = xr.DataArray([decides(promise, row) for row in rows], dims="row")
        at = (found.bound / reach).where(found.measure == "time", found.bound * reach)
        held = (found.memory / reach).where(found.bound.isnull(), found.peak_bytes)
        return found.assign(
            ratio=at.where(place & found.bound.notnull(), found.ratio),
            peak_bytes=held.where(place, found.peak_bytes),
            met=found.met.where(~place, reach >= 1),
        )

    return told


def _lie(promise: str, outcome: Outcome) -> Lie:
    if outcome == "holds":
        return Lie("every ratio misses its target by 1 %", _reaching(promise, 1 / 1.01))
    return Lie("every ratio just reaches its target", _reaching(promise, 1))


CONTROLS = {promise: _lie(promise, outcome) for promise, outcome in EXPECTED.items()}
