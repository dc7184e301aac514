"""The engines are as fast beside their peers as they promise, by the recorded benchmark.

Refuted for a promise by a recorded ratio on the wrong side of its target. The numbers were measured
by `companion bench`; here they are only judged, so that no page and no test depends on a clock.
"""

import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import FilePath

from companion.base.files import read_checked
from companion.base.inputs import book_file, input_file
from companion.errors import InputError
from companion.lab.experiment import Cost
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Settings as BaseSettings

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
GIB = 2**30
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


def run(settings: Settings, device: str) -> Result:
    """Read the benchmark.

    Raises:
        InputError: the file is not one that `companion bench --json` wrote.
    """
    path = input_file(settings.file) if settings.file else book_file(DATA)
    try:
        told = read_checked(path)
    except (InputError, OSError, UnicodeDecodeError):
        told = {}
    every = told.get("rows", [])
    rows = [row for row in every if row["target"]["bound"] is not None]
    if not rows:
        raise InputError(
            f"{path} holds no intact benchmark; 'companion bench --json FILE' writes one."
        )
    machine = told["provenance"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    when = f"{machine['created'][:10]}, commit {machine['commit']}"
    return Result(
        experiment="engines/speed",
        settings=settings.model_dump(mode="json"),
        values={
            **{re.sub(r"\W", "_", row["name"]): row["ratio"] for row in rows},
            "machine": where,
            "measured": when,
            **_most(every),
        },
        arrays={name: np.array([column(row) for row in rows]) for name, column in COLUMNS.items()},
        data=f"benchmark on {where}, {when}",
    )


def _most(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How often the operations of a Gram matrix, at the machine's best product, go into torch.func.

    No factorised computation can do better. The operations are those that the benchmark counts
    for one triangle, 2 n (d m + (D - 1) m^2) for the forward pass, 2 n (D - 1) m^2 for the signals.
    """
    labelled = {(row["target"]["case"]["n"], row["target"]["peer"]["label"]): row for row in rows}
    most = {}
    for (n, label), row in labelled.items():
        product = labelled.get((n, "best product"))
        if label == "torch.func" and product is not None:
            d, m, depth = (row["target"]["case"][name] for name in ("d", "m", "depth"))
            flops = product["peer"]["flops"]
            operations = flops + 2 * n * (d * m + 2 * (depth - 1) * m**2)
            slow, fast = (statistics.median(r["peer"]["seconds"]) for r in (row, product))
            most[f"most_{n}"] = slow / (fast * operations / flops)
    return most


def _size(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row["target"]["case"].get(name, 0)


# What is kept of a row of the file, and where it stands there.
COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "work": lambda row: row["target"]["work"],
    "peer": lambda row: row["target"]["peer"]["label"],
    "version": lambda row: next(iter(row["peer"]["versions"].values())),
    **{size: _size(size) for size in ("networks", "n", "d", "m", "depth")},
    "measure": lambda row: row["target"]["measure"],
    "bound": lambda row: row["target"]["bound"],
    "ratio": lambda row: row["ratio"],
    "met": lambda row: row["met"],
    "ours_seconds": lambda row: statistics.median(row["ours"]["seconds"]),
    "peer_seconds": lambda row: statistics.median(row["peer"]["seconds"]),
    "peak_bytes": lambda row: row["ours"]["peak_bytes"],
}


def rows_of(result: Result) -> list[dict[str, Any]]:
    """The rows of the benchmark, one per target, with the names of `COLUMNS`."""
    columns = [result.arrays[name].tolist() for name in COLUMNS]
    return [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]


def sizes_of(row: dict[str, Any]) -> str:
    """E.g. `40 x (n=100, d=3072, m=8, depth=4)`."""
    sizes = ", ".join(f"{name}={row[name]}" for name in ("n", "d", "m", "depth") if row[name])
    return f"{row['networks']} x ({sizes})" if row["networks"] else f"({sizes})"


def worded(row: dict[str, Any], ratio: float) -> str:
    """A ratio as the row's measure says it: a factor, or a share of the machine's best."""
    return f"{100 * ratio:.0f} %" if row["measure"] == "share" else f"{ratio:.3g}x"


def judge(result: Result) -> list[Verdict]:
    """A promise holds if all rows of its work and peer reached their targets."""
    rows = rows_of(result)
    return [
        _judge(claim, [r for r in rows if (r["work"], r["peer"]) == wanted], result.values)
        for claim, wanted in ROWS.items()
    ]


def _judge(
    claim: str, rows: list[dict[str, Any]], values: Mapping[str, float | int | str | bool]
) -> Verdict:
    if not rows:
        return Verdict(
            claim, "inconclusive", "its target", "not in this file", "none",
            "The benchmark was not run for this work.",
        )  # fmt: skip
    missed = [sizes_of(row) for row in rows if not row["met"]]
    most = [f"{values[key]:.0f}" for row in rows if (key := f"most_{row['n']}") in values]
    roof = f" The machine's best product would allow {' and '.join(most)} at most."
    sign = "at most" if rows[0]["measure"] == "time" else "at least"
    peaks = [f"; {row['peak_bytes'] / GIB:.2f} GiB" for row in rows if claim == "engines-roof"]
    return Verdict(
        claim,
        "fails" if missed else "holds",
        f"{sign} " + ", ".join(f"{worded(row, row['bound'])} at {sizes_of(row)}" for row in rows),
        ", ".join(f"{worded(row, row['ratio'])} at {sizes_of(row)}" for row in rows)
        + "".join(peaks),
        "none: the median ratio of one run in which the sides take turns",
        f"Beside {rows[0]['peer']} ({rows[0]['version']}) the promise "
        + (f"is not kept at {', '.join(missed)}." if missed else "is kept at every size.")
        + (roof if missed and most and claim == "engines-gram-torch" else ""),
    )
