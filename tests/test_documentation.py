"""What README and the reproduce page tell a user to type works as it stands."""

import dataclasses
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks.harness import targets, turns
from companion import __main__
from companion.base.paths import BOOK, PROJECT
from companion.commands import data, fresh, verify
from companion.datafolders import fetched_to
from companion.lab import provenance, verified
from companion.lab.experiment import load
from companion.lab.fingerprint import basis, fingerprint_of
from companion.lab.replay import Replayed
from companion.lab.replay_plan import Drawn
from companion.lab.reproduce import record_of
from companion.lab.store import Store
from companion.press import book
from tests.test_bench import TOYS

PAGES = {
    name: (PROJECT / name).read_text(encoding="utf-8")
    for name in ("book/reproduce.md", "README.md")
}
API = (BOOK / "engines" / "api.md").read_text(encoding="utf-8")
ACTIVATE = ". .venv/bin/activate"
EVERY_PAGE = [
    *(path for path in sorted(BOOK.rglob("*.md")) if "published" not in path.parts),
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
]


def examples(text: str) -> Iterator[tuple[str, str]]:
    """Language and text of every command and program of a page, in order.

    Raises:
        ValueError: an example in a language that no test runs.
    """
    for _, language, block in re.findall(r"^(`{3,})([^\n]*)\n(.*?)^\1$", text, re.M | re.S):
        if language == "bash":
            lines = block.replace("\\\n", " ").splitlines()
            yield from ((language, line) for line in lines if shlex.split(line, comments=True))
        elif language == "python":
            yield language, block
        elif language.startswith("{"):  # a directive, around what it shows
            yield from examples(block)
        else:
            raise ValueError(f"no test runs examples in '{language}'")


