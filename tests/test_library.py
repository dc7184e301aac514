"""The package as a library: names that load lazily, without the book, and without side effects."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import companion
from companion.base.paths import PROJECT
from tests.blocking import refuse_book

# The mathematics of README's examples, and what the book's packages are not needed for.
FIVE_LINES = """
import companion
x = companion.sphere(count=20, dimension=5, seed=0).x
network = companion.draw_zou(width=30, dimension=5, seed=0, depth=2)
ntk, limit = companion.empirical_gram(network, x.float()), companion.infinite_width_ntk(x, depth=2)
print(companion.lambda_min(ntk / 30) > 0, companion.lambda_min(limit) > 0)
"""


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a script of its own says."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def list_experiments(path: str) -> subprocess.CompletedProcess[str]:
    """The command, with that PYTHONPATH."""
    return subprocess.run(
        [sys.executable, "-m", "companion", "list"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def without_book(tmp_path: Path) -> str:
    """A PYTHONPATH with which nothing that only `companion[book]` brings can be imported."""
    refuse_book(tmp_path)
    return os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])


def test_every_public_name_is_there() -> None:
    for name in companion.__all__:
        assert getattr(companion, name) is not None
        assert name in dir(companion)
    with pytest.raises(AttributeError, match="no attribute 'empirical_gramm'"):
        _ = companion.empirical_gramm  # type: ignore[attr-defined]


def test_what_is_not_used_is_not_imported() -> None:
    told = "print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    assert python(f"import sys, companion; {told}").stdout == "[]\n"
    used = "companion.draw_zou; print('scipy' in sys.modules, 'companion.ntrf' in sys.modules)"
    assert python(f"import sys, companion; {used}").stdout == "False False\n"


def test_the_mathematics_needs_no_book(without_book: str) -> None:
    modules = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for pattern in ("*.py", "base/*.py", "bounds/*.py", "kernels/*.py", "ntrf/*.py")
        for path in sorted((PROJECT / "companion").glob(pattern))
        if path.name != "__main__.py"
    ]
    assert len(modules) > 30
    imports = "\n".join(f"import {module}" for module in modules)
    done = python(f"{imports}\nfrom companion import *\n{FIVE_LINES}", PYTHONPATH=without_book)
    assert done.stdout == "True True\n", done.stderr


def test_what_needs_the_book_says_so_in_one_sentence(without_book: str) -> None:
    done = python("import companion; companion.reproduce", PYTHONPATH=without_book)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: companion.reproduce needs xarray; pip install 'companion[book]' "
        "brings it."
    )
    command = list_experiments(without_book)
    assert command.returncode == 2
    told = "companion: the command needs typer; pip install 'companion[book]' brings it.\n"
    assert (command.stdout, command.stderr) == ("", told)


INTERRUPTED = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
"""


def test_ctrl_c_while_the_command_is_imported_gives_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    command = list_experiments(os.pathsep.join([str(tmp_path), str(PROJECT)]))
    assert (command.returncode, command.stdout, command.stderr) == (130, "", "")


SIDE_EFFECTS = """
import os, sys
found = []
sys.addaudithook(lambda event, args: event == "ctypes.dlsym" and found.append(args[1]))
from companion import fleets, kernels, matmul, monitors, networks, ntrf, spectra, training
from companion.base.memory import keep_freed_memory
kept = os.path.join(os.environ["XDG_CACHE_HOME"], "companion", "product.json")
print("mallopt" in found, matmul._choice.product, os.path.exists(kept))
matmul.chosen_product()
print("mallopt" in found, os.path.exists(kept))
keep_freed_memory()
print("mallopt" in found)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_importing_changes_nothing_in_the_process(tmp_path: Path) -> None:
    done = python(SIDE_EFFECTS, XDG_CACHE_HOME=str(tmp_path), COMPANION_PRODUCT="")
    assert done.stdout.splitlines() == ["False None False", "False True", "True"], done.stderr


SAME_SCRIPT = """
import hashlib, companion
data = companion.sphere(count=300, dimension=200, seed=0)
network = companion.draw_du(width=400, dimension=200, seed=0, depth=3)
history = companion.train(network, data.x.float(), data.y.float(), loss=companion.QUADRATIC,
                          step_size=1e-3, steps=5, record={"loss": companion.mean_loss})
bits = b"".join(w.numpy().tobytes() for w in history.network.parameters)
print(companion.matmul.chosen_product(), hashlib.sha256(bits).hexdigest())
"""


def test_the_same_script_gives_the_same_bits(tmp_path: Path) -> None:
    """The product is measured in the first process and kept for the second."""
    cache = {"XDG_CACHE_HOME": str(tmp_path), "COMPANION_PRODUCT": ""}
    first, second = (python(SAME_SCRIPT, **cache) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    (chosen,) = json.loads((tmp_path / "companion" / "product.json").read_text()).values()
    assert first.stdout.split()[0] == chosen
    fixed = python(SAME_SCRIPT, XDG_CACHE_HOME=str(tmp_path / "none"), COMPANION_PRODUCT=chosen)
    assert fixed.stdout == first.stdout
    assert not (tmp_path / "none").exists()


def test_a_product_that_there_is_not_is_refused_in_one_sentence() -> None:
    done = python(SAME_SCRIPT, COMPANION_PRODUCT="mkl")
    assert done.stderr.splitlines()[-1].endswith(
        "InputError: COMPANION_PRODUCT is 'mkl'; choose torch or onednn."
    )
