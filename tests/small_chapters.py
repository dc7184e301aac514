"""Chapters of a few lines, written where a test wants them."""

from pathlib import Path

from companion.press.chapters import Chapter, Executed, read
from companion.press.execution import execute

HEAD = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

"""
PARAMETERS = """```{code-cell} python
:tags: [parameters]
profile: str = "quick"
device: str = "cpu"
count: int = 3
```

"""


def source(*cells: str, prose: str = "Prose.\n", parameters: str = PARAMETERS) -> str:
    """The MyST text of a chapter with these code cells after the parameters."""
    blocks = (f"```{{code-cell}} python\n{code}\n```\n\n" for code in cells)
    return f"{HEAD}{prose}\n{parameters}{''.join(blocks)}"


def chapter(folder: Path, *cells: str, name: str = "chapter", **options: str) -> Chapter:
    """A chapter with these code cells, read from a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(source(*cells, **options))
    made = read(name, path)
    assert made is not None
    return made


def run(*made: Chapter, folder: Path, timeout: int = 60, **parameters: object) -> list[Executed]:
    """Execute chapters, all at once."""
    given = {"profile": "quick", "device": "cpu", **parameters}
    return list(execute(made, given, folder, jobs=len(made), timeout=timeout))
