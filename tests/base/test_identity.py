"""Identities: the same for what computes the same, wherever defined; another for all else."""

import functools
import math
import subprocess
import sys
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from companion import losses, monitors
from companion.base.identity import identity
from companion.errors import InputError
from companion.losses import CROSS_ENTROPY, LOSSES
from companion.monitors import Distances, PatternDifference

FACTOR = """
import math
from dataclasses import dataclass
import functools
import numpy
import torch
import companion.monitors

SCALE = 2.0
TABLE = {"a": torch.ones(3), "b": [1, 2]}


def helper(x):
    return SCALE * x


def monitor(moment):
    "Says what it is."
    values = [helper(v) for v in moment.losses]
    return torch.stack(values).mean() if values else None


def guarded(moment):
    try:
        return moment.losses.mean()
    except ValueError:
        return TABLE["a"]


def kept(factor=1.5, *, shift=0.0):
    def inner(moment):
        return factor * moment.losses.mean() + shift

    return inner


@dataclass(frozen=True)
class Share:
    size: int = 3

    def __call__(self, moment):
        return self.part(moment) / self.size

    @property
    def twice(self):
        return 2 * self.size

    @staticmethod
    def part(moment):
        return moment.losses[0]


@functools.lru_cache
def cached(number):
    return math.sin(number)


@torch.no_grad()
def wrapped(moment):
    return moment.losses.max()


def recursive(number):
    return recursive(number - 1) if number else math.pi


def drawn(moment, generator=numpy.random.default_rng(0)):
    return generator.standard_normal()


def library(moment):
    return companion.monitors.mean_loss(moment)


WHOLE = {
    "monitor": monitor, "guarded": guarded, "kept": kept(), "share": Share(), "cached": cached,
    "method": Share(4).part, "bound": Share(4).__call__, "partial": functools.partial(helper, 2),
    "lambda": lambda m: m in {"one", "two", "three", "four"} and SCALE,
    "wrapped": wrapped, "recursive": recursive,
    "drawn": drawn, "library": library,
}
"""


def defined(source: str, name: str = "users") -> dict:
    module = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module.__dict__["WHOLE"]


@pytest.fixture
def known() -> dict[str, str]:
    return {name: identity(value, name) for name, value in defined(FACTOR).items()}


def test_the_same_code_defined_again_is_the_same(known):
    again = defined("# a comment moves every line\n\n" + FACTOR)
    assert {name: identity(value, name) for name, value in again.items()} == known
    assert len(set(known.values())) == len(known)


def test_another_process_finds_the_same(known, tmp_path):
    """With other hashes of text, and so other orders of sets."""
    (tmp_path / "users.py").write_text(FACTOR)
    program = """
import users
from companion.base.identity import identity
from companion.losses import CROSS_ENTROPY
from companion.monitors import Distances, mean_loss
for name, value in users.WHOLE.items():
    print(name, identity(value, name))
for value in (CROSS_ENTROPY, Distances(), mean_loss):
    print(identity(value, "it"))
"""
    root = str(Path(losses.__file__).parents[1])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": f"{tmp_path}:{root}", "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    (found,) = outputs
    here = [f"{name} {text}" for name, text in known.items()]
    here += [identity(v, "it") for v in (CROSS_ENTROPY, Distances(), monitors.mean_loss)]
    assert found.split("\n")[:-1] == here


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("Says what it is", "Says it in other words", set()),
        ('    "Says what it is."\n', "", set()),
        ("helper(v) for v in moment", "helper(loss) for loss in moment", set()),
        ("SCALE = 2.0", "SCALE = 2.5", {"monitor", "partial", "lambda"}),
        ("return SCALE * x", "return SCALE + x", {"monitor", "partial"}),
        (".mean() if values else None", ".sum() if values else None", {"monitor"}),
        ("except ValueError", "except TypeError", {"guarded"}),
        ('"a": torch.ones(3)', '"a": torch.zeros(3)', {"guarded"}),
        ("factor=1.5", "factor=1.25", {"kept"}),
        ("shift=0.0", "shift=-0.0", {"kept"}),
        ("size: int = 3", "size: int = 5", {"share", "bound"}),
        ("self.part(moment) / self.size", "self.part(moment) * self.size", {"share", "bound"}),
        ("moment.losses[0]", "moment.losses[1]", {"share", "bound", "method"}),
        ("math.sin(number)", "math.cos(number)", {"cached"}),
        ("moment.losses.max()", "moment.losses.min()", {"wrapped"}),
        ("recursive(number - 1)", "recursive(number - 2)", {"recursive"}),
        ("default_rng(0)", "default_rng(1)", {"drawn"}),
        ("monitors.mean_loss(moment)", "monitors.largest_loss(moment)", {"library"}),
        ("partial(helper, 2)", "partial(helper, 3)", {"partial"}),
        ('"three", "four"}', '"three", "five"}', {"lambda"}),
    ],
)
def test_what_computes_something_else_is_another(known, old, new, changed):
    assert FACTOR.count(old) == 1
    edited = defined(FACTOR.replace(old, new))
    found = {name: identity(value, name) for name, value in edited.items()}
    assert {name for name in known if found[name] != known[name]} == changed


