"""The package installed without a checkout: what runs, and what says that it needs one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from companion.base.paths import BOOK, PROJECT
from tests.blocking import refuse_book
from tests.test_library import FIVE_LINES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it, to be put on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    for name in ("companion", "book"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([*pip, *options, str(source)], check=True, capture_output=True)
    return folder / "site"


def companion(
    site: Path, folder: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The installed command, run by somebody whose home is `folder`."""
    kept = {k: v for k, v in os.environ.items() if k not in ("COMPANION_STORE", "XDG_CACHE_HOME")}
    home = {"HOME": str(folder), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "companion", *words],
        cwd=folder,
        env={**kept, **home, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_no_checkout(site: Path, tmp_path: Path) -> None:
    code = "from companion.base.paths import IS_CHECKOUT, PACKAGE; print(PACKAGE, IS_CHECKOUT)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [str(site / "companion"), "False"]


def test_it_holds_the_package_with_its_types_and_nothing_beside(site: Path) -> None:
    names = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert names == {"companion", "bin"}
    assert (site / "companion" / "py.typed").is_file()
    assert (site / "companion" / "__init__.pyi").is_file()


def test_the_mathematics_runs_where_the_book_is_not_installed(site: Path, tmp_path: Path) -> None:
    refuse_book(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FIVE_LINES],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(site)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True True\n", done.stderr


def test_an_experiment_that_reads_published_values_runs(site: Path, tmp_path: Path) -> None:
    tiny = ("widths=[20,40]", "seeds=2", "steps=5", "count=8", "dimension=8")
    settings = [word for setting in tiny for word in ("--set", setting)]
    out = tmp_path / "out.json"
    done = companion(site, tmp_path, "run", "du2019/figure1", *settings, "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert "du2019-fig1a" in done.stdout
    told = json.loads(out.read_text())["payload"]
    assert told["provenance"]["commit"].startswith("unknown (")
    kept = list(tmp_path.glob("**/companion/results/du2019/figure1/*.json"))
    assert len(kept) == 1  # in this user's cache
    assert not (site.parent / "_build").exists()


def test_a_recorded_benchmark_is_judged_and_a_record_is_cited(site: Path, tmp_path: Path) -> None:
    judged = companion(site, tmp_path, "run", "engines/speed")
    assert judged.returncode == 0, judged.stderr
    cited = companion(site, tmp_path, "cite", "du2019-fig1a")
    assert cited.returncode == 0, cited.stderr
    assert "@misc" in cited.stdout


@pytest.mark.parametrize("words", [["book"], ["bench"]])
def test_what_needs_a_checkout_says_so(site: Path, tmp_path: Path, words: list[str]) -> None:
    done = companion(site, tmp_path, *words)
    assert done.returncode == 2
    assert "run it in a checkout of the project" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_book_of_one_s_own_is_built(site: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    shutil.copytree(PROJECT / "tests" / "small_book", root)
    shutil.copy(PROJECT / "_config.yml", root)
    shutil.copy(BOOK / "references.bib", root / "book")
    out = tmp_path / "out"
    done = companion(site, tmp_path, "book", "--root", str(root), "--output", str(out))
    assert done.returncode == 0, done.stderr
    assert "verdict-holds" in (out / "html" / "book" / "chapter.html").read_text()
