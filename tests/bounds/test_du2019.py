"""Right-hand sides: the numbers that the derivations give, their limits, their consistency."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from companion.bounds import du2019 as bounds
from companion.datasets import sphere
from companion.draws import cpu_generator
from companion.kernels import empirical_gram, infinite_width_gram, lambda_max, lambda_min
from companion.networks import draw_du

N, LAMBDA, DELTA = 1000, 0.246, 0.1


def test_explicit_widths_at_the_papers_size():
    """Worked by hand from the displayed proofs, at n = d = 1000, delta = 0.1, labels N(0, 1)."""
    misfit = bounds.initial_misfit(N, N) / DELTA
    assert bounds.theorem_3_2_width(N, LAMBDA, DELTA, misfit) == pytest.approx(6.7e25, rel=0.01)
    assert bounds.theorem_4_1_width(N, LAMBDA, DELTA, misfit) == pytest.approx(2.67e26, rel=0.01)
    assert bounds.lemma_3_1_width(N, LAMBDA, DELTA) == pytest.approx(2.1e9, rel=0.02)


@given(st.integers(1, 1000), st.floats(1e-3, 0.5), st.floats(0.01, 0.5), st.floats(0.1, 1e4))
def test_at_the_explicit_width_the_two_radii_meet(count, lambda_0, delta, misfit):
    radius = bounds.lemma_3_2_radius(count, lambda_0, delta)
    flow = bounds.theorem_3_2_width(count, lambda_0, delta, misfit)
    descent = bounds.theorem_4_1_width(count, lambda_0, delta, misfit)
    assert bounds.lemma_3_3_distance(count, flow, lambda_0, misfit) == pytest.approx(radius)
    assert bounds.corollary_4_1_distance(count, descent, lambda_0, misfit) == pytest.approx(radius)
    # Markov: at that radius the expected change of H, over delta, is a quarter of lambda_0.
    change = bounds.lemma_3_2_gram_change(count, radius) / delta
    assert change == pytest.approx(lambda_0 / 4)


def test_widths_scale_as_the_theorems_say():
    one, two = (bounds.theorem_4_1_width(n, 0.2, 0.1, float(n)) for n in (10, 20))
    assert two / one == pytest.approx(2**6)
    one, two = (bounds.theorem_3_2_width(10, value, 0.1, 10.0) for value in (0.2, 0.1))
    assert two / one == pytest.approx(2**4)
    one, two = (bounds.theorem_3_2_width(10, 0.2, delta, 10 / delta) for delta in (0.2, 0.1))
    assert two / one == pytest.approx(2**3)


def test_descent_bound_tends_to_the_flow_bound():
    """(1 - eta lambda_0 / 2)^(t / eta) tends to exp(-lambda_0 t / 2), half the flow's rate."""
    time, step_size = 3.0, 1e-6
    steps = round(time / step_size)
    descent = float(bounds.theorem_4_1(np.array(steps), step_size, 0.3, 2.0))
    assert descent == pytest.approx(
        float(bounds.theorem_3_2(np.array(time / 2), 0.3, 2.0)), rel=1e-5
    )
    assert float(bounds.theorem_3_2(np.array(0.0), 0.3, 2.0)) == 2.0


@given(st.floats(1e-6, 3))
def test_near_boundary_probability_is_below_its_bound(radius):
    exact, bound = bounds.near_boundary_probability(radius), bounds.near_boundary_bound(radius)
    assert exact <= bound
    assert bound <= exact * (1 + radius**2 / 2 + radius**4)


def test_near_boundary_probability_by_sampling():
    w = torch.randn(200_000, generator=cpu_generator("test", 0), dtype=torch.float64)
    found = float((w.abs() < 0.3).double().mean())
    exact = bounds.near_boundary_probability(0.3)
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / 200_000)
    assert bounds.lemma_4_1_flips(10, 50, 0.3) == pytest.approx(
        500 * bounds.near_boundary_bound(0.3)
    )


def test_initial_misfit_by_sampling():
    data = sphere(5, 4, 0)
    networks = (draw_du(30, 4, seed, dtype=torch.float64) for seed in range(2000))
    found = torch.tensor(
        [float((network.predict(data.x) - data.y).square().sum()) for network in networks]
    )
    exact = bounds.initial_misfit(float(data.y.square().sum()), 5)
    assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / math.sqrt(2000)


