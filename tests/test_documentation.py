"""What README and the reproduce page tell a user to type works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from companion.base.paths import BOOK, PROJECT
from companion.lab import catalog
from companion.lab.experiment import load
from companion.lab.settings import Settings

README = (PROJECT / "README.md").read_text(encoding="utf-8")
REPRODUCE = (BOOK / "reproduce.md").read_text(encoding="utf-8")
API = (BOOK / "engines" / "api.md").read_text(encoding="utf-8")


def commands(text: str, program: str) -> list[str]:
    """Lines of bash blocks that start with `program`, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(program)]


def in_environment(line: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment, as a shell would after its activation."""
    program, *words = shlex.split(line)
    command = [str(Path(sys.executable).parent / program), *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("text", [README, REPRODUCE], ids=["README", "reproduce"])
def test_the_two_papermill_lines_work(text: str, tmp_path: Path, store: Path) -> None:
    lines = commands(text, "jupytext") + commands(text, "papermill")
    assert len(lines) == 2
    for line in lines:
        placed = re.sub(r"\b(page|executed)\.ipynb", rf"{tmp_path}/\1.ipynb", line)
        done = in_environment(placed)
        assert done.returncode == 0, done.stderr[-2000:]
    assert "du2019-thm4.1" in (tmp_path / "executed.ipynb").read_text()


@pytest.mark.slow
def test_a_misspelt_parameter_stops_papermill(tmp_path: Path, store: Path) -> None:
    """papermill itself warns and runs the defaults."""
    (line,) = commands(README, "jupytext")
    notebook = str(tmp_path / "page.ipynb")
    done = in_environment(line.replace("page.ipynb", notebook))
    assert done.returncode == 0, done.stderr[-2000:]
    done = in_environment(f"papermill {notebook} {notebook} -k python3 -p profil paper")
    assert done.returncode != 0
    assert "there is no parameter 'profil'; did you mean 'profile'?" in done.stderr
    assert not list(store.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("text", [README, REPRODUCE, API], ids=["README", "reproduce", "api"])
def test_python_examples_run(text: str, store: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "example", "exec"), {})


@pytest.mark.parametrize("text", [README, REPRODUCE], ids=["README", "reproduce"])
def test_commands_name_what_there_is(text: str) -> None:
    for line in commands(text, "companion run"):
        _, _, name, *options = shlex.split(line)
        settings: Settings = load(name).QUICK
        for option in options:
            if "=" in option and not option.startswith("file="):
                setting, value = option.split("=", 1)
                settings = settings.override({setting: yaml.safe_load(value)})
    for line in commands(text, "companion cite"):
        catalog.check_figure(line.split()[2])
