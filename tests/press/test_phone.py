"""On a phone a figure is shown in the form that is made for it."""

import re

import pytest

from companion.press.phone import with_narrow_figures

IMAGE = '<img alt="It falls &gt; 1." class="companion-figure" src="../../_images/a-rate.svg" />'
OTHER = '<img alt="A sketch." src="../../_images/a-rate.svg" />'
NARROW = {"a-rate.svg", "a-rate-narrow.svg"}


def test_a_figure_with_a_narrow_form_offers_both() -> None:
    page = f"<figure>{IMAGE}<figcaption>Fig.</figcaption></figure>{OTHER}"
    source = '<source media="(max-width: 575px)" srcset="../../figures/a-rate-narrow.svg">'
    assert with_narrow_figures(page, "book/a/rate.html", NARROW) == page.replace(
        IMAGE, f'<picture class="companion-figure">{source}{IMAGE}</picture>'
    )


def test_a_figure_without_one_stays_as_it_is() -> None:
    assert with_narrow_figures(IMAGE, "book/a/rate.html", {"a-rate.svg"}) == IMAGE


@pytest.mark.parametrize(
    ("caption", "stacked"),
    [
        ("Left, errors. Right, shares.", "Top, errors. Bottom, shares."),
        ("Two seeds: left against m; right, m.", "Two seeds: top against m; bottom, m."),
        ("As on the left, but on the right.", "As at the top, but at the bottom."),
        (r"What is left over, \(\left(1\right)\), goes to the right.", None),
        ("Above it, the right-hand side, right of it.", None),
    ],
)
def test_captions_say_where_a_panel_is_on_a_phone(caption: str, stacked: str | None) -> None:
    page = f"<figure>\n{IMAGE}\n<figcaption><p>{caption}</p></figcaption></figure>"
    there = with_narrow_figures(page, "book/a/rate.html", NARROW)
    shown = [
        re.sub(f'<span class="{gone}">.*?</span>', "", there) for gone in ("if-narrow", "if-wide")
    ]
    for form, expected in zip(shown, (caption, stacked or caption), strict=True):
        assert f"<p>{expected}</p>" in re.sub("</?span[^>]*>", "", form)
    assert with_narrow_figures(page, "book/a/rate.html", set()) == page
