"""Chapters: what cannot be read is refused, keys cover what outputs depend on, prose is fresh."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from companion.base.paths import BOOK, PACKAGE
from companion.errors import BuildError, InputError
from companion.lab import modules
from companion.lab.results import Result, write_result
from companion.lab.store import Store
from companion.press import chapters
from companion.press.chapters import check_parameters, graft, read, result_of
from companion.press.keeping import kept
from tests.small_chapters import PARAMETERS, chapter, run, source

GIVEN = {"profile": "quick", "device": "cpu"}


def test_a_page_without_code_is_no_chapter(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Title\n\nkernelspec: not here\n")
    assert read("page", tmp_path / "page.md") is None
    (tmp_path / "page.md").write_text("# Title\n\n````md\n```{code-cell}\n1\n```\n````\n")
    assert read("page", tmp_path / "page.md") is None


def test_it_knows_its_experiments_and_parameters(tmp_path: Path) -> None:
    made = chapter(
        tmp_path,
        'r = reproduce("du2019/figure1", profile)\nq = recorded("du2019/x")',
        'from companion import results\nresults.reproduce("du2019/y")',
    )
    assert made.experiments == ["du2019/figure1", "du2019/x", "du2019/y"]
    assert made.parameters == {"profile": "str", "device": "str", "count": "int"}
    assert made.defaults == {"profile": "quick", "device": "cpu", "count": 3}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("x = 1\ny = = 2", r"code cell 2 is not Python at 'y = = 2' \(invalid syntax\)\."),
        ("%time x = 1", "code cell 2 is not Python at '%time x = 1' .*; magics have no place"),
        ("!ls", "code cell 2 is not Python at '!ls' .*; magics have no place"),
        ("def f(:\n    pass", r"code cell 2 is not Python at 'def f\(:'"),
        ("if x:", "code cell 2 is not Python at 'if x:'"),
        ("x = " + "-" * 9000 + "1", "code cell 2 is not code that Python can read"),
    ],
)
def test_code_that_cannot_be_read_is_refused(tmp_path: Path, code: str, sentence: str) -> None:
    with pytest.raises(InputError, match=rf"chapter\.md: {sentence}"):
        chapter(tmp_path, code)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ('name = "du2019/figure1"\nreproduce(name)', r"reproduce\(name\) does not name its exp"),
        ("recorded(f'du2019/{x}')", r"does not name its experiment in quotes; write recorded\("),
        ("reproduce(name='du2019/figure1')", "does not name its experiment"),
        ("reproduce(*names)", "does not name its experiment"),
        (
            "from companion.lab.reproduce import reproduce as again",
            "imports reproduce under another",
        ),
        ("again = reproduce", "uses reproduce without calling it"),
        (
            "from functools import partial\npartial(reproduce.recorded, 'x')",
            "uses recorded without",
        ),
    ],
)
def test_an_experiment_that_cannot_be_read_off_is_refused(
    tmp_path: Path, code: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        _ = chapter(tmp_path, code).experiments


def test_a_default_that_is_not_written_out_is_refused(tmp_path: Path) -> None:
    computed = PARAMETERS.replace("count: int = 3", "count: int = len('abc')")
    with pytest.raises(InputError, match="default is not written out"):
        _ = chapter(tmp_path, parameters=computed).defaults


TEXT = source("x = 1", prose="Poczós.\n")


@pytest.mark.parametrize(
    "content",
    [TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode(), TEXT.replace("\n", "\r\n").encode()],
    ids=["plain", "byte-order mark", "line ends of Windows"],
)
def test_texts_of_all_editors_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.md").write_bytes(content)
    made = read("page", tmp_path / "page.md")
    assert made is not None
    assert "Poczós" in made.notebook.cells[0].source


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (TEXT.encode("latin-1"), r"page\.md is not UTF-8 text \(line 10\); save it as UTF-8"),
        (TEXT.encode("utf-16"), r"page\.md is not UTF-8 text \(line 1\)"),
        (b"\n" + TEXT.encode(), r"page\.md must start with its '---'; delete what is blank"),
        (b" \r\n\r\n" + TEXT.encode(), r"page\.md must start with its '---'"),
        (b"---\nkernelspec: [\n---\n", r"page\.md is not readable as a MyST notebook"),
        (TEXT.replace("kernelspec", "kernel").encode(), r"page\.md has code cells and no 'kernels"),
    ],
)
def test_texts_that_are_none_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "page.md").write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read("page", tmp_path / "page.md")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"cuont": 3}, "did you mean 'count'"),
        ({"count": "3"}, "count of chapter is a int, not str '3'"),
        ({"profile": "slow"}, "no profile 'slow'"),
        ({"device": "tpu"}, "no device 'tpu'"),
    ],
)
def test_parameters_are_refused_before_papermill_sees_them(
    tmp_path: Path, parameters: dict, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        check_parameters(chapter(tmp_path), parameters)


def multiply(path: Path, factor: float) -> None:
    """Multiply the numbers in the last column of a table of published values."""
    head, *rows = path.read_text().splitlines()
    parts = [row.rsplit(",", 1) for row in rows]
    path.write_text("\n".join([head, *(f"{a},{float(b) * factor}" for a, b in parts)]) + "\n")


def change_published(book: Path) -> None:
    multiply(book / "published" / "du2019_fig1a.csv", 10)


def change_record(book: Path) -> None:
    path = book / "records" / "du2019" / "figure1.json"
    path.write_text(path.read_text().replace("0", "1", 1))


def change_benchmark(book: Path) -> None:
    with (book / "benchmarks" / "two_cores.json").open("a") as file:
        file.write(" ")


@pytest.mark.parametrize("change", [change_published, change_record, change_benchmark])
def test_the_key_covers_the_files_that_a_page_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """Published values times ten used to leave the verdict 'holds'."""
    shutil.copytree(BOOK, tmp_path / "book")
    for name in ("lab.reproduce", "lab.fingerprint"):
        module = importlib.import_module(f"companion.{name}")
        monkeypatch.setattr(module, "BOOK", tmp_path / "book")
    made = chapter(tmp_path, 'reproduce("du2019/figure1", profile, device)')
    before = made.key(GIVEN)
    assert made.key(GIVEN) == before
    change(tmp_path / "book")
    assert made.key(GIVEN) != before


@pytest.mark.parametrize("where", ["default", "given", "code"])
def test_the_key_covers_a_user_s_file(tmp_path: Path, where: str) -> None:
    """A page whose settings name a file used to keep the numbers of the file it had before."""
    named = '{"file": "mine.npz"}' if where == "default" else "{}"
    code = ', file="mine.npz"' if where == "code" else ""
    declared = PARAMETERS.replace("count: int = 3", f"settings: dict = {named}")
    made = chapter(tmp_path, f'reproduce("du2019/real_digits"{code})', parameters=declared)
    given = GIVEN | ({"settings": {"file": str(tmp_path / "mine.npz")}} if where == "given" else {})
    keys = []
    for scale in (1.0, 2.0):
        np.savez(tmp_path / "mine.npz", x=np.eye(3), y=scale * np.ones(3))
        keys.append(made.key(given))
    (tmp_path / "mine.npz").unlink()
    assert len({*keys, made.key(given)}) == 3


def test_the_key_covers_modules_beside_the_page(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    made = chapter(tmp_path, "import helper, package")
    keys = [made.key(GIVEN)]
    for name in ("helper.py", "package/__init__.py", "package/deep.py"):
        (tmp_path / name).write_text("V = 1\n")
        keys.append(made.key(GIVEN))
        (tmp_path / name).write_text("V = 2\n")
        keys.append(made.key(GIVEN))
    assert len(set(keys)) == len(keys)


def test_a_chapter_without_parameters_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no cell tagged 'parameters'"):
        check_parameters(chapter(tmp_path, parameters=""), GIVEN)


def test_the_key_covers_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = chapter(tmp_path, "x = 1")
    before = made.key(GIVEN)
    monkeypatch.setattr(chapters, "version", lambda package: "other")
    assert made.key(GIVEN) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"distance": unit_distances}', '"distance": unit_distances, "again": misfit}'),
        ('"bound_ratio": (1 - ', '"bound_ratio": (2 - '),
        ("the distance of the farthest unit at any step", "the farthest distance"),
        ("one unit is 1 % outside the ball", "one unit is outside the ball"),
        ("steps: Size = 50", "steps: Size = 51"),
        ("QUICK = Settings()", "QUICK = Settings(steps=51)"),
        ("steps=100,", "steps=101,"),
    ],
    ids=["run", "values", "judge", "CONTROLS", "Settings", "QUICK", "PAPER"],
)
def test_the_key_covers_all_that_a_page_takes_from_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """Also the values that its prose quotes, and the words of its verdicts."""
    shutil.copytree(PACKAGE, tmp_path / "companion")
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    made = chapter(tmp_path / "page", 'reproduce("du2019/linear_rate", profile, device)')
    before = made.key(GIVEN)
    path = tmp_path / "companion" / "experiments" / "du2019" / "linear_rate.py"
    text = path.read_text()
    path.write_text(text + "\n\ndef unused():\n    return 1\n")
    assert made.key(GIVEN) == before
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    assert made.key(GIVEN) != before


@pytest.mark.parametrize("where", ["store", "record"])
def test_a_mark_leads_to_its_own_result_or_to_none(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    told = {"commit": "1", "created": "today", "seconds": 1.0}
    result = Result("du2019/a", {}, xr.Dataset(), fingerprint="0123", provenance=told)
    monkeypatch.setattr(chapters, "record_path", lambda name: tmp_path / "record.json")
    mark = {"experiment": "du2019/a", "fingerprint": "0123", "profile": "paper"}
    assert result_of(mark) is None
    if where == "store":
        Store().save(result)
    else:
        write_result(tmp_path / "record.json", result)
    found = result_of(mark)
    assert found is not None
    assert (found.fingerprint, found.profile) == ("0123", "paper")
    assert result_of(mark | {"fingerprint": "4567"}) is None


@pytest.mark.slow
def test_outputs_are_kept_and_prose_is_fresh(tmp_path: Path) -> None:
    made = chapter(tmp_path, "print(count * 2)")
    (first,) = run(made, folder=tmp_path / "out", count=21)
    assert first.seconds > 0
    edited = chapter(tmp_path, "print(count * 2)", prose="Better prose.\n")
    (second,) = run(edited, folder=tmp_path / "out", count=21)
    assert second.seconds == 0
    page = graft(second)
    assert "Better prose." in page.cells[0].source
    assert page.cells[-1].outputs[0].text == "42\n"
    assert all("injected-parameters" not in c.metadata.get("tags", []) for c in page.cells)
    (third,) = run(edited, folder=tmp_path / "out", count=22)
    assert third.seconds > 0
    with pytest.raises(BuildError, match="is not the code that ran"):
        graft(type(third)(chapter(tmp_path, "print(0)"), third.notebook, 0.0))


DAMAGES = {
    "emptied": lambda text: "",
    "cut off": lambda text: text[:-20],
    "another number": lambda text: text.replace("42", "43"),
    "no notebook": lambda text: json.dumps({"metadata": {}}),
    "no text": lambda text: "\udcff",
}


@pytest.mark.slow
def test_a_damaged_executed_page_is_set_aside_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = chapter(tmp_path, "print(42)")
    run(made, folder=tmp_path / "out")
    path, key = tmp_path / "out" / "chapter.ipynb", made.key(GIVEN)
    intact = path.read_text()
    for damage in DAMAGES.values():
        assert kept(made, key, tmp_path / "out") is not None
        assert damage(intact) != intact
        path.write_text(damage(intact), errors="surrogateescape")
        assert kept(made, key, tmp_path / "out") is None
        assert f"{path} is damaged. It is set aside" in caplog.text
        caplog.clear()
        path.write_text(intact)
    path.write_text("")
    (again,) = run(made, folder=tmp_path / "out")
    assert again.seconds > 0
