"""What a function or a value computes, as a hash: the same wherever and whenever it is defined.

A name says nothing: the monitor `loss` of yesterday's run may measure something else today.
"""

import contextlib
import dis
import enum
import functools
import hashlib
import importlib
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import described
from companion.errors import InputError

# What Python and `dataclass` write into a class, and what only readers of its code see.
_NOT_COMPUTED = {
    "__annotate_func__", "__annotations__", "__annotations_cache__", "__dataclass_fields__",
    "__dataclass_params__", "__delattr__", "__dict__", "__doc__", "__eq__", "__firstlineno__",
    "__hash__", "__init__", "__match_args__", "__module__", "__qualname__", "__repr__",
    "__setattr__", "__static_attributes__", "__weakref__", "_abc_impl",
}  # fmt: skip
_WRAPPERS = (property, classmethod, staticmethod, functools.cached_property)


def identity(value: object, name: str) -> str:
    """Hash of what `value` computes or holds; names, docstrings and places in files do not enter.

    Functions enter by their instructions, constants, defaults and closures, and with the values
    and functions of their own code that they refer to; objects by their class and their state, as
    pickle sees it; tensors and arrays by their numbers; what installed packages define by its name.
    Instructions differ from one minor version of Python to the next, and so do the hashes.

    Args:
        value: e.g. a monitor or a loss.
        name: what to call it in a refusal.

    Raises:
        InputError: it depends on something without identity, such as an open file.
    """
    try:
        return _Hasher(value).of(value).hex()
    except _Unidentified as error:
        raise InputError(
            f"{name} depends on {error}, which nothing can tell from another one, so a checkpoint "
            "cannot know its own run; take it out or run without a checkpoint."
        ) from None


class _Unidentified(Exception):
    """Says what has no identity."""


class _Hasher:
    """Hashes by content what belongs to the same code as `root`, and the rest by its name."""

    def __init__(self, root: object) -> None:
        self._home = _module(root) or _module(type(root))
        self._under_way: list[int] = []
        self._done: dict[int, tuple[object, bytes]] = {}

    def of(self, value: object) -> bytes:
        if id(value) in self._under_way:  # such as a function that calls itself
            return _digest(["again", len(self._under_way) - self._under_way.index(id(value))])
        if id(value) not in self._done:
            self._under_way.append(id(value))
            parts = [type(value).__qualname__, *self._parts(value)]
            self._under_way.pop()
            # The value is kept along, so that no other object can take its id.
            self._done[id(value)] = value, _digest(parts)
        return self._done[id(value)][1]

    def _parts(self, value: object) -> Iterator[object]:
        """What decides a value: hashes of its parts, and plain values."""
        if isinstance(value, enum.Enum):
            yield from (_module(type(value)), value.name, self.of(value.value))
        elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
            yield value
        elif isinstance(value, Tensor | np.ndarray | np.generic):
            yield from _numbers(value)
        elif isinstance(value, list | tuple):
            yield from map(self.of, value)
        elif isinstance(value, set | frozenset):
            yield from sorted(map(self.of, value))
        elif isinstance(value, Mapping):
            yield from sorted(self.of(key) + self.of(item) for key, item in value.items())
        else:
            yield from self._code_or_state(value)

    def _code_or_state(self, value: object) -> Iterator[object]:
        own = self._is_own(_module(value))
        if isinstance(value, types.CodeType):
            yield from self._instructions(value)
        elif isinstance(value, types.MethodType):
            yield from (self.of(value.__func__), self.of(value.__self__))
        elif isinstance(value, types.FunctionType) and own:
            yield from self._function(value)
        elif isinstance(value, type) and own:
            yield from map(self.of, value.__bases__)
            for name in sorted(vars(value).keys() - _NOT_COMPUTED):
                yield from (name, self.of(vars(value)[name]))
        elif isinstance(value, _WRAPPERS):
            for name in ("fget", "fset", "fdel", "func", "__func__"):
                yield self.of(getattr(value, name, None))
        elif hasattr(value, "__wrapped__"):  # such as a function with a cache
            yield self.of(value.__wrapped__)
            yield self.of(getattr(value, "registry", None))  # of `functools.singledispatch`
        elif _is_named(value):
            yield from (_module(value), getattr(value, "__qualname__", None))
        else:
            yield self.of(_state(value))

    def _function(self, function: types.FunctionType) -> Iterator[object]:
        cells = function.__closure__ or ()
        yield self.of(function.__code__)
        yield self.of((function.__defaults__, function.__kwdefaults__))
        yield from (self.of(_content(cell)) for cell in cells)
        yield self.of({k: v for k, v in vars(function).items() if k != "__wrapped__"})
        codes = list(_nested(function.__code__))
        attributes = {name for code in codes for name in code.co_names}
        found = {
            name: function.__globals__[name]
            for name in set().union(*map(_globals, codes)) & function.__globals__.keys()
        }
        found |= _imported_within(codes)
        yield from self._named(found, attributes, set())

    def _named(
        self, found: Mapping[str, object], attributes: set[str], met: set[str]
    ) -> Iterator[object]:
        """Values by name, and of modules that belong to the same code what may be used of them."""
        for name, value in sorted(found.items()):
            yield from (name, self.of(value))
            module = value.__name__ if isinstance(value, types.ModuleType) else ""
            if module not in met and self._is_own(module):
                used = {key: vars(value)[key] for key in attributes & vars(value).keys()}
                yield from self._named(used, attributes, met | {module})

    def _instructions(self, code: types.CodeType) -> Iterator[object]:
        """Constants are taken where they are used, as a docstring moves their numbers."""
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        yield from (*counts, code.co_varnames[: counts[0] + counts[2]], code.co_exceptiontable)
        for step in dis.get_instructions(code):
            if step.opcode in dis.hasconst:
                yield from (step.opname, self.of(step.argval))
            elif step.opcode in dis.hasname:
                yield from (step.opname, step.argval)
            else:
                yield from (step.opname, step.arg)

    def _is_own(self, module: str) -> bool:
        """Whether what that module defines enters by content."""
        package = module.partition(".")[0]
        if package == __name__.partition(".")[0]:
            return module == self._home
        file = getattr(sys.modules.get(package), "__file__", None) or ""
        installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
        return bool(module) and not installed and package not in sys.stdlib_module_names


