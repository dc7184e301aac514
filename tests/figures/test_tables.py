"""A figure's table is what it shows: read back from matplotlib, and computed by another road."""

import csv
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from companion.base.paths import BOOK
from companion.figures import draw
from companion.figures.panels import Drawing
from companion.lab import catalog
from companion.lab.reproduce import reproduce
from companion.lab.results import Result
from tests import grouping

pytestmark = pytest.mark.slow

# A curve or set of points, a band's outline, a level, an upright line, or a strip.
Mark = tuple[Any, ...]


def plain(values: Any) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def drawn(axes: Axes) -> list[Mark]:
    """Everything that axes show as data."""
    marks: list[Mark] = []
    for line in axes.lines:
        x, y = (np.asarray(data, dtype=float) for data in line.get_data())
        in_x, in_y = line.get_transform().contains_branch_seperately(axes.transData)
        if in_x and in_y:
            marks.append(("points", plain(x), plain(y)))
        else:
            marks.append(("level", y[0]) if in_y else ("upright", x[0]))
    for patch in axes.patches:
        corners = patch.get_path().vertices
        height = patch.get_patch_transform().transform(corners)[:, 1]
        marks.append(("strip", height.min(), height.max()))
    for collection in axes.collections:
        kind = type(collection).__name__
        if kind == "PathCollection":
            x, y = np.asarray(collection.get_offsets()).T
            marks.append(("points", plain(x), plain(y)))
        elif kind == "LineCollection":
            for start, end in (path.vertices for path in collection.get_paths()):
                marks.append(("stem", end[1], start[0], end[0]))
        else:
            (path,) = collection.get_paths()
            marks.append(("band", frozenset(map(tuple, path.vertices.tolist()))))
    return marks


def recorded(drawing: Drawing, panel: str) -> list[Mark]:
    """The same, from the table."""
    marks: list[Mark] = []
    names = dict.fromkeys(zip(drawing.table["panel"], drawing.table["curve"], strict=True))
    for curve in (curve for where, curve in names if where == panel):
        x, y, low, high = curve_of(drawing, panel, curve)
        if drawing.panels[panel]["y"]["scale"] == "rows" and y != [None]:
            y = [rows_of(drawing).index(name) for name in y]
        if y == [None]:
            marks.append(("upright", x[0]) if low == [None] else ("strip", low[0], high[0]))
        elif x == [None]:
            marks.append(("level", y[0]))
        else:
            marks.append(("points", tuple(x), tuple(y)))
            if low[0] is not None:
                corners = {*zip(x, low, strict=True), *zip(x, high, strict=True)}
                marks.append(("band", frozenset(corners)))
    return marks


def curve_of(drawing: Drawing, panel: str, curve: str) -> list[list[Any]]:
    """x, y, low and high of one curve."""
    table = drawing.table
    at = [i for i, p in enumerate(table["panel"]) if (p, table["curve"][i]) == (panel, curve)]
    assert at, (panel, curve)
    return [[table[name][i] for i in at] for name in ("x", "y", "low", "high")]


def rows_of(drawing: Drawing) -> list[str]:
    return [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]


@pytest.mark.parametrize("identifier", grouping.figures())
def test_what_is_drawn_is_recorded_and_nothing_else(identifier: str) -> None:
    drawing = draw(identifier, reproduce(catalog.figures()[identifier]))
    assert len(drawing.panels) == len(drawing.figure.axes)
    for panel, axes in zip(drawing.panels, drawing.figure.axes, strict=True):
        shown, told = drawn(axes), recorded(drawing, panel)
        stems = [mark for mark in shown if mark[0] == "stem"]
        assert Counter(mark for mark in shown if mark[0] != "stem") == Counter(told)
        # A line in a row leads to a point of that row.
        points = [zip(mark[2], mark[1], strict=True) for mark in told if mark[0] == "points"]
        ends = {point for curve in points for point in curve}
        assert {(row, end) for _, row, _, end in stems} <= ends
        described = drawing.panels[panel]["x"]
        assert (described["scale"], described["label"]) == (axes.get_xscale(), axes.get_xlabel())


Expected = dict[tuple[str, str], tuple[Any, ...]]


def linear_rate(result: Result) -> Expected:
    widths = result.settings["widths"]
    last = result.arrays["misfit"][:, 1, -1]
    share = [[run[k] / run[0] for k in range(len(run))] for run in last]
    ratio = [[run[k + 1] / run[k] for k in range(len(run) - 1)] for run in last]
    eta, lambda_0 = result.values["largest_step_size"], result.values["lambda_0"]
    steps = range(last.shape[-1])
    return {
        ("misfit", f"m = {widths[1]}"): (steps, *mean_and_range(share)),
        ("ratio", f"m = {widths[1]}"): (steps[1:], *mean_and_range(ratio)),
        ("misfit", "Theorem 4.1"): (steps, [(1 - eta * lambda_0 / 2) ** k for k in steps]),
        ("ratio", "Theorem 4.1"): ([None], [result.values["bound_ratio"]]),
    }


