"""Figures of the experiment chen2021/class_separation."""

import numpy as np

from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, CYCLE, INK, MARKERS, RED
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {
    "chen2021-ass4.9": "chen2021-class-distances",
    "chen2021-prop4.10": "chen2021-needed-radius",
}
DISTANCE = ("least distance of two inputs", "least distance of two inputs")
RADIUS = ("least R", "least $R$")
PHI = ("separation phi", r"separation $\phi$")
SETS = ("halves", "random labels", "pairs", "halves, twice")
KINDS = ("labels of the halves", "random labels", "pairs")
ENDS = ("own labels", "random", "pairs")


def class_distances(result: Result) -> Drawing:
    """Least distance of different labels and of all pairs, data set by data set."""
    a = result.arrays
    images = [str(pair) for pair in result.found["pair"].values]
    rows = [*SETS, *images]
    across = [*a["different"].mean(axis=0), *a["image_different"]]
    every = [*a["all_pairs"].mean(axis=0), *a["image_all_pairs"]]
    canvas = Canvas(1)
    panel = canvas.panel("distances", DISTANCE, "data set", rows=rows)
    count = len(rows)
    panel.by_row("different labels", across, [BLUE] * count, s=50)
    panel.by_row("all pairs", every, [RED] * count, marker="|", s=140, linewidths=2)
    panel.axes.set_xlim(-0.05, None)
    panel.axes.invert_yaxis()
    handles = [
        entry("different labels", BLUE, marker="o"),
        entry("all pairs", RED, marker="|", ms=11, markeredgewidth=2),
    ]
    canvas.legend(2, handles)
    told = listed(f"{name} {spoken(far)}" for name, far in zip(rows, across, strict=True))
    return canvas.drawing(
        "The least distance of two inputs of different labels, which Assumption 4.9 bounds from "
        "below by $\\phi$, and of any two. Above, drawn sets of "
        f"{result.settings['counts'][-1]} inputs, mean over {len(a['different'])} seeds; below, "
        "real images of two classes.",
        f"A row for each data set with two marks. Least distances of different labels: {told}. "
        + said(result, "All are positive, also where the least of all pairs is 0.", ASSUMPTION),
    )


def needed_radius(result: Result) -> Drawing:
    """R against n for three kinds of labels, and against phi at infinite and finite width."""
    a, s = result.arrays, result.settings
    canvas = Canvas(2)
    left = canvas.panel("counts", "inputs n", RADIUS, log="xy")
    counts, radius = s["counts"], a["radius"]  # seed, kind, count
    for place, name in enumerate(KINDS):
        left.curve(
            name, counts, radius[:, place], CYCLE[place], marker=MARKERS[place], ms=4, label=name
        )
    start = 1.6 * radius[:, 2, 0].max()
    left.guide("slope 3/2", counts, start, 1.5, label="slope 3/2, as allowed")
    left.sizes(counts)
    left.legend("upper left")
    right = canvas.panel("separations", PHI, RADIUS, log="xy")
    finite = s["network_separations"]
    phis = [*s["separations"], *finite]
    limit = np.concatenate([a["phi_radius"], a["limit_radius"]], axis=1)
    right.curve("infinite width", phis, limit, BLUE, marker="o", ms=4, label="infinite width")
    right.curve(
        "finite width", finite, a["network_radius"], RED, marker="s", ms=4,
        label=f"m = {s['width']}",
    )  # fmt: skip
    right.guide(
        "slope -1/2", phis, 1.5 * limit[:, 0].max(), -0.5, INK, label="slope -1/2, as allowed"
    )
    right.legend("lower left")
    return canvas.drawing(
        "The least $R$ at which every loss of the linearised network is at "
        f"$\\epsilon={s['accuracy']:g}$, {over_seeds(radius)}. Left, at infinite width against the "
        "number of inputs; pairs are "
        f"$\\phi={s['separation']:g}$ apart. Right, for {s['count']} inputs in pairs against their "
        "distance, at infinite width and at $m="
        f"{s['width']}$.",
        f"Left, for n from {counts[0]} to {counts[-1]} three rising curves below a dashed line: "
        + "; ".join(
            f"{name} {ends(radius[:, place].mean(axis=0))}" for place, name in enumerate(KINDS)
        )
        + f". Right, at infinite width R falls {ends(limit.mean(axis=0))}. "
        + said(
            result,
            "No curve on the left is steeper than its dashed line, nor is that of infinite width "
            "on the right where phi is small.",
            PROPOSITION,
        ),
    )


ASSUMPTION, PROPOSITION = "chen2021-ass4.9", "chen2021-prop4.10"
