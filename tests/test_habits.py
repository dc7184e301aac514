"""The habits of the house, kept by the tools that know them."""

import subprocess
import sys
from pathlib import Path

import pytest

from companion.base.paths import PROJECT

TOOLS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}


@pytest.mark.slow
@pytest.mark.parametrize("habit", TOOLS)
def test_habit(habit: str) -> None:
    tool, *words = TOOLS[habit]
    command = [str(Path(sys.executable).parent / tool), *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
