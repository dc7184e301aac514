"""NTRF quantities against solvers in parameter space, closed forms, and a support vector machine.

The second road never sees a Gram matrix: it has the Jacobian by automatic differentiation, and
minimises over the parameters themselves with SciPy's SLSQP, or it is a formula for n = 1 and 2.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC
from torch import Tensor

from companion.datasets import pair_at_angle, sphere
from companion.errors import InputError
from companion.kernels import infinite_width_gram, layer_grams
from companion.networks import ReLUNetwork, draw_chen
from companion.ntrf import (
    Optimum,
    class_value,
    ji_telgarsky_margin,
    margin_target,
    ntrf_margin,
    regression_radius,
    smallest_radius,
)

BALLS = ["per-layer", "single"]
seeds = st.integers(0, 10**6)


@dataclass(frozen=True)
class Case:
    """A small network at initialisation with data: what the tests start from."""

    network: ReLUNetwork
    x: Tensor
    y: Tensor

    @property
    def f(self) -> Tensor:
        return self.network.predict(self.x)

    @property
    def grams(self) -> list[Tensor]:
        return layer_grams(self.network, self.x)

    @property
    def gram(self) -> Tensor:
        return torch.stack(self.grams).sum(0)

    def jacobians(self) -> list[np.ndarray]:
        """Per trained tensor, y_i df(x_i)/dW_l flattened, by automatic differentiation."""
        leaves = [tensor.clone().requires_grad_() for tensor in self.network.parameters]
        hidden = self.x
        for weight in leaves[:-1]:
            hidden = torch.relu(hidden @ weight.T)
        f = self.network.output_gain * hidden @ leaves[-1]
        rows = [torch.autograd.grad(value, leaves, retain_graph=True) for value in self.y * f]
        return [torch.stack([row[k].flatten() for row in rows]).numpy() for k in range(len(leaves))]


def case(seed: int = 0, count: int = 8, dimension: int = 3, width: int = 6, depth: int = 2) -> Case:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator).double() * 2 - 1
    network = draw_chen(width, dimension, seed, depth=depth, dtype=torch.float64)
    return Case(network, sphere(count, dimension, seed).x, y)


def blocks(flat: np.ndarray, jacobians: list[np.ndarray], ball: str) -> list[np.ndarray]:
    """The parts of a flat parameter vector whose norms the ball bounds."""
    ends = np.cumsum([rows.shape[1] for rows in jacobians])[:-1]
    return np.split(flat, ends) if ball == "per-layer" else [flat]


def in_ball(jacobians: list[np.ndarray], ball: str, squared_radius) -> dict:
    """SciPy's constraint squared_radius(v) - ||block of v||^2 >= 0."""

    def slack(v: np.ndarray) -> np.ndarray:
        size = sum(rows.shape[1] for rows in jacobians)
        parts = blocks(v[:size], jacobians, ball)
        return np.array([squared_radius(v) - part @ part for part in parts])

    return {"type": "ineq", "fun": slack}


