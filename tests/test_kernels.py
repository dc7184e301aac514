"""Gram matrices against autograd, loops, quadrature and Monte Carlo, and their structure."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import pair_at_angle, sphere, with_antipodes
from companion.errors import InputError
from companion.kernels import (
    empirical_gram,
    gram_change_bound,
    gram_memory,
    infinite_width_gram,
    infinite_width_output_gram,
    lambda_max,
    lambda_min,
    layer_grams,
    near_boundary,
    spectral_norm,
)
from companion.losses import CROSS_ENTROPY
from companion.matmul import chosen_product
from companion.monitors import Every
from companion.networks import draw_chen, draw_du, draw_zou
from companion.training import train
from tests.modes import PeakMemory
from tests.oracles import (
    NETWORKS,
    gram_by_autograd,
    gram_by_loops,
    gram_by_rows,
    layer_grams_by_autograd,
    monte_carlo_infinite_gram,
    pair_expectation,
)


def two_layers(width, dimension, seed, trained="all"):
    return draw_du(width, dimension, seed, trained=trained, dtype=torch.float64)


LIMITS = [infinite_width_gram, infinite_width_output_gram]
sizes = st.tuples(st.integers(1, 8), st.integers(2, 6), st.integers(0, 10**6))


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(1, 12))
def test_empirical_grams_are_jacobian_grams(size, width):
    count, dimension, seed = size
    network, x = two_layers(width, dimension, seed), sphere(count, dimension, seed).x
    hidden, output = layer_grams(network, x)
    assert torch.allclose(hidden, gram_by_autograd(network, x), atol=1e-13)
    assert torch.allclose(hidden, gram_by_loops(network, x), atol=1e-13)
    assert torch.allclose(output, gram_by_autograd(network, x, "outputs"), atol=1e-13)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("draw", [draw_du, draw_zou, draw_chen])
def test_the_gram_matrix_is_of_what_is_trained(draw, depth):
    network, x = draw(8, 3, 0, depth=depth, dtype=torch.float64), sphere(5, 3, 0).x
    hidden, output, both = (network.training(it) for it in ("hidden", "output", "all"))
    whole = layer_grams(both, x)
    for found, known in [
        (layer_grams(hidden, x), whole[:-1]),
        (layer_grams(output, x), whole[-1:]),
        ([empirical_gram(hidden, x)], [sum(whole[:-1])]),
        ([empirical_gram(output, x)], whole[-1:]),
        ([empirical_gram(both, x)], [sum(whole)]),
    ]:
        torch.testing.assert_close(found, known, rtol=1e-13, atol=1e-13)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(empirical_gram(output, x), empirical_gram(hidden, x))


def test_trained_outputs_weight_the_gram_matrix():
    network, x = two_layers(10, 3, 0), sphere(4, 3, 0).x
    moved = network.moved([*network.weights, network.outputs * torch.linspace(0.5, 2, 10)])
    trained = moved.training("hidden")
    assert torch.allclose(empirical_gram(trained, x), gram_by_autograd(trained, x), atol=1e-13)
    assert not torch.allclose(empirical_gram(trained, x), gram_by_loops(trained, x))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_layer_grams_are_jacobian_grams(depth):
    network, x = draw_du(8, 3, 0, depth=depth, dtype=torch.float64), sphere(5, 3, 0).x
    found, known = layer_grams(network, x), layer_grams_by_autograd(network, x)
    assert len(found) == depth
    for ours, theirs in zip(found, known, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-13)
    if depth == 1:
        assert torch.allclose(found[0], gram_by_loops(network, x), atol=1e-13)


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
    found_at_width = layer_grams(two_layers(200_000, 5, 0), x)
    limits = infinite_width_gram(x), infinite_width_output_gram(x)
    # Entries have standard deviation at most 1/2 (first) and about 1 (second) over sqrt(m).
    for found, limit in zip(found_at_width, limits, strict=True):
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
    network, x = two_layers(width, dimension, seed), sphere(count, dimension, seed).x
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for gram, permuted in zip(layer_grams(network, x), layer_grams(network, x[order]), strict=True):
        assert torch.allclose(gram, gram.T, atol=1e-14)
        assert lambda_min(gram) >= -1e-13 * max(1.0, lambda_max(gram))
        assert torch.allclose(permuted, gram[order][:, order], atol=1e-13)
    hidden = network.training("hidden")
    doubled = hidden.moved([2 * hidden.weights[0]])
    assert torch.equal(empirical_gram(doubled, x), empirical_gram(hidden, x))


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
def test_limits_are_homogeneous(limit):
    x = sphere(5, 3, 0).x
    factors = torch.tensor([0.0, 1e-3, 0.7, 1.0, 30.0], dtype=torch.float64)
    known = factors[:, None] * factors * limit(x)
    torch.testing.assert_close(limit(factors[:, None] * x), known, rtol=1e-14, atol=0)


def test_eigenvalues_are_those_of_a_known_matrix():
    rotation, _ = torch.linalg.qr(sphere(3, 3, 0).x)
    matrix = rotation @ torch.diag(torch.tensor([-3.0, 1.0, 2.0]).double()) @ rotation.T
    assert lambda_min(matrix) == pytest.approx(-3)
    assert lambda_max(matrix) == pytest.approx(2)
    assert spectral_norm(matrix) == pytest.approx(3)
    assert lambda_min(matrix.float()) == pytest.approx(-3, rel=1e-6)


@pytest.mark.parametrize("function", [lambda_min, lambda_max, spectral_norm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_has_no_eigenvalues_is_refused_in_a_sentence(function, dtype):
    gram = infinite_width_gram(sphere(5, 4, 0).x).to(dtype)
    known, step = function(gram), 2 * math.sqrt(torch.finfo(dtype).eps) * float(gram.max())
    rounded, tilted = gram.clone(), gram.clone()
    rounded[1, 3] += step / 4
    tilted[1, 3] += step
    assert function(rounded) == pytest.approx(known, abs=step)
    assert function(gram.numpy()) == known
    nan, infinite = gram.clone(), gram.clone()
    nan[3, 1], infinite[2, 2] = math.nan, math.inf
    for wrong, told in [
        (gram[:4], r"^matrix has shape \(4, 5\); it must be square, \(n, n\)\.$"),
        (gram[0], r"^matrix has shape \(5,\); it must be square"),
        (gram[:0, :0], r"^matrix has shape \(0, 0\); it must be square"),
        (tilted, r"^matrix is not symmetric: entries \(1, 3\) and \(3, 1\) differ by"),
        (nan, r"^row 3 holds a number that is not finite"),
        (infinite.numpy(), r"^row 2 holds a number that is not finite"),
    ]:
        with pytest.raises(InputError, match=told):
            function(wrong)


def test_eigenvalues_of_whole_numbers_and_of_nothing_but_zeros():
    assert lambda_max(np.array([[2, 0], [0, 1]])) == 2
    assert spectral_norm(torch.zeros(3, 3)) == 0


DRAWS = {name: draw for name, (draw, _) in NETWORKS.items()}
EVERY = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@EVERY
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 5), st.integers(0, 10**6))
def test_empirical_grams_are_inner_products_of_gradients(draw, depth, count, half, seed):
    network = draw(2 * half, 4, seed, depth=depth, dtype=torch.float64)
    x, other = sphere(count, 4, seed).x, sphere(3, 4, seed + 1).x
    whole, cross = gram_by_rows(network, x), gram_by_rows(network, x, other)
    scale = float(whole.diagonal().max()) + float(gram_by_rows(network, other).diagonal().max())
    for found, known in [
        (empirical_gram(network, x), whole),
        (empirical_gram(network, x, other), cross),
        (sum(layer_grams(network, x)), whole),
        (sum(layer_grams(network, x, other)), cross),
    ]:
        assert float((found - known).abs().max()) <= 1e-10 * scale
    gram = empirical_gram(network, x)
    assert torch.allclose(gram, gram.T, rtol=1e-13, atol=1e-14 * scale)
    assert lambda_min(gram) >= -1e-13 * max(1.0, lambda_max(gram))
    assert len(layer_grams(network, x)) == len(network.parameters)


@EVERY
def test_layers_are_those_of_autograd(draw):
    network, x = draw(8, 4, 0, depth=3, dtype=torch.float64), sphere(6, 4, 0).x
    for k, gram in enumerate(layer_grams(network, x)):
        rows = []
        for point in x:
            leaves = [p.clone().requires_grad_() for p in network.parameters]
            value = network.moved(leaves).predict(point[None])[0]
            rows.append(torch.autograd.grad(value, leaves)[k].flatten())
        torch.testing.assert_close(gram, torch.stack(rows) @ torch.stack(rows).T)


@pytest.mark.parametrize(
    ("name", "scale", "output"),
    [
        ("du", 1, []),
        ("du, all trained", 1, [1 / 2]),
        ("du, outputs trained", 1, [1 / 2]),
        ("zou", 4000, []),
        ("chen", 4000, [1.0]),
        ("chen, alpha 0.3", 4000**0.6, [1.0]),
    ],
)
def test_gradient_norms_at_initialisation(name, scale, output):
    """||df/dW_l||^2 over the papers' scale is near 1/2 for hidden layers of width 4000."""
    network, x = DRAWS[name](4000, 5, 0, depth=2), sphere(4, 5, 0).x.float()
    hidden = [] if network.trained == "output" else [1 / 2, 1 / 2]
    for gram, value in zip(layer_grams(network, x), [*hidden, *output], strict=True):
        # Chi-square sums of 4000 units, two layers of them.
        assert (gram.diagonal() / scale).tolist() == pytest.approx([value] * 4, rel=0.2)


