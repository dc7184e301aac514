"""What the project contains, found by listing folders: experiments, claims, chapters, figures.

Nothing here imports an experiment, so listing and citing start at once.
"""

import ast
import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from companion.base.inputs import book_file
from companion.base.paths import BOOK, PACKAGE
from companion.errors import ContractError, InputError, one_of

EXPERIMENTS = PACKAGE / "experiments"
FIGURES = PACKAGE / "figures"


@dataclass(frozen=True)
class Claim:
    """One row of the coverage table: a statement of a paper, in our words.

    Attributes:
        rests_on: ids of the claims that its proof uses directly, or, of a row of our own, which it
            extends.
    """

    id: str
    paper: str
    number: str
    kind: str
    name: str
    statement: str
    rests_on: tuple[str, ...] = ()


@cache
def claims() -> dict[str, Claim]:
    """Every claim of `book/claims.csv`, by id, in the order of the papers."""
    with (BOOK / "claims.csv").open(encoding="utf-8", newline="") as table:
        return {row["id"]: _claim(row) for row in csv.DictReader(table)}


def _claim(row: Mapping[str, str]) -> Claim:
    """A row; `companion check` says which one has too few columns or too many."""
    told = {name: text for name, text in row.items() if name and name != "rests_on"}
    return Claim(**told, rests_on=tuple((row.get("rests_on") or "").split()))


def published(name: str) -> dict[str, np.ndarray]:
    """Columns of a file of `book/published`: values read off a paper's figure.

    Raises:
        InputError: the file is not an input of the work under way.
    """
    with book_file(f"published/{name}.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def experiments() -> list[str]:
    """Names such as `du2019/figure1`, one per module in a paper's folder."""
    return sorted(
        f"{path.parent.name}/{path.stem}"
        for path in EXPERIMENTS.glob("*/*.py")
        if not path.stem.startswith("_")
    )


def check_experiment(name: str) -> str:
    """Return `name` if such an experiment exists.

    Raises:
        InputError: it does not; the sentence names the nearest that does.
    """
    return one_of("experiment", name, experiments())


def constant(experiment: str, name: str, default: object = None) -> object:
    """A literal constant of an experiment module, read without importing it."""
    return _constant(EXPERIMENTS / f"{experiment}.py", name, default)


def shown_in(claim: str) -> str:
    """The figure that shows a claim: `SHOWS` of a figure module says so; or nothing."""
    for path in sorted(FIGURES.glob("*/*.py")):
        shows = _constant(path, "SHOWS", {})
        if isinstance(shows, dict) and claim in shows:
            return str(shows[claim])
    return ""


def _constant(path: Path, name: str, default: object) -> object:
    for node in _tree(path).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return ast.literal_eval(value)
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if (
                target == name
            ):
                return ast.literal_eval(value)
    return default


def expected(experiment: str, profile: str = "quick") -> dict[str, str]:
    """Claim id -> outcome the experiment is expected to reach at that profile."""
    outcomes = constant(experiment, "EXPECTED")
    if not isinstance(outcomes, dict):
        raise ContractError(
            f"companion/experiments/{experiment}.py declares no EXPECTED; write EXPECTED = "
            "{claim: outcome}."
        )
    at_paper = constant(experiment, "PAPER_EXPECTED", {}) if profile == "paper" else {}
    return {**outcomes, **at_paper}  # type: ignore[dict-item]


def headline(experiment: str) -> str:
    """First line of the experiment's docstring: the claim and what would refute it."""
    text = ast.get_docstring(_tree(EXPERIMENTS / f"{experiment}.py")) or ""
    return " ".join(text.split("\n\n")[0].split())


def figures(experiment: str | None = None) -> dict[str, str]:
    """Figure id -> experiment, one per public function of a module in `companion/figures`.

    Raises:
        InputError: two modules of a paper draw figures of one id.
    """
    found: dict[str, str] = {}
    for path in sorted(FIGURES.glob("*/*.py")):
        name = f"{path.parent.name}/{path.stem}"
        if path.stem.startswith("_") or (experiment and name != experiment):
            continue
        for node in _tree(path).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                identifier = f"{path.parent.name}-{node.name.replace('_', '-')}"
                if identifier in found:
                    raise InputError(
                        f"companion/figures/{found[identifier]}.py and {name}.py both draw "
                        f"{identifier}; rename the function {node.name} of one of them."
                    )
                found[identifier] = name
    return found


def check_figure(identifier: str) -> str:
    """Return `identifier` if such a figure exists, else raise `InputError` naming the nearest."""
    return one_of("figure", identifier, figures())


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
