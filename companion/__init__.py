"""Executable companion to papers on gradient descent for over-parameterized ReLU networks.

`companion.empirical_gram` and its like import what they need when they are first asked for.
"""

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

__version__ = version("companion")


def _declared() -> dict[str, str]:
    """Public name -> its module, as `__init__.pyi` tells type checkers and editors (SPEC 1)."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_HOMES = _declared()
# A star means the mathematics, which installs without what experiments need.
__all__ = [name for name, home in _HOMES.items() if not home.startswith("companion.lab.")]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'companion' has no attribute '{name}'")
    try:
        value: object = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"companion.{name} needs {error.name}; pip install 'companion[book]' brings it.",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
