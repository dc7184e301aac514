"""Products against loops and automatic differentiation, sparse forms against enumeration."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy import optimize

from companion.errors import InputError
from companion.experiments.zou2018 import products
from companion.experiments.zou2018._problem import draw
from companion.experiments.zou2018._products import (
    masked_limit,
    masked_products,
    norm,
    output_rows,
    perturbed_norm,
    sparse_bilinear,
    sparse_norms,
    unmasked_limit,
)
from tests.doctoring import doctored, outcomes
from tests.oracles import zou_predictions

TINY = products.Settings(
    seeds=3, count=2, width=16, depths=(2, 3, 4), depth=2, widths=(8, 12, 16),
    sparsities=(1, 2, 4),
)  # fmt: skip
judged = partial(outcomes, products, TINY)
SQUARE = TINY.override({"dimension": 12})


@pytest.fixture(scope="module")
def found():
    return products.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Small matrices settle no exponent: here plausible laws are written into the run."""
    scatter = np.linspace(0.99, 1.01, 3)[:, None]
    root_m = np.array(TINY.widths) ** 0.5
    sparse = scatter[..., None] * np.array(TINY.sparsities) ** 0.4
    return doctored(
        found,
        masked=scatter * found.masked_limit.values,
        unmasked=scatter * found.unmasked_limit.values,
        unmasked_wide=scatter,
        output_form=sparse,
        bilinear=sparse,
        output_form_wide=sparse,
        bilinear_wide=sparse / root_m[:, None],
    )


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == products.EXPECTED


def problem(seed=0, depth=3):
    return draw(SQUARE, "cpu", seed=seed, width=12, depth=depth)


def test_the_masked_product_maps_the_input_to_its_output():
    known = problem()
    forward = known.network.run(known.x)
    for example in range(2):
        masked, unmasked = masked_products(known.network, forward, example)
        assert torch.allclose(masked @ known.x[example], forward.hidden[-1][example])
        z = known.network.weights[-1] @ forward.hidden[-2][example]
        assert torch.allclose(unmasked @ known.x[example], z)


def test_the_first_output_row_is_the_gradient_in_the_input():
    known = problem()
    x = known.x.clone().requires_grad_()
    zou_predictions(known.network.weights, known.network.outputs, x).sum().backward()
    rows = output_rows(known.network, known.network.run(known.x))
    assert torch.allclose(rows[0], x.grad)
    masked, _ = masked_products(known.network, known.network.run(known.x), 1)
    assert torch.allclose(rows[0][1], known.network.outputs @ masked)


def test_the_norm_is_that_of_a_decomposition():
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert norm(matrix) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]))


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_limits_are_minima_of_the_transforms(depth):
    def least(function):
        return optimize.minimize_scalar(
            lambda t: np.log(function(np.exp(t))), bounds=(-12, 6), method="bounded",
            options={"xatol": 1e-12},
        ).fun  # fmt: skip

    masked = least(lambda z: (1 + z) * (1 + 2 * z) ** depth / z)
    unmasked = least(lambda z: 2 * (1 + z) ** 2 * (1 + 2 * z) ** (depth - 1) / z)
    assert 2 * np.log(masked_limit(depth)) == pytest.approx(masked)
    assert 2 * np.log(unmasked_limit(depth)) == pytest.approx(unmasked)


def test_limits_of_one_layer_and_of_many():
    assert masked_limit(1) == pytest.approx(1 + np.sqrt(2))
    assert unmasked_limit(1) == pytest.approx(2 * np.sqrt(2))
    assert masked_limit(10_000) ** 2 / 10_000 == pytest.approx(2 * np.e, rel=1e-3)


def test_sparse_forms_by_enumeration():
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for size in (1, 2, 3):
        places = [list(each) for each in itertools.combinations(range(6), size)]
        best = max(float(matrix[0, p].norm()) for p in places)
        assert float(sparse_norms(matrix, size)[0]) == pytest.approx(best)
        most = max(
            float(torch.linalg.svdvals(matrix[p][:, q])[0]) for p in places for q in places
        )  # fmt: skip
        found = sparse_bilinear(matrix, size)
        assert 0.9 * most <= found <= most * (1 + 1e-12)
    assert sparse_bilinear(matrix, 1) == pytest.approx(float(matrix.abs().max()))
    assert sparse_bilinear(matrix, 6, rounds=500) == pytest.approx(norm(matrix), rel=1e-3)


def test_a_perturbation_of_nothing_changes_nothing():
    known = problem()
    masked, _ = masked_products(known.network, known.network.run(known.x))
    assert perturbed_norm(known, 0.0, 0, seed=0) == pytest.approx(norm(masked))
    assert abs(perturbed_norm(known, 0.3, 3, seed=0) - norm(masked)) > 1e-3


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("zou2018-thm5.1v", {"unmasked": lambda a: a**3}),
        ("zou2018-thm5.1v", {"unmasked_wide": lambda a: a * np.array([1, 2, 4])}),
        ("zou2018-thm5.1v-limit", {"masked": lambda a: 1.2 * a}),
        ("zou2018-thm5.1vi-vii", {"output_form": lambda a: a**2}),
        ("zou2018-thm5.1vi-vii", {"bilinear": lambda a: a**2}),
        ("zou2018-thm5.1vi-vii", {"bilinear_wide": lambda a: a * np.array([[1], [2], [4]])}),
        ("zou2018-thm5.1vi-vii", {"output_form": lambda a: a * np.array([[1], [3], [9]])}),
    ],
)
def test_the_judge_sees(settled, claim, change):
    regime = claim == "zou2018-thm5.1v-limit"  # it has no hypothesis; the others' is not met
    assert judged(settled, **change)[claim] == ("fails" if regime else "inconclusive")


def test_within_the_regime_the_same_would_refute(settled, monkeypatch):
    monkeypatch.setattr(products, "_outside", lambda settings: "")
    assert set(judged(settled).values()) == {"holds"}
    told = judged(settled, unmasked=lambda a: a**3, bilinear=lambda a: a**2)
    assert told["zou2018-thm5.1v"] == told["zou2018-thm5.1vi-vii"] == "fails"


def test_noise_decides_nothing(settled):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(3, 3)))
    assert judged(settled, unmasked=noise)["zou2018-thm5.1v"] == "inconclusive"
    told = judged(settled, bilinear=lambda a: a * noise[:, :, None])
    assert told["zou2018-thm5.1vi-vii"] == "inconclusive"


def test_controls_are_seen(settled):
    before = judged(settled)
    for claim, lie in products.CONTROLS.items():
        lied = products.judge(TINY, lie.told(TINY, settled))
        assert {v.claim: v.outcome for v in lied}[claim] != before[claim]


def test_two_depths_make_no_exponent():
    with pytest.raises(InputError, match="depths"):
        products.QUICK.override({"depths": [2, 4]})