def test_values_differ_by_every_bit_and_type():
    class Colour(Enum):
        RED = 1
        BLUE = 2

    values = [
        None, True, 1, 1.0, 1 + 0j, "1", b"1", 0.1, math.nextafter(0.1, 1), -0.0, 0.0, float("nan"),
        (1,), [1], {1}, {1: 1}, {"1": 1}, (1, (2, 3)), ((1, 2), 3), (12,), (1, 2),
        np.float32(0.1), np.arange(4), np.arange(4.0), np.arange(4).reshape(2, 2),
        torch.arange(4), torch.arange(4).reshape(2, 2), torch.arange(4).float(),
        torch.arange(4).bfloat16(), torch.ones(0, 3), torch.ones(3, 0), torch.ones(()),
        torch.float32, torch.device("cpu"), Colour.RED, Colour.BLUE, Path("a"), range(3), slice(3),
        torch.mean, np.mean, np.add, np.multiply, "a".join, "b".join, torch.Tensor.sum,
        torch.Tensor.mean, int, float, *LOSSES.values(), Distances(), Distances(4),
        PatternDifference(), PatternDifference("last"),
    ]  # fmt: skip
    identities = [identity(value, "it") for value in values]
    assert len(set(identities)) == len(values)
    again = [identity(value, "it") for value in values]
    assert again == identities


def test_equal_values_are_the_same_however_they_are_stored():
    rows = torch.arange(6.0).reshape(2, 3)
    columns = rows.T.contiguous().T
    assert identity(rows, "x") == identity(columns, "x")
    assert identity(rows[:, ::2], "x") == identity(rows[:, ::2].clone(), "x")
    assert identity(rows.requires_grad_(), "x") == identity(columns, "x")
    assert identity({"a": 1, "b": 2}, "x") == identity({"b": 2, "a": 1}, "x")


def test_helpers_in_another_file_of_the_user_enter_by_content(monkeypatch):
    def through(helpers: str) -> str:
        module = ModuleType("helpers")
        exec(helpers, module.__dict__)
        monkeypatch.setitem(sys.modules, "helpers", module)
        source = "import helpers\nfrom helpers import g\nWHOLE = {'a': lambda m: helpers.f(g(m))}"
        return identity(defined(source)["a"], "a")

    plain = "def f(m): return m\ndef g(m): return m\ndef h(m): return m\n"
    assert through(plain) == through("# f, g and h\n" + plain)
    assert through(plain) != through(plain.replace("f(m): return m", "f(m): return 2 * m"))
    assert through(plain) != through(plain.replace("g(m): return m", "g(m): return 2 * m"))
    assert through(plain) == through(plain.replace("h(m): return m", "h(m): return 2 * m"))


@pytest.mark.parametrize(
    "code",
    [
        "import mypackage.helpers\nWHOLE = {'a': lambda m: mypackage.helpers.f(m)}",
        "import mypackage\nWHOLE = {'a': lambda m: mypackage.helpers.f(m)}",
        "def a(m):\n    from mypackage.helpers import f\n    return f(m)\nWHOLE = {'a': a}",
        "def a(m):\n    import mypackage.helpers as h\n    return h.f(m)\nWHOLE = {'a': a}",
    ],
)
def test_helpers_in_a_package_of_the_user_enter_by_content(monkeypatch, code):
    def through(factor: int) -> str:
        package, helpers = ModuleType("mypackage"), ModuleType("mypackage.helpers")
        package.__path__ = []
        package.helpers = helpers
        exec(f"FACTOR = {factor}\ndef f(m): return FACTOR * m", helpers.__dict__)
        monkeypatch.setitem(sys.modules, "mypackage", package)
        monkeypatch.setitem(sys.modules, "mypackage.helpers", helpers)
        return identity(defined(code)["a"], "a")

    assert through(2) == through(2)
    assert through(2) != through(3)


def scaled(factor):
    def decorate(monitor):
        @functools.wraps(monitor)
        def inner(moment):
            return factor * monitor(moment)

        return inner

    return decorate


def test_a_wrapped_monitor_enters_with_its_wrapper():
    one, other = (Holding(scaled(factor)(monitors.mean_loss)) for factor in (2, 3))
    assert identity(one, "it") == identity(Holding(scaled(2)(monitors.mean_loss)), "it")
    assert identity(one, "it") != identity(other, "it")


def test_attributes_of_a_function_enter():
    def measure(moment):
        return measure.factor

    measure.factor = 1
    before = identity(measure, "it")
    measure.factor = 2
    assert identity(measure, "it") != before


def test_what_a_generic_function_does_for_each_type_enters():
    @functools.singledispatch
    def generic(moment):
        return 1

    before = identity(Holding(generic), "it")
    generic.register(int, lambda moment: 2)
    assert identity(Holding(generic), "it") != before


def test_a_wrapper_may_have_any_registry():
    """Other libraries than `functools` use the name for other things."""

    class Cached:
        __wrapped__ = staticmethod(math.sqrt)

        def __init__(self, registry):
            self.registry = registry

    assert identity(Cached(3), "it") == identity(Cached(3), "it") != identity(Cached(4), "it")


def test_a_state_that_changes_is_another():
    class Counting:
        def __init__(self):
            self.count = 0

        def __call__(self, moment):
            self.count += 1
            return self.count

    counting = Counting()
    before = identity(counting, "it")
    assert before == identity(Counting(), "it")
    counting(None)
    assert before != identity(counting, "it")


@dataclass
class Holding:
    """A monitor with something in it."""

    what: object

    def __call__(self, moment):
        return self.what


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (threading.Lock(), r"a _thread\.lock"),
        ((number for number in ()), "a generator"),
        (torch.ones(3, device="meta"), "a tensor on meta"),
        (torch.eye(3).to_sparse(), ".* that is torch.sparse_coo"),
        (np.array([None]), "an array of objects"),
    ],
)
def test_what_has_no_identity_is_refused_by_name(what, told):
    for holder in (Holding(what), lambda m: what, functools.partial(print, what)):
        with pytest.raises(InputError, match=f"monitor 'q' depends on {told}.* cannot know its"):
            identity(holder, "monitor 'q'")
