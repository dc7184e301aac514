"""Classes that keep a distance phi (Assumption 4.9), and the radius that this gives (Prop. 4.10).

Refuted by two inputs of different labels that are equal, or, at infinite width, by a radius that
grows faster than n^(3/2) or than phi^(-1/2).
"""

from functools import partial
from typing import Annotated, Literal

import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.bounds.chen2021 import proposition_4_10_radius
from companion.datafiles import digits_source
from companion.datasets import DataSet, digits, random_labels, twins
from companion.draws import cpu_generator, independent_seed
from companion.experiments.chen2021._problem import HalvesSettings, Layers, halves, on_data
from companion.images import cifar10
from companion.kernels import infinite_width_layer_ntks, infinite_width_nngp
from companion.lab.checks import at_least, claim, exponent_at_most, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Probability, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.nearest import separation
from companion.ntrf import margin_target, smallest_radius

Separations = Annotated[tuple[Share, ...], Field(min_length=3)]
EXPECTED: dict[str, Outcome] = {"chen2021-ass4.9": "holds", "chen2021-prop4.10": "holds"}
DATA = ("digits", "cifar10")
# Training sets of the assumption, in the order of `_sets`, and of the proposition.
SETS = ("halves", "random", "twins", "repeated")
KINDS = ("halves", "random", "twins")
PAIRS = {
    "digits": (("3", "8"), ("4", "9")),
    "cifar10": (("cat", "dog"), ("cat", "ship")),
}
# Of a distance of two inputs of norm 1, in float64.
ROUNDING = 1e-12
# What the next order does to the exponent in phi: in the hidden layers the gradients of a pair are
# apart by a sqrt(phi), in the output layer by b phi, so R is 1 / (a sqrt(phi) + b phi).
NEXT_ORDER = 0.03


class Settings(HalvesSettings):
    """What is computed; nothing is trained.

    Attributes:
        layers: L, all weight matrices.
        counts: n, even, in increasing order.
        separation: phi of pairs of different labels, where n is varied.
        separations: phi of such pairs, in increasing order, at infinite width.
        network_separations: phi of such pairs that networks of finite width are shown.
        width: m of these networks.
        accuracy: eps, which the largest loss has to be below.
        delta: failure probability in the logarithm of the proposition.
        dataset: real images whose separation is measured.
        per_class: images of each class; None for all training images.
    """

    seeds: Size = 6
    count: Count = 8
    layers: Layers = 3
    counts: SeveralSizes = (8, 16, 32, 64)
    separation: Share = 0.1
    separations: Separations = (0.001, 0.002, 0.004, 0.008)
    network_separations: Separations = (0.05, 0.1, 0.2, 0.4)
    width: Size = 256
    accuracy: Share = 0.05
    delta: Probability = 0.1
    dataset: Literal["digits", "cifar10"] = "digits"
    per_class: Size | None = 500


QUICK = Settings()
PAPER = Settings(
    seeds=20, counts=(8, 16, 32, 64, 128), width=1024, dataset="cifar10", per_class=None
)


def summary(settings: Settings) -> str:
    """The data sets, and the networks on them."""
    s = settings
    some = "all training images" if s.per_class is None else f"the first {s.per_class} images"
    images = listed(f"{a} and {b}" for a, b in PAIRS[s.dataset])
    return (
        f"Distances of the inputs of two halves of the sphere in dimension $d={s.dimension}$, at "
        f"least {s.gap:g} from the plane between them, with their own and with random labels, of "
        rf"pairs of different labels $\phi={s.separation:g}$ apart, and of {some} of each of the "
        f"classes {images}; and the least $R$ at which the linearised network with $L={s.layers}$ "
        rf"has every loss at $\epsilon={s.accuracy:g}$, at infinite width for $n=$ "
        f"{listed(s.counts)}, and for $n={s.count}$ at infinite width and at $m={s.width}$ with "
        f"pairs as close as {number(s.separations[0])}, {s.seeds} draws each. Nothing is trained."
    )


