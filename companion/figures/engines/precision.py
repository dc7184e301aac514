"""Figures of the experiment engines/precision."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import CYCLE, INK
from companion.figures.words import said
from companion.lab.results import Result
from companion.lab.words import listed, number

SHOWS = {
    "engines-float32": "engines-precision",
    "engines-bfloat16": "engines-precision",
}

# What the experiment observes, in words; the shares and distances are against the start.
OBSERVED = {
    "pattern": "share of activations changed",
    "frobenius": "distance, Frobenius norm",
    "spectral": "distance, spectral norm",
}
DEVIATION = ("deviation, standard deviations over seeds", "deviation over spread of seeds")
DASHES = ("-", "--", "-.", ":")


def precision(result: Result) -> Drawing:
    """How far each observable is from float64 along the run, in standard deviations over seeds."""
    deviation = result.arrays["deviation"]  # precisions, observables, steps
    precisions, observables = (result.arrays[n].tolist() for n in ("precisions", "observables"))
    steps, allowed = np.arange(1, deviation.shape[-1]), float(result.values["allowed"])
    canvas = Canvas(len(precisions), sharey=True)
    panels = [canvas.panel(name, "step", DEVIATION, log="y", title=name) for name in precisions]
    for panel, curves in zip(panels, deviation[:, :, 1:], strict=True):
        for index, (name, curve) in enumerate(zip(observables, curves, strict=True)):
            color, dashes = CYCLE[index % len(CYCLE)], DASHES[index % len(DASHES)]
            # What agrees to the last digit has no place on a logarithmic axis.
            curve, label = np.where(curve > 0, curve, np.nan), OBSERVED.get(name, name)
            panel.curve(name, steps, curve, color, ls=dashes, label=label)
        panel.level("allowed", allowed, INK, lw=1, label=f"{allowed:g}, allowed")
    canvas.legend(3)
    return canvas.drawing(
        f"How far {result.settings['seeds']} runs with products in {listed(precisions)} are from "
        "the same runs in float64: the largest deviation of each observable, in standard "
        f"deviations over seeds. The line is the {number(allowed, 'g')} that the verdicts allow. "
        "Where an observable agrees with float64 to the last digit, it has no place on a "
        "logarithmic axis and its curve has a gap.",
        f"A panel for each precision, with {len(observables)} curves against the step on a "
        "logarithmic axis and a level line. "
        + said(result, "In float32 all stay below the line.", "engines-float32")
        + " "
        + said(
            result,
            "In bfloat16 one of them is above it.",
            "engines-bfloat16",
            outcomes=("fails",),
        ),
    )
