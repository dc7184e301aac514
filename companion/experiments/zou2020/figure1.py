"""Wider deep networks train faster on MNIST, stay closer, and flip less (Figures 1a, 2a and 3a).

Refuted by an order of the widths that turns round: at equal iteration, or at equal loss.
"""

import xarray as xr

from companion.datafiles import digits_source
from companion.datasets import DataSet, digits
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
DATA = "digits"
CLASSES = (3, 8)
# Training images of the common split into 50,000 and 10,000: 9,943 of them are 3s and 8s.
SPLIT = 50_000
COUNT, PIXELS = 9_943, 784


class Settings(ImageSettings):
    """As `ImageSettings`; all of the split are the 3s and 8s of its first 50,000 images."""


QUICK = Settings(
    per_class=50, seeds=5, widths=(40, 80, 160, 320), step_size=0.003, other_step_size=0.0015,
    steps=150,
)  # fmt: skip
PAPER = Settings()


def summary(settings: Settings) -> str:
    """Which digits, and what is run on them."""
    s = settings
    every = "all digits 3 and 8 among the first 50,000 training images of MNIST"
    some = f"{s.per_class} handwritten digits 3 and as many 8"
    return _images.described(s, every if s.per_class is None else some)


def cost(settings: Settings) -> Cost:
    """Of all runs."""
    s = settings
    return _images.priced(s, COUNT if s.per_class is None else 2 * s.per_class, PIXELS)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train on the digits.

    Raises:
        InputError: there are no digits here, or too few of them.
    """
    return _images.trained(settings, device, _data(settings))


def _data(settings: Settings) -> DataSet:
    source = digits_source()
    if settings.per_class is None:
        return digits(source, CLASSES, first=SPLIT)
    return digits(source, CLASSES, settings.per_class)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Where the runs end, and what the widths change in each reading."""
    return _images.values_of(settings, found)


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The figures in the readings that can be meant."""
    return _images.verdicts(settings, found, "")


CONTROLS = _images.controls("")
