"""Extreme eigenvalues of operators: what is called certain, against dense decompositions."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import infinite_width_ntk
from companion.spectra import extreme_eigenvalues

GRAM = infinite_width_ntk(sphere(300, 20, 0).x, depth=3)
CROSSED = np.linalg.qr(np.random.default_rng(0).standard_normal((300, 300)))[0]
MATRICES = {
    "ntk": GRAM.numpy(),
    "one by one": np.array([[3.0]]),
    "small": GRAM[:20, :20].numpy(),
    "just searched": GRAM[:65, :65].numpy(),
    "zero": np.zeros((100, 100)),
    "multiple ends": (CROSSED * np.repeat([1.0, 2.0, 3.0], 100)) @ CROSSED.T,
    "crowded at 0": (CROSSED * np.logspace(-12, 0, 300)) @ CROSSED.T,
    "of rank one": np.ones((200, 200)),
    "tiny": 1e-200 * GRAM.numpy(),
}


@pytest.mark.parametrize("name", MATRICES)
def test_what_is_certain_holds(name):
    matrix = MATRICES[name]
    exact = np.linalg.eigvalsh(matrix)
    found = extreme_eigenvalues(aslinearoperator(matrix), diagonal=np.diag(matrix).copy())
    slack = 1e-13 * len(matrix) * exact[-1]
    assert exact[0] <= found.least.value + slack
    assert found.largest.value <= exact[-1] + slack
    assert exact[-1] <= found.largest.outer + slack
    assert found.largest.outer <= np.trace(matrix) + slack
    assert found.least.outer == 0
    for end in (found.least, found.largest):
        assert np.abs(exact - end.value).min() <= end.residual + slack
        vector = end.vector.numpy()
        off = np.abs(matrix @ vector - end.value * vector).max()
        assert off <= end.residual + slack
        assert end.converged == (end.residual <= 1e-6 * found.largest.value)
    assert found.largest.value == pytest.approx(exact[-1], rel=1e-6)
    assert found.least.value == pytest.approx(exact[0], abs=1e-6 * exact[-1])


def test_an_indefinite_operator_has_no_outer_bounds():
    matrix = GRAM.numpy() - 1.5 * np.eye(300)
    found = extreme_eigenvalues(matrix)
    exact = np.linalg.eigvalsh(matrix)
    assert (found.least.outer, found.largest.outer) == (-math.inf, math.inf)
    assert found.least.value == pytest.approx(exact[0], rel=1e-5)
    assert found.largest.value == pytest.approx(exact[-1], rel=1e-9)


def test_the_trace_bounds_a_spectrum_that_few_directions_hold():
    spread = np.append(1e-6 * np.ones(290), np.arange(1.0, 11.0))
    matrix = (CROSSED * spread) @ CROSSED.T
    found = extreme_eigenvalues(matrix, diagonal=np.diag(matrix).copy())
    assert 10 <= found.largest.outer * (1 + 1e-12) <= 10.01


def test_too_few_products_give_a_value_with_its_residual_and_say_so():
    matrix = (CROSSED * np.linspace(1, 2, 300) ** 4) @ CROSSED.T
    found = extreme_eigenvalues(matrix, most_products=40)
    assert not found.least.converged
    assert found.least.residual > 1e-6
    assert np.linalg.eigvalsh(matrix)[0] <= found.least.value <= 2
    assert found.products <= 200


def test_the_least_end_is_looked_for_to_a_share_of_the_larger_one():
    """To a share of itself it took as many products as were allowed."""
    matrix = np.diag(np.geomspace(1e-9, 1, 1000))
    found = extreme_eigenvalues(matrix, tolerance=1e-4)
    assert found.least.converged
    assert found.largest.converged
    assert found.least.residual <= 1e-4
    assert found.products < 500


def test_products_are_counted_and_float32_is_taken():
    calls = []

    def times(vector):
        calls.append(vector.dtype)
        return GRAM.numpy().astype(np.float32) @ vector

    single = LinearOperator((300, 300), matvec=times, dtype=np.float32)
    found = extreme_eigenvalues(single, tolerance=1e-5)
    assert set(calls) == {np.dtype(np.float32)}
    assert found.products == len(calls)
    assert found.largest.value == pytest.approx(float(torch.linalg.eigvalsh(GRAM)[-1]), rel=1e-5)


def test_tensors_are_taken():
    assert (
        extreme_eigenvalues(GRAM).largest.value == extreme_eigenvalues(GRAM.numpy()).largest.value
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"operator": [1.0]}, "operator is a list; give a scipy.sparse.linalg.LinearOperator"),
        (
            {"operator": np.ones((2, 3))},
            r"the operator has shape \(2, 3\); \(n, n\) is needed, as of A\^T A",
        ),
        ({"operator": np.ones((0, 0))}, r"the operator has shape \(0, 0\)"),
        ({"operator": 1j * np.ones((2, 2))}, "dtype complex128; give one of real numbers"),
        ({"operator": np.full((2, 2), np.nan)}, "not finite: look whether its entries are"),
        ({"diagonal": np.ones(3)}, r"diagonal has shape \(3,\); \(300,\) is needed"),
        ({"diagonal": -np.ones(300)}, "diagonal holds a negative number.*leave it out"),
        ({"tolerance": 0}, "tolerance is 0.0; it must be a positive number"),
        ({"most_products": 0}, "most_products is 0; it must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        extreme_eigenvalues(**{"operator": GRAM.numpy(), **arguments})
