"""Which source an experiment really computes with, at the grain of single definitions.

Execution caches of the notebook world hash cells and serve stale numbers after the package under
them has changed. Here the hash covers the definitions reachable from a function, across modules,
and what runs when their modules are imported; comments, docstrings, messages and unrelated code
may change freely. What cannot be followed for sure counts whole, or is refused.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from companion.lab.effects import effects_of
from companion.lab.modules import Module, chains, find, is_own, parse
from companion.lab.plain import nodes, plain, uses_docstrings, uses_messages, within_raise

# What carries numbers to and fro, or says where they are kept, and computes none. Whatever else
# these modules hold counts as anything does. What is read is in the fingerprint by itself.
LEFT_OUT = {
    "companion.errors": (
        *("BuildError", "ContractError", "DamagedError", "DivergedError", "InputError"),
        *("MissingDataError", "one_of"),
    ),
    "companion.base.files": (
        *("check_writable", "decode", "encode", "file_hash", "read_checked", "write_atomically"),
        "write_checked",
    ),
    "companion.base.inputs": ("CIFAR10", "DIGITS", "book_file", "input_file", "note_input"),
    "companion.base.identity": ("identity",),  # tells whether a checkpoint is this run's own
    "companion.base.memory": ("keep_freed_memory",),
    "companion.base.paths": ("",),  # where the project lies, found out on import
    "companion.cifarfiles": ("batch_bytes",),  # bytes whose checksum is in the fingerprint
    "companion.datafiles": ("digits_source",),
    "companion.lab.catalog": ("", "published"),
    "companion.lab.experiment": ("Cost",),
    "companion.lab.results": (
        *("Outcome", "Result", "Verdict", "as_written", "decode_dataset", "encode_dataset"),
    ),
    "companion.lab.store": ("kept",),
}
# Libraries that may be used: those whose versions are in the fingerprint, a few that change no
# number, and of Python's own those that run and read nothing but what they are given.
_OPAQUE = frozenset(
    {
        *("builtins", "code", "codeop", "ctypes", "dis", "doctest", "gc", "http", "imp"),
        *("importlib", "inspect", "linecache", "marshal", "pickle", "pkgutil", "pydoc", "runpy"),
        *("shelve", "socket", "subprocess", "tokenize", "traceback", "urllib", "zipimport"),
    }
)
LIBRARIES = frozenset(
    {
        *("numpy", "scipy", "torch", "torchdiffeq", "mlxtend"),
        *("platformdirs", "psutil", "pydantic", "tqdm", "typing_extensions", "xarray"),
        *(sys.stdlib_module_names - _OPAQUE),
    }
)
# What reads files that companion.base.inputs has noted, or files of this program's own making.
READERS = frozenset(
    {
        *("companion.base.machine", "companion.cifarfiles", "companion.datafiles"),
        "companion.datasets",
        "companion.training.checkpoints",
    }
)
# What offers names of other modules lazily: its text counts, and names are not taken from it.
LAZY = frozenset({"companion"})
_PLAIN_WORDS = "write 'from companion.module import name' and use that name"
_READ = "read files through companion.base.inputs"
# Names, attributes and library functions that reach what no text shows; how to write it instead.
_NAMES = {
    **dict.fromkeys(("exec", "eval", "compile", "__import__", "breakpoint"), _PLAIN_WORDS),
    **dict.fromkeys(("__builtins__", "__loader__", "__spec__", "__path__"), _PLAIN_WORDS),
    "__file__": _READ,
}
_ATTRIBUTES = {
    **dict.fromkeys(("__globals__", "__subclasses__", "__code__", "__builtins__"), _PLAIN_WORDS),
    **dict.fromkeys(("__loader__", "__spec__", "_getframe", "f_globals"), _PLAIN_WORDS),
    "__file__": _READ,
}
_FUNCTIONS = {"sys.modules": _PLAIN_WORDS, "os.system": "compute it", "os.popen": "compute it"}
_READING_NAMES = frozenset({"open", "read_text", "read_bytes", "memmap"})
_READING_LIBRARIES = (
    *("configparser.", "dbm.", "fileinput.", "mmap.", "scipy.io.", "sqlite3.", "tarfile."),
    *("torch.from_file.", "torch.hub.", "torch.jit.load.", "torch.load.", "wave.", "zipfile."),
    *(f"numpy.{name}." for name in ("fromfile", "genfromtxt", "load", "loadtxt", "lib.npyio")),
)
# What the module's own dictionary gives: anything in it may be used.
_NAMESPACES = frozenset({"globals", "locals", "vars", "dir"})
WHOLE, EFFECTS = "*", ""


def compute_hash(module: str, roots: Iterable[str]) -> str:
    """SHA-256 over the source reachable from the definitions `roots` of `module`.

    Args:
        module: dotted name below this package, e.g. `companion.experiments.du2019.figure1`.
        roots: names of top-level definitions, e.g. `("run", "Settings")`.

    Returns:
        Hexadecimal digest; equal for sources that differ only in comments, docstrings, layout, the
        messages of errors, or in definitions that the roots do not reach.

    Raises:
        InputError: something reached cannot be followed; file, line and what to write instead are
            named.
    """
    return hashlib.sha256("\n".join(reachable(module, roots).values()).encode()).hexdigest()


def reachable(module: str, roots: Iterable[str]) -> dict[str, str]:
    """What a number may depend on, and its source without comments and docstrings.

    Keys are `module:name` for a definition and `module:` for what runs when the module is imported.
    Those come first, in the order of the imports; then come the definitions, sorted.

    Raises:
        InputError: as `compute_hash`.
    """
    search = search_from(module, roots)
    statements = [statement for each in search.found.values() for statement in each.statements]
    options = {
        "docstrings": any(map(uses_docstrings, statements)),
        "messages": any(map(uses_messages, statements)),
    }
    effects = [key for key, unit in search.found.items() if unit.name == EFFECTS]
    order = [*effects, *sorted(search.found.keys() - set(effects))]
    return {
        key: f"# {key}\n{search.found[key].text(options)}"
        for key in order
        if options["docstrings"] or search.found[key].statements
    }


def reached_hashes(module: str, roots: Iterable[str]) -> dict[str, str]:
    """The keys of `reachable` with a short hash of each, so that two runs can be compared.

    Raises:
        InputError: as `compute_hash`.
    """
    told = reachable(module, roots)
    hashes = {key: hashlib.sha256(text.encode()).hexdigest()[:12] for key, text in told.items()}
    effects = [key for key in told if key.endswith(":")]
    order = hashlib.sha256("\n".join(effects).encode()).hexdigest()[:12]
    return {**hashes, f"the order of imports of {module}": order}


@dataclass(frozen=True)
class Unit:
    """A part of a module that is reached: one definition, or what runs on import."""

    module: Module
    name: str
    statements: tuple[ast.stmt, ...]

    def text(self, options: Mapping[str, bool]) -> str:
        """Its statements in order; of an import, the part that binds this name."""
        lines = [self._line(statement, options) for statement in self.statements]
        if options["docstrings"]:  # the module's own may be what is asked for
            lines.insert(0, plain(ast.Module(self.module.body[:1], []), **options))
        return "\n".join(lines)

    def _line(self, statement: ast.stmt, options: Mapping[str, bool]) -> str:
        if self.name != EFFECTS and isinstance(statement, ast.Import | ast.ImportFrom):
            parts = self.module.imported(statement)
            return ", ".join(
                f"{name} is {what.origin}" for name, what in parts if name == self.name
            )
        return _text(statement, options["docstrings"], options["messages"])


@cache
def _asking(statement: ast.stmt) -> set[int]:
    """The ids of names such as `vars` where they are asked for an object's names."""
    calls = (node for node in nodes(statement) if isinstance(node, ast.Call) and node.args)
    return {id(call.func) for call in calls}


