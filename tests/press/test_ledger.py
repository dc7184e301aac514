"""The ledger: a row per claim, from the record where there is one, with the claim's own figure."""

from dataclasses import replace

import pytest
import xarray as xr

from companion.errors import BuildError
from companion.lab import catalog
from companion.lab.fresh import Count, OnFreshSeeds
from companion.lab.reproduce import recorded
from companion.lab.results import Check, Control, Outcome, Result, Verdict
from companion.press import ledger
from companion.press.chapters import RESULT_MARK
from companion.press.ledger import Findings, found

NAME, PAGE = "du2019/linear_rate", "book/du2019/4_discrete_time"
OUTCOMES: list[Outcome] = ["holds", "outside-regime", "fails", "inconclusive"]


def result(name: str = NAME, profile: str = "quick") -> Result:
    return Result(name, {}, xr.Dataset(), profile=profile, fingerprint=f"{name} {profile}")


def verdict(claim: str, outcome: Outcome, measured: str = "5") -> Verdict:
    return Verdict(claim, outcome, "predicted", "Sentence.", (Check("yes", "", measured, "6"),))


def findings(
    *shown: tuple[Result, list[Verdict]], figures: tuple[tuple[str, Result], ...] = ()
) -> Findings:
    """Of a book whose only page shows these results, in this order."""
    return Findings(
        {PAGE: [each for each, _ in shown]},
        {each.fingerprint: verdicts for each, verdicts in shown},
        {PAGE: list(figures)},
    )


def test_rows_are_of_the_record_where_there_is_one_and_in_the_order_of_the_papers() -> None:
    paper, quick = result(profile="paper"), result()
    found = findings(
        (paper, [verdict("du2019-cor4.1", "holds", "of the record")]),
        (quick, [verdict(c, "holds", "of the run") for c in ("du2019-cor4.1", "du2019-thm4.1")]),
    )
    told = [(row["id"], row["measured"], row["profile"], row["page"]) for row in found.rows()]
    order = [claim for claim in catalog.claims() if claim in ("du2019-cor4.1", "du2019-thm4.1")]
    kept = {
        "du2019-cor4.1": ("du2019-cor4.1", "of the record", "paper", f"{PAGE}.html"),
        "du2019-thm4.1": ("du2019-thm4.1", "of the run", "quick", f"{PAGE}.html"),
    }
    assert told == [kept[claim] for claim in order]
    assert [row["fingerprint"] for row in found.rows()] == [
        {"du2019-cor4.1": paper, "du2019-thm4.1": quick}[claim].fingerprint for claim in order
    ]


def test_a_claim_is_shown_by_its_own_figure_or_by_the_one_that_says_so() -> None:
    quick, paper = result("du2019/figure1"), result("du2019/figure1", "paper")
    claims = ("du2019-fig1a", "du2019-fig1c", "du2019-fig1a-stated")
    verdicts = [verdict(claim, "holds") for claim in claims]
    figures = (("du2019-fig1b", quick), ("du2019-fig1c", quick), ("du2019-fig1a", paper))
    shown = {
        row["id"]: row["figure"] for row in findings((quick, verdicts), figures=figures).rows()
    }
    assert shown == {
        "du2019-fig1a": "",  # its own was drawn from another result
        "du2019-fig1c": "du2019-fig1c",
        "du2019-fig1a-stated": "",
    }
    of_the_record = findings((paper, verdicts), figures=figures).rows()
    assert {row["id"]: row["figure"] for row in of_the_record} == {
        "du2019-fig1a": "du2019-fig1a",
        "du2019-fig1c": "",
        "du2019-fig1a-stated": "du2019-fig1a",
    }
    bare = findings((quick, verdicts)).rows()
    assert {row["figure"] for row in bare} == {""}


@pytest.mark.parametrize("profile", ["quick", "paper", "custom"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_but_the_expected_is_a_surprise(outcome: Outcome, profile: str) -> None:
    found = findings((result(profile=profile), [verdict("du2019-thm4.1", outcome)]))
    told = (
        f"du2019-thm4.1 is '{outcome}' where {NAME} expects 'outside-regime': 5"
        if outcome != "outside-regime"
        else ""
    )
    if told and profile != "custom":
        with pytest.raises(BuildError, match=f"^unexpected verdicts: {told}$"):
            found.check()
    else:
        found.check()
    surprise = [f"with settings of your own, {told}"] if told and profile == "custom" else []
    assert found.remarks() == surprise


@pytest.mark.parametrize(("profile", "seen"), [("quick", True), ("custom", False)])
def test_a_judge_that_does_not_see_its_control_fails_the_build(profile: str, seen: bool) -> None:
    """With settings of one's own anything may come out."""
    blind = replace(verdict("du2019-thm4.1", "outside-regime"), control=BLIND)
    found = findings((result(profile=profile), [blind]))
    (row,) = found.rows()
    assert (row["control"], row["control_outcome"], row["slack"]) == ("so it is", BLIND.outcome, "")
    assert found.verdict(row) == blind
    if seen:
        told = f"du2019-thm4.1 is 'outside-regime' of {NAME} and stays so if told that so it is"
        with pytest.raises(BuildError, match=f"^judges that do not see their control: {told}$"):
            found.check()
    else:
        found.check()


BLIND = Control("so it is", "outside-regime")


def test_a_row_has_the_counts_on_fresh_seeds_of_its_own_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked up once; a claim that came later than the counts was not repeated."""
    asked = []
    counts = {"du2019-thm4.1": Count(outcome="x", stayed=9, others={"fails": (7,)})}

    def on_fresh_seeds(experiment: str) -> OnFreshSeeds:
        asked.append(experiment)
        return OnFreshSeeds("before-a-change", counts)

    monkeypatch.setattr(ledger, "on_fresh_seeds", on_fresh_seeds)
    verdicts = [verdict(claim, "holds") for claim in ("du2019-thm4.1", "du2019-cor4.1")]
    found = findings((result(), verdicts))
    told = {row["id"]: [row[key] for key in KEYS] for row in (*found.rows(), *found.rows())}
    assert told == {
        "du2019-thm4.1": ["before-a-change", 9, 10, {"fails": (7,)}],
        "du2019-cor4.1": ["not-repeated", None, None, {}],
    }
    assert asked == [NAME]


KEYS = ("fresh", "fresh_stayed", "fresh_families", "fresh_others")


def test_a_record_s_figure_has_the_id_and_the_run_s_its_profile() -> None:
    paper, quick = result(profile="paper"), result()
    found = findings((paper, []), (quick, []), figures=(("du2019-a", paper), ("du2019-a", quick)))
    assert found.stem(PAGE, "du2019-a", paper) == "du2019-a"
    assert found.stem(PAGE, "du2019-a", quick) == "du2019-a-quick"


def test_why_a_run_was_left_out_reaches_its_page() -> None:
    shown = replace(recorded("zou2020/data"), left_out="CIFAR-10 is not here.")
    mark = shown._repr_mimebundle_()[RESULT_MARK]
    assert isinstance(mark, dict)
    assert found(mark).left_out == "CIFAR-10 is not here."
    assert found(mark).fingerprint == shown.fingerprint
