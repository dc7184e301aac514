"""The recorded benchmark is read as it was written, and judged row by row."""

import json
import re
import statistics
from functools import partial

import pytest

from companion.base.files import read_checked, write_checked
from companion.base.paths import BOOK
from companion.errors import InputError
from companion.experiments.engines import speed
from companion.experiments.engines.speed import DATA, QUICK, ROWS, rows_of, run
from companion.lab.controls import with_controls
from tests.doctoring import outcomes

RECORD = DATA[0]
MEASURED = [claim for claim, outcome in speed.EXPECTED.items() if outcome != "inconclusive"]
judged = partial(outcomes, speed, QUICK)


@pytest.fixture(scope="module")
def found():
    return run(QUICK, "cpu")


def test_rows_are_those_of_the_file(found):
    written = read_checked(BOOK / RECORD)["rows"]
    bound = [row for row in written if row["met"] is not None]
    rows = [row for row in rows_of(found) if row["condition"] == "quiet"]
    values = speed.values(QUICK, found)
    assert [row["ratio"] for row in rows] == [row["ratio"] for row in bound]
    assert [row["met"] for row in rows] == [row["met"] for row in bound]
    for ours, theirs in zip(rows, bound, strict=True):
        assert theirs["name"] == f"{ours['work']}-{ours['n']}-{ours['peer']}"
        assert values[re.sub(r"\W", "_", theirs["name"])] == theirs["ratio"]
    measured = {ROWS[claim] for claim in MEASURED if claim in ROWS}
    assert {(row["work"], row["peer"]) for row in rows} == measured


def test_verdicts_are_as_recorded(found):
    assert judged(found) == speed.EXPECTED


def test_most_is_what_the_operations_allow_at_the_best_product(found):
    """By hand, for n = 256: torch.func's time over the operations' at the product's speed."""
    rows = {row["name"]: row for row in read_checked(BOOK / RECORD)["rows"]}
    product, slow = rows["gram-256-best product"], rows["gram-256-torch.func"]
    n, d, m, depth = 256, 784, 512, 5
    flops = product["peer"]["flops"]
    rate = flops / statistics.median(product["peer"]["seconds"])
    forward, backward = 2 * n * (d * m + (depth - 1) * m * m), 2 * n * (depth - 1) * m * m
    known = statistics.median(slow["peer"]["seconds"]) * rate / (flops + forward + backward)
    values = speed.values(QUICK, found)
    assert values["most_256"] == pytest.approx(known)
    sizes = {f"most_{n}{suffix}" for n in (256, 512) for suffix in ("", "_busy")}
    # Beside the others nothing is promised without AVX-512.
    assert {name for name in values if name.startswith("most")} == sizes
    assert f" {known:.0f} and " in speed.judge(QUICK, found)[1].sentence


@pytest.mark.parametrize("claim", MEASURED)
def test_one_missed_row_breaks_its_promise_and_no_other(found, claim):
    place = next(k for k, row in enumerate(rows_of(found)) if speed.decides(claim, row))

    def all_met(met):
        met[:] = True
        return met

    def one_missed(met):
        met[:] = True
        met[place] = False
        return met

    told, lied = judged(found, met=all_met), judged(found, met=one_missed)
    assert {told[each] for each in MEASURED} == {"holds"}
    assert lied == {**told, claim: "fails"}


