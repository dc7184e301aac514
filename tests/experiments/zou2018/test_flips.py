"""Perturbations near initialisation against weights written out, brute force and sampling."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from companion.experiments.zou2018 import _flips
from companion.experiments.zou2018._problem import DeepSettings, draw
from companion.networks import draw_zou
from tests.oracles import zou_predictions

SETTINGS = DeepSettings(count=5, dimension=6)


def problem(width=16, depth=3, seed=0, settings=SETTINGS):
    return draw(settings, "cpu", seed=seed, width=width, depth=depth)


def hidden_by_loops(weights, row):
    """x_0, ..., x_L of one input, layer by layer."""
    found = [row]
    for weight in weights:
        found.append(torch.relu(weight @ found[-1]))
    return found


ATTACKS = [_flips.attack_patterns, _flips.attack_last_layer, _flips.attack_outputs]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_what_its_weights_do_and_they_lie_in_the_ball(attack):
    known = problem()
    told = attack(known.network, known.x, 0.3)
    assert float(told.moves.max()) > 0.1
    for row in range(5):
        weights = told.weights(known.network, row)
        moves = [
            float(torch.linalg.matrix_norm(new - old, 2))
            for new, old in zip(weights, known.network.weights, strict=True)
        ]
        assert max(moves) <= 0.3 * (1 + 1e-9)
        np.testing.assert_allclose(told.moves[row], moves, atol=1e-12)
        expected = hidden_by_loops(weights, known.x[row])
        for layer, (now, by_loops) in enumerate(zip(told.hidden, expected, strict=True)):
            torch.testing.assert_close(now[row], by_loops)
            if layer:  # what is pushed over its kink by a millionth is on as the weights have it
                assert torch.equal(told.patterns[layer - 1][row], by_loops > 0)


def test_no_other_weights_switch_more_units_of_the_first_layer():
    """By brute force: any set of units whose preactivations have a norm within tau."""
    known = problem(width=10, depth=1)
    (before,) = _flips.patterns(known.network, known.x)
    (after,) = _flips.attack_patterns(known.network, known.x, 0.4).patterns
    z = known.x @ known.network.weights[0].T
    for row in range(5):
        possible = [
            size
            for size in range(11)
            for units in combinations(range(10), size)
            if float(z[row, list(units)].norm()) <= 0.4 * float(known.x[row].norm())
        ]
        assert int((before != after)[row].sum()) == max(possible)
    assert 0 < int((before != after).sum()) < 50


def test_the_lower_layers_help_to_switch_the_last():
    known = problem(width=256, depth=6)
    before = _flips.patterns(known.network, known.x)
    alone, helped = (
        _flips.switched(before, attack(known.network, known.x, 0.01).patterns)[-1]
        for attack in ATTACKS[:2]
    )
    assert helped > 1.3 * alone
    assert _flips.attacked_share(known.network, known.x, 0.01) >= helped


def test_one_perturbation_switches_all_units_of_the_union():
    known = problem(width=64, depth=1)
    network, x = known.network, known.x
    chosen = _flips.attack_together(network, x, 0.3)
    assert int(chosen.sum(dim=0).max()) == 1
    z = x @ network.weights[0].T
    target = torch.where(chosen, -(1 + _flips.BEYOND) * z, 0).T  # units, inputs
    change = target @ torch.linalg.pinv(x.T)
    assert float(torch.linalg.matrix_norm(change, 2)) <= 0.3
    after = x @ (network.weights[0] + change).T
    assert torch.equal((z > 0) != (after > 0), chosen)
    assert int(chosen.sum()) > 10


def test_outputs_are_attacked_along_the_leading_direction_of_the_jacobian():
    known = problem()
    network, x = known.network, known.x
    start = network.run(x).hidden
    attack = _flips.attack_outputs(network, x, 1e-6, rounds=200)
    for row in range(5):

        def last(z):
            found = torch.relu(z)
            for weight in network.weights[1:]:
                found = torch.relu(weight @ found)
            return found

        jacobian = torch.autograd.functional.jacobian(last, network.weights[0] @ x[row])
        size = float(torch.linalg.matrix_norm(jacobian, 2))
        far = float((attack.hidden[-1][row] - start[-1][row]).norm())
        assert far / 1e-6 == pytest.approx(size, rel=1e-3)
        assert float(attack.moves[row, 0]) == pytest.approx(1e-6)


def test_directions_are_isometries_with_no_sign_of_their_own():
    network = draw_zou([24, 16], 6, 0, dtype=torch.float64)
    units = [_flips.directions(network, seed) for seed in range(200)]
    for unit, weight in zip(units[0], network.weights, strict=True):
        assert unit.shape == weight.shape
        np.testing.assert_allclose(torch.linalg.svdvals(unit), 1)
    mean = torch.stack([unit[0] for unit in units]).mean(dim=0)
    assert float(mean.abs().max()) < 5 / math.sqrt(200 * 24)


def test_the_worst_share_is_that_of_sorted_gaussians():
    z = np.sort(np.abs(np.random.default_rng(0).normal(size=200_000))) * math.sqrt(2 / 200_000)
    for radius in (0.05, 0.3, 1.0):
        sampled = np.searchsorted(np.sqrt(np.cumsum(z**2)), radius) / 200_000
        assert _flips.worst_share(radius) == pytest.approx(sampled, rel=0.01)
    for radius in (1e-2, 1e-4):
        law = (3 * radius**2 / math.pi) ** (1 / 3)
        assert _flips.worst_share(radius) == pytest.approx(law, rel=radius)


def test_the_random_share_is_that_of_gaussian_pairs():
    draws = np.random.default_rng(0).normal(size=(2, 400_000))
    for radius in (0.1, 1.0, 10.0):
        sampled = np.mean(draws[0] * (draws[0] + radius / math.sqrt(2) * draws[1]) < 0)
        assert _flips.random_share(radius) == pytest.approx(sampled, rel=0.03)


def test_the_limit_of_the_norm_is_that_of_wide_layers():
    assert _flips.edge_norm(1) == pytest.approx(1 + math.sqrt(2))
    assert _flips.edge_norm(10_000) == pytest.approx(math.sqrt(2 * math.e * 10_000), rel=1e-3)
    known = problem(width=512, depth=4)
    on = [each[0] for each in _flips.patterns(known.network, known.x)]
    assert _flips.product_norm(known.network.weights, on) == pytest.approx(
        _flips.edge_norm(3), rel=0.06
    )


def test_products_are_those_of_diagonal_matrices():
    known = problem(depth=4)
    on = [each[2] for each in _flips.patterns(known.network, known.x)]
    product = torch.eye(16, dtype=torch.float64)
    for gate, weight in zip(on[1:], known.network.weights[1:], strict=True):
        product = torch.diag(gate.double()) @ weight @ product
    norm = float(np.linalg.norm(product.numpy(), 2))
    assert _flips.product_norm(known.network.weights, on) == pytest.approx(norm)


def test_no_sparse_vector_does_better():
    """v^T prod is the gradient of the output in x_1, by automatic differentiation."""
    known = problem(width=8)
    network = known.network
    found = _flips.sparse_norms(network, known.x, (1, 3))
    for row in range(5):
        first = torch.relu(network.weights[0] @ known.x[row]).requires_grad_()
        zou_predictions(network.weights[1:], network.outputs, first[None]).sum().backward()
        for place, sparsity in enumerate((1, 3)):
            supports = [list(units) for units in combinations(range(8), sparsity)]
            best = max(float(first.grad[support].norm()) for support in supports)
            assert float(found[row, place]) == pytest.approx(best)


def test_a_union_is_the_mean_over_all_choices_of_inputs():
    flips = torch.rand(5, 40, generator=torch.Generator().manual_seed(0)) < 0.2
    for count, told in zip((1, 2, 4, 5), _flips.united(flips, (1, 2, 4, 5)), strict=True):
        choices = [list(rows) for rows in combinations(range(5), count)]
        shares = [float(flips[rows].any(dim=0).double().mean()) for rows in choices]
        assert told == pytest.approx(np.mean(shares))


def test_the_ratio_of_moves_by_loops():
    generator = torch.Generator().manual_seed(0)
    before, after = (
        [torch.rand(3, 4, generator=generator, dtype=torch.float64) for _ in range(4)]
        for _ in range(2)
    )
    moves = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    ratios = [
        np.linalg.norm(after[layer][row] - before[layer][row]) / float(moves[row, :layer].sum())
        for layer in (1, 2, 3)
        for row in range(3)
    ]
    assert _flips.lipschitz(before, after, moves) == pytest.approx(max(ratios))
    shared = [
        np.linalg.norm(after[layer][row] - before[layer][row]) / float(moves[0, :layer].sum())
        for layer in (1, 2, 3)
        for row in range(3)
    ]
    assert _flips.lipschitz(before, after, moves[0]) == pytest.approx(max(shared))
    assert _flips.lipschitz(before, before, torch.zeros(3)) == 0


def test_the_path_is_that_of_torch_on_the_logistic_loss():
    known = problem(width=32)
    path = _flips.descend(known, 0.02, 0.1, 50)
    start = [weight.clone() for weight in known.network.weights]
    leaves = [weight.clone().requires_grad_() for weight in start]

    def loss():
        margins = known.y * zou_predictions(leaves, known.network.outputs, known.x)
        return torch.nn.functional.softplus(-margins).mean()

    gradients = torch.autograd.grad(loss(), leaves)
    step_size = 0.02 / max(float(each.norm()) for each in gradients)
    optimiser = torch.optim.SGD(leaves, lr=step_size)
    before = [hidden_by_loops(start, row)[1:] for row in known.x]
    for step in range(1, len(path.distances)):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        moves = [
            float(torch.linalg.matrix_norm(leaf.detach() - old, 2))
            for leaf, old in zip(leaves, start, strict=True)
        ]
        assert max(moves) <= path.distances[step] * (1 + 1e-9)
        assert path.distances[step] == pytest.approx(max(moves), rel=1e-2)
        after = [hidden_by_loops([leaf.detach() for leaf in leaves], row)[1:] for row in known.x]
        for layer in range(3):
            switched = sum(
                int(((one[layer] > 0) != (other[layer] > 0)).sum())
                for one, other in zip(before, after, strict=True)
            )
            assert path.shares[step, layer] == pytest.approx(switched / (5 * 32))
        ratio = max(
            float((one[layer] - other[layer]).norm()) / sum(moves[: layer + 1])
            for one, other in zip(before, after, strict=True)
            for layer in range(3)
        )
        assert path.ratios[step] == pytest.approx(ratio, rel=1e-2)
    assert path.distances[-2] <= 0.1 < path.distances[-1]
    for leaf, end in zip(leaves, path.network.weights, strict=True):
        torch.testing.assert_close(leaf.detach(), end)


def test_a_path_that_ends_early_says_nothing_of_what_lies_beyond():
    path = _flips.descend(problem(width=32), 0.02, 100.0, 3)
    assert len(path.distances) == 4
    middle, beyond = path.at([path.distances[1:3].mean(), 100.0], path.shares[:, 0])
    assert middle == pytest.approx(path.shares[1:3, 0].mean())
    assert math.isnan(beyond)


def test_the_radius_asked_for_falls_with_depth_and_width():
    assert _flips.asked_radius(1, math.e**4) == pytest.approx(1 / 8)
    assert _flips.asked_radius(2, math.e**4) == pytest.approx(2**-11 / 8)
