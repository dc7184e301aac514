"""Figures of the experiment du2019/sliding_units."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from companion.figures.panels import AT_X, Canvas, Drawing, Panel, entry
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED, by_size
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-eq5-7": "du2019-sliding-units",
    "du2019-fn-inclusion": "du2019-sliding-units",
}

ALONG = ("w.x_1", r"$w^\top x_1$")
ACROSS = ("part of w across x_1", r"part of $w$ across $x_1$")
TIME = ("time", "time $t$")
STEPS = ("steps for the same time", "steps for the same time")
MISSED = ("share missed", "share of the change that is missed")
# For how long the arrows let a velocity go on.
_ARROW = 0.35
_DOT: Any = {"marker": "o", "ms": 4}


def one_unit(result: Result) -> Drawing:
    """A unit that is pushed to a kink from both sides and slides along it."""
    a, v = result.arrays, result.values
    path, kink, speed = a["path"], a["kink"], a["velocity"]
    canvas = Canvas(2)
    left = canvas.panel("the weights", ALONG, ACROSS)
    right = canvas.panel("in time", TIME, ALONG)
    left.upright("kink of x_1", 0, FAINT, ls="--")
    right.level("kink of x_1", 0, FAINT, ls="--")
    for side, name in enumerate(("starts inactive at x_1", "starts active at x_1")):
        left.curve(name, path[side, :, 0], path[side, :, 1], INK, lw=1)
        right.curve(name, a["clock"], path[side, :, 0], INK, lw=1)
    for name, color, velocity, since in (
        ("velocity where inactive", BLUE, speed[0], -_ARROW),
        ("velocity where active", RED, speed[1], -_ARROW),
        ("velocity on the kink", GREEN, speed[2], 0),
    ):
        base, tip = kink + since * velocity, kink + (since + _ARROW) * velocity
        left.arrow(name, (base[0], base[1]), (tip[0], tip[1]), color)
    left.note("inactive,\n$w^\\top x_1<0$", (path[0, 0, 0], 0.85), BLUE, (0, 0), xycoords=AT_X)
    left.note("active,\n$w^\\top x_1>0$", (0.5 * path[1, 0, 0], 0.85), RED, (0, 0), xycoords=AT_X)
    left.note("kink", (0, 0), FAINT, (4, 4), xycoords=AT_X)
    right.note("kink", (a["clock"][-1], 0), FAINT, (0, -6), ha="right", va="top")
    left.note("slides", (0, kink[1]), GREEN, (8, 24))
    right.note("starts active", (0, path[1, 0, 0]), INK, (14, -6))
    right.note("starts inactive", (0, path[0, 0, 0]), INK, (14, 0))
    return canvas.drawing(
        "One unit and two inputs; gradient descent with small steps. Left, the weight vector from "
        "both sides. The velocity (arrows) points at the kink of $x_1$ where the unit is inactive "
        "and where it is active; on the kink what is left is their mean with weights $1-\\theta$ "
        "and $\\theta$, which points along the kink. Right, $w^\\top x_1$ comes to zero and stays. "
        f"The unit is then active at $x_1$ in a share of {number(v['theta'], '.3f')} of the steps; "
        f"the fraction that keeps it on the kink is $\\theta=$ {number(v['theta_solved'], '.3f')}.",
        "Left, two paths that meet on a vertical line and go on along it, with an arrow towards "
        "the line from either side and one along it. Right, the distance from that line in time: "
        "from either side it falls to zero and stays there.",
    )


def sliding_units(result: Result) -> Drawing:
    """What 0/1 indicators miss against the number of steps, beside a control and fractions."""
    a, v = result.arrays, result.values
    windows, widths = np.array(result.settings["windows"]), result.settings["widths"]
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("steps", STEPS, MISSED, log="xy", title="step by step, with indicators")
    right = canvas.panel("windows", STEPS, MISSED, log="xy", title="window by window")
    main, control = a["missed"]
    _by_width(left, "inputs on the sphere", windows**2, widths, main, "-")
    _by_width(left, "control", windows**2, widths, control, "--")
    _by_width(right, "indicators", windows**2, widths, a["indicator"][0], "-")
    _by_width(right, "fractions", windows**2, widths, a["fraction"][0], ":")
    for panel, solid, broken, style in (
        (left, "sphere", "control", "--"),
        (right, "indicators", "fractions", ":"),
    ):
        panel.sizes(windows**2)
        kinds = [entry(solid, ls="-", **_DOT), entry(broken, ls=style, **_DOT)]
        panel.legend("lower left", handles=kinds, handlelength=3.5)
    return canvas.drawing(
        f"The share of the changes of $u$ that is missed, {over_seeds(main)}. Left, by "
        "$\\eta H(k)(y-u(k))$, step by step; solid where units slide, dashed in the control, where "
        "none can. Between the two largest numbers of steps the share "
        f"falls to {number(v['last_factor'], '.2f')} of itself, in the control to "
        f"{number(v['control_last_factor'], '.2f')}. "
        + said(result, "No step size removes it.", "du2019-eq5-7", outcomes=("fails",))
        + " Right, of whole windows, as many as each has steps, by the indicators of every step "
        "(solid) and by the share of time that each pair is active (dotted). "
        + said(result, "With these fractions it vanishes.", "du2019-fn-inclusion"),
        "Left, a solid and below it a dashed curve per width. "
        + said(
            result,
            "The solid ones level off, the dashed ones fall.",
            "du2019-eq5-7",
            outcomes=("fails",),
        )
        + " Right, a solid and below it a dotted curve per width. "
        + said(result, "The dotted ones fall.", "du2019-fn-inclusion")
        + " Wider networks lie lower. "
        f"The curves of the widest end at {spoken(main[:, -1, -1].mean())} and "
        f"{spoken(a['fraction'][0, :, -1, -1].mean())}.",
    )


def _by_width(
    panel: Panel, kind: str, steps: ArrayLike, widths: list[int], samples: np.ndarray, style: str
) -> None:
    """A curve for every width, named if it is solid; samples of shape (seeds, widths, sizes)."""
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name, end = f"{kind}, m = {width}", f"m = {width}" if style == "-" else ""
        panel.curve(name, steps, samples[:, index], color, ls=style, end=end, **_DOT)
