"""Searches: what they tell, that they go on where they were cut off, and what they refuse."""

import math
import os
import subprocess
import sys

import pytest

from companion import matmul
from companion.base.paths import PROJECT
from companion.draws import Batches
from companion.errors import InputError
from companion.networks import draw_chen, draw_zou
from companion.training import Stop
from companion.widths import driver
from companion.widths.result import concluded
from companion.widths.rounds import Outcome, search
from tests.training.cases import counted
from tests.widths.cases import CutOff, X, Y, draw, found


@pytest.fixture(scope="module")
def whole():
    return found()


def test_a_search_finds_a_width_between_those_that_fail_and_those_that_succeed(whole):
    assert whole.outcome == "found"
    assert whole.interval[0] < whole.width < whole.interval[1]
    assert whole.slope > 0
    assert sum(row.runs for row in whole.table) == 24
    shares = [row.successes / row.runs for row in whole.table]
    assert shares[0] < 0.5 < shares[-1]
    for row in whole.table:
        assert math.isnan(row.median_steps) == (row.successes == 0)
        assert not row.median_steps > 60


def test_a_search_is_told_with_its_budget(whole):
    told = str(whole)
    assert told.startswith(f"Minimal width {whole.width:.3g} (95% interval ")
    for part in (
        "within 60 steps",
        "Adam(",
        "step size 0.03 times fading",
        "batches of 6 (epochs)",
    ):
        assert part in told
    assert "12 of 16 examples, drawn for every run" in told
    assert len(told.splitlines()) == 3 + len(whole.table)


def test_a_search_is_decided_by_its_seed(whole):
    assert found() == whole
    assert found(seed=1) != whole
    assert found(batches=Batches(6, seed=1)) != whole


def test_numpy_arrays_give_what_tensors_give(whole):
    assert found(X.double().numpy(), Y.numpy()) == whole


def test_a_search_that_was_cut_off_goes_on_bit_for_bit(whole, monkeypatch, tmp_path):
    monkeypatch.setenv("CUT_OFF_IN", str(tmp_path))
    with pytest.raises(CutOff):
        found(folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round-1.npz", "search.json"]
    monkeypatch.delenv("CUT_OFF_IN")
    made = counted(monkeypatch)
    assert found(folder=tmp_path) == whole
    resumed = len(made)
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]
    assert found(folder=tmp_path) == whole
    assert len(made) == resumed  # nothing was trained again
    made.clear()
    assert found() == whole
    assert resumed < len(made)


def test_a_search_that_was_killed_goes_on_bit_for_bit(whole, tmp_path):
    command = [sys.executable, "-m", "tests.widths.cases"]
    where = {**os.environ, "SEARCH_IN": str(tmp_path), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        command, cwd=PROJECT, env={**where, "CUT_OFF_IN": str(tmp_path), "CUT_OFF_BY_KILL": "1"}
    )
    assert killed.returncode == -9
    assert (tmp_path / "search.json").exists()
    resumed = subprocess.run(command, cwd=PROJECT, env=where, capture_output=True, text=True)
    assert resumed.stdout.strip() == str(whole)


