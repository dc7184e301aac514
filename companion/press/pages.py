"""Pages: everything that was computed, written into MyST before Sphinx sees it."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from companion.errors import BuildError
from companion.lab.catalog import claims
from companion.lab.papers import in_words, papers
from companion.lab.results import Result, Verdict
from companion.press.chapters import FIGURE_MARK, RESULT_MARK
from companion.press.landing import counts, picture
from companion.press.ledger import Findings, found

OUTCOMES = {
    "holds": "holds",
    "outside-regime": "seen outside its regime",
    "fails": "fails",
    "inconclusive": "inconclusive",
}
FILES = ("svg", "pdf", "png", "csv", "json", "bib")
# {value}`lambda_0:.3f`, or {value}`du2019/figure1 lambda_0:.3f` from another page's experiment.
_NUMBER = re.compile(r"\{(value|record)\}`(?:(\w+/\w+) )?([\w.]+):([^`]*)`")
# {outcome}`du2019-thm4.1:outside-regime`, after a sentence that is true with this outcome only.
_OUTCOME = re.compile(r"\{outcome\}`([^`:]*):?([^`]*)`")
# A ledger or a gallery of one paper, or without an argument of all; the table of the papers; the
# state of a ledger, which the argument is the address of; a figure of another page.
_BLOCK = re.compile(r"```\{(ledger|gallery|papers|counts|picture)\} ?([\w./-]*)\n```")
# How many papers there are, in words: {papers}`count`, at the start of a sentence {papers}`Count`.
_PAPERS = re.compile(r"\{papers\}`(count|Count)`")


class PageWriter:
    """Turns chapters and pages into finished MyST: figures, verdicts, numbers, ledger.

    Args:
        findings: what the chapters found.
        captions: figure file stem -> its caption and alt text.
    """

    def __init__(self, findings: Findings, captions: Mapping[str, Mapping[str, str]]) -> None:
        self._findings, self._captions = findings, captions
        self._labelled: set[str] = set()

    def notebook(self, page: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
        """A grafted chapter with its marked outputs replaced by Markdown cells."""
        cells = []
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.text(page, cell.source)
            cells.append(cell)
            if cell.cell_type == "code":
                placed = [self._place(page, output) for output in cell.outputs]
                cell.outputs = [o for o, p in zip(cell.outputs, placed, strict=True) if p is None]
                cells += [nbformat.v4.new_markdown_cell(p) for p in placed if p]
        notebook.cells = cells
        return notebook

    def text(self, page: str, text: str) -> str:
        """Page text with {value}, {record}, {ledger} and {gallery} filled in, {outcome} checked.

        Raises:
            BuildError: a number is quoted that no result holds, or a sentence asserts an outcome
                that is not the verdict's.
        """
        text = "\n".join(self._checked(page, line) for line in text.split("\n"))
        text = _NUMBER.sub(lambda match: self._number(page, *match.groups()), text)
        text = _PAPERS.sub(lambda match: _count_of_papers(match[1]), text)
        blocks = {
            "ledger": self._ledger,
            "gallery": self._gallery,
            "papers": self._papers,
            "counts": self._counts,
            "picture": self._picture,
        }
        return _BLOCK.sub(lambda match: blocks[match[1]](match[2], page), text)

    def _checked(self, page: str, sentence: str) -> str:
        """A line of prose without its {outcome} marks, each of which is true."""
        for mark in _OUTCOME.finditer(sentence):
            claim, asserted = mark.groups()
            if claim not in claims() or asserted not in OUTCOMES:
                raise BuildError(f"{page} has {mark[0]}, which names no claim and outcome.")
            outcomes = sorted(self._findings.outcomes(claim))
            if outcomes != [asserted]:
                verdict = " and ".join(outcomes) or "missing"
                raise BuildError(
                    f"{page} says '{_OUTCOME.sub('', sentence).strip()}', which asserts that "
                    f"{claim} is '{asserted}'; the verdict is {verdict}."
                )
        return _OUTCOME.sub("", sentence)

    def _number(self, page: str, kind: str, experiment: str | None, name: str, form: str) -> str:
        pool = [
            result
            for where, results in self._findings.results.items()
            for result in results
            if (result.experiment == experiment if experiment else where == page)
        ]
        chosen = pool[0 if kind == "record" else -1] if pool else None
        if chosen is None or name not in chosen.values:
            raise BuildError(f"{page} quotes {name}, which no result it can see holds.")
        value = chosen.values[name]
        try:
            return _typeset(format(value, form))
        except ValueError:
            raise BuildError(
                f"{page} quotes {name} as '{form}', which {value!r} refuses."
            ) from None

    def _place(self, page: str, output: Mapping[str, Any]) -> str | None:
        """Markdown in place of a marked output; None for an output that stays."""
        data = output.get("data", {})
        if RESULT_MARK in data:
            return self._verdicts(page, found(data[RESULT_MARK]))
        if FIGURE_MARK in data:
            return self._figure(page, data[FIGURE_MARK]["figure"], found(data[FIGURE_MARK]))
        return None

    def _first(self, label: str) -> bool:
        """Whether `label` is met for the first time; a label may stand once in a book."""
        fresh = label not in self._labelled
        self._labelled.add(label)
        return fresh

    def _verdicts(self, page: str, result: Result) -> str:
        boxes = []
        for verdict in self._findings.verdicts[result.fingerprint]:
            label = f"verdict-{_slug(verdict.claim)}"
            boxes.append((f"({label})=\n" if self._first(label) else "") + verdict_box(verdict))
        return "\n\n".join([*boxes, run_box(result)])

    def _figure(self, page: str, identifier: str, result: Result) -> str:
        stem = self._findings.stem(page, identifier, result)
        if not self._first(f"fig-{stem}"):
            return ""
        return figure_block(page, stem, result, self._captions[stem])

    def _papers(self, _: str, page: str) -> str:
        """The papers, and how far this edition has come with each."""
        known = [claim.paper for claim in claims().values()]
        lines = ["| paper | networks | in this edition |", "|---|---|---|"]
        for paper in papers().values():
            if not paper.ours:
                start = f"/book/{paper.id}/{paper.chapters[0]}" if paper.chapters else ""
                told = f"{{doc}}`{known.count(paper.id)} claims <{start}>`" if start else "to come"
                lines.append(f"| {{cite:t}}`{paper.id}` | {paper.subject} | {told} |")
        return "\n".join(lines)

    def _sections(self, part: Callable[[str, str], str], page: str) -> str:
        """What `part` makes of every paper that has it, under the paper's name."""
        return "\n\n".join(
            f"## {paper.name}\n\n{paper.subject[0].upper()}{paper.subject[1:]}: "
            f"{{doc}}`/book/{paper.id}/{paper.chapters[0]}`.\n\n{shown}"
            for paper in papers().values()
            if paper.chapters and (shown := part(paper.id, page))
        )

    def _counts(self, ledger: str, _: str) -> str:
        return counts(self._findings.rows(), OUTCOMES, ledger)

    def _picture(self, stem: str, page: str) -> str:
        return picture(self._findings, self._captions, stem, page)

    def _ledger(self, paper: str, page: str) -> str:
        if not paper:
            return self._sections(self._ledger, page)
        rows = [row for row in self._findings.rows() if row["paper"] == paper]
        if not rows:
            return ""
        counts = Counter(row["outcome"] for row in rows)
        told = ", ".join(
            f"{counts[outcome]} [{words}]{{.verdict-{outcome}}}"
            for outcome, words in OUTCOMES.items()
            if counts[outcome]
        )
        table = [
            "| claim | outcome | statement, predicted | measured, tolerance |",
            "|---|---|---|---|",
            *(_ledger_line(row) for row in rows),
        ]
        return "\n".join(
            [
                f"{len(rows)} claims: {told}.",
                "",
                "````{table}",
                f":class: ledger paper-{paper}",
                "",
                *table,
                "````",
            ]
        )

    def _gallery(self, paper: str, page: str) -> str:
        if not paper:
            return self._sections(self._gallery, page)
        blocks = []
        for where, shown in self._findings.figures.items():
            for identifier, result in shown:
                if identifier.split("-")[0] == paper:
                    stem = self._findings.stem(where, identifier, result)
                    blocks.append(_gallery_block(page, where, stem, result, self._captions[stem]))
        return "\n\n".join(dict.fromkeys(blocks))


