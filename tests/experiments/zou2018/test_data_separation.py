"""The experiment zou2018/data_separation against loops over pairs, and its own failure."""

import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from companion.experiments.zou2018 import data_separation
from companion.lab.controls import with_controls
from tests.doctoring import outcomes

TINY = data_separation.QUICK.override(
    {"counts": [12, 20], "dimension": 5, "seeds": 3, "first_seed": 7}
)
judged = partial(outcomes, data_separation, TINY)


@pytest.fixture(scope="module")
def found():
    return data_separation.run(TINY, "cpu")


def least(x, pairs):
    """By Python's own distance."""
    return min(math.dist(x[i].tolist(), x[j].tolist()) for i, j in pairs)


def test_tiny_run_holds(found):
    assert judged(found) == data_separation.EXPECTED


def test_separations_are_those_of_loops(found):
    sets = [*data_separation._training_sets(TINY, 12, 8)]
    assert [len(x) for x, _ in sets] == [12, 12, 12, 24, 24]
    for kind, (x, y) in zip(data_separation.KINDS, sets, strict=True):
        torch.testing.assert_close(x.norm(dim=1), torch.ones(len(x), dtype=torch.float64))
        torch.testing.assert_close(x[:, -1], torch.full_like(x[:, -1], TINY.mu))
        every = [*combinations(range(len(x)), 2)]
        apart = [(i, j) for i, j in every if y[i] != y[j]]
        one = found.sel(seed=8, count=12, kind=kind)
        assert float(one.all_pairs) == pytest.approx(least(x, every), abs=1e-15)
        assert float(one.different) == pytest.approx(least(x, apart), abs=1e-15)


def test_training_sets_are_what_they_say():
    _, copies, twins, repeated, contradictory = data_separation._training_sets(TINY, 12, 8)
    for (x, y), distance, same in ((copies, 0.01, True), (twins, 0.1, False)):
        gaps = (x[::2] - x[1::2]).norm(dim=1)
        torch.testing.assert_close(gaps, torch.full_like(gaps, distance))
        assert bool((y[::2] == y[1::2]).all()) is same
    for (x, y), sign in ((repeated, 1), (contradictory, -1)):
        assert torch.equal(x[:12], x[12:])
        assert torch.equal(y[:12], sign * y[12:])


@pytest.mark.parametrize(
    "lie",
    [
        {"different": lambda a: np.where(np.arange(5) == 0, 0.5 * a, a)},
        {"different": lambda a: np.where(np.arange(5) == 2, a + 1e-9, a)},
        {"different": lambda a: np.where(np.arange(5) == 1, 0.005, a)},
        {"different": lambda a: np.where(np.arange(5) == 4, 0.3, a)},
        {"all_pairs": lambda a: np.where(np.arange(5) == 3, 1e-9, a)},
        {"all_pairs": lambda a: np.where(np.arange(5) == 0, 3 * a, a)},
    ],
    ids=["uniform", "twins", "copies", "contradictory", "repeated", "order"],
)
def test_each_lie_fails(found, lie):
    assert judged(found, **lie) == {"zou2018-ass3.5": "fails"}


def test_what_is_no_number_decides_nothing(found):
    lie = {"all_pairs": lambda a: np.where(np.arange(5) == 0, np.nan, a)}
    assert judged(found, **lie) == {"zou2018-ass3.5": "inconclusive"}


def test_the_judge_sees_the_lie_that_its_card_tells(found):
    verdicts = data_separation.judge(TINY, found)
    (told,) = with_controls(verdicts, data_separation.CONTROLS, TINY, found, data_separation.judge)
    assert told.control.outcome == "fails"