def cost(settings: Settings) -> Cost:
    """Distances of images, Gram matrices of networks, and what the convex problems take."""
    s = settings
    images = 10_000.0 if s.per_class is None else 2.0 * s.per_class
    pixels = 784 if s.dataset == "digits" else 3_072
    grams = 2.0 * s.count * s.layers * s.width**2 * len(s.network_separations)
    problems = 3 * sum(2_000 * n**2 + 300 * n**3 for n in s.counts)
    flops = len(PAIRS[s.dataset]) * images**2 * pixels + s.seeds * (grams + problems)
    peak = max(3 * images * pixels, s.layers * s.width**2, 4 * max(s.counts) ** 2)
    return Cost(flops, 8 * peak)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Distances in all data sets, and radii against n and against phi.

    Raises:
        MissingDataError: the images are not on this machine.
    """
    s = settings
    pairs = [f"{a} and {b}" for a, b in PAIRS[s.dataset]]
    parts = [
        sweep("sets", partial(_distances, s), seed=s.each_seed, set=SETS),
        sweep("images", partial(_images, s, device), pair=pairs),
        sweep("counts", partial(_by_count, s), seed=s.each_seed, kind=KINDS, count=s.counts),
        sweep("phis", partial(_by_separation, s), seed=s.each_seed, phi=s.separations),
        sweep(
            "networks", partial(_of_network, s, device), seed=s.each_seed,
            network_phi=s.network_separations,
        ),
    ]  # fmt: skip
    told = f"{s.data}; pairs of different labels; real images of {listed(pairs)}"
    return xr.merge(parts).assign_attrs(data=told)


def _drawn(settings: Settings, kind: str, count: int, seed: int) -> DataSet:
    """One of `SETS`, with n = count."""
    s, own = settings, independent_seed(seed, count)
    if kind == "twins":
        return twins(count, s.dimension, s.separation, own)
    if kind == "repeated":
        once = halves(count // 2, s.dimension, s.gap, own)
        return DataSet(torch.cat([once.x, once.x]), torch.cat([once.y, once.y]), once.source)
    data = halves(count, s.dimension, s.gap, own)
    return random_labels(data, own) if kind == "random" else data


def _distances(settings: Settings, *, seed: int, set: str) -> Variables:
    """Phi over pairs of different labels, and over all pairs."""
    data = _drawn(settings, set, max(settings.counts), seed)
    found = separation(data.x, data.y)
    return {"different": found.cross_class, "all_pairs": found.all_pairs}


def _images(settings: Settings, device: str, *, pair: str) -> Variables:
    """The same of real images."""
    s, (plus, minus) = settings, pair.split(" and ")
    if s.dataset == "digits":
        data = digits(digits_source(), (int(plus), int(minus)), s.per_class)
    else:
        data = cifar10((plus, minus), "train", s.per_class)
    near = data.to(torch.float64, device)
    found = separation(near.x, near.y)
    return {
        "images": len(near.y),
        "image_different": found.cross_class,
        "image_all_pairs": found.all_pairs,
    }


def _by_count(settings: Settings, *, seed: int, kind: str, count: int) -> Variables:
    return {"radius": _limit_radius(settings, _drawn(settings, kind, count, seed), seed)}


def _by_separation(settings: Settings, *, seed: int, phi: float) -> Variables:
    s = settings
    return {"phi_radius": _limit_radius(s, twins(s.count, s.dimension, phi, seed), seed)}


def _of_network(settings: Settings, device: str, *, seed: int, network_phi: float) -> Variables:
    """R of a network of finite width in its linearisation, and of the limit on the same inputs."""
    s, data = settings, twins(settings.count, settings.dimension, network_phi, seed)
    problem = on_data(data, s, device, seed=seed, width=s.width, layers=s.layers)
    start, target = problem.network.predict(problem.x), margin_target(s.accuracy)
    found = smallest_radius(problem.layer_grams, start, problem.y, target)
    # rho = R m^-alpha, and alpha is 1/2.
    return {
        "network_radius": found.value * s.width**0.5,
        "limit_radius": _limit_radius(s, data, seed),
    }


def _limit_radius(settings: Settings, data: DataSet, seed: int) -> float:
    """The least R of Assumption 3.2 at infinite width, where a network is its linearisation."""
    s, hidden = settings, settings.layers - 1
    grams = infinite_width_layer_ntks(data.x, depth=hidden, parameterisation="chen")
    start = _limit_predictions(data.x, hidden, independent_seed(seed, len(data.y)))
    return smallest_radius(grams, start, data.y, margin_target(s.accuracy)).value


def _limit_predictions(x: Tensor, hidden: int, seed: int) -> Tensor:
    """A draw of the predictions at initialisation: jointly Gaussian at alpha = 1/2."""
    kernel = infinite_width_nngp(x, depth=hidden, parameterisation="chen")
    squares, directions = torch.linalg.eigh(kernel)
    normal = torch.randn(len(x), generator=cpu_generator("outputs", seed), dtype=torch.float64)
    return torch.mv(directions, squares.clamp(min=0).sqrt() * normal)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Distances, exponents, and R over what the proposition has with the constant 1."""
    s, largest = settings, settings.counts[-1]
    sets = found.mean("seed")
    ends = {"first": 0, "last": -1}
    twice = [proposition_4_10_radius(n, s.separation, s.accuracy, s.delta) for n in s.counts]
    share = found.radius.sel(kind="twins") / twice
    return {
        "count": s.count,
        "largest": largest,
        "gap": s.gap,
        "width": s.width,
        "accuracy": s.accuracy,
        **{f"{kind}_different": sets.different.sel(set=kind) for kind in SETS},
        **{f"{kind}_all": sets.all_pairs.sel(set=kind) for kind in SETS},
        **_told_of_images(found),
        **{f"{kind}_exponent": exponent(found.radius.sel(kind=kind), "count") for kind in KINDS},
        **{f"{kind}_radius": sets.radius.sel(kind=kind).isel(count=-1) for kind in KINDS},
        "phi_exponent": exponent(found.phi_radius, "phi"),
        "network_exponent": exponent(found.network_radius, "network_phi"),
        **{
            f"{end}_quotient": (found.network_radius / found.limit_radius)
            .isel(network_phi=place)
            .mean()
            for end, place in ends.items()
        },
        "first_network_phi": s.network_separations[0],
        "last_network_phi": s.network_separations[-1],
        "room": 1 / share.max(),
        "separation": s.separation,
    }


