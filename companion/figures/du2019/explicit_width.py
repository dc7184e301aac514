"""Figures of the experiment du2019/explicit_width."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import ends, said
from companion.lab.results import Result

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
    panel = canvas.panel("widths", "n inputs", "width m that suffices", log="xy")
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
    panel.note("widths of Figure 1", (count[0], FIGURE_1[1]), INK, (0, 3))
    return canvas.drawing(
        "Widths that suffice with the constants of the proofs, at "
        f"$\\delta={result.settings['table_delta']:g}$: filled, the sphere with $n=d$; open "
        f"squares, real digits with $n={count[-1]:.0f}$; grey, the widths of the paper's "
        "Figure 1.",
        f"Three lines on logarithmic axes, for n {ends(count[:-1], 'g')} on spheres: Lemma 3.1 "
        f"rises {ends(a['table_lemma_3_1'][:-1], '.1e')}, Theorem 3.2 "
        f"{ends(a['table_flow'][:-1], '.1e')} and Theorem 4.1 "
        f"{ends(a['table_descent'][:-1], '.1e')}. A grey strip marks the widths in use, "
        f"{FIGURE_1[0]} to {FIGURE_1[1]}.",
    )


def inside_the_regime(result: Result) -> Drawing:
    """Misfit with its bound, and distance with R' and R, for runs at their explicit width."""
    a, s = result.arrays, result.settings
    runs = [("flow", "Thm. 3.2", n, BLUE) for n in s["flow_counts"][-1:]]
    runs += [("descent", "Thm. 4.1", n, RED) for n in s["descent_counts"][-1:]]
    canvas = Canvas(2)
    left = canvas.panel("misfit", TIME, MISFIT, log="y")
    right = canvas.panel("distance", TIME, DISTANCE, log="y")
    for kind, theorem, count, color in runs:
        one = {name.split("_", 1)[1]: a[name] for name in a if name.startswith(f"{kind}{count}_")}
        name, start = f"{kind}, n = {count}", one["misfit"][:, :1]
        time, seldom = one["time"][0], one["sparse_time"][0]
        left.curve(name, time, one["misfit"] / start, color)
        bound = (one["bound"] / start)[0]
        left.curve(f"{theorem}, n = {count}", time, bound, color, end=theorem, ls="--", lw=1.2)
        share = one["distance"] / one["reach"][:, None]
        right.curve(name, seldom[1:], share[:, 1:], color, end=name)
        edge = (one["radius"] / one["reach"]).min().repeat(len(seldom))
        right.curve(f"R/R', {name}", seldom, edge, color, end="$R/R'$", ls=":")
    right.level("R'", 1, FAINT, ls="--")
    widths = [f"{kind} at m = {int(a[f'{kind}{n}_width'][0]):,}" for kind, _, n, _ in runs]
    return canvas.drawing(
        f"Inside the regime: {' and '.join(widths)}, mean and range over {s['seeds']} seeds. Left, "
        "the misfit and the theorem's bound (dashed). Right, the farthest unit's distance as a "
        "share of $R'$, with 1 (dashed) and $R/R'$ (dotted, least over seeds). "
        + said(
            result,
            "The misfit stays below its bound, the share below 1, and 1 below $R/R'$.",
            "du2019-width-explicit",
        ),
        "Left, the misfits and their dashed bounds; right, the shares, each with a dotted line. "
        + said(
            result,
            "The misfits lie below their bounds, the shares below 1, the dotted lines above it.",
            "du2019-width-explicit",
        ),
    )
