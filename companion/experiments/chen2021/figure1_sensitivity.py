"""What the minimal width at one n owes to the budget that it is measured in.

Refuted by a width that is the same within an eighth of the budget.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import AfterValidator, Field

from companion.datasets import DataSet
from companion.experiments.chen2021 import _searches
from companion.experiments.chen2021._problem import Exponent
from companion.experiments.chen2021._searches import (
    Pairs,
    SearchSettings,
    Training,
    epochs_to_success,
    photographs,
    standardised,
)
from companion.lab.checks import claim, note, slack_factor
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Positive, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed
from companion.widths.curve import Tally, fit, interval

EXPECTED: dict[str, Outcome] = {"chen2021-fig1-budget": "holds"}
DATA = "cifar10"
# NaN: a run without success; a budget within which no width between the ends is found.
MAY_BE_MISSING = ("epochs", "width")
# The main reading, and one thing replaced at a time.
MAIN = "main reading"
CHOICES = (
    MAIN, "smaller steps", "larger steps", "standardised pixels", "other images",
    "smaller batches", "smaller alpha", "gradient descent", "Adam",
)  # fmt: skip
# Of the whole budget, at which the minimal width is told.
SHARES = tuple(2 ** (-k / 2) for k in range(10, -1, -1))
# The one that is judged: an eighth.
EARLY = SHARES[4]
# The least factor between two widths that a reader of a published one has to care for.
MATTERS = 1.2


def _unhurried(settings: "Settings", found: xr.Dataset) -> xr.Dataset:
    ends = {name: found[name].isel(share=-1) for name in ("width", "low", "high")}
    return found.assign({name: found[name].fillna(0) * 0 + end for name, end in ends.items()})


def _one(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if len(pairs) != 1:
        raise ValueError("one pair of classes is needed, such as [cat, ship]")
    return pairs


def _known(choices: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [choice for choice in choices if choice not in CHOICES]
    if unknown or choices[0] != MAIN or len(set(choices)) < len(choices):
        raise ValueError(f"choices are {MAIN}, which comes first, and any of {listed(CHOICES[1:])}")
    return choices


class Settings(SearchSettings):
    """What is run, all of it at one n; every width of `tried` with every seed.

    Attributes:
        classes: a pair of CIFAR-10's classes.
        count: n, even, half of each class.
        widths: m, in increasing order.
        choices: what is run, the main reading first.
        step_size: of mini-batch SGD, the main reading.
        epochs: the largest budget.
        small_step_size: the smaller choice.
        large_step_size: the larger choice.
        gd_step_size: the c of full-batch gradient descent with eta = c / (L m^(2 alpha)).
        gd_steps: its largest budget.
        adam_step_size: of Adam on mini-batches, with the epochs of the main reading.
        small_batch: examples in a step, the smaller choice.
        small_alpha: the smaller choice.
    """

    classes: Annotated[Pairs, AfterValidator(_one)] = (("cat", "ship"),)
    count: Annotated[Count, Field(multiple_of=2)] = 400
    widths: Annotated[Sizes, Field(min_length=2)] = (4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 34, 48)
    choices: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known)] = CHOICES
    seeds: Size = 20
    step_size: Positive = 0.1
    epochs: Size = 2000
    small_step_size: Positive = 0.025
    large_step_size: Positive = 0.2
    gd_step_size: Positive = 5.0
    gd_steps: Size = 16_000
    adam_step_size: Positive = 0.001
    small_batch: Size = 16
    small_alpha: Exponent = 0.25

    def training(self, choice: str) -> Training:
        """How runs are trained; the images may be others, too."""
        s = self
        main = Training("sgd", s.step_size, s.epochs, s.batch, s.alpha)
        changes: dict[str, dict[str, object]] = {
            "smaller steps": {"step_size": s.small_step_size},
            "larger steps": {"step_size": s.large_step_size},
            "smaller batches": {"batch": s.small_batch},
            "smaller alpha": {"alpha": s.small_alpha},
            "gradient descent": {
                "optimiser": "gd", "step_size": s.gd_step_size, "epochs": s.gd_steps,
            },
            "Adam": {"optimiser": "adam", "step_size": s.adam_step_size},
        }  # fmt: skip
        return dataclasses.replace(main, **changes.get(choice, {}))  # type: ignore[arg-type]


QUICK = Settings(
    count=100, widths=(4, 5, 6, 8, 11, 16, 23, 32), seeds=10, epochs=1000,
    choices=(MAIN, "standardised pixels", "larger steps"),
)  # fmt: skip
PAPER = Settings()
CONTROLS = {"chen2021-fig1-budget": Lie("all budgets have the width of the largest", _unhurried)}

# The budgets within an eighth of the largest are those of shares of the whole, too.
REPLAY = {
    "one_of": (
        {"choices": ("main reading",), "epochs": 250},
        {"choices": ("larger steps",), "epochs": 250},
        {"choices": ("standardised pixels",), "epochs": 250},
        {"choices": ("other images",), "epochs": 250},
    ),
    "places": {"share": "budget"},
    "between": {"width": ("low", "high")},
    "hangs_on": {"epochs": (("epochs",), "rounding may decide single runs")},
}


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    others = f" and with one thing replaced: {listed(s.choices[1:])}" if s.choices[1:] else ""
    return (
        f"Networks with $L={s.layers}$ weight matrices of {len(s.widths)} widths from "
        f"$m={s.widths[0]}$ to {s.widths[-1]}, {s.seeds} initialisations of each, on {s.count} "
        f"images of {' and '.join(s.classes[0])}, until they reach zero training error or "
        rf"{s.epochs} epochs: by mini-batch SGD with batches of {s.batch} and "
        rf"$\eta={s.step_size:g}${others}."
    )


def cost(settings: Settings) -> Cost:
    """All runs, of which one choice's are in memory."""
    s = settings
    flops = sum(
        _searches.flops(s, s.training(choice), s.count, width) * s.seeds
        for choice in s.choices
        for width in s.widths
    )
    return Cost(flops, _searches.memory(s, s.count, sum(s.widths) * s.seeds))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every width from every seed under each choice; find the minimal width at each budget.

    Raises:
        InputError: there are not so many images.
        MissingDataError: they are not on this machine.
    """
    s = settings
    blocks = [photographs(s.classes[0], s.count, block) for block in range(2)]
    found = sweep("choices", partial(_choice, s, device, blocks), choice=s.choices)
    told = f"{blocks[-1].source}, {s.count} at a time"
    places = {"tried": list(s.widths), "seed": list(s.each_seed), "share": list(SHARES)}
    return found.assign_coords(places).assign_attrs(data=told)


def _choice(
    settings: Settings, device: str, blocks: Sequence[DataSet], *, choice: str
) -> Variables:
    """All runs of one choice, and the minimal width within every share of its budget."""
    s, training = settings, settings.training(choice)
    data = blocks[choice == "other images"]
    if choice == "standardised pixels":
        data = standardised(data)
    epochs = epochs_to_success(s, device, data, training, s.widths, choice.replace(" ", "-"))
    budgets = training.epochs * np.array(SHARES)
    widths, low, high = np.transpose([_minimal(s.widths, epochs, budget) for budget in budgets])
    return {
        "epochs": (("tried", "seed"), epochs),
        "budget": ("share", budgets),
        "width": ("share", widths),
        "low": ("share", low),
        "high": ("share", high),
    }


def _minimal(
    widths: Sequence[int], epochs: np.ndarray, budget: float
) -> tuple[float, float, float]:
    """The minimal width within a budget and the ends of its interval, as a search tells them.

    Args:
        widths: m, shape (k,).
        epochs: to success, NaN without, shape (k, seeds).
        budget: in epochs.
    """
    runs, won = np.full(len(widths), epochs.shape[1]), (epochs <= budget).sum(axis=1)
    tally = Tally(np.array(widths, dtype=float), runs.astype(float), won.astype(float))
    low, high = interval(tally, 0.95)
    median = fit(tally).median
    found = widths[0] <= low <= median <= high <= widths[-1]
    return (median if found else math.nan), low, high


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The minimal width of each choice within its whole budget and an eighth of it."""
    s = settings
    told: dict[str, object] = {"count": s.count, "matters": MATTERS, "early": EARLY}
    for choice in s.choices:
        searched, key = found.sel(choice=choice), choice.lower().replace(" ", "_")
        for name, share in (("", 1.0), ("_early", EARLY)):
            one = searched.sel(share=share)
            told[f"{key}{name}"] = _told(one)
            told[f"{key}{name}_budget"] = float(one.budget)
        ratio = float(searched.width.sel(share=1.0) / found.width.sel(choice=MAIN, share=1.0))
        if math.isfinite(ratio):
            told[f"{key}_factor"] = ratio
    return told


