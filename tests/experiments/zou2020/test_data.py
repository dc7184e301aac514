"""The data of section 6, recounted from the files' bytes, and judges that can say otherwise."""

import gzip
import math
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from companion.cifarfiles import KNOWN, batch_bytes, is_here
from companion.datafiles import digits_source
from companion.datasets import DataSet
from companion.errors import InputError, MissingDataError
from companion.experiments.zou2020 import data
from companion.lab.controls import with_controls
from companion.lab.reproduce import recorded
from companion.nearest import separation
from tests.doctoring import outcomes

HERE = is_here() and digits_source().folder is not None
judged = partial(outcomes, data, data.QUICK)


@pytest.fixture(scope="module")
def found():
    """The committed record: on all images, with every machine."""
    return recorded("zou2020/data").found


def separated(count, dimension, seed):
    """A small data set and what `run` makes of it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True), torch.where(torch.arange(count) % 3 == 0, 1.0, -1.0)


@pytest.fixture
def small(monkeypatch):
    """Small data sets in the place of the images."""
    sets = {"mnist": separated(30, 6, 0), "cifar10": separated(24, 9, 1)}
    for name, (x, y) in sets.items():
        monkeypatch.setattr(data, name, lambda x=x, y=y: data_set(x, y))
    monkeypatch.setattr(data, "_cats_and_ships", lambda batch: [int(batch[-1]), 10])
    return sets


def data_set(x, y):
    return DataSet(x, y, "small")


def test_what_is_measured_is_what_loops_over_all_pairs_find(small):
    settings = data.QUICK.override({"mu": 0.6, "sample": 5})
    found = data.run(settings, "cpu")
    for name, (x, y) in small.items():
        one = found.sel(images=name)
        pairs = [(i, j) for i in range(len(x)) for j in range(i)]
        distances = {(i, j): math.dist(x[i].tolist(), x[j].tolist()) for i, j in pairs}
        across = {pair: d for pair, d in distances.items() if y[pair[0]] != y[pair[1]]}
        assert float(one.cross_class) == pytest.approx(min(across.values()))
        assert float(one.all_pairs) == pytest.approx(min(distances.values()))
        assert float(one.mapped_cross_class) == pytest.approx(0.8 * min(across.values()))
        assert float(one.mapped_all_pairs) == pytest.approx(0.8 * min(distances.values()))
        assert tuple(one.pair.values[0][::-1]) == min(across, key=across.get)
        nearest = [min(d for pair, d in across.items() if row in pair) for row in range(len(x))]
        quantiles = np.quantile(nearest, np.linspace(0, 1, data.LEVELS))
        np.testing.assert_allclose(one.across, quantiles, rtol=1e-4)
        assert one["count"].values.tolist() == [int((y == 1).sum()), int((y == -1).sum())]
        assert float(one.norm_gap) < 1e-14
        assert float(one.scaling_gap) < 1e-14
        assert int(one.duplicates) == 0
    assert found.batches.values.tolist() == [[k, 10] for k in range(1, 6)]


def test_a_coordinate_that_is_not_mu_and_norms_off_one_would_be_noticed(small, monkeypatch):
    def careless(x, mu):
        return torch.cat([x, x.new_full((len(x), 1), mu / 2)], dim=1)

    monkeypatch.setattr(data, "with_bias", careless)
    found = data.run(data.QUICK.override({"sample": 5}), "cpu")
    assert float(found.norm_gap.min()) > 1e-4
    assert float(found.coordinate_gap.min()) > 1e-2
    assert float(found.scaling_gap.min()) > 1e-4
    verdict = next(v for v in data.judge(data.QUICK, found) if v.claim == "zou2020-ass4.1")
    assert verdict.outcome == "fails"


def test_equal_images_are_counted(small, monkeypatch):
    x, y = separated(30, 6, 0)
    x[4], x[5] = x[1], x[1]
    monkeypatch.setattr(data, "mnist", lambda: data_set(x, y))
    found = data.run(data.QUICK.override({"sample": 3}), "cpu")
    assert found.duplicates.values.tolist() == [2, 0]
    assert float(found.all_pairs[0]) == 0.0


def test_the_record_has_the_counts_of_the_papers_data(found):
    known = data.values(data.QUICK, found)
    assert (known["mnist_count"], known["cifar10_count"]) == (9943, 7981)
    assert (int(known["mnist_plus"]), int(known["mnist_minus"])) == (5101, 4842)
    assert (int(known["cifar10_plus"]), int(known["cifar10_minus"])) == (3984, 3997)
    assert (known["fewest_of_four"], known["most_of_four"]) == (7959, 8042)
    assert known["more_than_printed"] == 50
    ratio = float(found.cross_class[0] / found.all_pairs[0])
    assert known["mnist_width_gained"] == pytest.approx(ratio**4)


def test_verdicts_are_those_expected(found):
    assert judged(found) == data.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie", "outcome"),
    [
        ("zou2020-ass4.1", {"norm_gap": 1e-9}, "fails"),
        ("zou2020-ass4.1", {"coordinate_gap": 1e-9}, "fails"),
        ("zou2020-ass4.1", {"norm_gap": np.nan}, "inconclusive"),
        ("zou2020-ass4.2", {"cross_class": np.array([0.0, 0.1])}, "fails"),
        ("zou2020-ass4.2", {"mapped_cross_class": np.array([0.1, 0.0])}, "fails"),
        ("zou2020-ass4.2", {"scaling_gap": 1e-9}, "fails"),
        ("zou2020-ass4.2", {"cross_class": np.nan}, "inconclusive"),
        ("zou2020-datacount", {"count": np.array([[5101, 4842], [3984, 3947]])}, "holds"),
        ("zou2020-datacount", {"count": np.array([[5101, 4841], [3984, 3947]])}, "fails"),
    ],
)
def test_each_judge_answers_otherwise(found, claim, lie, outcome):
    assert judged(found, **lie)[claim] == outcome


@pytest.mark.parametrize(("share", "outcome"), [(0.99, "holds"), (1.01, "fails")])
def test_rounding_is_allowed_for_and_no_more(found, share, outcome):
    assert judged(found, norm_gap=share * data.ROUNDING)["zou2020-ass4.1"] == outcome
    other = judged(found, cross_class=data.ROUNDING / share)
    assert other["zou2020-ass4.2"] == outcome


def test_the_judges_see_the_lies_that_their_cards_tell(found):
    verdicts = data.judge(data.QUICK, found)
    told = with_controls(verdicts, data.CONTROLS, data.QUICK, found, data.judge)
    assert {v.claim: v.control.outcome for v in told} == {
        "zou2020-ass4.1": "fails",
        "zou2020-ass4.2": "fails",
        "zou2020-datacount": "holds",
    }


def test_without_the_files_nothing_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="companion data fetch mnist"):
        data.run(data.QUICK, "cpu")


@pytest.mark.parametrize("bad", [{"mu": 0.0}, {"mu": 1.0}, {"mu": -0.1}, {"sample": 1}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        data.QUICK.override(bad)


@pytest.mark.skipif(not HERE, reason="the official files are not here")
def test_the_record_is_what_the_bytes_of_the_files_say(found):
    """Labels and the closest pairs, read with the standard library and NumPy alone."""
    raw = gzip.decompress((digits_source().folder / "train-labels-idx1-ubyte.gz").read_bytes())
    first = np.frombuffer(raw, np.uint8, offset=8)[:50_000]
    assert [int((first == digit).sum()) for digit in (3, 8)] == found["count"][0].values.tolist()
    raw = gzip.decompress((digits_source().folder / "train-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)[:50_000]
    assert_closest(found.sel(images="mnist"), pixels[np.isin(first, [3, 8])], first)
    records = [np.frombuffer(batch_bytes(name), np.uint8) for name in list(KNOWN)[:4]]
    batches = np.concatenate(records).reshape(-1, 3073)
    mine = batches[np.isin(batches[:, 0], [3, 8])]
    assert_closest(found.sel(images="cifar10"), mine[:, 1:], batches[:, 0])


def assert_closest(one: xr.Dataset, images: np.ndarray, labels: np.ndarray) -> None:
    """The pairs that the record names, at the distances that it says, with their labels."""
    own = labels[np.isin(labels, [3, 8])]
    scaled = images.astype(float) / np.linalg.norm(images.astype(float), axis=1)[:, None]
    (a, b), (c, d) = one.pair.values
    assert own[a] != own[b]
    assert own[c] == own[d]
    across, within = np.linalg.norm(scaled[a] - scaled[b]), np.linalg.norm(scaled[c] - scaled[d])
    assert float(one.cross_class) == pytest.approx(across, rel=1e-12)
    assert float(one.all_pairs) == pytest.approx(min(across, within), rel=1e-12)
    some = np.random.default_rng(0).choice(len(own), 200, replace=False)
    part = separation(torch.from_numpy(scaled[some]), torch.from_numpy(own[some].astype(float)))
    assert part.cross_class >= across
    assert part.all_pairs >= min(across, within)