@pytest.mark.parametrize("name", ["hoeffding", "bernstein"])
def test_lemma_3_1_widths_suffice(name):
    x = sphere(6, 6, 0).x
    limit = infinite_width_gram(x)
    lambda_0 = lambda_min(limit)
    width = (
        bounds.lemma_3_1_width(6, lambda_0, 0.5)
        if name == "hoeffding"
        else bounds.lemma_3_1_width_bernstein(
            6, lambda_0, 0.5, lambda_max(x @ x.T), lambda_max(limit)
        )
    )
    networks = (draw_du(math.ceil(width), 6, seed, dtype=torch.float64) for seed in range(20))
    near = [
        float(torch.linalg.matrix_norm(empirical_gram(network, x) - limit, 2)) <= lambda_0 / 4
        for network in networks
    ]
    assert sum(near) >= 10


def test_bernstein_beats_hoeffding_for_many_inputs():
    assert bounds.lemma_3_1_width_bernstein(N, LAMBDA, DELTA, 4.0, 1.25) < 1e-4 * (
        bounds.lemma_3_1_width(N, LAMBDA, DELTA)
    )


def test_joint_training_radii():
    in_weights, in_outputs = bounds.lemma_a3_radii(20, 0.2, 0.1)
    assert in_weights == pytest.approx(bounds.lemma_3_2_radius(20, 0.2, 0.1) / 2)
    assert in_outputs == pytest.approx(0.2 / (16 * 400))
    flow = bounds.lemma_3_3_distance(20, 100, 0.2, 9.0)
    assert bounds.lemma_a4_distance(20, 100, 0.2, 9.0) == pytest.approx(2 * flow)
    assert bounds.lemma_a5_distance(20, 100, 0.2, 9.0, 0.1) == pytest.approx(
        4 * flow * math.sqrt(math.log(100 * 20 / 0.1))
    )
    assert bounds.theorem_4_1_step_size(20, 0.2) == pytest.approx(0.0005)


@given(st.floats(1e-3, 10))
def test_sliding_share_of_independent_residuals(tau):
    """1 / (2 sqrt(1 + tau^2) (tau + sqrt(1 + tau^2))), for labels that outweigh u(0)."""
    root = math.sqrt(1 + tau**2)
    correlation = bounds.approach_correlation(1000, 500, math.inf)
    assert correlation == pytest.approx(-1 / math.sqrt(2))  # n = 2d: tau = 1
    share = bounds.sliding_share(-tau / root)
    assert share == pytest.approx(1 / (2 * root * (tau + root)), rel=1e-9)


@pytest.mark.parametrize("correlation", [-0.9, -0.65, 0.0, 0.8])
def test_sliding_share_by_sampling(correlation):
    """Of arrivals, each weighted by its speed, those that are pushed back from the other side."""
    normal = np.random.default_rng(0).normal(size=(2, 400_000))
    below = 0.7 * normal[0]
    above = 1.3 * (correlation * normal[0] + math.sqrt(1 - correlation**2) * normal[1])
    arrivals = np.maximum(below, 0).sum() + np.maximum(above, 0).sum()
    both = (below > 0) & (above > 0)
    share = (below + above)[both].sum() / arrivals
    assert share == pytest.approx(bounds.sliding_share(correlation), abs=0.004)


@pytest.mark.parametrize(
    ("count", "dimension", "labels", "known"),
    [(60, 60, 1.0, True), (100, 25, 1.0, True), (60, 60, 1.0, False)],
)
def test_approach_correlation_in_networks(count, dimension, labels, known):
    """Speeds of networks whose units are put on the kink of x_i, with and without u(0).

    `known`: the residuals are u(0) - y, not fresh Gaussians.
    """
    below, above = [], []
    for seed in range(60):
        data = sphere(count, dimension, seed)
        network = draw_du(200, dimension, seed, dtype=torch.float64)
        generator = cpu_generator("residuals", seed)
        residual = torch.randn(count, generator=generator, dtype=torch.float64)
        if known:
            residual = network.predict(data.x) - data.y
        (weights,) = network.weights
        for i in range(0, count, 10):
            flat = weights - (weights @ data.x[i])[:, None] * data.x[i]
            on = (data.x @ flat.T >= 0).double()
            on[i] = 0
            drive = -network.outputs * ((data.x @ data.x[i] * residual) @ on)
            below.append(drive)
            above.append(network.outputs * residual[i] - drive)
    pair = torch.stack([torch.cat(below), torch.cat(above)])
    derived = bounds.approach_correlation(count, dimension, labels if known else math.inf)
    assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(derived, abs=0.035)
