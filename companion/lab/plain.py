"""Syntax trees as text: no layout and no comments, and the same under every Python."""

import ast
import copy
from collections.abc import Iterator
from functools import cache

_DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# What follows from the place in the tree, a comment for type checkers, and the u of u"text".
_NO_MEANING = frozenset({"ctx", "type_comment", "kind"})
# How else than by `except ... as error` code gets at what was raised.
_CATCHING = frozenset(
    {"ExitStack", "__aexit__", "__exit__", "exc_info", "excepthook", "exception", "format_exc"}
)
_DOCUMENTING = frozenset({"__doc__", "getdoc", "help", "get_docstring"})


def plain(node: object, *, docstrings: bool = False, messages: bool = False) -> str:
    """A syntax tree as text.

    `ast.unparse` and `ast.dump` are written anew from one Python to the next. Fields that hold
    nothing are left out, since later versions add such fields.

    Args:
        node: a node, a list of nodes, or what else a field of a node holds.
        docstrings: whether docstrings stay in.
        messages: whether the texts that `raise` statements hold stay in.
    """
    if isinstance(node, list):
        parts = (plain(item, docstrings=docstrings, messages=messages) for item in node)
        return f"[{', '.join(parts)}]"
    if not isinstance(node, ast.AST):
        return ascii(node)  # repr shows characters that this Python's Unicode knows
    if isinstance(node, ast.Raise) and not messages:
        node = _without_texts(node)
    fields = dict(ast.iter_fields(node))
    if not docstrings and _is_documented(node):
        fields["body"] = fields["body"][1:] or [ast.Pass()]
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _merged(node.values)
    told = (
        f"{name}={plain(value, docstrings=docstrings, messages=messages)}"
        for name, value in sorted(fields.items())
        if name not in _NO_MEANING and value is not None and value != []
    )
    return f"{type(node).__name__}({', '.join(told)})"


@cache
def nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """`ast.walk`, once for each of the many questions asked of a tree."""
    return tuple(ast.walk(node))


def _is_documented(node: ast.AST) -> bool:
    return isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None


@cache
def uses_docstrings(node: ast.AST) -> bool:
    """Whether code asks for docstrings, so that they may decide a number."""
    return any(name in _DOCUMENTING for name in _names(node))


@cache
def uses_messages(node: ast.AST) -> bool:
    """Whether code gets at the texts of what is raised, other than to raise again."""
    raising = within_raise(node)
    handlers = (part for part in nodes(node) if isinstance(part, ast.ExceptHandler))
    caught = {handler.name for handler in handlers if not _only_raises_again(handler, node)}
    # What is noted at an exception is not read off it.
    attributes = (part for part in nodes(node) if isinstance(part, ast.Attribute))
    noted = {id(part.value) for part in attributes if isinstance(part.ctx, ast.Store)}
    return any(name in _CATCHING for name in _names(node)) or any(
        isinstance(part, ast.Name) and part.id in caught and id(part) not in raising | noted
        for part in nodes(node)
    )


def _only_raises_again(handler: ast.ExceptHandler, around: ast.AST) -> bool:
    """Whether all that it makes of what it caught is the text of what it raises."""
    *others, last = handler.body
    targets = [t for other in others if isinstance(other, ast.Assign) for t in other.targets]
    made = {target.id for target in targets if isinstance(target, ast.Name)}
    inside = {id(part) for part in ast.walk(handler)}
    elsewhere = (part for part in nodes(around) if id(part) not in inside)
    kept = any(
        isinstance(part, ast.Global | ast.Nonlocal)
        or (isinstance(part, ast.Name) and part.id in made and isinstance(part.ctx, ast.Load))
        for part in elsewhere
    )
    plain_names = all(isinstance(target, ast.Name) for target in targets)
    only_names = plain_names and all(isinstance(other, ast.Assign) for other in others)
    return isinstance(last, ast.Raise) and only_names and not kept


@cache
def within_raise(node: ast.AST) -> set[int]:
    """The ids of all nodes that are a part of a `raise`."""
    raises = (part for part in nodes(node) if isinstance(part, ast.Raise))
    return {id(inner) for part in raises for inner in ast.walk(part)}


def _names(node: ast.AST) -> Iterator[str]:
    for part in nodes(node):
        match part:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Constant(value=str(name)):
                yield name


def _without_texts(node: ast.Raise) -> ast.Raise:
    """The statement without the words in it: what is raised, and with which other values."""

    class Silence(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Constant("") if isinstance(node.value, str) else node

        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            return ast.Constant("")

    silenced: ast.Raise = Silence().visit(copy.deepcopy(node))
    return silenced


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
