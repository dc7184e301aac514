"""Deep networks on images of two classes, the runs behind Figures 1-3 of Zou et al. (2020)."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import AfterValidator

from companion.datasets import DataSet, with_bias
from companion.experiments.zou2018._problem import on_data
from companion.experiments.zou2020._readings import READINGS, common_level, compared, reading_steps
from companion.images import cifar10, mnist
from companion.lab.checks import (
    claim,
    exponent_at_most,
    note,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw, exponent
from companion.lab.results import Check, Verdict
from companion.lab.settings import Positive, SeededSettings, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import (
    Distances,
    Every,
    PatternDifference,
    Record,
    mean_loss,
    training_error,
)

VARIANTS = ("other step size", "other mu")


def _even(widths: tuple[int, ...]) -> tuple[int, ...]:
    if any(width % 2 for width in widths):
        raise ValueError("widths must be even, as half of the output weights are +1")
    return widths


# Images of the two classes that the paper's sections name, and pixels of each.
SIZES = {"digits": (9_943, 784), "cifar10": (7_981, 3_072)}
KINDS = {"digits": "handwritten digits 3 and 8", "cifar10": "photographs of cats and ships"}
SPLITS = {
    "digits": "all digits 3 and 8 among the first 50,000 training images of MNIST",
    "cifar10": "all cats and ships in the first four batches of CIFAR-10",
}


class ImageSettings(SeededSettings):
    """What is run; depth and loss are the paper's, which states no width, step size or step count.

    Attributes:
        dataset: which images.
        per_class: images of each class; None for all of the split that the paper's count names.
        depth: hidden layers, all of them trained.
        widths: m of every layer, even, in increasing order. The widest, which costs more than all
            others together, is run as stated only, and not with the second step size and mu.
        step_size: eta, one for all widths.
        other_step_size: a second one, to see what hangs on the choice.
        mu: the constant last coordinate of the inputs, Assumption 4.1.
        other_mu: a second one.
        steps: of full-batch gradient descent on the cross-entropy.
        every: distances and patterns are looked at every so many steps.
    """

    dtype: Literal["float32", "float64"] = "float32"
    dataset: Literal["digits", "cifar10"] = "digits"
    per_class: Size | None = None
    depth: Size = 15
    widths: Annotated[SeveralSizes, AfterValidator(_even)] = (100, 200, 400, 800)
    step_size: Positive = 0.001
    other_step_size: Positive = 0.002
    mu: Share = 0.1
    other_mu: Share = 0.5
    steps: Size = 400
    every: Size = 10


def summary(settings: ImageSettings) -> str:
    """Which images, and what is run on them."""
    s = settings
    some = f"{s.per_class} of each kind of {KINDS[s.dataset]}"
    images = SPLITS[s.dataset] if s.per_class is None else some
    return (
        f"{s.steps} steps of full-batch gradient descent on the cross-entropy of {images}, with "
        f"networks of {s.depth} hidden layers of $m=$ {listed(s.widths)} units, "
        rf"{s.seeds} of each width, all with one step size, $\eta={s.step_size:g}$; and one of "
        rf"each but the widest with $\eta={s.other_step_size:g}$ and with $\mu={s.other_mu:g}$ in "
        rf"place of $\mu={s.mu:g}$."
    )


def cost(settings: ImageSettings) -> Cost:
    """Three products a layer and step; outputs, patterns at the start, signals and weights."""
    s = settings
    count, pixels = SIZES[s.dataset]
    if s.per_class is not None:
        count = 2 * s.per_class
    products = [(pixels + 1) * m + (s.depth - 1) * m**2 for m in s.widths]
    runs = s.seeds * sum(products) + len(VARIANTS) * sum(products[:-1])
    widest = max(s.widths)
    numbers = count * (pixels + 1 + widest * (s.depth + 2)) + 3 * s.depth * widest**2
    flops = 6.0 * s.steps * count * runs
    size = 4 if s.dtype == "float32" else 8
    # The images are scaled in float64.
    return Cost(flops, size * numbers + count * (widest * s.depth + 3 * 8 * pixels))


def run(settings: ImageSettings, device: str) -> xr.Dataset:
    """Train every width from every seed; from the first also with another step size and mu.

    Raises:
        InputError: there are not so many images.
        MissingDataError: the images are not on this machine.
    """
    s, data = settings, images(settings)
    train = partial(_train, s, device, data, s.step_size, s.mu)
    runs = sweep("runs", train, seed=s.each_seed, width=s.widths)
    vary = partial(_vary, s, device, data)
    others = sweep("others", vary, variant=VARIANTS, narrower=s.widths[:-1])
    found = runs.merge(others.rename({name: f"other_{name}" for name in others.data_vars}))
    looks = [*range(0, s.steps, s.every), s.steps]
    return found.assign(looks=("look", looks)).assign_attrs(data=data.source)


def images(settings: ImageSettings) -> DataSet:
    """The two classes, of unit norm, without the bias coordinate."""
    if settings.dataset == "digits":
        return mnist(per_class=settings.per_class)
    return cifar10(per_class=settings.per_class)


def _vary(
    settings: ImageSettings, device: str, data: DataSet, *, variant: str, narrower: int
) -> Variables:
    """One run from the first seed with one setting replaced."""
    s = settings
    step_size, mu = {
        "other step size": (s.other_step_size, s.mu),
        "other mu": (s.step_size, s.other_mu),
    }[variant]
    return _train(s, device, data, step_size, mu, seed=s.first_seed, width=narrower)


def _train(
    settings: ImageSettings,
    device: str,
    data: DataSet,
    step_size: float,
    mu: float,
    *,
    seed: int,
    width: int,
) -> Variables:
    """Loss at every step; error, distances and flips at every look."""
    s = settings
    biased = DataSet(with_bias(data.x, mu), data.y, data.source)
    problem = on_data(biased, s, device, seed=seed, width=width, depth=s.depth)
    record: Record = {
        "loss": mean_loss,
        "error": Every(s.every, training_error),
        "distance": Every(s.every, Distances()),
        "flips": Every(s.every, PatternDifference()),
    }
    history = problem.train(step_size, s.steps, record).stable()
    frobenius, lower, upper = np.moveaxis(history["distance"], -1, 0)
    return {
        "loss": ("step", history["loss"]),
        "error": ("look", history["error"]),
        "frobenius": (("look", "layer"), frobenius),
        "spectral": (("look", "layer"), lower),
        "spectral_bound": (("look", "layer"), upper),
        "flips": (("look", "layer"), history["flips"]),
    }


def values_of(settings: ImageSettings, found: xr.Dataset) -> Values:
    """Where the runs end, and what the widths change in each reading."""
    s, last = settings, {"look": -1}
    steps = reading_steps(found).sel(reading="loss")
    told: dict[str, object] = {
        "narrowest": s.widths[0],
        "widest": s.widths[-1],
        "level": common_level(found),
        "loss_narrow": found.loss.isel(step=-1, width=0).mean(),
        "loss_wide": found.loss.isel(step=-1, width=-1).mean(),
        "error_narrow": found.error.isel(width=0, **last).mean(),
        "error_wide": found.error.isel(width=-1, **last).mean(),
        "steps_exponent": PowerLaw.through(steps).exponent,
        "steps_low": PowerLaw.through(steps).low,
        "steps_high": PowerLaw.through(steps).high,
        "steps_narrow": steps.isel(width=0).mean(),
        "steps_wide": steps.isel(width=-1).mean(),
        "bound_gap": (found.spectral_bound / found.spectral).isel(**last).max(),
        "rises": rises(found),
    }
    for name, quantity in quantities(found).items():
        read = compared(found, quantity)
        for reading in READINGS:
            law = PowerLaw.through(read.sel(reading=reading))
            key = f"{name}_{reading.replace(' ', '_')}"
            told |= {key: law.exponent, f"{key}_low": law.low, f"{key}_high": law.high}
        told[f"{name}_early"] = at_tenths(found, quantity)[0].exponent
    return told


def rises(found: xr.Dataset) -> str:
    """Which steps raise the loss, in words: gradient descent is stable where none does."""
    changes = found.loss.diff("step", label="upper") / found.loss.isel(step=0)
    highest = changes.max(["seed", "step"])
    unstable = found.width[highest.values > 0]
    if not unstable.size:
        return "every step lowers the loss"
    first = 1 + int((changes > 0).any(["seed", "width"]).argmax("step"))
    return (
        f"from step {first} on some steps raise the loss at $m$ = {listed(unstable.values)}, by up "
        f"to {number(float(highest.max()), '.1%', 'up')} of its start"
    )


def quantities(found: xr.Dataset) -> Mapping[str, xr.DataArray]:
    """What Figures 2 and 3 may mean, the layers taken together.

    The largest spectral distance of a layer, which is the paper's ball; the Frobenius distance of
    all layers together; the share of all activations that differ.
    """
    return {
        "spectral": found.spectral.max("layer"),
        "frobenius": (found.frobenius**2).sum("layer") ** 0.5,
        "flips": found.flips.mean("layer"),
    }


def variant(found: xr.Dataset, name: str) -> xr.Dataset:
    """The runs with another setting, all but the widest, as if they were the runs."""
    names = {key: str(key).removeprefix("other_") for key in found if "variant" in found[key].dims}
    chosen = found[list(names)].sel(variant=name).drop_vars("variant")
    chosen = chosen.rename({**names, "narrower": "width"})
    return chosen.expand_dims("seed").assign(looks=found.looks)


def verdicts(settings: ImageSettings, found: xr.Dataset, panel: str) -> list[Verdict]:
    """The figures in the readings that can be meant.

    Args:
        settings: of the run.
        found: by it.
        panel: what is appended to the claims' names: nothing, or `-cifar10`.
    """
    distances = ("spectral", "frobenius")
    return [
        _faster(found, f"zou2020-fig1{panel}"),
        _at_equal_loss(found, f"zou2020-fig2{panel}", CLOSER, distances),
        _along_the_run(found, f"zou2020-fig2-iteration{panel}", CLOSER, distances),
        _at_equal_loss(found, f"zou2020-fig3{panel}", STEADIER, ("flips",)),
        _along_the_run(found, f"zou2020-fig3-iteration{panel}", STEADIER, ("flips",)),
    ]


WORDS = {
    "spectral": "the largest spectral distance of a layer from initialisation",
    "frobenius": "the Frobenius distance of all layers from initialisation",
    "flips": "the share of the activations that differ from initialisation",
}
CLOSER = "are closer to initialisation"
STEADIER = "have fewer activations changed"
# The exponent in m of what just counts as falling: ten times the width take a fifth off it.
SLOWEST = -0.1


def _faster(found: xr.Dataset, identifier: str) -> Verdict:
    """Figure 1: does the loss at the last step fall with the width?"""
    ends = found.loss.isel(step=-1)
    others = (variant(found, name).loss.isel(step=-1) for name in VARIANTS)
    return claim(
        identifier,
        r"at one step size $\eta$ for all widths, wider networks have the lower training loss",
        exponent_at_most("the training loss at the last step, in $m$", ends, SLOWEST, 0),
        _with_other_settings(others),
        holds="At one step size wider networks train faster.",
        fails="At one step size wider networks do not train faster.",
    )


def _with_other_settings(samples: Iterable[xr.DataArray]) -> Check:
    """The exponents in the width with the other step size and the other mu, of one run each."""
    told = (
        f"{'unknown' if math.isnan(power) else f'{power:.2f}'} with the {name}"
        for name, power in zip(VARIANTS, map(exponent, samples), strict=True)
    )
    return note(f"From one seed the exponent is {listed(told)}")


def _at_equal_loss(found: xr.Dataset, identifier: str, what: str, names: Sequence[str]) -> Verdict:
    """Figures 2 and 3: do wider networks change less on the way to one level of the loss?"""
    checks = []
    for name in names:
        read, *others = (
            compared(runs, quantities(runs)[name]).sel(reading="loss")
            for runs in (found, *(variant(found, each) for each in VARIANTS))
        )
        checks.append(exponent_at_most(f"{WORDS[name]}, in $m$", read, SLOWEST, 0))
        checks.append(_with_other_settings(others))
    where = "where the training loss reaches the lowest level that all reach"
    return claim(
        identifier,
        f"wider networks {what}, {where}",
        *checks,
        holds=f"Wider networks {what}, {where}.",
        fails=f"It is not so that wider networks {what}, {where}.",
    )


def _along_the_run(found: xr.Dataset, identifier: str, what: str, names: Sequence[str]) -> Verdict:
    """The same, as the paper draws them: at the same iteration, all along the run."""
    where = "at the same iteration, all along the run"
    return claim(
        identifier,
        f"wider networks {what} {where}",
        *(_at_each_tenth(WORDS[name], found, quantities(found)[name]) for name in names),
        holds=f"Wider networks {what} {where}.",
        fails=f"It is not so that wider networks {what} {where}: early in the run they have come "
        "further than narrow ones.",
    )


def at_tenths(found: xr.Dataset, quantity: xr.DataArray) -> list[PowerLaw]:
    """The power law in the width at each tenth of the run, from the first to the last."""
    last = found.sizes["step"] - 1
    after_start = found.looks.values[1:]  # at initialisation nothing has changed
    places = sorted({1 + int(np.abs(after_start - last * k / 10).argmin()) for k in range(1, 11)})
    return [PowerLaw.through(quantity.isel(look=place)) for place in places]


def _at_each_tenth(what: str, found: xr.Dataset, quantity: xr.DataArray) -> Check:
    """Whether a quantity falls with the width at each tenth of the run."""
    laws = at_tenths(found, quantity)
    yes, no = all(law.high <= SLOWEST for law in laws), any(law.low > SLOWEST for law in laws)
    first, last = laws[0], laws[-1]
    worst = max(law.high for law in laws)
    return Check(
        "yes" if yes else "no" if no else "unclear",
        f"the exponent of {what} in $m$ at each tenth of the run",
        f"{first.exponent:.2f} ({first.low:.2f} to {first.high:.2f}) at the first, "
        f"{last.exponent:.2f} ({last.low:.2f} to {last.high:.2f}) at the last",
        f"at most {SLOWEST}, with all of each interval",
        f"exponents up to {worst:.2f} would pass" if yes else "",
    )


def controls(panel: str) -> dict[str, Lie]:
    """A lie for each claim, in every run; argument as of `verdicts`."""
    moved = ("spectral", "frobenius")
    return {
        f"zou2020-fig1{panel}": Lie("every width has the loss of the narrowest", _alike),
        f"zou2020-fig2{panel}": Lie("distances are multiplied by $m/m_0$", _scaled(moved, 1)),
        f"zou2020-fig2-iteration{panel}": Lie(
            "distances are divided by $(m/m_0)^2$", _scaled(moved, -2)
        ),
        f"zou2020-fig3{panel}": Lie("shares are multiplied by $m/m_0$", _scaled(("flips",), 1)),
        f"zou2020-fig3-iteration{panel}": Lie(
            "shares are divided by $(m/m_0)^2$", _scaled(("flips",), -2)
        ),
    }


def _alike(settings: ImageSettings, found: xr.Dataset) -> xr.Dataset:
    widths = {"loss": "width", "other_loss": "narrower"}
    return found.assign(
        {key: found[key].where(False, found[key].isel({w: 0})) for key, w in widths.items()}
    )


def _scaled(
    names: tuple[str, ...], power: float
) -> Callable[[ImageSettings, xr.Dataset], xr.Dataset]:
    """Quantities of every run times a power of the width over the narrowest."""

    def told(settings: ImageSettings, found: xr.Dataset) -> xr.Dataset:
        factors = {
            prefix: (found[widths] / found[widths][0]) ** power
            for prefix, widths in (("", "width"), ("other_", "narrower"))
        }
        return found.assign(
            {
                f"{prefix}{name}": found[f"{prefix}{name}"] * factor
                for name in names
                for prefix, factor in factors.items()
            }
        )

    return told
