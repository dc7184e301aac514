"""Every experiment, at its quick settings, reaches the verdicts it expects."""

import dataclasses

import pytest

from companion.lab import catalog, results
from companion.lab.experiment import Cost, load
from companion.lab.reproduce import is_current, iter_records, judged, reproduce, unexpected
from tests import grouping


@pytest.mark.slow
@pytest.mark.parametrize("name", grouping.experiments())
def test_quick_run_reaches_the_expected_verdicts(name: str) -> None:
    result = reproduce(name)
    assert {v.claim: v.outcome for v in result.verdicts} == catalog.expected(name)
    assert unexpected(result) == []
    for verdict in result.verdicts:
        for text in dataclasses.astuple(verdict):
            assert text
            assert "\n" not in text
            assert "|" not in text


@pytest.mark.parametrize("record", list(iter_records()), ids=lambda r: r.experiment)
def test_records_reach_the_expected_verdicts(record: results.Result) -> None:
    assert {v.claim: v.outcome for v in judged(record).verdicts} == catalog.expected(
        record.experiment
    )


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
