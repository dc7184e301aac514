"""Figures of the experiment zou2018/polynomials."""

import math

from companion.figures.panels import AT_X, Canvas, Drawing, entry
from companion.figures.style import BLUE, FAINT, RED, by_size
from companion.figures.words import said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {"zou2018-thm4.1-poly": "zou2018-polynomials"}

WIDTH = ("width that the proof asks for", "width m")
SETS = ("data set", "")
SLIP = ("printed width over what closes", "printed over re-derived")
ACCURACY = ("loss asked for", r"loss $\epsilon$")


def polynomials(result: Result) -> Drawing:
    """Widths that Theorems 4.1 and 4.5 ask for, data set by data set, and the slip of one line."""
    a, s = result.arrays, result.settings
    counts, depths = a["row_count"][:, 0], a["row_depth"][:, 0]
    kinds = ["sphere"] * len(s["spheres"]) + ["digits"]
    rows = [
        f"{kind}\nn = {n:.0f}\nL = {depth:.0f}"
        for kind, n, depth in zip(kinds, counts, depths, strict=True)
    ]
    canvas = Canvas(2)
    left = canvas.panel("widths", WIDTH, SETS, log="x", rows=rows)
    least, most = a["row_descent"].min(), a["row_sgd"].max()
    powers = range(0, math.ceil(math.log10(most)) + 20, 20)
    left.axes.set(xlim=(1, 10.0 ** powers[-1]), ylim=(-0.4, len(rows) - 0.6))
    left.axes.set_xticks([10.0**power for power in powers[::2]])
    left.upright("widest network", s["widest"], FAINT, ls="--")
    left.note("what runs", (s["widest"], 1), FAINT, (3, -3), xycoords=AT_X, va="top")
    losses = {"squared hinge": "s", "cross-entropy": "o"}
    for place, (loss, mark) in enumerate(losses.items()):
        for name, key, color in (("gradient descent", "descent", BLUE), ("SGD", "sgd", RED)):
            widths = a[f"row_{key}"][:, place].tolist()
            left.by_row(f"{name}, {loss}", widths, [color] * len(rows), marker=mark, s=36)
    marks = [entry(loss, FAINT, marker=mark) for loss, mark in losses.items()]
    ways = [entry("gradient descent", BLUE, marker="D"), entry("SGD", RED, marker="D")]
    left.legend("lower right", handles=[*ways, *marks])
    right = canvas.panel("slip", ACCURACY, SLIP, log="xy")
    for slip, n, color in zip(a["slip"], s["counts"], by_size(s["counts"]), strict=True):
        right.curve(f"n = {n}", a["accuracy"], slip, color, label=f"n = {n}")
    right.axes.invert_xaxis()
    right.legend("upper left")
    return canvas.drawing(
        "Left, the widths at which the proofs of Theorem 4.1 (gradient descent) and Theorem 4.5 "
        "(SGD, one example a batch) close for zero training error, all constants taken as 1, from "
        f"{number(least, '.0e')} to {number(most, '.0e')}; dashed, a width of "
        f"{number(s['widest'], '.0e')}, which fills a large machine. Right, the printed line for "
        "cross-entropy over the one at which the lemmas close. "
        + said(
            result,
            "The other printed lines are what the lemmas give.",
            "zou2018-thm4.1-poly",
            outcomes=("fails",),
        ),
        f"Left, four points for each of {len(rows)} data sets, all far to the right of the dashed "
        f"line at {spoken(s['widest'])}: the least is {spoken(least)}, the largest {spoken(most)}. "
        "Right, a curve for each number of inputs, which rises from 1 at a loss of 1 and levels "
        "off at the square of that number.",
    )
