"""The command `companion regime`: its table, its figure, its JSON, and what it refuses."""

import json
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from companion import __main__
from companion.figures.regime import drawn
from companion.press.regime import WIDTH, between, lines, short
from companion.regime.examination import examine


def rows(count: int = 12, dimension: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(count, dimension))
    return x / np.linalg.norm(x, axis=1, keepdims=True), np.sign(draws.normal(size=count))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    x, y = rows()
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    return tmp_path / "mine.npz"


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = monkeypatch, capsys

    def by(self, *words: object) -> tuple[int, str, str]:
        self._patch.setattr(sys, "argv", ["companion", "regime", *map(str, words)])
        code = 0
        try:
            __main__.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *self._capsys.readouterr()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(monkeypatch, capsys)


SMALL = ("--width", 16, "--depth", 2, "--steps", 4)


def test_the_table_is_what_examine_says(mine: Path, said: Said):
    code, told, aside = said.by(mine, *SMALL, "--seed", 3, "--json", mine.with_name("out.json"))
    assert code == 0
    assert "GB available" in aside
    x, y = rows()
    report = examine(x, y, width=16, depth=2, steps=4, seed=3)
    written = json.loads(mine.with_name("out.json").read_text())
    assert written == {"data": "mine.npz", **json.loads(json.dumps(report.told()))}
    assert told.splitlines() == list(lines(written))
    flat = " ".join(told.split())
    for sentence in (report.rule, report.answer):
        assert sentence in flat
    for each in report.demands:
        assert f"{each.work}, {each.statement}" in told
        for why in each.unmet:
            assert flat.count(why) == 1
    for _, share, meaning in report.departure.meanings():
        assert f"{short(share)} {meaning}" in flat
    assert max(map(len, told.splitlines())) <= WIDTH


def test_of_one_hidden_layer_the_margin_over_directions_is_told(mine: Path, said: Said):
    _, told, _ = said.by(mine, "--width", 8, "--depth", 1, "--loss", "quadratic", "--steps", 2)
    assert "Assumption 4.6" in told
    assert "Proposition 4.7" in told
    assert max(map(len, told.splitlines())) <= WIDTH


def test_inputs_are_divided_by_their_norms_where_that_is_asked_for(tmp_path: Path, said: Said):
    x, y = rows()
    np.savez(tmp_path / "long.npz", x=3 * x, y=np.where(y > 0, 5, 2))
    code, _, complaint = said.by(tmp_path / "long.npz", *SMALL)
    assert code == 2
    assert "the largest departure from 1" in complaint
    assert "--normalise" in complaint
    code, told, _ = said.by(tmp_path / "long.npz", *SMALL, "--normalise")
    assert code == 0
    assert "The inputs were divided by their norms, which were off 1 by 2 at most." in told
    assert re.search(r"are 2, taken as -1, and \d+ are 5, taken as \+1", told)


def test_the_first_inputs_are_taken(mine: Path, said: Said):
    code, told, _ = said.by(mine, *SMALL, "--count", 10)
    assert code == 0
    assert "mine.npz, first 10 inputs; 10 inputs of length 4" in told