def _told(one: xr.Dataset) -> str:
    """A minimal width with its interval, in words, or what is known of it."""
    if math.isfinite(one.width):
        return f"{float(one.width):.1f} ({float(one.low):.1f} to {float(one.high):.1f})"
    return f"none ({float(one.low):.1f} to {float(one.high):.1f})"


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Is the minimal width within an eighth of the budget larger than within all of it?"""
    main = found.sel(choice=MAIN)
    early, whole = main.sel(share=EARLY), main.sel(share=1.0)
    ratio, low, high = _factor(early, whole)
    known = f"{ratio:.2f}" if math.isfinite(ratio) else "no number"
    check = Check(
        "yes" if low >= MATTERS else "no" if high < MATTERS else "unclear",
        f"the minimal width within {float(early.budget):.0f} epochs over that within "
        f"{float(whole.budget):.0f}",
        f"{known} ({low:.2f} to {high:.2f})",
        f"at least {MATTERS:g}, with all of the interval",
        slack_factor(low, MATTERS) if low >= MATTERS else "",
        kind="trend",
    )
    others = (
        f"{choice} {_told(found.sel(choice=choice, share=1.0))}" for choice in settings.choices
    )
    return [
        claim(
            "chen2021-fig1-budget",
            "the minimal width at one $n$ depends on the budget",
            check,
            note(f"Within the whole budget the minimal width is: {listed(others)}"),
            holds="Within an eighth of the budget the minimal width is larger.",
            fails="Within an eighth of the budget the minimal width is the same.",
        )
    ]


def _factor(one: xr.Dataset, other: xr.Dataset) -> tuple[float, float, float]:
    """One minimal width over another, and an interval as if both were of runs of their own.

    They share runs, so it is wider than it has to be. Where one is out of the widths that were
    tried, the ends of both intervals bound the ratio.
    """
    ratio = float(one.width / other.width)
    if not math.isfinite(ratio):
        return math.nan, float(one.low / other.high), float(one.high / other.low)
    errors = [math.log(float(each.high / each.low)) for each in (one, other)]
    spread = math.exp(math.hypot(*errors) / 2)
    return ratio, ratio / spread, ratio * spread