def primal_class_value(given: Case, radius: float, ball: str) -> float:
    """The least loss over explicit parameters by SLSQP."""
    jacobians = given.jacobians()
    rows, start = np.hstack(jacobians), (given.y * given.f).numpy()

    def loss(v: np.ndarray) -> float:
        return float(np.mean([math.log1p(math.exp(-z)) for z in start + rows @ v]))

    def slope(v: np.ndarray) -> np.ndarray:
        return rows.T @ (-1 / (1 + np.exp(start + rows @ v))) / len(start)

    found = scipy.optimize.minimize(
        loss,
        np.zeros(rows.shape[1]),
        jac=slope,
        method="SLSQP",
        constraints=in_ball(jacobians, ball, lambda v: radius**2),
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return float(found.fun)


def primal_radius(given: Case, margin: float, ball: str) -> float:
    """The least radius over explicit parameters and the radius itself, by SLSQP."""
    jacobians = given.jacobians()
    rows, start = np.hstack(jacobians), (given.y * given.f).numpy()
    first = np.linalg.lstsq(rows, np.maximum(margin - start, 0), rcond=None)[0]
    found = scipy.optimize.minimize(
        lambda v: v[-1],
        np.append(first, np.linalg.norm(first)),
        jac=lambda v: np.eye(len(v))[-1],
        method="SLSQP",
        constraints=[
            in_ball(jacobians, ball, lambda v: v[-1] ** 2),
            {"type": "ineq", "fun": lambda v: start + rows @ v[:-1] - margin},
        ],
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return float(found.x[-1])


def moved(given: Case, found: Optimum) -> tuple[list[Tensor], Tensor]:
    """V from the coefficients by the network's own gradients, and y times the predictions at V."""
    forward = given.network.run(given.x)
    v = [given.network.gradients(forward, c)[layer] for layer, c in enumerate(found.coefficients)]
    steps = [
        torch.from_numpy(rows) @ part.flatten()
        for rows, part in zip(given.jacobians(), v, strict=True)
    ]
    return v, given.y * given.f + torch.stack(steps).sum(0)


def radius_of(v: list[Tensor], ball: str) -> float:
    norms = torch.stack([part.norm() for part in v])
    return float(norms.max() if ball == "per-layer" else norms.norm())


def agree(one: Optimum, other: Optimum, factor: float = 1.0) -> None:
    """Both are `factor` apart, within what their bounds leave open, and that is little."""
    for found in (one, other):
        assert found.lower == found.upper or found.gap <= 1e-4 * found.upper
    assert one.lower <= factor * other.upper * (1 + 1e-12)
    assert factor * other.lower <= one.upper * (1 + 1e-12)


def mean_loss(margins: Tensor) -> float:
    return float(torch.log1p(torch.exp(-margins)).mean())


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("radius", [0.03, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_class_value_is_the_minimum_over_parameters(seed, radius, ball):
    given = case(seed)
    found = class_value(given.grams, given.f, given.y, radius, ball=ball)
    assert found.value == pytest.approx(primal_class_value(given, radius, ball), rel=1e-6)
    assert 0 <= found.gap <= 1e-10 * found.value


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_smallest_radius_is_the_minimum_over_parameters(seed, ball):
    given = case(seed)
    found = smallest_radius(given.grams, given.f, given.y, 1.0, ball=ball)
    assert found.value == pytest.approx(primal_radius(given, 1.0, ball), rel=1e-6)
    assert 0 <= found.gap <= 1e-8 * found.value


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(1e-2, 3))
def test_coefficients_attain_the_class_value_within_the_ball(ball, seed, radius):
    given = case(seed)
    found = class_value(given.grams, given.f, given.y, radius, ball=ball)
    v, margins = moved(given, found)
    assert radius_of(v, ball) <= radius * (1 + 1e-12)
    assert mean_loss(margins) == pytest.approx(found.value, rel=1e-9)
    assert torch.allclose(found.dual, torch.sigmoid(-margins), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(1e-3, 0.6))
def test_the_smallest_radius_reaches_the_target_and_a_smaller_one_does_not(ball, seed, max_loss):
    given = case(seed, count=5)
    found = smallest_radius(given.grams, given.f, given.y, margin_target(max_loss), ball=ball)
    if found.value in (0, math.inf):
        return
    v, margins = moved(given, found)
    assert radius_of(v, ball) == pytest.approx(found.value, rel=1e-7)
    assert float(torch.log1p(torch.exp(-margins)).max()) <= max_loss * (1 + 1e-9)
    # The dual of the largest loss itself, a weighted mean, shows that less does not suffice.
    weights = found.dual / found.dual.sum()
    steps = [np.linalg.norm(weights.numpy() @ rows) for rows in given.jacobians()]
    reach = sum(steps) if ball == "per-layer" else math.hypot(*steps)
    mean_margin = float(weights @ (given.y * given.f)) + 0.999 * found.value * reach
    assert mean_margin < margin_target(max_loss)


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(1e-3, 10))
def test_balls_are_nested(seed, radius):
    given = case(seed)
    root = math.sqrt(len(given.grams))
    inner = class_value(given.grams, given.f, given.y, radius, ball="single")
    middle = class_value(given.grams, given.f, given.y, radius)
    outer = class_value(given.grams, given.f, given.y, root * radius, ball="single")
    assert inner.upper >= middle.lower
    assert middle.upper >= outer.lower
    single = smallest_radius(given.grams, given.f, given.y, 2.0, ball="single")
    layered = smallest_radius(given.grams, given.f, given.y, 2.0)
    assert layered.lower <= single.upper
    assert single.lower <= root * layered.upper


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(0, 5), st.floats(0, 5), st.floats(0, 1))
def test_class_value_falls_and_is_convex_in_the_radius(ball, seed, one, other, share):
    given = case(seed)
    between = share * one + (1 - share) * other
    first, second, middle = (
        class_value(given.grams, given.f, given.y, radius, ball=ball)
        for radius in (one, other, between)
    )
    assert middle.lower <= share * first.upper + (1 - share) * second.upper + 1e-15
    smaller, larger = (first, second) if one <= other else (second, first)
    assert larger.lower <= smaller.upper
    if other > one + 0.1:
        assert second.value < first.value


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_order_of_the_data_and_units_of_the_gradients_do_not_matter(seed):
    given = case(seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    shuffled = [gram[order][:, order] for gram in given.grams]
    scaled = [9 * gram for gram in given.grams]
    known = class_value(given.grams, given.f, given.y, 0.6)
    permuted = class_value(shuffled, given.f[order], given.y[order], 0.6)
    agree(permuted, known)
    assert torch.allclose(permuted.dual, known.dual[order], atol=1e-3)
    agree(class_value(scaled, given.f, given.y, 0.2), known)
    for quantity in (
        lambda grams: smallest_radius(grams, given.f, given.y, 1.0),
        lambda grams: regression_radius(torch.stack(grams).sum(0), given.y),
    ):
        agree(quantity(scaled), quantity(given.grams), 1 / 3)
    agree(ntrf_margin(9 * given.gram, given.y), ntrf_margin(given.gram, given.y), 3)


def test_a_radius_of_0_gives_the_loss_at_initialisation():
    given = case()
    found = class_value(given.grams, given.f, given.y, 0.0)
    assert found.value == pytest.approx(mean_loss(given.y * given.f), rel=1e-15)
    assert found.gap < 1e-15
    assert not found.coefficients.any()


@pytest.mark.parametrize("ball", BALLS)
def test_large_radii_on_separable_data_leave_no_loss_and_no_nan(ball):
    given = case(width=30)
    for radius, most in [(10.0, 1e-3), (100.0, 1e-20), (1e4, 1e-40), (1e8, 1e-40)]:
        found = class_value(given.grams, given.f, given.y, radius, ball=ball)
        v, margins = moved(given, found)
        assert 0 <= found.lower <= found.upper < most
        assert mean_loss(margins) <= max(2 * found.upper, 1e-16)
        assert radius_of(v, ball) <= radius * (1 + 1e-12)
        # Even where V stops short of the boundary, `lower` is for the whole ball.
        start = given.y * given.f
        outermost = start + (margins - start) * (radius / radius_of(v, ball))
        assert found.lower <= mean_loss(outermost) * (1 + 1e-9) + 1e-300


@pytest.mark.parametrize("ball", BALLS)
def test_opposite_labels_of_one_input_are_not_separable(ball):
    once = case(width=30)
    x, y = torch.cat([once.x, once.x[:1]]), torch.cat([once.y, -once.y[:1]])
    given = Case(once.network, x, y)
    for radius in (1.0, 10.0, 100.0):
        found = class_value(given.grams, given.f, y, radius, ball=ball)
        assert found.upper >= 2 / 9 * math.log(2)
        assert found.gap <= 1e-4 * found.value
    # In the limit the pair has the margin 0, and no other input any loss.
    assert found.value == pytest.approx(2 / 9 * math.log(2), rel=1e-4)
    radius = smallest_radius(given.grams, given.f, y, 0.1, ball=ball)
    assert (radius.lower, radius.value, radius.gap) == (math.inf, math.inf, 0)
    margin = ntrf_margin(given.gram, y)
    assert (margin.value, margin.lower) == (0, 0)
    assert margin.upper < 1e-6
    z = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert ji_telgarsky_margin(x, y, z).value == 0
    # A target that the pair can share is feasible nevertheless: margins -0.1 and 0.1.
    pair = [gram[[0, -1]][:, [0, -1]] for gram in given.grams]
    start = torch.tensor([0.5, -0.5], dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0])
    feasible = smallest_radius(pair, -start.abs(), signs, -0.3, ball=ball)
    norms = [math.sqrt(float(gram[0, 0])) for gram in pair]
    reach = sum(norms) if ball == "per-layer" else math.hypot(*norms)
    assert feasible.value == pytest.approx(0.2 / reach, rel=1e-7)


def test_equal_labels_of_one_input_change_nothing():
    once = case(width=30)
    x, y = torch.cat([once.x, once.x[:1]]), torch.cat([once.y, once.y[:1]])
    twice = Case(once.network, x, y)
    for quantity in (
        lambda given: smallest_radius(given.grams, given.f, given.y, 1.0),
        lambda given: ntrf_margin(given.gram, given.y),
        lambda given: regression_radius(given.gram, given.y - given.f),
    ):
        assert quantity(twice).value == pytest.approx(quantity(once).value, rel=1e-7)


def test_more_data_than_parameters():
    """Random labels on a tiny network: the optimum is within the ball for some of the layers."""
    given = case(0, count=40, width=3)
    for ball in BALLS:
        found = class_value(given.grams, given.f, given.y, 3.0, ball=ball)
        assert found.value == pytest.approx(primal_class_value(given, 3.0, ball), rel=1e-5)
        assert found.gap <= 1e-6 * found.value
        assert smallest_radius(given.grams, given.f, given.y, 1.0, ball=ball).lower == math.inf
    assert ntrf_margin(given.gram, given.y).value == 0
    assert regression_radius(given.gram, given.y - given.f).value == math.inf


def test_gradients_that_vanish():
    zero, y = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([1.0, -1.0])
    f = torch.tensor([0.5, 0.25], dtype=torch.float64)
    assert class_value([zero], f, y, 3.0).value == pytest.approx(mean_loss(y * f), rel=1e-15)
    assert smallest_radius([zero], f, y, 1.0).gap == 0
    assert smallest_radius([zero], f, y, 1.0).value == math.inf
    assert smallest_radius([zero], f, y, -1.0).value == 0
    assert ntrf_margin(zero, y).value == 0
    assert regression_radius(zero, f).value == math.inf
    assert regression_radius(zero, 0 * f).value == 0


@pytest.mark.parametrize("size", [-1000.0, -30.0, 30.0, 1000.0])
def test_extreme_initialisations(size):
    given = case()
    found = class_value(given.grams, size * given.y, given.y, 0.01)
    if size < 0:
        steps = [np.linalg.norm(rows.sum(0)) for rows in given.jacobians()]
        assert found.value == pytest.approx(-size - 0.01 * sum(steps) / 8, rel=1e-10)
    assert 0 <= found.lower <= found.upper
    assert found.gap <= 1e-10 * found.upper


def test_initialisation_that_is_good_enough_needs_no_radius():
    given = case()
    found = smallest_radius(given.grams, 3 * given.y, given.y, 2.5)
    assert (found.lower, found.upper, found.gap) == (0, 0, 0)
    assert not found.coefficients.any()


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(0.01, 5), st.floats(0, 3), st.sampled_from([-1.0, 1.0]))
def test_one_input(f, size, radius, sign):
    grams = [torch.tensor([[size**2]]).double(), torch.tensor([[4 * size**2]]).double()]
    y, start = torch.tensor([sign]), torch.tensor([f], dtype=torch.float64)
    norms = [math.sqrt(float(gram)) for gram in grams]
    for ball, reach in [("per-layer", sum(norms)), ("single", math.hypot(*norms))]:
        margin = sign * f + radius * reach
        found = class_value(grams, start, y, radius, ball=ball)
        assert found.value == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-10)
        least = smallest_radius(grams, start, y, 1.0, ball=ball)
        assert least.value == pytest.approx(max(1 - sign * f, 0) / reach, rel=1e-8)
    assert ntrf_margin(grams[0], y).value == pytest.approx(norms[0], rel=1e-8)
    assert regression_radius(grams[0], start).value == pytest.approx(abs(f) / norms[0])


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 3), st.floats(0.1, 3), st.floats(-0.95, 0.95), st.sampled_from([-1.0, 1.0]))
def test_margin_of_two_inputs_is_the_distance_of_a_segment_from_0(one, other, cosine, sign):
    points = torch.tensor([[one, 0], [other * cosine, other * math.sqrt(1 - cosine**2)]]).double()
    signed = points * torch.tensor([[1.0], [sign]])
    edge = signed[1] - signed[0]
    share = min(1.0, max(0.0, -float(edge @ signed[0] / (edge @ edge))))
    found = ntrf_margin(points @ points.T, torch.tensor([1.0, sign]))
    assert found.value == pytest.approx(float((signed[0] + share * edge).norm()), rel=1e-7)
    assert float(found.dual[1]) == pytest.approx(share, abs=1e-4)


