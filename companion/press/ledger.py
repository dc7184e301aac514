"""The ledger: what the executed chapters found, claim by claim."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from companion.errors import BuildError
from companion.lab.catalog import claims, expected, shown_in
from companion.lab.controls import unseen
from companion.lab.fresh import OnFreshSeeds, on_fresh_seeds
from companion.lab.graph import supports
from companion.lab.results import Result, Verdict
from companion.lab.verified import Standing, standing_of
from companion.press.chapters import FIGURE_MARK, RESULT_MARK, Executed, result_of
from companion.press.rows import Row


@dataclass
class Findings:
    """What the executed chapters found, gathered for pages, figures and ledger.

    Attributes:
        results: page -> results it shows, in order (a record first, then this build's run).
        verdicts: fingerprint -> verdicts.
        figures: page -> (figure id, result), in order.
        standings: fingerprint -> how a result stands that is a committed record.
    """

    results: dict[str, list[Result]] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    figures: dict[str, list[tuple[str, Result]]] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    _fresh: dict[str, OnFreshSeeds] = field(default_factory=dict, init=False, repr=False)

    def add(self, executed: Executed) -> None:
        """Take in one executed chapter."""
        page = executed.chapter.name
        self.results[page], self.figures[page] = [], []
        for mark in executed.marks(RESULT_MARK):
            result = found(mark)
            self.results[page].append(result)
            self.verdicts[result.fingerprint] = list(result.verdicts)
            if stands := standing_of(result):
                self.standings[result.fingerprint] = stands
        for mark in executed.marks(FIGURE_MARK):
            self.figures[page].append((mark["figure"], found(mark)))

    def stem(self, page: str, identifier: str, result: Result) -> str:
        """File name of a figure: its id, or id-profile where a record holds the id itself."""
        first = next(r for other, r in self.figures[page] if other == identifier)
        alone = result.fingerprint == first.fingerprint
        return identifier if alone else f"{identifier}-{result.profile}"

    def rows(self) -> list[dict[str, Any]]:
        """One row per claim, in the order of the papers; from the record where there is one."""
        rows: dict[str, dict[str, Any]] = {}
        for page, results in self.results.items():
            for result in results:
                for verdict in self.verdicts[result.fingerprint]:
                    rows.setdefault(verdict.claim, self._row(verdict, result, page))
        known = list(claims())
        return sorted(rows.values(), key=lambda row: known.index(row["id"]))

    def verdict(self, row: Mapping[str, Any]) -> Verdict:
        """The verdict that a row tells."""
        return next(v for v in self.verdicts[row["fingerprint"]] if v.claim == row["id"])

    def check(self) -> None:
        """Refuse verdicts that no profile is expected to give, and those that nothing refutes.

        Raises:
            BuildError: a verdict is another than its experiment expects of its profiles, or that
                of a doctored result as well.
        """
        surprises = [told for told, custom in self._surprises() if not custom]
        if surprises:
            raise BuildError("unexpected verdicts: " + "; ".join(surprises))
        blind = [
            f"{v.claim} is '{v.outcome}' of {result.experiment} and stays so if told that "
            f"{v.control.lie}"
            for result in self._all_results()
            for v in unseen(self.verdicts[result.fingerprint])
            if v.control and not _is_custom(result)
        ]
        if blind:
            raise BuildError("judges that do not see their control: " + "; ".join(blind))

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
            outcomes = expected(result.experiment, result.profile)
            for verdict in self.verdicts[result.fingerprint]:
                if verdict.outcome != outcomes.get(verdict.claim):
                    told = (
                        f"{verdict.claim} is '{verdict.outcome}' where {result.experiment} expects "
                        f"'{outcomes.get(verdict.claim)}': {verdict.measured}"
                    )
                    yield told, _is_custom(result)

    def _all_results(self) -> Iterable[Result]:
        return (result for results in self.results.values() for result in results)

    def _row(self, verdict: Verdict, result: Result, page: str) -> dict[str, Any]:
        claim = claims()[verdict.claim]
        own = verdict.claim.replace(".", "-").lower()
        drawn = [i for i, r in self.figures[page] if r.fingerprint == result.fingerprint]
        shown = [i for i in (own, shown_in(verdict.claim)) if i in drawn]
        control = verdict.control
        stands = self.standings.get(result.fingerprint)
        row = Row.model_validate(
            {
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
                "slack": verdict.slack,
                "control": control.lie if control else "",
                "control_outcome": control.outcome if control else "",
                "figure": next(iter(shown), ""),
                "page": f"{page}.html",
                "profile": result.profile,
                "fingerprint": result.fingerprint,
                "checks": [dataclasses.asdict(check) for check in verdict.checks],
                "rests_on": list(claim.rests_on),
                "supports": supports(claims())[claim.id],
                "scope": result.summary,
                "evidence": verdict.evidence,
                "record": stands.told if stands else None,
                **self._on_fresh_seeds(result.experiment, claim.id),
            }
        )
        return row.model_dump()

    def _on_fresh_seeds(self, experiment: str, claim: str) -> dict[str, Any]:
        """What the committed counts say of a claim; looked up once for each experiment."""
        if experiment not in self._fresh:
            self._fresh[experiment] = on_fresh_seeds(experiment)
        known = self._fresh[experiment]
        count = known.claims.get(claim)
        counted = known.state in ("not-repeated", "nothing-drawn") or count is not None
        return {
            "fresh": known.state if counted else "not-repeated",
            "fresh_stayed": count.stayed if count else None,
            "fresh_families": count.families if count else None,
            "fresh_others": count.others if count else {},
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
    taken = {"values": mark["values"], "left_out": mark.get("left_out", "")}
    return dataclasses.replace(result, summary=summary, verdicts=verdicts, **taken)


def _is_custom(result: Result) -> bool:
    """With settings of one's own, anything may come out."""
    return result.profile == "custom"
