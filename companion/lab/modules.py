"""One module of this package as text: what its names may mean, and what it imports.

A name means all that it may mean, in whichever scope.
"""

import ast
import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from companion.base.paths import PROJECT
from companion.errors import InputError
from companion.lab.plain import nodes

_OWN = "companion"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Imported:
    """What an import binds: a module, or a name of it, which may be a module in turn."""

    module: str
    name: str | None = None

    @property
    def origin(self) -> str:
        """The dotted name."""
        return self.module if self.name is None else f"{self.module}.{self.name}"


@dataclass(eq=False)
class Module:
    """A parsed file.

    Attributes:
        name: dotted.
        path: the file.
        body: its top-level statements.
        bindings: name -> top-level statements that bind it, in order, imports among them.
        imports: name -> what imports bind it to, in whichever scope.
        stars: modules all of whose names it imports.
    """

    name: str
    path: Path
    body: list[ast.stmt]
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, list[Imported]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def is_package(self) -> bool:
        """Whether it may have modules below it."""
        return self.path.name == "__init__.py"

    def refuse(self, node: ast.AST, problem: str, instead: str) -> InputError:
        """The sentence that refuses what stands at `node`."""
        return InputError(f"{self.path}:{getattr(node, 'lineno', 1)}: {problem}; {instead}.")

    def imported(self, node: ast.AST) -> Iterator[tuple[str, Imported]]:
        """What an import statement binds: name, and what it stands for; `*` for all names.

        Raises:
            InputError: a relative import leads out of the package.
        """
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    bound = alias.name if alias.asname else alias.name.partition(".")[0]
                    yield alias.asname or bound, Imported(bound)
            case ast.ImportFrom(module=origin, names=aliases, level=level):
                above = self.package.split(".")[: self.package.count(".") + 2 - level]
                if level and not above:
                    raise self.refuse(node, "this import leads out of the package", _ABSOLUTE)
                base = ".".join([*(above if level else []), *([origin] if origin else [])])
                for alias in aliases:
                    yield alias.asname or alias.name, Imported(base, alias.name)

    @cached_property
    def imports_run(self) -> list[ast.AST]:
        """The import statements that run when the module is imported, in order."""
        nodes = (node for statement in self.body for node in _running(statement))
        return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]

    def loaded(self, node: ast.AST) -> Iterator[str]:
        """Every module of this package that runs when an import statement does, in order."""
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_own(alias.name))
        for _, imported in self.imported(node) if isinstance(node, ast.ImportFrom) else ():
            if is_own(imported.module):
                yield imported.module
                if imported.name != "*" and find(imported.origin):
                    yield imported.origin

    def has(self, name: str, asked: frozenset[str] = frozenset()) -> bool:
        """Whether the module binds a name, as far as its text shows."""
        asked |= {self.name}
        return (
            name in self.bindings
            or (self.is_package and find(f"{self.name}.{name}") is not None)
            or any(parse(star).has(name, asked) for star in self.stars if star not in asked)
        )


_ABSOLUTE = "write 'from companion.module import name'"


def is_own(module: str) -> bool:
    """Whether a dotted name lies in this package."""
    return module.partition(".")[0] == _OWN


def find(module: str) -> Path | None:
    """The file of a module of this package, as Python looks for it; None if there is none."""
    base = os.path.join(PROJECT, *module.split("."))  # asked so often that Path's own take long
    package = os.path.join(base, "__init__.py")
    for path in (package, f"{base}.py"):
        if os.path.isfile(path):
            return Path(path)
    return Path(package) if os.path.isdir(base) else None  # a package without a file of its own


def parse(module: str) -> Module:
    """A module of this package.

    Raises:
        ModuleNotFoundError: it has no source.
        InputError: its source is not Python.
    """
    path = find(module)
    if path is None:
        raise ModuleNotFoundError(module)
    return _parse_text(module, path, path.read_text(encoding="utf-8") if path.is_file() else "")


@cache
def _parse_text(module: str, path: Path, text: str) -> Module:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputError(f"{path}:{line}: this is not Python; mend it.") from None
    parsed = Module(module, path, body)
    for statement in parsed.body:
        for node in nodes(statement):
            for name, imported in parsed.imported(node):
                if imported.name == "*" and is_own(imported.module):
                    parsed.stars.append(imported.module)
                else:
                    parsed.imports.setdefault(name, []).append(imported)
        for name in dict.fromkeys(_bound(parsed, statement)):
            parsed.bindings.setdefault(name, []).append(statement)
    return parsed


@cache
def _running(statement: ast.AST) -> tuple[ast.AST, ...]:
    """The nodes of a statement that run when it does: not the bodies of functions."""
    inner: Iterable[ast.AST] = ast.iter_child_nodes(statement)
    if isinstance(statement, _Function):
        inner = [*statement.decorator_list, statement.args]
    elif isinstance(statement, ast.Lambda):
        inner = [statement.args]
    return (statement, *(node for each in inner for node in _running(each)))


def _bound(parsed: Module, statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement binds, or changes, in the module."""
    if isinstance(statement, ast.ClassDef):
        yield statement.name
        return
    loops = (node.target for node in _running(statement) if isinstance(node, ast.comprehension))
    inner = {id(name) for target in loops for name in ast.walk(target)}
    for node in _running(statement):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if id(node) not in inner:
                yield name
            case ast.Import() | ast.ImportFrom():
                yield from (name for name, _ in parsed.imported(node))


def dotted(node: ast.AST) -> list[str] | None:
    """`["a", "b", "c"]` for the expression `a.b.c`; None for any other."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return [node.id, *reversed(attributes)] if isinstance(node, ast.Name) else None


@cache
def chains(statement: ast.AST) -> list[tuple[ast.AST, list[str]]]:
    """Every name in a statement with the attributes that follow it, and its place.

    Annotations may be written as text.
    """
    found: list[tuple[ast.AST, list[str]]] = []
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        chain = dotted(node)
        if chain is not None:
            found.append((node, chain))
        else:
            waiting.extend(ast.iter_child_nodes(node))
        texts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for text in (part for root in texts if root for part in ast.walk(root)):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                with contextlib.suppress(SyntaxError):
                    inner = ast.parse(text.value.strip(), mode="eval")
                    found += ((text, chain) for _, chain in chains(inner.body))
    return found
