"""Processes that cannot import the book's packages, as if these were not installed."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from companion.base.paths import PROJECT

REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refusing())
"""


def refuse_book(folder: Path) -> None:
    """Write what refuses all that only `companion[book]` brings, for PYTHONPATH to name."""
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = declared["optional-dependencies"]["book"]
    book = {re.split(r"[<>=]", requirement)[0].lower() for requirement in wanted}
    names = {
        name
        for name, distributions in packages_distributions().items()
        if book & {distribution.lower() for distribution in distributions}
    }
    assert {"matplotlib", "typer", "pydantic", "jupytext", "papermill", "yaml", "mlxtend"} <= names
    (folder / "sitecustomize.py").write_text(REFUSING.format(names=names))
