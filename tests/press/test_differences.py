"""The page of findings keeps to the ledger, and a table or a ledger that lies is seen."""

import re
from pathlib import Path

import pytest
import xarray as xr
import yaml

from companion.base.paths import BOOK
from companion.errors import BuildError, ContractError
from companion.lab import catalog
from companion.lab.results import Outcome, Result, Verdict
from companion.press import differences as module
from companion.press.book import Book
from companion.press.cards import resting_line
from companion.press.differences import (
    Difference,
    difference_cards,
    difference_counts,
    difference_problems,
    differences,
    held_up,
)
from companion.press.ledger import Findings
from companion.press.pages import PageWriter

EXPECTED = {c: o for name in catalog.experiments() for c, o in catalog.expected(name).items()}
PAGES = Book().pages
ONE = Difference(
    id="du2019-one", where="Lemma 3.3", title="A factor", page="du2019/3_1_gradient_flow",
    kind="proof", severity="constant", certainty="computed", printed="One.",
    found="Two: {value}`du2019/linear_rate x:.1f`.",
    repair="Twice {value}`du2019/linear_rate x:.0f`.",
    repaired_by="du2019-lem3.3", fair="The draft has it.",
    evidence={"du2019-lem3.3-camera-ready": "fails", "du2019-lem3.3": "holds"},
)  # fmt: skip
OUTCOMES: dict[str, Outcome] = {
    "du2019-lem3.3-camera-ready": "fails",
    "du2019-lem3.3": "holds",
    "du2019-thm4.1": "outside-regime",
    "du2019-thm4.1-rate": "holds",
    "engines-gram": "fails",
}


@pytest.fixture
def only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "differences", lambda: (ONE,))


def findings(**changed: Outcome) -> Findings:
    """Of a book whose one page has these verdicts; `changed` has hyphens as underscores."""
    outcomes = OUTCOMES | {name.replace("_", "-"): outcome for name, outcome in changed.items()}
    verdicts = [Verdict(claim, outcome, "p", "s.", ()) for claim, outcome in outcomes.items()]
    result = Result(
        "du2019/linear_rate", {}, xr.Dataset(), "quick", fingerprint="f", values={"x": 2.0}
    )
    return Findings({"page": [result]}, {"f": verdicts}, {"page": []})


def without(*claims: str) -> Findings:
    found = findings()
    found.verdicts["f"] = [each for each in found.verdicts["f"] if each.claim not in claims]
    return found


def problems(*told: Difference, **expected: str) -> list[str]:
    return list(difference_problems(told, OUTCOMES | expected, PAGES))


def changed(**parts: object) -> Difference:
    return ONE.model_copy(update=parts)


def test_the_real_table_fits_the_book_and_what_its_experiments_expect() -> None:
    assert list(difference_problems(differences(), EXPECTED, PAGES)) == []


def test_every_failure_of_a_paper_stands_in_it_with_its_place() -> None:
    """Counted without the code under test: from the experiments' own declarations."""
    text = (BOOK / "differences.yml").read_text(encoding="utf-8")
    failing = {claim for claim, outcome in EXPECTED.items() if outcome == "fails"}
    for claim in failing:
        assert (f"    {claim}: fails\n" in text) != claim.startswith("engines-"), claim


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            changed(evidence=ONE.evidence | {"du2019-thm4.1": "holds"}),
            "du2019-thm4.1 is said to be 'holds' where its experiment expects 'outside-regime'.",
        ),
        (
            changed(evidence=ONE.evidence | {"du2019-thm9.9": "holds"}),
            "'du2019-thm9.9' is no claim of book/claims.csv",
        ),
        (changed(repaired_by="du2019-lem9"), "'du2019-lem9' is no claim of book/claims.csv"),
        (changed(repair=""), "du2019-lem3.3 shows a repair that is not told"),
        (
            changed(repaired_by="du2019-lem3.3-camera-ready"),
            "du2019-lem3.3-camera-ready, which is to show the repair, does not hold.",
        ),
        (changed(page="du2019/3_2_flow"), "book/du2019/3_2_flow is no page of the book"),
        (changed(id="du2018-one"), "'du2018' is no paper of book/papers.yml"),
    ],
)
def test_an_entry_that_does_not_fit_is_one_sentence(told: Difference, sentence: str) -> None:
    (problem,) = problems(told)
    assert problem.startswith(f"book/differences.yml, {told.id}: ")
    assert sentence in problem


def test_a_table_that_fits_has_no_problem_and_one_told_twice_has() -> None:
    assert problems(ONE) == []
    assert problems(ONE, ONE) == ["book/differences.yml, du2019-one: the id is there already."]


def test_an_outcome_that_differs_between_record_and_run_may_be_told_as_both() -> None:
    both = changed(evidence=ONE.evidence | {"du2019-thm4.1": "inconclusive and outside-regime"})
    assert problems(both) == []


def test_a_failure_that_is_not_told_is_one_sentence() -> None:
    (problem,) = problems(ONE, **{"du2019-thm4.1": "fails"})
    assert "no entry with 'du2019-thm4.1: fails'" in problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- id: du2019-x\n", "the entry 'du2019-x' is no difference: where: Field required"),
        ("{a: 1}", "the entry '' is no difference"),
        ("- [1]\n", "the entry '' is no difference"),
        ("- id: [\n", "is not readable as YAML in line"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "differences.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as error:
        differences(path)
    assert str(error.value).startswith(str(path))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("severity", "grave"), ("certainty", "sure"), ("evidence", {}), ("x", "")]
)
def test_words_that_are_not_of_the_table_are_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    path = tmp_path / "differences.yml"
    path.write_text(yaml.safe_dump([ONE.model_dump() | {field: value}]), encoding="utf-8")
    with pytest.raises(ContractError, match=f"the entry 'du2019-one' is no difference: {field}: "):
        differences(path)


