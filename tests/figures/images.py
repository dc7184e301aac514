"""What the figures on images show, computed once more: see `curves`."""

import math

from companion.lab.results import Result
from tests.figures.curves import Curves, summed_up, upright


def _each(result: Result, name: str) -> list[tuple[int, list]]:
    """Every width with its samples, seed by seed."""
    widths = result.settings["widths"]
    return [(m, [seed[i] for seed in result.arrays[name]]) for i, m in enumerate(widths)]


def losses(result: Result) -> Curves:
    eta, curves = result.settings["step_size"], {}
    for m, samples in _each(result, "loss"):
        steps = range(len(samples[0]))
        curves["iteration", f"m = {m}"] = (steps, *summed_up(samples))
        curves["scaled time", f"m = {m}"] = ([k * eta * m for k in steps], *summed_up(samples))
    return curves


def _three(result: Result, name: str, over_layers) -> Curves:
    looks, eta = result.arrays["looks"], result.settings["step_size"]
    curves: Curves = {}
    paired = zip(_each(result, name), _each(result, "loss"), strict=True)
    for (m, samples), (_, losses) in paired:
        drawn = summed_up([[over_layers(layers) for layers in seed] for seed in samples])
        reached = [sum(float(loss[int(k)]) for loss in losses) / len(losses) for k in looks]
        curves["iteration", f"m = {m}"] = (looks, *drawn)
        curves["scaled time", f"m = {m}"] = ([k * eta * m for k in looks], *drawn)
        curves["loss", f"m = {m}"] = (reached, *drawn)
    lowest = [min(loss) for _, losses in _each(result, "loss") for loss in losses]
    curves["loss", "loss that all reach"] = upright(max(lowest))
    return curves


def distances(result: Result) -> Curves:
    return _three(result, "spectral", max)


def flips(result: Result) -> Curves:
    return _three(result, "flips", lambda layers: math.fsum(layers) / len(layers))


def layers(result: Result) -> Curves:
    places, curves = range(1, result.settings["depth"] + 1), {}
    for name, panel, ending in (
        ("spectral", "distance", ", spectral"),
        ("frobenius", "distance", ", Frobenius"),
        ("flips", "flips", ""),
    ):
        for m, samples in _each(result, name):
            at_end = summed_up([seed[-1] for seed in samples])
            curves[panel, f"m = {m}{ending}"] = (places, *at_end)
    return curves


CURVES = {
    f"zou2020-{figure}{images}": computed
    for figure, computed in (
        ("fig1", losses), ("fig2", distances), ("fig3", flips), ("fig23-layers", layers)
    )
    for images in ("", "-cifar10")
}  # fmt: skip