def test_margin_of_orthogonal_gradients():
    squares = torch.tensor([1.0, 4.0, 0.25, 9.0]).double()
    found = ntrf_margin(torch.diag(squares), torch.tensor([1.0, -1.0, -1.0, 1.0]))
    assert found.value == pytest.approx(float((1 / squares).sum()) ** -0.5, rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_margin_is_that_of_a_support_vector_machine(seed):
    given = case(seed, count=30, dimension=6, width=20)
    found = ntrf_margin(given.gram, given.y)
    # SVC has a bias. It vanishes for data together with their mirror images.
    rows = np.hstack(given.jacobians())
    both = np.vstack([rows, -rows])
    machine = SVC(kernel="linear", C=1e12, tol=1e-10)
    machine.fit(both, np.repeat([1, -1], len(rows)))
    assert found.value == pytest.approx(1 / np.linalg.norm(machine.coef_), rel=1e-6)
    assert found.gap <= 1e-8 * found.value
    assert float(found.dual.min()) >= 0
    assert float(found.dual.sum()) == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_the_margin_is_reached_by_parameters_of_norm_1(seed):
    given = case(seed, count=6, width=10)
    found = ntrf_margin(given.gram, given.y)
    forward = given.network.run(given.x)
    u = torch.cat(
        [part.flatten() for part in given.network.gradients(forward, found.coefficients[0])]
    )
    margins = torch.from_numpy(np.hstack(given.jacobians())) @ u
    if found.value > 1e-6:
        assert float(u.norm()) <= 1 + 1e-12
        assert float(margins.min()) == pytest.approx(found.value, rel=1e-9)
    low, high = torch.linalg.eigvalsh(given.gram)[[0, -1]].clamp(min=0).div(6).sqrt().tolist()
    assert low <= found.upper * (1 + 1e-9)
    assert found.lower <= high * (1 + 1e-9)


def test_radius_for_a_margin_is_its_share_of_the_ntrf_margin():
    """Corollary 4.4 without its constants: from f = 0, R(epsilon) is b(epsilon) / gamma."""
    given = case(width=30)
    margin = ntrf_margin(given.gram, given.y).value
    for max_loss in (0.5, 1e-2, 1e-6):
        b = margin_target(max_loss)
        found = smallest_radius(given.grams, 0 * given.f, given.y, b, ball="single")
        assert found.value == pytest.approx(b / margin, rel=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-8, 50))
