"""The source hash: what changes it, and what must not."""

from pathlib import Path

import pytest

from companion import catalog, sources
from companion.results import source_hash

LIBRARY = '''
"""A floor module."""
SCALE = 2.0

def used(x):
    """Doc."""
    return x * SCALE  # a comment

def unused(x):
    return x + 1

class Shape:
    """Doc."""
    def area(self):
        return used(3)
'''
EXPERIMENT = '''
"""An experiment."""
from companion import numbers
from companion.numbers import used as renamed
from companion.results import Result

def run(settings, device):
    return Result(helper(settings) + numbers.Shape().area())

def helper(settings):
    return renamed(settings)

def judge(result):
    return []
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules in place of the real one."""
    folder = tmp_path / "companion"
    (folder / "experiments").mkdir(parents=True)
    (folder / "numbers.py").write_text(LIBRARY)
    (folder / "results.py").write_text("class Result: pass")
    (folder / "experiments" / "one.py").write_text(EXPERIMENT)
    monkeypatch.setattr(sources, "PROJECT", tmp_path)
    return folder


def digest() -> str:
    return sources.compute_hash("companion.experiments.one", ("run",))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_it_reaches_across_modules_by_name_and_by_attribute(package: Path) -> None:
    reached = sources.reachable("companion.experiments.one", ("run",))
    definitions = {name for name in reached if not name.endswith(":")}
    assert definitions == {
        "companion.experiments.one:run",
        "companion.experiments.one:helper",
        "companion.numbers:used",
        "companion.numbers:SCALE",
        "companion.numbers:Shape",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [("x * SCALE", "x / SCALE"), ("SCALE = 2.0", "SCALE = 3.0"), ("used(3)", "used(4)")],
)
def test_a_change_in_reached_code_changes_it(package: Path, old: str, new: str) -> None:
    before = digest()
    edit(package / "numbers.py", old, new)
    assert digest() != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ('"""Doc."""', '"""Other words."""'),
        ("x + 1", "x + 2"),
        ("x * SCALE", "(x  *  SCALE)"),
        ("def unused", "def new(): pass\n\ndef unused"),
    ],
)
def test_comments_docstrings_layout_and_unreached_code_do_not(
    package: Path, old: str, new: str
) -> None:
    before = digest()
    edit(package / "numbers.py", old, new)
    assert digest() == before


def test_judging_and_the_press_stay_outside(package: Path) -> None:
    before = digest()
    edit(package / "experiments" / "one.py", "return []", "return [1]")
    edit(package / "results.py", "pass", "x = 1")
    assert digest() == before


def test_a_module_handed_on_whole_counts_whole(package: Path) -> None:
    edit(package / "experiments" / "one.py", "renamed(settings)", "map(numbers, settings)")
    before = digest()
    edit(package / "numbers.py", "x + 1", "x + 2")
    assert digest() != before


@pytest.mark.parametrize("name", catalog.experiments())
def test_every_experiment_reaches_the_numerics(name: str) -> None:
    module = f"companion.experiments.{name.replace('/', '.')}"
    modules = {key.split(":")[0] for key in sources.reachable(module, ("run",))}
    # One that judges a file of measurements computes nothing itself.
    assert len(modules) > 2 or str(catalog.constant(name, "DATA")).endswith(".json")
    assert not modules & {f"companion.{part}" for part in sources.PRESS}
    assert source_hash(name, ("run",)) != source_hash(name, ("run", "judge"))
