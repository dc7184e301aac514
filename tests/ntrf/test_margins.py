"""Margins against formulas for one and two inputs, and a support vector machine."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from companion.datasets import pair_at_angle, sphere
from companion.kernels import infinite_width_gram
from companion.ntrf import ji_telgarsky_margin, margin_target, ntrf_margin, smallest_radius
from tests.ntrf.primal import case, directions, seeds


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 3), st.floats(0.1, 3), st.floats(-0.95, 0.95), st.sampled_from([-1.0, 1.0]))
@example(1.28125, 1.765625, -0.15625, 1.0)  # the first stage is nearer than the second
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
@example(56327)  # an input that switches no unit on: K is singular, its least eigenvalue rounding
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
    least, most = torch.linalg.eigvalsh(given.gram)[[0, -1]].tolist()
    least = max(0.0, least - 10 * np.finfo(float).eps * most)  # known to rounding of the largest
    low, high = math.sqrt(least / 6), math.sqrt(most / 6)
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
