"""Figures of the experiment chen2021/ji_telgarsky."""

import math

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import CYCLE, FAINT, INK
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "chen2021-ass4.6": "chen2021-direction-margins",
    "chen2021-prop4.7": "chen2021-constructed-increment",
}
DIRECTIONS = ("directions in the sample", "directions in the sample")
MARGIN = ("margin gamma", r"margin $\gamma$")
MULTIPLE = ("width over the proof's", "width over the proof's")
SHARE = ("least margin over m^alpha gamma", r"least margin over $m^\alpha\gamma$")
ERROR = ("linearisation error", "linearisation error")


def direction_margins(result: Result) -> Drawing:
    """Margins on samples of directions, between one field's margin and the Gram matrix's."""
    a, s = result.arrays, result.settings
    sizes, margins = s["directions"], np.moveaxis(a["margin"], 1, -1)
    samples = margins.reshape(-1, len(sizes))
    of_gram = np.moveaxis(a["gram_margin"], 1, -1).reshape(-1, len(sizes))
    canvas = Canvas()
    panel = canvas.panel("margin", DIRECTIONS, MARGIN, log="x")
    panel.curve("Gram matrix", sizes, of_gram, CYCLE[1], marker="s", ms=5,
                label="Gram matrix of the sample")  # fmt: skip
    panel.curve("sample", sizes, samples, CYCLE[0], marker="o", ms=5, label="sample")
    panel.level("one field", a["field_margin"].mean(), INK, label="one field, fresh directions")
    panel.level("half of the gap", s["gap"] / 2, FAINT, ls=":", label="half of the gap")
    panel.sizes(sizes)
    panel.axes.set_ylim(0, 1.15 * float(of_gram.max()))
    panel.legend("lower right")
    return canvas.drawing(
        rf"The margin of Assumption 4.6 on samples of directions $z$, and that of the Gram matrix "
        f"of the same directions: mean and range over {len(samples)} samples, of "
        f"{len(margins)} data sets. The level is what one field $u(z)$ has on all "
        "directions, as far as fresh ones tell.",
        "Two nearly level curves, a solid level below them and a dotted one further down. "
        + said(
            result,
            "The curve of the samples is below that of their Gram matrices.",
            "chen2021-ass4.6",
        ),
    )


def constructed_increment(result: Result) -> Drawing:
    """Margins and linearisation error of the proof's increment against the width."""
    a, s = result.arrays, result.settings
    multiples, share = np.array(s["multiples"]), a["share"]  # seed, multiple, draw
    canvas = Canvas(2)
    left = canvas.panel("margin", MULTIPLE, SHARE, log="x")
    worst, kept = share.min(axis=-1), float(result.values["kept"])
    left.curve("worst network", multiples, worst, CYCLE[0], marker="o", ms=5,
               label="worst network")  # fmt: skip
    left.level("mean", kept, FAINT, ls="--", label="expected at least")
    left.level("claimed", 1 / 4, INK, ls=":", label="claimed, 1/4")
    left.axes.set_ylim(min(0.0, float(worst.min())), 0.8)
    left.legend("lower right")
    right = canvas.panel("error", MULTIPLE, ERROR, log="xy")
    error = a["error"].mean(axis=-1)
    right.curve("increment", multiples, error, CYCLE[0], marker="o", ms=5, label="measured")
    start, name = 0.6 * error[:, 0].mean(), rf"$m^{{-\alpha/3}}$, $\alpha={s['alpha']:g}$"
    right.guide("slope of the bound", multiples, start, -s["alpha"] / 3, label=name)
    right.level("log 2", math.log(2), INK, ls=":", label=r"$\log2$")
    right.few_decades()
    right.legend("upper right")
    for panel in (left, right):
        panel.axes.set_xticks(multiples, [_fraction(each) for each in multiples])
        panel.axes.minorticks_off()
    narrow = spoken(share[:, 0].min())
    return canvas.drawing(
        r"The proof's increment $U$ against the width, in units of $32\log(n/\delta)/\gamma^2$. "
        rf"Left, the least $y_i\langle\nabla f(x_i),U\rangle$ over $m^\alpha\gamma$ of all "
        f"{share.shape[-1]} networks; right, the linearisation error at the radius that brings "
        rf"all losses below $\epsilon={number(s['loss'])}$, their mean. Both {over_seeds(share)}.",
        f"Left, a curve that starts, in the worst network of all, at {narrow} and rises towards a "
        "dashed level; a dotted level is at one quarter. Right, a falling curve on logarithmic "
        "axes, with a dashed line and a dotted level. "
        + said(
            result,
            "From the proof's width on, the curve on the left is above the quarter.",
            "chen2021-prop4.7",
        ),
    )


def _fraction(multiple: float) -> str:
    return f"{multiple:g}" if multiple >= 1 else f"1/{1 / multiple:g}"
