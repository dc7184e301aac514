"""What pages show of a result: what was run, figures, a card for every verdict, what is behind.

Everything here is MyST text; `companion.press.pages` puts it in place.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from companion.lab.catalog import Claim, claims
from companion.lab.graph import resting_on, supports
from companion.lab.results import Check, Outcome, Result, Verdict
from companion.lab.verified import Standing
from companion.lab.words import listed

OUTCOMES: dict[Outcome, str] = {
    "holds": "holds",
    "outside-regime": "seen outside its regime",
    "fails": "fails",
    "inconclusive": "inconclusive",
}
# What the companion promises of itself is no theorem.
_PROMISES = ("target", "precision")
OWN_OUTCOMES = {**OUTCOMES, "holds": "kept", "fails": "not kept"}
FILES = ("svg", "pdf", "png", "csv", "json", "bib")


def outcome_words(claim: Claim, outcome: Outcome) -> str:
    """How an outcome is called for this claim."""
    return (OWN_OUTCOMES if claim.kind in _PROMISES else OUTCOMES)[outcome]


def counted_words(claim: Claim, outcome: str) -> str:
    """The same of what is counted on fresh seeds, where there may be no verdict at all."""
    known = {each: outcome_words(claim, each) for each in OUTCOMES}
    return next((words for each, words in known.items() if each == outcome), outcome)


def marked(claim: Claim, outcome: Outcome) -> str:
    """The same with the sign and the colour of the outcome."""
    return f"[{outcome_words(claim, outcome)}]{{.verdict-{outcome}}}"


def run_line(result: Result) -> str:
    """What is run, in the sentence that its settings give, or why a record is shown instead."""
    told = f"**What is run.** {result.summary} *({_profile_in_words(result)})*"
    if result.left_out:
        told += f" **The run was left out, and the committed record is shown:** {result.left_out}"
    return "\n".join(["{.what-is-run}", told])


def figure_block(
    page: str,
    stem: str,
    result: Result,
    words: Mapping[str, str],
    standing: Standing | None = None,
) -> str:
    """A numbered MyST figure with caption, alt text, provenance and links to its files."""
    told = f"Profile {result.profile}, {result.device}"
    told += f". {standing.words}" if standing else f", commit {result.provenance['commit']}."
    return "\n".join(
        [
            f"````{{figure}} /extra/figures/{stem}.svg",
            f":name: fig-{slug(stem)}",
            ":class: companion-figure",
            f":alt: {words['alt']}",
            "",
            f"{words['caption']} {told}",
            "",
            figure_links(page, stem, result),
            "````",
        ]
    )


def figure_links(page: str, stem: str, result: Result) -> str:
    """Links to a figure's files, and what draws and computes it."""
    up = "../" * page.count("/")
    files = " · ".join(
        f'<a href="{up}figures/{stem}.{kind}" download>{kind.upper()}</a>' for kind in FILES
    )
    return (
        f'```{{raw}} html\n<p class="figure-links">{files}<br>drawn by '
        f"<code>companion/figures/{result.experiment}.py</code>, computed by "
        f"<code>{_command(result)}</code></p>\n```"
    )


def verdict_card(verdict: Verdict, consequences: str = "") -> str:
    """A verdict in one line, which opens to what was measured, asked for and left over.

    Args:
        verdict: of a claim.
        consequences: what follows from a failure, for other statements.
    """
    claim = claims()[verdict.claim]
    return "\n".join(
        [
            f"`````{{dropdown}} **{claim.number}**, {claim.name} {marked(claim, verdict.outcome)}",
            f":class-container: verdict verdict-{verdict.outcome}",
            "",
            verdict.sentence,
            "",
            f"**Predicted.** {_capital(verdict.predicted.rstrip('.'))}.",
            "",
            *(f"* {check_line(check)}" for check in verdict.checks),
            "",
            *([f"**Control.** {control_line(verdict)}"] if verdict.control else []),
            *(["", consequences] if consequences else []),
            "`````",
        ]
    )


