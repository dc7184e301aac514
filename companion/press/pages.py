"""Pages: everything that was computed, written into MyST before Sphinx sees it."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion.errors import BuildError
from companion.lab.catalog import claims
from companion.lab.graph import resting_on
from companion.lab.papers import in_words, papers
from companion.lab.results import Result, Verdict
from companion.lab.words import Side, number
from companion.press.cards import (
    OUTCOMES,
    again_card,
    check_line,
    control_line,
    figure_block,
    figure_links,
    fresh_line,
    marked,
    resting_line,
    run_box,
    run_line,
    slug,
    verdict_card,
)
from companion.press.chapters import FIGURE_MARK, RESULT_MARK
from companion.press.differences import difference_cards, difference_counts, held_up, of_failing
from companion.press.landing import count_links, picture
from companion.press.ledger import Findings, found
from companion.press.recorded import records_table

_MARKS = {RESULT_MARK, FIGURE_MARK}
# {value}`lambda_0:.3f`, or {value}`du2019/figure1 lambda_0:.3f` from another page's experiment,
# or {value}`lambda_0:.3f down`, rounded to the side on which a floor stays true.
_NUMBER = re.compile(r"\{(value|record)\}`(?:(\w+/\w+) )?([\w.]+):([^`]*)`")
# {outcome}`du2019-thm4.1:outside-regime`, after a sentence that is true with this outcome only;
# {outcome}`zou2020-fig3:holds and inconclusive` where a record says less than the quick run.
_OUTCOME = re.compile(r"\{outcome\}`([^`:]*):?([^`]*)`")
# A ledger or a gallery of one paper, or without an argument of all; the table of the papers; the
# state of a ledger, which the argument is the address of; a figure of another page; the records;
# where papers differ from what was found, or how often; what held up.
_BLOCK = re.compile(
    r"```\{(ledger|gallery|papers|counts|picture|records|differences|held)\} ?([\w./-]*)\n```"
)
# After a format: the side on which "at least" and "at most" stay true.
_ROUNDED: dict[str, Side] = {"": "", "down": "down", "up": "up"}
# How many papers there are, in words: {papers}`count`, at the start of a sentence {papers}`Count`.
_PAPERS = re.compile(r"\{papers\}`(count|Count)`")


class PageWriter:
    """Turns chapters and pages into finished MyST: figures, verdicts, numbers, ledger.

    Args:
        findings: what the chapters found.
        captions: figure file stem -> its caption and alt text.
        with_differences: whether a page of the book tells where papers differ from what was found,
            to which failing verdicts then lead.
    """

    def __init__(
        self,
        findings: Findings,
        captions: Mapping[str, Mapping[str, str]],
        with_differences: bool = False,
    ) -> None:
        self._findings, self._captions = findings, captions
        self._with_differences = with_differences
        self._labelled: set[str] = set()

    def notebook(self, page: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
        """A grafted chapter in the order of a reader: what is run, its figure, verdicts, the code.

        Code cells that follow each other are one block, whatever order they have.
        """
        blocks = itertools.groupby(notebook.cells, key=lambda cell: str(cell.cell_type))
        cells = []
        for kind, block in blocks:
            cells += self._block(page, list(block)) if kind == "code" else self._prose(page, block)
        notebook.cells = cells
        return notebook

    def _prose(self, page: str, cells: Iterable[NotebookNode]) -> list[NotebookNode]:
        found = list(cells)
        for cell in found:
            cell.source = self.text(page, cell.source)
        return found

    def _block(self, page: str, cells: Sequence[NotebookNode]) -> list[NotebookNode]:
        """Code cells with their marked outputs in front of them, as Markdown."""
        results, figures = [], []
        for cell in cells:
            for output in cell.outputs:
                data = output.get("data", {})
                if RESULT_MARK in data:
                    results.append(found(data[RESULT_MARK]))
                elif FIGURE_MARK in data:
                    figures.append((data[FIGURE_MARK]["figure"], found(data[FIGURE_MARK])))
            cell.outputs = [o for o in cell.outputs if not _MARKS & o.get("data", {}).keys()]
        if not results and not figures:
            return list(cells)
        shown = [
            *(run_line(result) for result in results),
            *(self._figure(page, *figure) for figure in figures),
            *(self._verdicts(page, result) for result in results),
        ]
        standings = self._findings.standings
        behind = [run_box(result, standings.get(result.fingerprint)) for result in results]
        markdown = [[nbformat.v4.new_markdown_cell(p) for p in ps if p] for ps in (shown, behind)]
        return [*markdown[0], *_code(cells), *markdown[1]]

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
            "records": self._records,
            "differences": self._differences,
            "held": lambda *_: held_up(self._findings.rows()),
        }
        return _BLOCK.sub(lambda match: blocks[match[1]](match[2], page), text)

    def _checked(self, page: str, sentence: str) -> str:
        """A line of prose without its {outcome} marks, each of which is true."""
        for mark in _OUTCOME.finditer(sentence):
            claim, asserted = mark.groups()
            wanted = asserted.split(" and ")
            if claim not in claims() or not set(wanted) <= OUTCOMES.keys():
                raise BuildError(f"{page} has {mark[0]}, which names no claim and outcome.")
            outcomes = sorted(self._findings.outcomes(claim))
            if outcomes != wanted:
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
        form, _, side = form.partition(" ")
        try:
            return number(value, form, _ROUNDED[side])
        except (ValueError, KeyError):
            raise BuildError(
                f"{page} quotes {name} as '{form}', which {value!r} refuses."
            ) from None

    def _first(self, label: str) -> bool:
        """Whether `label` is met for the first time; a label may stand once in a book."""
        fresh = label not in self._labelled
        self._labelled.add(label)
        return fresh

    def _verdicts(self, page: str, result: Result) -> str:
        """A card for every verdict, in a card of their own where they say nothing new."""
        cards = []
        verdicts = self._findings.verdicts[result.fingerprint]
        labels = [f"verdict-{slug(verdict.claim)}" for verdict in verdicts]
        new = [self._first(label) for label in labels]
        for verdict, label, first in zip(verdicts, labels, new, strict=True):
            card = verdict_card(verdict, self._consequences(page, verdict))
            cards.append((f"({label})=\n" if first else "") + card)
        same = all(len(self._findings.outcomes(verdict.claim)) == 1 for verdict in verdicts)
        return again_card(cards, result) if same and not any(new) else "\n\n".join(cards)

    def _consequences(self, page: str, verdict: Verdict) -> str:
        """What the failure of a paper's claim means for others, and whether it can be mended."""
        if verdict.outcome != "fails" or papers()[claims()[verdict.claim].paper].ours:
            return ""
        judged = {each.claim for told in self._findings.verdicts.values() for each in told}
        resting = f"**What rests on it.** {resting_line(verdict.claim, judged)}"
        difference = of_failing(verdict.claim) if self._with_differences else None
        if difference is None:
            return resting
        repair = self.text(page, difference.repair or "None is known.").strip()
        link = f"{{ref}}`What we found <difference-{difference.id}>`"
        return f"{resting}\n\n**Repair.** {repair} {link} tells more."

    def _differences(self, part: str, page: str) -> str:
        if part == "counts":
            return difference_counts()
        return self.text(page, difference_cards(self._findings.rows()))

    def _figure(self, page: str, identifier: str, result: Result) -> str:
        stem = self._findings.stem(page, identifier, result)
        if not self._first(f"fig-{stem}"):
            return ""
        stands = self._findings.standings.get(result.fingerprint)
        return figure_block(page, stem, result, self._captions[stem], stands)

    def _papers(self, _: str, page: str) -> str:
        """The papers, and how far this edition has come with each."""
        known = [claim.paper for claim in claims().values()]
        lines = ["| paper | networks | in this edition |", "|---|---|---|"]
        for paper in papers().values():
            if not paper.ours:
                told = f"{{doc}}`{known.count(paper.id)} claims </{paper.start}>`"
                told = told if paper.start else "to come"
                lines.append(f"| {{cite:t}}`{paper.id}` | {paper.subject} | {told} |")
        return "\n".join(lines)

    def _sections(self, part: Callable[[str, str], str], page: str) -> str:
        """What `part` makes of every paper that has it, under the paper's name."""
        return "\n\n".join(
            f"## {paper.name}\n\n{paper.subject[0].upper()}{paper.subject[1:]}: "
            f"{{doc}}`/{paper.start}`.\n\n{shown}"
            for paper in papers().values()
            if paper.start and (shown := part(paper.id, page))
        )

    def _counts(self, ledger: str, _: str) -> str:
        return count_links(self._findings.rows(), ledger)

    def _picture(self, stem: str, page: str) -> str:
        return picture(self._findings, self._captions, stem, page)

    def _records(self, _: str, __: str) -> str:
        return records_table(self._findings)

    def _ledger(self, paper: str, page: str) -> str:
        if not paper:
            return self._sections(self._ledger, page)
        rows = [row for row in self._findings.rows() if row["paper"] == paper]
        if not rows:
            return ""
        counts = Counter(row["outcome"] for row in rows)
        told = ", ".join(
            f"{counts[outcome]} {marked(claims()[rows[0]['id']], outcome)}"
            for outcome in OUTCOMES
            if counts[outcome]
        )
        table = [
            "| claim | outcome, fresh seeds | statement, predicted "
            "| measured, asked for, slack, control |",
            "|---|---|---|---|",
            *(_ledger_line(row, self._findings.verdict(row), self._in_short(row)) for row in rows),
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

    def _in_short(self, row: Mapping[str, Any]) -> str:
        """For the ledger: how much rests on a claim of a paper that fails, and its repair."""
        if row["outcome"] != "fails" or papers()[row["paper"]].ours:
            return ""
        told = f"<br>*Resting on it:* {len(resting_on(claims(), row['id']))} claims"
        difference = of_failing(row["id"]) if self._with_differences else None
        if difference:
            repair = "how it is mended" if difference.repair else "no repair is known"
            told += f"; {{ref}}`{repair} <difference-{difference.id}>`"
        return told

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


def _code(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """One hidden cell with the code of those that show nothing themselves, then the others."""
    quiet = [cell for cell in cells if not cell.outputs]
    code = nbformat.v4.new_code_cell(
        "\n\n".join(cell.source for cell in quiet), metadata={"tags": ["hide-input"]}
    )
    return [*([code] if quiet else []), *(cell for cell in cells if cell.outputs)]


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
            figure_links(page, stem, result),
        ]
    )


def _ledger_line(row: Mapping[str, Any], verdict: Verdict, consequences: str) -> str:
    claim, page = claims()[row["id"]], row["page"].removesuffix(".html")
    evidence = [f"{{ref}}`verdict <verdict-{slug(row['id'])}>`"]
    if row["figure"]:
        evidence.append(f"{{ref}}`figure <fig-{slug(row['figure'])}>`")
    command = f"companion run {row['experiment']}"
    if row["profile"] == "paper":
        command += " --profile paper"
    cells = [
        f"**{claim.number}**<br>{claim.name}<br>{', '.join(evidence)} on {{doc}}`/{page}`<br>"
        f"`{command}`",
        f"{marked(claim, verdict.outcome)}<br>*Fresh seeds:* {fresh_line(row)}",
        f"{claim.statement}<br>*Predicted:* {verdict.predicted}",
        "<br>".join(check_line(check) for check in verdict.checks)
        + f"<br>*Control:* {control_line(verdict)}{consequences}",
    ]
    return "| " + " | ".join(cell.replace("|", r"\vert ") for cell in cells) + " |"
