"""The book: execute its chapters, draw its figures, stage its pages, build the static site.

`build` is the whole way from MyST sources to `html/index.html`. Sphinx sees only finished pages.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import yaml

from companion.catalog import FIGURES, PROJECT
from companion.chapters import Chapter, Executed, execute, graft, read
from companion.citing import bibtex
from companion.errors import BuildError, InputError
from companion.figures import save
from companion.files import check_writable, write_atomically
from companion.ledger import Findings
from companion.offline import copy_mathjax, mend_page, write_front_door
from companion.pages import PageWriter
from companion.results import Result, check_device, check_profile


@dataclass(frozen=True)
class Book:
    """Where a book's sources lie and where what is made from them goes.

    Attributes:
        root: holds `_config.yml`, `_toc.yml` and the pages.
        output: holds executed notebooks, the staged tree, and `html`.
    """

    root: Path = PROJECT
    output: Path = PROJECT / "_build"

    @property
    def pages(self) -> list[str]:
        """Page names in the order of `_toc.yml`, e.g. `book/du2019/5_experiments`."""
        toc = yaml.safe_load((self.root / "_toc.yml").read_text(encoding="utf-8"))
        return list(_files(toc))

    @property
    def title(self) -> str:
        """The book's title, from `_config.yml`."""
        config = yaml.safe_load((self.root / "_config.yml").read_text(encoding="utf-8"))
        return str(config["title"])

    def path(self, page: str) -> Path:
        """The MyST source of a page.

        Raises:
            InputError: the table of contents names a page that is not there.
        """
        path = self.root / f"{page}.md"
        if not path.is_file():
            raise InputError(f"_toc.yml names {page}, but there is no {page}.md.")
        return path


def build(
    book: Book,
    *,
    profile: str = "quick",
    device: str = "cpu",
    jobs: int | None = None,
    timeout: int = 7200,
    say: Callable[[str], None] = print,
) -> Path:
    """Execute what changed, then build the site with warnings as errors.

    Args:
        book: sources and output.
        profile: `quick` or `paper`.
        device: `cpu` or `cuda`.
        jobs: chapters executed at once; None for one per core.
        timeout: seconds one cell may take.
        say: told about progress, a line at a time.

    Returns:
        The site's `index.html`.

    Raises:
        InputError: bad parameters, or an output folder that cannot be written.
        BuildError: a chapter failed, a verdict was unexpected, or the site has a warning.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1.")
    check_profile(profile)
    check_device(device)
    check_writable(book.output)
    chapters = [c for page in book.pages if (c := read(page, book.path(page)))]
    parameters = {"profile": profile, "device": device}
    done: dict[str, Executed] = {}
    for executed in execute(
        chapters,
        parameters,
        book.output / "executed",
        jobs=jobs or os.cpu_count() or 1,
        timeout=timeout,
    ):
        done[executed.chapter.name] = executed
        took = f"ran in {executed.seconds:.0f} s" if executed.seconds else "unchanged"
        say(f"[{len(done)}/{len(chapters)}] {executed.chapter.name}: {took}")
    findings = Findings()
    for chapter in chapters:
        findings.add(done[chapter.name])
    findings.check()
    say("drawing figures and building the site")
    return _site(book, _stage(book, chapters, done, findings))


def _files(node: Any) -> Iterator[str]:
    """Every `root:` and `file:` of a table of contents, in order."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(value)
            else:
                yield from _files(value)
    elif isinstance(node, list):
        for item in node:
            yield from _files(item)


