"""Figures of the experiment engines/precision."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import CYCLE, FAINT
from companion.figures.words import said
from companion.lab.results import Result


def precision(result: Result) -> Drawing:
    """How far each observable is from float64 along the run, in standard deviations over seeds."""
    deviation = result.arrays["deviation"]  # precisions, observables, steps
    precisions, observables = (result.arrays[n].tolist() for n in ("precisions", "observables"))
    steps, allowed = np.arange(1, deviation.shape[-1]), float(result.values["allowed"])
    canvas = Canvas(len(precisions), sharey=True)
    panels = [
        canvas.panel(name, "step", "deviation, standard deviations over seeds", log="y", title=name)
        for name in precisions
    ]
    for panel, curves in zip(panels, deviation[:, :, 1:], strict=True):
        for name, curve, color in zip(observables, curves, CYCLE, strict=False):
            # What agrees to the last digit has no place on a logarithmic axis.
            panel.curve(name, steps, np.where(curve > 0, curve, np.nan), color, label=name)
        panel.level("allowed", allowed, FAINT, ls="--")
    panels[-1].legend("lower right")
    return canvas.drawing(
        f"Largest deviation from float64 of {result.settings['seeds']} runs with products in "
        f"{' and in '.join(precisions)}, over the standard deviation between seeds; dashed, the "
        f"{allowed:g} that the verdicts allow.",
        f"A panel for each precision, with {len(observables)} curves against the step on a "
        "logarithmic axis and a dashed line. "
        + said(result, "In float32 all stay below the dashed line.", "engines-float32")
        + " "
        + said(
            result,
            "In bfloat16 one of them is above it.",
            "engines-bfloat16",
            outcomes=("fails",),
        ),
    )
