"""Certified eigenvalues and norms against dense decompositions and matrices of known spectrum."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import infinite_width_gram
from companion.spectra import (
    least_eigenvalue,
    norm_bounds,
    spectral_norm_bounds,
    start_directions,
)


def with_spectrum(values, seed=0):
    rotation, _ = torch.linalg.qr(sphere(len(values), len(values), seed).x)
    return rotation @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation.T


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=12),
    st.integers(0, 10**6),
)
def test_least_eigenvalue_lies_between_its_bounds(values, seed):
    matrix = with_spectrum(values, seed)
    found, exact = least_eigenvalue(matrix), float(torch.linalg.eigvalsh(matrix)[0])
    slack = 1e-13 * max(1e-300, *map(abs, values))
    assert found.lower <= exact + slack
    assert exact <= found.value + slack
    assert found.value - found.lower <= 1e-8 * (max(map(abs, values)) or 1)
    assert found.residual == pytest.approx(
        float((matrix @ found.vector - found.value * found.vector).norm()), abs=slack
    )


@pytest.mark.parametrize("count", [1, 2, 3, 40, 200])
def test_least_eigenvalue_of_gram_matrices(count):
    gram = infinite_width_gram(sphere(count, 20, 0).x)
    found, exact = least_eigenvalue(gram), float(torch.linalg.eigvalsh(gram)[0])
    assert found.value == pytest.approx(exact, rel=1e-9)
    assert found.lower <= exact <= found.lower + 1e-9


def test_the_lower_bound_is_one_in_exact_arithmetic():
    """As tight as rounding allows, it holds for every matrix of these, not for most of them."""
    for seed in range(600):
        b = np.random.default_rng(seed).standard_normal((2, 2))
        matrix = np.tril(b @ b.T)
        found = least_eigenvalue(torch.from_numpy(matrix), tolerance=1e-20)
        (p, q), r = (Fraction(matrix[i, i]) - Fraction(found.lower) for i in (0, 1)), matrix[1, 0]
        assert p >= 0, seed
        assert p * q >= Fraction(r) ** 2, seed


def test_a_singular_matrix_and_clusters_are_no_trouble():
    x = sphere(30, 20, 0).x
    singular = infinite_width_gram(torch.cat([x, x[:10]]))
    found = least_eigenvalue(singular)
    assert abs(found.value) < 1e-13
    assert -1e-9 < found.lower <= 1e-14
    cluster = least_eigenvalue(with_spectrum([1.0] * 30 + [5.0] * 5))
    assert cluster.value == pytest.approx(1, rel=1e-12)
    assert least_eigenvalue(torch.zeros(5, 5)).value == 0


def test_only_the_lower_triangle_is_read_and_float32_is_taken():
    gram = infinite_width_gram(sphere(30, 20, 0).x)
    broken = gram.tril() + torch.full_like(gram, 7).triu(1)
    assert least_eigenvalue(broken).value == pytest.approx(least_eigenvalue(gram).value)
    single = least_eigenvalue(gram.float())
    assert single.value == pytest.approx(least_eigenvalue(gram).value, rel=1e-5)


def test_matrices_that_have_no_least_eigenvalue_are_refused():
    for bad, told in [
        (torch.ones(2, 3), r"shape \(2, 3\)"),
        (torch.ones(0, 0), r"shape \(0, 0\)"),
        (torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), "not finite"),
    ]:
        with pytest.raises(InputError, match=told):
            least_eigenvalue(bad)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 10**6),
)
def test_norm_bounds_hold_from_any_directions(rows, columns, count, rounds, seed):
    matrix = sphere(rows, columns, seed).x * torch.linspace(1, 5, rows).double()[:, None]
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    bounds = norm_bounds(matrix, start_directions(matrix, count))
    for _ in range(rounds):
        bounds = norm_bounds(matrix, bounds.directions)
    assert float(bounds.lower) <= exact * (1 + 1e-12)
    assert exact <= float(bounds.upper) * (1 + 1e-12)
    assert float(bounds.frobenius) == pytest.approx(float(matrix.norm()))
    kept = bounds.directions
    torch.testing.assert_close(kept @ kept.T, torch.eye(len(kept)).double(), atol=1e-12, rtol=0)


def test_bounds_meet_at_the_norm_and_a_worse_guess_is_told():
    matrix = sphere(60, 50, 1).x
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    found = spectral_norm_bounds(matrix, 1e-6)
    assert float(found.lower) == pytest.approx(exact, rel=1e-6)
    assert float(found.upper) == pytest.approx(exact, rel=1e-6)
    poor = norm_bounds(matrix, start_directions(matrix, 2))
    assert float(poor.upper) > 1.2 * float(poor.lower)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 5)])
def test_norm_of_a_zero_matrix_and_of_thin_ones(shape):
    zero = spectral_norm_bounds(torch.zeros(shape))
    assert float(zero.lower) == float(zero.upper) == 0
    ones = spectral_norm_bounds(torch.ones(shape))
    assert float(ones.upper) == pytest.approx((shape[0] * shape[1]) ** 0.5, rel=1e-3)


def test_a_tolerance_that_nothing_meets_is_refused():
    with pytest.raises(InputError, match="it must be positive"):
        spectral_norm_bounds(torch.ones(2, 2), 0)