def check_line(check: Check) -> str:
    """What was measured, what was asked for, and with which slack."""
    parts = [f"{_capital(check.what)}: {check.measured}." if check.what else f"{check.measured}."]
    if check.tolerance:
        parts.append(f"*Asked for:* {check.tolerance}.")
    if check.slack:
        parts.append(f"*Slack:* {check.slack}.")
    return " ".join(parts)


def control_line(verdict: Verdict) -> str:
    """Which lie was told the judge, and what it answered."""
    control, claim = verdict.control, claims()[verdict.claim]
    if control is None:
        return ""
    return f"{_capital(control.lie)}: the judge answers *{outcome_words(claim, control.outcome)}*."


def fresh_line(row: Mapping[str, Any]) -> str:
    """On how many families of fresh seeds the verdict of a row of the ledger stayed."""
    if row["fresh"] == "nothing-drawn":
        return "— (nothing is drawn)"
    if row["fresh"] == "not-repeated":
        return "not repeated"
    claim = claims()[row["id"]]
    told = f"{row['fresh_stayed']} of {row['fresh_families']}"
    others = [counted_words(claim, outcome) for outcome in row["fresh_others"]]
    told += f", else {' or '.join(others)}" if others else ""
    return told + (", before a change of the code" if row["fresh"] == "before-a-change" else "")


def resting_line(claim: str, judged: Collection[str]) -> str:
    """Which statements rest on a claim: the direct ones with their verdicts, and how many in all.

    Args:
        claim: its id.
        judged: ids of the claims that have a verdict in this book, and so a link.
    """
    direct, every = supports(claims())[claim], resting_on(claims(), claim)
    if not every:
        return "Nothing in the ledger rests on it."
    links = listed(
        f"{{ref}}`{claims()[each].number} <verdict-{slug(each)}>`"
        if each in judged
        else claims()[each].number
        for each in direct
    )
    more = f"; with what rests on those, {len(every)} claims in all"
    return f"Directly {links}{'' if len(every) == len(direct) else more}."


def again_card(cards: Sequence[str], result: Result) -> str:
    """The cards of a second result of the page, which reaches the verdicts of the first."""
    title = f"The run of the {_profile_in_words(result)} reaches the same verdicts"
    opening = f"``````{{dropdown}} {title}\n:class-container: again"
    return "\n\n".join([opening, *cards, "``````"])


def run_box(result: Result, standing: Standing | None = None) -> str:
    """What stands behind a page's numbers, and the command that computes them again."""
    told, name = result.provenance, Path(result.experiment)
    products = f", products by {told['product']}" if "product" in told else ""
    return "\n".join(
        [
            f"````{{admonition}} Behind these numbers: profile {result.profile}, {result.device}",
            ":class: dropdown run-box",
            "",
            f"Computed in {told['seconds']} s ({told['machine']}, {told['threads']} threads, "
            f"torch {told['torch']}{products}) at commit `{told['commit']}`, "
            f"{str(told['created'])[:10]}; fingerprint `{result.fingerprint}`.",
            f"Data: {result.data}; {told['data']}.",
            *([standing.words] if standing else []),
            "",
            f"Module `companion/experiments/{name}.py`, "
            f"test `tests/experiments/{name.parent}/test_{name.name}.py`.",
            "To run it again, with other settings if you like:",
            "",
            "```bash",
            _command(result),
            "```",
            "````",
        ]
    )


def slug(text: str) -> str:
    """A text as a label may have it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def _command(result: Result) -> str:
    profile = "quick" if result.profile == "custom" else result.profile
    return f"companion run {result.experiment} --profile {profile}"


def _profile_in_words(result: Result) -> str:
    settings = {
        "quick": "quick profile",
        "paper": "paper's scale",
        "custom": "settings of your own",
    }
    return f"{settings[result.profile]}, {result.device}"


def _capital(text: str) -> str:
    """With a capital letter, unless it starts with mathematics."""
    return text[:1].upper() + text[1:]
