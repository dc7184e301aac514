"""What was found out about a machine is found again, and damage to it costs nothing."""

import platform
from pathlib import Path

import pytest

from companion.base.machine import Answers, machine_name, processor


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the answers called `speed`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "companion" / "speed.json"


@pytest.mark.skipif(platform.system() != "Linux", reason="caches lie elsewhere there")
def test_answers_are_kept_side_by_side(cache: Path) -> None:
    assert Answers("speed").find("one") is None
    Answers("speed").note("one", "fast")
    Answers("speed").note("two", "slow")
    Answers("speed").note("one", "faster")
    assert Answers("speed").find("one") == "faster"
    assert Answers("speed").find("two") == "slow"
    assert cache.is_file()


@pytest.mark.skipif(platform.system() != "Linux", reason="caches lie elsewhere there")
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"one": 3}', b"\xff", b'{"one": "fa'])
def test_a_damaged_file_counts_as_empty(cache: Path, content: bytes) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)
    assert Answers("speed").find("one") is None
    Answers("speed").note("one", "fast")
    assert Answers("speed").find("one") == "fast"


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    Answers("speed").note("one", "fast")
    assert Answers("speed").find("one") is None


def test_a_machine_is_told_from_itself_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert machine_name() == processor() != ""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert machine_name() == f"{processor()}, AVX2 at most"