@dataclasses.dataclass
class Desk:
    """A folder of somebody who works through a page, with a store of their own.

    Attributes:
        folder: it has the project's pages and its environment.
        said: what the commands printed, by command.
        built: profile and device of every book that was asked for.
    """

    folder: Path
    said: dict[str, str] = dataclasses.field(default_factory=dict)
    built: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def work_through(self, text: str) -> None:
        """Run every example of a page, unless it was run before."""
        for language, example in examples(text):
            words = shlex.split(example, comments=True) if language == "bash" else []
            if language == "python":
                exec(compile(example, "example", "exec"), {})
            elif shlex.join(words) not in self.said:
                self.said[shlex.join(words)] = self.run(words, example)

    def run(self, words: list[str], line: str) -> str:
        """What a command prints; AssertionError if it does not work."""
        if words[0] == "companion":
            return self.companion(*words[1:])
        if words[0] == "make":
            return self.make(*words[1:])
        return self.shell(line)

    def companion(self, *words: str) -> str:
        """The command, in this process, where the benchmark's sizes and the GPU can be replaced."""
        told, complaints, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["companion", *words])
            patch.setattr(sys, "stdout", told)
            patch.setattr(sys, "stderr", complaints)
            try:
                __main__.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        if "cuda" in words and words[0] != "book":
            assert "torch sees no GPU here" in complaints.getvalue()
        else:
            assert not code, f"{shlex.join(words)}: {complaints.getvalue()}"
        return told.getvalue()

    def make(self, *words: str) -> str:
        """What make would do; of that, what is the companion's."""
        recipe = self.shell(shlex.join(["make", "--dry-run", "-C", str(PROJECT), *words]))
        for line in recipe.splitlines():
            if line.startswith(".venv/bin/companion "):
                self.companion(*shlex.split(line)[1:])
        return recipe

    def shell(self, line: str) -> str:
        """What bash says to a line, once the project's environment is activated."""
        done = subprocess.run(
            ["bash", "-c", f"{ACTIVATE} && {line}"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture
def desk(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Where much work is asked for, little is done: of books, the benchmark, a GPU, data, seeds."""
    made = Desk(tmp_path / "desk")
    made.folder.mkdir()
    (made.folder / "book").symlink_to(BOOK)
    (made.folder / ".venv").symlink_to(sys.prefix)
    monkeypatch.chdir(made.folder)

    def build(_: book.Book, *, profile: str, device: str, **__: Any) -> Path:
        made.built.append((profile, device))
        return Path("index.html")

    monkeypatch.setattr(book, "build", build)
    toy = targets.Target("gram", targets.GRAM, targets.TORCH_FUNC, TOYS["gram"], 1e-9)
    monkeypatch.setattr(targets, "TARGETS", [toy])
    monkeypatch.setattr(turns, "TURN_SECONDS", 0)
    monkeypatch.setattr(turns, "PAUSE_SECONDS", 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(data, "fetch_data", lambda name: fetched_to(name))
    # Of records only what is drawn is found out, and nothing is noted.
    monkeypatch.setattr(verify, "replays", lambda drawn, seed, say: list(map(agreeing, drawn)))
    monkeypatch.setattr(verify, "commit", lambda: "0123456789ab")
    monkeypatch.setattr(verified, "BOOK", made.folder / "noted")
    monkeypatch.setattr(fresh, "experiments", lambda: ["zou2018/polynomials"])
    monkeypatch.setattr(provenance, "COUNTS", made.folder / "fresh.json")
    return made


def agreeing(part: Drawn) -> Replayed:
    return Replayed(part.record.experiment, "agrees", 0, part.words, compared=1)


def keep_record(experiment: str) -> None:
    """Put the committed record into the store, as if its hours had been spent here."""
    record, paper = record_of(experiment), load(experiment).PAPER
    assert record is not None
    assert record.settings == paper.model_dump(mode="json")
    parts = basis(experiment, paper, "cpu")
    Store().save(dataclasses.replace(record, fingerprint=fingerprint_of(parts), basis=parts))


@pytest.mark.slow
def test_every_command_and_example_of_the_pages_works(desk: Desk) -> None:
    keep_record("du2019/figure1")
    for text in PAGES.values():
        desk.work_through(text)
    assert ("paper", "cuda") in desk.built
    assert "du2019-thm4.1" in (desk.folder / "executed.ipynb").read_text()
    counted = json.loads((desk.folder / "fresh.json").read_text())
    assert list(counted) == ["zou2018/elementary", "zou2018/polynomials", "zou2018/worst_case"]
    assert (desk.folder / "figure1a.svg").read_text().startswith("<?xml")
    for line, said in desk.said.items():
        if line.startswith("companion run") and "--fresh" not in line:
            assert not re.search(r"\bnan\b|[\\$]", said), (line, said)
            stored = re.search(r"^stored as (.*)$", said, re.M)
            assert stored is not None
            assert Path(stored[1]).is_file()
        if "--set 'widths=[200,400]'" in line:
            outcomes = dict(re.findall(r"\((du2019-\S+)\): (.*)", said))
            assert {outcomes[f"du2019-fig1{panel}"] for panel in "abc"} == {"inconclusive"}
            assert said.count("Not comparable") == 3


@pytest.mark.parametrize(
    "added",
    [
        "companion rum du2019/linear_rate",
        "companion run du2019/linear_rate --sett steps=5",
        "companion cite du2019-figure-1",
        "make bok",
        "no-such-program",
        "cat no-such-file  # a comment",
    ],
)
def test_a_command_that_does_not_work_is_found(desk: Desk, added: str) -> None:
    with pytest.raises(AssertionError):
        desk.work_through(f"Text.\n\n```bash\n{added}\n```\n")
    with pytest.raises(ValueError, match="no test runs examples in 'sh'"):
        desk.work_through(f"```sh\n{added}\n```\n")


@pytest.mark.parametrize("path", EVERY_PAGE, ids=lambda path: path.name)
def test_a_command_within_a_sentence_names_what_there_is(path: Path) -> None:
    """Its words, its options and its targets."""
    known = typer.main.get_command(__main__.app).commands
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for line in re.findall(r"`((?:companion|make) [^`]+)`", text):
        program, name, *rest = shlex.split(line)
        if program == "make":
            assert re.search(rf"^{name}:", (PROJECT / "Makefile").read_text(), re.M), line
        else:
            assert name in known, line
            options = {option for each in known[name].params for option in each.opts}
            assert {word for word in rest if word.startswith("--")} <= options, line


@pytest.mark.slow
def test_a_misspelt_parameter_stops_papermill(desk: Desk) -> None:
    """papermill itself warns and runs the defaults."""
    lines = [example for _, example in examples(PAGES["README.md"])]
    (line,) = (line for line in lines if line.startswith("jupytext"))
    desk.work_through(f"```bash\n{line}\n```\n")
    with pytest.raises(AssertionError, match=r"'profil'; did you mean 'profile'\?"):
        desk.work_through(
            "```bash\npapermill page.ipynb page.ipynb -k python3 -p profil paper\n```"
        )
    assert not list(Store().root.rglob("*.json"))


@pytest.mark.slow
def test_python_examples_of_the_library_run(desk: Desk) -> None:
    assert [language for language, _ in examples(API)] == ["python"]
    desk.work_through(API)
