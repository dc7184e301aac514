"""Where a paper differs from what data and code say, and beside it what held up.

`book/differences.yml` tells every difference once, with the claims that are its evidence and the
outcome that each must have. A claim of a paper that fails without standing there is refused, by
`companion check` and by the build, so that page and ledger cannot part.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from companion.base.paths import BOOK
from companion.errors import BuildError, ContractError
from companion.lab.catalog import Claim, claims
from companion.lab.papers import papers
from companion.press.cards import OUTCOMES, marked, slug

Kind = Literal["statement", "value", "figure", "proof", "display", "convention", "version"]
Severity = Literal["conclusion", "constant", "display"]
Certainty = Literal["computed", "derived", "inferred"]
# In the order of the page.
SEVERITIES: dict[Severity, str] = {
    "conclusion": "Changes a conclusion",
    "constant": "Changes a constant or a power",
    "display": "Changes a display only",
}
CERTAINTIES: dict[Certainty, str] = {
    "computed": "shown by computation",
    "derived": "shown by derivation",
    "inferred": "inferred",
}


class Difference(BaseModel):
    """One place where what is printed is not what was found.

    Texts are MyST, with numbers through the roles `value` and `record`.

    Attributes:
        id: the paper, a hyphen, and a name.
        where: the place in the paper.
        title: what is the matter, in a few words.
        page: of the book, the one that computes it.
        kind: of what is printed.
        severity: what it changes.
        certainty: how it is known.
        printed: what the paper says.
        found: what data and code say.
        repair: what makes it right, if anything is known to.
        repaired_by: the claim that shows the repair.
        fair: what has to be said for the paper.
        evidence: claim -> the outcome that it must have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9]+-[a-z0-9-]+$")
    where: str
    title: str
    page: str
    kind: Kind
    severity: Severity
    certainty: Certainty
    printed: str
    found: str
    repair: str = ""
    repaired_by: str = ""
    fair: str = ""
    evidence: dict[str, str] = Field(min_length=1)

    @property
    def paper(self) -> str:
        """Its paper's id."""
        return self.id.split("-")[0]

    @property
    def failing(self) -> list[str]:
        """The claims that fail by it."""
        return [claim for claim, outcome in self.evidence.items() if outcome == "fails"]


