"""Figures of the experiment du2019/explicit_width."""

from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result
from companion.lab.words import listed, number

SHOWS = {
    "du2019-width-explicit": "du2019-inside-the-regime",
}

# Widths of Figure 1 of the paper.
FIGURE_1 = (500, 8000)
TIME = ("time t, or step size times k", r"time t, or $\eta k$")
MISFIT = ("squared residual over its start", r"$\|u-y\|^2\,/\,\|u(0)-y\|^2$")
DISTANCE = ("largest distance of a unit over R'", r"$\max_r\,\|w_r-w_r(0)\|\,/\,R'$")


def explicit_widths(result: Result) -> Drawing:
    """Widths that Lemma 3.1 and both theorems need against n, for spheres and for digits."""
    a = result.arrays
    count = a["table_count"]  # the spheres', then the digits'
    canvas = Canvas()
    panel = canvas.panel("widths", "number of inputs n", "width m that suffices", log="xy")
    for key, name, color, below in (
        ("lemma_3_1", "Lemma 3.1", GREEN, 0),
        ("flow", "Theorem 3.2", BLUE, -6),
        ("descent", "Theorem 4.1", RED, 6),
    ):
        width = a[f"table_{key}"]
        panel.curve(f"{name}, sphere", count[:-1], width[:-1], color, marker="o", ms=4)
        panel.points(f"{name}, digits", count[-1:], width[-1:], color, marker="s", mfc="none", ms=7)
        panel.note(name, (count[-2], width[-2]), color, (9, below), va="center")
    panel.strip("widths of Figure 1", *FIGURE_1, FAINT)
    panel.note("widths of Figure 1", (count[-2], FIGURE_1[1]), INK, (0, 3), ha="right")
    sphere, digits = {"ls": "-", "marker": "o", "ms": 4}, {"marker": "s", "mfc": "none", "ms": 7}
    kinds = [entry("sphere, $n=d$", **sphere), entry("digits", **digits)]
    panel.legend("upper left", handles=kinds)
    return canvas.drawing(
        "Widths that suffice by the constants of the proofs, with probability "
        f"$1-\\delta={1 - result.settings['table_delta']:g}$. The lines are for $n=d$ inputs on "
        f"the sphere, the open squares for $n={count[-1]:.0f}$ real digits; the grey strip covers "
        "the widths of the paper's Figure 1.",
        f"Three lines on logarithmic axes, for n from {count[0]:,.0f} to {count[-2]:,.0f} on the "
        f"sphere: Lemma 3.1 rises {ends(a['table_lemma_3_1'][:-1])}, Theorem 3.2 "
        f"{ends(a['table_flow'][:-1])} and Theorem 4.1 {ends(a['table_descent'][:-1])}. Above each "
        "line's end stands an open square for digits. A grey strip marks the widths of Figure 1, "
        f"{FIGURE_1[0]:,} to {FIGURE_1[1]:,}.",
    )


def inside_the_regime(result: Result) -> Drawing:
    """Misfit with its bound, and distance with R' and R, for runs at their explicit width."""
    a, s = result.arrays, result.settings
    runs = [("flow", "Thm. 3.2", n, BLUE, "left") for n in s["flow_counts"][-1:]]
    runs += [("descent", "Thm. 4.1", n, RED, "right") for n in s["descent_counts"][-1:]]
    canvas = Canvas(2)
    left = canvas.panel("misfit", TIME, MISFIT, log="y")
    right = canvas.panel("distance", TIME, DISTANCE)
    for kind, theorem, count, color, side in runs:
        one = {name.split("_", 1)[1]: a[name] for name in a if name.startswith(f"{kind}{count}_")}
        name, start = f"{kind}, n = {count}", one["misfit"][:, :1]
        time, seldom = one["time"][0], one["sparse_time"][0]
        # One curve may lie on the other: the wide one under the thin one shows both.
        thick = 4.5 if kind == "flow" else 1.5
        left.curve(name, time, one["misfit"] / start, color, lw=thick, label=name)
        bound = (one["bound"] / start)[0]
        left.curve(f"{theorem}, n = {count}", time, bound, color, end=theorem, ls="--", lw=1.2)
        share = one["distance"] / one["reach"][:, None]
        right.curve(name, seldom, share, color, lw=thick, end=name)
        edge = (one["radius"] / one["reach"]).min().repeat(len(seldom))
        right.curve(f"R/R', {name}", seldom, edge, color, ls=":")
        at = (seldom[0 if side == "left" else -1], edge[0])
        right.note(f"$R/R'$, {kind}", at, color, (0, 3), va="bottom", ha=side)
    left.few_decades()
    left.legend("lower left")
    right.level("R'", 1, FAINT, ls="--", lw=1.2)
    right.note("$R'$", (seldom[-1], 1), FAINT, (0, -3), ha="right", va="top")
    right.axes.set_ylim(0, 1.1 * right.axes.get_ylim()[1])
    names = {"flow": "gradient flow", "descent": "gradient descent"}
    widths = [
        f"{names[kind]} with $n={n}$ at $m=$ {number(a[f'{kind}{n}_width'][0], ',.0f')}"
        for kind, _, n, *_ in runs
    ]
    return canvas.drawing(
        f"Runs as wide as the theorems ask for, {listed(widths)}, {over_seeds(one['misfit'])}. "
        "Left, the misfit over its start and, dashed, the bound of each theorem. Right, how far "
        "the farthest unit has moved, over $R'$, the most that the theorem allows; dotted, $R$ "
        "over $R'$, where $R$ is how far units may move before the Gram matrix is at risk, the "
        "least over seeds. "
        + said(
            result,
            "The misfit stays below its bound, the distance below $R'$, and $R'$ below $R$.",
            "du2019-width-explicit",
        ),
        "Left, the misfits of gradient flow and of gradient descent and their dashed bounds; "
        "right, the distances as shares, a dashed level at 1 and a dotted one for each run. "
        + said(
            result,
            "The misfits lie below their bounds, the shares below 1, the dotted lines above it.",
            "du2019-width-explicit",
        ),
    )
