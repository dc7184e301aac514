"""The experiment chen2021/linearisation by automatic differentiation, and its own failure."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import independent_seed
from companion.experiments.chen2021 import _linearity, linearisation
from companion.experiments.chen2021._problem import draw
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

TINY = linearisation.QUICK.override(
    {"count": 6, "width": 64, "radii": [0.05, 0.1, 0.2], "alphas": [0.5], "widths": [16, 32, 64],
     "depths": [2, 3, 4], "deep_width": 32, "deep_radius": 0.1, "wide": 4096, "seeds": 2,
     "draws": 2, "near": [0.003, 0.006, 0.012]}
)  # fmt: skip
LEMMA, ORDER = "chen2021-lem6.1", "chen2021-lem6.1-order"
judged = partial(outcomes, linearisation, TINY)


@pytest.fixture(scope="module")
def found():
    return linearisation.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run is noisy: here the errors of every kind are 0.2 times the bound, and scatter."""
    seeds = np.array([0.99, 1.01])
    scatter = seeds[:, None, None]
    move = found.move.values * 0 + 0.1
    bound = 64**0.5 * np.log(64) ** 0.5 * 9 * found.radius.values ** (1 / 3) * move
    m = found.width.values
    wide = 9 * np.log(m) ** 0.5 * m**0.5 * (TINY.reach * m**-0.5) ** (1 / 3) * 0.1
    deep = found.depth.values**2 * 0.1
    many = seeds[:, None, None, None]
    return doctored(
        found,
        move=move,
        error=0.2 * scatter * bound,
        width_move=0.1,
        width_error=0.2 * many[..., None] * wide[:, None],
        depth_move=0.1,
        depth_error=0.2 * many * deep[:, None],
        wide_error=found.wide_derived.values * scatter,
    )


def problem(layers=3, width=16, seed=3, alpha=0.25):
    return draw(TINY, "cpu", seed=seed, width=width, layers=layers, alpha=alpha)


def by_autograd(one, other, x):
    """f_W' - f_W - J_W (W' - W), with Jacobians and outputs of the oracles."""
    formula = partial(chen_predictions, alpha=0.25)
    change = [b - a for a, b in zip(one.parameters, other.parameters, strict=True)]
    rows = deep_jacobians(one, x, formula)
    along = sum(row @ each.flatten() for row, each in zip(rows, change, strict=True))
    after, before = (formula(net.weights, net.outputs, x) for net in (other, one))
    return after - before - along


def distances(network, start):
    return [
        float((a - b).norm()) for a, b in zip(network.parameters, start.parameters, strict=True)
    ]


def test_a_settled_run_has_the_expected_outcomes(settled):
    beyond = {**linearisation.EXPECTED, ORDER: "outside-regime"}
    assert judged(settled) == beyond
    inside = TINY.override({"near": [0.0001, 0.0002, 0.0004]})
    assert outcomes(linearisation, inside, settled) == linearisation.EXPECTED


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_errors_are_those_of_jacobians(layers):
    known = problem(layers)
    network, x = known.network, known.x
    for direction in (_linearity.steepest(known), _linearity.random_direction(network, 5)):
        there = _linearity.moved(network, direction, 0.7)
        for one, other in ((network, there), (there, network)):
            errors = _linearity.linearisation_errors(one, other, x)
            torch.testing.assert_close(errors, by_autograd(one, other, x))
            assert errors.abs().min() > 1e-6
    assert max(distances(there, network)) == pytest.approx(0.7)


def test_the_steepest_direction_is_that_of_the_first_step():
    known = problem()
    step = known.train(1e-3, 1).network
    moves = [b - a for a, b in zip(known.network.parameters, step.parameters, strict=True)]
    longest = max(float(each.norm()) for each in moves)
    for found, move in zip(_linearity.steepest(known), moves, strict=True):
        torch.testing.assert_close(found, move / longest)


def test_the_move_is_a_sum_of_largest_singular_values():
    network = problem().network
    there = _linearity.moved(network, _linearity.random_direction(network, 1), 2.0)
    pairs = zip(network.weights, there.weights, strict=True)
    known = sum(np.linalg.norm((b - a).numpy(), 2) for a, b in pairs)
    assert _linearity.move(network, there) == pytest.approx(known)


@pytest.mark.parametrize("layers", [2, 4])
def test_the_worst_pairs_are_in_the_ball_and_their_errors_are_those_of_jacobians(layers):
    known = problem(layers, width=64)
    errors, moves = _linearity.worst_pairs(known.network, known.x, 0.4)
    for row, x in enumerate(known.x):
        one, other = _linearity.worst_weights(known.network, known.x, 0.4, row)
        assert max(*distances(one, known.network), *distances(other, known.network)) <= 0.4
        right = by_autograd(one, other, x[None])
        torch.testing.assert_close(errors[row : row + 1], right)
        assert float(moves[row]) == pytest.approx(_linearity.move(one, other))
    assert (errors > 0).all()
    blind = _linearity.moved(known.network, _linearity.random_direction(known.network, 2), 0.4)
    assert (
        errors.mean() > _linearity.linearisation_errors(known.network, blind, known.x).abs().max()
    )


