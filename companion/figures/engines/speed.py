"""Figures of the experiment engines/speed."""

from companion.experiments.engines.speed import rows_of, sizes_of
from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, INK, RED
from companion.lab.results import Result


def benchmark(result: Result) -> Drawing:
    """Every ratio over its target, on a logarithmic axis: right of the line is kept."""
    rows = rows_of(result.arrays)[::-1]
    # A time is to be small where the others are to be large.
    reached = [
        row["bound"] / row["ratio"] if row["measure"] == "time" else row["ratio"] / row["bound"]
        for row in rows
    ]
    canvas = Canvas(height=0.3 * len(rows) + 1.2)
    names = [f"{row['work']} {sizes_of(row)}, {row['peer']}" for row in rows]
    panel = canvas.panel("promises", "measured over promised", "promise", log="x", rows=names)
    panel.upright("kept", 1, INK, lw=1)
    colors = [BLUE if row["met"] else RED for row in rows]
    also = {
        "peer_version": [row["version"] for row in rows],
        "measure": [row["measure"] for row in rows],
        "promised": [row["bound"] for row in rows],
        "measured": [row["ratio"] for row in rows],
        "ours_seconds": [row["ours_seconds"] for row in rows],
        "peer_seconds": [row["peer_seconds"] for row in rows],
    }
    stem = {"color": colors, "lw": 2}
    panel.by_row("measured", reached, colors, since=1, stem=stem, columns=also, s=28)
    least, most = panel.axes.get_xlim()
    panel.sizes([at for at in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 5) if least < at < most])
    panel.axes.tick_params(axis="y", labelsize=7, length=0)
    panel.axes.grid(visible=False, axis="y")
    panel.axes.spines["left"].set_color(FAINT)
    kept = f"{sum(row['met'] for row in rows)} of {len(rows)}"
    return canvas.drawing(
        f"Each promise of speed, measured over promised: right of the line it is kept, which "
        f"{kept} are. The row names the work, its sizes and the peer it is measured beside "
        f"({result.values['machine']}; {result.values['measured']}).",
        "One horizontal line per promise, from the value one to what was measured over what was "
        f"promised; {kept} end to the right.",
    )
