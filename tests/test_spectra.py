"""Certified eigenvalues and norms against dense decompositions and matrices of known spectrum."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import infinite_width_gram, infinite_width_ntk
from companion.spectra import (
    bounds_of,
    least_eigenvalue,
    norm_bounds,
    spectral_norm_bounds,
    start_directions,
    subspace_step,
)
from tests.modes import PeakMemory


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


def spectra_of_all_kinds(count):
    """Name -> eigenvalues of a matrix that is large enough for the search."""
    even = np.linspace(0, 2, count)
    return {
        "well conditioned": 1 + even,
        "one large": np.append(1 + even[1:], 1e4),
        "tiny and crowded": np.logspace(-14, 0, count),
        "a multiple least": np.append(np.full(count // 3, 1e-6), even[: count - count // 3] + 1e-5),
        "singular": np.append(np.zeros(count // 2), even[: count - count // 2]),
        "indefinite": even - 1,
        "a negative cluster": np.append(-1e-3 * (1 + 1e-7 * np.arange(5)), even[: count - 5]),
        "negative": -1 - even,
        "of one size": np.full(count, 3.0),
        "zero": np.zeros(count),
    }


@pytest.mark.parametrize("kind", spectra_of_all_kinds(140))
@pytest.mark.parametrize("size", [1e-300, 1e-30, 1.0, 1e30])
def test_large_matrices_of_every_spectrum_and_size(kind, size):
    values = spectra_of_all_kinds(300)[kind]
    matrix = with_spectrum(list(values)) * size
    found = least_eigenvalue(matrix)
    exact, scale = size * values.min(), size * (np.abs(values).max() or 1)
    assert found.lower <= exact + 1e-13 * scale
    assert exact <= found.value + 1e-13 * scale
    assert found.value - found.lower <= 1e-9 * scale
    assert found.value == pytest.approx(exact, abs=1e-11 * scale)
    off = matrix @ found.vector - found.value * found.vector
    assert found.residual == pytest.approx(float((off / size).norm()) * size, abs=1e-13 * scale)
    assert float(found.vector.norm()) == pytest.approx(1)


@pytest.mark.parametrize("diagonal", [np.arange(1.0, 201.0), np.zeros(200), np.ones(200)])
def test_large_diagonal_matrices_whose_krylov_spaces_end_early(diagonal):
    found = least_eigenvalue(np.diag(diagonal))
    assert found.value == pytest.approx(diagonal.min(), abs=1e-12)
    assert found.lower <= diagonal.min()


def test_a_factor_that_rounding_denies_ends_the_search_with_a_bound():
    """Asked for more digits than there are, and where shifts close below the value all fail."""
    matrix = with_spectrum(list(np.logspace(-16, 0, 200)))
    found = least_eigenvalue(matrix, tolerance=1e-300)
    assert found.lower <= 1e-16 <= found.value + 1e-15
    assert found.value - found.lower < 1e-11


def deep_gram(count):
    """Its least eigenvalues are crowded far below its largest."""
    return infinite_width_ntk(sphere(count, 20, 0).x, depth=15)


@pytest.mark.parametrize(
    ("gram", "single", "double"),
    [
        (infinite_width_gram(sphere(400, 20, 0).x), 2, 1),
        (deep_gram(400), 2, 1),
        (infinite_width_gram(sphere(200, 20, 0).x.repeat(2, 1)), 1, 1),
    ],
    ids=["shallow", "deep", "singular"],
)
def test_one_factor_in_double_precision_certifies_what_single_precision_found(
    gram, single, double, monkeypatch
):
    factors, cholesky = [], torch.linalg.cholesky_ex

    def counted(matrix, **settings):
        factors.append(matrix.dtype)
        return cholesky(matrix, **settings)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", counted)
    found, exact = least_eigenvalue(gram), float(torch.linalg.eigvalsh(gram)[0])
    assert factors.count(torch.float32) <= single
    assert factors.count(torch.float64) == double
    scale = float(gram.diagonal().mean())
    assert found.lower <= exact + 1e-13 * scale
    assert exact <= found.value + 1e-13 * scale
    assert found.value - found.lower <= 2e-9 * scale
    assert found.residual <= 1e-12 * scale


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-5])
def test_crowds_that_single_precision_cannot_tell_apart(size):
    """The least eigenvalues differ by less than the rounding of a factor in float32."""
    values = np.append(size * (1 + np.arange(100) / 100), np.linspace(0.5, 1.5, 100))
    found = least_eigenvalue(with_spectrum(list(values)))
    assert found.value == pytest.approx(size, abs=1e-11)
    assert found.lower <= size + 1e-15
    assert found.value - found.lower <= 1e-9


def test_it_leaves_the_threads_as_they_were_and_says_the_same_twice():
    gram, before = deep_gram(300), torch.get_num_threads()
    first, second = least_eigenvalue(gram), least_eigenvalue(gram)
    assert torch.get_num_threads() == before
    assert first.value == second.value
    assert first.lower == second.lower
    assert torch.equal(first.vector, second.vector)


def test_two_copies_in_float64_are_all_the_memory():
    matrix = infinite_width_gram(sphere(900, 20, 0).x).float()
    with PeakMemory() as peak:
        least_eigenvalue(matrix)
    assert peak.peak < 2.2 * 900**2 * 8


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


@pytest.mark.parametrize("shape", [(3, 40), (70, 5), (60, 50), (1, 9)])
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-15, 1.0, 1e15, 1e30, 1e36])
def test_single_precision_holds_norms_of_any_size(shape, size):
    matrix = (sphere(*shape, 3).x * size).float()
    exact = float(torch.linalg.matrix_norm(matrix.double(), 2))
    found = spectral_norm_bounds(matrix, 1e-4)
    assert float(found.lower) == pytest.approx(exact, rel=2e-4)
    assert float(found.upper) == pytest.approx(exact, rel=2e-4)
    assert float(found.frobenius) == pytest.approx(float(matrix.double().norm()), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 60, 50), (4, 12, 40), (5, 40, 12), (3, 7, 1), (6, 1, 1)])
def test_a_batch_is_bounded_as_each_of_its_matrices(shape):
    batch = sphere(math.prod(shape[:-1]), shape[-1], 5).x.reshape(shape)
    sizes = torch.logspace(-40, 40, shape[0], dtype=torch.float64)
    batch = batch * sizes.reshape(-1, *[1] * (len(shape) - 1))
    together = norm_bounds(batch, start_directions(batch, 4))
    together = norm_bounds(batch, together.directions)
    assert together.lower.shape == together.upper.shape == together.frobenius.shape == shape[:-2]
    for place in np.ndindex(*shape[:-2]):
        alone = norm_bounds(batch[place], start_directions(batch[place], 4))
        alone = norm_bounds(batch[place], alone.directions)
        for name in ("lower", "upper", "frobenius"):
            found, known = getattr(together, name)[place], getattr(alone, name)
            torch.testing.assert_close(found, known, rtol=1e-12, atol=0)
        torch.testing.assert_close(together.directions[place], alone.directions)
    everyone = spectral_norm_bounds(batch, 1e-6)
    exact = torch.linalg.matrix_norm(batch, 2)
    torch.testing.assert_close(everyone.lower, exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(everyone.upper, exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(60, 50), (50, 60), (9, 3), (1, 1)])
def test_a_matrix_that_is_not_finite_has_no_bounds_and_leaves_its_neighbours(shape, number, dtype):
    batch = sphere(2 * shape[0], shape[1], 6).x.to(dtype).reshape(2, *shape)
    batch[0, -1, 0] = number
    start = start_directions(batch, 4)
    step = subspace_step(batch, start)
    frobenius, lower, upper = bounds_of([step])[..., 0]
    assert not bool(frobenius[0].isfinite())
    assert lower[0].isnan()
    assert upper[0].isnan()
    torch.testing.assert_close(upper[1], norm_bounds(batch[1], start[1]).upper)
    rows = step.directions @ step.directions.mT
    torch.testing.assert_close(rows, torch.eye(rows.shape[-1]).to(dtype).expand_as(rows))
    with pytest.raises(InputError, match="row of the matrix 0 holds a number that is not finite"):
        spectral_norm_bounds(batch[0, -1:] if batch[0].numel() > 1 else batch[0])


def test_arrays_are_taken_and_what_is_no_matrix_is_refused():
    matrix = sphere(30, 20, 1).x
    found = norm_bounds(matrix.numpy(), start_directions(matrix).numpy())
    assert found.upper == norm_bounds(matrix, start_directions(matrix)).upper
    assert spectral_norm_bounds(matrix.numpy()).lower == spectral_norm_bounds(matrix).lower
    for wrong, told in [
        (torch.ones(3), r"shape \(3,\), torch.float32"),
        (torch.ones(0, 3), r"shape \(0, 3\)"),
        (torch.ones(2, 3, dtype=torch.int64), "torch.int64"),
    ]:
        with pytest.raises(InputError, match=told):
            spectral_norm_bounds(wrong)
    for directions in (torch.ones(2, 19).double(), torch.ones(3, 2, 20).double()):
        with pytest.raises(InputError, match=r"take those of start_directions\(matrix\)"):
            norm_bounds(matrix, directions)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 5)])
def test_norm_of_a_zero_matrix_and_of_thin_ones(shape):
    zero = spectral_norm_bounds(torch.zeros(shape))
    assert float(zero.lower) == float(zero.upper) == 0
    ones = spectral_norm_bounds(torch.ones(shape))
    assert float(ones.upper) == pytest.approx((shape[0] * shape[1]) ** 0.5, rel=1e-3)


def test_a_tolerance_that_nothing_meets_is_refused():
    with pytest.raises(InputError, match="it must be a positive number"):
        spectral_norm_bounds(torch.ones(2, 2), 0)
