"""A row of the ledger as machines get it: `claims.json`, and the schema that stands beside it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from companion.lab.fresh import State as FreshState
from companion.lab.results import Answer, Kind, Outcome
from companion.lab.verified import State as RecordState


class CheckRow(BaseModel):
    """One question to a measurement, and its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    answer: Answer
    what: str
    """What was measured, in words."""
    measured: str
    """What was found, with its spread."""
    tolerance: str
    """What was asked for; empty where nothing is asked."""
    slack: str
    """How wrong the claim could be and still pass, or by how much it is missed."""
    anyway: bool
    """Whether the question does not rest on the hypothesis of the claim, as an identity."""
    kind: Kind
    """What kind of question it is; a note asks nothing."""


class RecordRow(BaseModel):
    """How a committed record stands to the code of today."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    state: RecordState
    """`current`: the code is that of the record; `verified`: it changed, and a part that was
    computed again agrees."""
    recorded_at: str
    """Commit."""
    recorded_on: str
    """Date."""
    verified_against: str
    """Commit, or empty."""
    verified_on: str


class Row(BaseModel):
    """One claim and its verdict. Fields are added, never renamed.

    Words, sentences and summaries are Markdown, with mathematics between dollar signs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str
    """Stable: the paper, a hyphen, the statement, e.g. `du2019-thm4.1`."""
    paper: str
    number: str
    """The statement's number in its paper."""
    kind: str
    """Theorem, lemma, definition, experiment and so on; `extension` for what is not the paper's."""
    name: str
    outcome: Outcome
    """`outside-regime`: the conclusion was seen at sizes that the hypothesis does not reach."""
    predicted: str
    measured: str
    tolerance: str
    sentence: str
    """The verdict in one sentence."""
    experiment: str
    """What `companion run` takes."""
    slack: str
    control: str
    """The lie that was told the judge about the same result."""
    control_outcome: Outcome | Literal[""]
    """What the judge made of that lie."""
    figure: str
    """Id of the figure that shows the claim, or empty."""
    page: str
    """Of the site, e.g. `book/du2019/4_discrete_time.html`."""
    profile: Literal["quick", "paper", "custom"]
    fingerprint: str
    """Of everything that decides the numbers."""
    checks: list[CheckRow]
    rests_on: list[str]
    """Ids of the claims that its proof uses directly; of an extension, of what it extends."""
    supports: list[str]
    """Ids of the claims that rest on it directly."""
    scope: str
    """The regime that was tested: data, labels, widths, seeds, length of the runs."""
    evidence: list[Kind]
    """Which kinds of questions the verdict was decided by, each once."""
    record: RecordRow | None
    """How the record that the verdict is of stands to the code of today; of a run of this build,
    nothing."""
    fresh: FreshState
    """Whether the experiment was repeated with families of fresh seeds, and since a change of the
    code."""
    fresh_stayed: int | None
    """In how many of these the verdict was the expected one."""
    fresh_families: int | None
    fresh_others: dict[str, tuple[int, ...]]
    """Other outcomes, and the first seeds of the families that gave them."""


def row_schema() -> dict[str, Any]:
    """The JSON Schema of `claims.json`, a list of rows."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The ledger: every claim and its verdict",
        **TypeAdapter(list[Row]).json_schema(),
    }
