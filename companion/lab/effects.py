"""Which statements of a module may do more on import than bind a name.

Whatever is not known to be harmless counts as an effect.
"""

import ast
import builtins
from functools import cache

from companion.lab.modules import Imported, Module, dotted, find, is_own, parse

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_IMPORT = ast.Import | ast.ImportFrom
_PURE = (
    *("bool", "classmethod", "complex", "dict", "float", "frozenset", "int", "len", "list", "max"),
    *("min", "object", "property", "range", "round", "set", "slice", "staticmethod", "str"),
    "tuple",
)
# Calls that change nothing which is there already, by where the function called comes from.
_HARMLESS = frozenset(
    {
        *(f"builtins.{name}" for name in dir(builtins) if name[0].isupper()),
        *(f"builtins.{name}" for name in _PURE),
        *("abc.ABC", "abc.abstractmethod", "contextlib.contextmanager", "contextvars.ContextVar"),
        *("dataclasses.dataclass", "dataclasses.field", "importlib.metadata.version"),
        *(f"functools.{name}" for name in ("cache", "lru_cache", "partial", "wraps")),
        *("functools.cached_property", "functools.singledispatch", "functools.total_ordering"),
        *("logging.getLogger", "pathlib.Path", "re.compile"),
        *("numpy.array", "numpy.finfo", "torch.finfo", "torch.enable_grad", "torch.no_grad"),
        *("torch.inference_mode", "torch.autograd.Function", "torch.nn.Module"),
    }
)
_HARMLESS_MODULES = ("collections", "enum", "math", "pydantic", "typing")
_ACCESSORS = frozenset({"setter", "getter", "deleter"})
# Methods that run when an object is made.
_MAKING = frozenset({"__init__", "__new__", "__post_init__", "__set_name__"})
# Methods that run when a class is inherited from.
_INHERITING = frozenset({"__init_subclass__"})


@cache
def effects_of(module: Module) -> list[ast.stmt]:
    """Top-level statements that may do more than bind a name; they run on import."""
    inertness = _Inertness(module)
    return [statement for statement in module.body if not inertness.of(statement)]


