"""Infinite-width kernels of deep networks: expectations, wide networks, structure, digits."""

import itertools
import math
from typing import Any

import mpmath
import pytest
import scipy.integrate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.datasets import pair_at_angle, sphere, with_antipodes
from companion.errors import InputError
from companion.kernels import (
    empirical_gram,
    infinite_width_gram,
    infinite_width_layer_ntks,
    infinite_width_memory,
    infinite_width_nngp,
    infinite_width_ntk,
    infinite_width_output_gram,
    lambda_min,
    layer_grams,
)
from companion.matmul import chosen_product
from companion.networks import ReLUNetwork, draw_chen, draw_du, draw_zou
from tests.modes import PeakMemory

KERNELS = [infinite_width_ntk, infinite_width_nngp]
CHOICES: list[dict[str, Any]] = [
    {"parameterisation": "zou"},
    {"parameterisation": "du"},
    {"parameterisation": "du", "trained": "all"},
    {"parameterisation": "chen"},
]
NAMES = ["zou", "du", "du-all", "chen"]
sizes = st.tuples(st.integers(1, 8), st.integers(2, 6), st.integers(0, 10**6))


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of small products wait for each other's threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(choice: dict[str, Any], width: int, depth: int, seed: int) -> ReLUNetwork:
    """A network in five dimensions of the chosen kind."""
    if choice["parameterisation"] == "du":
        trained = choice.get("trained", "hidden")
        return draw_du(width, 5, seed, depth=depth, trained=trained, dtype=torch.float64)
    if choice["parameterisation"] == "zou":
        return draw_zou(width, 5, seed, depth=depth, dtype=torch.float64)
    return draw_chen(width, 5, seed, depth=depth, alpha=0.3, dtype=torch.float64)


def divided_out(choice: dict[str, Any], width: int) -> float:
    """What the kernels of networks of this width are divided by before their limit is taken."""
    return {"zou": width, "du": 1.0, "chen": width**0.6}[choice["parameterisation"]]


def expectation(rho: float, power: int) -> float:
    """2 E s(z) s(z') of unit Gaussians of correlation rho, by quadrature over an angle.

    s is the step function (power 0) or relu (power 1). (z, z') is |w| (cos a, cos (a - t)) with a
    uniform, E |w|^2 = 2 and cos t = rho; both are positive for a between t - pi/2 and pi/2.
    """
    t = math.acos(rho)
    value, _ = scipy.integrate.quad(
        lambda a: (2 * math.cos(a) * math.cos(a - t)) ** power, t - math.pi / 2, math.pi / 2
    )
    return value / math.pi


def layers_by_quadrature(rho: float, depth: int) -> tuple[list[float], float]:
    """Per hidden layer: what one weight sees below times what it does above; and rho^(D)."""
    correlations = [rho]
    for _ in range(depth):
        correlations.append(expectation(correlations[-1], 1))
    return [
        0.5 * correlations[k] * math.prod(expectation(r, 0) for r in correlations[k:depth])
        for k in range(depth)
    ], correlations[depth]


@pytest.mark.parametrize("angle", [0.3, 1.0, math.pi / 2, 2.0, 3.0])
@pytest.mark.parametrize("depth", [1, 2, 5, 15])
def test_kernels_are_gaussian_expectations_layer_by_layer(angle, depth):
    x = pair_at_angle(angle, 3)
    hidden, top = layers_by_quadrature(math.cos(angle), depth)
    for choice, outputs, predictions in zip(
        CHOICES,
        [[], [], [top / 2], [top]],
        [top - 1 / math.pi, top / 2, top / 2, top],
        strict=True,
    ):
        found = infinite_width_layer_ntks(x, depth=depth, **choice)
        assert [float(term[0, 1]) for term in found] == pytest.approx(
            hidden + outputs, rel=1e-12, abs=1e-15
        )
        whole = infinite_width_ntk(x, depth=depth, **choice)
        assert float(whole[0, 1]) == pytest.approx(sum(hidden + outputs), rel=1e-12)
        nngp = infinite_width_nngp(x, depth=depth, parameterisation=choice["parameterisation"])
        assert float(nngp[0, 1]) == pytest.approx(predictions, rel=1e-12, abs=1e-15)


