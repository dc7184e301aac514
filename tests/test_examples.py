"""The examples in docstrings of the mathematics run and give what they say."""

import doctest
import importlib
import math

import pytest
import torch

import companion
from companion.base.paths import PACKAGE, PROJECT

MODULES = [
    ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
# As the page of the library says: `import math, torch` and `from companion import *`.
ASSUMED = {name: getattr(companion, name) for name in companion.__all__}
ASSUMED |= {"math": math, "torch": torch}


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str) -> None:
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    found = doctest.DocTestFinder().find(importlib.import_module(module), extraglobs=ASSUMED)
    for example in found:
        runner.run(example, out=told.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(told)


def test_the_most_used_functions_have_one() -> None:
    used = ("sphere", "empirical_gram", "infinite_width_ntk", "infinite_width_gram", "lambda_min")
    used += ("class_value", "smallest_radius", "ntrf_margin", "train_fleet", "least_eigenvalue")
    assert [name for name in used if ">>> " not in str(getattr(companion, name).__doc__)] == []
