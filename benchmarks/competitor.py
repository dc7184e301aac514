"""A process that keeps one core busy for as long as the one that started it lives.

It is told the number of that process, and how many cores the sides of a comparison keep to: there
it competes, and which of them it takes is the system's choice, as with any other program.
"""

import os
import sys

import measuring


def compete(starter: int, cores: int) -> None:
    """Say that it begins, and spin; without its starter, which may have been killed, it ends."""
    measuring.keep_to_cores(cores)
    print("busy", flush=True)
    while os.getppid() == starter:
        for _ in range(10**6):
            pass


if __name__ == "__main__":
    compete(*map(int, sys.argv[1:]))
