"""Which source an experiment really computes with, at the grain of single definitions.

Execution caches of the notebook world hash cells and serve stale numbers after the package under
them has changed. Here the hash covers the definitions reachable from a function, across
modules, and nothing else: comments, docstrings and unrelated code may change freely.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from companion.base.paths import PROJECT

# The press carries and shows numbers; it computes none, so restyling it re-runs nothing.
PRESS = frozenset(
    {
        *("companion", "companion.errors", "companion.base.files", "companion.base.paths"),
        *(
            f"companion.lab.{name}"
            for name in ("catalog", "experiment", "fingerprint", "notebooks", "provenance")
        ),
        *(f"companion.lab.{name}" for name in ("reproduce", "results", "sources", "store")),
    }
)


@dataclass
class _Module:
    """One parsed file: its definitions, its imports, and the statements that always run."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)


def compute_hash(module: str, roots: Iterable[str]) -> str:
    """SHA-256 over the source reachable from the definitions `roots` of `module`.

    Args:
        module: dotted name below this package, e.g. `companion.experiments.du2019.figure1`.
        roots: names of top-level definitions, e.g. `("run", "Settings")`.

    Returns:
        Hexadecimal digest; equal for sources that differ only in comments, docstrings, layout
        or in definitions that the roots do not reach.
    """
    reached = reachable(module, roots)
    text = "\n".join(f"# {name}\n{source}" for name, source in sorted(reached.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def reachable(module: str, roots: Iterable[str]) -> dict[str, str]:
    """Definition name (`module:name`) -> source without comments and docstrings."""
    found: dict[str, str] = {}
    waiting = [(module, root) for root in roots]
    while waiting:
        where, name = waiting.pop()
        key = f"{where}:{name}"
        if key in found or not _is_compute(where):
            continue
        parsed = _parse(where)
        if name in parsed.names:
            waiting.append(parsed.names[name])
            continue
        statements = parsed.definitions.get(name, [])
        found[key] = "\n".join(_plain(statement) for statement in statements)
        found[f"{where}:"] = "\n".join(_plain(statement) for statement in parsed.effects)
        for statement in [*statements, *parsed.effects]:
            waiting.extend(_references(parsed, where, statement))
    return found


def _references(parsed: _Module, where: str, statement: ast.stmt) -> Iterator[tuple[str, str]]:
    qualified = set()
    for node in ast.walk(statement):
        match node:
            case ast.Attribute(value=ast.Name(id=name) as owner, attr=attribute) if (
                name in parsed.modules
            ):
                qualified.add(owner)
                yield parsed.modules[name], attribute
    for node in ast.walk(statement):
        if not isinstance(node, ast.Name) or node in qualified:
            continue
        if node.id in parsed.names:
            yield parsed.names[node.id]
        elif node.id in parsed.definitions:
            yield where, node.id
        elif node.id in parsed.modules:  # handed on whole: anything in it may be used
            target = parsed.modules[node.id]
            if _is_compute(target):
                yield from ((target, name) for name in _parse(target).definitions)


def _is_compute(module: str) -> bool:
    return module not in PRESS and _path(module) is not None


def _path(module: str) -> Path | None:
    base = PROJECT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parse(module: str) -> _Module:
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(module)
    return _parse_text(path.read_text(encoding="utf-8"))


@cache
def _parse_text(text: str) -> _Module:
    parsed = _Module()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(origin), names=aliases) if _ours(origin):
                for alias in aliases:
                    name = alias.asname or alias.name
                    if _path(f"{origin}.{alias.name}"):
                        parsed.modules[name] = f"{origin}.{alias.name}"
                    else:
                        parsed.names[name] = (origin, alias.name)
            case ast.Import(names=aliases):
                for alias in aliases:
                    if _ours(alias.name) and alias.asname:
                        parsed.modules[alias.asname] = alias.name
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                parsed.definitions.setdefault(name, []).append(statement)
            case ast.Assign(targets=targets):
                for target in targets:
                    for node in ast.walk(target):
                        if isinstance(node, ast.Name):
                            parsed.definitions.setdefault(node.id, []).append(statement)
            case ast.AnnAssign(target=ast.Name(id=name)):
                parsed.definitions.setdefault(name, []).append(statement)
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                pass
            case _:
                parsed.effects.append(statement)
    return parsed


def _ours(module: str) -> bool:
    return module == "companion" or module.startswith("companion.")


def _plain(node: object) -> str:
    """A syntax tree as text: no layout, comments or docstrings, and the same under every Python.

    `ast.unparse` and `ast.dump` are written anew from one Python to the next. Fields that hold
    nothing are left out, since later versions add such fields.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_plain, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)  # repr shows characters that this Python's Unicode knows
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:] or [ast.Pass()]
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _merged(node.values)
    told = (
        f"{name}={_plain(value)}"
        for name, value in sorted(fields.items())
        if name not in _NO_MEANING and value is not None and value != []
    )
    return f"{type(node).__name__}({', '.join(told)})"


def _merged(parts: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, its text in as few pieces as can be: Pythons cut it differently."""
    merged: list[ast.expr] = []
    for part in parts:
        last = merged[-1] if merged else None
        match last, part:
            case _, ast.Constant(value=""):
                pass
            case ast.Constant(value=str(before)), ast.Constant(value=str(text)):
                merged[-1] = ast.Constant(before + text)
            case _:
                merged.append(part)
    return merged


_DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# What follows from the place in the tree, a comment for type checkers, and the u of u"text".
_NO_MEANING = frozenset({"ctx", "type_comment", "kind"})


def imported_files(module: str) -> list[Path]:
    """Files of this package that a module reads when it is imported, its own first.

    Coarser than `reachable`, and without its exceptions: every import counts, wherever it stands.
    """
    reached: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in reached or path is None:
            continue
        reached[name] = path
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for imported in _imports(tree, package):
            parts = imported.split(".")
            waiting += [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return list(reached.values())


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=origin, names=aliases, level=level):
                above = package.split(".")[: package.count(".") + 2 - level] if level else []
                base = ".".join([*above, *([origin] if origin else [])])
                yield from (f"{base}.{alias.name}" for alias in aliases)
