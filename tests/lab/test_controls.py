"""A lie is told to the judge claim by claim, and one that it does not see is named."""

import xarray as xr

from companion.lab.checks import at_most, claim
from companion.lab.controls import Lie, unseen, with_controls

FOUND = xr.Dataset({"share": ("seed", [0.5, 0.8])})
LIES = {
    "a-thm1": Lie("every share is doubled", lambda _, found: found.assign(share=2 * found.share)),
    "a-thm2": Lie(
        "every share is larger by s", lambda s, found: found.assign(share=found.share + s)
    ),
}


def judge(settings, found):
    return [
        claim(name, "at most 1", at_most("share", found.share), holds="It holds.", fails="No.")
        for name in LIES
    ]


def told(settings):
    return with_controls(judge(settings, FOUND), LIES, settings, FOUND, judge)


def test_every_verdict_carries_its_own_lie_and_what_became_of_it():
    first, second = told(0.1)
    assert (first.outcome, second.outcome) == ("holds", "holds")
    assert (first.control.lie, first.control.outcome) == ("every share is doubled", "fails")
    assert (second.control.lie, second.control.outcome) == ("every share is larger by s", "holds")
    assert float(FOUND.share.max()) == 0.8  # the true result is as it was


def test_a_lie_that_the_judge_does_not_see_is_named():
    assert [verdict.claim for verdict in unseen(told(0.1))] == ["a-thm2"]
    assert unseen(told(0.3)) == []
    assert unseen(judge(0.1, FOUND)) == []  # nothing was told
