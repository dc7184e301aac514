"""Predictions and runs by autograd and matrix powers, errors by NumPy, verdicts that can fail."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.datafiles import digits_source
from companion.datasets import digits
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.engines import predictions
from companion.experiments.engines.predictions import Settings, run, values
from companion.kernels import infinite_width_ntk
from companion.lab.controls import with_controls
from companion.networks import draw_zou
from tests.doctoring import doctored, outcomes
from tests.oracles import layer_grams_by_autograd, zou_predictions

TINY = Settings(
    dtype="float64", per_class=6, held_out=9, widths=(8, 16, 128), seeds=3, steps=6
)  # fmt: skip
judged = partial(outcomes, predictions, TINY)


@pytest.fixture(scope="module")
def found():
    return run(TINY, "cpu")


@pytest.fixture(scope="module")
def parts():
    """Training and held-out images of one of the runs, and its network."""
    data = digits(digits_source(), (3, 8), 15)
    network = draw_zou(16, 784, independent_seed(1, 12, 16), depth=2, dtype=torch.float64)
    return data.x[:12], data.y[:12], data.x[12:], data.y[12:], network


def gram_of(network, inputs):
    return sum(layer_grams_by_autograd(network, inputs, zou_predictions)).numpy()


def trained_by_autograd(network, x, y, inputs, step, steps):
    """Predictions of all inputs after 0, ..., steps of torch.optim.SGD on the mean loss."""
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    optimiser, path = torch.optim.SGD(weights, lr=step), []
    for _ in range(steps + 1):
        path.append(zou_predictions(weights, network.outputs, inputs).detach())
        optimiser.zero_grad()
        ((zou_predictions(weights, network.outputs, x) - y).square().mean() / 2).backward()
        optimiser.step()
    return path


def test_runs_and_predictions_are_those_of_autograd_and_of_matrix_powers(found, parts):
    x, y, others, signs, network = parts
    every = torch.cat([x, others])
    gram = gram_of(network, every)
    known, cross = gram[:12, :12], gram[12:, :12]
    step = 12 / np.linalg.eigvalsh(known)[-1]  # half of 2 n / lambda_max
    path = trained_by_autograd(network, x, y, every, step, 6)
    one, start = found.sel(seed=1, width=16), path[0]
    for place, k in enumerate(found.steps.values):
        left = np.linalg.matrix_power(np.eye(12) - step / 12 * known, k) @ (start[:12] - y).numpy()
        trained = path[k]
        off = (trained[:12] - y).numpy() - left
        assert one.gap[place] == pytest.approx(np.sqrt(np.mean(off**2)), rel=1e-6, abs=1e-12)
        assert one.predicted_loss[place] == pytest.approx(np.mean(left**2) / 2)
        assert one.loss[place] == pytest.approx(float((trained[:12] - y).square().mean()) / 2)
        assert one.error[place] == float((trained[12:] * signs <= 0).double().mean())
        moved = cross @ np.linalg.solve(known, left - (start[:12] - y).numpy())
        foretold = start[12:].numpy() + moved
        assert one.predicted_error[place] == np.mean(foretold * signs.numpy() <= 0)
    assert (one.wrong == (trained[12:] * signs <= 0).numpy()).all()


def test_ends_are_those_of_the_pseudo_inverse(found, parts):
    x, y, others, signs, network = parts
    gram = gram_of(network, torch.cat([x, others]))
    weights = gram[12:, :12] @ np.linalg.pinv(gram[:12, :12])
    start = zou_predictions(network.weights, network.outputs, torch.cat([x, others])).numpy()
    one = found.sel(seed=1, width=16)
    ended = start[12:] + weights @ (y.numpy() - start[:12])
    assert (one.ended_wrong == (ended * signs.numpy() <= 0)).all()
    assert (one.without_start_wrong == (weights @ y.numpy() * signs.numpy() <= 0)).all()


def test_kernel_regression_is_that_of_numpy(found, parts):
    x, y, others, signs, _ = parts
    gram, cross = (infinite_width_ntk(x, each, depth=2).numpy() for each in (None, others))
    coefficients = np.linalg.solve(gram, y.numpy())
    assert (found.kernel_wrong == (cross.T @ coefficients * signs.numpy() <= 0)).all()
    assert float(found.norm) == pytest.approx(float(y.numpy() @ coefficients))


def test_largest_eigenvalues_are_those_of_autograd_s_matrix(found, parts):
    x, _, _, _, network = parts
    largest = np.linalg.eigvalsh(gram_of(network, x))[-1]
    one = found.sel(seed=1, width=16)
    assert float(one.largest) == pytest.approx(largest, rel=1e-12)
    assert float(one.largest_by_operator) == pytest.approx(largest, rel=1e-9)


def test_every_image_is_judged_by_one_network_of_the_largest_width(found):
    """Networks take turns by pairs, as classes alternate: image 2 k and 2 k + 1 have network k."""

    def marked(wrong):
        wrong[:] = False
        wrong[1, -1] = True
        return wrong

    told = values(TINY, doctored(found, wrong=marked))
    assert float(told["network"]) == pytest.approx(6 / 18)
    told = values(TINY, doctored(found, wrong=lambda wrong: np.zeros_like(wrong)))
    assert float(told["network_low"]) == float(told["network"]) == 0
    assert float(told["network_high"]) == pytest.approx(1 - 0.025 ** (1 / 18))


def test_the_judge_can_say_yes_and_no(found):
    """On so few images the errors decide nothing; so worlds are made in which they do."""
    gaps = 1 / np.array([8, 16, 128])[:, None] * np.ones(found.sizes["step"])
    right, wrong = np.zeros(18, dtype=bool), np.ones(18, dtype=bool)
    good = doctored(found, gap=gaps, kernel_wrong=right, wrong=wrong)
    assert judged(good) == predictions.EXPECTED
    assert judged(good, gap=gaps[::-1])["engines-predicted"] == "fails"
    reverse = judged(good, kernel_wrong=wrong, wrong=right)
    assert reverse["engines-regression"] == "fails"
    assert judged(good, kernel_wrong=wrong)["engines-regression"] == "inconclusive"
    off = judged(good, largest_by_operator=lambda largest: largest * (1 - 1e-5))
    assert off["engines-operator-exact"] == "fails"
    even = np.arange(18) % 2 == 0
    assert judged(good, kernel_wrong=even, wrong=~even)["engines-regression"] == "inconclusive"


def test_one_seed_whose_gap_does_not_fall_is_seen(found):
    gaps = np.tile(1 / np.array([8.0, 16.0, 128.0])[:, None], (3, 1, found.sizes["step"]))
    gaps[2, 1] = gaps[2, 0]
    assert judged(found, gap=gaps)["engines-predicted"] == "fails"


def test_the_judge_sees_the_lies_that_its_cards_tell(found):
    gaps = 1 / np.array([8, 16, 128])[:, None] * np.ones(found.sizes["step"])
    right, wrong = np.zeros(18, dtype=bool), np.ones(18, dtype=bool)
    good = doctored(found, gap=gaps, kernel_wrong=right, wrong=wrong)
    verdicts = predictions.judge(TINY, good)
    told = with_controls(verdicts, predictions.CONTROLS, TINY, good, predictions.judge)
    assert [verdict.control.outcome for verdict in told] == ["fails", "inconclusive", "fails"]


def test_other_seeds_are_other_networks_on_the_same_images(found):
    shifted = run(TINY.override({"first_seed": 1, "seeds": 1}), "cpu")
    np.testing.assert_array_equal(shifted.kernel_wrong, found.kernel_wrong)
    np.testing.assert_array_equal(shifted.gap.sel(seed=1), found.gap.sel(seed=1))
    assert (found.gap.sel(seed=0) != found.gap.sel(seed=1)).any()


def test_more_images_than_there_are_is_refused():
    with pytest.raises(InputError, match="asks for more"):
        run(TINY.override({"held_out": 100_000}), "cpu")