def _stage(
    book: Book, chapters: Sequence[Chapter], done: Mapping[str, Executed], findings: Findings
) -> Path:
    """Write the tree that Sphinx reads: finished pages, sources to quote, figures, ledger."""
    stage = book.output / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    for name in ("_config.yml", "_toc.yml"):
        write_atomically(stage / name, (book.root / name).read_bytes())
    _mirror(PROJECT / "companion", stage / "companion", "*.py")
    _mirror(PROJECT / "book" / "_static", stage / "_static", "*")
    _mirror(book.root / "book", stage / "book", "*.bib")
    extra = stage / "extra"
    copy_mathjax(extra / "mathjax")
    write_front_door(extra, f"{book.pages[0]}.html", book.title)
    ledger = json.dumps(findings.rows(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(extra / "claims.json", ledger.encode())
    captions = _figures(findings, book.output / "figures", extra / "figures")
    writer = PageWriter(findings, captions)
    executable = {chapter.name for chapter in chapters}
    for page in book.pages:
        if page in executable:
            notebook = writer.notebook(page, graft(done[page]))
            write_atomically(stage / f"{page}.ipynb", nbformat.writes(notebook).encode())
        else:
            text = book.path(page).read_text(encoding="utf-8")
            write_atomically(stage / f"{page}.md", writer.text(page, text).encode())
    return stage


def _mirror(source: Path, target: Path, pattern: str) -> None:
    for path in sorted(source.rglob(pattern)):
        if path.is_file():
            write_atomically(target / path.relative_to(source), path.read_bytes())


def _figures(findings: Findings, kept: Path, target: Path) -> dict[str, dict[str, str]]:
    """Put every figure below `target`, drawing those whose result or code changed.

    Returns:
        File stem -> what its JSON says, caption and alt text among it.
    """
    told = {}
    for page, shown in findings.figures.items():
        for identifier, result in shown:
            stem = findings.stem(page, identifier, result)
            folder = kept / stem / _figure_key(result)
            if not folder.is_dir():
                shutil.rmtree(folder.parent, ignore_errors=True)
                partial = folder.with_suffix(".part")
                save(identifier, result, partial, stem)
                cited = bibtex(identifier, result)
                write_atomically(partial / f"{stem}.bib", cited.encode())
                partial.rename(folder)
            _mirror(folder, target, "*")
            told[stem] = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    return told


def _figure_key(result: Result) -> str:
    """Hash of a result and of the code that draws it: restyling redraws and re-runs nothing."""
    own = FIGURES / f"{result.experiment}.py"
    code = [path.read_bytes() for path in (FIGURES / "__init__.py", FIGURES / "style.py", own)]
    told = (result.fingerprint, str(result.provenance["created"]), version("matplotlib"))
    return hashlib.sha256(b"\0".join([*code, *(t.encode() for t in told)])).hexdigest()[:16]


def _site(book: Book, stage: Path) -> Path:
    """Run jupyter-book on the staged tree; the old site stands until the new one is whole."""
    made, log = book.output / "site", book.output / "site.log"
    _forget_if_toc_changed(made, stage / "_toc.yml")
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
        *("build", str(stage), "--path-output", str(made), "-W", "-n", "--keep-going", "-q"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (run.stdout + run.stderr).splitlines()
    write_atomically(log, "\n".join(lines).encode())
    if run.returncode != 0:
        warnings = [line for line in lines if "WARNING" in line or "ERROR" in line]
        told = "\n".join(warnings[:20] or lines[-20:])
        raise BuildError(f"the site did not build cleanly (log: {log}):\n{told}")
    fresh, site, old = (book.output / name for name in ("html.new", "html", "html.old"))
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made / "_build" / "html", fresh)
    for page in fresh.rglob("*.html"):
        page.write_text(mend_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    if site.exists():
        site.rename(old)
    fresh.rename(site)
    shutil.rmtree(old, ignore_errors=True)
    return site / "index.html"


def _forget_if_toc_changed(made: Path, toc: Path) -> None:
    """Sphinx keeps the HTML of pages that left the table of contents: start afresh then."""
    kept = made / "_toc.yml"
    if not kept.is_file() or kept.read_bytes() != toc.read_bytes():
        shutil.rmtree(made, ignore_errors=True)
        write_atomically(kept, toc.read_bytes())
