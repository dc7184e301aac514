"""What an experiment has to keep to: checked when it is loaded, and again once it has judged."""

import inspect
import traceback
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import xarray as xr

from companion.errors import ContractError, InputError
from companion.lab.catalog import claims
from companion.lab.controls import Lie
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Settings

OUTCOMES = get_args(Outcome)
# What a module declares as a function, and the names of its arguments.
FUNCTIONS = {
    "summary": ["settings"],
    "run": ["settings", "device"],
    "values": ["settings", "found"],
    "judge": ["settings", "found"],
    "cost": ["settings"],
}


def check_declared(name: str, module: ModuleType) -> None:
    """Refuse an experiment that does not declare what one has to.

    Raises:
        ContractError: something is missing or of another kind.
    """
    where = f"companion/experiments/{name}.py"
    for profile in ("QUICK", "PAPER"):
        if not isinstance(getattr(module, profile, None), Settings):
            raise ContractError(f"{where} declares no {profile}; write {profile} = Settings(...).")
    for function, arguments in FUNCTIONS.items():
        declared = getattr(module, function, None)
        if not callable(declared) or list(inspect.signature(declared).parameters) != arguments:
            raise ContractError(
                f"{where} declares no function {function}({', '.join(arguments)}); an experiment "
                f"has {', '.join(FUNCTIONS)}."
            )
    check_expected(where, getattr(module, "EXPECTED", None))
    check_paper_expected(where, module.EXPECTED, getattr(module, "PAPER_EXPECTED", {}))
    check_controls(where, module.EXPECTED, getattr(module, "CONTROLS", None))


def check_expected(where: str, expected: object) -> None:
    """Refuse expectations that are no mapping of known claims to outcomes.

    Raises:
        ContractError: naming the claim or the outcome.
    """
    if not isinstance(expected, Mapping) or not expected:
        raise ContractError(f"{where} declares no EXPECTED; write EXPECTED = {{claim: outcome}}.")
    for claim, outcome in expected.items():
        if claim not in claims():
            raise ContractError(
                f"{where} expects a verdict on '{claim}', which is no row of book/claims.csv; "
                "add it or mend the id."
            )
        if outcome not in OUTCOMES:
            raise ContractError(
                f"{where} expects '{outcome}' of {claim}; an outcome is {_listed(OUTCOMES)}."
            )


def check_paper_expected(
    where: str, expected: Mapping[str, str], at_paper: Mapping[str, str]
) -> None:
    """Refuse expectations of the paper profile that are not other outcomes of the same claims.

    Raises:
        ContractError: naming the claim or the outcome.
    """
    if at_paper:
        check_expected(where, at_paper)
    for claim, outcome in at_paper.items():
        if expected.get(claim) in (None, outcome):
            raise ContractError(
                f"{where} has '{claim}' in PAPER_EXPECTED, which is for claims of EXPECTED with "
                "another outcome at the profile 'paper'; take it out."
            )


def check_controls(where: str, expected: Iterable[str], controls: object) -> None:
    """Refuse controls that are not one lie for every claim.

    Raises:
        ContractError: naming the claim.
    """
    known = controls if isinstance(controls, Mapping) else {}
    for claim in expected:
        if not isinstance(known.get(claim), Lie):
            raise ContractError(
                f"{where} has no control for {claim}; write CONTROLS = {{claim: Lie(words, "
                "doctored)}, a result for which its judge answers otherwise."
            )
    for claim in known:
        if claim not in expected:
            raise ContractError(f"{where} has a control for '{claim}', which is not in EXPECTED.")


def check_found(name: str, found: object, may_be_missing: Container[str]) -> None:
    """Refuse what `run` returned, if it is not arrays of numbers that say what they were made of.

    Args:
        name: of the experiment.
        found: by its `run`.
        may_be_missing: names of arrays in which NaN says that nothing was measured.

    Raises:
        ContractError: no dataset, no word on the data, or NaN that is not declared.
    """
    where = f"run of companion/experiments/{name}.py"
    if not isinstance(found, xr.Dataset):
        raise ContractError(f"{where} returned {type(found).__name__}; return an xarray.Dataset.")
    if not found.attrs.get("data"):
        raise ContractError(
            f"{where} does not say what it computed on; return found.assign_attrs(data=...)."
        )
    for array, values in found.data_vars.items():
        if (
            str(array) not in may_be_missing
            and values.dtype.kind == "f"
            and bool(np.isnan(values).any())
        ):
            raise ContractError(
                f"{where} found NaN in '{array}'; where that means 'not measured', add the name to "
                "MAY_BE_MISSING of the module."
            )


def check_verdicts(name: str, expected: Iterable[str], verdicts: object) -> None:
    """Refuse verdicts that are not one for each expected claim, in words that a table can hold.

    Raises:
        ContractError: naming the claim.
    """
    where = f"judge of companion/experiments/{name}.py"
    if not isinstance(verdicts, list) or not all(isinstance(v, Verdict) for v in verdicts):
        raise ContractError(f"{where} did not return a list of verdicts.")
    judged, wanted = [verdict.claim for verdict in verdicts], list(expected)
    for claim in judged:
        if claim not in wanted:
            raise ContractError(f"{where} judges '{claim}', which is not in EXPECTED; add it.")
        if judged.count(claim) > 1:
            raise ContractError(f"{where} judges '{claim}' {judged.count(claim)} times.")
    for claim in wanted:
        if claim not in judged:
            raise ContractError(f"{where} does not judge '{claim}', which is in EXPECTED.")
    for verdict in verdicts:
        _check_words(where, verdict)


def _check_words(where: str, verdict: Verdict) -> None:
    if verdict.outcome not in OUTCOMES:
        raise ContractError(
            f"{where} gives {verdict.claim} the outcome '{verdict.outcome}'; an outcome is "
            f"{_listed(OUTCOMES)}."
        )
    for part in ("predicted", "measured", "tolerance", "slack", "sentence"):
        text = getattr(verdict, part)
        if part != "slack" and not text.strip():
            raise ContractError(f"{where} says nothing as '{part}' of {verdict.claim}.")
        if "|" in text or "\n" in text:
            raise ContractError(
                f"{where} writes a '|' or a new line in '{part}' of {verdict.claim}, which breaks "
                r"the ledger's table; write \lvert or \vert."
            )


@contextmanager
def reported(name: str, function: str) -> Iterator[None]:
    """Tell in one sentence where a function of an experiment went wrong, and not as a traceback.

    Raises:
        ContractError: with the line of the module, if it raised.
    """
    try:
        yield
    except (InputError, ZeroDivisionError, OverflowError):
        raise
    except Exception as error:
        path = f"companion/experiments/{name}.py"
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).match(f"*/{path}")]
        at = f", line {lines[-1]}" if lines else ""
        told = " ".join(str(error).split()) or "without a word"
        raise ContractError(
            f"{function} of {path}{at} raised {type(error).__name__}: {told}."
        ) from error


def _listed(words: Iterable[Any]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
