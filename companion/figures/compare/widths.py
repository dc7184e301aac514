"""Figures of the experiment compare/widths."""

import math
from typing import Any

from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, GREEN, INK, PURPLE, RED
from companion.figures.words import said, spoken
from companion.lab.results import Result
from companion.lab.words import listed

SHOWS = {"compare-gap": "compare-widths", "compare-order": "compare-growth"}

ROWS = {"sphere": "sphere", "digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}
SPOKEN = {"sphere": "the sphere", "digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}
# Key, name in the table and the legend, colour, marker; the constants of the first are known.
THEOREMS = (
    ("du", "Du et al. (2019), constants known", BLUE, "o"),
    ("chen", "Chen et al. (2021), $R$ measured", PURPLE, "v"),
    ("chen_phi", r"Chen et al. (2021), $R$ by $\phi$", PURPLE, "P"),
    ("zou2020", "Zou et al. (2020)", GREEN, "^"),
    ("zou2018", "Zou et al. (2018)", RED, "s"),
)
SUFFICED = "sufficed in our runs"
WIDTH = ("width m", r"width $m$ (hollow: unknown constants taken as 1)")
POWER = ("power of n", r"power $a$ of $n^a$")


def widths(result: Result) -> Drawing:
    """The width that sufficed on every data set, and those that the theorems ask for."""
    sets = _sets(result)
    enough = [_known(result, name, "sufficed") for name in sets]
    asked = {key: [_known(result, name, f"{key}_width") for name in sets] for key, *_ in THEOREMS}
    canvas = Canvas(1, height=3.6)
    panel = canvas.panel("widths", WIDTH, "data", log="x", rows=[ROWS[name] for name in sets])
    for key, name, color, mark in THEOREMS:
        known = key == "du"
        more: dict[str, Any] = {"filled": [known] * len(sets)}
        if known:
            more |= {"since": enough, "stem": {"color": INK, "lw": 1.4}}
        panel.by_row(_plain(name), asked[key], [color] * len(sets), marker=mark, s=48, **more)
    panel.by_row(SUFFICED, enough, [INK] * len(sets), marker="D", s=70)
    for row, (least, most) in enumerate(zip(enough, asked["du"], strict=True)):
        if math.isfinite(most / least):
            told = rf"$\times\,10^{{{math.log10(most / least):.0f}}}$"
            panel.note(told, (math.sqrt(most) * math.sqrt(least), row), INK, (0, 4), ha="center")
    panel.axes.set_xlim(0.3, None)
    panel.axes.set_ylim(len(sets) - 0.5, -0.6)
    handles = [entry(SUFFICED, INK, marker="D", ms=7)] + [
        entry(name, color, marker=mark, ms=6, mfc=color if key == "du" else "white", mew=1.8)
        for key, name, color, mark in THEOREMS
    ]
    canvas.legend(2, handles)
    return canvas.drawing(
        "Widths for zero training error on a logarithmic axis: black diamonds, those that sufficed "
        "in our runs; filled circles, those of Theorem 4.1 of Du et al. with the constants of its "
        "proof, so many times as large; hollow, those of the other theorems, known up to a "
        "constant only, which is taken as 1 here: "
        "where a hollow mark stands says nothing, and how far it moves from row to row is told by "
        "the theorem's powers. "
        + said(
            result, "No circle is nearer to its diamond than a factor of a million.", "compare-gap"
        ),
        f"A row for each of {len(sets)} data sets. "
        + " ".join(
            f"On {SPOKEN[name]} a width of {_heard(least)} sufficed; Du et al. ask for "
            f"{_heard(asked['du'][place])}, and with unknown constants taken as 1 Chen et al. for "
            f"{_heard(asked['chen'][place])}, or by the separation for "
            f"{_heard(asked['chen_phi'][place])}, Zou et al. in 2020 for "
            f"{_heard(asked['zou2020'][place])} and in 2018 for {_heard(asked['zou2018'][place])}."
            for place, (name, least) in enumerate(zip(sets, enough, strict=True))
        )
        + " "
        + said(result, "The circles are far from the diamonds.", "compare-gap"),
    )


def growth(result: Result) -> Drawing:
    """With which power of n each width grows, data set by data set."""
    powers = {key: [_known(result, name, f"power_{key}") for name in _sets(result)]
              for key, *_ in THEOREMS}  # fmt: skip
    sets = _sets(result)
    canvas = Canvas(1, height=3.2)
    panel = canvas.panel("growth", POWER, "data", rows=[ROWS[name] for name in sets])
    for key, name, color, mark in THEOREMS:
        filled = [key == "du"] * len(sets)
        panel.by_row(
            _plain(name), powers[key], [color] * len(sets), marker=mark, s=48, filled=filled
        )
    panel.axes.set_xlim(0, None)
    panel.axes.set_ylim(len(sets) - 0.5, -0.6)
    handles = [
        entry(name, color, marker=mark, ms=6, mfc=color if key == "du" else "white", mew=1.8)
        for key, name, color, mark in THEOREMS
    ]
    canvas.legend(2, handles)
    return canvas.drawing(
        "How the widths asked for grow with the number of inputs, as powers $n^a$ fitted to "
        f"random subsets of $n$ = {listed(result.settings['counts'])} inputs, on which "
        r"$\phi$, $\lambda_0$ and $R$ were measured anew; no constant counts here. "
        + said(
            result,
            "Of the papers on deep networks each has a lower power than the one before.",
            "compare-order",
        ),
        f"A row for each of {len(sets)} data sets, with a mark for each width. "
        + " ".join(
            f"On {SPOKEN[name]} the powers are {spoken(powers['zou2018'][place])} for 2018, "
            f"{spoken(powers['zou2020'][place])} for 2020, {spoken(powers['chen'][place])} for "
            f"2021 with the radius measured, and {spoken(powers['du'][place])} for Du et al."
            for place, name in enumerate(sets)
        )
        + " "
        + said(result, "From paper to paper the marks move to the left.", "compare-order"),
    )


def _sets(result: Result) -> list[str]:
    return [name for name in ROWS if f"{name}_sufficed" in result.values]


def _known(result: Result, name: str, key: str) -> float:
    value = result.values[f"{name}_{key}"]
    return math.nan if isinstance(value, str) else float(value)


def _heard(width: float) -> str:
    if not math.isfinite(width):
        return "no width that was tried"
    return f"{width:.0f}" if width < 1e6 else spoken(width)


def _plain(name: str) -> str:
    return name.replace("$R$", "R").replace(r"$\phi$", "phi")
