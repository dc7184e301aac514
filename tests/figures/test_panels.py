"""What the helper draws and records is what it was given, by numbers that a reader can check."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from companion.figures.panels import COLUMNS, Canvas, Panel, entry, narrow
from companion.figures.style import ORANGE, legible
from companion.figures.words import ends, over_seeds, powers, spoken
from companion.lab.words import Side

SAMPLES = np.array([[1.0, 20.0], [2.0, 50.0], [6.0, 80.0]])


@pytest.fixture
def canvas() -> Canvas:
    return Canvas()


@pytest.fixture
def panel(canvas: Canvas) -> Panel:
    return canvas.panel("p", ("step", "step k"), ("misfit", "$u-y$"))


def rows(canvas: Canvas) -> list[dict[str, object]]:
    table = canvas.drawing("", "").table
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def test_samples_become_their_mean_with_their_range_as_a_band(canvas: Canvas, panel: Panel) -> None:
    returned = panel.curve("c", [10, 11], SAMPLES, "red")
    assert returned.tolist() == [3, 50]
    (line,), (band,) = panel.axes.lines, panel.axes.collections
    assert line.get_xydata().tolist() == [[10, 3], [11, 50]]
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(10, 1), (10, 6), (11, 20), (11, 80)}
    common = {"panel": "p", "curve": "c", "x_quantity": "step", "y_quantity": "misfit"}
    assert rows(canvas) == [
        {**common, "x": 10, "y": 3, "low": 1, "high": 6, "summary": "mean of 3"},
        {**common, "x": 11, "y": 50, "low": 20, "high": 80, "summary": "mean of 3"},
    ]
    assert list(rows(canvas)[0]) == list(COLUMNS)


def test_a_median_is_called_one(canvas: Canvas, panel: Panel) -> None:
    assert panel.curve("c", [0, 1], SAMPLES, "red", middle=np.median).tolist() == [2, 50]
    assert rows(canvas)[0]["summary"] == "median of 3"


@pytest.mark.parametrize("samples", [SAMPLES[:1], SAMPLES[0], SAMPLES])
def test_no_band_is_drawn_or_recorded_where_there_is_none(
    canvas: Canvas, panel: Panel, samples: np.ndarray
) -> None:
    line = panel.curve("c", [0, 1], samples, "red", band=len(samples) < 3)
    assert line.tolist() == ([3, 50] if len(samples) == 3 else [1, 20])
    assert not panel.axes.collections
    assert [(row["low"], row["high"]) for row in rows(canvas)] == [(None, None)] * 2
    assert rows(canvas)[0]["summary"] == ("mean of 3" if len(samples) == 3 else "value")


def test_a_guide_starts_where_it_is_told_and_has_its_power(canvas: Canvas, panel: Panel) -> None:
    assert panel.guide("g", [4, 16, 64], 6, -1 / 2).tolist() == [6, 3, 1.5]
    assert panel.axes.lines[0].get_ydata().tolist() == [6, 3, 1.5]  # type: ignore[union-attr]
    assert [row["y"] for row in rows(canvas)] == [6, 3, 1.5]


def test_points_are_broadcast(canvas: Canvas, panel: Panel) -> None:
    panel.points("c", [1, 2], [[3, 4], [5, 6]], "red")
    (line,) = panel.axes.lines
    assert line.get_xydata().tolist() == [[1, 3], [2, 4], [1, 5], [2, 6]]
    assert line.get_linestyle() == "None"
    assert [(row["x"], row["y"]) for row in rows(canvas)] == [(1, 3), (2, 4), (1, 5), (2, 6)]


def test_lines_and_strips_across_the_panel_are_recorded_without_the_other_axis(
    canvas: Canvas, panel: Panel
) -> None:
    panel.level("bound", 0.25, "red")
    panel.upright("radius", 7, "red")
    panel.strip("in use", 2, 3, "red")
    level, upright = panel.axes.lines
    assert list(level.get_ydata()) == [0.25, 0.25]
    assert list(upright.get_xdata()) == [7, 7]
    assert panel.axes.patches[0].get_window_extent().transformed(
        panel.axes.transData.inverted()
    ).intervaly == pytest.approx([2, 3])
    found = [
        tuple(row[name] for name in ("curve", "x", "y", "low", "high")) for row in rows(canvas)
    ]
    assert found == [
        ("bound", None, 0.25, None, None),
        ("radius", 7, None, None, None),
        ("in use", None, None, 2, 3),
    ]


def test_rows_are_recorded_by_name_with_what_else_is_known_of_them() -> None:
    canvas = Canvas()
    panel = canvas.panel("p", "ratio", "promise", log="x", rows=("fast", "small"))
    panel.by_row("measured", [2, 8], "red", since=1, columns={"promised": [3, 4]})
    assert [label.get_text() for label in panel.axes.get_yticklabels()] == ["fast", "small"]
    stems, dots = panel.axes.collections
    assert np.array(dots.get_offsets()).tolist() == [[2, 0], [8, 1]]
    segments = stems.get_segments()  # type: ignore[attr-defined]
    assert [segment.tolist() for segment in segments] == [[[1, 0], [2, 0]], [[1, 1], [8, 1]]]
    found = [(row["x"], row["y"], row["promised"]) for row in rows(canvas)]
    assert found == [(2, "fast", 3), (8, "small", 4)]


def test_axes_are_labelled_and_described() -> None:
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("a", ("step", "step k"), ("misfit", "$u-y$"), log="y", title="on the left")
    right = canvas.panel("b", "width m", ("misfit", "$u-y$"), log="xy")
    assert (left.axes.get_xlabel(), left.axes.get_ylabel()) == ("step k", "$u-y$")
    assert (right.axes.get_xlabel(), right.axes.get_ylabel()) == ("width m", "")
    assert left.axes.get_title() == "on the left"
    assert left.axes.get_position().x0 < right.axes.get_position().x0
    assert canvas.drawing("", "").panels == {
        "a": {
            "x": {"quantity": "step", "label": "step k", "scale": "linear"},
            "y": {"quantity": "misfit", "label": "$u-y$", "scale": "log"},
        },
        "b": {
            "x": {"quantity": "width m", "label": "width m", "scale": "log"},
            "y": {"quantity": "misfit", "label": "$u-y$", "scale": "log"},
        },
    }


def test_the_table_holds_every_panel_from_left_to_right() -> None:
    canvas = Canvas(3)
    for place, name in enumerate("abc"):
        canvas.panel(name, "x", name).curve("c", [0], [place], "red")
    found = [(row["panel"], row["y_quantity"], row["y"]) for row in rows(canvas)]
    assert found == [("a", "a", 0), ("b", "b", 1), ("c", "c", 2)]


def test_a_name_at_the_end_stands_beside_the_last_point(panel: Panel) -> None:
    panel.curve("c", [10, 11], SAMPLES, "red", end="wide")
    (text,) = panel.axes.texts
    assert (text.get_text(), text.xy) == ("wide", (11, 50))  # type: ignore[attr-defined]


def test_columns_of_unequal_length_are_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match=r"shape|argument"):
        panel.curve("c", [1, 2, 3], [1.0, 2.0], "red")


def test_ends() -> None:
    assert ends([0.5, math.nan, 0.012]) == "from 0.50 to 0.012"
    assert ends([2.4e5, 2.1e27]) == "from 240,000 to 2.1 times 10 to the power 27"
    assert ends([-3, 0], 1) == "from -3 to 0"


@pytest.mark.parametrize(
    ("value", "digits", "side", "told"),
    [
        (0.000123, 2, "", "0.00012"),
        (0.0000123, 2, "", "1.2 times 10 to the power -5"),
        (3.1e-15, 1, "up", "4 times 10 to the power -15"),
        (1e-6, 1, "", "10 to the power -6"),
        (85112, 2, "", "85,112"),
        (0.949, 2, "down", "0.94"),
    ],
)
def test_numbers_are_spoken(value: float, digits: int, side: Side, told: str) -> None:
    assert spoken(value, digits, side) == told


def test_samples_and_powers_in_words() -> None:
    assert over_seeds([1, 2, 3]) == "mean and range over 3 seeds"
    assert over_seeds([1], "median") == "one seed"
    assert powers([-0.5, -0.374]) == "$m^{-0.50}$ and $m^{-0.37}$"


def test_on_a_phone_panels_stand_below_each_other_with_all_their_labels() -> None:
    with narrow():
        canvas = Canvas(2, sharex=True, sharey=True)
        upper = canvas.panel("a", "step", "misfit", log="y")
        lower = canvas.panel("b", "step", "misfit", log="y")
    upper.curve("c", [1, 2], [3, 4], "red")
    canvas.figure.draw_without_rendering()
    assert upper.axes.get_position().x0 == pytest.approx(lower.axes.get_position().x0)
    assert upper.axes.get_position().y0 > lower.axes.get_position().y1
    for panel in (upper, lower):
        assert (panel.axes.get_xlabel(), panel.axes.get_ylabel()) == ("step", "misfit")
        assert any(label.get_visible() for label in panel.axes.get_xticklabels())
    assert not Canvas(2).stacked


@pytest.mark.parametrize("phone", [False, True])
@pytest.mark.parametrize("given", [(), (entry("full", marker="o"), entry("empty"))])
def test_a_legend_below_all_panels_explains_what_it_is_given_or_the_last(
    phone: bool, given: tuple[Line2D, ...]
) -> None:
    with narrow() if phone else nullcontext():
        canvas = Canvas(2)
    for name in "ab":
        panel = canvas.panel(name, "x", "y")
        for curve in "cd":
            panel.curve(curve, [1, 2], [3, 4], "red", label=f"{curve} in {name}")
    canvas.legend(2, given)
    canvas.figure.draw_without_rendering()
    (legend,) = canvas.figure.legends
    first, second = legend.get_texts()
    told = [first.get_text(), second.get_text()]
    assert told == (["full", "empty"] if given else ["c in b", "d in b"])
    lower = second.get_window_extent().y1 <= first.get_window_extent().y0
    assert lower == phone


def test_points_in_rows_may_be_filled_or_not() -> None:
    canvas = Canvas()
    panel = canvas.panel("p", "ratio", "promise", rows=("fast", "small"))
    panel.by_row("measured", [2, 8], ["#ff0000", "#0000ff"], filled=[True, False])
    (dots,) = panel.axes.collections
    assert [to_hex(color) for color in dots.get_facecolor()] == ["#ff0000", "#ffffff"]
    assert [to_hex(color) for color in dots.get_edgecolor()] == ["#ff0000", "#0000ff"]


def test_a_note_is_as_dark_as_letters_must_be(panel: Panel) -> None:
    panel.curve("c", [0, 1], [1, 2], ORANGE, end="pale")
    (note,) = panel.axes.texts
    assert note.get_color() == legible(ORANGE) != ORANGE


def test_few_decades_are_numbered_in_plain_figures(canvas: Canvas, panel: Panel) -> None:
    panel.axes.set_yscale("log")
    panel.curve("c", [0, 1], [0.05, 0.4], "red")
    panel.few_decades()
    canvas.figure.draw_without_rendering()
    shown = {label.get_text() for label in panel.axes.get_yticklabels()}
    assert {"0.05", "0.1", "0.2"} <= shown
    assert {label.get_text() for label in panel.axes.get_yticklabels(minor=True)} == {""}


def test_a_legend_explains_what_has_a_label_and_is_left_out_where_nothing_has(panel: Panel) -> None:
    """matplotlib would warn."""
    panel.curve("c", [1, 2, 3], SAMPLES[:, 0], "red")
    panel.legend()
    assert panel.axes.get_legend() is None
    panel.curve("d", [1, 2, 3], SAMPLES[:, 1], "red", label="named")
    panel.legend()
    assert [text.get_text() for text in panel.axes.get_legend().get_texts()] == ["named"]