def test_a_search_goes_on_with_more_runs(whole, monkeypatch, tmp_path):
    shorter = found(folder=tmp_path, runs=8)
    assert found(folder=tmp_path) == whole
    monkeypatch.setattr(driver, "train_fleet", None)
    assert found(folder=tmp_path, runs=8) == shorter
    assert found(folder=tmp_path, confidence=0.5).interval != whole.interval


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"step_size": 0.02}, "budget"),
        ({"stop": Stop(zero_error=True, every=2)}, "budget"),
        ({"seed": 1}, "seed"),
        ({"widths": range(2, 20)}, "widths"),
        ({"x": X * 2}, "inputs"),
        ({"y": -Y}, "labels"),
        ({"memory_budget": 1e9}, "memory budget"),
        ({"at_once": 4}, "runs at once"),
        ({"draw": lambda width, seed: draw_chen(width, 4, seed, depth=3)}, "draw"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(tmp_path, changes, differing):
    found(folder=tmp_path, runs=8)
    with pytest.raises(InputError, match=f"holds another search: it differs in its {differing};"):
        found(folder=tmp_path, runs=8, **changes)


def test_a_damaged_record_is_refused(tmp_path):
    found(folder=tmp_path, runs=8)
    path = tmp_path / "search.json"
    path.write_text(path.read_text().replace("budget", "zero-error", 1))
    with pytest.raises(InputError, match="damaged"):
        found(folder=tmp_path)


def test_every_run_has_draws_of_its_own(monkeypatch):
    seen = []
    train_fleet = driver.train_fleet

    def noted(networks, *arguments, **options):
        seen.append((networks, options))
        return train_fleet(networks, *arguments, **options)

    monkeypatch.setattr(driver, "train_fleet", noted)
    found()
    weights = [tuple(n.weights[0].flatten().tolist()) for each, _ in seen for n in each]
    batches = [each for _, options in seen for each in options["batches"]]
    subsets = [tuple(each.tolist()) for _, options in seen for each in options["subsets"]]
    assert len(set(weights)) == len({each.seed for each in batches}) == len(weights) == 24
    assert len(set(subsets)) > 20
    assert all(len(set(each)) == 12 and max(each) < 16 for each in subsets)
    # Of one seed, a narrow network would be the first units of a wide one.
    assert len({each[:4] for each in weights}) == 24


def test_a_step_size_may_depend_on_the_width(monkeypatch):
    sizes = []
    train_fleet = driver.train_fleet

    def noted(networks, *arguments, **options):
        sizes.extend(zip([n.widths[0] for n in networks], options["step_size"], strict=True))
        return train_fleet(networks, *arguments, **options)

    monkeypatch.setattr(driver, "train_fleet", noted)
    told = found(step_size=lambda width: 1 / width, runs=8)
    assert sizes == [(width, 1 / width) for width, _ in sizes]
    assert "of the width" in told.budget


def test_a_larger_budget_needs_less_width():
    hasty, patient = found(steps=20, widths=range(1, 80)), found(steps=200, widths=range(1, 80))
    assert hasty.interval[0] > patient.interval[1]


def outcomes(successes, runs=40, at_once=20):
    ladder = [4, 8, 16, 32]

    def make(number, trials):
        endings = ["zero-error" if successes(trial) else "diverged" for trial in trials]
        return [Outcome(t.width, e, 7) for t, e in zip(trials, endings, strict=True)]

    return search(ladder, runs, at_once, 0.95, make), ladder


@pytest.mark.parametrize(
    ("successes", "outcome", "advice"),
    [
        (lambda trial: False, "too narrow throughout", "at width 32; allow wider networks"),
        (lambda trial: True, "wide enough throughout", "at width 4; allow narrower networks"),
        (lambda trial: trial.number % 2, "undecided", "half of them succeed at width 4 and at"),
        (lambda trial: trial.width < 10, "undecided", "make more runs"),
    ],
)
def test_a_search_without_an_answer_says_why(successes, outcome, advice):
    made, ladder = outcomes(successes)
    found = concluded(made, ladder, 0.95, "a budget")
    assert (found.outcome, found.width) == (outcome, None)
    assert f"No minimal width, {outcome}: " in str(found)
    assert advice in str(found)
    assert sum(row.diverged for row in found.table) == sum(e.ending == "diverged" for e in made)


@pytest.mark.parametrize("ending", [False, True])
def test_a_search_ends_once_the_median_surely_lies_beyond_the_widths(ending):
    made, ladder = outcomes(lambda trial: ending, runs=400)
    assert len(made) < 400
    low, high = concluded(made, ladder, 0.95, "").interval
    assert (high < 4) if ending else (low > 32)


def test_an_interval_that_reaches_out_of_the_widths_is_no_answer():
    made = [Outcome(4, "budget", 9)] * 6 + [Outcome(32, "zero-error", 9)] * 2
    made += [Outcome(32, "budget", 9)]
    found = concluded(made, [4, 32], 0.95, "")
    assert found.outcome == "undecided"
    assert found.interval[1] > 32


def test_a_table_tells_the_median_of_steps_and_the_widths_that_were_allowed():
    made = [Outcome(8, "zero-error", steps) for steps in (1, 2, 9)]
    found = concluded(made, [4, 8, 32], 0.95, "")
    assert [row.median_steps for row in found.table] == [2]
    assert found.allowed == (4, 32)


def test_bounds_of_what_is_allowed_are_allowed(capsys):
    """All examples as a subset, a first look at the last step, output weights that never differ."""
    options = {"runs": 8, "schedule": None}
    assert found(subset_size=16, **options) == found(subset_size=None, **options)
    last = found(batches=Batches(2), steps=6, **options)
    assert sum(row.runs for row in last.table) == 8
    alike = found(draw=lambda m, s: draw_zou(2 * m, 4, s, depth=2).training("all"), **options)
    assert sum(row.runs for row in alike.table) == 8
    assert capsys.readouterr().err == ""
    patient = found(stop=Stop(zero_error=True, plateau=20), progress=True, **options)
    assert "looked for every epoch, given up after 20 without a fall" in patient.budget
    assert "it/s" in capsys.readouterr().err


def test_a_search_goes_on_with_the_product_it_began_with(monkeypatch, tmp_path):
    train_fleet, products = driver.train_fleet, []

    def noted(*arguments, **options):
        products.append(matmul.chosen_product())
        return train_fleet(*arguments, **options)

    monkeypatch.setattr(driver, "train_fleet", noted)
    with matmul.using("onednn"):
        found(folder=tmp_path, runs=8)
    with matmul.using("torch"):
        found(folder=tmp_path, runs=16)
    assert products == ["onednn"] * 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"widths": [8]}, "at least two of them in increasing order"),
        ({"widths": [8, 4]}, "increasing order"),
        ({"widths": [0, 4]}, "a width is 0"),
        ({"widths": 8}, "widths is 8; give all"),
        ({"draw": 3}, "draw is no function"),
        ({"draw": lambda width, seed: width}, "ReLUNetwork"),
        ({"draw": lambda width, seed: draw(width, 0)}, "must use its seed"),
        ({"draw": lambda width, seed: draw_chen(width, 5, seed, depth=2)}, "shape"),
        ({"y": Y.abs()}, "all labels are \\+1"),
        ({"y": Y * 2}, "labels must be -1 or \\+1"),
        ({"y": Y * 2, "loss": "quadratic"}, "labels must be -1 or \\+1"),
        ({"steps": 0}, "steps is 0"),
        ({"step_size": 0}, "step_size"),
        ({"step_size": lambda width: 20 - width}, "step_size is 0"),
        ({"batches": Batches(13)}, "batch size is 13"),
        ({"subset_size": 17}, "there are 16 examples"),
        ({"stop": Stop()}, "asks for no success"),
        ({"stop": Stop(zero_error=True, every=61)}, "first looked for success after 61 steps"),
        ({"batches": Batches(2), "steps": 5}, "first looked for success after 6 steps"),
        ({"stop": None}, "Stop\\(zero_error=True\\)"),
        ({"runs": 20}, "such as 24"),
        ({"at_once": 0}, "at_once is 0"),
        ({"confidence": 1}, "in \\(0, 1\\)"),
        ({"confidence": 0}, "in \\(0, 1\\)"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"folder": 3}, "folder is 3"),
        ({"folder": PROJECT / "pyproject.toml"}, "pyproject.toml"),
        ({"memory_budget": 10}, "memory_budget is 10"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(
    monkeypatch, changes, sentence
):
    made = counted(monkeypatch)
    with pytest.raises(InputError, match=sentence):
        found(**changes)
    assert made == []


def test_success_may_be_a_small_loss():
    easy, hard = (found(stop=Stop(loss_below=value)) for value in (5.0, 1e-9))
    assert easy.outcome == "wide enough throughout"
    assert hard.outcome == "too narrow throughout"
    assert "mean loss below 5 (looked for every epoch) within 60 steps" in easy.budget
    assert all(row.median_steps == 0 for row in easy.table)
