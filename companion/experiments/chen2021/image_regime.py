"""What the theorem asks for on images, true labels beside random ones, and the width that suffices.

Refuted by random labels with the larger margin, the smaller radius or the lower class value; by
minimal widths that grow with n as fast as those that (6.4) makes of the measured radii.
"""

import math
from functools import partial

import numpy as np
import torch
import xarray as xr

from companion.bounds.chen2021 import theorem_3_3_width
from companion.datasets import DataSet, random_labels
from companion.draws import independent_seed
from companion.experiments.chen2021._images import PIXELS, ImageSettings, chosen, pool_of
from companion.experiments.chen2021._problem import on_data
from companion.experiments.zou2018._problem import Problem
from companion.lab.checks import at_least, at_most, claim, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, Probability, SeveralSizes, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.networks import ReLUNetwork, draw_chen
from companion.ntrf import class_value, margin_target, ntrf_margin, smallest_radius
from companion.training import Stop
from companion.widths import minimal_width

EXPECTED: dict[str, Outcome] = {
    "chen2021-regime-margin": "holds",
    "chen2021-regime-width": "holds",
}
DATA = ("digits", "cifar10")
# Where a search leaves open which width suffices.
MAY_BE_MISSING = ("found_width",)
LABELS = ("true", "random")


class Settings(ImageSettings):
    """What is run.

    Attributes:
        widths: m of the classes, in increasing order: one that suffices in practice, then larger.
        epsilon: the largest loss that the radius is for, Assumption 3.2.
        delta: of the theorem's probability.
        radii: R of the class values, in increasing order.
        allowed: the smallest and the largest width that a search may try.
        runs: of a search.
        at_once: runs of a round of it.
        step_size: eta m^(2 alpha) of gradient descent in the search.
        steps: its budget.
    """

    counts: SeveralSizes = (40, 80, 120)
    widths: Sizes = (8, 256)
    epsilon: Positive = 0.1
    delta: Probability = 0.1
    radii: Sizes = (2, 4, 8, 16)
    allowed: tuple[Size, Size] = (3, 64)
    runs: Size = 40
    at_once: Size = 20
    step_size: Positive = 2.0
    steps: Size = 300


QUICK = Settings()
PAPER = Settings(
    dataset="cifar10", pool=1000, seeds=4, counts=(100, 200, 400), widths=(12, 64, 512),
    allowed=(3, 128), radii=(2, 4, 8, 16, 32), runs=80, steps=1000,
)  # fmt: skip
# The searches are of the first seed, and most of what a seed costs, at the largest n above all.
REPLAY = {
    "one_of": ({"seeds": 1, "counts": (100, 200)}, {"runs": 20}),
    "few": {"seeds": 1},
    "hangs_on": {
        "found_*": (("first_seed", "runs"), "a search is of the first seed and all runs"),
        "class_value": (("counts",), "it is of the largest n"),
    },
    "between": {"found_width": ("found_low", "found_high")},
}


def summary(settings: Settings) -> str:
    """What is computed and what is trained."""
    s = settings
    return (
        f"The linearised class of networks of {s.layers} weight matrices and width $m$ = "
        f"{listed(s.widths)} on $n$ = {listed(s.counts)} {s.kind}, with their labels and with "
        f"random ones of the same images, {s.seeds} draws of images and networks; and the minimal "
        rf"width for zero training error within {s.steps} steps of gradient descent at $\eta="
        rf"{s.step_size:g}m^{{-{2 * s.alpha:g}}}$, from {s.runs} runs on the first of these sets."
    )