@EVERY
@pytest.mark.parametrize("count", [40, 300, 600])
def test_tiles_and_budgets_change_no_number(draw, count):
    """Tiles of 256 rows; a budget too small for all factors; the smallest that is allowed."""
    network, x = draw(16, 4, 0, depth=3, dtype=torch.float64), sphere(count, 4, 0).x
    other = sphere(35, 4, 1).x
    rows = [0, 1, count // 2, count - 1]
    for second in (None, other):
        known = gram_by_rows(network, x[rows], x[rows] if second is None else other)
        for budget in _budgets(network, count, None if second is None else 35):
            found = empirical_gram(network, x, second, memory_budget=budget)
            block = found[rows][:, rows] if second is None else found[rows]
            torch.testing.assert_close(block, known, rtol=1e-11, atol=1e-11)


def _budgets(network, count, other):
    result = 8 * count * (other or count)
    full = gram_memory(network, count, other)
    smaller = [result + (full - result) / 3, result + 70_000] if count > 100 else []
    return [None, full, *smaller]


@EVERY
@pytest.mark.parametrize("count", [5, 300, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gram_matrices_are_exactly_symmetric(draw, count, dtype):
    network, x = draw(18, 7, 0, depth=2, dtype=dtype), sphere(count, 7, 0).x.to(dtype)
    budget = gram_memory(network, count) - (count > 100)
    for gram in [
        empirical_gram(network, x),
        empirical_gram(network, x, memory_budget=budget),
        *layer_grams(network, x),
    ]:
        assert torch.equal(gram, gram.T)


@EVERY
@pytest.mark.parametrize("width", [16, 200])
def test_memory_is_what_was_said_and_budgets_are_kept(draw, width):
    chosen_product()  # its measurement takes memory of its own
    network, x = draw(width, 4, 0, depth=3), sphere(600, 4, 0).x.float()
    for other in (None, x[:50]):
        count = None if other is None else 50
        with PeakMemory() as memory:
            empirical_gram(network, x, other)
        told = gram_memory(network, 600, count)
        assert 0.5 * told <= memory.peak <= told
        for share in (0.8, 0.5, 0.3):
            result = 4 * 600 * (count or 600)
            budget = result + share * (told - result)
            with PeakMemory() as memory:
                empirical_gram(network, x, other, memory_budget=budget)
            assert memory.peak <= budget
    with PeakMemory() as memory:
        layer_grams(network, x)
    assert memory.peak <= gram_memory(network, 600, matrices=len(network.parameters))


def test_arrays_are_taken_as_tensors_are():
    """NumPy's float64 becomes the network's dtype; kernels at infinite width keep it."""
    x, network = sphere(9, 4, 0).x, draw_zou(8, 4, 0, depth=2)
    for kernel in (empirical_gram, layer_grams):
        known = kernel(network, x.float()), kernel(network, x.float(), x[:3].float())
        found = kernel(network, x.numpy()), kernel(network, x.float(), x[:3].numpy())
        torch.testing.assert_close(found, known, rtol=0, atol=0)
    for limit in LIMITS:
        assert torch.equal(limit(x.numpy()), limit(x))
        assert torch.equal(limit(x.float(), x.numpy()), limit(x.float()))
    for wrong, told in [
        (x.tolist(), r"^x is a list; give a torch tensor"),
        (x.numpy().astype(complex), "^x is an array of complex128; float32 or float64 is needed"),
    ]:
        for take in (lambda x: empirical_gram(network, x), infinite_width_gram):
            with pytest.raises(InputError, match=told):
                take(wrong)


def test_bad_input_is_refused_before_anything_is_allocated():
    network, x = draw_zou(8, 4, 0, depth=2), sphere(300, 4, 0).x.float()
    for arguments, options, told in [
        ((x[:, :3],), {}, r"the network takes \(n, 4\)"),
        ((x.half(),), {}, "inputs are torch.float16"),
        ((x.double(),), {}, "convert one to the other"),
        ((x, x[:5].double()), {}, "convert one to the other"),
        ((x,), {"memory_budget": 4 * 300**2}, "one tile of 16 rows need"),
        ((x,), {"memory_budget": 0}, "memory_budget is 0 bytes"),
    ]:
        for kernel in (empirical_gram, layer_grams):
            with PeakMemory() as memory, pytest.raises(InputError, match=told):
                kernel(network, *arguments, **options)
            assert memory.peak == 0


def test_along_a_trajectory():
    """The Gram matrix of the network that trained, not of the one that started."""
    network, data = draw_zou(8, 4, 0, depth=2, dtype=torch.float64), sphere(6, 4, 0)
    history = train(
        network, data.x, data.y.sign(), loss=CROSS_ENTROPY, step_size=0.1, steps=4,
        record={"gram": Every(2, lambda moment: empirical_gram(moment.network, moment.x))},
    )  # fmt: skip
    assert history["gram"].shape == (3, 6, 6)
    first, last = gram_by_rows(network, data.x), gram_by_rows(history.network, data.x)
    torch.testing.assert_close(torch.from_numpy(history["gram"][0]), first)
    torch.testing.assert_close(torch.from_numpy(history["gram"][-1]), last)
    assert float((first - last).abs().max()) > 1e-3


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(1, 6), st.floats(0, 2))
def test_no_weights_in_a_ball_change_the_gram_matrix_by_more_than_its_bound(size, width, radius):
    count, dimension, seed = size
    network, x = two_layers(width, dimension, seed, "hidden"), sphere(count, dimension, seed).x
    start, before = empirical_gram(network, x), network.preactivations(x)[0]
    bound = gram_change_bound(x, before, radius)
    near = near_boundary(before, radius)
    for number in range(20):
        step = two_layers(width, dimension, seed + 1 + number, "hidden").weights[0]
        far = radius * step / step.norm(dim=1, keepdim=True)
        moved = network.moved([network.weights[0] + far])
        assert bool(((empirical_gram(moved, x) - start).abs() <= bound + 1e-12).all())
        switched = (moved.preactivations(x)[0] >= 0) != (before >= 0)
        assert not bool((switched & ~near).any())


def test_the_bound_on_the_change_is_reached():
    """One unit near the boundary of one input: on there and off, H_11 moves by 1 / m."""
    x = torch.eye(2, dtype=torch.float64)
    before = torch.tensor([[0.1, 3.0], [2.0, -3.0]], dtype=torch.float64)  # inputs, units
    bound = gram_change_bound(x, before, 0.1)
    assert bound.tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert near_boundary(before, 0.1).tolist() == [[True, False], [False, False]]
