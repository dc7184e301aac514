"""Every experiment, at its quick settings, reaches the verdicts it expects."""

import re

import pytest

from companion.errors import MissingDataError
from companion.lab import catalog, results
from companion.lab.controls import unseen
from companion.lab.experiment import Cost, load
from companion.lab.reproduce import is_current, iter_records, judged, reproduce, unexpected
from tests import grouping


@pytest.mark.slow
@pytest.mark.parametrize("name", grouping.experiments())
def test_quick_run_reaches_the_expected_verdicts(name: str) -> None:
    try:
        result = reproduce(name)
    except MissingDataError as missing:
        pytest.skip(str(missing))
    assert {v.claim: v.outcome for v in result.verdicts} == catalog.expected(name)
    assert unexpected(result) == []
    assert_readable(result)


def assert_readable(result: results.Result) -> None:
    """Its judge sees every control, and its words are sentences with typeset numbers."""
    assert result.summary.endswith(".")
    assert all(verdict.control for verdict in result.verdicts)
    assert unseen(result.verdicts) == []
    for verdict in result.verdicts:
        assert verdict.sentence.endswith(".")
        lie = verdict.control.lie if verdict.control else ""
        told = [verdict.predicted, verdict.sentence, lie, verdict.measured, verdict.tolerance]
        for text in (result.summary, *told, verdict.slack):
            assert not re.search(r"\de[+-]\d|(?<![\\\w])lambda_|sqrt\(", text), text


@pytest.mark.parametrize("record", list(iter_records()), ids=lambda r: r.experiment)
def test_records_reach_the_expected_verdicts(record: results.Result) -> None:
    result = judged(record)
    assert {v.claim: v.outcome for v in result.verdicts} == catalog.expected(
        record.experiment, "paper"
    )
    assert_readable(result)


@pytest.mark.parametrize("record", list(iter_records()), ids=lambda r: r.experiment)
def test_records_are_of_today_s_code(record: results.Result) -> None:
    assert is_current(record)


@pytest.mark.parametrize("name", catalog.experiments())
def test_cost_is_told_before_and_grows_with_the_profile(name: str) -> None:
    experiment = load(name)
    quick, paper = experiment.cost(experiment.QUICK), experiment.cost(experiment.PAPER)
    assert isinstance(quick, Cost)
    assert 0 < quick.flops <= paper.flops
    assert 0 < quick.bytes <= paper.bytes < 16 * 2**30
