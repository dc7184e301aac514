"""The ledger: what the executed chapters found, claim by claim."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from companion.errors import BuildError
from companion.lab.catalog import claims, expected
from companion.lab.results import Result, Verdict
from companion.press.chapters import FIGURE_MARK, RESULT_MARK, Executed, result_of


@dataclass
class Findings:
    """What the executed chapters found, gathered for pages, figures and ledger.

    Attributes:
        results: page -> results it shows, in order (a record first, then this build's run).
        verdicts: fingerprint -> verdicts.
        figures: page -> (figure id, result), in order.
    """

    results: dict[str, list[Result]] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    figures: dict[str, list[tuple[str, Result]]] = field(default_factory=dict)

    def add(self, executed: Executed) -> None:
        """Take in one executed chapter."""
        page = executed.chapter.name
        self.results[page], self.figures[page] = [], []
        for mark in executed.marks(RESULT_MARK):
            result = found(mark)
            self.results[page].append(result)
            self.verdicts[result.fingerprint] = list(result.verdicts)
        for mark in executed.marks(FIGURE_MARK):
            self.figures[page].append((mark["figure"], found(mark)))

    def stem(self, page: str, identifier: str, result: Result) -> str:
        """File name of a figure: its id, or id-profile where a record holds the id itself."""
        first = next(r for other, r in self.figures[page] if other == identifier)
        alone = result.fingerprint == first.fingerprint
        return identifier if alone else f"{identifier}-{result.profile}"

    def rows(self) -> list[dict[str, str]]:
        """One row per claim, in the order of the papers; from the record where there is one."""
        rows: dict[str, dict[str, str]] = {}
        for page, results in self.results.items():
            for result in results:
                for verdict in self.verdicts[result.fingerprint]:
                    rows.setdefault(verdict.claim, self._row(verdict, result, page))
        known = list(claims())
        return sorted(rows.values(), key=lambda row: known.index(row["id"]))

    def check(self) -> None:
        """Raise `BuildError` on a verdict other than its experiment expects of its profiles."""
        surprises = [told for told, custom in self._surprises() if not custom]
        if surprises:
            raise BuildError("unexpected verdicts: " + "; ".join(surprises))

    def outcomes(self, claim: str) -> set[str]:
        """What the verdicts on a claim say, one where a record and this build's run agree."""
        return {v.outcome for told in self.verdicts.values() for v in told if v.claim == claim}

    def remarks(self) -> list[str]:
        """What came out otherwise than the profiles are expected to give, with other settings."""
        return [
            f"with settings of your own, {told}" for told, custom in self._surprises() if custom
        ]

    def _surprises(self) -> Iterable[tuple[str, bool]]:
        for result in self._all_results():
            outcomes = expected(result.experiment)
            for verdict in self.verdicts[result.fingerprint]:
                if verdict.outcome != outcomes.get(verdict.claim):
                    told = (
                        f"{verdict.claim} is '{verdict.outcome}' where {result.experiment} expects "
                        f"'{outcomes.get(verdict.claim)}': {verdict.measured}"
                    )
                    yield told, _is_custom(result)

    def _all_results(self) -> Iterable[Result]:
        return (result for results in self.results.values() for result in results)

    def _row(self, verdict: Verdict, result: Result, page: str) -> dict[str, str]:
        claim = claims()[verdict.claim]
        own = verdict.claim.replace(".", "-").lower()
        drawn = [i for i, r in self.figures[page] if r.fingerprint == result.fingerprint]
        return {
            "id": claim.id,
            "paper": claim.paper,
            "number": claim.number,
            "kind": claim.kind,
            "name": claim.name,
            "outcome": verdict.outcome,
            "predicted": verdict.predicted,
            "measured": verdict.measured,
            "tolerance": verdict.tolerance,
            "sentence": verdict.sentence,
            "experiment": result.experiment,
            "figure": own if own in drawn else next(iter(drawn), ""),
            "page": f"{page}.html",
            "profile": result.profile,
            "fingerprint": result.fingerprint,
        }


def found(mark: Mapping[str, Any]) -> Result:
    """The result behind a mark, with its profile, and the values and verdicts taken from it.

    Raises:
        BuildError: it is gone from store and records.
    """
    result = result_of(mark)
    if result is None:
        raise BuildError(
            f"the result {mark['fingerprint']} of {mark['experiment']} is gone; run again."
        )
    verdicts, summary = tuple(map(Verdict.of, mark["verdicts"])), mark["summary"]
    return dataclasses.replace(result, summary=summary, values=mark["values"], verdicts=verdicts)


def _is_custom(result: Result) -> bool:
    """With settings of one's own, anything may come out."""
    return result.profile == "custom"
