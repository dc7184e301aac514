"""The book: execute its chapters, draw its figures, stage its pages, build the static site.

`build` is the whole way from MyST sources to `html/index.html`. Sphinx sees only finished pages.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from filelock import FileLock, Timeout

from companion.base.files import (
    check_writable,
    is_sealed,
    seal,
    unseal,
    write_atomically,
)
from companion.base.paths import BOOK, CACHE, PACKAGE, PROJECT, check_checkout
from companion.errors import BuildError, InputError
from companion.lab.experiment import check_device, check_profile
from companion.lab.papers import Paper, papers
from companion.press.chapters import Chapter, Executed, graft, read, read_page
from companion.press.download import downloadable
from companion.press.drawing import figures_of
from companion.press.execution import execute
from companion.press.ledger import Findings
from companion.press.markdown import plain_markdown
from companion.press.offline import copy_mathjax, mend_page, write_front_door
from companion.press.pages import PageWriter
from companion.press.phone import with_narrow_figures
from companion.press.preview import preview_tags, with_tags
from companion.press.rows import row_schema
from companion.press.supervision import Supervisor

# What a build makes in its output folder, and replaces without asking.
_MADE = ("executed", "figures", "html", "html.new", "html.old", "site", "stage")
_TAG = "CACHEDIR.TAG"
# Of the staged tree: notebooks as readers get them, which Sphinx does not read.
_DOWNLOADS = "downloads"


@dataclass(frozen=True)
class Book:
    """Where a book's sources lie and where what is made from them goes.

    Attributes:
        root: holds `_config.yml`, `_toc.yml` and the pages.
        output: holds executed notebooks, the staged tree, and `html`.
    """

    root: Path = PROJECT
    output: Path = CACHE

    @property
    def pages(self) -> list[str]:
        """Page names in the order of the contents, e.g. `book/du2019/5_experiments`.

        Raises:
            InputError: there is no such file, or it is not a table of contents.
        """
        path = self.root / "_toc.yml"
        try:
            pages = list(_files(self.contents))
        except RecursionError:
            raise InputError(f"{path} holds a list that is a part of itself.") from None
        if not pages:
            raise InputError(f"{path} names no page; it needs a 'root:'.")
        for page in pages:
            parts = Path(page).parts if isinstance(page, str) else ("..",)
            if ".." in parts or Path(page).is_absolute():
                raise InputError(f"{path} names {page!r}, which is no page below {self.root}.")
            if pages.count(page) > 1:
                raise InputError(f"{path} names {page} {pages.count(page)} times; name it once.")
        return pages

    @property
    def contents(self) -> Any:
        """`_toc.yml`, what the book declares as papers before its own parts.

        A paper's first chapter stands for it, the others below that one.
        """
        contents, path = self._read_yaml("_toc.yml"), self.root / "book" / "papers.yml"
        if not path.is_file() or not isinstance(contents, Mapping):
            return contents
        declared = [paper for paper in papers(path).values() if paper.chapters]
        parts = [
            {"caption": caption, "chapters": chapters}
            for caption, ours in (("The papers", False), ("The package", True))
            if (chapters := [_branch(paper) for paper in declared if paper.ours == ours])
        ]
        return {**contents, "parts": [*parts, *contents.get("parts", [])]}

    @property
    def title(self) -> str:
        """The book's title, from `_config.yml`.

        Raises:
            InputError: there is no such file, or it has no title.
        """
        config = self._read_yaml("_config.yml")
        if not isinstance(config, Mapping) or not config.get("title"):
            raise InputError(f"{self.root / '_config.yml'} has no 'title:'.")
        return str(config["title"])

    def _read_yaml(self, name: str) -> Any:
        path = self.root / name
        if not path.is_file():
            raise InputError(f"{self.root} is not the folder of a book: it has no {name}.")
        try:
            return yaml.safe_load(read_page(path))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" in line {mark.line + 1}" if mark else ""
            raise InputError(f"{path} is not readable as YAML{where}.") from None

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
        InputError: bad parameters, or an output folder that cannot be written or is somebody's.
        BuildError: a chapter failed, a verdict was unexpected, or the site has a warning.
    """
    if book.root == PROJECT:
        check_checkout("the book")
    for name, number in (("jobs", jobs), ("timeout", timeout)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}; it must be at least 1.")
    check_profile(profile)
    check_device(device)
    chapters = [c for page in book.pages if (c := read(page, book.path(page)))]
    title = book.title
    with _claimed(book.output, say):
        parameters = {"profile": profile, "device": device}
        folder, workers = book.output / "executed", jobs or os.cpu_count() or 1
        done: dict[str, Executed] = {}
        with closing(
            execute(chapters, parameters, folder, jobs=workers, timeout=timeout)
        ) as running:
            for executed in running:
                done[executed.chapter.name] = executed
                took = f"ran in {executed.seconds:.0f} s" if executed.seconds else "unchanged"
                say(f"[{len(done)}/{len(chapters)}] {executed.chapter.name}: {took}")
        return _publish(book, title, chapters, done, workers, say)


