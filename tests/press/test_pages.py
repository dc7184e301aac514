"""What pages say of outcomes is checked against the verdicts."""

import dataclasses
import math
import re

import nbformat
import pytest
import xarray as xr

from companion.errors import BuildError
from companion.lab import catalog
from companion.lab.catalog import claims
from companion.lab.graph import resting_on
from companion.lab.results import Check, Control, Outcome, Result, Verdict
from companion.press import pages
from companion.press.book import Book
from companion.press.cards import OUTCOMES, OWN_OUTCOMES, fresh_line, run_line, verdict_card
from companion.press.chapters import FIGURE_MARK, RESULT_MARK
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
        findings.verdicts[str(index)] = [Verdict(CLAIM, outcome, "", "", ())]
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
        ("{value}`x:.1f sideways`", "page quotes x as '.1f', which 2.0 refuses"),
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
        (1e-120, ".0e", "$10^{-120}$"),
        (0.25, ".3g", "0.25"),
        (math.inf, ".1e", "inf"),
    ],
)
def test_scientific_notation_becomes_tex(value: float, form: str, shown: str) -> None:
    findings = Findings({"page": [result("du2019/a", "quick", x=value)]})
    assert PageWriter(findings, {}).text("page", f"{{value}}`x:{form}`") == shown


def verdict(outcome: Outcome, claim: str = CLAIM) -> Verdict:
    checks = (
        Check("yes", "largest share", "at most 0.5", "at most 1", "a factor 2"),
        Check("yes", "", "Only told"),
    )
    return Verdict(claim, outcome, "predicted|", "Sentence.", checks, Control("it lies", "fails"))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_cards_and_ledger_say_the_verdict_s_outcome(outcome: Outcome) -> None:
    title, *card = verdict_card(verdict(outcome)).splitlines()
    name = catalog.claims()[CLAIM].name
    assert title == (
        f"`````{{dropdown}} **Theorem 4.1**, {name} [{OUTCOMES[outcome]}]{{.verdict-{outcome}}}"
    )
    for line in (
        f":class-container: verdict verdict-{outcome}",
        "Sentence.",
        "**Predicted.** Predicted|.",
        "* Largest share: at most 0.5. *Asked for:* at most 1. *Slack:* a factor 2.",
        "* Only told.",
        "**Control.** It lies: the judge answers *fails*.",
    ):
        assert line in card
    shown = result("du2019/linear_rate", "quick")
    findings = Findings({"page": [shown]}, {shown.fingerprint: [verdict(outcome)]}, {"page": []})
    ledger = PageWriter(findings, {}).text("page", "```{ledger} du2019\n```")
    assert f"1 [{OUTCOMES[outcome]}]{{.verdict-{outcome}}}" in ledger
    (line,) = (line for line in ledger.splitlines() if "**Theorem 4.1**" in line)
    cells = line.split(" | ")
    assert f"[{OUTCOMES[outcome]}]{{.verdict-{outcome}}}" in cells[1]
    assert "<br>*Fresh seeds:* " in cells[1]
    assert cells[2].endswith(r"*Predicted:* predicted\vert ")
    many = len(resting_on(claims(), CLAIM))
    resting = f"<br>*Resting on it:* {many} claims" if outcome == "fails" else ""
    assert cells[3] == (
        "Largest share: at most 0.5. *Asked for:* at most 1. *Slack:* a factor 2.<br>Only told."
        f"<br>*Control:* It lies: the judge answers *fails*.{resting} |"
    )


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (("repeated", 10, {}), "10 of 10"),
        (("repeated", 9, {"fails": [3]}), "9 of 10, else not kept"),
        (
            ("repeated", 8, {"inconclusive": [1], "no verdict": [2]}),
            "8 of 10, else inconclusive or no verdict",
        ),
        (("before-a-change", 10, {}), "10 of 10, before a change of the code"),
        (("not-repeated", None, {}), "not repeated"),
        (("nothing-drawn", None, {}), "— (nothing is drawn)"),
    ],
)
def test_a_row_tells_how_often_its_verdict_stayed(told: tuple, line: str) -> None:
    state, stayed, others = told
    row = {"id": "engines-gram", "fresh": state, "fresh_stayed": stayed, "fresh_families": 10}
    assert fresh_line({**row, "fresh_others": others}) == line


def test_a_promise_of_our_own_is_kept_or_not() -> None:
    for outcome, word in (("holds", "kept"), ("fails", "not kept")):
        assert OWN_OUTCOMES[outcome] == word
        card = verdict_card(verdict(outcome, "engines-gram"))
        assert f"[{word}]{{.verdict-{outcome}}}" in card


def code(source: str, **marks: object) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", {kind: mark}) for kind, mark in marks.items()]
    return nbformat.v4.new_code_cell(source, outputs=outputs)


