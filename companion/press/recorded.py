"""The table of the committed records: how much was computed how fast, and how each stands."""

from typing import Any

from companion.lab.results import Result
from companion.lab.verified import Standing, verified_records
from companion.press.ledger import Findings


def records_table(findings: Findings) -> str:
    """A row per record that the book shows, in the order of its pages."""
    rows = {
        result.experiment: _row(result, findings.standings[result.fingerprint])
        for results in findings.results.values()
        for result in results
        if result.fingerprint in findings.standings
    }
    head = [
        "| record | recorded | computed | verified |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows.values()])


def _row(result: Result, standing: Standing) -> str:
    told, against = result.provenance, standing.against
    flop, seconds = _flop(result), float(told["seconds"])
    speed = f"{flop / 1e9:,.0f} GFLOP in {seconds:,.0f} s" if flop else f"{seconds:,.0f} s"
    if flop and seconds:
        speed += f", {flop / seconds / 1e9:.3g} GFLOP/s"
    if "share" in told:
        speed += f", {float(told['share']):.0%} of the best product's"
    verified = f"{against.date}, `{against.commit}`: {against.recomputed}" if against else "not yet"
    cells = [
        f"`{result.experiment}`, {standing.state}",
        f"{standing.date}, `{standing.commit}`",
        f"{speed}; threads: {told['threads']}",
        verified,
    ]
    return "| " + " | ".join(cells) + " |"


def _flop(result: Result) -> float:
    """As the run noted it; of a record that did not, as it was estimated when it was verified."""
    noted: Any = verified_records().get(result.experiment)
    return float(result.provenance.get("flop") or (noted.flop if noted else 0.0))
