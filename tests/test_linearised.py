"""A frozen kernel against repeated multiplication, matrix exponentials, SciPy and wide networks."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import pair_at_angle, sphere
from companion.errors import InputError
from companion.kernels import empirical_gram, infinite_width_gram, infinite_width_ntk
from companion.linearised import FrozenKernel, changes, frozen
from companion.losses import (
    CROSS_ENTROPY,
    EXPONENTIAL,
    HINGE,
    LOSSES,
    QUADRATIC,
    SQUARED_HINGE,
)
from companion.networks import draw_chen, draw_du, draw_zou
from companion.training import flow, train
from tests.modes import OneDevice
from tests.oracles import linearised_descent_residual, linearised_flow_residual

X, Y = sphere(6, 5, 1).x, sphere(6, 5, 1).y
CLOSE = torch.cat([X, pair_at_angle(1e-6, 5), pair_at_angle(1e-6, 5)[:1]])
GRAMS = {
    "two layers": empirical_gram(draw_du(40, 5, 1, dtype=torch.float64), X),
    "both layers": empirical_gram(draw_du(40, 5, 1, trained="all", dtype=torch.float64), X),
    "deep": empirical_gram(draw_chen(20, 5, 1, depth=3, dtype=torch.float64), X) / 20,
    "infinite width": infinite_width_ntk(X, depth=3),
    "of rank one": torch.ones(6, 6, dtype=torch.float64),
    "zero": torch.zeros(6, 6, dtype=torch.float64),
    "duplicates": infinite_width_gram(torch.cat([X, X[:3]])),
    "nearly duplicates": infinite_width_gram(CLOSE),
}
EVERY = pytest.mark.parametrize("gram", GRAMS.values(), ids=GRAMS)
SMOOTH = [CROSS_ENTROPY, EXPONENTIAL, SQUARED_HINGE, QUADRATIC]


def start_and_labels(count):
    """Predictions to begin with, and real labels."""
    return sphere(count, 3, 7).y, sphere(count, 3, 8).y


def descent_by_steps(gram, start, y, step_size, steps, loss):
    """Predictions and impulses after every step, the loss differentiated by autograd."""
    now, impulse = start.clone(), torch.zeros_like(start)
    path = [(now, impulse)]
    for _ in range(steps):
        leaf = now.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(loss.values(leaf, y).mean(), leaf)
        now, impulse = now - step_size * gram @ slopes, impulse - step_size * slopes
        path.append((now, impulse))
    return path


@EVERY
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_descent_is_repeated_multiplication(gram, loss):
    start, y = start_and_labels(len(gram))
    y = y.sign() if loss.of_margin else y
    path = descent_by_steps(gram, start, y, 0.7, 30, loss)
    steps = [0, 1, 2, 11, 30]
    found = FrozenKernel(gram).descent(start, y, step_size=0.7, steps=steps, loss=loss)
    assert found.at.tolist() == steps
    for place, step in enumerate(steps):
        torch.testing.assert_close(found.predictions[place], path[step][0], rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(found.impulses[place], path[step][1], rtol=1e-11, atol=1e-11)


@EVERY
def test_the_quadratic_flow_is_a_matrix_exponential(gram):
    n, (start, y) = len(gram), start_and_labels(len(gram))
    times = [0.0, 0.7, 3.0, 400.0]
    found = FrozenKernel(gram).flow(start, y, times=times)
    # d/dt of the residual r is -K r / n, and of the impulse -r / n.
    block = np.zeros((2 * n, 2 * n))
    block[:n, :n], block[n:, :n] = -gram.numpy() / n, -np.eye(n) / n
    begun = np.concatenate([(start - y).numpy(), np.zeros(n)])
    for place, time in enumerate(times):
        residual = linearised_flow_residual(gram / n, start - y, time)
        torch.testing.assert_close(found.predictions[place], residual + y, rtol=1e-9, atol=1e-10)
        moved = torch.from_numpy((scipy.linalg.expm(block * time) @ begun)[n:])
        torch.testing.assert_close(found.impulses[place], moved, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "loss", [CROSS_ENTROPY, EXPONENTIAL, SQUARED_HINGE], ids=lambda loss: loss.name
)
@pytest.mark.parametrize("name", ["two layers", "infinite width", "duplicates"])
def test_flows_of_other_losses_are_those_of_scipy(name, loss):
    gram, (start, y) = GRAMS[name], start_and_labels(len(GRAMS[name]))
    n, y = len(gram), y.sign()

    def velocity(_, state):
        leaf = torch.from_numpy(state[:n].copy()).requires_grad_()
        (slopes,) = torch.autograd.grad(loss.values(leaf, y).mean(), leaf)
        return -torch.cat([gram @ slopes, slopes]).numpy()

    times = [0.0, 1.5, 40.0]
    begun = np.concatenate([start.numpy(), np.zeros(n)])
    known = scipy.integrate.solve_ivp(
        velocity, (0, 40), begun, t_eval=times, method="LSODA", rtol=1e-11, atol=1e-12
    ).y.T
    found = FrozenKernel(gram).flow(start, y, times=times, loss=loss, tolerance=1e-11)
    np.testing.assert_allclose(found.predictions, known[:, :n], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.impulses, known[:, n:], rtol=1e-8, atol=1e-8)
    usual = FrozenKernel(gram).flow(start, y, times=times[1:], loss=loss)
    np.testing.assert_allclose(usual.predictions, known[1:, :n], rtol=1e-5, atol=1e-5)
    only = FrozenKernel(gram).flow(start, y, times=[0], loss=loss)
    assert only.predictions.tolist() == [start.tolist()]
    assert only.impulses.tolist() == [[0.0] * n]


def test_the_flow_of_the_hinge_is_straight_until_a_margin_is_one():
    gram, (start, y) = GRAMS["infinite width"], (torch.zeros(6).double(), Y.sign())
    pull = gram @ y / 6
    first = float((1 / (y * pull))[y * pull > 0].min())
    times = [0.5 * first, 0.99 * first]
    found = FrozenKernel(gram).flow(start, y, times=times, loss=HINGE)
    torch.testing.assert_close(found.predictions, torch.tensor(times).double()[:, None] * pull)
    expected = torch.tensor(times).double()[:, None] * y / 6
    torch.testing.assert_close(found.impulses, expected)


def test_a_margin_that_slides_is_refused_and_not_waited_for(monkeypatch):
    """Two inputs of one direction and other labels pull at each other's margin."""
    monkeypatch.setattr(frozen, "_MOST_STEPS", 300)
    gram, y = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double(), torch.tensor([1.0, -1.0]).double()
    kernel, start = FrozenKernel(gram), torch.tensor([0.99, 2.0]).double()
    with pytest.raises(InputError, match=r"the flow cannot be followed to tolerance 1e-08 \(max_"):
        kernel.flow(start, y, times=[2.0], loss=HINGE)
    slid = kernel.descent(start, y, step_size=1e-3, steps=[2000], loss=HINGE).predictions[0]
    assert float(slid[0]) == pytest.approx(1, abs=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(GRAMS)), st.sampled_from(SMOOTH), st.floats(0.01, 5))
