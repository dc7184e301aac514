"""Every way we know to depend on something: a change of the value is a change of the hash.

Each case is a small package that is really run before and after an edit. Where the value changes,
the hash must change too, or the way of writing must be refused with file and line.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from companion.errors import InputError
from companion.lab import modules, sources

ONE = "experiments/one.py"
NUMBERS = """
SCALE = 2.0

def used(x):
    return x * SCALE

def other(x):
    return x + 1

class Shape:
    factor = 3

    def area(self):
        return self.factor
"""


@dataclass(frozen=True)
class Case:
    """A package, and an edit that changes what its experiment computes.

    Attributes:
        run: the experiment's module, whose function `run()` gives the value.
        edit: file, text, and the text in its place.
        files: what else the package holds, beside `numbers.py`.
    """

    run: str
    edit: tuple[str, str, str]
    files: dict[str, str] | None = None


HALF = ("numbers.py", "x * SCALE", "x / SCALE")
TRIPLE = ("numbers.py", "SCALE = 2.0", "SCALE = 3.0")
CALL = "def run():\n    return used(5)\n"
TWINS = {"a.py": "def f(): return 1\n", "b.py": "def f(): return 2\n"}
REGISTRY = {
    "registry.py": "TABLE = []\ndef register(f):\n    TABLE.append(f)\n    return f\n",
    "plugins.py": (
        "from companion.registry import register\n@register\ndef plugin(x):\n    return x + 1\n"
    ),
}
FROM_TABLE = "def run():\n    return sum(f(5) for f in TABLE)\n"
BASE = {
    "base.py": (
        "class Base:\n    kinds = []\n    def __init_subclass__(cls):\n"
        "        Base.kinds.append(cls)\n"
    )
}
DOCUMENTED = 'def told():\n    """Doc 1."""\n    return 0\n'
CASES = {
    # Imports, however they are written.
    "a relative import of a name": Case(f"from ..numbers import used\n{CALL}", HALF),
    "a relative import of a module": Case(
        "from .. import numbers\ndef run(): return numbers.used(5)\n", HALF
    ),
    "a relative import of a neighbour": Case(
        f"from ._near import used\n{CALL}",
        ("experiments/_near.py", "x * 7", "x * 8"),
        {"experiments/_near.py": "def used(x): return x * 7\n"},
    ),
    "a relative import of a neighbour as a module": Case(
        "from . import _near\ndef run(): return _near.used(5)\n",
        ("experiments/_near.py", "x * 7", "x * 8"),
        {"experiments/_near.py": "def used(x): return x * 7\n"},
    ),
    "an import without another name": Case(
        "import companion.numbers\ndef run(): return companion.numbers.used(5)\n", HALF
    ),
    "an import under another name": Case(
        "import companion.numbers as n\ndef run(): return n.used(5)\n", HALF
    ),
    "a name nested deeper": Case(
        "from companion import pkg\nimport companion.pkg.deep.low\n"
        "def run(): return pkg.deep.low.f(5)\n",
        ("pkg/deep/low.py", "x * 7", "x * 8"),
        {
            "pkg/__init__.py": "",
            "pkg/deep/__init__.py": "",
            "pkg/deep/low.py": "def f(x): return x * 7\n",
        },
    ),
    "a package without a file of its own": Case(
        "import companion.bare.low\ndef run(): return companion.bare.low.f(5)\n",
        ("bare/low.py", "x * 7", "x * 8"),
        {"bare/low.py": "def f(x): return x * 7\n"},
    ),
    "a module that another module imported": Case(
        "from companion import hub\ndef run(): return hub.numbers.used(5)\n",
        HALF,
        {"hub.py": "from companion import numbers\n"},
    ),
    "a star": Case(f"from companion.numbers import *\n{CALL}", HALF),
    "a star of a star": Case(
        f"from companion.hub import *\n{CALL}",
        HALF,
        {"hub.py": "from companion.numbers import *\n"},
    ),
    "the order of two stars": Case(
        "from companion.a import *\nfrom companion.b import *\ndef run(): return f()\n",
        (ONE, ".a import *\nfrom companion.b", ".b import *\nfrom companion.a"),
        TWINS,
    ),
    "what a star exports": Case(
        "from companion.a import *\nfrom companion.b import *\ndef run(): return f()\n",
        ("b.py", "def", "__all__ = []\ndef"),
        TWINS,
    ),
    "a name that a star hides": Case(
        "from companion.a import *\ndef run(): return sum([1, 2])\n",
        ("a.py", "def f", "def sum(x): return 0\ndef f"),
        TWINS,
    ),
    "a name that a definition hides": Case(
        "def run(): return sum([1, 2])\n", (ONE, "def run", "def sum(x): return 0\ndef run")
    ),
    "a re-export through a package": Case(
        f"from companion.pkg import used\n{CALL}",
        ("pkg/low.py", "x * 7", "x * 8"),
        {
            "pkg/__init__.py": "from companion.pkg.low import used\n",
            "pkg/low.py": "def used(x): return x * 7\n",
        },
    ),
    "a re-export that comes from elsewhere": Case(
        "from companion.pkg import f\ndef run(): return f()\n",
        ("pkg/__init__.py", "companion.a", "companion.b"),
        {**TWINS, "pkg/__init__.py": "from companion.a import f\n"},
    ),
    "a package that hides a module's name": Case(
        "from companion import pkg\nimport companion.pkg.low\ndef run(): return pkg.low.f()\n",
        ("pkg/__init__.py", "1", "2"),
        {
            "pkg/__init__.py": (
                "import companion.pkg.low\nclass low:\n    @staticmethod\n    def f(): return 1\n"
            ),
            "pkg/low.py": "def f(): return 7\n",
        },
    ),
    "an import under try": Case(
        "try:\n    from companion.a import f\n    from companion.b import f\n"
        "except ImportError:\n    f = None\ndef run(): return f()\n",
        ("b.py", "2", "3"),
        TWINS,
    ),
    "an import under except": Case(
        "try:\n    from nowhere import f\nexcept ImportError:\n    from companion.a import f\n"
        "def run(): return f()\n",
        ("a.py", "1", "3"),
        TWINS,
    ),
    "the last of two imports": Case(
        "from companion.a import f\nfrom companion.b import f\ndef run(): return f()\n",
        (ONE, ".a import f\nfrom companion.b", ".b import f\nfrom companion.a"),
        TWINS,
    ),
    "one name imported lazily from two modules": Case(
        "def one():\n    from companion.a import f\n    return f()\n"
        "def two():\n    from companion.b import f\n    return f()\n"
        "def run(): return one() + two()\n",
        ("a.py", "1", "3"),
        TWINS,
    ),
    "a lazy import that shadows a definition": Case(
        "def f(): return 9\ndef run():\n    from companion.a import f\n    return f()\n",
        ("a.py", "1", "3"),
        TWINS,
    ),
    "a lazy import of a package": Case(
        "def run():\n    import companion.a\n    return companion.a.f()\n",
        ("a.py", "1", "3"),
        TWINS,
    ),
    "an import in a class": Case(
        "class K:\n    from companion.a import f\n    f = staticmethod(f)\n"
        "def run(): return K.f()\n",
        ("a.py", "1", "3"),
        TWINS,
    ),
    "an import in a class, used as an attribute": Case(
        "class K:\n    from companion.hub import N\ndef run(): return K.N\n",
        ("hub.py", "7", "8"),
        {"hub.py": "N = 7\n"},
    ),
    "a module imported in a class": Case(
        "class K:\n    import companion.hub\ndef run(): return K.companion.hub.N\n",
        ("hub.py", "7", "8"),
        {"hub.py": "N = 7\n"},
    ),
    "an import that a function makes global": Case(
        "from companion import late\nlate.setup()\ndef run(): return late.f()\n",
        ("a.py", "1", "3"),
        {**TWINS, "late.py": "def setup():\n    global f\n    from companion.a import f\n"},
    ),
    "a package in the place of a module": Case(
        f"from companion.numbers import used\n{CALL}",
        ("numbers/__init__.py", "", "def used(x): return 9\n"),
    ),
    "another function of a library": Case(
        "from math import sin as f\ndef run(): return f(5)\n", (ONE, "sin as f", "cos as f")
    ),
    "another library under the same name": Case(
        "import math as m\ndef run(): return m.sqrt(-1.0 + 2)\n",
        (ONE, "import math", "import cmath"),
    ),
    "a library through another module": Case(
        "from companion.hub import f\ndef run(): return f(5)\n",
        ("hub.py", "sin as f", "cos as f"),
        {"hub.py": "from math import sin as f\n"},
    ),
    "import_module": Case(
        'from importlib import import_module\ndef run(): return import_module("companion.a").f()\n',
        ("a.py", "1", "3"),
        TWINS,
    ),
    "importlib.import_module": Case(
        'import importlib\ndef run(): return importlib.import_module("companion.a").f()\n',
        ("a.py", "1", "3"),
        TWINS,
    ),
    "__import__": Case(
        'def run(): return __import__("companion.a").a.f()\n', ("a.py", "1", "3"), TWINS
    ),
    "sys.modules": Case(
        'import sys\nimport companion.a\ndef run(): return sys.modules["companion.a"].f()\n',
        ("a.py", "1", "3"),
        TWINS,
    ),
    "sys.modules by another name": Case(
        "from sys import modules as m\nimport companion.a\n"
        'def run(): return m["companion.a"].f()\n',
        ("a.py", "1", "3"),
        TWINS,
    ),
    "an import of what is not in the package": Case(
        "from helping_hand import f\ndef run(): return f()\n",
        ("../helping_hand.py", "1", "3"),
        {"../helping_hand.py": "def f(): return 1\n"},
    ),
    "getattr of a module": Case(
        'from companion import numbers\ndef run(): return getattr(numbers, "us" + "ed")(5)\n', HALF
    ),
    "getattr of a package": Case(
        "import companion\nimport companion.numbers\n"
        'def run(): return getattr(companion, "num" + "bers").used(5)\n',
        HALF,
    ),
    "the dictionary of a module": Case(
        'from companion import numbers\ndef run(): return numbers.__dict__["used"](5)\n', HALF
    ),
    "a module kept in a variable": Case(
        "from companion import numbers as n\nTOOLS = [n]\ndef run(): return TOOLS[0].used(5)\n",
        HALF,
    ),
    "globals": Case(
        'def f(x): return x * 7\ndef run(): return globals()["f"](5)\n', (ONE, "x * 7", "x * 8")
    ),
    "the globals of a function": Case(
        'from companion.numbers import other\ndef run(): return other.__globals__["used"](5)\n',
        HALF,
    ),
    "exec": Case(
        'def run():\n    space = {}\n    exec("from companion.numbers import used", space)\n'
        '    return space["used"](5)\n',
        HALF,
    ),
    "eval": Case(
        "from companion.numbers import other\nimport companion\n"
        'def run(): return eval("companion.numbers.used(5)")\n',
        HALF,
    ),
    "builtins.eval": Case(
        "import builtins\nimport companion.numbers\n"
        'def run(): return builtins.eval("companion.numbers.used(5)", {"companion": companion})\n',
        HALF,
    ),
    "a module's __getattr__": Case(
        f"from companion.hub import used\n{CALL}",
        ("hub.py", "7", "8"),
        {"hub.py": "def __getattr__(name):\n    return lambda x: 7 * x\n"},
    ),
    # What runs on import.
    "a module imported for its effects": Case(
        f"from companion.numbers import used\nimport companion.patch\n{CALL}",
        ("patch.py", "7", "8"),
        {"patch.py": "from companion import numbers\nnumbers.SCALE = 7\n"},
    ),
    "effects of a module imported by one that is not used": Case(
        f"from companion.numbers import used\nimport companion.hub\n{CALL}",
        ("patch.py", "7", "8"),
        {
            "hub.py": "import companion.patch\n",
            "patch.py": "from companion import numbers\nnumbers.SCALE = 7\n",
        },
    ),
    "the order of two modules with effects": Case(
        f"from companion.numbers import used\nimport companion.p\nimport companion.q\n{CALL}",
        (ONE, "companion.p\nimport companion.q", "companion.q\nimport companion.p"),
        {
            "p.py": "from companion import numbers\nnumbers.SCALE = 7\n",
            "q.py": "from companion import numbers\nnumbers.SCALE = 8\n",
        },
    ),
    "the order of effects, one of them deeper": Case(
        f"from companion.numbers import used\nimport companion.p\nimport companion.x\n{CALL}",
        (ONE, "companion.p\nimport companion.x", "companion.x\nimport companion.p"),
        {
            "p.py": "from companion import numbers\nnumbers.SCALE = 7\n",
            "x.py": "import companion.q\n",
            "q.py": "from companion import numbers\nnumbers.SCALE = 8\n",
        },
    ),
    "an effect in a package's own file": Case(
        f"from companion.numbers import used\nfrom companion.pkg.low import f\n{CALL}",
        ("pkg/__init__.py", "7", "8"),
        {
            "pkg/__init__.py": "from companion import numbers\nnumbers.SCALE = 7\n",
            "pkg/low.py": "def f(): return 1\n",
        },
    ),
    "an effect behind the names of the whole package": Case(
        f"from companion.numbers import used\n{CALL}",
        ("__init__.py", "7", "8"),
        {"__init__.py": "from companion import numbers\nnumbers.SCALE = 7\n"},
    ),
    "an effect that hides in an assignment": Case(
        f"from companion import numbers\nfrom companion.numbers import used\n"
        f'_ = setattr(numbers, "SCALE", 7)\n{CALL}',
        (ONE, "7", "8"),
    ),
    "an effect of a call in a module that is not used": Case(
        f"import companion.plugins\nfrom companion.registry import TABLE\n{FROM_TABLE}",
        ("plugins.py", "x + 1", "x + 2"),
        {
            **REGISTRY,
            "plugins.py": (
                "from companion.registry import register\nplugin = register(lambda x: x + 1)\n"
            ),
        },
    ),
    "an effect in a default": Case(
        f"import companion.plugins\nfrom companion.registry import TABLE\n{FROM_TABLE}",
        ("plugins.py", "x + 1", "x + 2"),
        {
            **REGISTRY,
            "plugins.py": (
                "from companion.registry import register\n"
                "def unused(f=register(lambda x: x + 1)): pass\n"
            ),
        },
    ),
    "an effect in an annotation": Case(
        f"import companion.plugins\nfrom companion.registry import TABLE\n{FROM_TABLE}",
        ("plugins.py", "x + 1", "x + 2"),
        {
            **REGISTRY,
            "plugins.py": (
                "from companion.registry import register\n"
                "def unused(f: register(lambda x: x + 1)): pass\n"
            ),
        },
    ),
    "an effect in a class that is not used": Case(
        f"import companion.plugins\nfrom companion.registry import TABLE\n{FROM_TABLE}",
        ("plugins.py", "x + 1", "x + 2"),
        {
            **REGISTRY,
            "plugins.py": (
                "from companion.registry import register\nclass Unused:\n"
                "    @register\n    def f(x): return x + 1\n"
            ),
        },
    ),
    "an effect of an object that is made": Case(
        "from companion.objects import TABLE\nimport companion.objects\n"
        "def run(): return sum(TABLE)\n",
        ("objects.py", "Noted(7)", "Noted(8)"),
        {
            "objects.py": (
                "TABLE = []\nclass Noted:\n    def __init__(self, x): TABLE.append(x)\n"
                "made = Noted(7)\n"
            )
        },
    ),
    "an effect of an operator": Case(
        "from companion.objects import TABLE\ndef run(): return sum(TABLE.seen)\n",
        ("objects.py", ">> 7", ">> 8"),
        {
            "objects.py": (
                "class Table:\n    seen = []\n    def __rshift__(self, x): self.seen.append(x)\n"
                "TABLE = Table()\n_ = TABLE >> 7\n"
            )
        },
    ),
    "an effect of a property": Case(
        "from companion.objects import TABLE\ndef run(): return sum(TABLE.seen)\n",
        ("objects.py", "_ = TABLE.more", "_ = TABLE.seen"),
        {
            "objects.py": (
                "class Table:\n    seen = []\n    @property\n"
                "    def more(self): self.seen.append(1)\n"
                "TABLE = Table()\n_ = TABLE.more\n"
            )
        },
    ),
    "an effect of a loop that is not used": Case(
        "from companion.objects import LEFT\ndef run(): return sum(LEFT)\n",
        ("objects.py", "[3, *LEFT]", "[3]"),
        {"objects.py": "LEFT = iter([1, 2, 4])\nA = [3, *LEFT]\n"},
    ),
    "a setting of a library": Case(
        "import decimal\nimport companion.exact\n"
        "def run(): return str(decimal.Decimal(1) / decimal.Decimal(3))\n",
        ("exact.py", "7", "8"),
        {"exact.py": "import decimal\n_old = setattr(decimal.getcontext(), 'prec', 7)\n"},
    ),
    # Classes, decorators, dispatch.
    "a decorator that registers": Case(
        f"import companion.plugins\nfrom companion.registry import TABLE\n{FROM_TABLE}",
        ("plugins.py", "x + 1", "x + 2"),
        REGISTRY,
    ),
    "a decorator of what is used": Case(
        "from companion.plain import twice\n@twice\ndef f(): return 5\ndef run(): return f()\n",
        ("plain.py", "2 *", "3 *"),
        {"plain.py": "def twice(f): return lambda: 2 * f()\n"},
    ),
    "singledispatch": Case(
        "import functools\n@functools.singledispatch\ndef f(x): return 0\n"
        "@f.register\ndef _(x: int): return 7\ndef run(): return f(5)\n",
        (ONE, "return 7", "return 8"),
    ),
    "singledispatch elsewhere": Case(
        "from companion.d import f\nimport companion.e\ndef run(): return f(5)\n",
        ("e.py", "x * 7", "x * 8"),
        {
            "d.py": "import functools\n@functools.singledispatch\ndef f(x): return 0\n",
            "e.py": ("from companion.d import f\ndef g(x): return x * 7\nh = f.register(int, g)\n"),
        },
    ),
    "__init_subclass__": Case(
        "from companion.base import Base\nclass Kind(Base):\n    x = 7\n"
        "def run(): return [k.x for k in Base.kinds]\n",
        (ONE, "x = 7", "x = 8"),
        BASE,
    ),
    "__subclasses__": Case(
        "class Base: pass\nclass Kind(Base):\n    x = 7\n"
        "def run(): return [k.x for k in Base.__subclasses__()]\n",
        (ONE, "x = 7", "x = 8"),
    ),
    "a metaclass": Case(
        "from companion.m import Meta\nclass Kind(metaclass=Meta): pass\n"
        "def run(): return Meta.seen\n",
        ("m.py", "cls.seen + 1", "cls.seen + 2"),
        {
            "m.py": (
                "class Meta(type):\n    seen = 0\n    def __init__(cls, *a):\n"
                "        Meta.seen = cls.seen + 1\n"
            )
        },
    ),
    "__set_name__": Case(
        "from companion.m import Field\nclass Unused:\n    width = Field()\n"
        "def run(): return Field.seen\n",
        (ONE, "width =", "depth ="),
        {
            "m.py": (
                "class Field:\n    seen = ''\n    def __set_name__(self, owner, name):\n"
                "        Field.seen += name\n"
            )
        },
    ),
    "a base class": Case(
        "from companion.numbers import Shape\nclass Square(Shape): pass\n"
        "def run(): return Square().area()\n",
        ("numbers.py", "factor = 3", "factor = 4"),
    ),
    "an attribute of a class set afterwards": Case(
        "from companion.numbers import Shape\nShape.factor = 5\ndef run(): return Shape().area()\n",
        (ONE, "factor = 5", "factor = 6"),
    ),
    "an attribute of a class set elsewhere": Case(
        "from companion.numbers import Shape\nimport companion.patch\n"
        "def run(): return Shape().area()\n",
        ("patch.py", "factor = 5", "factor = 6"),
        {"patch.py": "from companion.numbers import Shape\nShape.factor = 5\n"},
    ),
    "an annotation that is evaluated": Case(
        "import typing\ndef f(x: 'Kind'): pass\nclass Kind:\n    size = 7\n"
        "def run(): return typing.get_type_hints(f)['x'].size\n",
        (ONE, "size = 7", "size = 8"),
    ),
    # Statements at the top.
    "a conditional definition": Case(
        "import os\nif os.sep == '/':\n    def f(): return 7\nelse:\n    def f(): return 9\n"
        "def run(): return f()\n",
        (ONE, "return 7", "return 8"),
    ),
    "an augmented assignment": Case(
        "TOTAL = 1\nTOTAL += 7\ndef run(): return TOTAL\n", (ONE, "+= 7", "+= 8")
    ),
    "del": Case(
        "from companion.numbers import used as abs\ndel abs\ndef run(): return abs(-5)\n",
        (ONE, "del abs\n", ""),
    ),
    "a walrus": Case("print((N := 7), end='')\ndef run(): return N\n", (ONE, "7", "8")),
    "a walrus in an assignment": Case("M = [N := 7]\ndef run(): return N\n", (ONE, "7", "8")),
    "for": Case(
        "for n in range(7):\n    pass\ndef run(): return n\n", (ONE, "range(7)", "range(8)")
    ),
    "while": Case(
        "n = 0\nwhile n < 7:\n    n += 1\ndef run(): return n\n", (ONE, "n < 7", "n < 8")
    ),
    "with": Case(
        "import contextlib\nwith contextlib.nullcontext(7) as n:\n    pass\ndef run(): return n\n",
        (ONE, "7", "8"),
    ),
    "match": Case(
        "match [7, 1]:\n    case [n, *rest]:\n        pass\ndef run(): return n + len(rest)\n",
        (ONE, "[7, 1]", "[8, 1]"),
    ),
    "except": Case(
        "try:\n    raise ValueError(7)\nexcept ValueError as error:\n    told = error.args\n"
        "def run(): return told[0]\n",
        (ONE, "(7)", "(8)"),
    ),
    "a tuple of names": Case(
        "A, (B, *C) = 1, (2, 3)\ndef run(): return C\n", (ONE, "2, 3", "2, 4")
    ),
    "an item": Case(
        "TABLE = {}\nTABLE['x'] = 7\ndef run(): return TABLE['x']\n", (ONE, "= 7", "= 8")
    ),
    "global": Case(
        "from companion import numbers\ndef run():\n    numbers.setup()\n    return numbers.LATE\n",
        ("numbers.py", "LATE = 7", "LATE = 8"),
        {"numbers.py": "def setup():\n    global LATE\n    LATE = 7\n"},
    ),
    "global in what runs on import": Case(
        "N = 1\ndef setup():\n    global N\n    N = 7\nsetup()\ndef run(): return N\n",
        (ONE, "N = 7", "N = 8"),
    ),
    "a run that is made": Case(
        "def make(x):\n    return lambda: x\nrun = make(7)\n", (ONE, "make(7)", "make(8)")
    ),
    "a run that is imported": Case(
        "from companion.a import f as run\n", ("a.py", "return 1", "return 2"), TWINS
    ),
    # What is left out elsewhere.
    "a docstring that is used": Case(
        f"{DOCUMENTED}def run(): return told.__doc__\n", (ONE, "Doc 1", "Doc 2")
    ),
    "the docstring of a module": Case(
        '"""Doc 1."""\ndef run(): return __doc__\n', (ONE, "Doc 1", "Doc 2")
    ),
    "the docstring of another module": Case(
        "from companion import a\ndef run(): return a.__doc__\n",
        ("a.py", "Doc 1", "Doc 2"),
        {"a.py": '"""Doc 1."""\n'},
    ),
    "inspect.getdoc": Case(
        f"import inspect\n{DOCUMENTED}def run(): return inspect.getdoc(told)\n",
        (ONE, "Doc 1", "Doc 2"),
    ),
    "the source itself": Case(
        "import inspect\ndef f(): return 7  # seven\ndef run(): return len(inspect.getsource(f))\n",
        (ONE, "# seven", "# sevens"),
    ),
    "a message that is used": Case(
        "def f(): raise ValueError('one')\ndef run():\n    try:\n        f()\n"
        "    except ValueError as error:\n        return str(error)\n",
        (ONE, "'one'", "'two'"),
    ),
    "a message that a context manager uses": Case(
        "class Told:\n    def __enter__(self): return self\n"
        "    def __exit__(self, kind, error, place):\n        self.text = str(error)\n"
        "        return True\n"
        "def run():\n    with Told() as told:\n        raise ValueError('one')\n"
        "    return told.text\n",
        (ONE, "'one'", "'two'"),
    ),
    "a message that a callback uses": Case(
        "import contextlib\ndef run():\n    told = []\n    with contextlib.ExitStack() as stack:\n"
        "        stack.push(lambda kind, error, place: told.append(str(error)) or True)\n"
        "        raise ValueError('one')\n    return told\n",
        (ONE, "'one'", "'two'"),
    ),
    "a message that outlives its handler": Case(
        "def run():\n    try:\n        try:\n            raise ValueError('one')\n"
        "        except ValueError as error:\n            told = str(error)\n"
        "            raise KeyError from None\n    except KeyError:\n        return told\n",
        (ONE, "'one'", "'two'"),
    ),
    "a message that becomes global": Case(
        "def f():\n    global TOLD\n    try:\n        raise ValueError('one')\n"
        "    except ValueError as error:\n        TOLD = str(error)\n        raise KeyError\n"
        "def run():\n    try:\n        f()\n    except KeyError:\n        return TOLD\n",
        (ONE, "'one'", "'two'"),
    ),
    "vars of a module": Case(
        "from companion import numbers\ndef run(): return vars(numbers)['used'](5)\n", HALF
    ),
    "vars, kept": Case(
        "v = vars\ndef f(x): return 7 * x\nspace = v()\ndef run(): return space['f'](5)\n",
        (ONE, "7 *", "8 *"),
    ),
    "a docstring by its name": Case(
        f"{DOCUMENTED}def run(): return getattr(told, '__doc__')\n", (ONE, "Doc 1", "Doc 2")
    ),
    "the version": Case(
        "from companion import __version__\ndef run(): return __version__\n",
        ("__init__.py", "1.0", "1.1"),
        {"__init__.py": "__version__ = '1.0'\n"},
    ),
    "the place in the file": Case(
        "def run(): return run.__code__.co_firstlineno\n", (ONE, "def run", "\ndef run")
    ),
    "another name than those that carry numbers": Case(
        "from companion.lab.results import Result, helper\ndef run(): return helper()\n",
        ("lab/results.py", "7", "8"),
        {
            "lab/__init__.py": "",
            "lab/results.py": "class Result: pass\ndef helper(): return 7\n",
        },
    ),
    "what such a module brings along": Case(
        "from companion.lab.results import Result, used\ndef run(): return used(5)\n",
        HALF,
        {
            "lab/__init__.py": "",
            "lab/results.py": "from companion.numbers import used\nclass Result: pass\n",
        },
    ),
    # Files.
    "a file beside the module": Case(
        "from pathlib import Path\n"
        "def run(): return Path(__file__).with_name('x.txt').read_text()\n",
        ("experiments/x.txt", "1", "2"),
        {"experiments/x.txt": "1"},
    ),
    "a file by its name": Case(
        "import os\nimport companion\n"
        "def run():\n    with open(companion.__path__[0] + '/x.txt') as f:\n"
        "        return f.read()\n",
        ("x.txt", "1", "2"),
        {"x.txt": "1"},
    ),
    "a file of the package, asked for on import": Case(
        "from pathlib import Path\nPLACE = Path(__file__).parent / 'x.npy'\n"
        "def run(): return PLACE.read_bytes()\n",
        ("experiments/x.npy", "1", "2"),
        {"experiments/x.npy": "1"},
    ),
    "an archive": Case(
        "import zipfile\nfrom companion.hub import place\n"
        "def run():\n    try:\n        return zipfile.ZipFile(place())\n"
        "    except zipfile.BadZipFile:\n        return place().stat().st_size\n",
        ("x.zip", "1", "22"),
        {
            "x.zip": "1",
            "hub.py": "import pathlib\nimport companion\n"
            "def place(): return pathlib.Path(companion.__path__[0]) / 'x.zip'\n",
        },
    ),
    "pkgutil": Case(
        "import pkgutil\ndef run(): return pkgutil.get_data('companion', 'x.txt')\n",
        ("x.txt", "1", "2"),
        {"x.txt": "1"},
    ),
    "importlib.resources": Case(
        "from importlib.resources import files\n"
        "def run(): return (files('companion') / 'x.txt').read_text()\n",
        ("x.txt", "1", "2"),
        {"x.txt": "1"},
    ),
}
assert len(CASES) >= 31


def write(folder: Path, case: Case) -> None:
    """The package of a case."""
    files = {"__init__.py": "", "experiments/__init__.py": "", "numbers.py": NUMBERS}
    for name, text in {**files, **(case.files or {}), ONE: case.run}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@contextmanager
def another_package(root: Path) -> Iterator[None]:
    """The package below `root` in place of the real one, freshly imported."""
    mine = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "companion"}
    for name in (*mine, "helping_hand"):
        sys.modules.pop(name, None)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(root))
        for name in [n for n in sys.modules if n.partition(".")[0] == "companion"]:
            del sys.modules[name]
        sys.modules.pop("helping_hand", None)
        sys.modules.update(mine)


def value_of(root: Path) -> str:
    """What the experiment really computes."""
    import decimal

    with another_package(root), decimal.localcontext():
        return repr(importlib.import_module("companion.experiments.one").run())


def hash_of(name: str = "run") -> str | None:
    """The hash of the experiment; None where it is refused, with file and line."""
    try:
        return sources.compute_hash("companion.experiments.one", (name,))
    except InputError as refusal:
        sentence = str(refusal)
    assert re.match(r"/\S+\.py:\d+: .+; .+\.$", sentence), sentence
    return None


def parts_of() -> dict[str, str] | None:
    """The same, definition by definition."""
    try:
        return sources.reached_hashes("companion.experiments.one", ("run",))
    except InputError:
        return None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    """Put a text in another's place; make the file where there is none."""
    path.parent.mkdir(exist_ok=True)
    text = path.read_text() if path.exists() else ""
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", CASES)
def test_what_changes_the_value_changes_the_hash_or_is_refused(place: Path, name: str) -> None:
    case = CASES[name]
    folder = place / "companion"
    write(folder, case)
    file, old, new = case.edit
    before, known, parts = value_of(place), hash_of(), parts_of()
    change(folder / file, old, new)
    assert value_of(place) != before
    after = hash_of()
    print("refused" if known is None or after is None else "hash changed")
    assert known is None or after != known
    assert known is None or parts_of() != parts  # which is what fingerprints are made of


