"""Figures of the experiment engines/speed."""

import math
from collections.abc import Mapping
from typing import Any

from companion.experiments.engines.speed import BUSY, NARROW, QUIET, SUFFIXES, rows_of
from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.figures.words import spoken
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {
    "engines-gram": "engines-benchmark",
    "engines-gram-torch": "engines-benchmark",
    "engines-roof": "engines-benchmark",
    "engines-infinite": "engines-benchmark",
    "engines-step-torch": "engines-benchmark",
    "engines-step-jax": "engines-benchmark",
    "engines-recorded": "engines-benchmark",
    "engines-fleet": "engines-benchmark",
    "engines-recorded-fleet": "engines-benchmark",
    "engines-least": "engines-benchmark",
    "engines-operator": "engines-benchmark",
    "engines-linearised": "engines-benchmark",
    "engines-busy": "engines-benchmark-busy",
    "engines-avx2": "engines-benchmark-avx2",
}

# What the benchmark measures, in words.
WORK = {
    "gram": "Gram matrix",
    "infinite": "limit Gram matrix",
    "step": "training step",
    "recorded": "recorded step",
    "fleet": "fleet of networks",
    "recorded-fleet": "recorded fleet",
    "least": "least eigenvalue",
    "operator": "ends of an operator",
    "linearised": "predicted step",
}
SPEED = ("times as fast as the peer", "times as fast as the peer")


# The conditions of a run, as a caption says them.
CONDITIONS = {
    QUIET: "while nothing else ran",
    BUSY: "while another process kept one core busy",
    NARROW: "by libraries that use nothing beyond AVX2",
}


def benchmark(result: Result) -> Drawing:
    """How many times as fast as its peer each work is, beside what was promised."""
    return _promises(result, QUIET)


def benchmark_busy(result: Result) -> Drawing:
    """The same beside a process that keeps one core busy."""
    return _promises(result, BUSY)


def benchmark_avx2(result: Result) -> Drawing:
    """The same on a processor that has, or is allowed, no AVX-512."""
    return _promises(result, NARROW)


def _promises(result: Result, condition: str) -> Drawing:
    """The rows of one condition, from the first at the top to the last."""
    every = [row for row in rows_of(result.arrays)[::-1] if row["condition"] == condition]
    # What promises no time has no place on this axis.
    rows = [row for row in every if math.isfinite(row["bound"])]
    canvas = Canvas(height=0.34 * len(rows) + 1.4)
    names = [_named(row) for row in rows]
    panel = canvas.panel("promises", SPEED, "promise", log="x", rows=names)
    panel.upright("as fast as the peer", 1, FAINT, lw=1)
    measured, promised = ([_speed(row, row[key]) for row in rows] for key in ("ratio", "bound"))
    kept = [row["met"] for row in rows]
    colors = [BLUE if met else RED for met in kept]
    also = {
        **{size: [row[size] or None for row in rows] for size in ("networks", "d", "m", "depth")},
        "peer_versions": [row["versions"] for row in rows],
        "measure": [row["measure"] for row in rows],
        "kept": kept,
        "ours_seconds": [row["ours_seconds"] for row in rows],
        "peer_seconds": [row["peer_seconds"] for row in rows],
    }
    stem = {"color": colors, "lw": 2}
    panel.by_row("measured", measured, colors, since=1, stem=stem, filled=kept, columns=also, s=34)
    panel.by_row("promised", promised, [INK] * len(rows), marker="|", s=150, lw=1.8)
    for place, (speed, color) in enumerate(zip(measured, colors, strict=True)):
        told, end = f"{speed:#.3g}".rstrip("."), max(speed, 1, promised[place])
        panel.note(told, (end, place), color, (8, 0), va="center")
    panel.axes.margins(x=0.12, y=0.02)
    decades = [10.0**k for k in range(4)]
    panel.axes.set_xticks(decades, [f"{at:g}" for at in decades])
    if canvas.stacked:
        panel.axes.set_yticks(range(len(rows)), ["\n".join(n.rsplit(", ", 1)) for n in names])
    panel.axes.tick_params(axis="y", labelsize=8, length=0)
    panel.axes.grid(visible=False, axis="y")
    panel.axes.spines["left"].set_visible(False)
    dot = {"marker": "o", "ms": 6, "mew": 1.8}
    kinds = (
        entry("measured, promise kept", BLUE, **dot),
        entry("measured, not kept", RED, **dot, mfc="white"),
        entry("promised", marker="|", ms=12, mew=1.8),
    )
    canvas.legend(3, kinds)
    if not rows:
        return canvas.drawing(
            f"Nothing was measured {CONDITIONS[condition]}.", "A panel without rows."
        )
    where = {key: result.values[key + SUFFIXES[condition]] for key in ("machine", "measured")}
    best = max(range(len(rows)), key=lambda place: measured[place])
    return canvas.drawing(
        "How many times as fast as its peer the package does each work (circles) "
        f"{CONDITIONS[condition]}, on a logarithmic "
        "axis, and how many times were promised (upright ticks). Full circles keep their promise, "
        f"which {sum(kept)} of {len(rows)} do; open ones do not. Left of the line at 1 the peer is "
        "faster, as are a product that a Gram matrix is measured beside, and a step that records "
        f"nothing. The peers are {listed(sorted({row['versions'] for row in rows}))}. Measured on "
        f"{where['machine']} ({where['measured']}).",
        f"A row for each of {len(rows)} promises, with a bar from 1 to the speed that was measured "
        "and a tick at the speed that was promised. The longest bar is that of the row "
        f"'{names[best]}', {spoken(measured[best])} times as fast as the peer where "
        f"{spoken(promised[best])} were promised. {sum(kept)} of {len(rows)} bars reach their "
        "tick.",
    )


def _named(row: Mapping[str, Any]) -> str:
    """E.g. `Gram matrix, n = 256, neural-tangents`."""
    return f"{WORK.get(row['work'], row['work'])}, n = {row['n']}, {row['peer']}"


def _speed(row: Mapping[str, Any], ratio: float) -> float:
    """A ratio of the benchmark as a speed: of times it is the inverse."""
    return float(1 / ratio if row["measure"] == "time" else ratio)