def test_one_layer_has_the_kernels_of_two_layer_networks():
    x = sphere(20, 5, 0).x
    hidden, outputs = infinite_width_gram(x), infinite_width_output_gram(x)
    for choice, known in zip(
        CHOICES, [hidden, hidden, hidden + outputs, hidden + 2 * outputs], strict=True
    ):
        assert torch.allclose(infinite_width_ntk(x, depth=1, **choice), known, atol=1e-14)
    found = infinite_width_nngp(x, depth=1, parameterisation="du")
    assert torch.allclose(found, outputs, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_of_two_layer_networks_take_what_the_tiles_take(dtype):
    """Tiles, cross matrices and budgets; duplicates cost no more than other inputs."""
    x = with_antipodes(sphere(300, 5, 0).x.to(dtype), 40)
    x = torch.cat([x, x[:60]])
    budget = x.element_size() * 400**2 + 2**17
    for kernel in (infinite_width_gram, infinite_width_output_gram):
        with PeakMemory() as memory:
            gram = kernel(x)
        assert memory.peak <= infinite_width_memory(x)
        with PeakMemory() as memory:
            tiled = kernel(x, memory_budget=budget)
        assert memory.peak <= budget
        close = {"rtol": 0, "atol": 8 * torch.finfo(dtype).eps}
        torch.testing.assert_close(tiled, gram, **close)
        torch.testing.assert_close(kernel(x, x[:7]), gram[:, :7], **close)
        assert torch.equal(gram, gram.T)


def test_known_correlations_at_depth_15():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    rho = infinite_width_nngp(x, depth=15, parameterisation="chen")
    assert float(rho[0, 1]) == pytest.approx(0.923, abs=5e-4)
    assert float(rho[0, 2]) == pytest.approx(0.916, abs=5e-4)


@pytest.mark.parametrize("choice", CHOICES, ids=NAMES)
def test_wide_networks_approach_the_limit_layer_by_layer_as_one_over_root_width(choice):
    x, depth, widths = sphere(5, 5, 0).x, 3, [64, 512]
    limits = torch.stack(infinite_width_layer_ntks(x, depth=depth, **choice))
    squares = torch.zeros(len(widths), len(limits), dtype=torch.float64)
    for row, width in enumerate(widths):
        seeds = 8192 // width
        for seed in range(seeds):
            found = torch.stack(layer_grams(drawn(choice, width, depth, seed), x))
            gap = found / divided_out(choice, width) - limits
            squares[row] += gap.square().mean(dim=(1, 2)) / seeds
    slopes = 0.5 * (squares[-1] / squares[0]).log() / math.log(widths[-1] / widths[0])
    assert bool(((slopes + 0.5).abs() < 0.15).all()), slopes


@pytest.mark.parametrize("choice", CHOICES, ids=NAMES)
def test_the_whole_kernel_is_the_limit_of_the_empirical_one(choice):
    x, width, seeds = sphere(6, 5, 0).x, 256, 64
    grams = [empirical_gram(drawn(choice, width, 2, seed), x) for seed in range(seeds)]
    found = sum(grams) / seeds / divided_out(choice, width)
    # Entries have standard deviation at most about 3 / sqrt(m), and a bias of about 1 / m.
    allowed = 10 / math.sqrt(width * seeds)
    assert torch.allclose(found, infinite_width_ntk(x, depth=2, **choice), atol=allowed)


def test_layers_of_unequal_width_have_the_same_limits_over_their_own_width():
    x, widths = sphere(5, 5, 0).x, [2000, 1000, 1500]
    found = layer_grams(draw_zou(widths, 5, 0, dtype=torch.float64), x)
    for gram, width, limit in zip(
        found, widths, infinite_width_layer_ntks(x, depth=3), strict=True
    ):
        assert torch.allclose(gram / width, limit, atol=5 / math.sqrt(1000))


@pytest.mark.parametrize(("depth", "width", "draws"), [(1, 8, 10_000), (2, 64, 5000)])
@pytest.mark.parametrize("choice", [CHOICES[0], CHOICES[1], CHOICES[3]], ids=["zou", "du", "chen"])
def test_predictions_have_the_covariance_over_draws(choice, depth, width, draws):
    x = torch.cat([sphere(3, 5, 0).x, -sphere(1, 5, 0).x])
    values = torch.stack([drawn(choice, width, depth, seed).predict(x) for seed in range(draws)])
    if choice["parameterisation"] == "chen":
        values *= width ** (0.5 - 0.3)
    products = values[:, :, None] * values[:, None]
    limit = infinite_width_nngp(x, depth=depth, parameterisation=choice["parameterisation"])
    # With one layer the limit is the value at every width; with two it is off by about 1 / m.
    allowed = 5 * products.std(dim=0) / math.sqrt(draws) + (depth - 1) / width
    assert bool(((products.mean(dim=0) - limit).abs() <= allowed).all())
    assert float(allowed.max()) < 0.5 / math.pi  # it could tell whether 1 / pi is missing


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=20, deadline=None)
@given(size=sizes, depth=st.integers(1, 6), name=st.sampled_from(["zou", "du", "chen"]))
def test_kernels_are_symmetric_psd_and_equivariant(kernel, size, depth, name):
    count, dimension, seed = size
    x = sphere(count, dimension, seed).x
    gram = kernel(x, depth=depth, parameterisation=name)
    assert torch.equal(gram, gram.T)
    assert len(gram.diagonal().unique()) == 1
    assert lambda_min(gram) >= -1e-13 * depth
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    permuted = kernel(x[order], depth=depth, parameterisation=name)
    assert torch.allclose(permuted, gram[order][:, order], atol=1e-12)
    rotation, _ = torch.linalg.qr(sphere(dimension, dimension, seed + 1).x)
    rotated = kernel(x @ rotation, depth=depth, parameterisation=name)
    assert torch.allclose(rotated, gram, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_cross_matrix_is_a_block_of_the_whole(kernel):
    x = sphere(40, 5, 0).x
    whole = kernel(x, depth=4)
    assert torch.allclose(kernel(x[:25], x[20:], depth=4), whole[:25, 20:], atol=1e-14)
    assert torch.equal(kernel(x, x[7:8], depth=4)[7], whole[7, 7:8])


def test_layers_of_a_cross_matrix_sum_to_the_kernel():
    x, other = sphere(30, 5, 0).x, sphere(20, 5, 1).x
    for choice in CHOICES:
        layers = infinite_width_layer_ntks(x, other, depth=4, **choice)
        assert len(layers) == len(drawn(choice, 2, 4, 0).parameters)
        whole = infinite_width_ntk(x, other, depth=4, **choice)
        assert torch.allclose(sum(layers), whole, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("depth", [1, 2, 15])
def test_duplicates_and_antipodes_are_exact(depth, dtype):
    points = sphere(12, 7, 0).x.to(dtype)
    x = with_antipodes(torch.cat([points, points]), 12)
    gram, rho = infinite_width_ntk(x, depth=depth), infinite_width_nngp(x, depth=depth)
    assert bool(gram.isfinite().all())
    assert gram.diagonal().tolist() == [depth / 2] * 36
    assert gram[range(12), range(12, 24)].tolist() == [depth / 2] * 12
    assert torch.equal(rho[range(12), range(12, 24)], rho.diagonal()[:12])
    antipodal = gram[range(12), range(24, 36)]
    if depth <= 2:
        assert antipodal.tolist() == [0.0] * 12
    else:  # rho^(1) is 0, and from there on it rises
        assert len(antipodal.unique()) == 1
        assert float(antipodal[0]) > 0.1


def test_rounding_beyond_one_gives_no_nan():
    x = sphere(300, 3, 0).x.float()
    slightly_long = (x / x.norm(dim=1, keepdim=True)) * (1 + 1e-6)
    for kernel in KERNELS:
        gram = kernel(torch.cat([slightly_long, -slightly_long]), depth=15)
        assert bool(gram.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_closest_pairs_neither_cross_nor_give_nan(dtype):
    for exponent in range(4, 160):
        x = pair_at_angle(10 ** (-exponent / 8), 2).to(dtype)
        gram = infinite_width_ntk(x, depth=15)
        assert bool(gram.isfinite().all())
        assert float(gram[0, 1]) <= 7.5


@pytest.mark.parametrize("depth", [1, 5, 15])
def test_close_pairs_keep_their_digits(depth):
    angle = 1e-7
    gram = infinite_width_ntk(pair_at_angle(angle, 3), depth=depth)
    # Each kappa_0 is 1 - angle / pi, and there are 1 + ... + D of them; the next order is D angle.
    expected = angle / (2 * math.pi) * depth * (depth + 1) / 2
    assert depth / 2 - float(gram[0, 1]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 0.04])
def test_nearly_antipodal_pairs_keep_their_digits(angle):
    x = pair_at_angle(angle, 3).float() * torch.tensor([[1.0], [-1.0]])
    x = x / x.norm(dim=1, keepdim=True)
    found = float(infinite_width_ntk(x, depth=1)[0, 1])
    assert found == pytest.approx(-math.cos(angle) * angle / (2 * math.pi), rel=1e-6, abs=6e-8)


@pytest.mark.parametrize("spread", [1e-5, 1e-3, 0.1, 100.0])
@pytest.mark.parametrize("depth", [1, 3, 15])
def test_float32_has_the_digits_of_float32_even_for_close_inputs(depth, spread):
    draws = sphere(100, 10, 0).x
    single = draws[:1] + spread * draws
    single = (single / single.norm(dim=1, keepdim=True)).float()
    double = single.double() / single.double().norm(dim=1, keepdim=True)
    gap = infinite_width_ntk(single, depth=depth) - infinite_width_ntk(double, depth=depth)
    assert float(gap.abs().max()) <= 64 * torch.finfo(torch.float32).eps * depth / 2


@pytest.mark.parametrize("spread", [1e-2, 100.0], ids=["close", "apart"])
@pytest.mark.parametrize(("count", "dimension"), [(256, 2), (300, 40), (40, 3000)])
def test_no_more_memory_is_taken_than_was_said(count, dimension, spread):
    chosen_product()  # its measurement takes memory of its own
    x = sphere(count, dimension, 0).x.float()
    x = x[:1] + spread * x
    x = x / x.norm(dim=1, keepdim=True)
    with PeakMemory() as memory:
        infinite_width_ntk(x, depth=2)
    assert 4 * count**2 < memory.peak <= infinite_width_memory(x)
    with PeakMemory() as memory:
        infinite_width_layer_ntks(x, x[:9], depth=3, parameterisation="chen")
    assert memory.peak <= infinite_width_memory(x, x[:9], matrices=4)


def test_a_budget_gives_the_same_numbers_in_smaller_tiles():
    x = sphere(150, 5, 0).x
    x = torch.cat([x, x[:20], -x[:20]])
    free = infinite_width_memory(x)
    least = 8 * 190**2 + 90_000
    for choice in CHOICES:
        whole = infinite_width_ntk(x, depth=3, **choice)
        for budget in (least, least + (free - least) / 3, free):
            with PeakMemory() as memory:
                tiled = infinite_width_ntk(x, depth=3, memory_budget=budget, **choice)
            assert memory.peak <= budget
            assert torch.allclose(tiled, whole, atol=1e-14)
            assert torch.equal(tiled, tiled.T)
    cross = infinite_width_layer_ntks(x, x[:33], depth=2, memory_budget=8 * 2 * 190 * 33 + 90_000)
    assert torch.allclose(sum(cross), infinite_width_ntk(x, depth=2)[:, :33], atol=1e-14)


@pytest.mark.parametrize("kernel", [*KERNELS, infinite_width_layer_ntks])
def test_too_small_a_budget_is_refused_before_anything_is_allocated(kernel):
    x = sphere(200, 5, 0).x
    with PeakMemory() as memory, pytest.raises(InputError, match="one tile of 16 rows need"):
        kernel(x, depth=2, memory_budget=8 * 200**2)
    assert memory.peak < 10 * 8 * 200  # norms of the inputs


def test_more_inputs_than_a_tile_give_the_numbers_of_each_pair():
    x = sphere(600, 5, 0).x
    whole, rows = infinite_width_ntk(x, depth=3), [0, 255, 256, 300, 599]
    assert torch.equal(whole, whole.T)
    assert torch.allclose(whole[rows][:, rows], infinite_width_ntk(x[rows], depth=3), atol=1e-14)


@pytest.mark.parametrize("kernel", [*KERNELS, infinite_width_layer_ntks])
def test_bad_input_is_refused_in_words(kernel):
    x = sphere(4, 3, 0).x
    for bad, named, keywords in [
        ((x * math.nan,), "input 0 holds a number that is not finite", {}),
        ((x, x / 0), "input 0 holds a number that is not finite", {}),
        ((x[0],), r"inputs have shape \(3,\)", {}),
        ((x[:0],), r"inputs have shape \(0, 3\)", {}),
        ((x.half(),), r"torch.float16; they must be torch.float32 or torch.float64", {}),
        ((x, x.float()), "give both alike", {}),
        ((x, sphere(4, 2, 0).x), "of length 3, .* of length 2", {}),
        ((x,), "depth is 0; it must be at least 1", {"depth": 0}),
        ((x,), "'jacot'; choose one of du, zou, chen", {"parameterisation": "jacot"}),
    ]:
        with pytest.raises(InputError, match=named):
            kernel(*bad, **{"depth": 2, **keywords})


@pytest.mark.parametrize("kernel", [infinite_width_ntk, infinite_width_layer_ntks])
def test_training_what_the_paper_does_not_is_refused(kernel):
    x = sphere(4, 3, 0).x
    for name, trained, named in [
        ("zou", "all", "for 'zou' it can be hidden"),
        ("chen", "hidden", "for 'chen' it can be all"),
        ("du", "outputs", "for 'du' it can be hidden or all"),
    ]:
        with pytest.raises(InputError, match=named):
            kernel(x, depth=2, parameterisation=name, trained=trained)


def exactly(x: torch.Tensor, depth: int) -> tuple[torch.Tensor, ...]:
    """Angles of the rows, |x_i| |x_j|, H_inf, and the NTK of `zou`, in 50 digits.

    The kernels are of unit rows: those of the rows are |x_i| |x_j| times that.
    """
    count = len(x)
    found = torch.zeros(4, count, count, dtype=torch.float64)
    with mpmath.workdps(50):
        rows = [mpmath.matrix(row) for row in x.double().tolist()]
        norms = [mpmath.norm(row) for row in rows]
        rows = [row / norm for row, norm in zip(rows, norms, strict=True)]
        for i, j in itertools.product(range(count), repeat=2):
            u, v = rows[i], rows[j]
            angle = 2 * mpmath.atan2(mpmath.norm(u - v), mpmath.norm(u + v))
            found[0, i, j] = float(angle)
            found[1, i, j] = float(norms[i] * norms[j])
            found[2, i, j] = float(mpmath.cos(angle) * (mpmath.pi - angle) / (2 * mpmath.pi))
            ntk, rho = mpmath.mpf(0), mpmath.cos(angle)
            for _ in range(depth):
                theta = mpmath.acos(max(-1, min(1, rho)))
                ntk = (ntk + rho) * (1 - theta / mpmath.pi)
                rho = (mpmath.sin(theta) + (mpmath.pi - theta) * rho) / mpmath.pi
            found[3, i, j] = float(ntk / 2)
    return tuple(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("off", [0.0, 1e-7, 1e-5, 9e-5, 0.9])
def test_norms_spoil_no_angle(off, dtype):
    """Close inputs, parallel ones and antipodes, whose norms differ more than they do."""
    x = sphere(8, 5, 0).x
    x = torch.cat([x, x[:3] + 1e-3 * x[5:8], x[:3] + 1e-6 * x[5:8], x[:2] + 1e-9 * x[5:7], -x[:2]])
    x = x / x.norm(dim=1, keepdim=True)
    x = torch.cat([x, x[:2]])
    factors = 1 + off * torch.linspace(-1, 1, len(x), dtype=torch.float64)[:, None]
    rows = (factors * x).to(dtype)
    eps = torch.finfo(dtype).eps
    angles, scales, gram, ntk = exactly(rows, 3)
    for found, known in [
        (infinite_width_gram(rows), gram),
        (infinite_width_ntk(rows, depth=3), ntk),
        (infinite_width_ntk(rows, rows, depth=3), ntk),
    ]:
        assert found.dtype == dtype
        assert float((found.double() / scales - known).abs().max()) < 16 * eps
    # At the end where kernels are as steep as angles: 1/2 - H = angle / (2 pi) to first order.
    near = (angles > 0) & (angles < 1e-2)
    gap = (infinite_width_gram(rows).double() / scales - gram) * 2 * math.pi
    assert float(gap[near].abs().max()) < 64 * eps


@pytest.mark.parametrize("choice", CHOICES, ids=NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_are_homogeneous_in_each_input(choice, dtype):
    """Norms from the smallest to the largest that a product of two has a number for, and 0."""
    x = sphere(300, 5, 0).x.to(dtype)
    x = torch.cat([x, x[:20], -x[:20]])
    most = math.log2(torch.finfo(dtype).max) / 2 - 4
    factors = torch.exp2(torch.linspace(-most, most, len(x), dtype=torch.float64).round()).to(dtype)
    factors[7] = factors[320] = 0
    scaled, outer = factors[:, None] * x, factors[:, None] * factors
    allowed = 64 * torch.finfo(dtype).eps

    def check(found: torch.Tensor, factor: torch.Tensor, unit: torch.Tensor) -> None:
        """By the factor, beside which kernels near 0 have no digits."""
        zero = factor.expand_as(unit) == 0
        assert not found[zero].any()
        assert float((found / factor - unit)[~zero].abs().max()) < allowed

    name = {"parameterisation": choice["parameterisation"]}
    for kernel, options in [(infinite_width_ntk, choice), (infinite_width_nngp, name)]:
        unit, found = kernel(x, depth=3, **options), kernel(scaled, depth=3, **options)
        assert torch.equal(found, found.T)
        check(found, outer, unit)
        check(kernel(scaled, x[:9], depth=3, **options), factors[:, None], unit[:, :9])
        check(kernel(x[:9], scaled, depth=3, **options), factors, unit[:9])
    layers = infinite_width_layer_ntks(scaled, depth=3, **choice)
    for layer, unit in zip(layers, infinite_width_layer_ntks(x, depth=3, **choice), strict=True):
        check(layer, outer, unit)


@pytest.mark.parametrize("exponent", [-320, -200, 150])
def test_norms_whose_squares_are_no_numbers(exponent):
    """Of float64 coordinates; the kernel with unit inputs is one, still."""
    x = sphere(20, 5, 0).x
    scale = float(f"1e{exponent}")
    found = infinite_width_ntk(scale * x, x, depth=2)
    known = infinite_width_ntk(x, depth=2)
    # Below 1e-308 the coordinates themselves have lost their digits.
    torch.testing.assert_close(
        found / scale,
        known,
        rtol=1e-13 if exponent > -300 else 1e-2,
        atol=1e-3 if exponent < -300 else 0,
    )


@pytest.mark.parametrize("choice", CHOICES, ids=NAMES)
def test_inputs_of_any_norm_have_the_limits_of_networks(choice):
    x, width, seeds = sphere(6, 5, 0).x, 256, 64
    x = x * torch.linspace(0, 3, 6, dtype=torch.float64)[:, None]
    grams = [empirical_gram(drawn(choice, width, 2, seed), x) for seed in range(seeds)]
    found = sum(grams) / seeds / divided_out(choice, width)
    allowed = 9 * 10 / math.sqrt(width * seeds)
    assert torch.allclose(found, infinite_width_ntk(x, depth=2, **choice), atol=allowed)
    name = choice["parameterisation"]
    values = torch.stack([drawn(choice, 8, 1, seed).predict(x) for seed in range(10_000)])
    values *= 8**0.2 if name == "chen" else 1
    products = values[:, :, None] * values[:, None]
    limit = infinite_width_nngp(x, depth=1, parameterisation=name)
    error = products.std(dim=0) / 100
    assert bool(((products.mean(dim=0) - limit).abs() <= 5 * error).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_one_digit_of_a_small_coordinate_apart_give_numbers(dtype):
    """Their angle is below the rounding of all else, which took its square below 0: nan."""
    small = torch.linspace(0, 1e-7, 40, dtype=torch.float64) ** 2
    x = torch.stack([torch.ones(40, dtype=torch.float64), small], dim=1).to(dtype)
    for depth in (1, 2, 5, 15):
        found = infinite_width_ntk(x, x, depth=depth)
        assert torch.allclose(found, torch.full_like(found, depth / 2), rtol=1e-5)


def test_inputs_that_are_copied_keep_to_the_budget():
    x = sphere(300, 4000, 0).x
    x = x[:1] + 1e-2 * x
    x = x / x.norm(dim=1, keepdim=True) * (1 + 1e-6)
    budget = 1.5 * x.nbytes
    known = infinite_width_ntk(x / x.norm(dim=1, keepdim=True), depth=2) * (1 + 1e-6) ** 2
    with PeakMemory() as memory:
        found = infinite_width_ntk(x, depth=2, memory_budget=budget)
    assert memory.peak <= budget
    assert torch.allclose(found, known, rtol=0, atol=1e-14)
