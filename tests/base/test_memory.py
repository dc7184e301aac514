"""Freed memory is kept: a step of training takes no new pages from the system.

That holds of steps that keep nothing: here the monitor returns one tensor again and again. Before
2.38, glibc cannot reuse a hole in which so much as a recorded number lies, and takes new pages.
"""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from companion.base import memory

PROGRAM = """
import resource, sys
import torch
from companion.base.memory import keep_freed_memory
from companion.losses import QUADRATIC
from companion.networks import draw_zou
from companion.training import train

for _ in range(int(sys.argv[1])):
    keep_freed_memory()
torch.set_num_threads(1)
faults, nothing = [], torch.zeros(())

def count(moment):
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return nothing

x, y = torch.ones(6000, 8), torch.ones(6000)
network = draw_zou(200, 8, seed=0, depth=8)
train(network, x, y, loss=QUADRATIC, step_size=1e-9, steps=60, record={"faults": count}, stop=None)
print(faults[60] - faults[20])
"""


def faults(times: int) -> int:
    """Pages taken from the system by later steps, where it was asked for so many times."""
    command = [sys.executable, "-c", PROGRAM, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back")
def test_later_steps_take_no_new_pages_once_it_was_asked_for() -> None:
    without, once, twice = map(faults, range(3))
    assert max(once, twice) < without / 5


@pytest.mark.parametrize("library", [SimpleNamespace(), None], ids=["no mallopt", "no library"])
def test_without_glibc_nothing_happens(library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: object) -> object:
        asked.append(name)
        if library is None:
            raise OSError
        return library

    monkeypatch.setattr(memory.ctypes, "CDLL", load)
    memory.keep_freed_memory()
    assert asked == [None]
