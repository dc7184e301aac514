"""Figures of the experiment chen2021/figure1: the minimal width against the sample size."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.ticker import NullLocator

from companion.experiments.chen2021._laws import LAWS, Points, fits
from companion.figures.chen2021._widths import INTERVAL, interval, plain_ticks
from companion.figures.panels import Canvas, Drawing, Panel
from companion.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, RED
from companion.figures.words import said
from companion.lab.catalog import published
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {
    "chen2021-fig1": "chen2021-fig1",
    "chen2021-fig1-size": "chen2021-fig1",
    "chen2021-fig1-fits": "chen2021-fig1-fits",
}

COUNT = ("sample size n", "sample size $n$")
OVER = ("minimal width over the law's", "width over the law's")
# Reading -> its name, colour and marker; the first is the main one.
READINGS = {
    "sgd": ("SGD", BLUE, "o"),
    "gd": ("gradient descent", GREEN, "^"),
    "adam": ("Adam", ORANGE, "D"),
}
PUBLISHED, LAW = "as published", "the law"
SUPERSCRIPT = {1: "log n", 2: "log² n", 3: "log³ n"}


def fig1(result: Result) -> Drawing:
    """The minimal width of every search, beside the published ones."""
    v, counts = result.values, result.settings["counts"]
    pairs = [str(pair) for pair in result.found.pair.values]
    canvas = Canvas(len(pairs), sharex=True, sharey=True)
    for pair in pairs:
        name = pair.replace("-", " against ")
        panel = canvas.panel(pair, COUNT, ("minimal width", "minimal width $m$"), title=name)
        panel.axes.set(xscale="log", yscale="log")
        _references(panel, result.found.sel(pair=pair, reading="sgd"))
        for reading in reversed(READINGS):
            _searches(panel, result.found.sel(pair=pair, reading=reading), reading)
        if pair == "cat-ship":
            _published(panel, counts)
        _mark_counts(panel, counts)
        plain_ticks(panel.axes.yaxis)
    names = [name for name, _, _ in READINGS.values()]
    canvas.legend(3, _entries(canvas, [*names, INTERVAL, PUBLISHED]))
    return canvas.drawing(
        "The width at which half of all initialisations reach zero training error within the "
        f"budget, on {listed(name.replace('-', ' against ') for name in pairs)}, with the ends of "
        "its interval for mini-batch SGD; where a search gave no number there is no point. The "
        "published widths, of an unstated optimiser and budget, are white dots. Dashed, the "
        "paper's references, started where ours start.",
        f"{_panels(len(pairs))} of minimal width against sample size, both logarithmic. "
        + said(
            result,
            "The widths for SGD rise no faster than the steepest dashed line.",
            "chen2021-fig1",
        )
        + " "
        + said(
            result,
            f"They are between {v.get('least_ratio', 0):.2f} and {v.get('largest_ratio', 0):.2f} "
            "times the published ones for cat against ship.",
            "chen2021-fig1-size",
        ),
    )


def fig1_fits(result: Result) -> Drawing:
    """What is left of the widths once a law is taken out."""
    v, counts = result.values, result.settings["counts"]
    pairs = [str(pair) for pair in result.found.pair.values]
    canvas = Canvas(len(pairs), sharex=True, sharey=True)
    for pair in pairs:
        panel = canvas.panel(pair, COUNT, OVER, title=pair.replace("-", " against "))
        panel.axes.set(xscale="log")
        search = result.found.sel(pair=pair, reading="sgd")
        points = Points.of(search)
        found = fits(points)
        panel.level("the law", 1, FAINT, ls="--", label=LAW)
        if found:
            at, law = np.isfinite(search.width.values), found["log"].fitted
            low, high = (end.values[at] / law for end in (search.low, search.high))
            interval(panel, "over the first law", points.counts, low, high, FAINT)
        for (law_name, fitted), color, marker in zip(
            found.items(), (BLUE, RED), "os", strict=False
        ):
            over = points.widths / fitted.fitted
            panel.curve(law_name, points.counts, over, color, marker=marker, ms=6,
                        label=LAWS[law_name])  # fmt: skip
        _mark_counts(panel, counts)
    canvas.legend(4, _entries(canvas, [*LAWS.values(), LAW, INTERVAL]))
    return canvas.drawing(
        f"The minimal widths for mini-batch SGD over the fitted laws {LAWS['log']} and "
        f"{LAWS['power']}: a law that fits lies at 1. Dotted, the ends of the widths' intervals "
        f"over the first law. {_powers(result, pairs)} Of these and the published ones, "
        f"{v['told_apart']}.",
        f"{_panels(len(pairs))} with two curves about the level 1 between two dotted ones. "
        + said(
            result,
            "Neither curve leaves the dotted ones by enough to give its law up.",
            "chen2021-fig1-fits",
            outcomes=("inconclusive",),
        ),
    )


def _panels(count: int) -> str:
    """One for each pair of classes, of which the settings take two at most."""
    return "One panel" if count == 1 else "Two panels"


def _powers(result: Result, pairs: Sequence[str]) -> str:
    """The fitted powers of every pair, in a sentence."""
    v, told = result.values, []
    for pair in pairs:
        key = f"sgd_{pair.replace('-', '_')}"
        if f"{key}_log" in v:
            told.append(
                f"$k={v[f'{key}_log']:.2f}$ and $p={v[f'{key}_power']:.2f}$ on "
                f"{pair.replace('-', ' against ')}"
            )
    return f"Here {listed(told)}." if told else ""


def _found(search: xr.Dataset) -> xr.Dataset:
    """The searches that gave a width."""
    return search.isel(count=np.flatnonzero(np.isfinite(search.width.values)))


def _references(panel: Panel, search: xr.Dataset) -> None:
    """Powers of log n, from the first width that was found."""
    found = _found(search)
    if found.sizes["count"] < 2:
        return
    counts = found.indexes["count"].values.astype(float)
    x, start = np.geomspace(counts[0], counts[-1], 33), float(found.width[0])
    for power, name in SUPERSCRIPT.items():
        y = start * (np.log(x) / np.log(x[0])) ** power
        panel.curve(name, x, y, FAINT, ls="--", lw=1, end=name)


def _searches(panel: Panel, search: xr.Dataset, reading: str) -> None:
    """The widths of one reading; of the main one with the ends of their intervals."""
    found, (name, color, marker) = _found(search), READINGS[reading]
    if not found.sizes["count"]:
        return
    counts = found.indexes["count"].values
    if reading == "sgd":
        interval(panel, name, counts, found.low.values, found.high.values, color)
    panel.curve(name, counts, found.width.values, color, marker=marker, ms=6, label=name)


def _published(panel: Panel, counts: Sequence[int]) -> None:
    """The published widths at those n that were run."""
    curve = published("chen2021_fig1")
    there = np.isin(curve["count"], counts)
    if there.any():
        panel.curve(
            PUBLISHED, curve["count"][there], curve["cat_ship"][there], INK, ls=":", lw=1.3,
            marker="o", ms=5, mfc="white", mew=1.2, label=PUBLISHED,
        )  # fmt: skip


def _mark_counts(panel: Panel, counts: Sequence[int]) -> None:
    """The sample sizes that were run, and no others, on the horizontal axis."""
    panel.axes.set_xticks(counts, [f"{count:,}" for count in counts], rotation=45)
    panel.axes.xaxis.set_minor_locator(NullLocator())


def _entries(canvas: Canvas, names: Sequence[str]) -> list[Artist]:
    """The legend's entries of these names, each once, whichever panel they are of."""
    every = [axes.get_legend_handles_labels() for axes in canvas.figure.axes]
    by_name = {label: handle for pair in every for handle, label in zip(*pair, strict=True)}
    return [by_name[name] for name in names if name in by_name]
