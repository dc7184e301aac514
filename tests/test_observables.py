"""Observables against naive loops over the definition."""

import math

import pytest
import torch

from companion.datasets import sphere
from companion.networks import TwoLayer, draw_two_layer
from companion.observables import (
    InitialState,
    State,
    distances,
    gram_drift,
    gram_lambda_min,
    max_distance,
    max_output_distance,
    mean_distance,
    mean_squared_residual,
    misfit,
    output_gram_lambda_min,
    pattern_difference,
)
from tests.oracles import (
    gram_by_autograd,
    gram_by_loops,
    max_distance_by_loops,
    pattern_difference_by_loops,
    predictions_by_loops,
)

DATA = sphere(5, 4, seed=3)
BEFORE = draw_two_layer(30, 4, seed=3)
GENERATOR = torch.Generator().manual_seed(0)
AFTER = TwoLayer(
    BEFORE.weights + 0.4 * torch.randn(30, 4, generator=GENERATOR, dtype=torch.float64),
    BEFORE.outputs + 0.2 * torch.randn(30, generator=GENERATOR, dtype=torch.float64),
)


def state_of(network: TwoLayer) -> State:
    return State(network, InitialState(BEFORE, DATA.x), DATA.x, DATA.y, step=7)


def test_misfit_is_the_sum_of_squares():
    residual = predictions_by_loops(AFTER, DATA.x) - DATA.y
    expected = sum(float(r) ** 2 for r in residual)
    assert misfit(state_of(AFTER)) == pytest.approx(expected, rel=1e-12)
    assert mean_squared_residual(state_of(AFTER)) == pytest.approx(expected / 5, rel=1e-12)


def test_pattern_difference_counts_switched_pairs():
    expected = pattern_difference_by_loops(BEFORE.weights, AFTER.weights, DATA.x)
    assert 0 < expected < 1
    assert pattern_difference(state_of(AFTER)) == expected


def test_distances():
    far = [math.sqrt(sum(float(d) ** 2 for d in row)) for row in (AFTER.weights - BEFORE.weights)]
    state = state_of(AFTER)
    assert distances(state).tolist() == pytest.approx(far, rel=1e-12)
    expected = max_distance_by_loops(BEFORE.weights, AFTER.weights)
    assert max_distance(state) == pytest.approx(expected, rel=1e-12)
    expected = math.sqrt(sum(d**2 for d in far) / 30)
    assert mean_distance(state) == pytest.approx(expected, rel=1e-12)
    moved = max(abs(float(a - b)) for a, b in zip(AFTER.outputs, BEFORE.outputs, strict=True))
    assert max_output_distance(state) == moved


def test_nothing_has_moved_at_the_start():
    state = state_of(BEFORE)
    found = [f(state) for f in (pattern_difference, max_distance, max_output_distance, gram_drift)]
    assert found == [0, 0, 0, 0]


def test_gram_observables():
    """The outputs stay signs here, as the loops are written for them."""
    after = BEFORE.moved(AFTER.weights)
    now, start = gram_by_loops(after, DATA.x), gram_by_loops(BEFORE, DATA.x)
    expected = float(torch.linalg.eigvalsh(now)[0])
    assert gram_lambda_min(state_of(after)) == pytest.approx(expected, abs=1e-12)
    expected = float(torch.linalg.matrix_norm(now - start, 2))
    assert gram_drift(state_of(after)) == pytest.approx(expected, rel=1e-10)


def test_output_gram_observable():
    gram = gram_by_autograd(AFTER, DATA.x, "outputs")
    expected = float(torch.linalg.eigvalsh(gram)[0])
    assert output_gram_lambda_min(state_of(AFTER)) == pytest.approx(expected, abs=1e-12)
