"""Predicted trajectories in one call: against their parts, against training, and at both widths."""

import math

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import empirical_gram, infinite_width_ntk, layer_grams
from companion.linearised import FrozenKernel, changes, linearise
from companion.linearised.limits import limit_kernel, paper_of
from companion.losses import LOSSES
from companion.monitors import frobenius_distances, mean_loss
from companion.networks import draw_chen, draw_du, draw_zou
from companion.training import flow, train

DATA, TEST = sphere(8, 5, 1), sphere(4, 5, 2).x
X, Y = DATA.x, DATA.y.sign()
DRAWS = {
    "du": lambda m: draw_du(m, 5, 0, dtype=torch.float64),
    "du, deep": lambda m: draw_du(m, 5, 0, depth=2, dtype=torch.float64),
    "du, all": lambda m: draw_du(m, 5, 0, trained="all", dtype=torch.float64),
    "du, output": lambda m: draw_du(m, 5, 0, trained="output", dtype=torch.float64),
    "zou": lambda m: draw_zou(m, 5, 0, depth=2, dtype=torch.float64),
    "chen": lambda m: draw_chen(m, 5, 0, depth=2, dtype=torch.float64),
    "chen, alpha": lambda m: draw_chen(m, 5, 0, depth=1, alpha=0.3, dtype=torch.float64),
    "chen, output": lambda m: draw_chen(m, 5, 0, depth=2, dtype=torch.float64).training("output"),
}
EVERY = pytest.mark.parametrize("name", DRAWS)


@EVERY
@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_the_frozen_kernel_with_the_gradients_moves(name, loss):
    network, steps = DRAWS[name](16), [0, 2, 7]
    kernel = FrozenKernel(empirical_gram(network, X))
    eta = 0.2 * kernel.largest_stable_step_size
    found = linearise(network, X, Y, loss=loss, step_size=eta, steps=steps, test=TEST)
    known = kernel.descent(network.predict(X), Y, step_size=eta, steps=steps, loss=LOSSES[loss])
    torch.testing.assert_close(found.predictions, known.predictions)
    for place in range(3):
        moved = changes(network, X, known.impulses[place])
        sizes = torch.stack([torch.linalg.vector_norm(each) for each in moved])
        torch.testing.assert_close(found.distances[place], sizes)
        torch.testing.assert_close(found.distance[place], sizes.norm())
        # f at the test inputs, linearised: f + <gradient, move>, by autograd.
        leaves = [each.clone().requires_grad_() for each in network.parameters]
        for column, value in enumerate(network.moved(leaves).predict(TEST)):
            gradient = torch.autograd.grad(value, leaves, retain_graph=True)
            slope = sum((g * step).sum() for g, step in zip(gradient, moved, strict=True))
            torch.testing.assert_close(
                found.test_predictions[place, column], value.detach() + slope
            )
    values = LOSSES[loss].values(known.predictions, Y).mean(dim=-1)
    torch.testing.assert_close(found.losses, values)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["du, output", "chen, output"])
def test_where_training_is_linear_the_measured_run_is_the_prediction(name, loss):
    network = DRAWS[name](8)
    eta = 0.2 * FrozenKernel(empirical_gram(network, X)).largest_stable_step_size
    found = linearise(network, X, Y, loss=loss, step_size=eta, steps=5, test=TEST, measured=True)
    assert found.at.tolist() == list(range(6))
    assert float(found.measured.gap.max()) < 1e-12
    assert float(found.measured.test_gap.max()) < 1e-12
    torch.testing.assert_close(found.measured.distances, found.distances)
    torch.testing.assert_close(found.measured.losses, found.losses)


def test_the_measured_run_is_that_of_train_and_of_flow():
    network = DRAWS["chen"](16)
    record = {
        "f": lambda moment: moment.forward.predictions,
        "loss": mean_loss,
        "distances": frobenius_distances,
        "test": lambda moment: moment.network.predict(TEST),
    }
    run = linearise(
        network, X, Y, loss="cross-entropy", step_size=0.01, steps=[1, 4], test=TEST, measured=True
    )
    found = run.measured
    known = train(
        network, X, Y, loss=LOSSES["cross-entropy"], step_size=0.01, steps=4, record=record
    )
    for ours, name in [
        (found.predictions, "f"),
        (found.losses, "loss"),
        (found.distances, "distances"),
        (found.test_predictions, "test"),
    ]:
        np.testing.assert_array_equal(ours, known[name][[1, 4]])
    for gap, ours, theirs in [
        (found.gap, found.predictions, run.predictions),
        (found.test_gap, found.test_predictions, run.test_predictions),
    ]:
        squares = ((ours - theirs) ** 2).numpy().mean(axis=1)
        np.testing.assert_allclose(gap, np.sqrt(squares), rtol=1e-12)
    for times in ([0.0, 0.1, 0.2], [0.1, 0.2], [0.0]):
        run = linearise(network, X, Y, loss="cross-entropy", times=times, test=TEST, measured=True)
        assert run.step_size is None
        assert run.measured.predictions.shape == (len(times), 8)
        if times[-1] > 0:
            known = flow(
                network, X, Y, loss=LOSSES["cross-entropy"], times=[0.0, 0.1, 0.2], record=record
            )
            for ours, name in [(run.measured.predictions, "f"), (run.measured.losses, "loss")]:
                np.testing.assert_allclose(ours, known[name][-len(times) :], rtol=1e-9)


