"""Monitors against the definitions written out, and that they take part in the forward pass."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import empirical_gram, lambda_min
from companion.losses import CROSS_ENTROPY, HINGE, QUADRATIC
from companion.monitors import (
    Distances,
    Every,
    Log,
    Moment,
    PatternDifference,
    certified_lambda_min,
    count_true,
    frobenius_distances,
    gradient_norms,
    gram_lambda_min,
    largest_loss,
    largest_slope,
    layer_gram_drifts,
    layer_lambda_mins,
    least_distance,
    mean_loss,
    misfit,
    separations,
    training_error,
    unit_distances,
)
from companion.networks import draw_chen, draw_du, draw_zou
from companion.spectra import bounds_of, least_eigenvalue, start_directions, subspace_step
from companion.training import descent
from tests.modes import CountedCalls
from tests.oracles import (
    NETWORKS,
    gram_by_autograd,
    gram_by_loops,
    gram_by_rows,
    max_distance_by_loops,
    pattern_difference_by_loops,
    predictions_by_loops,
)

DRAWS = pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])
EVERY = pytest.mark.parametrize("draw", [draw for draw, _ in NETWORKS.values()], ids=NETWORKS)


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
    return start, Moment(moved, initial, x, y, CROSS_ENTROPY, step, start.memories, start.watchers)


def test_a_prediction_that_is_no_number_is_an_error():
    x, y = torch.eye(3), torch.ones(3)
    network = draw_zou(width=4, dimension=3, seed=0, depth=1)
    broken = network.moved([torch.full_like(network.weights[0], math.nan)])
    now = Moment(broken, network, x, y, CROSS_ENTROPY, 1)
    assert float(training_error(now)) == 1


@pytest.mark.parametrize("trained", ["hidden", "output", "all"])
def test_units_without_numbers_have_no_gram_matrix(trained):
    """A unit that is no number was taken to be on: 4.0 instead of NaN."""
    network = draw_zou(width=4, dimension=3, seed=0, depth=1).training(trained)
    broken = network.moved([torch.full_like(p, math.nan) for p in network.parameters])
    now = Moment(broken, network, torch.eye(3), torch.ones(3), CROSS_ENTROPY, 1)
    assert math.isnan(gram_lambda_min(now))
    assert all(map(math.isnan, layer_lambda_mins(now)))
    assert all(map(math.isnan, layer_gram_drifts(now)))
    assert bool(certified_lambda_min(now).isnan().all())


@DRAWS
def test_losses_errors_and_slopes(draw):
    _, now = moment(draw)
    margins = (now.y * now.network.predict(now.x)).tolist()
    losses = [math.log1p(math.exp(-z)) for z in margins]
    assert float(mean_loss(now)) == pytest.approx(sum(losses) / 7)
    assert float(largest_loss(now)) == pytest.approx(max(losses))
    assert float(largest_slope(now)) == pytest.approx(max(1 / (1 + math.exp(z)) for z in margins))
    assert float(training_error(now)) == pytest.approx(sum(z <= 0 for z in margins) / 7)


@EVERY
def test_gradients_are_those_of_the_mean_loss(draw):
    _, now = moment(draw)
    leaves = [parameter.clone().requires_grad_() for parameter in now.network.parameters]
    margins = now.y * now.network.moved(leaves).predict(now.x)
    torch.log1p(torch.exp(-margins)).mean().backward()
    for found, leaf, norm in zip(now.gradients, leaves, gradient_norms(now), strict=True):
        torch.testing.assert_close(found, leaf.grad)
        assert float(norm) == pytest.approx(float(leaf.grad.norm()))


@EVERY
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


@pytest.mark.parametrize("first", [1, 3])
def test_the_first_record_of_distances_takes_as_many_steps_as_it_says(first):
    _, now = moment(draw_chen)
    steps = []
    for change in now.changes():
        directions = start_directions(change, 2)
        for _ in range(first):
            step = subspace_step(change, directions)
            directions = step.directions
        steps.append(step)
    found = Distances(directions=2, first=first)(now)
    torch.testing.assert_close(found, bounds_of(steps).T, rtol=1e-13, atol=0)


@EVERY
def test_distances_ask_for_eigenvalues_once_for_all_layers_of_a_size(draw):
    """On a GPU each asking waits for the device: of W_1, of W_2 and W_3, for a vector never."""
    _, now = moment(draw)
    with CountedCalls("_linalg_eigh") as counted:
        Distances(directions=3)(now)
    assert counted.calls == (0 if now.network.trained == "output" else 2)


@DRAWS
@pytest.mark.parametrize("by_columns", [False, True])
def test_pattern_difference_counts_switched_units_of_every_layer(draw, by_columns):
    since_start, since_last = PatternDifference(), PatternDifference("last")
    start, now = moment(draw, far=0.3, watchers={"start": since_start, "last": since_last})
    if by_columns:
        start.x = now.x = now.x.T.contiguous().T
    later = Moment(
        start.initial, start.initial, now.x, now.y, CROSS_ENTROPY, 2, start.memories, start.watchers
    )
    before, after = (net.run(now.x).gates for net in (now.initial, now.network))
    on = (lambda g: g >= 0) if draw is draw_du else (lambda g: g > 0)
    expected = [float((on(a) != on(b)).double().mean()) for a, b in zip(before, after, strict=True)]
    assert max(expected) > 0

    def measured(moment):
        found = []
        for name, monitor in start.watchers.items():
            moment.name = name
            found.append(monitor(moment).tolist())
        return found

    assert measured(start) == [[0, 0, 0], [0, 0, 0]]
    assert measured(now) == [pytest.approx(expected)] * 2
    # Back at the start: nothing differs from there, and as much as before from the last record.
    assert measured(later) == [[0, 0, 0], pytest.approx(expected)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.integers(1, 70), st.floats(0, 1), st.booleans())
def test_count_true(rows, columns, share, transposed):
    generator = torch.Generator().manual_seed(rows + 100 * columns)
    flags = torch.rand(rows, columns, generator=generator) < share
    assert int(count_true(flags.T if transposed else flags)) == int(flags.sum())


@pytest.mark.parametrize("shape", [(3, 41, 27), (3, 64, 32), (2, 3, 5, 7)])
def test_count_true_counts_every_member_alone(shape):
    flags = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    for each in (flags, flags.mT):
        assert torch.equal(count_true(each).long(), flags.sum(dim=(-2, -1)))


def test_count_true_does_not_overflow_where_all_are_true():
    for count in (1024 * 200 + 5, 128 * 8, 7):
        assert int(count_true(torch.ones(count, 1, dtype=torch.bool))) == count


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


@EVERY
def test_the_least_eigenvalue_is_that_of_the_gradients_and_above_its_bound(draw):
    _, now = moment(draw)
    exact = lambda_min(gram_by_rows(now.network, now.x))
    assert isinstance(gram_lambda_min(now), float)
    assert gram_lambda_min(now) == pytest.approx(exact, rel=1e-9, abs=1e-12)
    value, lower = certified_lambda_min(now).tolist()
    assert value == pytest.approx(exact, rel=1e-6, abs=1e-10)
    assert lower <= exact + 1e-10
    certified = least_eigenvalue(empirical_gram(now.network, now.x))
    assert (value, lower) == (certified.value, certified.lower)
    assert lower < value


def two_layers(trained="all", step=7):
    """A network of one hidden layer that has moved far, in both layers or in one."""
    initial = draw_du(30, 4, 3, trained=trained, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    far = [0.4, 0.2] if trained == "all" else [0.4]
    moved = [
        tensor + scale * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for tensor, scale in zip(initial.parameters, far, strict=True)
    ]
    data = sphere(5, 4, seed=3)
    start = Moment(initial, initial, data.x, data.y, QUADRATIC, 0)
    return start, Moment(initial.moved(moved), initial, data.x, data.y, QUADRATIC, step)


def test_misfit_is_the_sum_of_squares():
    _, now = two_layers()
    residual = predictions_by_loops(now.network, now.x) - now.y
    expected = sum(float(r) ** 2 for r in residual)
    assert float(misfit(now)) == pytest.approx(expected, rel=1e-12)
    assert 2 * float(now.losses.sum()) == pytest.approx(expected, rel=1e-12)


def test_misfit_is_added_up_in_double_precision():
    x, y = sphere(1000, 4, 0).x.float(), torch.full((1000,), 0.1)
    network = draw_du(8, 4, 0)
    still = network.moved([torch.zeros_like(each) for each in network.parameters])
    found = misfit(Moment(still, network, x, y, QUADRATIC, 1))
    assert float(found) == pytest.approx(1000 * float(y[0]) ** 2, rel=1e-13)


def test_units_are_as_far_as_loops_say():
    start, now = two_layers()
    (before,), (after,) = now.initial.weights, now.network.weights
    steps = [math.sqrt(sum(float(d) ** 2 for d in row)) for row in after - before]
    outputs = [abs(float(d)) for d in now.network.outputs - now.initial.outputs]
    expected = [[max(far), math.sqrt(sum(d**2 for d in far) / 30)] for far in (steps, outputs)]
    torch.testing.assert_close(unit_distances(now), torch.tensor(expected).double())
    assert expected[0][0] == pytest.approx(max_distance_by_loops(before, after), rel=1e-12)
    assert unit_distances(start).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("trained", ["hidden", "output", "all"])
def test_what_is_not_trained_has_no_distance(trained):
    _, now = two_layers(trained)
    rows = {"hidden": ["W"], "output": ["a"], "all": ["W", "a"]}[trained]
    assert len(unit_distances(now)) == len(frobenius_distances(now)) == len(rows)
    assert len(layer_lambda_mins(now)) == len(layer_gram_drifts(now)) == len(rows)
    if trained == "output":  # one entry is a unit
        far = (now.network.outputs - now.initial.outputs).abs()
        root = far.square().mean().sqrt()
        torch.testing.assert_close(unit_distances(now)[0], torch.stack([far.max(), root]))


def test_pattern_difference_of_two_layers_is_that_of_loops():
    start, now = two_layers()
    expected = pattern_difference_by_loops(now.initial.weights[0], now.network.weights[0], now.x)
    assert 0 < expected < 1
    assert PatternDifference()(start).tolist() == [0]
    assert PatternDifference()(now).tolist() == [expected]


def test_eigenvalues_and_drift_of_every_layer():
    """The outputs stay signs here, as the loops are written for them."""
    start, now = two_layers("hidden")
    after, before = gram_by_loops(now.network, now.x), gram_by_loops(now.initial, now.x)
    least = float(torch.linalg.eigvalsh(after)[0])
    assert gram_lambda_min(now) == pytest.approx(least, abs=1e-12)
    assert layer_lambda_mins(now) == pytest.approx([least], abs=1e-12)
    drift = float(torch.linalg.matrix_norm(after - before, 2))
    assert layer_gram_drifts(now) == pytest.approx([drift], rel=1e-10)
    assert layer_gram_drifts(start).tolist() == [0]


def test_both_layers_have_eigenvalues_and_drifts_of_their_own():
    _, now = two_layers()
    grams, least = [], []
    for wrt in ("weights", "outputs"):
        after, before = (gram_by_autograd(net, now.x, wrt) for net in (now.network, now.initial))
        least.append(float(torch.linalg.eigvalsh(after)[0]))
        grams.append(float(torch.linalg.matrix_norm(after - before, 2)))
    assert layer_lambda_mins(now) == pytest.approx(least, abs=1e-12)
    assert layer_gram_drifts(now) == pytest.approx(grams, rel=1e-10)
    assert gram_lambda_min(now) >= sum(least) - 1e-12


def test_monitors_of_a_moment_that_no_run_recorded_look_at_the_start_all_the_same():
    """As one does with `descent`, which records nothing: asked at step 5 for the first time."""
    start, _ = two_layers("hidden")
    data = {"loss": QUADRATIC, "step_size": 2.0}
    for now in descent(start.network, start.x, start.y, **data):
        if now.step == 5:
            break
    (before,), (after,) = now.initial.weights, now.network.weights
    switched = pattern_difference_by_loops(before, after, now.x)
    assert switched > 0
    assert PatternDifference()(now).tolist() == [switched]
    drift = gram_by_loops(now.network, now.x) - gram_by_loops(now.initial, now.x)
    norm = float(torch.linalg.matrix_norm(drift, 2))
    assert layer_gram_drifts(now) == pytest.approx([norm], rel=1e-9)


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


def test_a_record_that_fails_leaves_no_trace():
    _, now = moment(draw_zou)

    def keeps(moment):
        moment.memory["step"] = torch.tensor(moment.step)
        return 0.0

    def fails(moment):
        return 1 / (2 - moment.step)

    log = Log({"keeps": keeps, "fails": fails})
    log.note(now)
    now.step = 2
    with pytest.raises(ZeroDivisionError):
        log.note(now)
    assert now.memories["keeps"] == {"step": torch.tensor(1)}
    assert log.at == {"keeps": [1], "fails": [1]}


def test_a_log_that_follows_another_knows_its_shapes_and_shares_nothing():
    _, now = moment(draw_zou)
    record = {"it": lambda moment: torch.zeros(3 if moment.step > 2 else 2)}
    log, other, third = Log(record), Log(record), Log(record)
    log.note(now)
    other.follow(log)
    third.follow(log)
    other.note(now)
    assert other.at == {"it": []}  # step 1 is noted already
    now.step = 2
    other.note(now)
    assert (log.latest, other.latest) == ({"it": 1}, {"it": 2})
    now.step = 3
    with pytest.raises(InputError, match=r"shape \(3,\) at step 3 and gave \(2,\) before"):
        third.note(now)


def test_a_monitor_that_makes_the_pass_keeps_its_own_memory():
    """Though others watch the pass meanwhile."""
    _, now = moment(draw_zou, watchers={"pattern": PatternDifference()})
    now.name = "mine"
    assert len(now.forward.gates) == 3
    now.memory["kept"] = now.y
    assert list(now.memories["mine"]) == ["kept"]


def test_only_due_watchers_are_shown_the_pass():
    pattern = PatternDifference()
    log = Log({"pattern": Every(3, pattern), "loss": mean_loss})
    assert [len(log.watchers(step)) for step in range(5)] == [1, 0, 0, 1, 0]
    assert log.watchers(4, last=True) == {"pattern": pattern}


def test_hinge_has_its_own_slope():
    start, _ = moment(draw_zou)
    start.loss = HINGE
    assert float(largest_slope(start)) == 1.0
    start.y = 10 * start.forward.predictions.sign() / start.forward.predictions.abs().min()
    assert float(largest_slope(start)) == 0.0  # every margin is beyond 1
