"""Chapters: parameters are checked, failures are named, outputs are grafted."""

from pathlib import Path

import pytest

from companion.chapters import Chapter, check_parameters, graft, read
from companion.errors import BuildError, InputError
from companion.execution import execute

HEAD = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

"""
PARAMETERS = """```{code-cell} python
:tags: [parameters]
profile: str = "quick"
device: str = "cpu"
count: int = 3
```

"""


def cell(code: str) -> str:
    return f"```{{code-cell}} python\n{code}\n```\n\n"


def chapter(folder: Path, *cells: str, prose: str = "Prose.\n") -> Chapter:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "chapter.md"
    path.write_text(HEAD + prose + "\n" + PARAMETERS + "".join(cell(code) for code in cells))
    made = read("chapter", path)
    assert made is not None
    return made


def run(made: Chapter, folder: Path, timeout: int = 60, **parameters: object) -> list:
    given = {"profile": "quick", "device": "cpu", **parameters}
    return list(execute([made], given, folder, jobs=1, timeout=timeout))


def test_a_page_without_code_is_no_chapter(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Title\n\nkernelspec: not here\n")
    assert read("page", tmp_path / "page.md") is None


def test_it_knows_its_experiments_and_parameters(tmp_path: Path) -> None:
    made = chapter(tmp_path, 'r = reproduce("du2019/figure1", profile)\nq = recorded("du2019/x")')
    assert made.experiments == ["du2019/figure1", "du2019/x"]
    assert made.parameters == {"profile": "str", "device": "str", "count": "int"}


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


@pytest.mark.slow
def test_outputs_are_kept_and_prose_is_fresh(tmp_path: Path) -> None:
    made = chapter(tmp_path, "print(count * 2)")
    (first,) = run(made, tmp_path / "out", count=21)
    assert first.seconds > 0
    edited = chapter(tmp_path, "print(count * 2)", prose="Better prose.\n")
    (second,) = run(edited, tmp_path / "out", count=21)
    assert second.seconds == 0
    page = graft(second)
    assert "Better prose." in page.cells[0].source
    assert page.cells[-1].outputs[0].text == "42\n"
    assert all("injected-parameters" not in c.metadata.get("tags", []) for c in page.cells)
    (third,) = run(edited, tmp_path / "out", count=22)
    assert third.seconds > 0
    with pytest.raises(BuildError, match="is not the code that ran"):
        graft(type(third)(chapter(tmp_path, "print(0)"), third.notebook, 0.0))


FAILURES = {
    "raises": ("1 / 0", 60, r"code cell 2 \('1 / 0'\): ZeroDivisionError: division by zero"),
    "dies": ("import os; os._exit(3)", 60, r"code cell 2 .*Kernel died"),
    "hangs": ("import time; time.sleep(60)", 3, r"code cell 2 .*CellTimeoutError"),
    "leaves a cell unrun": ("import sys; sys.exit(0)", 60, r"code cell 2 .*left unrun"),
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_names_chapter_and_cell_and_keeps_the_log(tmp_path: Path, failure: str) -> None:
    code, timeout, sentence = FAILURES[failure]
    made = chapter(tmp_path, code, "print('after')")
    with pytest.raises(BuildError, match="chapter failed in " + sentence) as caught:
        run(made, tmp_path / "out", timeout)
    log = Path(str(caught.value).rsplit("(log: ", 1)[1].rstrip(")"))
    assert log.is_file()
    assert not (tmp_path / "out" / "chapter.ipynb").exists()
