"""The engines are as fast beside their peers as they promise, by the recorded benchmark.

Refuted for a promise by a recorded ratio on the wrong side of its target. The numbers were measured
by `companion bench`; here they are only judged, so that no page and no test depends on a clock.
"""

import math
import re
import statistics
from collections.abc import Callable, Mapping
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
    "engines-gram": "holds",
    "engines-gram-torch": "fails",
    "engines-roof": "holds",
    "engines-infinite": "holds",
    "engines-step-torch": "holds",
    "engines-step-jax": "holds",
    "engines-recorded": "fails",
    "engines-fleet": "fails",
}
DATA = "benchmarks/two_cores.json"
MAY_BE_MISSING = ("most",)  # of rows beside which no best product was measured
GIB = 2**30
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
}
# Claim -> work and peer of the rows that decide it.
ROWS = {
    "engines-gram": ("gram", "neural-tangents"),
    "engines-gram-torch": ("gram", "torch.func"),
    "engines-roof": ("gram", "best product"),
    "engines-infinite": ("infinite", "neural-tangents"),
    "engines-step-torch": ("step", "torch.optim.SGD"),
    "engines-step-jax": ("step", "jax.jit"),
    "engines-recorded": ("recorded", "bare step"),
    "engines-fleet": ("fleet", "torch.optim.SGD"),
}


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
    path = input_file(settings.file) if settings.file else book_file(DATA)
    try:
        written = read_checked(path)
    except (InputError, OSError, UnicodeDecodeError):
        written = {}
    every = written.get("rows", [])
    rows = [row for row in every if row["target"]["bound"] is not None]
    if not rows:
        raise InputError(
            f"{path} holds no intact benchmark; 'companion bench --json FILE' writes one."
        )
    provenance = written["provenance"]
    machine = f"{provenance['processor']}, {provenance['cores']} cores"
    measured = f"{provenance['created'][:10]}, commit {provenance['commit']}"
    return xr.Dataset(
        {
            **{name: ("row", [column(row) for row in rows]) for name, column in COLUMNS.items()},
            "most": ("row", [_most(row, every) for row in rows]),
        },
        attrs={
            "data": f"benchmark on {machine}, {measured}",
            "machine": machine,
            "measured": measured,
        },
    )


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


def _size(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row["target"]["case"].get(name, 0)


# What is kept of a row of the file, and where it stands there.
COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "work": lambda row: row["target"]["work"],
    "peer": lambda row: row["target"]["peer"]["label"],
    "versions": _versions,
    **{size: _size(size) for size in ("networks", "n", "d", "m", "depth")},
    "measure": lambda row: row["target"]["measure"],
    "bound": lambda row: row["target"]["bound"],
    "ratio": lambda row: row["ratio"],
    "met": lambda row: row["met"],
    "ours_seconds": lambda row: statistics.median(row["ours"]["seconds"]),
    "peer_seconds": lambda row: statistics.median(row["peer"]["seconds"]),
    "peak_bytes": lambda row: row["ours"]["peak_bytes"],
}