def test_of_a_radius_that_brings_no_unit_to_its_kink_nothing_is_made():
    known = problem(2, width=8)
    errors, moves = _linearity.worst_pairs(known.network, known.x, 1e-9)
    assert not errors.any()
    assert not moves.any()


def test_the_derived_error_is_that_of_a_sample_and_its_order_the_one_stated():
    """Sorting a million preactivations in place of an integral."""
    generator = np.random.default_rng(0)
    z = np.sort(np.abs(generator.standard_normal(1_000_000)) * 2**0.5)
    for radius in (0.05, 0.4):
        # Half of all units share the cost: mean squares over all of them.
        share = np.searchsorted(np.cumsum(z**2) / len(z) / 2, (radius / 4) ** 2) / len(z)
        assert _linearity.worst_error(radius) == pytest.approx(
            0.75 * radius * (share / 2) ** 0.5, rel=5e-3
        )
    small = 1e-5
    share = (3 * small**2 / (8 * np.pi)) ** (1 / 3)
    assert _linearity.worst_error(small) == pytest.approx(
        0.75 * small * (share / 2) ** 0.5, rel=1e-3
    )


def test_recorded_errors_are_those_of_jacobians(found):
    """Of one seed and radius, all kinds of pairs, at alpha = 1/2."""
    known = draw(TINY, "cpu", seed=1, width=64, layers=3)
    network, x = known.network, known.x
    own = independent_seed(1, 64, 64)
    first, second = (_linearity.random_direction(network, independent_seed(own, k)) for k in (0, 1))

    def size(one, other, rows=x):
        scale = 64**0.25  # the oracle above is for another alpha, which is a factor alone
        return float((scale * by_autograd(one, other, rows)).square().mean().sqrt())

    there = _linearity.moved(network, _linearity.steepest(known), 0.1)
    pairs = [_linearity.worst_weights(network, x, 0.1, row) for row in range(6)]
    right = [
        max(size(network, there), size(there, network)),
        size(*(_linearity.moved(network, each, 0.1) for each in (first, second))),
        np.mean([size(*pair, x[i : i + 1]) ** 2 for i, pair in enumerate(pairs)]) ** 0.5,
    ]
    np.testing.assert_allclose(found.error.sel(seed=1, radius=0.1), right, rtol=1e-6)


@pytest.mark.parametrize(
    "lie",
    [
        {"error": lambda error: error * np.array([1.3, 1.0, 0.8])},
        {"width_error": lambda error: error * np.array([1.0, 1.2, 1.4])[:, None]},
        {"depth_error": lambda error: error * np.array([1.0, 1.2, 1.4])[:, None]},
    ],
)
def test_an_error_that_grows_over_its_bound_is_noticed(settled, lie):
    """Beyond the lemma's radius nothing follows from it; within it the lemma fails."""
    assert judged(settled, **lie)[LEMMA] == "inconclusive"
    tiny = {"error": lambda error: lie["error"](error)} if "error" in lie else lie
    within = TINY.override({"radii": [1e-6, 2e-6, 4e-6]})
    assert outcomes(linearisation, within, settled, **tiny)[LEMMA] == "fails"


@pytest.mark.parametrize(
    "lie",
    [
        lambda error: error * np.array([1.0, 1.1, 1.2]),
        lambda error: 1.3 * error,
    ],
)
def test_another_order_or_constant_fails(settled, lie):
    inside = TINY.override({"near": [0.0001, 0.0002, 0.0004]})
    assert outcomes(linearisation, inside, settled, wide_error=lie)[ORDER] == "fails"


def test_noise_decides_nothing(settled):
    wild = np.exp(np.random.default_rng(0).standard_normal(settled.wide_error.shape) / 2)
    told = judged(
        settled,
        wide_error=lambda error: error * wild,
        error=lambda error: error * np.exp(np.random.default_rng(1).normal(size=error.shape)),
    )
    assert set(told.values()) == {"inconclusive"}


@pytest.mark.parametrize("claim", linearisation.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(settled, claim):
    inside = TINY.override({"near": [0.0001, 0.0002, 0.0004]})
    verdicts = linearisation.judge(inside, settled)
    told = with_controls(verdicts, linearisation.CONTROLS, inside, settled, linearisation.judge)
    known = {v.claim: v.control.outcome for v in told}
    assert known[claim] == ("fails" if claim == ORDER else "inconclusive")
