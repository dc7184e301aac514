"""Images of two classes, some to train on and others to test on: drawn from settings."""

from typing import Literal

import torch

from companion.datasets import DataSet
from companion.draws import cpu_generator
from companion.experiments.chen2021._problem import Exponent, Layers
from companion.images import cifar10, mnist
from companion.lab.settings import SeededSettings, SeveralSizes, Size

PIXELS = {"digits": 784, "cifar10": 3_072}


class ImageSettings(SeededSettings):
    """Settings of images; the paper's have five layers.

    Attributes:
        dataset: digits 3 and 8, which every machine has, or the photographs of Figure 1.
        against: of the photographs, the class beside cats.
        pool: images of each class from which the training sets are drawn.
        held_out: images of each class to test on; no training set has one of them.
        layers: L, all weight matrices.
        alpha: of the factor m^alpha.
        counts: n, images to train on, in increasing order, as many of either class.
    """

    dataset: Literal["digits", "cifar10"] = "digits"
    against: Literal["ship", "dog"] = "ship"
    pool: Size = 250
    held_out: Size = 250
    layers: Layers = 5
    alpha: Exponent = 0.5
    counts: SeveralSizes = (20, 40, 80)

    @property
    def kind(self) -> str:
        """Which images, in words."""
        if self.dataset == "digits":
            return "handwritten digits 3 and 8"
        return f"photographs of cats and {self.against}s"


def pool_of(settings: ImageSettings) -> DataSet:
    """The images that training sets are drawn from, classes alternating.

    Raises:
        InputError: there are not so many images, or a training set would need more than these.
        MissingDataError: the images are not on this machine.
    """
    if settings.dataset == "digits":
        return mnist(per_class=settings.pool)
    return cifar10(("cat", settings.against), per_class=settings.pool)


def held_out(settings: ImageSettings) -> DataSet:
    """The images to test on: digits that follow those of the pool, photographs of another batch.

    Raises:
        InputError: there are not so many images.
        MissingDataError: the images are not on this machine.
    """
    s = settings
    if s.dataset == "cifar10":
        return cifar10(("cat", s.against), "batch5", s.held_out)
    both, first = mnist(per_class=s.pool + s.held_out), 2 * s.pool
    return DataSet(both.x[first:], both.y[first:], f"the next {s.held_out} of each")


def chosen(pool: DataSet, count: int, seed: int) -> DataSet:
    """As many of either class, drawn from the pool; of one seed a small set is part of a large one.

    Args:
        pool: classes alternating.
        count: n; one more of the first class where it is odd.
        seed: of the draw.
    """
    order = torch.randperm(len(pool.x) // 2, generator=cpu_generator("images", seed))
    rows = torch.stack([2 * order, 2 * order + 1], dim=1).ravel()[:count]
    return DataSet(pool.x[rows], pool.y[rows], f"{pool.source}, {count} drawn from these")
