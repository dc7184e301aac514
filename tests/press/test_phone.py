"""On a phone a figure is shown in the form that is made for it."""

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