@pytest.mark.parametrize("name", ["du", "zou", "chen"])
@pytest.mark.parametrize("kernel", ["empirical", "infinite"])
def test_wider_networks_keep_to_either_prediction_more_closely(name, kernel):
    gaps = []
    for width in (32, 2048):
        network = DRAWS[name](width)
        found = linearise(
            network, X, Y, loss="squared-hinge", steps=8, test=TEST, kernel=kernel, measured=True
        )
        moved = (found.predictions[-1] - found.predictions[0]).square().mean().sqrt()
        far = found.measured.distances[-1].norm()
        gaps.append(
            [
                float(found.measured.gap[-1] / moved),
                float(found.measured.test_gap[-1] / moved),
                abs(float(found.distance[-1] / far) - 1),
            ]
        )
    assert (np.array(gaps[1]) < 0.15).all()
    assert (np.array(gaps[1]) < np.array(gaps[0])).all()


@EVERY
def test_the_limit_is_what_the_empirical_kernel_nears_in_its_own_scale(name):
    gaps = []
    for width in (64, 4096):
        network = DRAWS[name](width)
        for other in (None, TEST):
            limit, own = limit_kernel(network, X, other), empirical_gram(network, X, other)
            assert limit.shape == own.shape
            gaps.append(float((limit - own).norm() / own.norm()))
    assert max(gaps[2:]) < 0.1
    assert max(gaps[2:]) < max(gaps[:2]) / 2


def test_whose_parameterisation_it_is_is_read_off_or_named():
    for name in DRAWS:
        assert paper_of(DRAWS[name](8)) == name.split(",")[0]
    doubled = draw_zou(8, 5, 0, depth=1, dtype=torch.float64).moved([torch.ones(8, 5).double()])
    assert paper_of(doubled) == "zou"
    odd = torch.nn.functional.normalize(torch.ones(1, 8).double())[0]
    strange = type(doubled)(doubled.weights, odd, (1.0,), 0.25)
    signs = type(doubled)(doubled.weights, odd.sign(), (1.0,), 0.25)
    for network in (strange, signs):
        with pytest.raises(InputError, match="the gains of no paper; name its parameterisation"):
            linearise(network, X, Y, loss="quadratic", steps=1, kernel="infinite")
    named = linearise(
        strange, X, Y, loss="quadratic", steps=1, kernel="infinite", parameterisation="zou"
    )
    torch.testing.assert_close(named.kernel.gram, 8 * infinite_width_ntk(X, depth=1))


def test_a_kernel_of_ones_own_needs_its_cross_matrix_for_test_inputs():
    network = DRAWS["du"](32)
    gram, cross = infinite_width_ntk(X, depth=1), infinite_width_ntk(X, TEST, depth=1)
    found = linearise(
        network, X.numpy(), Y.numpy(), loss="quadratic", step_size=1.0, steps=[0, 5],
        kernel=gram.numpy(), test=TEST.numpy(), cross=cross.numpy(),
    )  # fmt: skip
    known = linearise(
        network, X, Y, loss="quadratic", step_size=1.0, steps=[0, 5], kernel="infinite", test=TEST
    )
    assert found.distances is None
    torch.testing.assert_close(found.test_predictions, known.test_predictions)
    torch.testing.assert_close(found.distance, known.distance)
    # In the space of the kernel: a . K a for f - f(0) = K a.
    gained = found.predictions - found.predictions[0]
    torch.testing.assert_close(found.distance**2, (gained * found.impulses).sum(dim=1))


def test_distances_keep_their_digits_where_impulses_cancel():
    """Two equal inputs of other labels pull at each other with far more than moves anything."""
    x = sphere(520, 5, 3).x.float()
    x[1] = x[0]
    y = torch.ones(520)
    y[0] = -1
    network, kernel = DRAWS["du"](8).to(dtype=torch.float32), infinite_width_ntk(x, depth=1)
    found = linearise(network, x, y, loss="quadratic", kernel=kernel, step_size=1.0, steps=[10**9])
    pushed = found.impulses[0].double()
    known = float(pushed @ kernel.double() @ pushed) ** 0.5
    assert float(pushed.abs().max()) > 1e3 * known
    assert float(found.distance) == pytest.approx(known, rel=1e-5)


def test_a_distance_whose_square_rounds_below_0_is_0():
    network, x = DRAWS["du"](8), X[:1].expand(2, 5)
    kernel = torch.tensor([[1.0, 1 + 1e-9], [1 + 1e-9, 1.0]], dtype=torch.float64)
    y = network.predict(x) + torch.tensor([1.0, -1.0])
    found = linearise(network, x, y, loss="quadratic", kernel=kernel, step_size=0.1, steps=[5])
    assert found.distance.tolist() == [0]


