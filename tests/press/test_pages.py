"""What pages say of outcomes is checked against the verdicts."""

import re

import pytest

from companion.errors import BuildError
from companion.lab import catalog
from companion.lab.results import Outcome, Verdict
from companion.press.book import Book
from companion.press.ledger import Findings
from companion.press.pages import PageWriter

REAL = Book()
MARKS = [
    (page, *mark)
    for page in REAL.pages
    for mark in re.findall(r"\{outcome\}`([^`:]*):([^`]*)`", REAL.path(page).read_text("utf-8"))
]
CLAIM = "du2019-thm4.1"
SAID = f"The misfit falls.\nIt stays below.{{outcome}}`{CLAIM}:outside-regime`\nThat is all."


def writer(*outcomes: Outcome) -> PageWriter:
    """Of a book in which results reach these outcomes on the claim."""
    findings = Findings()
    for index, outcome in enumerate(outcomes):
        findings.verdicts[str(index)] = [Verdict(CLAIM, outcome, "", "", "", "")]
    return PageWriter(findings, {})


@pytest.mark.parametrize("outcomes", [["outside-regime"], ["outside-regime", "outside-regime"]])
def test_a_true_sentence_stands_without_its_mark(outcomes: list[Outcome]) -> None:
    text = writer(*outcomes).text("page", SAID)
    assert text == "The misfit falls.\nIt stays below.\nThat is all."


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["holds"], "holds"),
        (["fails"], "fails"),
        (["inconclusive"], "inconclusive"),
        (["outside-regime", "fails"], "fails and outside-regime"),
        ([], "missing"),
    ],
)
def test_a_sentence_that_is_not_true_fails_the_build(outcomes: list[Outcome], verdict: str) -> None:
    told = (
        f"page says 'It stays below.', which asserts that {CLAIM} is 'outside-regime'; "
        f"the verdict is {verdict}."
    )
    with pytest.raises(BuildError, match=f"^{re.escape(told)}$"):
        writer(*outcomes).text("page", SAID)


@pytest.mark.parametrize("mark", ["du2019-thm9.9:holds", f"{CLAIM}:hold", CLAIM, f"{CLAIM} holds"])
def test_a_misspelt_mark_fails_the_build(mark: str) -> None:
    with pytest.raises(BuildError, match="which names no claim and outcome"):
        writer("holds").text("page", f"So it is.{{outcome}}`{mark}`")


@pytest.mark.parametrize(("page", "claim", "outcome"), MARKS)
def test_pages_assert_what_the_experiments_expect(page: str, claim: str, outcome: str) -> None:
    expected = {c: o for name in catalog.experiments() for c, o in catalog.expected(name).items()}
    assert expected[claim] == outcome, page


def test_every_chapter_s_claims_that_fail_are_marked_in_its_prose() -> None:
    """A page whose sentences explain a failure would be wrong without it."""
    expected = {c: o for name in catalog.experiments() for c, o in catalog.expected(name).items()}
    failing = {claim for claim, outcome in expected.items() if outcome == "fails"}
    assert failing <= {claim for _, claim, _ in MARKS}
