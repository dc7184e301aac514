"""Figures of the experiment du2019/deep_gram."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import CYCLE, FAINT, band, label_line, new, stack
from companion.lab.fits import log_log_slope
from companion.lab.results import Result


def deep_gram(result: Result) -> Drawing:
    """Largest drift of each layer's Gram matrix during training, against the width."""
    drift = result.arrays["drift"].max(axis=-2)  # seeds, widths, layers
    widths = np.array(result.settings["widths"], dtype=float)
    figure, (axes,) = new()
    series, slopes = {}, []
    for layer, color in zip(range(drift.shape[-1]), CYCLE * drift.shape[-1], strict=False):
        mean = band(axes, widths, drift[..., layer], color, marker="o", ms=4)
        series[f"h={layer + 1}"] = (widths, mean)
        slopes.append(f"{log_log_slope(widths, drift[..., layer])[0]:.2f}")
    ends = {layer: series[f"h={layer + 1}"][1][-1] for layer in range(drift.shape[-1])}
    for rank, layer in enumerate(sorted(ends, key=lambda layer: float(ends[layer]))):
        axes.annotate(
            f"$G^{{({layer + 1})}}$", (widths[-1], ends[layer]), xytext=(8, 11 * (rank - 1)),
            textcoords="offset points", color=CYCLE[layer % len(CYCLE)], va="center", fontsize=10,
            annotation_clip=False,
        )  # fmt: skip
    guide = drift[:, 0].max() * 1.3 * (widths / widths[0]) ** -0.5
    axes.plot(widths, guide, color=FAINT, ls="--")
    label_line(axes, widths, guide, r"$m^{-1/2}$", FAINT)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("width m")
    axes.set_ylabel(r"$\max_k\|G^{(h)}(k)-G^{(h)}(0)\|_2$")
    return Drawing(
        figure,
        f"Largest drift of each layer's Gram matrix while {result.settings['depth']} hidden "
        f"layers are "
        f"trained, mean and range over {len(drift)} seeds; exponents in $m$ {', '.join(slopes)} "
        f"for "
        f"$h=1,\\dots,{drift.shape[-1]}$. Dashed, the slope $m^{{-1/2}}$.",
        "Falling lines on logarithmic axes, one per layer, about parallel to the dashed slope or "
        "steeper.",
        stack(series, "width", "drift"),
    )