@contextmanager
def _claimed(output: Path, say: Callable[[str], None]) -> Iterator[None]:
    """The output folder, for this build alone; another build waits.

    Raises:
        InputError: it cannot be written, or holds folders that no build made.
    """
    tag = output / _TAG
    foreign = [name for name in _MADE if (output / name).exists()]
    if output != CACHE and foreign and not tag.is_file():
        raise InputError(
            f"{output} holds '{foreign[0]}', which a build would replace and none has made; choose "
            "an empty folder."
        )
    check_writable(output)
    lock = FileLock(output / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"another build is at work in {output}; waiting for it")
        lock.acquire()
    try:
        # A common mark: programs that make backups leave such folders out.
        write_atomically(tag, b"Signature: 8a477f597d28d172789f06886806bc55\n")
        yield
    finally:
        lock.release()


def _publish(
    book: Book,
    title: str,
    chapters: Sequence[Chapter],
    done: Mapping[str, Executed],
    jobs: int,
    say: Callable[[str], None],
) -> Path:
    """The site, out of executed chapters."""
    findings = Findings()
    for chapter in chapters:
        findings.add(done[chapter.name])
    for remark in findings.remarks():
        say(remark)
    findings.check()
    say("drawing figures and building the site")
    return _site(book, _stage(book, title, done, findings, jobs), title)


def _branch(paper: Paper) -> dict[str, Any]:
    """A paper's chapters as the table of contents has them."""
    first, *others = ({"file": f"book/{paper.id}/{page}"} for page in paper.chapters)
    return {**first, "sections": others} if others else first


def _files(node: Any) -> Iterator[Any]:
    """Every `root:` and `file:` of a table of contents, in order."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from _files(value)
    elif isinstance(node, list):
        for item in node:
            yield from _files(item)


def _stage(
    book: Book,
    title: str,
    done: Mapping[str, Executed],
    findings: Findings,
    jobs: int,
) -> Path:
    """Write the tree that Sphinx reads: finished pages, sources to quote, figures, ledger."""
    stage = book.output / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    write_atomically(stage / "_config.yml", (book.root / "_config.yml").read_bytes())
    write_atomically(stage / "_toc.yml", yaml.safe_dump(book.contents, sort_keys=False).encode())
    _mirror(PACKAGE, stage / "companion", "*.py")
    _mirror(book.root / "tests", stage / "tests", "oracles.py")
    _mirror(BOOK / "_static", stage / "_static", "*")
    write_atomically(stage / "_static" / "papers.css", _style_of_papers().encode())
    _mirror(book.root / "book", stage / "book", "*.bib")
    extra = stage / "extra"
    copy_mathjax(extra / "mathjax")
    write_front_door(extra, f"{book.pages[0]}.html", title)
    ledger = json.dumps(findings.rows(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(extra / "claims.json", ledger.encode())
    schema = json.dumps(row_schema(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(extra / "claims.schema.json", schema.encode())
    captions = figures_of(findings, book.output / "figures", extra / "figures", jobs=jobs)
    _stage_pages(book, stage, done, findings, captions)
    return stage


def _style_of_papers() -> str:
    """The colour of every paper; and what is not the papers' is hidden where one counts theirs."""
    lines = [f".paper-{paper.id} {{ --paper: {paper.colour}; }}" for paper in papers().values()]
    hidden = [
        f'.bd-article:has([id^="only-"]:target) table.paper-{paper.id} {{ display: none; }}'
        for paper in papers().values()
        if paper.ours
    ]
    return "\n".join([*lines, *hidden, ""])


