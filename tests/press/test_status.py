"""What is fresh, stale or missing, and why: after a build, and after edits of every kind."""

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from companion.base import inputs, paths
from companion.base.paths import BOOK, PACKAGE
from companion.lab import modules, status, verified
from companion.lab.experiment import load
from companion.lab.fingerprint import shown_inputs
from companion.lab.results import write_result
from companion.lab.status import Status
from companion.lab.store import Store
from companion.press.book import Book
from companion.press.status import told, whole_status

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]
NAME = "du2019/linear_rate"
CHAPTER, FIGURE = ("chapter", "book/chapter"), ("figure", "du2019-linear-rate")
RUN = ("experiment", f"{NAME} quick")


@pytest.fixture
def tree(small_book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch copy of package, files and the small book, as it was built."""
    shutil.copytree(PACKAGE, tmp_path / "companion")
    for name in ("published", "benchmarks"):
        shutil.copytree(BOOK / name, tmp_path / "book" / name)
    shutil.copytree(small_book.root.parent, tmp_path / "small")
    monkeypatch.setenv("COMPANION_STORE", str(tmp_path / "small" / "store"))
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(inputs, "BOOK", tmp_path / "book")
    monkeypatch.setattr(sys.modules[shown_inputs.__module__], "BOOK", tmp_path / "book")
    # What the small page runs is the profile here.
    (kept,) = (Store().root / NAME).glob("*.json")
    settings = status.read_result(kept).settings
    monkeypatch.setattr(load(NAME), "QUICK", load(NAME).QUICK.override(settings))
    monkeypatch.setattr(status, "experiments", lambda: [NAME])
    record = tmp_path / "record.json"
    for module in (status, verified, sys.modules["companion.lab.reproduce"]):
        monkeypatch.setattr(module, "record_path", lambda name: record)
    return tmp_path


def found(tree: Path) -> dict[tuple[str, str], Status]:
    every = whole_status("cpu", tree / "small" / "book", tree / "small" / "built")
    return {(each.kind, each.name): each for each in every}


def states(tree: Path) -> dict[tuple[str, str], str]:
    return {key: each.state for key, each in found(tree).items()}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_after_a_build_all_is_fresh_and_a_fresh_clone_has_nothing(tree: Path) -> None:
    assert states(tree) == {RUN: "fresh", CHAPTER: "fresh", FIGURE: "fresh"}
    assert not any(each.why for each in found(tree).values())
    shutil.rmtree(tree / "small" / "built")
    shutil.rmtree(tree / "small" / "store")
    assert states(tree) == {RUN: "missing", CHAPTER: "missing", FIGURE: "missing"}
    assert found(tree)[RUN].why == ("it was not run yet",)
    assert not (tree / "small" / "built").exists()


def test_after_a_prose_edit_all_is_fresh(tree: Path) -> None:
    edit(tree / "small" / "book" / "book" / "chapter.md", "the theorem asks", "it asks")
    assert set(states(tree).values()) == {"fresh"}


def test_after_other_words_in_the_package_nothing_is_to_be_run(tree: Path) -> None:
    edit(tree / "companion" / "datasets.py", "must have norm 1", "has to have norm 1")
    edit(tree / "companion" / "datasets.py", "Inputs uniform on the unit sphere", "Inputs")
    assert set(states(tree).values()) == {"fresh"}


def test_after_a_code_edit_the_definition_is_named(tree: Path) -> None:
    edit(tree / "companion" / "datasets.py", "y = torch.randn(count,", "y = 2 * torch.randn(count,")
    why = "source companion.datasets:sphere changed"
    assert found(tree) == {
        RUN: Status(*RUN, "stale", (why,)),
        CHAPTER: Status(*CHAPTER, "stale", (why,)),
        FIGURE: Status(*FIGURE, "stale", (f"its result: {why}",)),
    }


@pytest.mark.parametrize("file", ["published/du2019_fig1a.csv", "benchmarks/two_cores.json"])
def test_after_a_data_edit_the_file_is_named(tree: Path, file: str) -> None:
    with (tree / "book" / file).open("a") as table:
        table.write(" ")
    why = (f"file book/{file} changed",)
    assert found(tree) == {
        RUN: Status(*RUN, "fresh"),
        CHAPTER: Status(*CHAPTER, "stale", why),
        FIGURE: Status(*FIGURE, "stale", why),
    }


def test_after_an_edit_of_a_figure_or_a_judge_no_result_is_stale(tree: Path) -> None:
    with (tree / "companion" / "figures" / "du2019" / "linear_rate.py").open("a") as file:
        file.write("# New.\n")
    assert states(tree) == {RUN: "fresh", CHAPTER: "fresh", FIGURE: "stale"}
    with (tree / "companion" / "experiments" / f"{NAME}.py").open("a") as file:
        file.write("\n\ndef judge(result):\n    return []\n")
    assert states(tree) == {RUN: "fresh", CHAPTER: "stale", FIGURE: "stale"}


def test_settings_and_versions_are_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = load(NAME).QUICK
    monkeypatch.setattr(load(NAME), "QUICK", quick.override({"steps": 11}))
    assert found(tree)[RUN] == Status(*RUN, "missing", ("setting steps was 10, is 11",))
    monkeypatch.setattr(load(NAME), "QUICK", quick)
    module = sys.modules[shown_inputs.__module__]
    monkeypatch.setattr(module, "version", lambda package: "99.1.0")
    why = found(tree)[RUN].why
    assert {line.split(" was ")[0] for line in why} == {
        f"version {library}" for library in ("numpy", "scipy", "torch", "torchdiffeq")
    }


def test_a_refusal_of_the_hash_is_told(tree: Path) -> None:
    with (tree / "companion" / "experiments" / f"{NAME}.py").open("a") as file:
        file.write("\n\ndef run(settings, device):\n    return eval('1')\n")
    assert set(states(tree).values()) == {"stale"}
    assert "what eval reaches is unknown" in found(tree)[RUN].why[0]


def test_records_are_fresh_stale_and_of_old(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load(NAME), "PAPER", load(NAME).QUICK)
    (kept,) = (Store().root / NAME).glob("*.json")
    record, key = status.read_result(kept), ("record", NAME)
    write_result(tree / "record.json", record)
    assert found(tree)[key].state == "fresh"
    edit(tree / "companion" / "lab" / "sweep.py", "np.stack(", "2 * np.stack(")
    assert found(tree)[key].why == ("source companion.lab.sweep:sweep changed",)
    write_result(tree / "record.json", dataclasses.replace(record, basis={}))
    assert found(tree)[key].why == ("it was made before the parts of fingerprints were kept",)
    (tree / "record.json").write_text("")
    assert "damaged" in found(tree)[key].why[0]


@pytest.mark.parametrize(
    ("damage", "kind", "sentence"),
    [
        (lambda t: (t / "built/executed/book/chapter.ipynb").write_text("{}"), CHAPTER, "damaged"),
        (lambda t: shutil.rmtree(t / "store"), CHAPTER, "is no longer kept"),
        (lambda t: shutil.rmtree(t / "store"), FIGURE, "is no longer kept"),
        (
            lambda t: next(t.rglob("figures/*/*/*.svg")).write_text(""),
            FIGURE,
            "its files are not those that were drawn",
        ),
    ],
    ids=["a page", "a page without its result", "a figure without it", "a figure"],
)
def test_damage_is_told_and_left_alone(
    tree: Path, damage: Callable[[Path], None], kind: tuple[str, str], sentence: str
) -> None:
    damage(tree / "small")
    before = sorted(tree.rglob("*"))
    assert sentence in found(tree)[kind].why[0]
    assert sorted(tree.rglob("*")) == before


def test_reasons_are_told_in_short_and_in_full() -> None:
    each = Status("figure", "x", "stale", tuple("abcdef"))
    assert each.in_short() == ["a", "b", "c", "d", "and 2 more"]
    assert b'"why": [\n   "a",' in told([each])
