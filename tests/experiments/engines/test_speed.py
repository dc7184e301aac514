"""The recorded benchmark is read as it was written, and judged row by row."""

import json
import re
from functools import partial

import pytest

from companion.base.files import read_checked, write_checked
from companion.base.paths import BOOK
from companion.errors import InputError
from companion.experiments.engines.speed import DATA, QUICK, ROWS, judge, rows_of, run
from tests.doctoring import outcomes

judged = partial(outcomes, judge)


@pytest.fixture(scope="module")
def result():
    return run(QUICK, "cpu")


def test_rows_are_those_of_the_file(result):
    written = read_checked(BOOK / DATA)["rows"]
    bound = [row for row in written if row["target"]["bound"] is not None]
    rows = rows_of(result)
    assert [row["ratio"] for row in rows] == [row["ratio"] for row in bound]
    assert [row["met"] for row in rows] == [row["met"] for row in bound]
    for ours, theirs in zip(rows, bound, strict=True):
        assert theirs["name"] == f"{ours['work']}-{ours['n']}-{ours['peer']}"
        assert result.values[re.sub(r"\W", "_", theirs["name"])] == theirs["ratio"]
    assert {(row["work"], row["peer"]) for row in rows} == set(ROWS.values())


@pytest.mark.parametrize("claim", ROWS)
def test_one_missed_row_breaks_its_promise_and_no_other(result, claim):
    place = next(
        k for k, row in enumerate(rows_of(result)) if (row["work"], row["peer"]) == ROWS[claim]
    )

    def all_met(met):
        met[:] = True
        return met

    def one_missed(met):
        met[:] = True
        met[place] = False
        return met

    assert set(judged(result, met=all_met).values()) == {"holds"}
    found = judged(result, met=one_missed)
    assert found.pop(claim) == "fails"
    assert set(found.values()) == {"holds"}


def test_a_benchmark_of_some_rows_leaves_the_rest_open(tmp_path):
    told = read_checked(BOOK / DATA)
    told["rows"] = [row for row in told["rows"] if row["target"]["work"] == "step"]
    write_checked(tmp_path / "mine.json", told)
    verdicts = {
        v.claim: v.outcome
        for v in judge(run(QUICK.override({"file": tmp_path / "mine.json"}), "cpu"))
    }
    assert verdicts["engines-gram"] == verdicts["engines-fleet"] == "inconclusive"
    assert verdicts["engines-step-jax"] != "inconclusive"


def test_files_that_are_no_benchmark_are_refused(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(InputError, match="holds no intact benchmark"):
        run(QUICK.override({"file": tmp_path / "other.json"}), "cpu")
    write_checked(tmp_path / "empty.json", {"rows": []})
    with pytest.raises(InputError, match="holds no intact benchmark"):
        run(QUICK.override({"file": tmp_path / "empty.json"}), "cpu")
    with pytest.raises(InputError, match="setting file"):
        QUICK.override({"file": tmp_path / "missing.json"})
