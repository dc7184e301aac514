"""The figure of `companion regime`: curves predicted and measured, and widths asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, GREEN, INK, ORANGE, PURPLE, RED, house_style

_COLORS = {"du2019": BLUE, "zou2018": ORANGE, "zou2020": GREEN, "chen2021": PURPLE}


def drawn(told: Mapping[str, Any]) -> Drawing:
    """Left, the loss as measured and as two kernels predict it; right, widths of the theorems.

    Args:
        told: what `companion.regime.report.Report.told` gives, with `data` in words.
    """
    with house_style():
        canvas = Canvas(2)
        _curves(canvas, told)
        _widths(canvas, told)
        asked = ", ".join(f"{_label(each)} {each['width']:.2g}" for each in _finite(told))
        return canvas.drawing(
            f"{told['data']}. Left, the mean loss of a network of width {told['run']['width']} and "
            f"depth {told['run']['depth']}, and what the frozen kernel and that of infinite width "
            "predict; right, the widths that the theorems ask for, filled where the constants are "
            "known and open where they are taken as 1.",
            f"Left, three curves of the mean loss over the steps. Right, a point for the width of "
            f"every theorem beside a line at width {told['run']['width']}: {asked}.",
        )


def _curves(canvas: Canvas, told: Mapping[str, Any]) -> None:
    curves = told["curves"]
    panel = canvas.panel("loss", "step", "mean loss", log="y", title="training, predicted and seen")
    for name, label, color, style in (
        ("measured", "the network", INK, {"lw": 3, "alpha": 0.6}),
        ("predicted", "its kernel, frozen", BLUE, {"ls": "--"}),
        ("limit", "infinite width", RED, {"ls": ":"}),
    ):
        loss = np.array(curves[name], dtype=float)
        panel.curve(label, curves["step"], loss, color, label=label, **style)
    panel.legend()


def _widths(canvas: Canvas, told: Mapping[str, Any]) -> None:
    shown, width = _finite(told), told["run"]["width"]
    panel = canvas.panel(
        "widths", ("width m", "width asked for"), "theorem", log="x", title="width asked for",
        rows=[_label(each) for each in shown],
    )  # fmt: skip
    colors = [_COLORS[each["paper"]] for each in shown]
    panel.by_row(
        "asked for", [each["width"] for each in shown], colors,
        since=width, stem={"colors": colors, "lw": 1.2}, s=36,
        filled=[each["explicit"] for each in shown],
    )  # fmt: skip
    panel.upright("this network", width, INK, lw=1.8)
    panel.axes.set_ylim(len(shown) - 0.5, -0.9)
    panel.note(f"this network, {width}", (width, -0.75), INK, (5, 0), va="center")
    panel.axes.grid(False, axis="y")
    ring = {"marker": "o", "mec": INK, "ms": 6}
    known, open_ = entry("constants known", mfc=INK, **ring), entry("taken as 1", mfc="w", **ring)
    kinds = [known, open_] if any(each["explicit"] for each in shown) else [open_]
    canvas.legend(2, kinds)


def _finite(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The demands whose width is a number."""
    return [each for each in told["demands"] if isinstance(each["width"], int | float)]


def _label(demand: Mapping[str, Any]) -> str:
    """E.g. `Du 2019, Thm 4.1, printed`."""
    name = demand["work"].split()[0]
    number = demand["statement"].replace("Theorem", "Thm").replace("Proposition", "Prop.")
    variant = {"": "", "phi": r", $\phi$", "R": ", $R$"}.get(
        demand["variant"], f", {demand['variant']}"
    )
    return f"{name} {demand['paper'][-4:]}, {number}{variant}"
