"""Monitors against the definitions written out, and that they take part in the forward pass."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import lambda_min
from companion.losses import CROSS_ENTROPY, HINGE
from companion.monitors import (
    Distances,
    Every,
    Log,
    Moment,
    PatternDifference,
    count_true,
    frobenius_distances,
    gradient_norms,
    gram_lambda_min,
    largest_loss,
    largest_slope,
    least_distance,
    mean_loss,
    separations,
    training_error,
)
from companion.networks import draw_chen, draw_du, draw_zou
from tests.oracles import gram_by_rows

DRAWS = pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])


def labels(count, seed=0):
    return sphere(count, 2, seed).y.sign()


def moment(draw, seed=0, far=0.1, step=1, **options):
    """A network of three layers that has moved, with its memory of the start."""
    initial = draw(8, 4, seed, depth=3, dtype=torch.float64)
    other = draw(8, 4, seed + 1, depth=3, dtype=torch.float64)
    moved = initial.moved(
        [w + far * step for w, step in zip(initial.parameters, other.parameters, strict=True)]
    )
    x, y = sphere(7, 4, seed).x, labels(7, seed)
    start = Moment(initial, initial, x, y, CROSS_ENTROPY, 0, **options)
    return start, Moment(moved, initial, x, y, CROSS_ENTROPY, step, start.memory, start.watchers)


def test_a_prediction_that_is_no_number_is_an_error():
    x, y = torch.eye(3), torch.ones(3)
    network = draw_zou(width=4, dimension=3, seed=0, depth=1)
    broken = network.moved([torch.full_like(network.weights[0], math.nan)])
    now = Moment(broken, network, x, y, CROSS_ENTROPY, 1)
    assert float(training_error(now)) == 1


@DRAWS
def test_losses_errors_and_slopes(draw):
    _, now = moment(draw)
    margins = (now.y * now.network.predict(now.x)).tolist()
    losses = [math.log1p(math.exp(-z)) for z in margins]
    assert float(mean_loss(now)) == pytest.approx(sum(losses) / 7)
    assert float(largest_loss(now)) == pytest.approx(max(losses))
    assert float(largest_slope(now)) == pytest.approx(max(1 / (1 + math.exp(z)) for z in margins))
    assert float(training_error(now)) == pytest.approx(sum(z <= 0 for z in margins) / 7)


@DRAWS
def test_gradients_are_those_of_the_mean_loss(draw):
    _, now = moment(draw)
    leaves = [parameter.clone().requires_grad_() for parameter in now.network.parameters]
    margins = now.y * now.network.moved(leaves).predict(now.x)
    torch.log1p(torch.exp(-margins)).mean().backward()
    for found, leaf, norm in zip(now.gradients, leaves, gradient_norms(now), strict=True):
        torch.testing.assert_close(found, leaf.grad)
        assert float(norm) == pytest.approx(float(leaf.grad.norm()))


@DRAWS
def test_distances_in_both_norms(draw):
    start, now = moment(draw)
    pairs = list(zip(now.network.parameters, now.initial.parameters, strict=True))
    frobenius = [float((w - w0).norm()) for w, w0 in pairs]
    norms = [torch.linalg.matrix_norm(torch.atleast_2d(w - w0), 2) for w, w0 in pairs]
    spectral = torch.stack(norms)
    assert frobenius_distances(now).tolist() == pytest.approx(frobenius)
    assert Distances()(start).tolist() == [[0.0] * 3] * len(pairs)
    table = Distances(directions=2)(now)
    assert table[:, 0].tolist() == pytest.approx(frobenius)
    assert bool((table[:, 1] <= spectral * (1 + 1e-12)).all())
    assert bool((table[:, 2] >= spectral * (1 - 1e-12)).all())
    for _ in range(300):  # warm: the directions are kept and get better
        table = Distances(directions=2)(now)
    assert table[:, 1].tolist() == pytest.approx(spectral.tolist(), rel=1e-6)


@DRAWS
@pytest.mark.parametrize("by_columns", [False, True])
def test_pattern_difference_counts_switched_units_of_every_layer(draw, by_columns):
    since_start, since_last = PatternDifference(), PatternDifference("last")
    start, now = moment(draw, far=0.3, watchers=(since_start, since_last))
    if by_columns:
        start.x = now.x = now.x.T.contiguous().T
    later = Moment(
        start.initial, start.initial, now.x, now.y, CROSS_ENTROPY, 2, start.memory, start.watchers
    )
    before, after = (net.run(now.x).gates for net in (now.initial, now.network))
    on = (lambda g: g >= 0) if draw is draw_du else (lambda g: g > 0)
    expected = [float((on(a) != on(b)).double().mean()) for a, b in zip(before, after, strict=True)]
    assert max(expected) > 0
    assert since_start(start).tolist() == since_last(start).tolist() == [0, 0, 0]
    assert since_start(now).tolist() == pytest.approx(expected)
    assert since_last(now).tolist() == pytest.approx(expected)
    # Back at the start: nothing differs from there, and as much as before from the last record.
    assert since_start(later).tolist() == [0, 0, 0]
    assert since_last(later).tolist() == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.integers(1, 70), st.floats(0, 1), st.booleans())
def test_count_true(rows, columns, share, transposed):
    generator = torch.Generator().manual_seed(rows + 100 * columns)
    flags = torch.rand(rows, columns, generator=generator) < share
    assert int(count_true(flags.T if transposed else flags)) == int(flags.sum())


def test_count_true_does_not_overflow_where_all_are_true():
    for count in (1024 * 200 + 5, 128 * 8, 7):
        assert int(count_true(torch.ones(count, dtype=torch.bool))) == count


def test_separations_are_least_distances_of_unit_outputs():
    _, now = moment(draw_zou)
    expected = []
    for hidden in now.network.run(now.x).hidden:
        unit = hidden / hidden.norm(dim=1, keepdim=True)
        expected.append(
            min(
                float((unit[i] - unit[j]).norm())
                for i in range(7)
                for j in range(7)
                if now.y[i] > 0 > now.y[j]
            )
        )
    assert separations(now).tolist() == pytest.approx(expected)


def test_least_distance_keeps_its_digits_for_close_pairs():
    a = sphere(3000, 5, 0).x.float()
    b = torch.cat([sphere(10, 5, 1).x.float(), a[2500:2501]])
    b[-1, 0] += 1e-5
    assert float(least_distance(a, b)) == pytest.approx(float((a[2500] - b[-1]).norm()))


@DRAWS
def test_gram_lambda_min_is_between_its_bounds(draw):
    _, now = moment(draw)
    value, lower = gram_lambda_min(now).tolist()
    exact = lambda_min(gram_by_rows(now.network, now.x))
    assert value == pytest.approx(exact, rel=1e-6, abs=1e-10)
    assert lower <= exact + 1e-10


def test_a_log_records_at_its_intervals_and_at_the_last_step_once():
    _, now = moment(draw_zou)
    log = Log({"all": mean_loss, "some": Every(2, training_error)})
    for step in range(4):
        now.step = step
        log.note(now)
    assert log.at == {"all": [0, 1, 2, 3], "some": [0, 2]}
    log.note(now, last=True)
    log.note(now, last=True)
    assert log.at == {"all": [0, 1, 2, 3], "some": [0, 2, 3]}
    assert log.arrays()["all"].tolist() == [float(mean_loss(now))] * 4
    with pytest.raises(InputError, match=r"Every\(steps\) of monitor 'never' is 0"):
        Log({"never": Every(0, mean_loss)})


def test_only_due_watchers_are_shown_the_pass():
    pattern = PatternDifference()
    log = Log({"pattern": Every(3, pattern), "loss": mean_loss})
    assert [len(log.watchers(step)) for step in range(5)] == [1, 0, 0, 1, 0]
    assert log.watchers(4, last=True) == (pattern,)


def test_hinge_has_its_own_slope():
    start, _ = moment(draw_zou)
    start.loss = HINGE
    assert float(largest_slope(start)) == 1.0
    start.y = 10 * start.forward.predictions.sign() / start.forward.predictions.abs().min()
    assert float(largest_slope(start)) == 0.0  # every margin is beyond 1