def _count_of_papers(word: str) -> str:
    count = in_words(sum(not paper.ours for paper in papers().values()))
    return count.capitalize() if word == "Count" else count


def figure_block(page: str, stem: str, result: Result, words: Mapping[str, str]) -> str:
    """A numbered MyST figure with caption, alt text, provenance and links to its files."""
    told = f"Profile {result.profile}, {result.device}, commit {result.provenance['commit']}."
    return "\n".join(
        [
            f"````{{figure}} /extra/figures/{stem}.svg",
            f":name: fig-{_slug(stem)}",
            ":class: companion-figure",
            f":alt: {words['alt']}",
            "",
            f"{words['caption']} {told}",
            "",
            _links(page, stem, result),
            "````",
        ]
    )


def verdict_box(verdict: Verdict) -> str:
    """A verdict as an admonition whose class and title say the outcome."""
    claim = claims()[verdict.claim]
    return "\n".join(
        [
            f"````{{admonition}} {claim.number}, {claim.name}: {OUTCOMES[verdict.outcome]}",
            f":class: verdict-{verdict.outcome}",
            "",
            verdict.sentence,
            "",
            f"Predicted\n: {verdict.predicted}",
            "",
            f"Measured\n: {verdict.measured}",
            "",
            f"Tolerance\n: {verdict.tolerance}",
            "````",
        ]
    )