def test_a_block_of_code_shows_the_run_its_figure_its_verdicts_and_then_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the order of the cells; other outputs stay with their code."""
    shown = dataclasses.replace(result("du2019/linear_rate", "quick"), summary="All is run.")
    shown = dataclasses.replace(
        shown,
        found=xr.Dataset(attrs={"data": "none"}),
        provenance=PROVENANCE,
        verdicts=(verdict("holds"),),
    )
    monkeypatch.setattr(pages, "found", lambda mark: shown)
    findings = Findings(
        {"page": [shown]},
        {"quick": list(shown.verdicts)},
        {"page": [("du2019-linear-rate", shown)]},
    )
    told = nbformat.v4.new_output("stream", text="printed")
    printing = nbformat.v4.new_code_cell("print()", outputs=[told])
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("Statement."),
            code("profile = 1"),
            code("show()", **{FIGURE_MARK: {"figure": "du2019-linear-rate"}}),
            code("result", **{RESULT_MARK: {}}),
            printing,
            nbformat.v4.new_markdown_cell("Details."),
            code("x = 1"),
        ]
    )
    captions = {"du2019-linear-rate": {"caption": "Caption.", "alt": "Alt."}}
    made = PageWriter(findings, captions).notebook("page", notebook)
    starts = [cell.source.split("\n")[0].split("}")[0] for cell in made.cells]
    assert starts == [
        "Statement.",
        "{.what-is-run",
        "````{figure",
        "(verdict-du2019-thm4-1)=",
        "profile = 1",
        "print()",
        "````{admonition",
        "Details.",
        "x = 1",
    ]
    assert "All is run." in made.cells[1].source
    assert made.cells[4].source == "profile = 1\n\nshow()\n\nresult"
    assert made.cells[5].outputs == [told]


PROVENANCE = {
    "commit": "abc", "seconds": 1, "machine": "m", "threads": 1, "torch": "2", "created": "2026",
    "data": "none",
}  # fmt: skip


@pytest.mark.parametrize(("again", "new"), [("holds", False), ("fails", True)])
def test_a_second_result_of_a_page_that_says_nothing_new_is_one_card(
    again: Outcome, new: bool
) -> None:
    first, second = (result("du2019/linear_rate", name) for name in ("paper", "quick"))
    verdicts = {"paper": [verdict("holds")], "quick": [verdict(again)]}
    writer = PageWriter(Findings({"page": [first, second]}, verdicts), {})
    assert "(verdict-du2019-thm4-1)=" in writer._verdicts("page", first)
    text = writer._verdicts("page", second)
    assert "(verdict-" not in text
    assert ("The run of the quick profile, cpu reaches the same verdicts" in text) != new
    card = verdict_card(verdict(again)).removesuffix("\n`````")
    assert card in text


@pytest.mark.parametrize(
    ("profile", "words"),
    [("quick", "quick profile"), ("paper", "paper's scale"), ("custom", "settings of your own")],
)
def test_the_line_of_what_is_run_names_the_profile(profile: str, words: str) -> None:
    shown = dataclasses.replace(result("du2019/linear_rate", profile), summary="All is run.")
    assert f"**What is run.** All is run. *({words}, cpu)*" in run_line(shown)
    assert "left out" not in run_line(shown)
    told = run_line(dataclasses.replace(shown, left_out="CIFAR-10 is not here."))
    assert told.endswith(
        "**The run was left out, and the committed record is shown:** CIFAR-10 is not here."
    )


@pytest.mark.parametrize(("page", "claim", "outcome"), MARKS)
def test_pages_assert_what_the_experiments_expect(page: str, claim: str, outcome: str) -> None:
    profiles = [(n, p) for n in catalog.experiments() for p in ("quick", "paper")]
    expected = [catalog.expected(name, profile).get(claim) for name, profile in profiles]
    assert " and ".join(sorted({str(told) for told in expected if told})) == outcome, page


def test_a_sentence_on_a_record_and_a_run_that_differ_names_both_outcomes() -> None:
    def judged(outcome: str) -> Verdict:
        return Verdict(CLAIM, outcome, "", "", ())  # type: ignore[arg-type]

    findings = Findings(verdicts={"a": [judged("inconclusive")], "b": [judged("holds")]})
    writer = PageWriter(findings, {})
    both = f"It may be so.{{outcome}}`{CLAIM}:holds and inconclusive`"
    assert writer.text("page", both) == "It may be so."
    for asserted in ("holds", "inconclusive", "fails and holds", "inconclusive and holds"):
        with pytest.raises(BuildError, match="the verdict is holds and inconclusive"):
            writer.text("page", f"It is so.{{outcome}}`{CLAIM}:{asserted}`")


def test_every_chapter_s_claims_that_fail_are_marked_in_its_prose() -> None:
    """A page whose sentences explain a failure would be wrong without it."""
    expected = {c: o for name in catalog.experiments() for c, o in catalog.expected(name).items()}
    failing = {claim for claim, outcome in expected.items() if outcome == "fails"}
    assert failing <= {claim for _, claim, _ in MARKS}


@pytest.mark.parametrize(
    ("form", "shown"), [(".2f", "0.95"), (".2f down", "0.94"), (".1f up", "1.0"), (".1e up", "9.5")]
)
def test_a_floor_is_rounded_down_and_a_ceiling_up(form: str, shown: str) -> None:
    findings = Findings({"page": [result("du2019/a", "quick", x=0.949)]})
    text = PageWriter(findings, {}).text("page", f"{{value}}`x:{form}`")
    assert text.removeprefix("$").startswith(shown)
