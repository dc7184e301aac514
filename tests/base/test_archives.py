"""Archives that strangers packed: what is wanted is read, and nothing is written anywhere."""

import random
from pathlib import Path

import pytest

from companion.base.archives import members
from companion.errors import InputError
from tests.tiny_images import packed

WANTED = {"a.bin": 3, "b.bin": 2}


def archive(folder: Path, content: bytes) -> Path:
    path = folder / "x.tar.gz"
    path.write_bytes(content)
    return path


def test_members_are_found_by_name_and_size_in_whichever_folder(tmp_path: Path) -> None:
    content = packed(
        {
            "./cifar/readme.html": b"?",
            "cifar/a.bin": b"abc",
            "cifar/b.bin": b"too long",
            "b.bin": b"de",
        }
    )
    found = list(members(archive(tmp_path, content), WANTED))
    assert found == [("a.bin", b"abc"), ("b.bin", b"de")]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


@pytest.mark.parametrize(
    "name", ["../a.bin", "/etc/a.bin", "x/../../a.bin", "..\\a.bin", "C:/a.bin", "x/.."]
)
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = archive(inner, packed({"b.bin": b"de", name: b"abc"}))
    with pytest.raises(InputError, match="leads out of its folder; delete it and fetch it again"):
        list(members(path, WANTED))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_links_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"abc")
    content = packed({}, links={"a.bin": str(tmp_path / "secret")})
    assert list(members(archive(tmp_path, content), WANTED)) == []


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.9])
def test_what_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    content = packed({"a.bin": b"abc", "noise": random.Random(0).randbytes(5000)})
    with pytest.raises(InputError, match=r"x\.tar\.gz is no whole \.tar\.gz archive; delete it"):
        list(members(archive(tmp_path, content[: int(share * len(content))]), WANTED))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no whole"):
        list(members(archive(tmp_path, b"<html>not found</html>" * 100), WANTED))
    with pytest.raises(InputError, match="is no whole"):
        list(members(tmp_path / "nowhere.tar.gz", WANTED))