def run_box(result: Result) -> str:
    """What stands behind a page's numbers, and the command that computes them again."""
    told, name = result.provenance, Path(result.experiment)
    products = f", products by {told['product']}" if "product" in told else ""
    return "\n".join(
        [
            f"````{{admonition}} Behind these numbers: profile {result.profile}, {result.device}",
            ":class: dropdown run-box",
            "",
            f"Computed in {told['seconds']} s ({told['machine']}, {told['threads']} threads, "
            f"torch {told['torch']}{products}) at commit `{told['commit']}`, "
            f"{str(told['created'])[:10]}; fingerprint `{result.fingerprint}`.",
            f"Data: {result.data}; {told['data']}.",
            "",
            f"Module `companion/experiments/{name}.py`, "
            f"test `tests/experiments/{name.parent}/test_{name.name}.py`.",
            "To run it again, with other settings if you like:",
            "",
            "```bash",
            f"companion run {name} --profile {_profile(result)}",
            "```",
            "````",
        ]
    )


def _profile(result: Result) -> str:
    return "quick" if result.profile == "custom" else result.profile


def _links(page: str, stem: str, result: Result) -> str:
    up = "../" * page.count("/")
    files = " · ".join(
        f'<a href="{up}figures/{stem}.{kind}" download>{kind.upper()}</a>' for kind in FILES
    )
    return (
        f'```{{raw}} html\n<p class="figure-links">{files}<br>drawn by '
        f"<code>companion/figures/{result.experiment}.py</code>, computed by "
        f"<code>companion run {result.experiment} --profile {_profile(result)}</code></p>\n```"
    )


def _gallery_block(
    page: str, where: str, stem: str, result: Result, words: Mapping[str, str]
) -> str:
    return "\n".join(
        [
            f"### {stem}",
            "",
            f"```{{image}} /extra/figures/{stem}.svg\n:class: companion-figure",
            f":alt: {words['alt']}\n```",
            "",
            words["caption"],
            f"It belongs to {{doc}}`/{where}`.",
            "",
            _links(page, stem, result),
        ]
    )


def _ledger_line(row: Mapping[str, str]) -> str:
    claim, page = claims()[row["id"]], row["page"].removesuffix(".html")
    evidence = [f"{{ref}}`verdict <verdict-{_slug(row['id'])}>`"]
    if row["figure"]:
        evidence.append(f"{{ref}}`figure <fig-{_slug(row['figure'])}>`")
    command = f"companion run {row['experiment']}"
    if row["profile"] == "paper":
        command += " --profile paper"
    cells = [
        f"**{claim.number}**<br>{claim.name}<br>{', '.join(evidence)} on {{doc}}`/{page}`<br>"
        f"`{command}`",
        f"[{OUTCOMES[row['outcome']]}]{{.verdict-{row['outcome']}}}",
        f"{claim.statement}<br>*Predicted:* {row['predicted']}",
        f"{row['measured']}<br>*Tolerance:* {row['tolerance']}",
    ]
    return "| " + " | ".join(cell.replace("|", r"\vert ") for cell in cells) + " |"


def _typeset(number: str) -> str:
    """Scientific notation as TeX; anything else as it is."""
    match = re.fullmatch(r"(-?[\d.]+)e([+-])0*(\d+)", number)
    if not match:
        return number
    sign = "-" if match[2] == "-" else ""
    return rf"${match[1]}\times10^{{{sign}{match[3]}}}$"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())
