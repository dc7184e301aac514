"""CIFAR-10: found in every form, checked before it is read, kept where reading takes long."""

import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest

from companion import cifarfiles, datafolders
from companion.base.inputs import only
from companion.cifarfiles import ARCHIVE, batch_bytes, identity, is_here, read_cifar10, verify
from companion.errors import InputError, MissingDataError
from tests.tiny_images import BATCH, checksums, packed, tiny_batches

FIRST = "data_batch_1.bin"
BATCHES = tiny_batches()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of data; tiny batches count as the published ones."""
    monkeypatch.setattr(cifarfiles, "KNOWN", checksums(BATCHES))
    monkeypatch.setattr(cifarfiles, "SIZE", len(BATCHES[FIRST]))
    monkeypatch.setattr(cifarfiles, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(datafolders, "cache_folder", lambda: tmp_path / "cache")
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    monkeypatch.setenv("COMPANION_DATA", str(folder.parent))
    return folder


def write(folder: Path, form: str) -> None:
    """All batches in one of the forms in which they may lie there."""
    if form == "archive":
        members = {f"cifar-10-batches-bin/{name}": raw for name, raw in BATCHES.items()}
        (folder / ARCHIVE).write_bytes(packed(members))
        return
    for name, raw in BATCHES.items():
        path = folder / (name if form == "plain" else f"{name}.xz")
        path.write_bytes(raw if form == "plain" else lzma.compress(raw))


@pytest.mark.parametrize("form", ["plain", "xz", "archive"])
def test_every_form_gives_the_same_images(data, form):
    write(data, form)
    for name, raw in BATCHES.items():
        assert batch_bytes(name) == raw
    pixels, labels = read_cifar10("batches1-4")
    assert pixels.shape == (4 * len(BATCH), 3072)
    assert labels.tolist() == [*BATCH] * 4
    third = BATCHES["data_batch_3.bin"][3073:6146]
    assert (pixels[2 * len(BATCH) + 1].tobytes(), labels[1]) == (third[1:], third[0])
    assert set(verify().values()) == {"ok"}


@pytest.mark.parametrize("place", ["cifar10", "cifar-10-batches-bin", "."])
def test_files_may_lie_in_folders_of_their_own_or_without_one(data, place):
    (data.parent / place).mkdir(exist_ok=True)
    write(data.parent / place, "plain")
    assert len(read_cifar10("train")[1]) == 5 * len(BATCH)


def test_splits_are_the_files_in_order(data):
    write(data, "plain")
    images = {split: read_cifar10(split)[0] for split in cifarfiles.SPLITS}
    singly = [images[f"batch{number}"] for number in range(1, 6)]
    np.testing.assert_array_equal(images["train"], np.concatenate(singly))
    np.testing.assert_array_equal(images["batches1-4"], np.concatenate(singly[:4]))
    assert images["test"].tobytes() == read_cifar10("test")[0].tobytes() != singly[0].tobytes()
    with pytest.raises(InputError, match="no split of CIFAR-10 'batches1-5'; did you mean 'batch"):
        read_cifar10("batches1-5")


def test_what_is_not_here_is_told_with_the_way_to_get_it(data):
    write(data, "plain")
    (data / "test_batch.bin").unlink()
    assert is_here()
    assert not is_here("test")
    assert verify()["test_batch.bin"] == "missing"
    with pytest.raises(MissingDataError, match="'companion data fetch cifar10', or name a folder"):
        read_cifar10("test")
    (data / FIRST).unlink()
    assert not is_here()


@pytest.mark.parametrize("form", ["plain", "xz"])
@pytest.mark.parametrize("damage", ["altered", "truncated", "longer", "empty"])
def test_a_damaged_file_is_refused(data, form, damage):
    write(data, form)
    raw = bytearray(BATCHES[FIRST])
    raw[7] ^= 1
    wrong = {"altered": bytes(raw), "truncated": BATCHES[FIRST][:-1], "empty": b""}
    wrong["longer"] = BATCHES[FIRST] + b"x"
    path = data / (FIRST if form == "plain" else f"{FIRST}.xz")
    path.write_bytes(wrong[damage] if form == "plain" else lzma.compress(wrong[damage]))
    told = rf"{path.name} does not hold {FIRST} of CIFAR-10 as published; delete it and fetch"
    with pytest.raises(InputError, match=told):
        read_cifar10("batch1")
    assert verify()[FIRST] == "damaged"
    assert set(verify().values()) == {"ok", "damaged"}


def test_a_cut_off_compressed_file_is_refused(data):
    packed_batch = lzma.compress(BATCHES[FIRST])
    for part in (packed_batch[:-8], packed_batch[:5], b"not xz at all"):
        (data / f"{FIRST}.xz").write_bytes(part)
        with pytest.raises(InputError, match=r"\.xz is no whole \.xz file; delete it and fetch"):
            batch_bytes(FIRST)


def test_what_was_decompressed_is_kept_under_the_checksum_of_the_packed_file(data, monkeypatch):
    write(data, "xz")
    batch_bytes(FIRST)
    (kept,) = (cifarfiles.cache_folder() / "unpacked").iterdir()
    packed_batch = (data / f"{FIRST}.xz").read_bytes()
    assert kept.name == f"{hashlib.sha256(packed_batch).hexdigest()[:16]}-{FIRST}"
    with monkeypatch.context() as patch:
        patch.setattr(lzma, "open", None)  # would fail
        assert batch_bytes(FIRST) == BATCHES[FIRST]
    kept.write_bytes(b"broken off")  # is not trusted, and is made again
    assert batch_bytes(FIRST) == BATCHES[FIRST]
    assert kept.read_bytes() == BATCHES[FIRST]
    (data / f"{FIRST}.xz").write_bytes(packed_batch[:-8])  # what is altered is not what was kept
    with pytest.raises(InputError, match="no whole"):
        batch_bytes(FIRST)


def test_an_archive_is_read_once_for_all_its_batches(data, monkeypatch):
    write(data, "archive")
    batch_bytes("data_batch_5.bin")
    monkeypatch.setattr(cifarfiles, "members", None)  # would fail
    for name, raw in BATCHES.items():
        assert batch_bytes(name) == raw


def test_without_room_for_a_cache_batches_are_read_all_the_same(data, monkeypatch):
    write(data, "xz")
    (data.parent.parent / "cache").write_text("a file where the folder would be")
    assert batch_bytes(FIRST) == BATCHES[FIRST]


def test_an_archive_that_lacks_a_batch_or_leads_elsewhere_is_refused(data):
    (data / ARCHIVE).write_bytes(packed({"data_batch_2.bin": BATCHES["data_batch_2.bin"]}))
    with pytest.raises(InputError, match=f"{ARCHIVE} does not hold {FIRST}"):
        batch_bytes(FIRST)
    (data / ARCHIVE).write_bytes(packed({f"../{FIRST}": BATCHES[FIRST]}))
    with pytest.raises(InputError, match="leads out of its folder"):
        batch_bytes(FIRST)


def test_who_has_not_declared_cifar_10_may_not_read_it(data):
    write(data, "plain")
    told = "reads cifar10 without having said so; declare it"
    with only("the run of x", ["digits"], "declare it"), pytest.raises(InputError, match=told):
        read_cifar10("batch1")
    with only("the run of x", ["cifar10"], "declare it"):
        read_cifar10("batch1")


def test_there_is_one_identity_whatever_lies_here(data):
    known = identity()
    write(data, "plain")
    assert identity() == known
    assert known.startswith("CIFAR-10 training set (sha256 ")


def test_the_official_batches():
    """10,000 images each, and the counts of cats and ships that the data's README has."""
    if not is_here():
        pytest.skip("CIFAR-10 is not here")
    counts = []
    for number in range(1, 6):
        pixels, labels = read_cifar10(f"batch{number}")
        assert (pixels.shape, len(labels)) == ((10_000, 3072), 10_000)
        counts.append([int((labels == label).sum()) for label in (3, 8)])
    assert counts == [[1016, 1025], [995, 987], [997, 961], [976, 1024], [1016, 1003]]
