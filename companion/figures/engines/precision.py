"""Figures of the experiment engines/precision."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import CYCLE, FAINT, new, stack
from companion.lab.results import Result


def precision(result: Result) -> Drawing:
    """How far each observable is from float64 along the run, in standard deviations over seeds."""
    deviation = result.arrays["deviation"]  # precisions, observables, steps
    precisions, observables = (result.arrays[n].tolist() for n in ("precisions", "observables"))
    steps = np.arange(1, deviation.shape[-1])
    figure, panels = new(len(precisions), sharey=True)
    series = {}
    for axes, name, curves in zip(panels, precisions, deviation, strict=True):
        for label, curve, color in zip(observables, curves[:, 1:], CYCLE, strict=False):
            # What agrees to the last digit has no place on a logarithmic axis.
            axes.plot(steps, np.where(curve > 0, curve, np.nan), color=color, label=label)
            series[f"{name}, {label}"] = (steps, curve)
        axes.axhline(float(result.values["allowed"]), color=FAINT, ls="--")
        axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("step")
    panels[0].set_ylabel("deviation, standard deviations over seeds")
    panels[0].legend()
    seeds = result.settings["seeds"]
    return Drawing(
        figure,
        f"Largest deviation from float64 of {seeds} runs with products in float32 and in bfloat16, "
        f"over the standard deviation between seeds; dashed, the tenth that the verdict allows.",
        "Two panels with four curves each against the step, on a logarithmic axis. In float32 all "
        "stay far below the dashed line, in bfloat16 the pattern difference is above it.",
        stack(series, "step", "deviation"),
    )
