"""Figures of the experiment engines/speed."""

from companion.experiments.engines.speed import rows_of, sizes_of
from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, INK, RED, new
from companion.lab.results import Result


def benchmark(result: Result) -> Drawing:
    """Every ratio over its target, on a logarithmic axis: right of the line is kept."""
    rows = rows_of(result.arrays)[::-1]
    # A time is to be small where the others are to be large.
    reached = [
        row["bound"] / row["ratio"] if row["measure"] == "time" else row["ratio"] / row["bound"]
        for row in rows
    ]
    figure, (axes,) = new()
    figure.set_size_inches(6.4, 0.3 * len(rows) + 1.2)
    places = range(len(rows))
    colors = [BLUE if row["met"] else RED for row in rows]
    axes.axvline(1, color=INK, lw=1)
    axes.hlines(places, 1, reached, color=colors, lw=2)
    axes.scatter(reached, places, color=colors, s=28, zorder=3)
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    ticks = [tick for tick in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 5) if least < tick < most]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(places, [f"{row['work']} {sizes_of(row)}, {row['peer']}" for row in rows])
    axes.tick_params(axis="y", labelsize=7, length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("measured over promised")
    axes.spines["left"].set_color(FAINT)
    kept = sum(row["met"] for row in rows)
    return Drawing(
        figure,
        f"Each promise of speed, measured over promised: right of the line it is kept, which "
        f"{kept} of {len(rows)} are. The row names the work, its sizes and the peer it is measured "
        f"beside ({result.values['machine']}; {result.values['measured']}).",
        "One horizontal line per promise, from the value one to what was measured over what was "
        "promised; most end to the right.",
        {
            "work": [f"{row['work']} {sizes_of(row)}" for row in rows],
            "peer": [f"{row['peer']} {row['version']}" for row in rows],
            "measure": [row["measure"] for row in rows],
            "promised": [row["bound"] for row in rows],
            "measured": [row["ratio"] for row in rows],
            "ours_seconds": [row["ours_seconds"] for row in rows],
            "peer_seconds": [row["peer_seconds"] for row in rows],
        },
    )