@cache
def differences(path: Path = BOOK / "differences.yml") -> tuple[Difference, ...]:
    """Every difference, in the order of the papers.

    Raises:
        ContractError: the file is no list of differences; the sentence names the entry.
    """
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(tuple[Difference, ...]).validate_python(told)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ContractError(f"{path} is not readable as YAML{where}.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place, *names = problem["loc"] or ("list",)
        entry = told[place].get("id", place) if isinstance(place, int) and _is_entry(told) else ""
        field = ".".join(map(str, names))
        raise ContractError(
            f"{path}: the entry '{entry}' is no difference: "
            f"{field + ': ' if field else ''}{problem['msg']}."
        ) from None


def _is_entry(told: object) -> bool:
    return isinstance(told, list) and all(isinstance(entry, dict) for entry in told)


def of_failing(claim: str) -> Difference | None:
    """The difference by which a claim fails."""
    return next((each for each in differences() if claim in each.failing), None)


def difference_problems(
    told: Iterable[Difference], expected: Mapping[str, str], pages: Iterable[str]
) -> Iterator[str]:
    """What does not fit together in a table of differences, one sentence for each problem.

    Args:
        told: the table.
        expected: claim -> outcome that its experiment is expected to reach.
        pages: of the book.
    """
    known, listed, seen = claims(), set(pages), set[str]()
    for each in told:
        where = f"book/differences.yml, {each.id}"
        if each.id in seen:
            yield f"{where}: the id is there already."
        seen.add(each.id)
        if each.paper not in papers():
            yield f"{where}: '{each.paper}' is no paper of book/papers.yml; mend the id."
        if f"book/{each.page}" not in listed:
            yield f"{where}: book/{each.page} is no page of the book; mend 'page'."
        if each.repaired_by and not each.repair:
            yield f"{where}: {each.repaired_by} shows a repair that is not told; write 'repair'."
        for claim in [*each.evidence, *filter(None, [each.repaired_by])]:
            if claim not in known:
                yield f"{where}: '{claim}' is no claim of book/claims.csv; mend the id."
        for claim, outcome in each.evidence.items():
            if claim in expected and expected[claim] not in outcome.split(" and "):
                yield (
                    f"{where}: {claim} is said to be '{outcome}' where its experiment expects "
                    f"'{expected[claim]}'."
                )
        if expected.get(each.repaired_by) in ("fails", "inconclusive"):
            yield f"{where}: {each.repaired_by}, which is to show the repair, does not hold."
    for claim in _untold(expected, told):
        yield (
            f"book/differences.yml has no entry with '{claim}: fails' in its evidence; say there "
            "what was found."
        )


def _untold(outcomes: Mapping[str, str], told: Iterable[Difference]) -> list[str]:
    """The claims of papers that fail and stand in no difference."""
    known, standing = claims(), {claim for each in told for claim in each.failing}
    return [
        claim
        for claim, outcome in outcomes.items()
        if outcome == "fails"
        and claim in known
        and not papers()[known[claim].paper].ours
        and claim not in standing
    ]


def difference_cards(rows: Iterable[Mapping[str, Any]]) -> str:
    """All differences, the most severe first; with marks of outcomes and numbers still to fill in.

    Args:
        rows: of the ledger.

    Raises:
        BuildError: a claim of a paper fails that stands in no difference.
    """
    untold = _untold({row["id"]: row["outcome"] for row in rows}, differences())
    if untold:
        raise BuildError(
            "claims of papers fail and stand in no entry of book/differences.yml: "
            + ", ".join(untold)
        )
    blocks = []
    for severity, heading in SEVERITIES.items():
        found = [each for each in differences() if each.severity == severity]
        if found:
            blocks += [f"({severity}-differences)=\n### {heading}", *map(_card, found)]
    return "\n\n".join(blocks)


def _card(told: Difference) -> str:
    """A line that says what is the matter, which opens to the rest; the severe ones are open."""
    kind = f"{told.kind.replace('value', 'published value')}, {CERTAINTIES[told.certainty]}"
    repair = told.repair
    if told.repaired_by:
        shown = claims()[told.repaired_by].number
        repair += f" See the verdict on {{ref}}`{shown} <verdict-{slug(told.repaired_by)}>`."
    parts = {
        "Printed": told.printed, "Found": told.found, "Repair": repair, "In fairness": told.fair,
    }  # fmt: skip
    paragraphs = [f"**{name}.** {text.strip()}" for name, text in parts.items() if text]
    return "\n".join(
        [
            f"(difference-{told.id})=",
            f"`````{{dropdown}} **{papers()[told.paper].name}, {told.where}.** {told.title} "
            f"[{kind}]{{.difference-kind}}",
            f":class-container: difference severity-{told.severity} paper-{told.paper}",
            *([":open:"] if told.severity == "conclusion" else []),
            "",
            "\n\n".join(paragraphs),
            "",
            f"{{doc}}`/book/{told.page}`: {_evidence(told)}",
            "`````",
        ]
    )


def _evidence(told: Difference) -> str:
    """Links to the verdicts, each of which must be what is told here."""
    links = []
    for claim, outcome in told.evidence.items():
        row = claims()[claim]
        signs = " and ".join(marked(row, each) for each in OUTCOMES if each in outcome.split())
        link = f"{{ref}}`{row.number} <verdict-{slug(claim)}>` {signs}"
        links.append(f"{link}{{outcome}}`{claim}:{outcome}`")
    return ", ".join(links)


def difference_counts() -> str:
    """How many differences there are of each severity, each number a link to those."""
    told = Counter(each.severity for each in differences())
    links = [
        f'<li><a href="#{severity}-differences"><span class="count">{told[severity]}</span> '
        f"{heading.removeprefix('Changes ')}</a></li>"
        for severity, heading in SEVERITIES.items()
        if told[severity]
    ]
    return "\n".join(["```{raw} html", '<ul class="counts">', *links, "</ul>", "```"])


def held_up(rows: Iterable[Mapping[str, Any]]) -> str:
    """What held up: per paper how many of its statements, and its theorems one by one.

    What the companion asks beyond a paper is not counted as the paper's.

    Args:
        rows: of the ledger.
    """
    of_papers = [row for row in rows if row["kind"] != "extension"]
    blocks = []
    for paper in papers().values():
        own = [row for row in of_papers if row["paper"] == paper.id and not paper.ours]
        if own:
            blocks.append(_held(paper.name, paper.id, own))
    return "\n\n".join(blocks)


def _held(name: str, paper: str, rows: list[Mapping[str, Any]]) -> str:
    counts = Counter(row["outcome"] for row in rows)
    told = ", ".join(
        f"{counts[outcome]} {marked(claims()[rows[0]['id']], outcome)}"
        for outcome in OUTCOMES
        if counts[outcome]
    )
    theorems = [
        row
        for row in rows
        if row["kind"] in ("theorem", "corollary", "proposition")
        and row["outcome"] in ("holds", "outside-regime")
    ]
    theorems.sort(key=lambda row: [int(digits) for digits in re.findall(r"\d+", row["number"])])
    return "\n".join(
        [
            f"### {name}",
            "",
            f"Of {len(rows)} claims of the paper: {told}.",
            "",
            "````{table}",
            f":class: held paper-{paper}",
            "",
            "| theorem | outcome | page |",
            "|---|---|---|",
            *(_held_line(claims()[row["id"]], row) for row in theorems),
            "````",
        ]
    )


def _held_line(claim: Claim, row: Mapping[str, Any]) -> str:
    link = f"{{ref}}`{claim.number} <verdict-{slug(claim.id)}>`"
    page = row["page"].removesuffix(".html")
    return f"| {link}: {claim.name} | {marked(claim, row['outcome'])} | {{doc}}`/{page}` |"
