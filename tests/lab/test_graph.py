"""The graph of claims: what the table says, and what a doctored one is refused for."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from companion.lab.catalog import Claim, claims
from companion.lab.graph import graph_problems, resting_on, supports
from companion.lab.papers import papers


def table(**rests_on: str) -> dict[str, Claim]:
    """Claims with one-letter ids."""
    return {
        name: Claim(name, "du2019", name, "lemma", name, name, tuple(needed.split()))
        for name, needed in rests_on.items()
    }


DIAMOND = table(a="", b="a", c="a", d="b c", e="d", lone="")


def test_what_supports_what_is_the_other_way_round_of_what_rests_on_what() -> None:
    assert supports(DIAMOND) == {
        "a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"], "e": [], "lone": [],
    }  # fmt: skip
    assert resting_on(DIAMOND, "a") == ["b", "c", "d", "e"]
    assert resting_on(DIAMOND, "lone") == []


def test_all_that_rests_on_a_claim_is_what_powers_of_the_matrix_reach() -> None:
    ids = list(claims())
    edges = np.array([[a in claims()[b].rests_on for b in ids] for a in ids], dtype=float)
    reached, power = edges.copy(), edges.copy()
    while power.any():  # without a circle the powers end
        power = (power @ edges > 0).astype(float)
        reached = np.maximum(reached, power)
    for number, claim in enumerate(ids):
        assert resting_on(claims(), claim) == [ids[i] for i in np.flatnonzero(reached[number])]


def test_the_real_table_is_a_graph() -> None:
    assert list(graph_problems(claims())) == []


@pytest.mark.parametrize(
    ("doctored", "told"),
    [
        (table(a="a"), "a rests on itself; take it out"),
        (table(a="b"), "a rests on 'b', which is no row of the table"),
        (table(a="", b="a a"), "b names a more than once"),
        (DIAMOND | table(a="e"), " rests on "),
    ],
)
def test_a_table_that_is_no_graph_is_one_sentence(doctored: dict[str, Claim], told: str) -> None:
    (sentence,) = graph_problems(doctored)
    assert sentence.startswith("book/claims.csv: ")
    assert told in sentence


def test_a_circle_is_told_in_the_direction_of_the_proofs() -> None:
    (sentence,) = graph_problems(table(a="b", b="c", c="a"))
    circle = sentence.removeprefix("book/claims.csv: ").split(";")[0].split(" rests on ")
    assert sorted(circle[1:]) == ["a", "b", "c"]
    assert circle[0] == circle[-1]
    for one, needed in pairwise(circle):
        assert needed in table(a="b", b="c", c="a")[one].rests_on


def test_statements_rest_on_their_paper_or_an_earlier_one() -> None:
    order = list(papers())
    for claim in claims().values():
        for needed in claim.rests_on:
            assert order.index(claims()[needed].paper) <= order.index(claim.paper), claim.id


def test_no_statement_of_a_paper_rests_on_a_row_of_ours() -> None:
    for claim in claims().values():
        if claim.kind != "extension":
            ours = [each for each in claim.rests_on if claims()[each].kind == "extension"]
            assert not ours, claim.id


def test_rows_of_ours_say_what_they_extend() -> None:
    silent = [
        claim.id
        for claim in claims().values()
        if claim.kind == "extension" and not papers()[claim.paper].ours and not claim.rests_on
    ]
    assert not silent


def test_a_claim_is_not_changed_by_asking() -> None:
    before = replace(DIAMOND["d"])
    resting_on(DIAMOND, "a")
    assert DIAMOND["d"] == before