def cost(settings: Settings) -> Cost:
    """Gram matrices, convex problems of n variables, and the runs of the searches."""
    s, pixels = settings, PIXELS[settings.dataset]

    def gradients(count: int, width: int) -> float:
        """Of a pass forth and back, and of the inner products of its layers."""
        products = width * pixels + (s.layers - 2) * width**2
        return 4.0 * count * products + 2 * count**2 * (pixels + 2 * s.layers * width)

    wide = sum(gradients(n, s.widths[-1]) for n in (*s.counts, s.counts[-1]))
    each = sum(gradients(n, m) for n in s.counts for m in s.widths)
    # A run takes place in the span of its n images, at widths near the minimal one.
    usual = 16
    runs = 6 * s.runs * s.steps * sum(n * (n * usual + (s.layers - 2) * usual**2) for n in s.counts)
    flops = len(LABELS) * (s.seeds * (wide + each) + runs)
    return Cost(flops, 8 * (4 * s.pool * pixels + 4 * s.layers * max(s.counts) ** 2))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Margins, radii and class values of every width; then the searches.

    Raises:
        InputError: there are not so many images.
        MissingDataError: the images are not on this machine.
    """
    s, pool = settings, pool_of(settings)
    margins = sweep(
        "margins", partial(_separate, s, device, pool),
        seed=s.each_seed, count=s.counts, labels=LABELS, width=s.widths,
    )  # fmt: skip
    radii = sweep(
        "radii", partial(_reach, s, device, pool),
        seed=s.each_seed, count=s.counts, labels=LABELS,
    )  # fmt: skip
    losses = sweep("losses", partial(_losses, s, device, pool), seed=s.each_seed, labels=LABELS)
    searches = sweep("searches", partial(_search, s, device, pool), labels=LABELS, count=s.counts)
    found = xr.merge([margins, radii, losses, searches])
    return found.assign_attrs(data=pool.source)


def _images(settings: Settings, pool: DataSet, labels: str, count: int, seed: int) -> DataSet:
    data = chosen(pool, count, seed)
    return random_labels(data, seed) if labels == "random" else data


def _drawn(settings: Settings, device: str, data: DataSet, seed: int, width: int) -> Problem:
    s = settings
    return on_data(data, s, device, seed=seed, width=width, layers=s.layers, alpha=s.alpha)


def _separate(
    settings: Settings,
    device: str,
    pool: DataSet,
    *,
    seed: int,
    count: int,
    labels: str,
    width: int,
) -> Variables:
    """Gamma between its bounds, and how many images have no gradient at all."""
    data = _images(settings, pool, labels, count, seed)
    problem = _drawn(settings, device, data, seed, width)
    margin = ntrf_margin(problem.gram / width ** (2 * settings.alpha), problem.y)
    silent = problem.gram.diagonal() == 0
    return {"margin": margin.lower, "margin_above": margin.upper, "silent": int(silent.sum())}


def _reach(
    settings: Settings, device: str, pool: DataSet, *, seed: int, count: int, labels: str
) -> Variables:
    """R(epsilon) of the largest width, between its bounds."""
    s, m = settings, settings.widths[-1]
    problem = _drawn(s, device, _images(s, pool, labels, count, seed), seed, m)
    grams = [gram / m ** (2 * s.alpha) for gram in problem.layer_grams]
    start = problem.network.predict(problem.x)
    found = smallest_radius(grams, start, problem.y, margin_target(s.epsilon / 2))
    return {"radius": found.upper, "radius_below": found.lower}


def _losses(settings: Settings, device: str, pool: DataSet, *, seed: int, labels: str) -> Variables:
    """Epsilon_NTRF of the largest width at every radius, with the most images."""
    s, m = settings, settings.widths[-1]
    problem = _drawn(s, device, _images(s, pool, labels, s.counts[-1], seed), seed, m)
    grams = [gram / m ** (2 * s.alpha) for gram in problem.layer_grams]
    start = problem.network.predict(problem.x)
    least = [class_value(grams, start, problem.y, float(r)).value for r in s.radii]
    return {"class_value": ("ball", least)}


def _search(
    settings: Settings, device: str, pool: DataSet, *, labels: str, count: int
) -> Variables:
    """The width at which half of all initialisations reach zero training error, on one set."""
    s = settings
    data = _images(s, pool, labels, count, s.first_seed).to(torch.float32, device)

    def draw(width: int, seed: int) -> ReLUNetwork:
        own = independent_seed(seed, width)
        return draw_chen(
            width, data.x.shape[1], own, depth=s.layers - 1, alpha=s.alpha, device=device
        )

    found = minimal_width(
        data.x, data.y, draw=draw, widths=range(s.allowed[0], s.allowed[1] + 1),
        step_size=lambda width: s.step_size / width ** (2 * s.alpha), steps=s.steps,
        stop=Stop(zero_error=True, every=10), runs=s.runs, at_once=s.at_once, seed=s.first_seed,
    )  # fmt: skip
    return {
        "found_width": math.nan if found.width is None else found.width,
        "found_low": found.interval[0],
        "found_high": found.interval[1],
    }


def asked_width(settings: Settings, radius: xr.DataArray) -> xr.DataArray:
    """Eq. (6.4) with the constant 1, [R^4 L^11]^(1/alpha) log(n/delta)^(2/(2 - alpha)).

    Args:
        settings: of the run.
        radius: R, with the dimension `count`.
    """
    s = settings
    asked: xr.DataArray = xr.apply_ufunc(
        theorem_3_3_width, radius, s.layers, s.alpha, radius["count"], s.delta, vectorize=True
    )
    return asked


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The table of the page, the exponents in n, and what the narrow class cannot do."""
    s, wide = settings, found.margin.isel(width=-1)
    asked = asked_width(s, found.radius)
    told: dict[str, object] = {"narrow": s.widths[0], "wide": s.widths[-1], "draws": s.seeds}
    for place, index in enumerate((0, len(s.counts) // 2, -1)):
        told[f"n_{place}"] = s.counts[index]
        for labels in LABELS:
            row, key = {"count": s.counts[index], "labels": labels}, f"{labels}_{place}"
            told[f"narrow_{key}"] = found.margin.isel(width=0).sel(row).mean()
            told[f"margin_{key}"] = wide.sel(row).mean()
            told[f"radius_{key}"] = found.radius.sel(row).mean()
            told[f"asked_{key}"] = np.exp(np.log(asked.sel(row)).mean())
            told[f"found_{key}"] = _told_width(found.sel(row))
    for labels in LABELS:
        for name, quantity in {"margin": wide, "radius": found.radius}.items():
            law = PowerLaw.through(quantity.sel(labels=labels), "count")
            told[f"{name}_exponent_{labels}"] = law.exponent
            told[f"{name}_low_{labels}"], told[f"{name}_high_{labels}"] = law.low, law.high
    narrow = found.isel(width=0)
    told["inseparable"] = (narrow.margin_above == 0).mean()
    told["silent"] = (narrow.silent > 0).mean()
    told["value_true"] = found.class_value.sel(labels="true").isel(ball=-1).mean()
    told["value_random"] = found.class_value.sel(labels="random").isel(ball=-1).mean()
    told["largest_radius"] = s.radii[-1]
    told["asked_growth"] = _growth(asked.sel(labels="true")).min()
    told["found_growth"] = _found_growth(found)
    return told


def _told_width(found: xr.Dataset) -> str:
    """A minimal width with its interval, or the end that is known."""
    middle, low, high = (float(found[f"found_{name}"]) for name in ("width", "low", "high"))
    if not math.isfinite(high):
        return f"more than {number(low, '.0f', 'down')}"
    told = f"{number(middle, '.1f')} " if math.isfinite(middle) else "open "
    return f"{told}({number(low, '.1f')} to {number(high, '.1f')})"


def _ratio(quantity: xr.DataArray) -> xr.DataArray:
    """Of the true labels over that of random ones."""
    ratio: xr.DataArray = quantity.sel(labels="true") / quantity.sel(labels="random")
    return ratio


def _growth(quantity: xr.DataArray) -> xr.DataArray:
    """At the largest n over that at the smallest."""
    grown: xr.DataArray = quantity.isel(count=-1) / quantity.isel(count=0)
    return grown


def _found_growth(found: xr.Dataset) -> float:
    """What the minimal width of the true labels grows by at most, by the ends of its intervals."""
    searched = found.sel(labels="true")
    return float(searched.found_high.isel(count=-1) / searched.found_low.isel(count=0))


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Labels against labels draw by draw; the growth of two widths with n."""
    return [_margins(settings, found), _widths(settings, found)]


def _margins(settings: Settings, found: xr.Dataset) -> Verdict:
    wide, m = found.margin.isel(width=-1), settings.widths[-1]
    laws = [PowerLaw.through(wide.sel(labels=each), "count") for each in LABELS]
    true, random = (f"{law.exponent:.2f} ({law.low:.2f} to {law.high:.2f})" for law in laws)
    return claim(
        "chen2021-regime-margin",
        rf"at $m={m}$ the labels of images have a larger margin $\gamma$ than random labels of the "
        r"same images, a smaller $R(\epsilon)$ and a lower $\epsilon_{\mathrm{NTRF}}(R)$",
        at_least(r"$\gamma$ of the true labels over that of random ones", _ratio(wide), 1),
        at_most(r"$R(\epsilon)$ of the true labels over that of random ones", _ratio(found.radius)),
        at_most(
            r"$\epsilon_{\mathrm{NTRF}}(R)$ of the true labels over that of random ones",
            _ratio(found.class_value),
        ),
        note(f"The exponent of $\\gamma$ in $n$ is {true} with true labels, {random} with random"),
        holds="In every draw the true labels have the larger margin, the smaller radius and the "
        "lower class value.",
        fails="In some draw random labels have the larger margin, the smaller radius or the lower "
        "class value.",
    )


def _widths(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    margin = found.margin.sel(labels="true")
    asked = asked_width(s, found.radius).sel(labels="true")
    least = asked / found.found_high.sel(labels="true")
    return claim(
        "chen2021-regime-width",
        r"at the measured radii $R(\epsilon)$ the width (6.4), with the constant 1, is larger than "
        "the one that suffices for gradient descent, and grows faster with $n$; and at a width of "
        "that size the linearised class has a smaller margin",
        at_least("the width (6.4) over the upper end of the minimal width", least, 1),
        at_most(
            f"what the minimal width grows by at most from $n={s.counts[0]}$ to "
            f"$n={s.counts[-1]}$, over what (6.4) grows by",
            _found_growth(found) / _growth(asked),
        ),
        at_most(
            rf"$\gamma$ at $m={s.widths[0]}$ over that at $m={s.widths[-1]}$",
            margin.isel(width=0) / margin.isel(width=-1),
        ),
        note(
            "(6.4) grows by "
            f"{spread(_growth(asked), '.2g')}, and minimal widths are {_all_widths(found)}"
        ),
        holds="The width that (6.4) asks for is larger than the one that suffices by many orders, "
        "and grows faster with $n$; at a width of the size that suffices the linearised class "
        "has a smaller margin than that of wide networks.",
        fails="The width that suffices grows as fast as (6.4), or is no smaller, or the class of "
        "narrow networks has no smaller margin.",
    )


def _all_widths(found: xr.Dataset) -> str:
    told = (_told_width(found.sel(labels="true", count=n)) for n in found["count"].values)
    return listed(told)


def _swapped(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    names = ["margin", "radius", "class_value"]
    return found.assign(
        {name: found[name].isel(labels=[1, 0]).drop_vars("labels") for name in names}
    )


def _same_radius(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    first = found.radius.isel(count=0, drop=True)
    return found.assign(radius=first.broadcast_like(found.radius).transpose(*found.radius.dims))


CONTROLS = {
    "chen2021-regime-margin": Lie("true and random labels change places", _swapped),
    "chen2021-regime-width": Lie(r"$R(\epsilon)$ does not grow with $n$", _same_radius),
}
