"""Freed memory is kept: a step of training takes no new pages from the system."""

import platform
import subprocess
import sys

import pytest

from companion.base.memory import keep_freed_memory

PROGRAM = """
import resource, sys
import torch
from companion import matmul
from companion.losses import QUADRATIC
from companion.networks import draw_zou
from companion.training import train

if sys.argv[1] != "keep":
    matmul.keep_freed_memory = lambda: None
torch.set_num_threads(1)
faults = []

def count(moment):
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return moment.x.new_zeros(())

x, y = torch.ones(6000, 8), torch.ones(6000)
network = draw_zou(200, 8, seed=0, depth=8)
train(network, x, y, loss=QUADRATIC, step_size=1e-9, steps=8, record={"faults": count}, stop=None)
print(faults[8] - faults[4])
"""


def faults(choice: str) -> int:
    command = [sys.executable, "-c", PROGRAM, choice]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back")
def test_later_steps_take_no_new_pages() -> None:
    assert faults("keep") < faults("give back") / 5


def test_it_may_be_said_twice() -> None:
    keep_freed_memory()
    keep_freed_memory()
