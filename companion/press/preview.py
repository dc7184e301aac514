"""What other sites show of a page that is linked there: its name, a sentence or two, a picture.

Search engines read `description`, most others the `og:` tags (ogp.me). An address that they could
be given is known only where `_config.yml` has `html: baseurl:`; without it a page has no picture
there, since theirs must be a full address.
"""

import re
from html import escape
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import urljoin

from companion.press.terminal import readable

# About as much as search engines show of a page, in letters.
_ENOUGH = 200
# What is no running text, by its tag or its class, and tags that nothing can be inside of.
_ASIDES = {"figure", "table", "details", "admonition", "headerlink", "figure-links"}
_VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "wbr",
}


def preview_tags(html: str, page: str, site: str) -> str:
    """The tags that describe a page, for its head.

    Args:
        html: the page as Sphinx wrote it.
        page: its path inside the site, e.g. `book/index.html`.
        site: the book's title.
    """
    read = _Reader()
    read.feed(html)
    name = read.heading or site
    told = _told(readable(" ".join(read.paragraphs))) or f"{name}: a page of the book {site}."
    tags = {"og:type": "article", "og:site_name": site, "og:title": name, "og:description": told}
    if read.address:
        tags["og:url"] = read.address
        if read.picture:
            picture = f"figures/{PurePosixPath(read.picture).stem}.png"
            tags["og:image"] = urljoin(read.address, "../" * page.count("/") + picture)
    lines = [f'<meta property="{name}" content="{escape(text)}">' for name, text in tags.items()]
    return "\n".join([f'<meta name="description" content="{escape(told)}">', *lines])


def with_tags(html: str, tags: str) -> str:
    """A page with tags at the end of its head."""
    return html.replace("</head>", f"{tags}\n</head>", 1)


def _told(text: str) -> str:
    """The first sentence of a text, and those after it that are still shown."""
    first, *others = re.split(r"(?<=[.?!]) +(?=[A-Z])", text.strip())
    for sentence in others:
        if len(first) + len(sentence) > _ENOUGH:
            break
        first += f" {sentence}"
    return first


class _Reader(HTMLParser):
    """Reads off a page its heading, its running text, its first figure, its address."""

    def __init__(self) -> None:
        super().__init__()
        self.heading, self.picture, self.address = "", "", ""
        self.paragraphs: list[str] = []
        self._open: list[tuple[str, str]] = []  # the elements around, each with what it is here

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        kinds = told.get("class", "").split()
        if tag == "link" and told.get("rel") == "canonical":
            self.address = told["href"]
        if tag == "img" and "companion-figure" in kinds:
            self.picture = self.picture or told["src"]
        if tag in _VOID:
            return
        aside = tag in _ASIDES or not _ASIDES.isdisjoint(kinds)
        self._open.append((tag, "aside" if aside else tag))
        if self._reads("article", "p") and tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        text = re.sub(r"\s+", " ", re.sub(r"\\\((.*?)\\\)", r"$\1$", data))
        if self._reads("article", "h1"):
            self.heading += text
        elif self._reads("article", "p"):
            self.paragraphs[-1] += text

    def _reads(self, *kinds: str) -> bool:
        """Whether it is inside such elements, and in nothing that stands aside."""
        around = {kind for _, kind in self._open}
        return around.issuperset(kinds) and "aside" not in around