def test_margin_target_inverts_the_loss(max_loss):
    b = margin_target(max_loss)
    loss = math.log1p(math.exp(-b)) if b > 0 else -b + math.log1p(math.exp(b))
    assert loss == pytest.approx(max_loss, rel=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_regression_radius_is_that_of_least_squares(seed):
    given = case(seed, width=10)
    rows = np.hstack(given.jacobians()) * given.y.numpy()[:, None]
    known = np.linalg.lstsq(rows, (given.y - given.f).numpy(), rcond=None)[0]
    found = regression_radius(given.gram, given.y - given.f)
    assert found.value == pytest.approx(np.linalg.norm(known), rel=1e-9)
    assert found.lower <= np.linalg.norm(known) * (1 + 1e-12)
    assert 0 <= found.gap <= 1e-9 * found.value
    forward = given.network.run(given.x)
    v = torch.cat(
        [part.flatten() for part in given.network.gradients(forward, found.coefficients[0])]
    )
    assert np.allclose(v.numpy(), known, atol=1e-9)


def directions(count: int, dimension: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)


def test_ji_telgarsky_margin_of_one_input_is_its_share_of_half_spaces():
    x, z = sphere(1, 3, 0).x, directions(40, 3)
    share = sum(float(point @ x[0]) >= 0 for point in z) / 40
    assert ji_telgarsky_margin(x, torch.tensor([-1.0]), z).value == pytest.approx(share, rel=1e-8)


@pytest.mark.parametrize("angle", [0.3, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_ji_telgarsky_margin_of_two_inputs(angle, sign):
    """With k half-planes, the least over q of the mean of three kinds of norms, on a grid."""
    x, z = pair_at_angle(angle, 2), directions(200, 2)
    on = z @ x.T >= 0
    both, only = (float(mask.double().mean()) for mask in (on.all(1), on[:, 0] & ~on[:, 1]))
    other = float((~on[:, 0] & on[:, 1]).double().mean())
    q = np.linspace(0, 1, 200_001)
    norm = np.sqrt(q**2 + (1 - q) ** 2 + 2 * sign * q * (1 - q) * math.cos(angle))
    known = (both * norm + only * q + other * (1 - q)).min()
    found = ji_telgarsky_margin(x, torch.tensor([1.0, sign]), z)
    assert found.value == pytest.approx(known, rel=1e-8)
    assert 0 <= found.gap <= 1e-7


def test_ji_telgarsky_margin_is_reached_by_unit_vectors():
    x, z = sphere(12, 4, 0).x, directions(60, 4)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0)
    found = ji_telgarsky_margin(x, y, z)
    assert found.value > 0.01
    assert 0 <= found.gap <= 1e-6 * found.value
    reached = np.zeros(12)
    for point, c in zip(z, found.coefficients, strict=True):
        on = (x @ point >= 0).double()
        u = (c * on) @ x
        assert float(u.norm()) <= 1 + 1e-12
        reached += (y * on * (x @ u)).numpy() / 60
    assert reached.min() == pytest.approx(found.value, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_ji_telgarsky_margin_is_at_most_that_of_the_gram_matrix(seed):
    x, z = sphere(6, 3, seed).x, directions(30, 3, seed)
    y = case(seed, count=6).y
    on = (z @ x.T >= 0).double()
    sampled = (x @ x.T) * (on.T @ on) / 30
    assert ji_telgarsky_margin(x, y, z).lower <= ntrf_margin(sampled, y).upper * (1 + 1e-9)


def test_ji_telgarsky_margin_of_many_directions_stays_below_the_limit_kernel():
    x = sphere(10, 5, 0).x
    y = torch.where(x[:, 0] > 0, 1.0, -1.0)
    found = ji_telgarsky_margin(x, y, directions(4000, 5)).value
    limit = ntrf_margin(infinite_width_gram(x), y).value
    assert 0.5 * limit < found < limit


def test_bounds_come_apart_where_the_solver_is_stopped(monkeypatch):
    """The gap is no ornament: with one crude stage it is wide, and the optimum is inside."""
    given = case()
    known = {
        "loss": class_value(given.grams, given.f, given.y, 1.0).value,
        "radius": smallest_radius(given.grams, given.f, given.y, 1.0).value,
    }
    monkeypatch.setattr("companion.ntrf._STAGES", 1)
    crude = {
        "loss": class_value(given.grams, given.f, given.y, 1.0),
        "radius": smallest_radius(given.grams, given.f, given.y, 1.0),
    }
    for name, found in crude.items():
        assert found.gap > 1e-6 * found.value
        assert found.lower < known[name] < found.upper
        assert found.upper - known[name] <= found.gap


def test_single_precision_is_close_to_double():
    given = case(width=20)
    singles = [gram.float() for gram in given.grams]
    for quantity in (
        lambda grams: class_value(grams, given.f, given.y, 0.5).value,
        lambda grams: smallest_radius(grams, given.f, given.y, 1.0).value,
        lambda grams: ntrf_margin(torch.stack(grams).sum(0), given.y).value,
        lambda grams: regression_radius(torch.stack(grams).sum(0), given.y).value,
    ):
        assert quantity(singles) == pytest.approx(quantity(given.grams), rel=1e-4)


@pytest.mark.parametrize("seed", [16, 30, 48, 49, 286])
def test_bounds_allow_for_rounding_where_a_layer_cancels(seed):
    """Tiny networks, of which one layer can do without the whole ball."""
    given = case(seed, width=4)
    found = smallest_radius(given.grams, given.f, given.y, 1.0)
    v, margins = moved(given, found)
    assert min(float(part.norm()) for part in v) < 0.99 * found.value
    assert float(margins.min()) >= 1 - 1e-12
    assert radius_of(v, "per-layer") <= found.upper * (1 + 1e-6)
    singles = [gram.float() for gram in given.grams]
    rough = smallest_radius(singles, given.f, given.y, 1.0)
    assert rough.lower <= found.upper
    assert found.lower <= rough.upper


def test_bad_input_is_refused():
    given = case()
    grams, f, y = given.grams, given.f, given.y
    crooked, negative, endless = grams[0].clone(), -grams[0], grams[0].clone()
    crooked[0, 1] += 1
    endless[2, 2] = math.nan
    for wrong, told in [
        (([], f, y, 1.0), "there is no Gram matrix"),
        (([grams[0][:3]], f, y, 1.0), r"must be \(8, 8\)"),
        (([crooked], f, y, 1.0), "not symmetric"),
        (([negative], f, y, 1.0), "negative eigenvalue"),
        (([endless], f, y, 1.0), "not finite"),
        (([grams[0].half()], f, y, 1.0), "float32 or float64 is needed"),
        ((grams, f[:3], y, 1.0), r"\(8,\) is needed"),
        ((grams, f.half(), y, 1.0), "float32 or float64 is needed"),
        ((grams, f, y[:, None], 1.0), r"\(n,\) with n >= 1 is needed"),
        ((grams, f, y.abs() - 1, 1.0), "label 0 is 0"),
        ((grams, f, y, math.nan), "must be"),
    ]:
        for quantity in (class_value, smallest_radius):
            with pytest.raises(InputError, match=told):
                quantity(*wrong)
    with pytest.raises(InputError, match="the radius is -1"):
        class_value(grams, f, y, -1.0)
    for quantity in (class_value, smallest_radius):
        with pytest.raises(InputError, match="the ball is 'cube'"):
            quantity(grams, f, y, 1.0, ball="cube")
    for loss in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="the largest loss is"):
            margin_target(loss)
    with pytest.raises(InputError, match="do not fit directions"):
        ji_telgarsky_margin(given.x, y, directions(5, 4))
    with pytest.raises(InputError, match="do not fit directions"):
        ji_telgarsky_margin(given.x, y, directions(0, 3))
    with pytest.raises(InputError, match="3 labels for 8 inputs"):
        ji_telgarsky_margin(given.x, y[:3], directions(5, 3))
    with pytest.raises(InputError, match="residuals have shape"):
        regression_radius(grams[0], torch.ones(2, 2))
    with pytest.raises(InputError, match=r"must be \(3, 3\)"):
        regression_radius(grams[0], torch.ones(3))
