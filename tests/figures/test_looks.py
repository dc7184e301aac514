"""Every figure can be read: on white and on dark pages, on a phone, and without colours."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from companion.base.paths import BOOK
from companion.figures import draw
from companion.figures.panels import Drawing
from companion.figures.style import (
    FAINT,
    INK,
    TEXT_CONTRAST,
    by_size,
    contrast,
    house_style,
    legible,
)
from companion.lab import catalog
from companion.lab.reproduce import reproduce_or_recorded
from tests import grouping

slow = pytest.mark.slow
FORMS = pytest.mark.parametrize("phone", [False, True], ids=["page", "phone"])
FIGURES = pytest.mark.parametrize("identifier", grouping.figures())
# The ground of the theme's dark pages, and what they do to our figures.
DARK = "#121212"
FILTER = "filter: invert(1) hue-rotate(180deg);"
# A graphic's contrast with its ground (WCAG, non-text).
LINE_CONTRAST = 3
# Pixels that a page leaves a figure on a screen of 360, and the least that letters have.
COLUMN, LETTERS = 328, 9


def on_dark(color: Any) -> tuple[float, ...]:
    """A colour as a dark page shows it, by the standard's matrix of a turn of the hue by 180."""
    inverse = 1 - np.asarray(to_rgb(color))
    weights = np.array([0.213, 0.715, 0.072])
    return tuple(np.clip(2 * weights @ inverse - inverse, 0, 1))


@cache
def drawing(identifier: str, phone: bool = False) -> Drawing:
    """Drawn once for all tests, which only look at it."""
    made = draw(identifier, reproduce_or_recorded(catalog.figures()[identifier]), phone=phone)
    with house_style():
        made.figure.draw_without_rendering()
    return made


def texts(figure: Figure) -> Iterator[Text]:
    """What is written in a figure; of ticks only those in view."""
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden:
            yield text


def box(text: Text) -> Bbox:
    """Where the letters stand, without the margin around them."""
    extent = text.get_window_extent()
    return extent.padded(-0.15 * min(extent.width, extent.height))


def test_the_dark_page_is_the_one_simulated_here() -> None:
    assert FILTER in (BOOK / "_static" / "companion.css").read_text("utf-8")
    assert on_dark("white") == pytest.approx((0, 0, 0))
    assert on_dark("#0072b2")[2] > max(on_dark("#0072b2")[:2])  # blue stays blue


@pytest.mark.parametrize("color", ["#e69f00", "#56b4e9", "#f0e442", *by_size([1, 2]), INK, FAINT])
def test_a_colour_is_darkened_for_text_as_far_as_it_must_be(color: Any) -> None:
    assert contrast(legible(color), "white") >= TEXT_CONTRAST
    if contrast(color, "white") >= TEXT_CONTRAST:
        assert legible(color) == to_hex(color)
    else:
        assert contrast(legible(color), "white") < TEXT_CONTRAST + 0.3


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("white", "#777777") == pytest.approx(4.48, abs=0.005)
    assert contrast("red", "red") == 1


@slow
@FORMS
@FIGURES
def test_letters_stand_out_from_both_grounds(identifier: str, phone: bool) -> None:
    for text in texts(drawing(identifier, phone).figure):
        assert contrast(text.get_color(), "white") >= TEXT_CONTRAST, text
        assert contrast(on_dark(text.get_color()), DARK) >= TEXT_CONTRAST, text


@slow
@FIGURES
def test_lines_and_points_stand_out_from_both_grounds(identifier: str) -> None:
    for axes in drawing(identifier).figure.axes:
        for color, *_ in shown(axes):
            assert contrast(color, "white") >= LINE_CONTRAST, color
            assert contrast(on_dark(color), DARK) >= LINE_CONTRAST, color


@slow
@FIGURES
def test_letters_are_large_enough_on_a_phone(identifier: str) -> None:
    figure = drawing(identifier, phone=True).figure
    pixels_per_point = COLUMN / (72 * figure.get_figwidth())
    assert min(text.get_fontsize() for text in texts(figure)) * pixels_per_point >= LETTERS


@slow
@FORMS
@FIGURES
def test_nothing_is_written_over_something_else_or_cut_off(identifier: str, phone: bool) -> None:
    figure = drawing(identifier, phone).figure
    written = [(text.get_text(), box(text)) for text in texts(figure)]
    for (one, here), (other, there) in itertools.combinations(written, 2):
        assert not here.overlaps(there), (one, other)
    for text, place in written:
        assert Bbox.union([place, figure.bbox]).size == pytest.approx(figure.bbox.size), text


@slow
@FIGURES
def test_both_forms_show_the_same(identifier: str) -> None:
    page, phone = drawing(identifier), drawing(identifier, phone=True)
    assert (page.caption, page.alt, page.table) == (phone.caption, phone.alt, phone.table)
    assert phone.figure.get_figwidth() < page.figure.get_figwidth()
    left = {round(axes.get_subplotspec().colspan.start, 3) for axes in phone.figure.axes}  # type: ignore[union-attr]
    assert left == {0}


@slow
@FORMS
@FIGURES
def test_every_line_has_a_name_in_the_figure(identifier: str, phone: bool) -> None:
    """A legend's entry of its look, or a note of its colour; but for one that its axis names."""
    figure = drawing(identifier, phone).figure
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    entries = [h for legend in legends if legend for h in legend.legend_handles]
    explained = set().union(*(looks(entry) for entry in entries if entry))
    kinds = {look[1:] for look in explained}
    for axes in figure.axes:
        notes = Counter(to_hex(note.get_color()) for note in axes.texts if note.get_text())
        nameless: list[Look] = []
        for color, unnamed in by_color(shown(axes) - explained).items():
            if notes[legible(color)]:  # what kind of curve it is, an entry of no colour may say
                unnamed = [look for look in unnamed if look[1:] not in kinds] or unnamed[:1]
            nameless += unnamed[: max(0, len(unnamed) - notes[legible(color)])]
        assert len(nameless) <= 1, nameless
        assert all(dashes in ("-", "None") for _, dashes, _ in nameless), nameless


# Colour, dashes, marker.
Look = tuple[str, str, str]


def looks(artist: Artist) -> set[Look]:
    """Of a line, or of a set of points of one or several colours."""
    if isinstance(artist, Line2D):
        dashes, marker = str(artist.get_linestyle()), str(artist.get_marker())
        return {(to_hex(artist.get_color()), dashes, "points" if dashes == "None" else marker)}
    if isinstance(artist, PathCollection):
        return {(to_hex(color), "None", "points") for color in artist.get_edgecolor()}
    return set()


def shown(axes: Axes) -> set[Look]:
    """The looks of all lines and points."""
    return set().union(*(looks(artist) for artist in (*axes.lines, *axes.collections)))


def by_color(found: set[Look]) -> dict[str, list[Look]]:
    """Sorted, the solid ones first."""
    colors: dict[str, list[Look]] = {}
    for look in sorted(found):
        colors.setdefault(look[0], []).append(look)
    return colors


@slow
@FIGURES
def test_words_are_typeset_sentences(identifier: str) -> None:
    said = drawing(identifier)
    for words in (re.sub(r"\$[^$]+\$", "", said.caption), said.alt):
        assert words[0].isupper() or words[0] == "$"
        assert words.endswith(".")
        assert not re.search(r"[\^\\$]|\d[eE][+-]?\d|lambda|sqrt\(|\b[A-Za-z]_\w", words), words
        assert not re.search(r"\b(red|blue|orange|green|purple)\b", words, re.I), words
