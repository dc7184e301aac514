"""Freed memory is kept: a second use of as much of it takes no new pages from the system."""

import platform
import subprocess
import sys

import pytest

from companion.memory import keep_freed_memory

PROGRAM = """
import resource, sys
import torch
from companion.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def faults_of_a_round():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**22) for _ in range(8)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
faults_of_a_round()
print(faults_of_a_round())
"""


def faults(choice: str) -> int:
    command = [sys.executable, "-c", PROGRAM, choice]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back")
def test_kept_memory_costs_no_new_pages() -> None:
    """8 blocks of 16 MiB are 32,768 pages of 4 KiB; larger pages, if there are any, are fewer."""
    assert faults("keep") < faults("give back") / 10


def test_it_may_be_said_twice() -> None:
    keep_freed_memory()
    keep_freed_memory()
