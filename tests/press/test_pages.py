"""What pages say of outcomes is checked against the verdicts."""

import math
import re

import pytest
import xarray as xr

from companion.errors import BuildError
from companion.lab import catalog
from companion.lab.results import Outcome, Result, Verdict
from companion.press.book import Book
from companion.press.ledger import Findings
from companion.press.pages import OUTCOMES, PageWriter, verdict_box

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


def result(name: str, profile: str, **values: float) -> Result:
    return Result(name, {}, xr.Dataset(), profile=profile, fingerprint=profile, values=values)


def test_numbers_are_those_of_the_page_s_run_or_record_or_of_the_experiment_named() -> None:
    findings = Findings(
        {
            "here": [result("du2019/a", "paper", x=1.0), result("du2019/a", "quick", x=2.0)],
            "there": [result("du2019/b", "paper", x=3.0), result("du2019/b", "quick", x=4.0)],
        }
    )
    text = PageWriter(findings, {}).text(
        "here", "{record}`x:.0f` {value}`x:.1f` {record}`du2019/b x:.2f` {value}`du2019/b x:.3f`"
    )
    assert text == "1 2.0 3.00 4.000"


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("{value}`y:.1f`", "page quotes y, which no result it can see holds"),
        ("{value}`du2019/b x:.1f`", "page quotes x, which no result it can see holds"),
        ("{value}`x:d`", "page quotes x as 'd', which 2.0 refuses"),
    ],
)
def test_a_number_that_is_not_there_fails_the_build(mark: str, told: str) -> None:
    findings = Findings({"page": [result("du2019/a", "quick", x=2.0)]})
    with pytest.raises(BuildError, match=f"^{re.escape(told)}.$"):
        PageWriter(findings, {}).text("page", mark)


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (0.0012, ".1e", r"$1.2\times10^{-3}$"),
        (-25000.0, ".1e", r"$-2.5\times10^{4}$"),
        (1e-120, ".0e", r"$1\times10^{-120}$"),
        (0.25, ".3g", "0.25"),
        (math.inf, ".1e", "inf"),
    ],
)
def test_scientific_notation_becomes_tex(value: float, form: str, shown: str) -> None:
    findings = Findings({"page": [result("du2019/a", "quick", x=value)]})
    assert PageWriter(findings, {}).text("page", f"{{value}}`x:{form}`") == shown


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_boxes_and_ledger_say_the_verdict_s_outcome(outcome: Outcome) -> None:
    verdict = Verdict(CLAIM, outcome, "predicted|", "measured", "tolerance", "Sentence.")
    box = verdict_box(verdict)
    assert f"Theorem 4.1: {OUTCOMES[outcome]}\n:class: verdict-{outcome}\n" in box.replace(
        f", {catalog.claims()[CLAIM].name}", ""
    )
    for part in ("Sentence.", "Predicted\n: predicted|", "Measured\n: measured"):
        assert part in box
    shown = result("du2019/linear_rate", "quick")
    findings = Findings({"page": [shown]}, {shown.fingerprint: [verdict]}, {"page": []})
    ledger = PageWriter(findings, {}).text("page", "```{ledger} du2019\n```")
    assert f"1 claims: 1 [{OUTCOMES[outcome]}]{{.verdict-{outcome}}}." in ledger
    (line,) = (line for line in ledger.splitlines() if "**Theorem 4.1**" in line)
    cells = line.split(" | ")
    assert cells[1] == f"[{OUTCOMES[outcome]}]{{.verdict-{outcome}}}"
    assert cells[2].endswith(r"*Predicted:* predicted\vert ")
    assert cells[3] == "measured<br>*Tolerance:* tolerance |"


@pytest.mark.parametrize(("page", "claim", "outcome"), MARKS)
def test_pages_assert_what_the_experiments_expect(page: str, claim: str, outcome: str) -> None:
    expected = {c: o for name in catalog.experiments() for c, o in catalog.expected(name).items()}
    assert expected[claim] == outcome, page


def test_every_chapter_s_claims_that_fail_are_marked_in_its_prose() -> None:
    """A page whose sentences explain a failure would be wrong without it."""
    expected = {c: o for name in catalog.experiments() for c, o in catalog.expected(name).items()}
    failing = {claim for claim, outcome in expected.items() if outcome == "fails"}
    assert failing <= {claim for _, claim, _ in MARKS}
