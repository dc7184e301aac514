"""Wider deep networks train faster on MNIST, stay closer, and flip less (Figures 1a, 2a and 3a).

Refuted by an order of the widths that turns round: at equal iteration, or at equal loss.
"""

import xarray as xr

from companion.experiments.zou2020 import _images
from companion.experiments.zou2020._images import ImageSettings
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict

EXPECTED: dict[str, Outcome] = {
    "zou2020-fig1": "holds",
    "zou2020-fig2": "holds",
    "zou2020-fig2-iteration": "fails",
    "zou2020-fig3": "holds",
    "zou2020-fig3-iteration": "fails",
}
# Two seeds leave an interval that ends just short of what is asked.
PAPER_EXPECTED: dict[str, Outcome] = {"zou2020-fig3": "inconclusive"}
DATA = ("digits", "cifar10")
CONTROLS = _images.controls("")


class Settings(ImageSettings):
    """As `ImageSettings`, on digits unless another data set is named."""


# Narrower networks of this depth hardly train in so few steps, and then there is no common level of
# the loss; sixteen seeds, as the flips of one and the same width differ much from seed to seed.
QUICK = Settings(
    per_class=25, seeds=16, widths=(80, 128, 200, 320), step_size=0.003, other_step_size=0.0015,
    steps=140,
)  # fmt: skip
PAPER = Settings(seeds=2)
# Ten steps, up to the second look. The last of the widths has no second step size and no second mu.
REPLAY = {
    "one_of": (
        {"widths": (200, 100), "steps": 10},
        {"widths": (400, 100), "steps": 10},
        {"widths": (100, 800), "steps": 10},
    ),
    "few": {"seeds": 1},
    "places": {"look": "looks"},
    "hangs_on": {"other_*": (("first_seed",), "they are run from the record's first seed alone")},
}


def summary(settings: Settings) -> str:
    """Which images, and what is run on them."""
    return _images.summary(settings)


def cost(settings: Settings) -> Cost:
    """Of all runs."""
    return _images.cost(settings)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train on the images; errors as of `_images.run`."""
    return _images.run(settings, device)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Where the runs end, and what the widths change in each reading."""
    return _images.values_of(settings, found)


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The figures in the readings that can be meant."""
    return _images.verdicts(settings, found, "")
