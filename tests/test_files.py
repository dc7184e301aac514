"""Files that are whole or absent."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from companion.errors import InputError
from companion.files import decode, encode, read_checked, write_atomically, write_checked


@given(
    hnp.arrays(
        dtype=st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        shape=hnp.array_shapes(max_dims=3, max_side=4),
        elements={"allow_infinity": False},
    )
)
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    back = decode(json.loads(json.dumps(encode(array), allow_nan=False)))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_scalar_array_keeps_its_shape() -> None:
    assert decode(encode(np.array(2.5))).shape == ()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_checked(tmp_path / "a" / "b.json", {"x": 1})
    assert read_checked(tmp_path / "a" / "b.json") == {"x": 1}


@pytest.mark.parametrize(
    "damage", [lambda t: t.replace("1", "2"), lambda t: t[:-4], lambda t: "", lambda t: "[1]"]
)
def test_damage_is_noticed(tmp_path: Path, damage) -> None:
    path = tmp_path / "r.json"
    write_checked(path, {"x": 1})
    text = path.read_text()
    head, body = text.split("\n", 1)
    path.write_text(head + "\n" + damage(body))
    with pytest.raises(InputError, match="damaged"):
        read_checked(path)


def test_a_folder_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "file" / "x", b"content")


def test_a_full_disk_leaves_the_old_file_and_no_crumbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]
