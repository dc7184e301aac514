"""Searches for Figure 1 beside runs made alone, cut off and gone on, and judges that say no."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from companion import cifarfiles
from companion.draws import Batches, independent_seed
from companion.errors import InputError, MissingDataError
from companion.experiments.chen2021 import _searches, figure1
from companion.experiments.chen2021._searches import Training
from companion.lab.catalog import published
from companion.lab.controls import with_controls
from companion.lab.sweep import PARTS, Parts
from companion.networks import draw_chen
from companion.training import Stop, train
from tests.doctoring import outcomes
from tests.experiments.chen2021.widths import DIMENSION, MOST, found_by, inputs

SMALL = figure1.Settings(
    classes=(("cat", "ship"),), counts=(8, 16, 32), layers=3, widths=(2, 24), seeds=8, rounds=3,
    batch=4, step_size=0.2, epochs=40, gd_up_to=8, gd_steps=60, adam_up_to=16, adam_epochs=20,
    adam_step_size=0.02, large=32, large_rounds=2,
)  # fmt: skip
PAPER = figure1.PAPER
# Widths of the published size, with both pairs.
LIKELY = {
    "cat-ship": 0.36 * np.log(PAPER.counts) ** 1.83,
    "cat-dog": 0.4 * np.log(PAPER.counts) ** 2,
}


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setattr(_searches, "cifar10", inputs)


def alone(data, training, width, seed, settings):
    """A run by itself, with gradients of the same network."""
    network = draw_chen(
        width, DIMENSION, seed, depth=settings.layers - 1, alpha=training.alpha, dtype=torch.float32
    )
    full = training.optimiser == "gd"
    steps = training.epochs * (1 if full else math.ceil(len(data.y) / training.batch))
    eta = training.step_size / (settings.layers * width) if full else training.step_size
    return train(
        network, data.x.float(), data.y.float(), loss="cross-entropy", step_size=eta, steps=steps,
        batches=None if full else Batches(training.batch, seed=seed), stop=Stop(zero_error=True),
    )  # fmt: skip


@pytest.mark.parametrize("optimiser", ["sgd", "gd"])
def test_runs_of_every_width_are_those_made_alone(drawn, optimiser):
    training = Training(optimiser, *{"sgd": (0.2, 30), "gd": (6.0, 90)}[optimiser], 4, 0.5)
    data = _searches.photographs(("cat", "ship"), 12)
    epochs = _searches.epochs_to_success(SMALL, "cpu", data, training, (4, 12), "part")
    assert epochs.shape == (2, 8)
    assert 0 < np.isfinite(epochs).sum() < 16
    per_epoch = 1 if optimiser == "gd" else 3
    for row, width in zip(epochs, (4, 12), strict=True):
        for seed, found in zip(SMALL.each_seed, row, strict=True):
            run = alone(data, training, width, independent_seed(seed, 12, width), SMALL)
            if run.ending == "zero-error":
                assert found == run.steps / per_epoch
            else:
                assert math.isnan(found)


def test_searches_are_made_where_they_are_asked_for(drawn):
    found = figure1.run(SMALL, "cpu")
    assert found.attrs["data"] == "drawn cat and ship"
    runs = found.runs.sum("tried").sel(pair="cat-ship")
    assert runs.sel(reading="gd").values.tolist()[1:] == [0, 0]
    assert runs.sel(reading="adam").values.tolist()[2] == 0
    assert int(runs.max()) == 24
    assert int(runs.sel(reading="sgd", count=32)) <= 16
    assert (found.successes <= found.runs).all()
    told = figure1.values(SMALL, found)
    assert told["gd_cat_ship_16"] == told["adam_cat_ship_32"] == "not run"
    for count in SMALL.counts:
        one = found.sel(pair="cat-ship", reading="sgd", count=count)
        if np.isfinite(one.width):
            assert float(one.low) < float(one.width) < float(one.high)
            assert told[f"sgd_cat_ship_{count}"].startswith(f"{float(one.width):.1f} (")
        else:
            assert told[f"sgd_cat_ship_{count}"].startswith("none, ")


def test_a_search_is_on_half_of_each_class_and_on_its_own_images(drawn):
    data = _searches.photographs(("cat", "dog"), 10, block=1)
    assert data.y.tolist() == [1.0, -1.0] * 5
    assert torch.equal(data.x, inputs(("cat", "dog"), "train", 10).x[10:])


def test_standardised_pixels_have_mean_zero_and_norm_one_on_average(drawn):
    data = _searches.photographs(("cat", "dog"), 30)
    constant = torch.cat([data.x, torch.ones(30, 1)], dim=1)
    x = _searches.standardised(type(data)(constant, data.y, data.source)).x
    np.testing.assert_allclose(x.mean(dim=0), 0, atol=1e-12)
    np.testing.assert_allclose(x[:, :-1].std(dim=0, correction=0), (DIMENSION + 1) ** -0.5)
    assert x[:, -1].tolist() == [0.0] * 30


def test_a_run_that_was_cut_off_goes_on_where_it_was(drawn, monkeypatch, tmp_path):
    settings = SMALL.override({"gd_up_to": 0, "adam_up_to": 0})
    whole = figure1.run(settings, "cpu")
    token = PARTS.set(Parts(tmp_path))
    asked = []
    minimal_width = _searches.minimal_width

    def cut(*arguments, **options):
        asked.append(options["folder"])
        if len(asked) == 2:
            # Half of the second search is made before the session ends.
            minimal_width(*arguments, **{**options, "runs": options["at_once"]})
            raise KeyboardInterrupt
        return minimal_width(*arguments, **options)

    monkeypatch.setattr(_searches, "minimal_width", cut)
    with pytest.raises(KeyboardInterrupt):
        figure1.run(settings, "cpu")
    assert asked == [tmp_path / "cat-ship-8-sgd", tmp_path / "cat-ship-16-sgd"]
    assert (tmp_path / "cat-ship-16-sgd" / "search.json").exists()
    PARTS.set(Parts(tmp_path))
    resumed = figure1.run(settings, "cpu")
    PARTS.reset(token)
    assert [path.name for path in asked[2:]] == ["cat-ship-16-sgd", "cat-ship-32-sgd"]
    assert resumed.identical(whole)


def test_a_search_whose_widest_network_fails_says_so(drawn):
    settings = SMALL.override({"widths": [2, 3], "counts": [32, 48, 64], "epochs": 2})
    found = figure1.run(settings, "cpu")
    told = figure1.values(settings, found)
    assert told["sgd_cat_ship_48"] == "none, too narrow throughout"
    assert {verdict.outcome for verdict in figure1.judge(settings, found)} == {"inconclusive"}
    assert not any(isinstance(v, float) and not math.isfinite(v) for v in told.values())


def test_likely_widths_reach_the_verdicts_that_are_expected():
    found = found_by(PAPER, LIKELY)
    judged = with_controls(
        figure1.judge(PAPER, found), figure1.CONTROLS, PAPER, found, figure1.judge
    )
    assert {v.claim: v.outcome for v in judged} == figure1.EXPECTED
    assert {v.claim: v.control.outcome for v in judged} == dict.fromkeys(figure1.EXPECTED, "fails")
    told = figure1.values(PAPER, found)
    assert told["sgd_cat_ship_log"] == pytest.approx(1.83)
    assert told["least_ratio"] == pytest.approx(0.36 * math.log(100) ** 1.83 / 5.9, rel=0.2)
    assert figure1.summary(PAPER).endswith(".")


@pytest.mark.parametrize(
    ("claim", "widths", "outcome"),
    [
        ("chen2021-fig1", {"cat-dog": 2 * np.log(PAPER.counts) ** 3.3}, "fails"),
        ("chen2021-fig1", {"cat-dog": 2 * np.log(PAPER.counts) ** 2.95}, "inconclusive"),
        ("chen2021-fig1", {"cat-dog": np.array([6, 7, 8, 9, 10, 11, np.nan])}, "inconclusive"),
        ("chen2021-fig1-size", {"cat-ship": 2.5 * LIKELY["cat-ship"]}, "fails"),
        ("chen2021-fig1-size", {"cat-ship": LIKELY["cat-ship"] / 2.5}, "fails"),
        ("chen2021-fig1-size", {"cat-ship": np.full(7, np.nan)}, "inconclusive"),
    ],
)
def test_each_judge_answers_otherwise(claim, widths, outcome):
    found = found_by(PAPER, {**LIKELY, **widths})
    assert {v.claim: v.outcome for v in figure1.judge(PAPER, found)}[claim] == outcome


def test_wide_intervals_decide_nothing():
    noise = found_by(PAPER, LIKELY, error=0.6)
    judged = partial(outcomes, figure1, PAPER)
    assert judged(noise)["chen2021-fig1"] == "inconclusive"
    assert judged(noise)["chen2021-fig1-fits"] == "inconclusive"
    assert judged(noise)["chen2021-fig1-size"] == "inconclusive"


def test_small_powers_of_n_that_are_known_well_are_seen():
    widths = {pair: 6 * (np.array(PAPER.counts) / 100) ** 0.3 for pair in PAPER.pairs}
    verdict = figure1.judge(PAPER, found_by(PAPER, widths, error=0.01))[2]
    assert verdict.outcome == "fails"


def test_one_pair_may_be_given_as_it_is():
    settings = figure1.QUICK.override({"classes": ["cat", "dog"], "seeds": 10})
    assert settings.classes == (("cat", "dog"),)
    assert settings.pairs == ["cat-dog"]
    assert figure1.Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"classes": ["cat"]}, "two different classes are needed, such as"),
        ({"classes": ["cat", "cat"]}, "two different classes are needed"),
        ({"classes": [["cat", "ship"], ["cat"]]}, "two different classes are needed"),
        ({"classes": "cat"}, "two different classes are needed"),
        ({"classes": ["cat", "cow"]}, "'cow' is no class of CIFAR-10"),
        ({"counts": [100, 201]}, "counts must be even"),
        ({"counts": [200, 100]}, "must increase"),
        ({"alpha": 0.6}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"layers": 1}, "layers"),
        ({"widths": [8]}, "widths"),
        ({"widths": [8, 4]}, "must increase"),
        ({"step_size": 0}, "step_size"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(bad, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        figure1.QUICK.override(bad)
    assert "\n" not in str(refused.value)


def test_more_images_than_there_are_are_refused_before_anything_is_trained(drawn, monkeypatch):
    monkeypatch.setattr(_searches, "minimal_width", None)
    with pytest.raises(InputError, match=f"has {MOST} images of the class cat"):
        figure1.run(SMALL.override({"counts": [8, 100]}), "cpu")


def test_without_the_files_nothing_is_run(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cifarfiles, "find", lambda name: None)
    with pytest.raises(MissingDataError, match="companion data fetch cifar10"):
        figure1.run(figure1.QUICK, "cpu")


def test_the_sample_sizes_are_those_of_the_published_points():
    assert list(PAPER.counts) == published("chen2021_fig1")["count"].tolist()