def test_digits_need_no_files(tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    code, told, _ = said.by("digits", *SMALL, "--count", 20)
    assert code == 0
    assert "digits 3 and 8" in told
    for name in ("mnist", "cifar10"):
        code, _, complaint = said.by(name, *SMALL)
        assert code == 2
        assert f"companion data fetch {name}" in complaint


def test_a_duplicate_is_told_and_a_contradiction_too(tmp_path: Path, said: Said):
    x, y = rows()
    plus = np.flatnonzero(y > 0)
    x[plus[1]] = x[plus[0]]
    np.savez(tmp_path / "twice.npz", x=x, y=y)
    _, told, _ = said.by(tmp_path / "twice.npz", *SMALL)
    assert f"Note: Inputs {plus[0]}, {plus[1]} are equal" in told
    y[plus[1]] = -1
    np.savez(tmp_path / "against.npz", x=x, y=y)
    code, told, _ = said.by(tmp_path / "against.npz", *SMALL, "--figure", tmp_path / "none.svg")
    assert code == 0
    assert "have different labels: no network fits them" in told
    assert "infinite" in told


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_figure_is_drawn(mine: Path, said: Said, kind: str):
    file = mine.with_name(f"out.{kind}")
    code, told, _ = said.by(mine, *SMALL, "--figure", file)
    assert code == 0
    assert told.endswith(f"drawn as {file}\n")
    starts = {"svg": b"<?xml", "png": b"\x89PNG"}
    assert file.read_bytes().startswith(starts[kind])


def test_the_figure_shows_the_curves_and_all_widths():
    x, y = rows()
    told = {"data": "some", **examine(x, y, width=16, depth=1, steps=4).told()}
    table = drawn(told).table
    points = list(zip(table["curve"], table["x"], table["y"], strict=True))
    network = [y for curve, _, y in points if curve == "the network"]
    assert network == told["curves"]["measured"]
    asked = [x for curve, x, _ in points if curve == "asked for"]
    assert asked == [each["width"] for each in told["demands"] if each["width"] is not None]
    labels = [y for curve, _, y in points if curve == "asked for"]
    assert len(set(labels)) == len(labels)
    assert ("this network", 16, None) in points


def test_numbers_are_short():
    assert [short(n) for n in (None, "inf", 0, 0.012345, 1.5e20, 3e-7)] == [
        "-", "infinite", "0", "0.0123", "1.5e20", "3e-7",
    ]  # fmt: skip
    assert between({"lower": 0.123451, "upper": 0.123456}) == "between 0.12345 and 0.12346"
    assert between({"lower": 2.0, "upper": 2.0}) == "exactly 2 up to rounding"
    assert between({"lower": "inf", "upper": "inf"}) == "exactly inf up to rounding"


def damaged(path: Path) -> None:
    x, y = rows()
    np.savez(path, x=x, y=y)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(bytes(content[: len(content) * 2 // 3]))


def flipped(path: Path) -> None:
    x, y = rows()
    np.savez(path, x=x, y=y)
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(bytes(content))


def saved(**arrays: Any) -> Any:
    return lambda path: np.savez(path, **arrays)


X, Y = rows()


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (damaged, "is not an .npz file with numeric arrays x and y"),
        (flipped, "is not an .npz file with numeric arrays x and y"),
        (lambda path: path.write_bytes(b""), "is not an .npz file"),
        (lambda path: path.write_text("x,y\n1,2\n"), "is not an .npz file"),
        (lambda path: path.write_bytes(pickle.dumps({"x": X, "y": Y})), "is not an .npz file"),
        (lambda path: path.mkdir(), "there is no file"),
        (lambda path: None, "there is no file"),
        (saved(x=X), "has no array y; x and y are needed"),
        (saved(a=X), "has no array x and no array y"),
        (saved(x=X.astype(object), y=Y), "is not an .npz file with numeric arrays"),
        (saved(x=X.astype(str), y=Y), "float32 or float64 is needed"),
        (saved(x=X + 0j, y=Y), "float32 or float64 is needed"),
        (saved(x=X, y=Y[:-1]), "(n, d) and (n,) are needed"),
        (saved(x=X, y=Y[:, None]), "(n, d) and (n,) are needed"),
        (saved(x=X, y=np.float64(1)), "(n, d) and (n,) are needed"),
        (saved(x=X[:, 0], y=Y), "(n, d) is needed"),
        (saved(x=X[:1], y=Y[:1]), "n at least 2"),
        (saved(x=X[:0], y=Y[:0]), "n at least 2"),
        (
            saved(x=np.where(np.eye(12, 4, -2) > 0, math.nan, X), y=Y),
            "input 2 holds a number that is not",
        ),
        (saved(x=X, y=np.where(np.arange(12) == 5, math.inf, Y)), "label 5 holds a number"),
        (saved(x=X, y=np.arange(12.0)), "12 different values; two are needed"),
        (saved(x=X, y=np.ones(12)), "1 different values; two are needed"),
        (saved(x=0 * X, y=Y), "has norm 0"),
    ],
)
def test_a_bad_file_is_one_sentence(write: Any, sentence: str, tmp_path: Path, said: Said):
    write(tmp_path / "bad.npz")
    code, told, complaint = said.by(
        tmp_path / "bad.npz", *SMALL, "--json", tmp_path / "out.json", "--figure",
        tmp_path / "out.svg",
    )  # fmt: skip
    assert code == 2
    assert sentence in complaint
    assert len([line for line in complaint.splitlines() if "GB available" not in line]) == 1
    assert told == ""
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--width", "0"], "width is 0; it must be at least 1"),
        (["--width", "-3"], "width is -3"),
        (["--depth", "0"], "depth is 0"),
        (["--steps", "0"], "steps is 0"),
        (["--step-size", "0"], "step_size is 0"),
        (["--step-size", "nan"], "step_size is nan"),
        (["--step-size", "1e9", "--loss", "quadratic", "--steps", "30"], "diverged"),
        (["--loss", "crossentropy"], "did you mean 'cross-entropy'?"),
        (["--parameterisation", "chenn"], "did you mean 'chen'?"),
        (["--parameterisation", "zou", "--width", "7"], "it must be even"),
        (["--device", "tpu"], "no device 'tpu'; choose cpu or cuda"),
        (["--count", "1"], "count is 1"),
        (["--count", "13"], "has 12 inputs"),
        (["--delta", "0"], "delta is 0"),
        (["--accuracy", "1"], "accuracy is 1"),
        (["--tolerance", "-1"], "tolerance is -1"),
        (["--width", "100000000"], "GB may be taken; take a smaller width"),
        (["--figure", "out.jpg"], "must end in one of .svg"),
        (["--figure", "no/such/out.svg"], "there is no folder"),
        (["--json", "no/such/out.json"], "there is no folder"),
        (["--json", "."], "it is a folder"),
    ],
)
def test_a_bad_option_is_one_sentence(words: list[str], sentence: str, mine: Path, said: Said):
    code, told, complaint = said.by(mine, *SMALL, *words)
    assert code == 2
    assert sentence in complaint
    assert len([line for line in complaint.splitlines() if "GB available" not in line]) == 1
    assert told == ""


def test_odd_counts_of_images_are_refused(said: Said):
    code, _, complaint = said.by("digits", "--count", 21)
    assert code == 2
    assert "it must be even" in complaint


def test_a_file_too_large_to_read_is_told_by_its_header(
    mine: Path, said: Said, monkeypatch: pytest.MonkeyPatch
):
    from companion.commands import regime

    few = type("Memory", (), {"available": 300.0})
    monkeypatch.setattr(regime.psutil, "virtual_memory", lambda: few)
    code, _, complaint = said.by(mine, *SMALL)
    assert code == 2
    assert "12 inputs of length 4, which alone are" in complaint
    few.available = 5000.0
    code, _, complaint = said.by(mine, *SMALL)
    assert code == 2
    assert "inputs would fit" in complaint or "smaller width" in complaint


def test_on_a_gpu_its_memory_counts_too(
    mine: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (100, 200))
    code, told, complaint = said.by(mine, *SMALL, "--device", "cuda")
    assert (code, told) == (2, "")
    assert "of 1e-07 GB available; save fewer of them" in complaint