@cache
def _imports_in(statement: ast.stmt) -> list[ast.AST]:
    """The imports in a statement, and the classes, whose attributes may be imported."""
    kinds = ast.Import | ast.ImportFrom | ast.ClassDef
    return [node for node in nodes(statement) if isinstance(node, kinds)]


@cache
def _text(statement: ast.stmt, docstrings: bool, messages: bool) -> str:
    return plain(statement, docstrings=docstrings, messages=messages)


@dataclass
class Search:
    """What was reached so far.

    Attributes:
        found: `module:name` -> that part of the module.
        modules: names of the modules that are imported on the way, in order.
        left_out: `module:name` of what was reached and carries numbers only.
    """

    found: dict[str, Unit] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    _parsed: dict[str, Module] = field(default_factory=dict)
    _waiting: list[tuple[Module, str]] = field(default_factory=list)
    _unread: set[int] = field(default_factory=set)  # nodes of messages, which decide no number

    def reach(self, module: Module, name: str) -> None:
        """Take in a definition, or all of them, with what they refer to."""
        key = f"{module.name}:{name}"
        if name in LEFT_OUT.get(module.name, ()):
            self.left_out.add(key)
        elif key not in self.found:
            statements = module.body if name == WHOLE else module.bindings.get(name, [])
            chosen = effects_of(module) if name == EFFECTS else statements
            self.found[key] = Unit(module, name, tuple(chosen))
            self._waiting.append((module, name))

    def load(self, where: Module | None, node: ast.AST, name: str) -> Module:
        """Take in what runs when a module is imported: its packages, its imports, its effects."""
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            module = self._parse(where, node, ".".join(parts[:depth]))
            if module.name not in self.modules:
                self.modules.append(module.name)
                for statement in module.imports_run:
                    for imported in module.loaded(statement):
                        self.load(module, statement, imported)
                self.reach(module, EFFECTS)
        return module

    def begin(self, module: Module, root: str) -> None:
        """Take in a definition that the search starts from."""
        if root not in module.bindings:
            self.reach(module, WHOLE)
        self._resolve(module, ast.Pass(), module, [root], set())

    def follow(self) -> None:
        """Take in everything that what was reached refers to."""
        while self._waiting:
            module, name = self._waiting.pop()
            for statement in self.found[f"{module.name}:{name}"].statements:
                self._follow(module, statement)
            if name == WHOLE:
                for bound in module.bindings:
                    self._resolve(module, module.bindings[bound][0], module, [bound], set())

    def _follow(self, module: Module, statement: ast.stmt) -> None:
        check(module, statement)
        for node in _imports_in(statement):
            if isinstance(node, ast.ClassDef):
                self._follow_imports(module, node)
            else:
                for imported in module.loaded(node):
                    self.load(module, node, imported)
        self._unread = within_raise(statement)
        for node, chain in chains(statement):
            if chain[0] in _NAMESPACES and id(node) not in _asking(statement):
                self.reach(module, WHOLE)
            self._resolve(module, node, module, chain, set())

    def _follow_imports(self, module: Module, statement: ast.ClassDef) -> None:
        """What is imported in the body of a class is an attribute of it."""
        for node in nodes(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for _, imported in module.imported(node):
                    names = [] if imported.name is None else [imported.name]
                    if is_own(imported.module):
                        self._enter(module, node, imported.module, names, set())

    def _parse(self, where: Module | None, node: ast.AST, name: str) -> Module:
        if name not in self._parsed:
            if find(name) is None and where is not None:
                problem = f"there is no source of {name} to follow"
                raise where.refuse(node, problem, "import what the package has as Python files")
            self._parsed[name] = parse(name)
        return self._parsed[name]

    def _resolve(
        self,
        where: Module,
        node: ast.AST,
        module: Module,
        chain: list[str],
        seen: set[tuple[str, ...]],
    ) -> None:
        """Reach everything that `chain`, written at `node` of `where`, may mean in `module`."""
        if (module.name, *chain) in seen:
            return
        seen.add((module.name, *chain))
        first, *rest = chain
        if first in module.bindings:
            self.reach(module, first)
        for imported in module.imports.get(first, ()):
            names = [] if imported.name is None else [imported.name]
            if is_own(imported.module):
                self._enter(where, node, imported.module, [*names, *rest], seen)
            elif id(node) not in self._unread:
                check_library(where, node, ".".join([imported.module, *names, *rest]))
        for star in module.stars:
            target = self._parse(module, node, star)
            if target.has(first):
                self._enter(where, node, star, chain, seen)
                self.reach(target, "__all__")

    def _enter(
        self, where: Module, node: ast.AST, name: str, chain: list[str], seen: set[tuple[str, ...]]
    ) -> None:
        """Reach what `chain` may mean as attributes of the module `name`."""
        module = self.load(where, node, name)
        if not chain:
            if module.is_package:
                problem = f"{name} is handed on whole, with all that may be imported from it"
                raise where.refuse(node, problem, "name the modules that are meant")
            self.reach(module, WHOLE)
            return
        below = f"{name}.{chain[0]}"
        if module.is_package and find(below) is not None:
            self._enter(where, node, below, chain[1:], seen)
        if chain[0] in module.imports or module.has(chain[0]):
            self._resolve(where, node, module, chain, seen)
        elif not (module.is_package and find(below)):
            if name in LAZY:
                problem = f"{name} offers {chain[0]} lazily, from where the text does not say"
                raise where.refuse(node, problem, "import it from the module that defines it")
            self.reach(module, WHOLE)  # made in some way that the text does not show


def search_from(module: str, roots: Iterable[str]) -> Search:
    """Everything reached from some definitions of a module.

    Raises:
        InputError: as `compute_hash`.
    """
    search = Search()
    start = search.load(None, ast.Pass(), module)
    for root in roots:
        search.begin(start, root)
    search.follow()
    return search


@cache
def check(module: Module, statement: ast.stmt) -> None:
    """Refuse what reaches further than its text shows.

    Raises:
        InputError: with file, line and what to write instead.
    """
    for node in [] if module.name in LAZY else nodes(statement):
        name, instead = "", None
        match node:
            case ast.Name(id=name):
                instead = _NAMES.get(name)
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                instead = _ATTRIBUTES.get(name)
        reads = isinstance(node, ast.Name | ast.Attribute) and name in _READING_NAMES
        if reads and module.name not in READERS:
            instead = _READ
        if instead:
            raise module.refuse(node, f"what {name} reaches is unknown", instead)


def check_library(module: Module, node: ast.AST, origin: str) -> None:
    """Refuse libraries that may change unseen, and functions that reach more than they are given.

    Raises:
        InputError: with file, line and what to write instead.
    """
    root, *_ = parts = origin.split(".")
    instead = _FUNCTIONS.get(".".join(parts[:2]))
    if f"{origin}.".startswith(_READING_LIBRARIES) and module.name not in READERS:
        instead = _READ
    if root in _OPAQUE:
        instead = f"{_PLAIN_WORDS}, and {_READ}"
    elif root not in LIBRARIES:
        instead = (
            "use a library of companion.lab.sources.LIBRARIES, or add it there and its version to "
            "the fingerprint"
        )
    if instead and module.name not in LAZY:
        raise module.refuse(node, f"what {origin} reaches is unknown", instead)


def imported_files(module: str) -> list[Path]:
    """Files of this package that a module reads when it is imported, its own first.

    Coarser than `reachable`, and without its exceptions: every import counts, wherever it stands.
    """
    reached: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached or find(name) is None:
            continue
        parsed = parse(name)
        reached[name] = parsed.path
        nodes = (node for statement in parsed.body for node in _imports_in(statement))
        for imported in (imported for node in nodes for imported in parsed.loaded(node)):
            parts = imported.split(".")
            waiting += [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return [path for path in reached.values() if path.is_file()]
