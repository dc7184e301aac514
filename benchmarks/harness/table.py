"""What was measured, as a table and as JSON."""

import datetime
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.harness.conditions import Conditions, limits
from benchmarks.harness.targets import GIB, Measure, Program
from benchmarks.harness.turns import Row, Side
from companion import __version__
from companion.base.machine import processor
from companion.lab.provenance import commit


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned."""
    head = ("work", "n, d, m, depth", "ours ms", "peer ms", "peer", "measured", "target", "met")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    target, ours, peer = row.target, row.ours, row.peer
    measured = _worded(target.measure, row.ratio)
    bounds = []
    if target.bound is not None:
        relation = "<=" if target.measure == "time" else ">="
        bounds.append(f"{relation} {_worded(target.measure, target.bound)}")
    if target.memory is not None:
        measured += f", {ours.peak_bytes / GIB:.2f} GiB"
        bounds.append(f"< {target.memory / GIB:.3g} GiB")
    return (
        target.work,
        target.sizes,
        _milliseconds(ours),
        _milliseconds(peer),
        _peer(target.peer, peer),
        measured,
        ", ".join(bounds) or "-",
        {True: "yes", False: "NO", None: ""}[row.met],
    )


def _worded(measure: Measure, ratio: float) -> str:
    return f"{100 * ratio:.0f} %" if measure == "share" else f"{ratio:.3g}x"


def _milliseconds(side: Side) -> str:
    return f"{1000 * statistics.median(side.seconds):.4g}"


def _peer(program: Program, side: Side) -> str:
    package, version = next(iter(side.versions.items()))
    told = [f"{package} {version}" if package != program.label else version]
    if side.flops is not None:
        told += [side.detail, f"{side.flops / statistics.median(side.seconds) / 1e9:.0f} GFLOP/s"]
    return f"{program.label} ({', '.join(told)})"


def told(rows: Sequence[Row], here: Conditions) -> dict[str, Any]:
    """The rows, and where and under which conditions they were measured, fit for JSON."""
    return {
        "provenance": {
            "commit": commit(),
            "companion": __version__,
            "python": platform.python_version(),
            "processor": processor(),
            "system": f"{platform.system()} {platform.machine()}",
            **asdict(here),
            "limits": limits(),
            "condition": here.kind,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "rows": [
            {"name": row.target.name, **asdict(row), "ratio": row.ratio, "met": row.met}
            for row in rows
        ],
    }
