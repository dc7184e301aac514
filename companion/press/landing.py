"""What a front page shows of the whole book: how many claims hold, and one picture."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from companion.errors import BuildError
from companion.lab.papers import papers
from companion.press.cards import OUTCOMES
from companion.press.ledger import Findings


def count_links(rows: Iterable[Mapping[str, Any]], ledger: str) -> str:
    """How many claims of papers came to each outcome, each number a link to just those.

    The style sheet shows one outcome's rows of a ledger when the address ends in its name. What
    the companion promises of itself is not counted.

    Args:
        rows: of the ledger.
        ledger: the page with the ledger, seen from this one; empty for that page itself, where
            the links are what their own addresses lead to.
    """
    address = f"{ledger}.html" if ledger else ""
    told = Counter(row["outcome"] for row in rows if not papers()[row["paper"]].ours)
    links = [
        f'<li><a{_name("only-" + outcome, ledger)} href="{address}#only-{outcome}">'
        f'<span class="count">{told[outcome]}</span> '
        f'<span class="verdict-{outcome}">{word}</span></a></li>'
        for outcome, word in OUTCOMES.items()
        if told[outcome]
    ]
    everything = (
        f'<li><a{_name("all-claims", ledger)} href="{address}#all-claims">'
        f'<span class="count">{told.total()}</span> claims</a></li>'
    )
    return "\n".join(["```{raw} html", '<ul class="counts">', everything, *links, "</ul>", "```"])


def _name(anchor: str, ledger: str) -> str:
    return "" if ledger else f' id="{anchor}"'


def picture(
    findings: Findings, captions: Mapping[str, Mapping[str, str]], stem: str, page: str
) -> str:
    """A figure of another page without its caption, as a link to it.

    Args:
        findings: what the chapters found.
        captions: figure file stem -> its alt text, among others.
        stem: file name of the figure.
        page: where it shall stand.

    Raises:
        BuildError: no page shows such a figure.
    """
    for where, shown in findings.figures.items():
        if any(findings.stem(where, identifier, result) == stem for identifier, result in shown):
            up = "../" * page.count("/")
            return "\n".join(
                [
                    f"```{{image}} /extra/figures/{stem}.svg",
                    ":class: companion-figure",
                    f":target: {up}{where}.html#fig-{stem}",
                    f":alt: {captions[stem]['alt']}",
                    "```",
                ]
            )
    raise BuildError(f"{page} shows the figure {stem}, which no page draws.")
