"""Files that are whole or absent."""

import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from companion.base.files import (
    canonical,
    check_target,
    check_writable,
    decode,
    encode,
    is_sealed,
    read_checked,
    seal,
    set_aside,
    write_atomically,
    write_checked,
)
from companion.errors import DamagedError, InputError


@given(
    hnp.arrays(
        dtype=st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        shape=hnp.array_shapes(max_dims=3, max_side=4),
    )
)
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    back = decode(json.loads(json.dumps(encode(array), allow_nan=False)))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_scalar_array_keeps_its_shape() -> None:
    assert decode(encode(np.array(2.5))).shape == ()


def test_words_come_back() -> None:
    words = np.array([["gram", "inf"], ["", "step \u2265 1"]])
    back = decode(json.loads(json.dumps(encode(words))))
    assert back.dtype == words.dtype
    np.testing.assert_array_equal(back, words)


def test_the_text_of_an_object_does_not_depend_on_the_order_of_its_keys() -> None:
    assert canonical({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a":{"c":3,"d":2},"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": float("nan")})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_checked(tmp_path / "a" / "b.json", {"x": 1})
    assert read_checked(tmp_path / "a" / "b.json") == {"x": 1}


def test_a_power_cut_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content reaches the disk before it gets the name, and the name before it is relied on."""
    path, synced = tmp_path / "a.json", []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        what = os.fstat(descriptor)
        kind = "folder" if stat.S_ISDIR(what.st_mode) else f"{what.st_size} bytes"
        synced.append((kind, path.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(path, b"content")
    assert synced == [("7 bytes", False), ("folder", True)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda head, body: head + body.replace("1", "2"),
        lambda head, body: head + body[:-4],
        lambda head, body: head,
        lambda head, body: "",
        lambda head, body: "[1]",
        lambda head, body: head + body.replace("1", "NaN"),
        lambda head, body: head + body.replace("1", "Infinity"),
        lambda head, body: '{"sha256": "", "payload": 1}',
        lambda head, body: "[" * 100_000,
        lambda head, body: "\udcff",
    ],
)
def test_damage_is_noticed(tmp_path: Path, damage) -> None:
    path = tmp_path / "r.json"
    write_checked(path, {"x": 1})
    head, body = path.read_text().split("\n", 1)
    path.write_text(damage(head + "\n", body), errors="surrogateescape")
    with pytest.raises(DamagedError, match="damaged"):
        read_checked(path)


def test_a_folder_in_a_file_s_place_is_damage_and_no_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(DamagedError, match="cannot be read"):
        read_checked(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError):
        read_checked(tmp_path / "s.json")


def test_what_is_set_aside_is_named_and_out_of_the_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in ("old", "new"):
        (tmp_path / "r.json").write_text(content)
        set_aside(tmp_path / "r.json", "r.json is damaged.")
    assert os.listdir(tmp_path) == ["r.json.damaged"]
    assert (tmp_path / "r.json.damaged").read_text() == "new"
    assert "r.json is damaged. It is set aside as r.json.damaged" in caplog.text
    set_aside(tmp_path / "r.json", "gone")  # by another process


def test_a_seal_breaks_with_any_change(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    file = folder / "deep" / "file"
    assert not is_sealed(folder)
    for change in (
        lambda: file.write_text(""),
        lambda: file.write_text("other"),
        file.unlink,
        lambda: (folder / "more").write_text(""),
    ):
        file.write_text("content")
        seal(folder)
        assert is_sealed(folder)
        change()
        assert not is_sealed(folder)


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


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("there", "not yet there"):
        link, file = tmp_path / f"link to {name}", tmp_path / "folder" / name
        link.symlink_to(file)
        write_atomically(link, b"new")
        assert link.is_symlink()
        assert file.read_bytes() == b"new"
        assert not file.is_symlink()


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_target(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write_atomically(pipe, b"content")
        assert reader.communicate()[0] == b"content"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_into() -> None:
    before = os.stat(os.devnull)
    check_target(Path(os.devnull))
    write_atomically(Path(os.devnull), b"content")
    after = os.stat(os.devnull)
    assert stat.S_ISCHR(after.st_mode)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
@pytest.mark.parametrize("name", ["/dev/stdout", "output"])
def test_a_redirected_output_is_gone_on_with(tmp_path: Path, name: str) -> None:
    """By either name of it: nothing said before is lost, nor what is said afterwards."""
    code = (
        "import sys; from pathlib import Path; from companion.base.files import write_atomically\n"
        "print('before'); write_atomically(Path(sys.argv[1]), b'content\\n'); print('after')"
    )
    with (tmp_path / "output").open("wb") as output:
        subprocess.run([sys.executable, "-c", code, name], cwd=tmp_path, stdout=output, check=True)
    assert (tmp_path / "output").read_text() == "before\ncontent\nafter\n"
    assert os.listdir(tmp_path) == ["output"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "x", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_probing_a_folder_touches_no_file_in_it(tmp_path: Path) -> None:
    for name in (".writable", ".companion"):
        (tmp_path / name).write_text("mine")
    check_writable(tmp_path)
    check_target(tmp_path / "x")
    assert sorted(os.listdir(tmp_path)) == [".companion", ".writable"]
    assert (tmp_path / ".writable").read_text() == "mine"


def test_many_may_probe_a_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: check_writable(tmp_path / "new" / "store"), range(400)))
    assert os.listdir(tmp_path / "new" / "store") == []


def test_a_folder_that_vanishes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process forgets the parts of the same run."""
    replace, folder = Path.replace, tmp_path / "parts"

    def late(source: Path, target: Path) -> Path:
        if not list(tmp_path.glob("seen")):
            (tmp_path / "seen").touch()
            shutil.rmtree(folder)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", late)
    write_atomically(folder / "x", b"content")
    assert (folder / "x").read_bytes() == b"content"


def test_a_target_that_cannot_be_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path, "it is a folder"), (tmp_path / "file" / "x", "cannot write")):
        with pytest.raises(InputError, match=reason):
            check_target(path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with pytest.raises(InputError, match="it is read-only"):
        check_target(tmp_path / "file")
