"""Figures on phones: a page offers each with its narrow form, and the browser takes what fits."""

import re
from collections.abc import Container
from html import escape
from pathlib import PurePosixPath

from companion.figures import NARROW

_IMAGE = r'<img (?=[^>]*class="[^"]*\bcompanion-figure\b)[^>]*src="([^"]*)"[^>]*>'
_FIGURE = re.compile(_IMAGE + r"(\s*<figcaption>.*?</figcaption>)?", re.DOTALL)
# As wide as the style sheet has it for phones.
_PHONE = "(max-width: 575px)"
# Names of panels side by side; not a direction, what is left over, or a side of an equation.
_SIDE = re.compile(
    r"\b(?:Left|Right)\b|(?<=[,;:] )(?:left|right)\b(?!-| (?:of|out|over|side)\b)"
    r"|\bon the (?:left|right)\b"
)
_BELOW_EACH_OTHER = {
    "Left": "Top", "Right": "Bottom", "left": "top", "right": "bottom",
    "on the left": "at the top", "on the right": "at the bottom",
}  # fmt: skip


def with_narrow_figures(html: str, page: str, narrow: Container[str]) -> str:
    """A page whose figures have a second form for phones, of which their captions tell, too.

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
        caption = match[2] or ""
        image = match[0].removesuffix(caption)
        picture = f'<picture class="companion-figure">{source}{image}</picture>'
        return picture + _SIDE.sub(_both_places, caption)

    return _FIGURE.sub(both, html)


def _both_places(side: re.Match[str]) -> str:
    """Where a panel is; the style sheet shows what is true on the screen at hand."""
    stacked = _BELOW_EACH_OTHER[side[0]]
    return f'<span class="if-wide">{side[0]}</span><span class="if-narrow">{stacked}</span>'