def rows_of(columns: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """The rows of the benchmark, one per target, from columns with the names of `COLUMNS`."""
    table = [np.asarray(columns[name]).tolist() for name in (*COLUMNS, "most")]
    return [dict(zip((*COLUMNS, "most"), row, strict=True)) for row in zip(*table, strict=True)]


def sizes_of(row: dict[str, Any]) -> str:
    """E.g. `$n=100$, $d=3072$, $m=8$, depth 4, 40 networks`."""
    sizes = [f"${name}={row[name]}$" for name in ("n", "d", "m") if row[name]]
    networks = [f"{row['networks']} networks"] if row["networks"] else []
    return ", ".join([*sizes, f"depth {row['depth']}", *networks])


def worded(row: dict[str, Any], ratio: float, rounded: Side = "") -> str:
    """A ratio as the row's measure says it: a factor, or a share of the machine's best."""
    return number(ratio, ".0%" if row["measure"] == "share" else ".3g", rounded)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Every ratio by work, n and peer, what was measured where, and what products would allow.

    `versions_jax_jit`, for instance, names the packages of that peer with their versions.
    """
    rows = rows_of(found)
    return {
        **{
            re.sub(r"\W", "_", f"{row['work']}-{row['n']}-{row['peer']}"): row["ratio"]
            for row in rows
        },
        "machine": found.attrs["machine"],
        "measured": found.attrs["measured"],
        **{re.sub(r"\W", "_", f"versions_{row['peer']}"): row["versions"] for row in rows},
        **{f"most_{row['n']}": row["most"] for row in rows if np.isfinite(row["most"])},
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """A promise is kept if all rows of its work and peer reached their targets."""
    rows = rows_of(found)
    return [
        _judge(promise, [r for r in rows if (r["work"], r["peer"]) == wanted])
        for promise, wanted in ROWS.items()
    ]


def _judge(promise: str, rows: list[dict[str, Any]]) -> Verdict:
    if not rows:
        return claim(
            promise,
            "Its target",
            Check("unclear", "the ratio", "not in this file", "that it was measured"),
            holds="",
            fails="",
            unclear="The benchmark was not run for this work.",
        )
    beside = f"{BESIDE[rows[0]['peer']]} ({rows[0]['versions']})"
    missed = [f"$n={row['n']}$" for row in rows if not row["met"]]
    bounds = dict.fromkeys(worded(row, row["bound"]) for row in rows)
    most = [f"{row['most']:.0f}" for row in rows if np.isfinite(row["most"])]
    roof = (
        f" At the speed of the machine's best product {listed(most)} would be the most."
        if most
        else ""
    )
    return claim(
        promise,
        f"{_side(rows[0]).capitalize()} {listed(bounds)} {RELATIONS[rows[0]['measure']]} {beside}",
        *map(_check, rows),
        *(
            note(f"At most {number(row['peak_bytes'] / GIB, '.2f', 'up')} GiB of memory were taken")
            for row in rows
            if promise == "engines-roof"
        ),
        holds=f"The promise beside {beside} is kept at every size.",
        fails=f"The promise beside {beside} is not kept at {listed(missed or ['any size'])}.{roof}",
    )


def _check(row: dict[str, Any]) -> Check:
    """One row; its median ratio of one session."""
    relation = RELATIONS[row["measure"]]
    beyond: Side = "up" if row["measure"] == "time" else "down"
    return Check(
        "yes" if row["met"] else "no",
        f"median of one session in which both sides take turns, at {sizes_of(row)}",
        f"{worded(row, row['ratio'], beyond)} {relation} the peer",
        f"{_side(row)} {worded(row, row['bound'])}",
        slack_factor(_reach(row), 1),
    )


def _side(row: dict[str, Any]) -> str:
    """On which side of its bound a ratio has to be."""
    return "at most" if row["measure"] == "time" else "at least"


def _reach(row: dict[str, Any]) -> float:
    """How often a row's ratio reaches its target: 1 where it is just met."""
    ratio, bound = float(row["ratio"]), float(row["bound"])
    return bound / ratio if row["measure"] == "time" else ratio / bound


def _reaching(promise: str, reach: float) -> Callable[[Settings, xr.Dataset], xr.Dataset]:
    """The result with every ratio of a promise at that multiple of its target."""

    def told(settings: Settings, found: xr.Dataset) -> xr.Dataset:
        work, peer = ROWS[promise]
        place = (found.work == work) & (found.peer == peer)
        at = (found.bound / reach).where(found.measure == "time", found.bound * reach)
        return found.assign(
            ratio=at.where(place, found.ratio), met=found.met.where(~place, reach >= 1)
        )

    return told


CONTROLS = {
    promise: Lie("every ratio misses its target by 1 %", _reaching(promise, 1 / 1.01))
    if outcome == "holds"
    else Lie("every ratio just reaches its target", _reaching(promise, 1))
    for promise, outcome in EXPECTED.items()
}
