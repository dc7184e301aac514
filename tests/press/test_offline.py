"""What the pages load lies beside them, and what the theme writes wrong is mended."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from companion.errors import InputError
from companion.press import offline


def test_mathjax_comes_with_its_fonts_and_its_tex_extensions(tmp_path: Path) -> None:
    offline.copy_mathjax(tmp_path / "mathjax")
    assert (tmp_path / "mathjax/tex-chtml.js").stat().st_size > 1_000_000
    assert list((tmp_path / "mathjax/output/chtml/fonts/woff-v2").glob("*.woff"))
    assert (tmp_path / "mathjax/input/tex/extensions/boldsymbol.js").is_file()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(offline, "distribution", absent)
    with pytest.raises(InputError, match="sphinx-mathjax-offline is not installed"):
        offline.copy_mathjax(tmp_path)


def test_the_front_door_leads_to_the_first_page(tmp_path: Path) -> None:
    offline.write_front_door(tmp_path, "book/index.html", "Wide & deep")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'content="0; url=book/index.html"' in page
    assert "<title>Wide &amp; deep</title>" in page


MENDED = [
    (
        '<button class="btn search-button-field x" title="Search" aria-label="Search">',
        '<button class="btn search-button-field x" title="Search">',
    ),
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
    (
        '<i class="theme-switch fa-sun" data-mode="light" title="Light"></i>',
        '<i class="theme-switch fa-sun" data-mode="light"></i>',
    ),
    (
        '<div id="pst-primary-sidebar" class="bd-sidebar">',
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Sidebar" '
        'class="bd-sidebar">',
    ),
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    (
        '<div class="citation" id="id2" role="doc-biblioentry">',
        '<div class="citation" id="id2">',
    ),
    ('<html lang="en" data-theme="auto">', '<html lang="en" data-theme="light">'),
    (
        'localStorage.getItem("theme") || "auto";',
        'localStorage.getItem("theme") || '
        '(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");',
    ),
    (
        '<button title="Search" aria-label="Search">',
        '<button title="Search" aria-label="Search">',
    ),
    (
        r'(<span class="math notranslate nohighlight">\(m\)</span>), it is',
        r'(<span class="unbroken"><span class="math notranslate nohighlight">\(m\)</span>),</span>'
        " it is",
    ),
]
# What the mendings look for, in another place or with another value.
ALIKE = [
    '<button class="btn" title="Search" aria-label="Search">',
    '<summary aria-label="Toggle the list">',
    '<i class="icon fa-sun" data-mode="light" title="Light"></i>',
    '<div id="pst-secondary-sidebar" class="bd-sidebar">',
    '<div role="list" class="verdicts">',
    '<div class="footnote" id="id3" role="doc-biblioentry">',
    '<html lang="en" data-theme="dark">',
    'localStorage.getItem("mode") || "auto";',
    r'<span class="math notranslate nohighlight">\(m\)</span> units, which',
    rf'<span class="math notranslate nohighlight">\({"m+" * 20}m\)</span>, which',
]


@pytest.mark.parametrize(("written", "mended"), MENDED)
def test_a_part_of_a_page_is_mended_once(written: str, mended: str) -> None:
    assert offline.mend_page(written) == mended
    assert offline.mend_page(mended) == mended


def test_all_of_a_page_is_mended_and_nothing_else_is_touched() -> None:
    written, mended = zip(*MENDED, strict=True)
    page, known = (
        "\n".join(["<p>so it is</p>", *parts, *ALIKE] * 2) for parts in (written, mended)
    )
    assert offline.mend_page(page) == known
