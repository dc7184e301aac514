"""The commit behind a number: this project's and no other's, or the reason why there is none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from companion.base.paths import PROJECT
from companion.lab import products, provenance
from companion.lab.provenance import commit


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def repository(folder: Path) -> str:
    """A repository with one commit; returns the commit's first twelve digits."""
    (folder / "companion").mkdir(parents=True)
    (folder / "companion" / "numbers.py").write_text(f"# of {folder}\n")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "One")
    return git(folder, "rev-parse", "--short=12", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in place of the real one, and nothing that pip noted."""
    folder = tmp_path / "project"
    repository(folder)
    place(monkeypatch, folder)
    return folder


def place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(provenance, "PROJECT", folder)
    monkeypatch.setattr(provenance, "BOOK", folder / "book")
    monkeypatch.setattr(provenance, "ARCHIVED", folder / ".git_archival.txt")
    monkeypatch.setattr(provenance, "_installed", lambda: None)


def test_a_checkout_tells_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    revision = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert commit() == revision
    (checkout / "figure1.json").write_text("a user's result")
    assert commit() == revision
    (checkout / "companion" / "more.py").write_text("")
    assert commit() == f"{revision}+changes"
    (checkout / "companion" / "more.py").rename(checkout / "companion" / "mehr Größe.py")
    assert commit() == f"{revision}+changes"
    (checkout / "companion" / "mehr Größe.py").unlink()
    assert commit() == revision
    (checkout / "book").mkdir(exist_ok=True)
    (checkout / "book" / "fresh.json").write_text("counts that are written while others are made")
    assert commit() == revision
    (checkout / "book" / "fresh.csv").write_text("")
    assert commit() == f"{revision}+changes"
    (checkout / "book" / "fresh.csv").unlink()
    (checkout / "companion" / "numbers.py").write_text("x = 1\n")
    assert commit() == f"{revision}+changes"


def test_a_user_s_git_settings_hide_no_change(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ignored").write_text("*.py\n")
    (tmp_path / ".gitconfig").write_text(
        f"[status]\nshowUntrackedFiles = no\nshort = true\n[color]\nui = always\n"
        f"[core]\nexcludesFile = {tmp_path / 'ignored'}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    (checkout / "companion" / "more.py").write_text("")
    assert commit().endswith("+changes")


def test_a_repository_around_the_project_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a source archive, or an installed copy, inside somebody's repository."""
    other = repository(tmp_path / "other")
    (tmp_path / "other" / "project").mkdir()
    place(monkeypatch, tmp_path / "other" / "project")
    assert commit() == "unknown (neither a git checkout nor an archive of one)"
    assert other not in commit()


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_variables_of_another_repository_change_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    known = commit()
    repository(tmp_path / "other")
    monkeypatch.setenv(variable, str(tmp_path / "other" / ".git"))
    assert commit() == known


def wrap_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put another program in git's place; the script finds git as $GIT."""
    real = shutil.which("git")
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\nGIT={real}\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_checkout_of_another_owner_tells_its_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = commit()
    owned = 'GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec "$GIT" "$@"'
    wrap_git(tmp_path / "bin", monkeypatch, owned)
    refused = subprocess.run(["git", "status"], cwd=checkout, capture_output=True, check=False)
    assert refused.returncode != 0
    assert commit() == known


def test_what_git_refuses_is_told(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap_git(tmp_path / "bin", monkeypatch, "echo fatal: no such thing >&2; exit 128")
    assert commit() == "unknown (git says: fatal: no such thing)"


@pytest.mark.parametrize("mode", [None, 0o644, 0o755])
def test_a_machine_without_git_is_told(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None
) -> None:
    """Without any, with one that may not be run, and with one that is no program."""
    (tmp_path / "bin").mkdir()
    if mode is not None:
        (tmp_path / "bin" / "git").write_bytes(b"\x7fELF")
        (tmp_path / "bin" / "git").chmod(mode)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert commit() == "unknown (git cannot be run)"


def test_a_folder_that_git_takes_for_a_part_of_another_repository_is_told(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the project's own repository names another place as its work tree."""
    (tmp_path / "elsewhere").mkdir()
    git(checkout, "config", "core.worktree", str(tmp_path / "elsewhere"))
    assert commit().startswith("unknown (git ")


def test_a_worktree_tells_its_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = commit()
    git(checkout, "worktree", "add", str(tmp_path / "tree"))
    place(monkeypatch, tmp_path / "tree")
    assert commit() == known


def test_an_archive_tells_the_commit_it_was_made_of(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".git_archival.txt", ".gitattributes"):
        shutil.copy(PROJECT / name, checkout)
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "Two")
    known = commit()
    git(checkout, "archive", "--format=tar", "--output", str(tmp_path / "a.tar"), "HEAD")
    other = tmp_path / "other"
    repository(other)
    shutil.unpack_archive(tmp_path / "a.tar", other / "archive")
    place(monkeypatch, other / "archive")
    assert commit() == f"{known} (source archive)"


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        ('{"vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}', "0123456789ab (inst"),
        ('{"dir_info": {}}', "unknown (neither"),
        (None, "unknown (neither"),
    ],
)
def test_an_installed_package_tells_what_pip_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: str | None, told: str
) -> None:
    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return noted

    installed = provenance._installed
    place(monkeypatch, tmp_path)
    monkeypatch.setattr(provenance, "_installed", installed)
    monkeypatch.setattr(provenance, "distribution", lambda name: Distribution())
    assert commit().startswith(told)


def test_a_run_tells_its_operations_and_a_long_one_its_share_of_the_best_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert provenance.work(2e9, 0.5, "cpu", "float32") == {"flop": 2e9}
    monkeypatch.setattr(products, "best_product", lambda device, dtype: 4e9)
    assert provenance.work(2e10, 10.0, "cpu", "float32") == {"flop": 2e10, "share": 0.5}


def test_the_best_product_is_the_fastest_of_those_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SIZE", {"cpu": 64})
    ticks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 24.0, 30.0, 35.0] * 2)
    monkeypatch.setattr(products.time, "perf_counter", lambda: next(ticks))
    assert products.best_product("cpu", "float64") == 2 * 64**3 / 1.0