@pytest.mark.parametrize("claim", speed.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(found, claim):
    """A kept one is told to be missed by a little at every size, another to be met."""
    verdicts = speed.judge(QUICK, found)
    told = with_controls(verdicts, speed.CONTROLS, QUICK, found, speed.judge)
    (verdict,) = (v for v in told if v.claim == claim)
    outcomes = {verdict.outcome, verdict.control.outcome}
    assert outcomes == ({"holds", "fails"} if claim in MEASURED else {"inconclusive", "holds"})


def test_ratios_that_miss_a_target_are_not_rounded_to_it(found):
    """1.0507 beside at most 1.05 used to be told as 1.05."""
    (verdict,) = (v for v in speed.judge(QUICK, found) if v.claim == "engines-recorded")
    bound = {check.tolerance for check in verdict.checks}
    assert bound == {"at most 1.05"}
    for check in verdict.checks:
        assert (float(check.measured.split()[0]) > 1.05) == (check.answer == "no")


def test_peers_are_named_with_the_version_of_their_own_package(found):
    said = {v.claim: v.sentence for v in speed.judge(QUICK, found)}
    versions = read_checked(BOOK / RECORD)["rows"][0]["peer"]["versions"]
    assert f"(neural-tangents {versions['neural-tangents']} with jax" in said["engines-gram"]


def test_a_benchmark_of_some_rows_leaves_the_rest_open(tmp_path):
    told = read_checked(BOOK / RECORD)
    told["rows"] = [row for row in told["rows"] if row["target"]["work"] == "step"]
    write_checked(tmp_path / "mine.json", told)
    mine = QUICK.override({"file": tmp_path / "mine.json"})
    verdicts = outcomes(speed, mine, run(mine, "cpu"))
    assert verdicts["engines-gram"] == verdicts["engines-fleet"] == "inconclusive"
    assert verdicts["engines-step-jax"] != "inconclusive"


def recorded_under(condition, tmp_path, monkeypatch, change):
    """The recorded rows once more, as if measured under another condition and changed."""
    told = read_checked(BOOK / RECORD)
    told["provenance"]["condition"] = condition
    told["rows"] = [change(row) for row in told["rows"] if row["target"]["work"] == "infinite"]
    write_checked(tmp_path / "other.json", told)
    monkeypatch.setattr(speed, "DATA", (BOOK / RECORD, tmp_path / "other.json"))
    return run(QUICK, "cpu")


def quiet_only(found):
    """Its outcomes without the records of other conditions."""
    return {**judged(found), **dict.fromkeys(speed.CONDITIONS, "inconclusive")}


@pytest.mark.parametrize(("share", "outcome"), [(0.71, "holds"), (0.69, "fails")])
def test_beside_a_busy_core_a_share_of_the_quiet_ratio_is_kept(
    share, outcome, tmp_path, monkeypatch, found
):
    def change(row):
        row["target"]["bound"] = 1
        return {**row, "ratio": share * row["ratio"], "met": True}

    both = recorded_under("busy", tmp_path, monkeypatch, change)
    assert judged(both) == {**quiet_only(found), "engines-busy": outcome}
    values = speed.values(QUICK, both)
    quiet = values["infinite_512_neural_tangents"]
    assert values["infinite_512_neural_tangents_busy"] == pytest.approx(share * quiet)
    assert "one of them busy" in both.attrs["data"]


@pytest.mark.parametrize(("met", "outcome"), [(True, "holds"), (False, "fails")])
def test_without_avx512_every_row_has_a_bound_of_its_own(
    met, outcome, tmp_path, monkeypatch, found
):
    both = recorded_under("no AVX-512", tmp_path, monkeypatch, lambda row: {**row, "met": met})
    assert judged(both) == {**quiet_only(found), "engines-avx2": outcome}


@pytest.mark.parametrize(("gib", "outcome"), [(0.9, "holds"), (1.1, "fails")])
def test_a_promise_of_memory_alone_is_judged_by_memory(gib, outcome, tmp_path):
    told = read_checked(BOOK / RECORD)
    row = told["rows"][0]
    row["target"] |= {"work": "operator", "bound": None, "memory": 2**30, "measure": "time"}
    row["target"]["peer"]["label"] = "whole matrix"
    row["ours"]["peak_bytes"] = int(gib * 2**30)
    told["rows"] = [{**row, "met": gib < 1}]
    write_checked(tmp_path / "mine.json", told)
    mine = QUICK.override({"file": tmp_path / "mine.json"})
    alone = run(mine, "cpu")
    assert outcomes(speed, mine, alone)["engines-operator"] == outcome
    lie = speed._reaching("engines-operator", 1 / 1.01 if gib < 1 else 1)(mine, alone)
    assert outcomes(speed, mine, lie)["engines-operator"] != outcome
    (verdict,) = (v for v in speed.judge(mine, lie) if v.claim == "engines-operator")
    told_slack = "missed by a factor 1.0" if gib < 1 else "a factor 1"
    assert verdict.checks[0].slack.startswith(told_slack)


def test_files_that_are_no_benchmark_are_refused(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(InputError, match="holds no intact benchmark"):
        run(QUICK.override({"file": tmp_path / "other.json"}), "cpu")
    write_checked(tmp_path / "empty.json", {"rows": []})
    with pytest.raises(InputError, match="holds no intact benchmark"):
        run(QUICK.override({"file": tmp_path / "empty.json"}), "cpu")
    with pytest.raises(InputError, match="setting file"):
        QUICK.override({"file": tmp_path / "missing.json"})
