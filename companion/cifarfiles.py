"""CIFAR-10 on this machine, checked before it is read; no tensors here, and no pickle.

Read are the files of the official binary version, plain, as .xz, or within its archive. What takes
seconds to decompress is kept in this user's cache, under a name with the checksum of the packed
file, and is checked again whenever it is read.
"""

import contextlib
import hashlib
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from companion.base.archives import members
from companion.base.files import file_hash, write_atomically
from companion.base.inputs import CIFAR10, note_input
from companion.datafolders import cache_folder, places
from companion.errors import InputError, MissingDataError, one_of

ARCHIVE = "cifar-10-binary.tar.gz"
# Labels 0 to 9.
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Of the test batch only SHA-1 and MD5 are published; those of the others are of files whose SHA-1
# and MD5 are the published ones.
KNOWN = {
    "data_batch_1.bin": "sha256:cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "sha256:a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "sha256:bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "sha256:014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "sha256:755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "sha1:67eb016db431130d61cd03c7ad570b013799c88c",
}
TRAINING = tuple(KNOWN)[:5]
SPLITS = {
    "train": TRAINING,
    "batches1-4": TRAINING[:4],
    **{f"batch{number}": (name,) for number, name in enumerate(TRAINING, start=1)},
    "test": ("test_batch.bin",),
}
PIXELS = 3072
# Ten thousand records of a label and its pixels: all red ones, all green ones, all blue ones.
SIZE = 10_000 * (1 + PIXELS)


@dataclass(frozen=True)
class Found:
    """Where one of the official files was found.

    Attributes:
        name: of the official file, such as `data_batch_1.bin`.
        path: the file itself, or what it is packed in.
    """

    name: str
    path: Path

    @property
    def is_plain(self) -> bool:
        """Whether it is the file itself."""
        return self.path.name == self.name


def identity() -> str:
    """Name and checksum, as they enter fingerprints and captions; nothing is read.

    There is one CIFAR-10, so results are the same wherever it lies.
    """
    told = " ".join(KNOWN[name] for name in TRAINING)
    return f"CIFAR-10 training set (sha256 {hashlib.sha256(told.encode()).hexdigest()[:12]})"


def read_cifar10(split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape (count, 3072), and labels, uint8 of shape (count,), in order.

    Args:
        split: `train`, `batches1-4`, `batch1` to `batch5`, or `test`.

    Raises:
        InputError: there is no such split, a file is damaged, or the run under way has not
            declared CIFAR-10.
        MissingDataError: a file is not on this machine.
    """
    names = SPLITS[one_of("split of CIFAR-10", split, SPLITS)]
    note_input(CIFAR10)
    raw = [np.frombuffer(batch_bytes(name), dtype=np.uint8) for name in names]
    records = np.concatenate(raw).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0]


def batch_bytes(name: str) -> bytes:
    """The content of one of the official files, with the checksum that is known of it.

    Raises:
        InputError: what lies there is not the official file.
        MissingDataError: it is nowhere.
    """
    found = find(name)
    if found is None:
        raise MissingDataError(
            f"{name} of CIFAR-10 is not on this machine; run 'companion data fetch cifar10', or "
            "name a folder with the official binary files in COMPANION_DATA."
        )
    content = found.path.read_bytes() if found.is_plain else _unpacked(found)
    if not is_official(name, content):
        raise InputError(
            f"{found.path} does not hold {name} of CIFAR-10 as published; delete it and fetch it "
            "again."
        )
    return content


def find(name: str) -> Found | None:
    """Where one of the official files is: in the first folder that has it in any form."""
    for folder in places("cifar10"):
        for form in (name, f"{name}.xz", ARCHIVE):
            if (folder / form).is_file():
                return Found(name, folder / form)
    return None


def is_here(split: str = "train") -> bool:
    """Whether all files of a split are somewhere on this machine; they are not read."""
    return all(find(name) is not None for name in SPLITS[split])


def verify() -> dict[str, str]:
    """Official file -> `ok`, `missing` or `damaged`, of what would be read."""
    report = {}
    for name in KNOWN:
        try:
            batch_bytes(name)
            report[name] = "ok"
        except MissingDataError:
            report[name] = "missing"
        except InputError:
            report[name] = "damaged"
    return report


def is_official(name: str, content: bytes) -> bool:
    """Whether some bytes are those of an official file."""
    algorithm, _, known = KNOWN[name].partition(":")
    return hashlib.new(algorithm, content).hexdigest() == known


def _unpacked(found: Found) -> bytes:
    """What is packed, from the cache if it was unpacked before."""
    packed = file_hash(found.path)[:16]
    kept = cache_folder() / "unpacked" / f"{packed}-{found.name}"
    with contextlib.suppress(OSError):
        content = kept.read_bytes()
        if is_official(found.name, content):
            return content
    asked = b""
    for name, content in _contents(found):
        if is_official(name, content):  # what is not stays out of the cache
            with contextlib.suppress(InputError):  # of a user who has no room for one
                write_atomically(kept.with_name(f"{packed}-{name}"), content)
        if name == found.name:
            asked = content
    return asked


def _contents(found: Found) -> Iterator[tuple[str, bytes]]:
    """Every official file that lies packed there, unchecked but for its size."""
    if found.path.name == ARCHIVE:
        yield from members(found.path, dict.fromkeys(KNOWN, SIZE))
        return
    try:
        with lzma.open(found.path) as stream:
            yield found.name, stream.read(SIZE + 1)
    except (lzma.LZMAError, EOFError, OSError):
        raise InputError(
            f"{found.path} is no whole .xz file; delete it and fetch it again."
        ) from None