def _stage_pages(
    book: Book,
    stage: Path,
    done: Mapping[str, Executed],
    findings: Findings,
    captions: Mapping[str, Mapping[str, str]],
) -> None:
    """Write every page as Sphinx reads it, and every chapter's notebook as readers get it."""
    figures = stage / "extra" / "figures"
    texts = {page: read_page(book.path(page)) for page in book.pages}
    with_differences = any("```{differences}\n" in text for text in texts.values())
    writer = PageWriter(findings, captions, with_differences)
    titles = {page: writer.text(page, _title(text)) for page, text in texts.items()}
    for page, text in texts.items():
        if page not in done:
            write_atomically(stage / f"{page}.md", writer.text(page, text).encode())
            continue
        notebook = writer.notebook(page, graft(done[page]))
        write_atomically(stage / f"{page}.ipynb", nbformat.writes(notebook).encode())

        def prose(source: str, page: str = page) -> str:
            return plain_markdown(writer.text(page, source), page, stage, titles)

        whole = downloadable(page, graft(done[page]), prose, findings, figures, captions)
        file = stage / _DOWNLOADS / f"{page}.ipynb"
        write_atomically(file, nbformat.writes(whole).encode())


def _title(text: str) -> str:
    """A page's first heading."""
    heading = re.search(r"^# +(.*)$", text, re.MULTILINE)
    return heading[1] if heading else ""


def _mirror(source: Path, target: Path, pattern: str) -> None:
    for path in sorted(source.rglob(pattern)):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)  # staged anew by every build: no power cut matters


def _site(book: Book, stage: Path, title: str) -> Path:
    """Run jupyter-book on the staged tree; the old site stands until the new one is whole."""
    made = book.output / "site"
    _make_pages(stage, made, book.output / "site.log")
    fresh, site, old = (book.output / name for name in ("html.new", "html", "html.old"))
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made / "_build" / "html", fresh)
    _mirror(stage / _DOWNLOADS, fresh / "_sources", "*.ipynb")
    figures = {path.name for path in (fresh / "figures").glob("*")}
    for path in fresh.rglob("*.html"):
        page, html = path.relative_to(fresh).as_posix(), path.read_text(encoding="utf-8")
        html = with_narrow_figures(mend_page(html), page, figures)
        if "<article" in html:  # one that Sphinx made
            html = with_tags(html, preview_tags(html, page, title))
        path.write_text(html, encoding="utf-8")
    first = f"{book.pages[0]}.html"
    tags = preview_tags((fresh / first).read_text(encoding="utf-8"), first, title)
    door = fresh / "index.html"
    door.write_text(with_tags(door.read_text(encoding="utf-8"), tags), encoding="utf-8")
    if site.exists():
        site.rename(old)
    fresh.rename(site)
    shutil.rmtree(old, ignore_errors=True)
    return site / "index.html"


def _make_pages(stage: Path, made: Path, log: Path) -> None:
    """Let jupyter-book make pages out of the staged tree, going on from what it made before.

    Sphinx trusts what it finds of its own, keeps pages that left the table of contents, and says
    nothing again of pages that it has complained of. So it goes on only from what it left without
    complaint, for the same contents, and what nobody has touched since.
    """
    toc, last = stage / "_toc.yml", made / "_toc.yml"
    if not is_sealed(made) or last.read_bytes() != toc.read_bytes():
        shutil.rmtree(made, ignore_errors=True)
    unseal(made)
    program = (
        "from companion.press.supervision import end_with_parent; end_with_parent(); "
        "from jupyter_book.cli.main import main; main()"
    )
    options = ("--path-output", str(made), "-W", "-n", "--keep-going", "-q")
    with Supervisor() as supervisor:
        code, told = supervisor.run(["-c", program, "build", str(stage), *options], log)
    lines = (told + log.read_text(encoding="utf-8", errors="replace")).splitlines()
    write_atomically(log, "\n".join(lines).encode())
    if code != 0:
        warnings = [line for line in lines if "WARNING" in line or "ERROR" in line]
        problems = "\n".join(warnings[:20] or lines[-20:])
        raise BuildError(f"the site did not build cleanly (log: {log}):\n{problems}")
    write_atomically(last, toc.read_bytes())
    seal(made)