UNCHANGED = {
    "a comment": "# another\n",
    "layout": "\n\n",
    "a function": "def more(x): return x\n",
    "a function with own annotations": "def more(x: Shape) -> Shape: return x\n",
    "a constant": "MORE = (1, 2 * SCALE, *(i for i in range(3)))\n",
    "a class": "class More(Shape):\n    x = 1\n",
    "an object": "MORE = Shape()\n",
    "a decorated function": "import functools\n@functools.cache\ndef more(x): return x\n",
    "a library": "import math\n",
}


@pytest.mark.parametrize("what", UNCHANGED)
def test_what_is_added_beside_changes_no_hash(place: Path, what: str) -> None:
    write(place / "companion", Case(f"from companion.numbers import used\n{CALL}", HALF))
    known = hash_of()
    assert known is not None
    with (place / "companion" / "numbers.py").open("a") as file:
        file.write(UNCHANGED[what])
    assert hash_of() == known


def test_messages_docstrings_and_comments_change_no_hash(place: Path) -> None:
    case = Case(
        'def run():\n    """Doc."""\n    if f(1):  # here\n        raise ValueError("one")\n'
        "def f(x):\n    try:\n        return 1 / x\n    except ZeroDivisionError as error:\n"
        "        reason = str(error)\n        raise KeyError(f'no {x}: {reason}') from None\n"
        "    except KeyError as other:\n        other.history = 1\n        raise\n",
        HALF,
    )
    write(place / "companion", case)
    known = hash_of()
    path = place / "companion" / ONE
    for old, new in {
        "Doc.": "Other.", "# here": "# there", '"one"': '"two" f"{3}"', "no {x}": "{x!r}: no",
    }.items():  # fmt: skip
        change(path, old, new)
        assert hash_of() == known
    change(path, "except KeyError", "except IndexError")
    assert hash_of() != known


def test_a_refusal_names_file_line_and_what_to_write(place: Path) -> None:
    write(place / "companion", CASES["import_module"])
    with pytest.raises(InputError) as refusal:
        sources.compute_hash("companion.experiments.one", ("run",))
    assert str(refusal.value) == (
        f"{place}/companion/experiments/one.py:2: what importlib.import_module reaches is unknown; "
        "write 'from companion.module import name' and use that name, and read files through "
        "companion.base.inputs."
    )
