"""A front page counts the claims of papers, and shows a figure of another page."""

import re

import pytest
import xarray as xr

from companion.errors import BuildError
from companion.lab.results import Result
from companion.press.landing import count_links, picture
from companion.press.ledger import Findings

ROWS = [
    {"paper": paper, "outcome": outcome}
    for paper, outcome in (
        ("du2019", "holds"),
        ("zou2018", "holds"),
        ("du2019", "fails"),
        ("engines", "fails"),
    )
]


def links(block: str) -> list[tuple[str, str]]:
    return re.findall(r'href="([^"]*)"><span class="count">(\d+)</span>', block)


def test_counts_lead_to_the_rows_that_they_count_and_leave_our_own_out() -> None:
    told = [("all-claims", "3"), ("only-holds", "2"), ("only-fails", "1")]
    assert links(count_links(ROWS, "x/ledger")) == [(f"x/ledger.html#{a}", n) for a, n in told]


def test_on_the_ledger_itself_each_link_leads_to_itself() -> None:
    block = count_links(ROWS, "")
    assert [f"#{name}" for name in re.findall(r'id="([^"]*)"', block)] == [
        address for address, _ in links(block)
    ]
    assert "id=" not in count_links(ROWS, "ledger")


def findings() -> Findings:
    """Of a book whose page `book/a/b` shows one figure."""
    result = Result("a/b", {}, xr.Dataset(), fingerprint="f")
    found = Findings()
    found.figures["book/a/b"] = [("a-rate", result)]
    return found


def test_a_picture_leads_to_where_it_belongs() -> None:
    block = picture(findings(), {"a-rate": {"alt": "Falling curves."}}, "a-rate", "book/index")
    assert "/extra/figures/a-rate.svg" in block
    assert ":target: ../book/a/b.html#fig-a-rate" in block
    assert ":alt: Falling curves." in block


def test_a_picture_that_no_page_draws_is_refused() -> None:
    with pytest.raises(BuildError, match="book/index shows the figure a-speed, which no page"):
        picture(findings(), {}, "a-speed", "book/index")
