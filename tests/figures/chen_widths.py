"""As `curves`, for the minimal widths of Chen et al. (2021)."""

import csv
import math
from typing import Any

import numpy as np

from companion.base.paths import BOOK
from companion.lab.results import Result
from tests.figures.curves import Curves, level

NAMES = ("SGD", "gradient descent", "Adam")


def _searches(result: Result) -> list[tuple[str, int, list[dict[str, float]]]]:
    """Pair and place of the reading, with the searches that gave a width."""
    s, a = result.settings, result.arrays
    told = []
    for i, pair in enumerate("-".join(classes) for classes in s["classes"]):
        for reading in range(3):
            rows = [
                {"n": n, **{key: float(a[key][i][j][reading]) for key in ("width", "low", "high")}}
                for j, n in enumerate(s["counts"])
            ]
            told.append((pair, reading, [row for row in rows if not math.isnan(row["width"])]))
    return told


def _columns(rows: list[dict[str, float]], *names: str) -> list[list[float]]:
    return [[row[name] for row in rows] for name in names]


def fig1(result: Result) -> Curves:
    curves: Curves = {}
    with (BOOK / "published" / "chen2021_fig1.csv").open() as file:
        known = {int(row["count"]): float(row["cat_ship"]) for row in csv.DictReader(file)}
    for pair, reading, rows in _searches(result):
        if rows:
            curves[pair, NAMES[reading]] = tuple(_columns(rows, "n", "width"))
        if reading or len(rows) < 2:
            continue
        curves[pair, "SGD, lower end"] = tuple(_columns(rows, "n", "low"))
        curves[pair, "SGD, upper end"] = tuple(_columns(rows, "n", "high"))
        first, last = rows[0]["n"], rows[-1]["n"]
        x = [first * (last / first) ** (k / 32) for k in range(33)]
        for power, name in ((1, "log n"), (2, "log² n"), (3, "log³ n")):
            y = [rows[0]["width"] * (math.log(at) / math.log(first)) ** power for at in x]
            curves[pair, name] = (x, y)
        if pair == "cat-ship":
            there = [n for n in known if n in result.settings["counts"]]
            curves[pair, "as published"] = (there, [known[n] for n in there])
    return curves


def fig1_fits(result: Result) -> Curves:
    """The weighted lines by polynomials of numpy, whose weights are one over the errors."""
    curves: Curves = {}
    for pair, reading, rows in _searches(result):
        if reading:
            continue
        curves[pair, "the law"] = level(1)
        n, m, low, high = (np.array(each) for each in _columns(rows, "n", "width", "low", "high"))
        weights = 1 / np.log(high / low)
        over: dict[str, Any] = {}
        for law, x in (("log", np.log(np.log(n))), ("power", np.log(n))):
            line = np.polyfit(x, np.log(m), 1, w=weights)
            over[law] = np.exp(np.polyval(line, x))
            curves[pair, law] = (n, m / over[law])
        curves[pair, "over the first law, lower end"] = (n, low / over["log"])
        curves[pair, "over the first law, upper end"] = (n, high / over["log"])
    return curves


def fig1_budget(result: Result) -> Curves:
    a, curves = result.arrays, {}
    first = ("smaller steps", "larger steps", "smaller batches", "smaller alpha")
    for place, choice in enumerate(result.settings["choices"]):
        rows = [
            row
            for row in zip(
                *(a[key][place] for key in ("budget", "width", "low", "high")), strict=True
            )
            if not math.isnan(row[1])
        ]
        budget, width, low, high = zip(*rows, strict=True)
        panels = ("steps and batches", "images and optimisers")
        for panel in panels if place == 0 else panels[choice not in first :][:1]:
            curves[panel, choice] = (budget, width)
            if place == 0:
                curves[panel, f"{choice}, lower end"] = (budget, low)
                curves[panel, f"{choice}, upper end"] = (budget, high)
    return curves


CURVES = {
    "chen2021-fig1": fig1,
    "chen2021-fig1-budget": fig1_budget,
    "chen2021-fig1-fits": fig1_fits,
}