def _digest(parts: list[object]) -> bytes:
    texts = (part if isinstance(part, bytes) else f"{part!r};".encode() for part in parts)
    return hashlib.sha256(b"".join(texts)).digest()


def _module(value: object) -> str:
    """Name of the module that defines a function or a class, or of a module; else ''."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, types.FunctionType):  # `functools.wraps` writes another __module__
        return str(value.__globals__.get("__name__", ""))
    return getattr(value, "__module__", None) or ""


def _numbers(value: Tensor | np.ndarray | np.generic) -> Iterator[object]:
    """Dtype, shape and bytes."""
    if isinstance(value, Tensor):
        if value.device.type == "meta" or value.layout != torch.strided:
            raise _Unidentified(f"a tensor on {value.device} that is {value.layout}")
        yield value.dtype
        dense = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        array = dense.view(-1).view(torch.uint8).numpy()
    else:
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise _Unidentified("an array of objects")
        yield array.dtype.str
    yield from (tuple(value.shape), hashlib.sha256(array.reshape(-1).view(np.uint8).data).digest())


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _globals(code: types.CodeType) -> set[str]:
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    return {step.argval for step in dis.get_instructions(code) if step.opname in loads}


def _imported_within(codes: list[types.CodeType]) -> dict[str, object]:
    """Modules that a function imports when it runs, by name; they are in no globals."""
    steps = (step for code in codes for step in dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname == "IMPORT_NAME" and step.argval}
    for name in names:
        with contextlib.suppress(ImportError):  # the function itself will say so
            importlib.import_module(name)
    return {name: sys.modules[name] for name in names & sys.modules.keys()}


def _is_named(value: object) -> bool:
    """Whether its module and its name tell what it is: a module, a class, a function of C."""
    if isinstance(value, types.ModuleType | type | types.FunctionType | np.ufunc):
        return True
    bound = getattr(value, "__self__", None)
    return isinstance(value, types.BuiltinFunctionType) and (
        bound is None or isinstance(bound, types.ModuleType)
    )


def _state(value: object) -> object:
    """What pickle would write."""
    try:
        return value.__reduce_ex__(4)
    except (TypeError, AttributeError, ValueError, RuntimeError, pickle.PickleError):
        raise _Unidentified(described(value)) from None
