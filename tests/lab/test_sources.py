"""The source hash: what changes it, and what must not."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from companion.base.paths import PACKAGE, PROJECT
from companion.lab import catalog, modules, sources
from companion.lab.fingerprint import source_hash
from companion.lab.plain import plain

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
    (folder / "lab").mkdir()
    (folder / "lab" / "results.py").write_text("class Result: pass")
    (folder / "experiments" / "one.py").write_text(EXPERIMENT)
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    return folder


def digest() -> str:
    return sources.compute_hash("companion.experiments.one", ("run",))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_it_reaches_across_modules_by_name_and_by_attribute(package: Path) -> None:
    reached = sources.reachable("companion.experiments.one", ("run",))
    assert set(reached) == {
        "companion.experiments.one:Result",
        "companion.experiments.one:numbers",
        "companion.experiments.one:renamed",
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
    edit(package / "lab" / "results.py", "pass", "x = 1")
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
    return hashlib.sha256(plain(ast.parse(EVERY_SYNTAX)).encode()).hexdigest()[:16]


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
paths = types.ModuleType("companion.base.paths")
paths.PROJECT = Path({str(PROJECT)!r})
sys.modules |= {{"companion": package, "companion.base.paths": paths}}
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
def test_every_experiment_reaches_the_numerics_and_no_press(name: str) -> None:
    module = f"companion.experiments.{name.replace('/', '.')}"
    reached = {key.split(":")[0] for key in sources.reachable(module, ("run",))}
    # One that judges a file of measurements computes nothing itself.
    assert len(reached) > 2 or str(catalog.constant(name, "DATA")).endswith(".json")
    assert not {m for m in reached if m.startswith(("companion.press", "companion.figures"))}
    assert source_hash(name, ("run",)) != source_hash(name, ("run", "judge"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports whom, as a library sees it that knows nothing of our hash."""
    return grimp.build_graph("companion", cache_dir=None)


def names_in(search: sources.Search, module: str) -> set[str]:
    """The names that stand in what was reached of a module."""
    units = (unit for unit in search.found.values() if unit.module.name == module)
    nodes = (n for unit in units for statement in unit.statements for n in ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def imported_names(line: str) -> set[str]:
    """The names that a line of code imports, as it may be cut off in its middle."""
    words = line.partition(" import ")[2] or line.partition("import ")[2]
    return set(re.findall(r"\w+", words.partition("#")[0])) - {"as"}


@pytest.mark.parametrize("name", catalog.experiments())
def test_the_import_graph_agrees(graph: grimp.ImportGraph, name: str) -> None:
    """Every module that the experiment imports is taken notice of, and used if its names are.

    With `from ._flows import ...` ignored, the helper was in the graph and not in the hash.
    """
    module = f"companion.experiments.{name.replace('/', '.')}"
    search = sources.search_from(module, ("run", "Settings"))
    used = {key.split(":")[0] for key in {*search.found, *search.left_out} if key[-1] != ":"}
    for importer in [module, *sorted(graph.find_upstream_modules(module))]:
        names = names_in(search, importer)
        for imported in graph.find_modules_directly_imported_by(importer):
            for detail in graph.get_import_details(importer=importer, imported=imported):
                words = imported_names(detail["line_contents"])
                assert imported in used or not words & names, (importer, imported, words)
            if importer in search.modules and not is_lazy(graph, importer, imported):
                assert imported in search.modules, (importer, imported)
    assert {key.split(":")[0] for key in search.found} <= {*search.modules}
    # The graph does not say that a package runs before what is in it.
    assert used - {module, "companion"} <= graph.find_upstream_modules(module)


def is_lazy(graph: grimp.ImportGraph, importer: str, imported: str) -> bool:
    """Whether all imports of a module stand in functions, which need not be called."""
    details = graph.get_import_details(importer=importer, imported=imported)
    path = modules.find(importer)
    assert path is not None
    lines = path.read_text(encoding="utf-8").splitlines()
    return all(lines[detail["line_number"] - 1][0] == " " for detail in details)


def test_the_import_graph_would_notice_an_import_that_is_ignored(
    graph: grimp.ImportGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As relative ones once were."""
    real = modules.Module.imported

    def blind(self: modules.Module, node: ast.AST) -> Iterator[tuple[str, modules.Imported]]:
        yield from (each for each in real(self, node) if not each[1].module.endswith("_flows"))

    modules._parse_text.cache_clear()
    monkeypatch.setattr(modules.Module, "imported", blind)
    with pytest.raises(AssertionError, match="_flows"):
        test_the_import_graph_agrees(graph, "du2019/gradient_flow")
    modules._parse_text.cache_clear()
