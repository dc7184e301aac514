"""Figures of the experiment du2019/sliding_units."""

import numpy as np
from numpy.typing import ArrayLike

from companion.figures.panels import AT_X, Canvas, Drawing, Panel
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED, by_size
from companion.figures.words import said
from companion.lab.results import Result

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
    left.note("slides", (0, kink[1]), GREEN, (8, 24))
    right.note("starts active", (0, path[1, 0, 0]), INK, (14, -6))
    right.note("starts inactive", (0, path[0, 0, 0]), INK, (14, 0))
    return canvas.drawing(
        "One unit and two inputs; gradient descent with small steps. Left: the weight vector from "
        "both sides. The velocity points at the kink of $x_1$ where the unit is inactive (blue) "
        "and where it is active (red); on the kink what is left is their mean with weights "
        "$1-\\theta$ and $\\theta$ (green), along the kink. Right: $w^\\top x_1$ comes to zero "
        f"and stays. The unit is then active at $x_1$ in a share {v['theta']:.3f} of the steps; "
        f"the fraction that keeps it on the kink is $\\theta={v['theta_solved']:.3f}$.",
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
    _by_width(left, "inputs on the sphere", windows**2, widths, main, "-", named=True)
    _by_width(left, "control", windows**2, widths, control, "--")
    left.note("control", (windows[0] ** 2, control[:, -1, 0].mean()), INK, (4, -16))
    _by_width(right, "indicators", windows**2, widths, a["indicator"][0], "-")
    _by_width(right, "fractions", windows**2, widths, a["fraction"][0], ":")
    right.note("indicators", (windows[0] ** 2, a["indicator"][0, :, 0, 0].mean()), INK, (4, 8))
    right.note("fractions", (windows[0] ** 2, a["fraction"][0, :, -1, 0].mean()), INK, (4, -16))
    for panel in (left, right):
        panel.sizes(windows**2)
    return canvas.drawing(
        "What is missed of the changes of $u$, mean and range over "
        f"{main.shape[0]} seeds. Left: by $\\eta H(k)(y-u(k))$, step by step; solid where units "
        "slide, dashed in the control, where none can. Between the two largest "
        f"numbers of steps the share falls to {v['last_factor']:.2f} of itself, in the control "
        f"to {v['control_last_factor']:.2f}. "
        + said(result, "No step size removes it.", "du2019-eq5-7", outcomes=("fails",))
        + " Right: of whole windows, as many as each has steps, by the indicators of every step "
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
        f"The curves of the widest end at {main[:, -1, -1].mean():.2g} and "
        f"{a['fraction'][0, :, -1, -1].mean():.2g}.",
    )


def _by_width(
    panel: Panel, kind: str, steps: ArrayLike, widths: list[int], samples: np.ndarray, style: str,
    named: bool = False,
) -> None:  # fmt: skip
    """A curve for every width; samples of shape (seeds, widths, sizes)."""
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name, end = f"{kind}, m = {width}", f"m = {width}" if named else ""
        panel.curve(name, steps, samples[:, index], color, ls=style, marker="o", ms=4, end=end)
