"""Figures of the experiment du2019/deep_gram."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import CYCLE, MARKERS
from companion.figures.words import over_seeds, powers, said
from companion.lab.results import Result

SHOWS = {
    "du2019-deep-conj": "du2019-deep-gram",
}

DRIFT = ("largest drift of a layer's Gram matrix", r"$\max_k\|G^{(h)}(k)-G^{(h)}(0)\|_2$")


def deep_gram(result: Result) -> Drawing:
    """Largest drift of each layer's Gram matrix during training, against the width."""
    drift = result.arrays["drift"].max(axis=-2)  # seeds, widths, layers
    widths, layers = np.array(result.settings["widths"]), drift.shape[-1]
    rank = drift[:, -1].mean(axis=0).argsort().argsort()
    canvas = Canvas()
    panel = canvas.panel("drift", WIDTH, DRIFT, log="xy")
    for layer in range(layers):
        color, name = CYCLE[layer % len(CYCLE)], f"$G^{{({layer + 1})}}$"
        mark, samples = MARKERS[layer % len(MARKERS)], drift[..., layer]
        line = panel.curve(f"h = {layer + 1}", widths, samples, color, marker=mark, ms=5)
        apart = (8, 11 * (rank[layer] - 1))
        panel.note(name, (widths[-1], line[-1]), color, apart, va="center", fontsize=10)
    start = 1.3 * drift[:, 0].max()
    panel.guide("slope -1/2", widths, start, -1 / 2, end=r"$m^{-1/2}$")
    panel.sizes(widths)
    panel.few_decades()
    return canvas.drawing(
        "The largest drift of each layer's Gram matrix while a network with "
        f"{result.settings['depth']} hidden layers is trained, {over_seeds(drift)}. For "
        f"$h=1,\\dots,{layers}$ the drift falls like "
        f"{powers(result.values[f'slope_{h + 1}'] for h in range(layers))}; the dashed line falls "
        "like $m^{-1/2}$.",
        "One line per layer on logarithmic axes, beside a dashed line of slope minus one half. "
        + said(
            result,
            "All lines fall, that of the first layer least steeply and that of the last most.",
            "du2019-deep-conj",
            outcomes=("inconclusive",),
        ),
    )