def test_what_predictions_gain_is_the_kernel_times_the_impulse(name, loss, amount):
    gram, (start, y) = GRAMS[name], start_and_labels(len(GRAMS[name]))
    y, kernel = y.sign(), FrozenKernel(gram)
    for found in (
        kernel.descent(start, y, step_size=amount, steps=[5], loss=loss),
        kernel.flow(start, y, times=[amount], loss=loss),
    ):
        gained = found.predictions - start
        torch.testing.assert_close(gained, found.impulses @ gram, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("loss", SMOOTH, ids=lambda loss: loss.name)
def test_small_steps_are_the_flow_and_two_flows_in_turn_are_one(loss):
    kernel, (start, y) = FrozenKernel(GRAMS["two layers"]), start_and_labels(6)
    y = y.sign()
    whole = kernel.flow(start, y, times=[2.0, 5.0], loss=loss)
    gaps = []
    for steps in (1000, 2000):
        found = kernel.descent(start, y, step_size=5 / steps, steps=[steps], loss=loss)
        gaps.append(float((found.predictions - whole.predictions[1:]).norm()))
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.01)  # Euler's method is of first order
    rest = kernel.flow(whole.predictions[0], y, times=[3.0], loss=loss)
    torch.testing.assert_close(rest.predictions[0], whole.predictions[1], rtol=1e-6, atol=1e-6)
    both = whole.impulses[0] + rest.impulses[0]
    torch.testing.assert_close(both, whole.impulses[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_many_starts_are_each_as_alone(loss, shape):
    kernel, y = FrozenKernel(GRAMS["duplicates"]), Y.sign()[[0, 1, 2, 3, 4, 5, 0, 1, 2]]
    starts = sphere(9 * math.prod(shape), 3, 2).y.reshape(*shape, 9)
    for road in (
        lambda start: kernel.descent(start, y, step_size=0.5, steps=[0, 3, 8], loss=loss),
        lambda start: kernel.flow(start, y, times=[0, 0.1, 0.2], loss=loss, tolerance=1e-10),
    ):
        together = road(starts)
        assert together.predictions.shape == together.impulses.shape == (3, *shape, 9)
        for place in np.ndindex(*shape):
            alone = road(starts[place])
            for found, known in [
                (together.predictions, alone.predictions),
                (together.impulses, alone.impulses),
            ]:
                torch.testing.assert_close(found[:, *place], known, rtol=1e-6, atol=1e-7)


def test_beyond_the_stable_step_size_it_grows_as_repeated_multiplication_does():
    gram, (start, y) = GRAMS["two layers"], start_and_labels(6)
    kernel = FrozenKernel(gram)
    largest = float(torch.linalg.eigvalsh(gram)[-1])
    assert kernel.largest_stable_step_size == pytest.approx(2 * 6 / largest)
    for share, grows in [(0.98, False), (1.02, True), (5.0, True)]:
        eta = share * kernel.largest_stable_step_size
        found = kernel.descent(start, y, step_size=eta, steps=[0, 200])
        known = linearised_descent_residual(gram, start - y, eta / 6, 200)
        torch.testing.assert_close(found.predictions[1] - y, known, rtol=1e-8, atol=1e-10)
        assert (float(known.norm()) > float((start - y).norm())) == grows
    assert FrozenKernel(GRAMS["zero"]).largest_stable_step_size == math.inf


@pytest.mark.parametrize("loss", [CROSS_ENTROPY, SQUARED_HINGE, QUADRATIC], ids=lambda it: it.name)
@pytest.mark.parametrize("name", ["two layers", "deep", "duplicates"])
def test_below_its_stable_step_size_no_loss_ever_grows(name, loss):
    kernel, (start, y) = FrozenKernel(GRAMS[name]), start_and_labels(len(GRAMS[name]))
    step = 0.999 * kernel.stable_step_size(loss)
    found = kernel.descent(start, y.sign(), step_size=step, steps=range(50), loss=loss)
    means = loss.values(found.predictions, y.sign()).mean(dim=-1)
    assert bool((means.diff() <= 1e-15).all())
    known = 2 * len(start) / (loss.smoothness * float(torch.linalg.eigvalsh(GRAMS[name])[-1]))
    assert kernel.stable_step_size(loss.name) == pytest.approx(known)


def test_losses_without_a_bound_on_their_curvature_have_no_stable_step_size():
    kernel = FrozenKernel(GRAMS["deep"])
    assert kernel.stable_step_size(HINGE) is kernel.stable_step_size("exponential") is None
    assert FrozenKernel(GRAMS["zero"]).stable_step_size("cross-entropy") == math.inf


def test_the_largest_eigenvalue_needs_no_decomposition_and_agrees_with_it():
    gram = infinite_width_ntk(sphere(200, 10, 0).x, depth=2)
    kernel, known = FrozenKernel(gram), FrozenKernel(gram)
    assert kernel.largest_eigenvalue == pytest.approx(float(known.eigenvalues[-1]), rel=1e-12)
    assert "_decomposition" not in vars(kernel)
    assert known.largest_eigenvalue == float(known.eigenvalues[-1])


def test_arrays_are_taken_in_the_dtype_of_the_matrix():
    gram, (start, y) = GRAMS["deep"].float(), start_and_labels(6)
    known = FrozenKernel(gram).descent(start.float(), y.float(), step_size=1, steps=[3])
    kernel = FrozenKernel(gram.numpy())
    for found in (
        kernel.descent(start.numpy(), y.numpy(), step_size=1, steps=[3]),
        kernel.descent(start.float(), y.numpy(), step_size=1, steps=[3], loss="quadratic"),
    ):
        assert found.predictions.tolist() == known.predictions.tolist()
    network = draw_du(8, 5, 0, dtype=torch.float64)
    (moved,) = changes(network, X.numpy(), Y.numpy())
    assert moved.tolist() == changes(network, X, Y)[0].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_runs_keep_their_digits_and_the_sign_of_odd_steps(dtype):
    """(1 - 2)^k; and (1 - x)^k of small x, whose float32 is off by k / 2^24."""
    one, start, y = torch.ones(1, 1, dtype=dtype), torch.ones(1, dtype=dtype), torch.zeros(1)
    steps = [10**8, 10**8 + 1]
    found = FrozenKernel(one).descent(start, y.to(dtype), step_size=2, steps=steps)
    assert found.predictions.tolist() == [[1.0], [-1.0]]
    found = FrozenKernel(one).descent(start, y.to(dtype), step_size=2**-20, steps=[2**20])
    # Next order: exp(-1) (1 - x / 2).
    expected = math.exp(-1) * (1 - 2**-21)
    assert float(found.predictions) == pytest.approx(expected, rel=4 * torch.finfo(dtype).eps)
    assert float(found.impulses) == pytest.approx(expected - 1, rel=4 * torch.finfo(dtype).eps)


@EVERY
@pytest.mark.parametrize("loss", [QUADRATIC, CROSS_ENTROPY], ids=lambda loss: loss.name)
def test_float32_gives_float32_with_its_digits(gram, loss):
    start, y = start_and_labels(len(gram))
    single, y = gram.float(), y.sign()
    for road in (
        lambda k, *args: k.descent(*args, step_size=1.0, steps=[3, 5000], loss=loss),
        lambda k, *args: k.flow(*args, times=[3, 5000], loss=loss),
    ):
        found = road(FrozenKernel(single), start.float(), y.float())
        known = road(FrozenKernel(single.double()), start.float().double(), y)
        for ours, theirs in [
            (found.predictions, known.predictions),
            (found.impulses, known.impulses),
        ]:
            assert ours.dtype == torch.float32
            torch.testing.assert_close(ours, theirs.float(), rtol=1e-6, atol=1e-6)


def test_duplicates_with_different_labels_keep_their_residual_for_ever():
    gram, start = GRAMS["duplicates"], torch.zeros(9, dtype=torch.float64)
    y = torch.cat([Y, Y[:3] + 1])
    kernel = FrozenKernel(gram)
    for found in (
        kernel.descent(start, y, step_size=0.9 * kernel.largest_stable_step_size, steps=[10**6]),
        kernel.flow(start, y, times=[1e7]),
    ):
        ended = found.predictions[0]
        torch.testing.assert_close(ended[:3], Y[:3] + 0.5, rtol=0, atol=1e-6)
        torch.testing.assert_close(ended[6:], ended[:3], rtol=0, atol=1e-7)
        torch.testing.assert_close(ended[3:6], Y[3:], rtol=0, atol=1e-6)
    # Half of the gap goes on pulling at each for ever, at opposite sides.
    at_the_end = kernel.flow(start, y, times=[1e6, 2e6]).impulses
    pulled = (at_the_end[1] - at_the_end[0])[:3]
    torch.testing.assert_close(pulled, torch.full((3,), -0.5 * 1e6 / 9).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])
def test_networks_whose_outputs_alone_are_trained_do_exactly_that(draw, loss):
    """Then f is linear in what is trained, at every width."""
    network = draw(8, 5, 0, depth=2, dtype=torch.float64).training("output")
    y = Y.sign() if loss.of_margin else Y
    gram, start = empirical_gram(network, X), network.predict(X)
    kernel = FrozenKernel(gram)
    eta = 0.3 * kernel.largest_stable_step_size
    record = {"f": lambda moment: moment.forward.predictions}
    history = train(network, X, y, loss=loss, step_size=eta, steps=20, record=record)
    found = kernel.descent(start, y, step_size=eta, steps=range(21), loss=loss)
    np.testing.assert_allclose(found.predictions, history["f"], rtol=1e-9, atol=1e-11)
    (moved,) = changes(network, X, found.impulses[-1])
    torch.testing.assert_close(history.network.outputs - network.outputs, moved)
    if loss is not HINGE:
        times = [0.0, eta, 5 * eta]
        known = flow(network, X, y, loss=loss, times=times, record=record, tolerance=1e-9)
        found = kernel.flow(start, y, times=times, loss=loss, tolerance=1e-10)
        np.testing.assert_allclose(found.predictions, known["f"], rtol=1e-6, atol=1e-6)
        (moved,) = changes(network, X, found.impulses[-1])
        ended = known.network.outputs - network.outputs
        torch.testing.assert_close(ended, moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [QUADRATIC, CROSS_ENTROPY, SQUARED_HINGE], ids=lambda it: it.name)
@pytest.mark.parametrize("kind", ["du", "du, all", "zou", "chen"])
def test_wide_networks_do_nearly_that_and_the_wider_the_more(kind, loss):
    """Predictions and every trained tensor, of the width that the kernel is taken at."""
    y, gaps = Y.sign(), []
    for width in (64, 4096):
        network = {
            "du": lambda m: draw_du(m, 5, 0, dtype=torch.float64),
            "du, all": lambda m: draw_du(m, 5, 0, trained="all", dtype=torch.float64),
            "zou": lambda m: draw_zou(m, 5, 0, depth=1, dtype=torch.float64),
            "chen": lambda m: draw_chen(m, 5, 0, depth=1, dtype=torch.float64),
        }[kind](width)
        kernel, start = FrozenKernel(empirical_gram(network, X)), network.predict(X)
        eta = 0.3 * kernel.largest_stable_step_size
        history = train(network, X, y, loss=loss, step_size=eta, steps=5)
        found = kernel.descent(start, y, step_size=eta, steps=[5], loss=loss)
        gap = (history.network.predict(X) - found.predictions[0]).norm() / (start - y).norm()
        far = [gap]
        expected = changes(network, X, found.impulses[0])
        for now, before, step in zip(
            history.network.parameters, network.parameters, expected, strict=True
        ):
            far.append((now - before - step).norm() / step.norm())
        gaps.append([float(each) for each in far])
    narrow, wide = np.array(gaps)
    assert (wide < 0.1).all()
    assert (wide < narrow / 2).all()


def test_the_limit_predicts_a_very_wide_network():
    y, width = Y.sign(), 2**16
    network = draw_du(width, 5, 0, dtype=torch.float64)
    kernel, start = FrozenKernel(infinite_width_gram(X)), network.predict(X)
    eta = 0.3 * kernel.largest_stable_step_size
    history = train(network, X, y, loss=CROSS_ENTROPY, step_size=eta, steps=20)
    found = kernel.descent(start, y, step_size=eta, steps=[20], loss=CROSS_ENTROPY)
    gap = (history.network.predict(X) - found.predictions[0]).norm()
    assert float(gap / (found.predictions[0] - start).norm()) < 0.02
    scaled = infinite_width_ntk(X, depth=1) * width  # of Zou et al. it is the limit of K / m
    deep = empirical_gram(draw_zou(width, 5, 0, depth=1, dtype=torch.float64), X)
    torch.testing.assert_close(scaled / width, deep / width, rtol=0, atol=0.02)


STARTS = torch.zeros(6, dtype=torch.float64)
OPTIONS = {"start": STARTS, "y": Y.sign(), "step_size": 0.1, "steps": [1], "times": [1.0]}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"steps": [3, 1]}, "steps must be finite and increase"),
        ({"steps": [1, 1]}, "steps must be finite and increase"),
        ({"steps": [-1, 1]}, "steps must be .* none below 0"),
        ({"steps": []}, "steps must be .* at least one of them"),
        ({"steps": [1.5]}, "a number of steps is 1.5; it must be a whole number"),
        ({"steps": 3}, "steps is 3; give a list of whole numbers"),
        ({"times": [3, 1]}, "times must be finite and increase"),
        ({"times": [1.0, 1.0]}, "times must be finite and increase"),
        ({"times": [-1.0, 1.0]}, "times must be .* none below 0"),
        ({"times": [math.inf]}, "times must be finite"),
        ({"times": [0, math.nan]}, "times must be finite"),
        ({"times": []}, "times must be .* at least one of them"),
        ({"times": ["1"]}, "a time is '1'; it must be a number"),
        ({"times": 1.0}, "times is 1.0; give a list of numbers"),
        ({"tolerance": 0}, "tolerance is 0.0; it must be a positive number"),
        ({"step_size": 0}, "step_size is 0.0; it must be a positive number"),
        ({"step_size": -0.1}, "step_size is -0.1; it must be a positive number"),
        ({"step_size": math.nan}, "step_size is nan; it must be a positive number"),
        ({"start": STARTS[:5]}, r"start has shape \(5,\), .*; \(\.\.\., 6\), torch.float64 is"),
        ({"start": STARTS[:, None]}, r"start has shape \(6, 1\)"),
        ({"start": STARTS.sum()}, r"start has shape \(\)"),
        ({"start": STARTS.float()}, "start has shape .*, torch.float32; .* as gram is"),
        ({"start": STARTS.to("meta")}, "start is on meta but meets tensors on cpu"),
        ({"start": STARTS / 0}, "row of start 0 holds a number that is not finite"),
        ({"y": STARTS[:5]}, r"labels has shape \(5,\)"),
        ({"y": torch.ones(2, 6).double()}, r"labels has shape \(2, 6\)"),
        ({"y": STARTS.float()}, "labels has shape .*, torch.float32"),
        ({"y": STARTS / 0}, "label 0 holds a number that is not finite"),
        ({"y": STARTS, "loss": HINGE}, "label 0 is 0; labels must be -1 or \\+1"),
        ({"loss": 3}, "loss is 3; give a Loss, or the name of one"),
        ({"loss": "hinges"}, "there is no loss 'hinges'; did you mean 'hinge'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(changed, told):
    kernel = FrozenKernel(GRAMS["two layers"])
    for road, own in [(kernel.descent, ("step_size", "steps")), (kernel.flow, ("times",))]:
        names = {"start", "y", "loss", *own, *(["tolerance"] if road == kernel.flow else [])}
        if changed.keys() <= names:
            options = {name: value for name, value in OPTIONS.items() if name in names} | changed
            with pytest.raises(InputError, match=told):
                road(**options)


@pytest.mark.parametrize(
    ("gram", "told"),
    [
        (torch.ones(2, 3), r"gram has shape \(2, 3\); it must be \(n, n\)"),
        (torch.ones(3), r"gram has shape \(3,\)"),
        (torch.ones(0, 0), r"gram has shape \(0, 0\)"),
        (torch.eye(3).half(), "gram is torch.float16; it must be torch.float32 or torch.float64"),
        (torch.eye(3) / 0, "row of gram 0 holds a number that is not finite"),
        (torch.eye(3).triu() + torch.ones(3, 3).triu(1), "gram is not symmetric: an entry differs"),
    ],
)
def test_what_is_no_gram_matrix_is_refused(gram, told):
    with pytest.raises(InputError, match=told):
        FrozenKernel(gram)


def test_asymmetry_is_seen_everywhere_and_at_every_scale():
    gram = torch.eye(300, dtype=torch.float64)
    gram[290, 280] = 1e-3
    for scale in (1e-9, 1, 1e9):
        with pytest.raises(InputError, match="gram is not symmetric: an entry differs by"):
            FrozenKernel(scale * gram)
    FrozenKernel(1e9 * gram.fill_diagonal_(1e6))  # then it is within rounding


def test_rounding_of_products_does_not_count_as_asymmetry():
    x = sphere(200, 20, 0).x.float()
    gram = empirical_gram(draw_du(64, 20, 0), x)
    FrozenKernel(gram + 1e-6 * torch.rand(200, 200, generator=torch.Generator().manual_seed(0)))


def test_derivatives_outside_are_left_alone():
    start, y = start_and_labels(6)
    network = draw_du(8, 5, 0, trained="all", dtype=torch.float64)
    known = changes(network, X, Y)
    leaves = [each.clone().requires_grad_() for each in (GRAMS["deep"], start, y.sign())]
    kernel = FrozenKernel(leaves[0])
    assert kernel.largest_stable_step_size > 0
    for loss in (QUADRATIC, CROSS_ENTROPY):
        for found in (
            kernel.descent(*leaves[1:], step_size=0.1, steps=[2], loss=loss),
            kernel.flow(*leaves[1:], times=[0.1], loss=loss),
        ):
            assert not found.predictions.requires_grad
            assert not found.impulses.requires_grad
    leaf = network.moved([each.clone().requires_grad_() for each in network.parameters])
    moved = changes(leaf, X.clone().requires_grad_(), Y.clone().requires_grad_())
    for found, expected in zip(moved, known, strict=True):
        assert not found.requires_grad
        assert torch.equal(found, expected)


def test_an_impulse_that_does_not_fit_is_refused():
    network = draw_du(4, 5, 0, dtype=torch.float64)
    for impulse, told in [(Y[:5], r"impulse has shape \(5,\); \(6,\) is needed"), (Y[None], "6")]:
        with pytest.raises(InputError, match=told):
            changes(network, X, impulse)
    with pytest.raises(InputError, match=r"the network takes \(n, 5\)"):
        changes(network, X[:, :4], Y)
    with pytest.raises(InputError, match="input 0 holds a number that is not finite"):
        changes(network, X / 0, Y)


def test_everything_stays_on_the_device_of_the_matrix():
    with OneDevice():
        x, y = X.to("meta"), Y.to("meta")
        network = draw_du(4, 5, 0, dtype=torch.float64, device="meta")
        kernel = FrozenKernel(empirical_gram(network, x))
        start = network.predict(x)
        runs = [
            kernel.descent(start, y, step_size=0.1, steps=[0, 3]),
            kernel.flow(start, y, times=[0, 3]),
        ]
        moved = changes(network, x, runs[0].impulses[-1])
    for run in runs:
        assert {each.device.type for each in (run.at, run.predictions, run.impulses)} == {"meta"}
    assert moved[0].device.type == "meta"
