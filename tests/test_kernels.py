"""Gram matrices against autograd, loops, quadrature and Monte Carlo, and their structure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import pair_at_angle, sphere, with_antipodes
from companion.errors import InputError
from companion.kernels import (
    empirical_gram,
    empirical_gram_from,
    empirical_output_gram,
    infinite_width_gram,
    infinite_width_output_gram,
    lambda_max,
    lambda_min,
    layer_grams,
    spectral_norm,
)
from companion.networks import draw_du, draw_two_layer
from tests.oracles import (
    gram_by_autograd,
    gram_by_loops,
    layer_grams_by_autograd,
    monte_carlo_infinite_gram,
    pair_expectation,
)

LIMITS = [infinite_width_gram, infinite_width_output_gram]
sizes = st.tuples(st.integers(1, 8), st.integers(2, 6), st.integers(0, 10**6))


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(1, 12))
def test_empirical_grams_are_jacobian_grams(size, width):
    count, dimension, seed = size
    network, x = draw_two_layer(width, dimension, seed), sphere(count, dimension, seed).x
    assert torch.allclose(empirical_gram(network, x), gram_by_autograd(network, x), atol=1e-13)
    assert torch.allclose(empirical_gram(network, x), gram_by_loops(network, x), atol=1e-13)
    assert torch.allclose(
        empirical_output_gram(network, x), gram_by_autograd(network, x, "outputs"), atol=1e-13
    )


def test_trained_outputs_weight_the_gram_matrix():
    network, x = draw_two_layer(10, 3, 0), sphere(4, 3, 0).x
    trained = network.moved(network.weights, network.outputs * torch.linspace(0.5, 2, 10))
    assert torch.allclose(empirical_gram(trained, x), gram_by_autograd(trained, x), atol=1e-13)
    torch.testing.assert_close(
        empirical_gram(trained, x), empirical_gram_from(trained, x, trained.preactivations(x))
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_layer_grams_are_jacobian_grams(depth):
    network, x = draw_du(8, 3, 0, depth=depth, dtype=torch.float64), sphere(5, 3, 0).x
    found, known = layer_grams(network, x), layer_grams_by_autograd(network, x)
    assert len(found) == depth
    for ours, theirs in zip(found, known, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-13)
    if depth == 1:
        assert torch.allclose(found[0], empirical_gram(draw_two_layer(8, 3, 0), x), atol=1e-13)


@pytest.mark.parametrize("angle", [0.0, 0.01, 0.5, 1.0, math.pi / 2, 2.0, 3.0, math.pi])
def test_limits_are_gaussian_expectations(angle):
    rho, x = math.cos(angle), pair_at_angle(angle, 3)
    # Quadrature of a step function has an error of about one of its 200,000 intervals.
    assert float(infinite_width_gram(x)[0, 1]) == pytest.approx(
        rho * pair_expectation(rho, 0), abs=2e-5
    )
    assert float(infinite_width_output_gram(x)[0, 1]) == pytest.approx(
        pair_expectation(rho, 1), abs=1e-8
    )


def test_limit_agrees_with_monte_carlo_within_its_error():
    x = sphere(6, 4, 0).x
    estimate, error = monte_carlo_infinite_gram(x, 200_000, seed=0)
    assert bool(((estimate - infinite_width_gram(x)).abs() <= 5 * error).all())


def test_known_values():
    x = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(infinite_width_gram(x), 0.5 * x, atol=1e-16)
    off = 1 / (2 * math.pi)
    assert torch.allclose(infinite_width_output_gram(x), off + (0.5 - off) * x)


def test_wide_networks_approach_the_limits():
    x = sphere(10, 5, 0).x
    network = draw_two_layer(200_000, 5, 0)
    # Entries have standard deviation at most 1/2 (first) and about 1 (second) over sqrt(m).
    for found, limit in [
        (empirical_gram(network, x), infinite_width_gram(x)),
        (empirical_output_gram(network, x), infinite_width_output_gram(x)),
    ]:
        assert float((found - limit).abs().max()) < 5 / math.sqrt(200_000)


@pytest.mark.parametrize("limit", LIMITS)
@settings(max_examples=25, deadline=None)
@given(size=sizes)
def test_limits_are_symmetric_psd_and_equivariant(limit, size):
    count, dimension, seed = size
    x = sphere(count, dimension, seed).x
    gram = limit(x)
    assert torch.allclose(gram, gram.T, atol=1e-15)
    assert torch.allclose(gram.diagonal(), torch.full((count,), 0.5, dtype=torch.float64))
    assert lambda_min(gram) >= -1e-14
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(limit(x[order]), gram[order][:, order], atol=1e-13)
    rotation, _ = torch.linalg.qr(sphere(dimension, dimension, seed + 1).x)
    assert torch.allclose(limit(x @ rotation), gram, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(sizes, st.integers(1, 20))
def test_empirical_grams_are_symmetric_psd_and_equivariant(size, width):
    count, dimension, seed = size
    network, x = draw_two_layer(width, dimension, seed), sphere(count, dimension, seed).x
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for kernel in (empirical_gram, empirical_output_gram):
        gram = kernel(network, x)
        assert torch.allclose(gram, gram.T, atol=1e-14)
        assert lambda_min(gram) >= -1e-13 * max(1.0, lambda_max(gram))
        assert torch.allclose(kernel(network, x[order]), gram[order][:, order], atol=1e-13)
    doubled = network.moved(2 * network.weights)
    assert torch.equal(empirical_gram(doubled, x), empirical_gram(network, x))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicates_count_as_equal_and_give_a_zero_eigenvalue(limit, dtype):
    x = sphere(12, 7, 0).x.to(dtype)
    gram = limit(torch.cat([x, x[:3]]))
    assert bool(gram.isfinite().all())
    assert torch.equal(gram[[0, 1, 2], [12, 13, 14]], gram.diagonal()[:3])
    assert abs(lambda_min(gram)) < 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_antipodes_are_orthogonal_for_the_kernel(dtype):
    x = sphere(12, 7, 0).x.to(dtype)
    gram = infinite_width_gram(with_antipodes(x, 12))
    assert bool(gram.isfinite().all())
    assert torch.equal(gram[range(12), range(12, 24)], torch.zeros(12, dtype=dtype))


def test_antipodal_pairs_up_to_the_dimension_do_no_harm():
    x = sphere(8, 5, 0).x
    least = [lambda_min(infinite_width_gram(with_antipodes(x, pairs))) for pairs in range(9)]
    assert min(least[:6]) > 1e-6
    assert max(abs(value) for value in least[6:]) < 1e-14


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-8, 0.5))
def test_close_pairs_keep_their_digits(angle):
    exact = math.sin(angle / 2) ** 2 + math.cos(angle) * angle / (2 * math.pi)
    assert lambda_min(infinite_width_gram(pair_at_angle(angle, 3))) == pytest.approx(
        exact, rel=1e-6, abs=1e-16
    )


def test_rounding_beyond_one_gives_no_nan():
    x = sphere(300, 3, 0).x.float()
    slightly_long = (x / x.norm(dim=1, keepdim=True)) * (1 + 1e-6)
    for limit in LIMITS:
        assert bool(limit(torch.cat([slightly_long, -slightly_long])).isfinite().all())


@pytest.mark.parametrize("limit", LIMITS)
def test_inputs_off_the_sphere_are_refused(limit):
    with pytest.raises(InputError, match="every input must have norm 1"):
        limit(2 * sphere(3, 3, 0).x)


def test_eigenvalues_are_those_of_a_known_matrix():
    rotation, _ = torch.linalg.qr(sphere(3, 3, 0).x)
    matrix = rotation @ torch.diag(torch.tensor([-3.0, 1.0, 2.0]).double()) @ rotation.T
    assert lambda_min(matrix) == pytest.approx(-3)
    assert lambda_max(matrix) == pytest.approx(2)
    assert spectral_norm(matrix) == pytest.approx(3)
    assert lambda_min(matrix.float()) == pytest.approx(-3, rel=1e-6)
