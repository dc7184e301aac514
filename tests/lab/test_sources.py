"""The source hash: what changes it, and what must not."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from companion.base.paths import PACKAGE, PROJECT
from companion.lab import catalog, sources
from companion.lab.fingerprint import source_hash

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
from companion.lab.results import Result

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


EVERY_SYNTAX = r'''
async def f(a, /, b: int = 1, *c, d=None, **e) -> "x":
    """Doc."""
    async with a as b, c: pass
    async for i in j: break
    else: continue
    return [i async for i in x if y]
def g(x):
    return f"{x!r:>{x}.{x}f}{{a}}" "b" f'c{x=}d{x:}' rf"\d{x}" f"{x:%Y}" f"a{x:{x}}" f"{{{x}}}"
z = lambda *, k=1: (yield)
match z:
    case {"a": [1, *_], **r} if r: pass
    case None | True | A(b, c=1) | -1+2j: pass
    case _: pass
x: int
(y): int = 5
try: pass
except* (A, B) as e: raise C from e
a[1:2, ..., ::3] = b"\xff\n", 1e400, 1e-7, 10**30, 0x_ff, "\u2028\U0001fae8", u"u", 1j, True, ...
class Q(P, metaclass=M):
    "d"
print(*a, **b) if (n := 3) else {**c, 1: 2}; del a, b[0]; s = {1} | {i for i in a}
w = x if not -y else ~z @ w // v << 3 <= 4 not in u is not t
'''


def hash_of_every_syntax() -> str:
    return hashlib.sha256(sources._plain(ast.parse(EVERY_SYNTAX)).encode()).hexdigest()[:16]


def test_the_hash_is_the_same_under_every_python() -> None:
    """Whichever Python runs the tests: 3.11, 3.12 and 3.13 gave this one."""
    assert hash_of_every_syntax() == "84c27791f36a0c07"


OTHERS = [
    python
    for minor in range(11, 16)
    if (python := shutil.which(f"python3.{minor}")) and minor != sys.version_info.minor
]


@pytest.mark.parametrize("python", OTHERS)
def test_every_experiment_has_the_same_hash_under_another_python(python: str) -> None:
    """The module that hashes needs nothing but Python, so it is run there on its own."""
    program = f"""
import sys, types
from pathlib import Path
package = types.ModuleType("companion")
package.__path__ = [{str(PACKAGE)!r}]
listing = types.ModuleType("companion.lab.catalog")
listing.PROJECT = Path({str(PROJECT)!r})
sys.modules |= {{"companion": package, "companion.lab.catalog": listing}}
from companion.lab.sources import compute_hash
for name in sys.argv[1:]:
    print(compute_hash("companion.experiments." + name.replace("/", "."), ("run", "judge")))
"""
    # Where pyenv's stand-ins are on the path, they ask which version is meant.
    environment = {**os.environ, "PYENV_VERSION": Path(python).name.removeprefix("python")}
    version = subprocess.run([python, "-V"], env=environment, capture_output=True, check=False)
    if version.returncode != 0:
        pytest.skip(f"{python} does not start here")
    names = catalog.experiments()
    command = [python, "-c", program, *names]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [source_hash(name, ("run", "judge")) for name in names]


def test_imports_are_followed_however_they_are_written(package: Path) -> None:
    (package / "__init__.py").write_text("")
    (package / "experiments" / "__init__.py").write_text("from companion import other")
    for name in ("other", "one_more", "deep", "lazy", "starred"):
        (package / f"{name}.py").write_text("")
    (package / "experiments" / "_near.py").write_text("from .. import one_more")
    (package / "experiments" / "one.py").write_text(
        "from ._near import x\nimport companion.deep\nfrom companion.starred import *\n"
        "def run():\n    from companion.lazy import y\nimport numpy.linalg, os"
    )
    found = sources.imported_files("companion.experiments.one")
    assert {str(path.relative_to(package)) for path in found} == {
        *("__init__.py", "experiments/__init__.py", "experiments/one.py", "experiments/_near.py"),
        *("other.py", "one_more.py", "deep.py", "lazy.py", "starred.py"),
    }


@pytest.mark.parametrize("name", catalog.experiments())
def test_every_experiment_reaches_the_numerics(name: str) -> None:
    module = f"companion.experiments.{name.replace('/', '.')}"
    modules = {key.split(":")[0] for key in sources.reachable(module, ("run",))}
    # One that judges a file of measurements computes nothing itself.
    assert len(modules) > 2 or str(catalog.constant(name, "DATA")).endswith(".json")
    assert not modules & {f"companion.{part}" for part in sources.PRESS}
    assert source_hash(name, ("run",)) != source_hash(name, ("run", "judge"))