def fig1a(result: Result) -> Expected:
    with (BOOK / "published" / "du2019_fig1a.csv").open() as file:
        rows = list(csv.DictReader(file))
    width = result.settings["widths"][0]
    fixed, inferred = (result.arrays["misfit"][:, 0, convention] for convention in (0, 1))
    epochs = range(fixed.shape[-1])
    known = [float(row[f"width_{width}"]) for row in rows]
    curve = f"m = {width}"
    return {
        ("one step size", curve): (epochs, np.log(fixed).mean(axis=0)),
        ("inferred step size", curve): (epochs, np.log(inferred).mean(axis=0)),
        ("inferred step size", f"{curve}, as published"): (
            [float(r["epoch"]) for r in rows],
            known,
        ),
    }


def gradient_flow(result: Result) -> Expected:
    widths, a = result.settings["widths"], result.arrays
    farthest = [[max(run) for run in seed] for seed in a["distance"]]
    frozen = np.mean([seed[-1] / seed[-1][0] for seed in a["linearised_limit"]], axis=0)
    times = np.arange(len(frozen)) * result.settings["horizon"] / (len(frozen) - 1)
    return {
        ("motion", "distance of the farthest unit"): (widths, *mean_and_range(farthest)),
        ("misfit", "H-infinity, linearised"): (times, frozen),
        ("misfit", "Theorem 3.2"): (times, [np.exp(-t) for t in times]),
    }


def gram_stability(result: Result) -> Expected:
    a, n = result.arrays, result.settings["count"]
    radii = [result.values["lemma_radius"], *result.settings["radii"]]
    printed = [4 * n**2 * r / np.sqrt(2 * np.pi) / a["lambda_0"].mean() for r in radii]
    random = [run / lambda_0 for run, lambda_0 in zip(a["random"], a["lambda_0"], strict=True)]
    return {
        ("change", "printed bound"): (radii, printed),
        ("change", "random"): (radii[1:], *mean_and_range(random)),
        ("change", "the lemma's R"): ([radii[0]], [None]),
    }


def output_layer(result: Result) -> Expected:
    a = result.arrays
    share = np.maximum(a["gd_first"] / a["start"], 1e-16)
    middle = [sorted(column)[len(column) // 2] for column in share.T]
    assert len(share) % 2
    return {
        ("misfit", "first layer, descent"): (
            result.settings["widths"],
            middle,
            *mean_and_range(share)[1:],
        ),
        ("misfit", "md = n"): ([result.settings["count"] / result.settings["dimension"]], [None]),
        ("predictions", "fresh inputs"): (a["by_first"][0, -1], a["by_output"][0, -1]),
    }


def benchmark(result: Result) -> Expected:
    a = result.arrays
    time = a["measure"] == "time"
    reached = np.where(time, a["bound"] / a["ratio"], a["ratio"] / a["bound"])[::-1]
    return {("promises", "measured"): (reached,), ("promises", "kept"): ([1], [None])}


def mean_and_range(samples: Any) -> list[list[float]]:
    """By columns, in plain Python."""
    columns = list(zip(*samples, strict=True))
    return [
        [sum(c) / len(c) for c in columns],
        [min(c) for c in columns],
        [max(c) for c in columns],
    ]


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        grouping.grouped("du2019-linear-rate", "du2019/linear_rate", linear_rate),
        grouping.grouped("du2019-fig1a", "du2019/figure1", fig1a),
        grouping.grouped("du2019-gradient-flow", "du2019/gradient_flow", gradient_flow),
        grouping.grouped("du2019-gram-stability", "du2019/gram_stability", gram_stability),
        grouping.grouped("du2019-output-layer", "du2019/output_layer", output_layer),
        grouping.grouped("engines-benchmark", "engines/speed", benchmark),
    ],
)
def test_what_is_drawn_is_what_was_found(
    identifier: str, expected: Callable[[Result], Expected]
) -> None:
    result = reproduce(catalog.figures()[identifier])
    drawing = draw(identifier, result)
    for (panel, curve), columns in expected(result).items():
        for found, right in zip(curve_of(drawing, panel, curve), columns, strict=False):
            assert found == pytest.approx(list(right), rel=1e-12), (panel, curve)
