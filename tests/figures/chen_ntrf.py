"""What the figures on the class of Chen et al.'s Definition 4.1 show, once more: see `curves`."""

import math
from typing import Any

from companion.lab.results import Result
from tests.figures.curves import ACROSS, Curves, level, mean, power, summed_up, upright

HALVES, RANDOM = "labels by the half", "random labels"


def of_place(samples: Any, *place: int) -> Any:
    """Every seed's entry at some place of the dimensions that follow."""
    for index in place:
        samples = [seed[index] for seed in samples]
    return samples


def least_loss(result: Result) -> Curves:
    radii, value = result.settings["radii"], result.arrays["value"]
    return {
        ("loss", name): (radii, *summed_up(of_place(value, place)))
        for place, name in enumerate((HALVES, RANDOM))
    }


def members_as_networks(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    widths, error, loss = s["widths"], a["error"], a["true_loss"]
    first = of_place(error, 0, 0)
    curves: Curves = {
        ("error", "slope of the bound"): power(widths, 0.6 * mean(first)[0], -s["alphas"][0] / 3),
        ("error", "log 2"): level(math.log(2)),
        ("loss", "log 2"): upright(math.log(2)),
        ("loss", "eps"): level(1),
    }
    for place, alpha in enumerate(s["alphas"]):
        curves["error", f"alpha = {alpha:g}"] = (widths, *summed_up(of_place(error, place, 0)))
    for place, eps in enumerate(s["losses"]):
        x, y = (
            [float(v) for seed in array for alpha in seed for v in alpha[place]]
            for array in (error, loss)
        )
        curves["loss", f"eps = {eps:g}"] = (x, y)
    return curves


def margins(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    counts, floor = s["counts"], float(result.values["guaranteed"])
    random = of_place(a["margin"], 1)
    return {
        ("count", HALVES): (counts, *summed_up(of_place(a["margin"], 0))),
        ("count", RANDOM): (counts, *summed_up(random)),
        ("count", "slope -1/2"): power(counts, 0.6 * mean(random)[0], -1 / 2),
        ("count", "guaranteed"): level(floor),
        ("width", "networks"): (s["widths"], *summed_up(a["wide_margin"])),
        ("width", "limit"): (s["widths"], mean(a["limit"])),
        ("width", "guaranteed"): (ACROSS, [floor]),
    }


def radius_times_margin(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    accuracies = [1 / loss for loss in s["losses"]]
    return {
        ("loss", "radius"): (accuracies, *summed_up(a["radius"])),
        ("loss", "proof"): (accuracies, *summed_up(a["proof"])),
        ("count", HALVES): (s["counts"], *summed_up(of_place(a["reach"], 0))),
        ("count", RANDOM): (s["counts"], *summed_up(of_place(a["reach"], 1))),
    }


def direction_margins(result: Result) -> Curves:
    a, s = result.arrays, result.settings

    def every_sample(margins: Any) -> list[list[float]]:
        return [list(sizes) for seed in margins for sizes in zip(*seed, strict=True)]

    fields = [float(v) for v in a["field_margin"]]
    return {
        ("margin", "Gram matrix"): (s["directions"], *summed_up(every_sample(a["gram_margin"]))),
        ("margin", "sample"): (s["directions"], *summed_up(every_sample(a["margin"]))),
        ("margin", "one field"): level(sum(fields) / len(fields)),
        ("margin", "half of the gap"): level(s["gap"] / 2),
    }


def constructed_increment(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    multiples = s["multiples"]
    worst = [[min(map(float, draws)) for draws in seed] for seed in a["share"]]
    error = [[sum(map(float, draws)) / len(draws) for draws in seed] for seed in a["error"]]
    return {
        ("margin", "worst network"): (multiples, *summed_up(worst)),
        ("margin", "mean"): level(1 - math.erf(0.47 / math.sqrt(2))),
        ("margin", "claimed"): level(1 / 4),
        ("error", "increment"): (multiples, *summed_up(error)),
        ("error", "slope of the bound"): power(multiples, 0.6 * mean(error)[0], -s["alpha"] / 3),
        ("error", "log 2"): level(math.log(2)),
    }


CURVES = {
    "chen2021-constructed-increment": constructed_increment,
    "chen2021-direction-margins": direction_margins,
    "chen2021-least-loss": least_loss,
    "chen2021-margins": margins,
    "chen2021-members-as-networks": members_as_networks,
    "chen2021-radius-times-margin": radius_times_margin,
}
