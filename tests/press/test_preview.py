"""What sites show of a page that links there is read off the page itself."""

import re

from companion.press.preview import preview_tags, with_tags

PAGE = """<!DOCTYPE html>
<html lang="en"><head>{head}<title>3.1 The rate</title></head>
<body><p>Skip to the content</p><h1>The book</h1>
<article class="bd-article"><section>
<h1>3.1 The rate<a class="headerlink" href="#the-rate">#</a></h1>
<div class="admonition note"><p class="admonition-title">A box</p><div><p>Not this.</p></div></div>
<p>All of it is <em>about</em> <span class="math">\\(\\lambda_0\\)</span>, and
"so" on. It goes on.</p>
<figure><img class="companion-figure" src="../../_images/du-rate.svg">
<figcaption><p>Nor this.</p></figcaption></figure>
<p>A second paragraph.</p><p>{more}</p>
</section></article></body></html>
"""
TOLD = "All of it is about λ₀, and &quot;so&quot; on. It goes on. A second paragraph."


def tags(head: str = "", more: str = "And a third.") -> dict[str, str]:
    """The tags of the page, by name."""
    made = preview_tags(PAGE.format(head=head, more=more), "book/du/rate.html", "A & B")
    return dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)">', made))


def test_a_page_is_described_by_its_running_text() -> None:
    assert tags() == {
        "description": f"{TOLD} And a third.",
        "og:type": "article",
        "og:site_name": "A &amp; B",
        "og:title": "3.1 The rate",
        "og:description": f"{TOLD} And a third.",
    }


def test_a_description_ends_with_the_sentence_that_still_fits() -> None:
    assert tags(more=f"And {'so ' * 50}on.")["description"] == TOLD


def test_a_page_with_an_address_gives_it_and_that_of_its_first_figure() -> None:
    told = tags('<link rel="canonical" href="https://a.example/x/book/du/rate.html">')
    assert told["og:url"] == "https://a.example/x/book/du/rate.html"
    assert told["og:image"] == "https://a.example/x/figures/du-rate.png"


def test_a_page_without_running_text_is_described_by_its_name() -> None:
    page = "<head></head><article><h1>Notes</h1><table><tr><td><p>1</p></td></tr></table></article>"
    made = with_tags(page, preview_tags(page, "notes.html", "B"))
    assert '<meta name="description" content="Notes: a page of the book B.">' in made
    assert made.index("og:title") < made.index("</head>")