def test_an_entry_is_shown_with_its_numbers_links_and_outcomes(only_one: None) -> None:
    text = PageWriter(findings(), {}, True).text("page", "```{differences}\n```")
    assert text.splitlines() == [
        "(constant-differences)=",
        "### Changes a constant or a power",
        "",
        "(difference-du2019-one)=",
        "`````{dropdown} **Du et al. (2019), Lemma 3.3.** A factor "
        "[proof, shown by computation]{.difference-kind}",
        ":class-container: difference severity-constant paper-du2019",
        "",
        "**Printed.** One.",
        "",
        "**Found.** Two: 2.0.",
        "",
        "**Repair.** Twice 2. See the verdict on {ref}`Lemma 3.3 <verdict-du2019-lem3-3>`.",
        "",
        "**In fairness.** The draft has it.",
        "",
        "{doc}`/book/du2019/3_1_gradient_flow`: {ref}`Lemma 3.3, camera-ready "
        "<verdict-du2019-lem3-3-camera-ready>` [fails]{.verdict-fails}, {ref}`Lemma 3.3 "
        "<verdict-du2019-lem3-3>` [holds]{.verdict-holds}",
        "`````",
    ]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (findings(**{"du2019_lem3.3": "inconclusive"}), "the verdict is inconclusive"),
        (without("du2019-lem3.3"), "the verdict is missing"),
        (findings(**{"du2019_lem3.3_camera_ready": "holds"}), "the verdict is holds"),
        (findings(**{"du2019_thm4.1": "fails"}), "stand in no entry .*: du2019-thm4.1$"),
    ],
)
def test_a_ledger_that_says_otherwise_fails_the_build(
    only_one: None, found: Findings, told: str
) -> None:
    with pytest.raises(BuildError, match=told):
        PageWriter(found, {}, True).text("page", "```{differences}\n```")


def test_a_number_that_no_result_holds_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = changed(found="{value}`du2019/linear_rate y:.1f`")
    monkeypatch.setattr(module, "differences", lambda: (lost,))
    with pytest.raises(BuildError, match="page quotes y, which no result it can see holds"):
        PageWriter(findings(), {}, True).text("page", "```{differences}\n```")


def test_the_severe_come_first_and_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        changed(id="du2019-letter", severity="display"),
        ONE,
        changed(id="du2019-grave", severity="conclusion"),
    )
    monkeypatch.setattr(module, "differences", lambda: table)
    text = difference_cards(findings().rows())
    places = [text.index(f"(difference-du2019-{name})=") for name in ("grave", "one", "letter")]
    assert places == sorted(places)
    assert text.count(":open:") == 1
    counts = difference_counts()
    assert counts.count('<span class="count">1</span>') == 3
    assert '<a href="#conclusion-differences">' in counts


def test_a_failing_verdict_tells_what_rests_on_it_and_where_it_is_mended(only_one: None) -> None:
    told = findings()
    failing, *others = (
        PageWriter(told, {}, True)._verdicts("page", told.results["page"][0]).split("\n\n(verdict-")
    )
    assert "**What rests on it.** Nothing in the ledger rests on it." in failing
    repair = "**Repair.** Twice 2. {ref}`What we found <difference-du2019-one>` tells more."
    assert repair in failing
    assert not any("rests on it" in other for other in others)


def test_a_book_without_that_page_leads_nowhere() -> None:
    told = findings()
    text = PageWriter(told, {})._verdicts("page", told.results["page"][0])
    assert "**What rests on it.**" in text
    assert "<difference-" not in text


def test_the_ledger_tells_the_same_in_short(only_one: None) -> None:
    text = PageWriter(findings(), {}, True).text("page", "```{ledger} du2019\n```")
    failing = next(line for line in text.splitlines() if "camera-ready" in line)
    assert (
        "<br>*Resting on it:* 0 claims; {ref}`how it is mended <difference-du2019-one>`" in failing
    )
    assert text.count("Resting on it") == 1


def test_only_claims_with_a_verdict_are_links() -> None:
    line = resting_line("du2019-thm4.1", {"du2019-thm4.1-rate"})
    assert "{ref}`Theorem 4.1, rate <verdict-du2019-thm4-1-rate>`" in line
    assert line.count("{ref}") == 1
    assert "Theorems 3.2, 4.1" in line  # the explicit widths, which rest on it too
    more = resting_line("du2019-lem3.2-prob", ())
    assert more.startswith("Directly Lemma 3.2, Lemma A.3 and Lemma 4.1; with what rests on those")


def test_what_held_up_is_counted_without_our_own_and_lists_theorems(only_one: None) -> None:
    text = held_up(findings().rows())
    assert "Of 3 claims of the paper: 1 [holds]" in text
    assert "1 [fails]" in text
    listed = [line for line in text.splitlines() if line.startswith("| {ref}")]
    assert listed == [
        "| {ref}`Theorem 4.1 <verdict-du2019-thm4-1>`: Linear rate of gradient descent | "
        "[seen outside its regime]{.verdict-outside-regime} | {doc}`/page` |"
    ]
    assert "engines" not in text.lower()


def test_no_decimal_in_what_was_found_is_typed() -> None:
    """Numbers of statements and exponents of formulas apart, decimals come from a run."""
    number = r"[A-Z]?\d+(?:\.\d+)*"
    named = rf"[A-Z][a-z]+ {number}(?:(?:,| and) {number})*|\({number}\)"
    for each in differences():
        prose = re.sub(rf"\{{(?:value|record)\}}`[^`]*`|\$[^$]*\$|{named}", "", each.found)
        assert not re.search(r"\d\.\d", prose), each.id