class _Inertness:
    """Tells statements that only bind a name from those that may change what others see."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def of(self, statement: ast.stmt) -> bool:
        """Whether leaving the statement out could change nothing but the names it binds."""
        match statement:
            case ast.ImportFrom(module="__future__") | ast.ImportFrom(names=[ast.alias(name="*")]):
                return False
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()) | ast.Pass():
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(statement)
            case ast.ClassDef(keywords=[], bases=bases, decorator_list=decorators, body=body):
                return (
                    all(map(self._decorates, decorators))
                    and all(self._may_be_inherited(base) for base in bases)
                    and all(map(self.of, body))
                    and not any(map(self._may_set_name, body))
                )
            case ast.Assign(targets=targets, value=value):
                return all(map(_is_name, targets)) and self._expression(value)
            case ast.AnnAssign(target=ast.Name(), value=value, annotation=annotation):
                return self._annotation(annotation) and (value is None or self._expression(value))
        return False

    def _function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        arguments = function.args
        annotated = [node for node in ast.walk(arguments) if isinstance(node, ast.arg)]
        annotations = [function.returns, *(argument.annotation for argument in annotated)]
        return (
            all(map(self._decorates, function.decorator_list))
            and self._defaults(arguments)
            and all(self._annotation(each) for each in annotations if each)
        )

    def _defaults(self, arguments: ast.arguments) -> bool:
        given = [*arguments.defaults, *arguments.kw_defaults]
        return all(self._expression(default) for default in given if default)

    def _annotation(self, annotation: ast.expr) -> bool:
        runs = (node for node in ast.walk(annotation) if isinstance(node, ast.Call | ast.NamedExpr))
        return all(map(self._expression, runs))

    def _may_set_name(self, statement: ast.stmt) -> bool:
        """Whether a class takes in an object, which is told so and may do something then."""
        value = getattr(statement, "value", None)
        names = (node.id for node in ast.walk(value) if isinstance(node, ast.Name)) if value else ()
        return isinstance(statement, ast.Assign | ast.AnnAssign) and not all(
            self._is_plain(name) or self._class_without(name, _MAKING) for name in names
        )

    def _decorates(self, decorator: ast.expr) -> bool:
        match decorator:
            case ast.Attribute(value=ast.Name(), attr=accessor) if accessor in _ACCESSORS:
                return True
            case ast.Call(func=function):
                return self._is_known(function) and self._expression(decorator)
        return self._is_known(decorator)

    def _expression(self, node: ast.AST) -> bool:
        match node:
            case ast.Constant() | ast.Name():
                return True
            case ast.Attribute(value=ast.Name(id=name)):
                return self._is_imported(name)
            case ast.Attribute(value=value):
                return self._expression(value)
            case ast.Lambda(args=arguments):
                return self._defaults(arguments)
            case ast.Call(func=function, args=args, keywords=keywords):
                return self._call(function) and all(map(self._expression, [*args, *keywords]))
            case ast.Tuple() | ast.List() | ast.Set() | ast.Dict() | ast.keyword():
                return all(map(self._expression, ast.iter_child_nodes(node)))
            case ast.expr_context() | ast.operator() | ast.unaryop() | ast.cmpop() | ast.boolop():
                return True
        # An operator or a loop may run code of whatever object it meets.
        return isinstance(node, _OPERATIONS) and all(
            self._expression(part) and (not isinstance(part, ast.Name) or self._is_plain(part.id))
            for part in ast.iter_child_nodes(node)
        )

    def _call(self, function: ast.expr) -> bool:
        match function:
            case ast.Attribute(value=ast.Constant() | ast.Call() as made):
                return self._expression(made)  # a method of an object that is made right here
            case ast.Name(id=name) if self._class_without(name, _MAKING):
                return True
        return self._is_known(function)

    def _may_be_inherited(self, base: ast.expr) -> bool:
        inner = base.value if isinstance(base, ast.Subscript) else base  # Generic[T]
        own = isinstance(inner, ast.Name) and self._class_without(inner.id, _INHERITING)
        return own or self._is_known(inner)

    def _is_known(self, function: ast.expr) -> bool:
        """Whether what is called, decorates or is inherited from is known to change nothing."""
        root, *rest = dotted(function) or [""]
        meanings = self._module.imports.get(root, [])
        if not meanings and root not in self._module.bindings:
            meanings = [Imported("builtins", root)]
        origins = [".".join([meaning.origin, *rest]) for meaning in meanings]
        return bool(origins) and all(
            origin in _HARMLESS or origin.partition(".")[0] in _HARMLESS_MODULES
            for origin in origins
        )

    def _class_without(self, name: str, hooks: frozenset[str]) -> bool:
        """Whether a name can only be a class of this package that has no such methods."""
        owner, statements = self._module, self._module.bindings.get(name, [])
        for imported in self._module.imports.get(name, []):
            if imported.name is None or not is_own(imported.module) or not find(imported.module):
                return False
            owner = parse(imported.module)
            statements = owner.bindings.get(imported.name, [])
        return bool(statements) and all(
            isinstance(statement, ast.ClassDef)
            and not statement.keywords
            and not any(isinstance(s, _Function) and s.name in hooks for s in statement.body)
            and all(_Inertness(owner)._inherits_no(base, hooks) for base in statement.bases)
            for statement in statements
        )

    def _inherits_no(self, base: ast.expr, hooks: frozenset[str]) -> bool:
        own = isinstance(base, ast.Name) and self._class_without(base.id, hooks)
        return own or self._is_known(base.value if isinstance(base, ast.Subscript) else base)

    def _is_imported(self, name: str) -> bool:
        """Whether a name can only be something imported, such as a module."""
        bound = self._module.bindings.get(name, [])
        return name in self._module.imports and all(isinstance(each, _IMPORT) for each in bound)

    def _is_plain(self, name: str) -> bool:
        """Whether a name stands for something of a library, or for numbers and texts."""
        if any(is_own(meaning.module) for meaning in self._module.imports.get(name, [])):
            return False
        return all(
            isinstance(statement, _IMPORT)
            or (
                isinstance(statement, ast.Assign | ast.AnnAssign)
                and statement.value is not None
                and all(isinstance(part, _LITERALS) for part in ast.walk(statement.value))
            )
            for statement in self._module.bindings.get(name, [])
        )


_OPERATIONS = (
    ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.Subscript | ast.Slice | ast.Starred
    | ast.IfExp | ast.JoinedStr | ast.FormattedValue | ast.comprehension | ast.GeneratorExp
    | ast.ListComp | ast.SetComp | ast.DictComp
)  # fmt: skip
_LITERALS = (
    ast.Constant | ast.Tuple | ast.List | ast.Dict | ast.Set | ast.UnaryOp | ast.BinOp
    | ast.operator | ast.unaryop | ast.expr_context
)  # fmt: skip


def _is_name(target: ast.AST) -> bool:
    match target:
        case ast.Name():
            return True
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return all(map(_is_name, parts))
    return False
