"""A search that several files of tests look at, and one that is cut off."""

import os
import signal
from pathlib import Path

from companion.datasets import random_labels, sphere
from companion.draws import Batches
from companion.networks import draw_chen
from companion.training import Adam
from companion.widths import minimal_width


class CutOff(Exception):
    """Stands for a session that is cut off."""


def draw(width, seed):
    return draw_chen(width, dimension=4, seed=seed, depth=2)


def fading(step):
    """A schedule; cut off in the second round of the search in the folder the environment names."""
    folder = os.environ.get("CUT_OFF_IN")
    if folder and step == 30 and (Path(folder) / "search.json").exists():
        if "CUT_OFF_BY_KILL" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        raise CutOff
    return 1 - step / 1000


DATA = random_labels(sphere(count=16, dimension=4, seed=0), seed=0)
X, Y = DATA.x.float(), DATA.y.float()
ARGUMENTS = {
    "draw": draw, "widths": range(2, 25), "step_size": 0.03, "steps": 60, "optimiser": Adam(),
    "schedule": fading, "batches": Batches(6), "subset_size": 12, "runs": 24, "at_once": 8,
}  # fmt: skip


def found(x=X, y=Y, **changes):
    return minimal_width(x, y, **{**ARGUMENTS, **changes})


if __name__ == "__main__":
    print(found(folder=os.environ["SEARCH_IN"]))
