"""What the figures on networks at initialisation show, computed once more: see `curves`."""

import math
from itertools import pairwise
from statistics import fmean

from scipy import integrate

from companion.lab.results import Result
from tests.figures.curves import Curves, level, mean, over_first, power, summed_up

# Of one output of a wide network, whose output weights are as often 1 as -1.
VARIANCE = 1 - 1 / math.pi


def density(y: float) -> float:
    """Of the limit of one output."""
    return math.exp(-(y**2) / (2 * VARIANCE)) / math.sqrt(2 * math.pi * VARIANCE)


def kernel(cosine: float) -> float:
    """Cosine of the outputs of a wide layer on inputs of this cosine."""
    angle = math.acos(cosine)
    return (math.sin(angle) + (math.pi - angle) * cosine) / math.pi


def layer_lengths(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for layer in (1, s["depth"]):
        samples = [[width[layer - 1] for width in seed] for seed in a["deviation"]]
        curves["width", f"layer {layer}"] = (s["widths"], *summed_up(samples))
    narrowest = fmean(float(seed[0][0]) for seed in a["deviation"])
    deep = summed_up(a["deep_deviation"])
    return {
        **curves,
        ("width", "slope -1/2"): power(s["widths"], 0.6 * narrowest, -1 / 2),
        ("depth", "last layer"): (s["depths"], *deep),
        ("depth", "slope 1/2"): power(s["depths"], deep[0][0], 1 / 2),
        ("depth", "slope 1"): power(s["depths"], deep[0][0], 1),
    }


def first_outputs(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    outputs = a["output"].ravel().tolist()
    edges = [-3 + 6 * k / 25 for k in range(26)]
    cells = list(pairwise(edges))
    counted = [sum(low <= y < high for y in outputs) for low, high in cells]
    fine = [-3 + k / 30 for k in range(181)]
    curves: Curves = {
        ("outputs", "networks"): (
            [(low + high) / 2 for low, high in cells],
            [number / len(outputs) / (6 / 25) for number in counted],
        ),
        ("outputs", "limit"): (fine, [density(y) for y in fine]),
        ("counts", "printed"): level(2),
        ("counts", "limit of the mean"): level(1 / math.sqrt(math.pi)),
    }
    for name, key in (("largest", "crowding"), ("mean", "share")):
        least = [[width[0] for width in seed] for seed in a[key]]
        curves["counts", name] = (s["widths"], *summed_up(least))
    return curves


def separation_kept(result: Result) -> Curves:
    """The limit from its recursion: a layer takes the cosine c = 1 - phi^2 / 2 to kernel(c)."""
    a, s = result.arrays, result.settings
    layers = range(s["deep"] + 1)
    curves: Curves = {("ratio", "half"): level(0.5)}
    for place, phi in enumerate(s["separations"]):
        cosines = [1 - phi**2 / 2]
        for _ in layers[1:]:
            cosines.append(kernel(cosines[-1]))
        limit = [math.sqrt(2 - 2 * cosine) / phi for cosine in cosines]
        ratio = [seed[place] for seed in a["ratio"]]
        curves["ratio", f"phi = {phi:g}"] = (layers, *summed_up(ratio))
        curves["ratio", f"limit, phi = {phi:g}"] = (layers, limit)
    return curves


def inner_products(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    last = s["opposites"]
    opposite = [[v / (mu**2 / 2) for v, mu in zip(seed, last, strict=True)]
                for seed in a["opposite"]]  # fmt: skip
    least = [float(min(seed)) / (s["mu"] ** 2 / 2) for seed in a["product"]]
    return {
        ("products", "opposite"): (last, *summed_up(opposite)),
        ("products", "closed form"): (last, [kernel(2 * mu**2 - 1) / (mu**2 / 2) for mu in last]),
        ("products", "drawn"): ([s["mu"]] * len(least), least),
        ("products", "claimed"): level(1),
    }


def masked_products(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    depths, sizes = s["depths"], s["sparsities"]
    curves: Curves = {}
    for name, key in (("last factor unmasked", "unmasked"), ("all factors masked", "masked")):
        curves["norms", name] = (depths, *summed_up(a[key]))
        curves["norms", f"limit, {name}"] = (depths, a[f"{key}_limit"])
    for name, key in (("(vii)", "bilinear"), ("(vi)", "output_form")):
        deepest = over_first([seed[-1] for seed in a[key]])
        curves["forms", name] = (sizes, *summed_up(deepest))
    return {
        **curves,
        ("norms", "slope 1"): power(depths, mean(a["masked"])[0], 1),
        ("forms", "slope 1/2"): power(sizes, 1, 1 / 2),
    }


def gradient_nodes(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for panel, sizes in (("width", s["widths"]), ("separation", s["separations"])):
        counts, over = a[f"by_{panel}"], a[f"by_{panel}_over_bound"]
        promised = [[float(c) / float(o) for c, o in zip(*pair, strict=True)]
                    for pair in zip(counts, over, strict=True)]  # fmt: skip
        curves |= {
            (panel, "least count"): (sizes, *summed_up(counts)),
            (panel, "slope 1"): power(sizes, 0.6 * mean(counts)[0], 1),
            (panel, "proof"): (sizes, mean(promised)),
        }
    return curves


def gradient_probability(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    apart = s["lemma_separations"]
    curves: Curves = {("share", "angle over pi"): (apart, [phi / math.pi for phi in apart])}
    for place, count in enumerate(s["lemma_counts"]):
        share, bound = ([seed[place] for seed in a[key]] for key in ("share", "bound"))
        curves["share", f"n = {count}"] = (apart, *summed_up(share))
        curves["share", f"bound, n = {count}"] = (apart, mean(bound))
    return curves


def first_loss(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves: Curves = {}
    for name, key, sizes in (
        ("width", "loss", s["widths"]),
        ("depth", "loss_by_depth", s["depths"]),
        ("examples", "loss_by_count", s["examples"]),
    ):
        curves["loss", name] = ([size / sizes[0] for size in sizes], *summed_up(a[key]))
    limit, _ = integrate.quad(
        lambda y: math.log1p(math.exp(-y)) * density(y), -12, 12, epsabs=0, epsrel=1e-12
    )
    return {**curves, ("loss", "limit"): level(limit)}


def product_norms(result: Result) -> Curves:
    a, depths = result.arrays, result.settings["product_depths"]
    start = mean(a["masked"])[0]
    return {
        ("norms", "at initialisation"): (depths, *summed_up(a["masked"])),
        ("norms", "perturbed"): (depths, *summed_up(a["perturbed"])),
        ("norms", r"with $v^\top$, over $\sqrt{m}$"): (depths, *summed_up(a["output_norm"])),
        ("norms", "slope 1/2"): power(depths, start, 1 / 2),
        ("norms", "slope 1"): power(depths, start, 1),
    }


CURVES = {
    "zou2018-layer-lengths": layer_lengths,
    "zou2018-first-outputs": first_outputs,
    "zou2018-separation-kept": separation_kept,
    "zou2018-inner-products": inner_products,
    "zou2018-masked-products": masked_products,
    "zou2018-gradient-nodes": gradient_nodes,
    "zou2018-gradient-probability": gradient_probability,
    "zou2020-first-loss": first_loss,
    "zou2020-product-norms": product_norms,
}
