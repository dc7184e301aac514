"""MyST as the Markdown that Jupyter shows: statements, quoted code and references spelt out."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from sphinx.config import Config
from sphinx.directives.code import LiteralIncludeReader

from companion.lab.papers import papers

_DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\} *(?P<argument>.*)\n"
    r"(?P<options>(?::[\w-]+:.*\n)*)(?P<body>(?:.*\n)*?)(?P=fence)$",
    re.MULTILINE,
)
_OPTION = re.compile(r"^:([\w-]+): *(.*)$", re.MULTILINE)
# {ref}`text <target>`, or {ref}`target`.
_ROLE = re.compile(r"(?<![_^])\{([\w:]+)\}`(?:([^`<]*?) *<([^`>]*)>|([^`]*))`")
_LABEL = re.compile(r"^\([\w.-]+\)=\n", re.MULTILINE)
_SPAN = re.compile(r"\[([^\]\n]+)\]\{\.[\w.-]+\}")


def plain_markdown(text: str, page: str, root: Path, titles: Mapping[str, str]) -> str:
    """A page's prose without directives and roles, which plain Jupyter would show as code.

    Args:
        text: MyST.
        page: the name of the page it is of, below `root`.
        root: the folder that quoted files are named from, through the page's place in it.
        titles: page -> title, of the whole book.
    """
    folder = posixpath.dirname(page)
    text = _LABEL.sub("", text)
    text = _DIRECTIVE.sub(lambda match: _block(match, root, folder), text)
    text = _ROLE.sub(lambda match: _reference(match, folder, titles), text)
    return _SPAN.sub(r"**\1**", text)


def _block(match: re.Match[str], root: Path, folder: str) -> str:
    """A directive as text; one of a kind that no chapter has stays as it is."""
    name, argument, body = match["name"], match["argument"], match["body"]
    options = dict(_OPTION.findall(match["options"]))
    if name == "literalinclude":
        try:
            code = _quoted(root / posixpath.normpath(posixpath.join(folder, argument)), options)
        except (OSError, ValueError):  # not there; Sphinx names it, and the build fails
            return match[0]
        return f"```{options.get('language', '')}\n{code}```"
    if name.startswith("prf:"):
        kind = name.removeprefix("prf:").capitalize()
        return f"**{kind}** ({argument}). {body}" if argument else f"**{kind}.** {body}"
    if name == "admonition":
        return f"**{argument}**\n\n{body}"
    return match[0]


def _quoted(path: Path, options: Mapping[str, str]) -> str:
    """What Sphinx would quote of a file."""
    given: dict[str, str | int | None] = {**options}
    if "dedent" in options:  # without a number: as far as all lines allow
        given["dedent"] = int(options["dedent"]) if options["dedent"] else None
    return LiteralIncludeReader(str(path), given, Config()).read()[0]


def _reference(match: re.Match[str], folder: str, titles: Mapping[str, str]) -> str:
    role, text, target = match[1], match[2], match[3] or match[4]
    if text:
        return text
    if role == "doc":
        page = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
        return f"*{titles[page]}*"
    if role in ("cite", "cite:t"):
        names = ", ".join(
            papers()[key].name if key in papers() else key for key in re.split(r", *", target)
        )
        return f"[{names}]" if role == "cite" else names
    return f"*{target.removeprefix('fig-')}*"
