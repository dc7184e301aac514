"""The claims as a graph: which statement rests on which, as the papers' proofs use them.

`book/claims.csv` declares for every claim the ones that its proof uses directly; what else there is
to know follows from that.
"""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from companion.lab.catalog import Claim


def supports(claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """Claim id -> the claims that rest on it directly, in the order of the table."""
    found: dict[str, list[str]] = {claim: [] for claim in claims}
    for claim in claims.values():
        for needed in claim.rests_on:
            found[needed].append(claim.id)
    return found


def resting_on(claims: Mapping[str, Claim], claim: str) -> list[str]:
    """Every claim that rests on one, directly or by way of others, in the order of the table."""
    direct, found, ahead = supports(claims), set[str](), [claim]
    while ahead:
        fresh = [each for each in direct[ahead.pop()] if each not in found]
        found.update(fresh)
        ahead += fresh
    return [each for each in claims if each in found]


def graph_problems(claims: Mapping[str, Claim]) -> Iterator[str]:
    """What keeps `rests_on` from being a graph of statements, one sentence for each problem."""
    for claim in claims.values():
        for needed in dict.fromkeys(claim.rests_on):
            if needed == claim.id:
                yield f"book/claims.csv: {claim.id} rests on itself; take it out of 'rests_on'."
            elif needed not in claims:
                yield (
                    f"book/claims.csv: {claim.id} rests on '{needed}', which is no row of the "
                    "table; mend the id or add its row."
                )
            elif claim.rests_on.count(needed) > 1:
                yield f"book/claims.csv: {claim.id} names {needed} more than once; name it once."
    edges = {
        claim.id: [each for each in claim.rests_on if each in claims and each != claim.id]
        for claim in claims.values()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle = " rests on ".join(reversed(error.args[1]))
        yield f"book/claims.csv: {circle}; a proof cannot use what it proves, so take one out."
