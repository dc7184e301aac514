"""What the figures on weights near initialisation show, computed once more: see `curves`."""

from companion.lab.results import Result
from tests.figures.curves import Curves, mean, power, summed_up


def one_layer_flips(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for kind in ("worst", "blind"):
        union = a[f"{kind}_union"]
        curves |= {
            ("tau", f"{kind}, derived"): (s["radii"], a[f"{kind}_derived"][0]),
            ("tau", kind): (s["radii"], *summed_up(a[kind])),
            ("inputs", kind): (s["counts"], *summed_up(union)),
            ("inputs", f"{kind}, slope 1"): power(s["counts"], mean(union)[0], 1),
        }
    return curves


def perturbed_flips(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for name, key, radii in (
        ("adversary", "attack", s["attack_radii"]),
        ("random", "random", s["radii"]),
        ("gradient descent", "descent", s["descent_radii"]),
    ):
        shares = a[f"{key}_flips"]
        curves["tau", name] = (radii, *summed_up([seed[-1] for seed in shares]))
        at_last = [[depth[-1] for depth in seed] for seed in shares]
        curves["depth", name] = (s["depths"], *summed_up(at_last))
    start = 1.6 * max(seed[-1][0] for seed in a["attack_flips"])
    least = 0.6 * min(seed[-1][0] for seed in a["random_flips"])
    return {
        **curves,
        ("tau", "slope 2/3"): power(s["attack_radii"], start, 2 / 3),
        ("tau", "slope 1"): power(s["radii"], least, 1),
    }


def perturbed_outputs(result: Result) -> Curves:
    a, depths = result.arrays, result.settings["depths"]
    curves: Curves = {}
    for name, ratio, norm in (
        ("adversary of outputs", "outputs", ""),
        ("adversary of patterns", "attack", "attack"),
        ("random", "random", "random"),
        ("gradient descent", "descent", "descent"),
        ("at initialisation", "", "start"),
    ):
        if ratio:
            first = [[depth[0] for depth in seed] for seed in a[f"{ratio}_ratio"]]
            curves["ratio", name] = (depths, *summed_up(first))
        if norm:
            curves["norm", name] = (depths, *summed_up(a[f"{norm}_norm"]))
    start = 1.3 * max(seed[0][0] for seed in a["outputs_ratio"])
    return {
        **curves,
        ("ratio", "slope 1"): power(depths, start, 1),
        ("norm", "limit at initialisation"): (depths, a["limit_norm"][0]),
    }


def telescoping(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    return {
        ("gap", label): (s["near"], *summed_up([w for seed in a[f"near_{above}"] for w in seed]))
        for label, above in (
            ("as printed", "printed"),
            (r"without $\tilde\Sigma$", "without"),
            ("mended", "mended"),
        )
    }


def flips_near_start(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for name, key, exponent in (("adversary", "attack", 2 / 3), ("gradient descent", "descent", 1)):
        radii, widest = s[f"{key}_radii"], [seed[-1] for seed in a[f"{key}_flips"]]
        curves["share", name] = (radii, *summed_up(widest))
        line = power(radii, 0.75 * mean(widest)[0], exponent)
        curves["share", f"slope of {name}"] = line
    return curves


CURVES = {
    "zou2018-one-layer-flips": one_layer_flips,
    "zou2018-perturbed-flips": perturbed_flips,
    "zou2018-perturbed-outputs": perturbed_outputs,
    "zou2020-telescoping": telescoping,
    "zou2020-flips-near-start": flips_near_start,
}