def test_distances_cost_matrices_and_are_left_out_where_not_wanted():
    network = DRAWS["zou"](16)
    bare = linearise(network, X, Y, loss="hinge", step_size=0.1, steps=3, distances=False)
    assert bare.distances is None
    full = linearise(network, X, Y, loss="hinge", step_size=0.1, steps=3)
    torch.testing.assert_close(bare.distance, full.distance)
    torch.testing.assert_close(full.kernel.gram, sum(layer_grams(network, X)))


def test_without_a_step_size_it_is_half_of_the_stable_one():
    network = DRAWS["du"](16)
    found = linearise(network, X, Y, loss="cross-entropy", steps=2)
    largest = float(torch.linalg.eigvalsh(empirical_gram(network, X))[-1])
    assert found.largest_stable_step_size == pytest.approx(2 * 8 / (0.25 * largest))
    assert found.step_size == found.largest_stable_step_size / 2
    assert linearise(network, X, Y, loss="hinge", step_size=1, steps=1).step_size == 1.0


def test_single_precision_and_derivatives_outside():
    network = DRAWS["chen"](16).to(dtype=torch.float32)
    weights = tuple(weight.requires_grad_() for weight in network.weights)
    leaf = type(network)(weights, network.outputs, network.gains, network.output_gain, "all")
    x, y, test = (each.float().requires_grad_() for each in (X, Y, TEST))
    found = linearise(leaf, x, y, loss="quadratic", steps=torch.tensor(3), test=test)
    known = linearise(DRAWS["chen"](16), X, Y, loss="quadratic", steps=3, test=TEST)
    for name in ("predictions", "test_predictions", "losses", "distances", "distance"):
        assert getattr(found, name).dtype == torch.float32
        assert not getattr(found, name).requires_grad
        torch.testing.assert_close(
            getattr(found, name), getattr(known, name).float(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"network": 3}, "network is 3; give a ReLUNetwork"),
        ({"loss": "squared"}, "there is no loss 'squared'"),
        ({"steps": None}, "give either steps, of gradient descent, or times, of gradient flow"),
        ({"times": [1.0]}, "give either steps, of gradient descent, or times"),
        ({"steps": None, "times": [1.0], "step_size": 1.0}, "step_size is of gradient descent"),
        ({"loss": "hinge"}, "no step size of the hinge loss is stable for certain"),
        ({"step_size": -1}, "step_size is -1.0; it must be a positive number"),
        ({"steps": -1}, "a number of steps is -1|steps is -1; it must be at least 0"),
        ({"steps": [3, 2]}, "steps must be finite and increase"),
        ({"kernel": "emprical"}, "there is no kernel 'emprical'; did you mean 'empirical'"),
        ({"kernel": np.eye(3)}, r"kernel has shape \(3, 3\); for 8 inputs \(8, 8\) is needed"),
        ({"kernel": np.eye(8), "test": TEST}, "give that of x with test, too, as cross"),
        ({"kernel": np.eye(8), "test": TEST, "cross": np.eye(8)}, r"cross has shape \(8, 8\)"),
        ({"kernel": np.eye(8), "test": TEST, "cross": torch.ones(8, 4)}, "torch.float32; "),
        ({"kernel": "infinite", "parameterisation": "jacot"}, "there is no parameterisation"),
        ({"y": Y[:3]}, r"labels has shape \(3,\)"),
        ({"test": TEST / 0}, "test input 0 holds a number that is not finite"),
        ({"memory_budget": 10.0}, "memory_budget is 10 bytes"),
        ({"memory_budget": 10.0, "distances": False}, "memory_budget is 10 bytes"),
        ({"memory_budget": 10.0, "kernel": "infinite"}, "memory_budget is 10 bytes"),
        (
            {"memory_budget": 10.0, "kernel": "infinite", "network": DRAWS["du, output"](16)},
            "memory_budget is 10 bytes",
        ),
        (
            {"memory_budget": 3e5, "test": sphere(5000, 5, 0).x},
            r"3e\+05 bytes; the matrix of 8 x 5000",
        ),
        ({"kernel": np.zeros((8, 8))}, "no step size .* is stable for certain, or any is; give"),
    ],
)
def test_what_does_not_fit_is_refused(changed, told):
    arguments = {"network": DRAWS["du"](16), "x": X, "y": Y, "loss": "quadratic", "steps": 2}
    with pytest.raises(InputError, match=told):
        linearise(**(arguments | changed))


def test_the_limit_asks_for_equal_widths_and_what_the_paper_trains():
    uneven = draw_zou([8, 16], 5, 0, dtype=torch.float64)
    with pytest.raises(InputError, match=r"widths are \[8, 16\]; the limit needs equal ones"):
        limit_kernel(uneven, X)
    with pytest.raises(InputError, match="trained is 'all'; for 'zou' it can be hidden"):
        limit_kernel(DRAWS["zou"](8).training("all"), X)
    with pytest.raises(InputError, match="trained is 'output'; for 'zou' it can be hidden"):
        limit_kernel(DRAWS["zou"](8).training("output"), X)
    assert math.isclose(float(limit_kernel(DRAWS["zou"](8), X)[0, 0]), 8.0)
