"""A figure's table is what it shows: read back from matplotlib, and computed by another road."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from companion.figures import draw
from companion.figures.panels import Drawing
from companion.lab import catalog
from companion.lab.reproduce import reproduce_or_recorded
from tests import grouping
from tests.figures import (
    at_initialization,
    chen_descent,
    chen_errors,
    chen_images,
    chen_near_start,
    chen_ntrf,
    chen_tables,
    chen_widths,
    compared,
    curves,
    curves_of_settings,
    descents,
    images,
    lemmas,
    near_start,
    zou_rates,
)

pytestmark = pytest.mark.slow

CURVES = {
    identifier: computed
    for module in (
        at_initialization,
        chen_widths,
        chen_near_start,
        chen_descent,
        chen_ntrf,
        chen_tables,
        chen_errors,
        chen_images,
        compared,
        curves,
        curves_of_settings,
        descents,
        images,
        lemmas,
        near_start,
        zou_rates,
    )
    for identifier, computed in module.CURVES.items()
}

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
    drawing = draw(identifier, reproduce_or_recorded(catalog.figures()[identifier]))
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


@pytest.mark.parametrize("identifier", grouping.figures())
def test_what_is_drawn_is_what_was_found(identifier: str) -> None:
    result = reproduce_or_recorded(catalog.figures()[identifier])
    drawing = draw(identifier, result)
    computed = CURVES[identifier](result)
    drawn_curves = zip(drawing.table["panel"], drawing.table["curve"], strict=True)
    assert set(drawn_curves) == set(computed)
    for (panel, curve), columns in computed.items():
        for found, right in zip(curve_of(drawing, panel, curve), columns, strict=False):
            known = [None if value is None or value != value else value for value in right]
            assert found == pytest.approx(known, rel=1e-9, abs=1e-15), (panel, curve)


def test_every_figure_is_computed_once_more() -> None:
    assert sorted(CURVES) == sorted(catalog.figures())
