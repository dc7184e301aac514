"""Figures on phones: a page offers each with its narrow form, and the browser takes what fits."""

import re
from collections.abc import Container
from html import escape
from pathlib import PurePosixPath

from companion.figures import NARROW

_FIGURE = re.compile(r'<img (?=[^>]*class="[^"]*\bcompanion-figure\b)[^>]*src="([^"]*)"[^>]*>')
# As wide as the style sheet has it for phones.
_PHONE = "(max-width: 575px)"


def with_narrow_figures(html: str, page: str, narrow: Container[str]) -> str:
    """A page whose figures have a second form for phones.

    Args:
        html: the page as Sphinx wrote it.
        page: its path inside the site.
        narrow: names of files in the site's folder `figures`, the narrow forms among them.
    """

    def both(match: re.Match[str]) -> str:
        name = f"{PurePosixPath(match[1]).stem}{NARROW}.svg"
        if name not in narrow:
            return match[0]
        address = escape(f"{'../' * page.count('/')}figures/{name}")
        source = f'<source media="{_PHONE}" srcset="{address}">'
        return f'<picture class="companion-figure">{source}{match[0]}</picture>'

    return _FIGURE.sub(both, html)
