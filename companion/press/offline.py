"""Everything a built page loads, laid beside it, so that the site works with no network.

The stock theme fetches MathJax from a content delivery network. The package
``sphinx-mathjax-offline`` carries the same program; only the parts that turn TeX into
HTML are copied. A built page is then mended where the theme leaves no setting to do so.
"""

from __future__ import annotations

import re
import shutil
from html import escape
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from companion.errors import InputError

_PACKAGE = "sphinx-mathjax-offline"

# The program, its fonts, and the TeX extensions that it fetches on meeting, say,
# \boldsymbol or \cancel for the first time.
_MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")


def copy_mathjax(target: Path) -> None:
    """Copy the parts of MathJax that the pages need into a folder.

    Args:
        target: The folder that shall hold ``tex-chtml.js``. It is created if missing;
            files of the same name are overwritten.

    Raises:
        InputError: If ``sphinx-mathjax-offline`` is not installed or holds other files.
    """
    try:
        package = distribution(_PACKAGE)
    except PackageNotFoundError as error:
        raise InputError(
            f"{_PACKAGE} is not installed; the book's pages take MathJax from it"
        ) from error
    source = Path(str(package.locate_file(f"{_PACKAGE}/static/mathjax")))
    for part in _MATHJAX_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        elif (source / part).is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / part, target / part)
        else:
            raise InputError(f"{_PACKAGE} {package.version} holds no {part}")


def write_front_door(target: Path, first_page: str, title: str) -> None:
    """Write the page that sends a reader from the site's root to the book's first page.

    jupyter-book writes one if there is none, without a title, a language or an icon.

    Args:
        target: The folder that becomes the root of the site. It must exist.
        first_page: The first page's path inside the site.
        title: The book's title.
    """
    address, name = escape(first_page), escape(title)
    (target / "index.html").write_text(
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={address}">
<link rel="icon" href="_static/favicon.svg">
<title>{name}</title>
</head>
<body><p><a href="{address}">{name}</a></p></body>
</html>
""",
        encoding="utf-8",
    )


_MENDINGS = (
    # These names for assistive technology leave out words that the control shows;
    # without them the shown words are the name.
    (r'(class="btn search-button-field[^>]*?) aria-label="Search"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # The icons' own titles would be such words, hidden inside the button "Color mode".
    (r'(<i class="theme-switch [^>]*?) title="[^"]*"', r"\1"),
    # The book's title stands in the sidebar and otherwise belongs to no region of the page.
    (
        r'<div id="pst-primary-sidebar" class',
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Sidebar" class',
    ),
    # docutils calls a bibliography a list, which its backlinks may not be children of,
    # and gives its entries a role that is going out of use.
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r'(<div class="citation" [^>]*?) role="doc-biblioentry"', r"\1"),
    # "auto" names no set of colours: start in the reader's mode, and in the light one
    # where scripts are off.
    (r'(<html[^>]*) data-theme="auto"', r'\1 data-theme="light"'),
    (
        r'localStorage\.getItem\("theme"\) \|\| "auto"',
        'localStorage.getItem("theme") || '
        '(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")',
    ),
    # A formula is a box of its own, after which a browser may begin a line with a comma. A long
    # one may fill a line of a phone: it scrolls in itself, and the comma has to go on.
    (
        r'(?<!<span class="unbroken">)'
        r'(<span class="math notranslate nohighlight">\\\([^<]{1,40}\\\)</span>[,.;:!?)’]+)',
        r'<span class="unbroken">\1</span>',
    ),
)


def mend_page(html: str) -> str:
    """Mend what the theme writes into a page and offers no setting for.

    The mendings give every control a spoken name that contains its visible words, name the
    parts of a page as the standards allow, start it in the reader's mode of colours, and keep a
    short formula together with the comma after it.
    A page that was mended already comes back unchanged.

    Args:
        html: A page as Sphinx wrote it.

    Returns:
        The page with the mendings made.
    """
    for pattern, replacement in _MENDINGS:
        html = re.sub(pattern, replacement, html)
    return html
