"""MNIST's and CIFAR-10's own formats, with a few made-up images, and checksums to match."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np

from companion import datafiles
from companion.cifarfiles import KNOWN, PIXELS

IMAGES, LABELS = datafiles.SPLITS["train"]
TEST_IMAGES, TEST_LABELS = datafiles.SPLITS["test"]
# Labels of the images of a tiny batch of CIFAR-10; 3 is a cat, 8 a ship.
BATCH = (3, 8, 0, 8, 5, 3, 8, 9)


def write_small_mnist(folder: Path) -> dict[str, str]:
    """A dozen and five images, and the checksums of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, known = np.random.default_rng(0), {}
    for names, digits_in_order in (
        ((IMAGES, LABELS), [3, 8] * 6),
        ((TEST_IMAGES, TEST_LABELS), [8, 3, 1, 8, 8]),
    ):
        pixels = generator.integers(1, 256, (len(digits_in_order), 784), dtype=np.uint8)
        content = bytes(16) + pixels.tobytes(), bytes(8) + bytes(digits_in_order)
        for name, raw in zip(names, content, strict=True):
            packed = gzip.compress(raw, mtime=0)
            (folder / name).write_bytes(packed)
            known[name] = hashlib.sha256(packed).hexdigest()
    return known


def tiny_batches() -> dict[str, bytes]:
    """The content of six tiny batches, by the names of the official files."""
    generator = np.random.default_rng(1)
    batches = {}
    for name in KNOWN:
        records = generator.integers(1, 256, (len(BATCH), 1 + PIXELS), dtype=np.uint8)
        records[:, 0] = BATCH
        batches[name] = records.tobytes()
    return batches


def checksums(batches: dict[str, bytes]) -> dict[str, str]:
    """What `companion.cifarfiles.KNOWN` would be of them: SHA-1 of the test batch."""
    return {
        name: f"{algorithm}:{hashlib.new(algorithm, batches[name]).hexdigest()}"
        for name, algorithm in ((name, known.partition(":")[0]) for name, known in KNOWN.items())
    }


def packed(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A .tar.gz archive of files, and of symbolic links by their targets."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        folder = tarfile.TarInfo("cifar-10-batches-bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()