def _told_of_images(found: xr.Dataset) -> Values:
    """Of the first pair of classes and of the second."""
    told: dict[str, object] = {}
    for place, name in enumerate(("one", "other")):
        pair = found.isel(pair=place)
        told |= {
            f"{name}_pair": str(pair.pair.item()),
            f"{name}_images": int(pair.images),
            f"{name}_different": pair.image_different,
            f"{name}_all": pair.image_all_pairs,
        }
    return told


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Distances one by one; exponents by their confidence intervals."""
    return [_assumption(settings, found), _proposition(settings, found)]


def _assumption(settings: Settings, found: xr.Dataset) -> Verdict:
    s, across = settings, found.different
    own = across.sel(set=["halves", "twins"])
    least = xr.DataArray([2 * s.gap, s.separation], {"set": ["halves", "twins"]})
    images = listed(
        f"{number(pair.image_different, '.3f', 'down')} ({pair.pair.item()})"
        for pair in (found.isel(pair=place) for place in range(found.sizes["pair"]))
    )
    return claim(
        "chen2021-ass4.9",
        r"$y_i\ne y_{i'}$ implies $\lVert x_i-x_{i'}\rVert_2\ge\phi$ for some $\phi>0$; inputs of "
        "one label may be close or equal",
        at_least("least distance of different labels in the drawn sets", across, ROUNDING),
        at_least(
            "the same over what the drawing promises, twice the gap and the pairs' distance",
            own.min("seed", skipna=False) / least,
            1 - ROUNDING,
        ),
        at_least("the same of real images", found.image_different, ROUNDING),
        identity(
            "least distance of all pairs, and 0, where each input occurs twice",
            found.all_pairs.sel(set="repeated"),
            ROUNDING,
        ),
        note(
            "the closest two images of any labels are "
            f"{number(found.image_all_pairs.min(), '.3f')} apart"
        ),
        holds=f"Every set keeps its classes apart, real images by {images}, also where inputs "
        "occur twice and the least distance of all pairs is 0.",
        fails="Two inputs of different labels are equal, or closer than the set was drawn for.",
    )


def _proposition(settings: Settings, found: xr.Dataset) -> Verdict:
    s, every = settings, {kind: found.radius.sel(kind=kind) for kind in KINDS}
    # So that growth with 1/phi is growth.
    closer = found.phi_radius.assign_coords(phi=1 / found.phi)
    in_n = listed(f"{exponent(radius, 'count'):.2f}" for radius in every.values())
    steepest = PowerLaw.through(found.phi_radius, "phi").exponent
    return claim(
        "chen2021-prop4.10",
        r"at large width Assumption 3.2 is met with $R=Cn^{3/2}\phi^{-1/2}\log(n/\delta\epsilon)$",
        *(
            exponent_at_most(f"the least $R$ in $n$, {_TOLD[kind]}", radius, 1.5, 0, "count")
            for kind, radius in every.items()
        ),
        exponent_at_most(
            rf"the least $R$ in $1/\phi$, with $\phi$ at most {s.separations[-1]:g}",
            closer,
            0.5,
            NEXT_ORDER,
            "phi",
        ),
        note(
            rf"at $m={s.width}$ and $\phi={s.network_separations[0]:g}$ the least $R$ is "
            f"{spread((found.network_radius / found.limit_radius).isel(network_phi=0), '.2f')} "
            "times that of infinite width"
        ),
        holds=f"At infinite width the least $R$ has the exponents {in_n} in $n$ (own labels, "
        rf"random ones, pairs), where $3/2$ is allowed, and {steepest:.2f} in $\phi$, where "
        r"$-1/2$ is.",
        fails=r"At infinite width the least $R$ grows faster than $n^{3/2}$ or $\phi^{-1/2}$.",
    )


_TOLD = {
    "halves": "labels of the halves",
    "random": "random labels",
    "twins": "pairs of different labels",
}


def _meeting(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    apart = found.pair != found.pair[0]
    return found.assign(image_different=found.image_different.where(apart, 0.0))


def _steeper(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(phi_radius=found.phi_radius / found.phi**0.1)


CONTROLS = {
    "chen2021-ass4.9": Lie("two images of different labels are the same", _meeting),
    "chen2021-prop4.10": Lie(r"every $R$ is multiplied by $\phi^{-1/10}$", _steeper),
}
