"""Losses against decimal arithmetic and automatic differentiation; the constants on a grid."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.errors import InputError
from companion.losses import (
    CROSS_ENTROPY,
    EXPONENTIAL,
    HINGE,
    LOSSES,
    QUADRATIC,
    SQUARED_HINGE,
    Loss,
    check_labels,
    loss_of,
)

MARGIN = [CROSS_ENTROPY, EXPONENTIAL, SQUARED_HINGE, HINGE]
PRECISIONS = [torch.float32, torch.float64]
GRID = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
ONES = torch.ones_like(GRID)
VALUES = {
    "cross-entropy": lambda z: (1 + (-z).exp()).ln(),
    "exponential": lambda z: (-z).exp(),
    "squared-hinge": lambda z: max(1 - z, Decimal(0)) ** 2,
    "hinge": lambda z: max(1 - z, Decimal(0)),
}
SLOPES = {
    "cross-entropy": lambda z: -1 / (1 + z.exp()),
    "exponential": lambda z: -(-z).exp(),
    "squared-hinge": lambda z: -2 * max(1 - z, Decimal(0)),
    "hinge": lambda z: Decimal(-1 if z < 1 else 0),
}


def in_decimals(formula, z: float) -> float:
    """The formula written down as in the paper, with 400 digits."""
    with localcontext() as context:
        context.prec = 400
        return float(formula(Decimal(z)))


def of_margins(loss: Loss, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """l and l' on margins, from predictions z with labels 1."""
    return loss.values(z, torch.ones_like(z)), loss.derivatives(z, torch.ones_like(z))


def test_five_losses_by_name():
    assert list(LOSSES) == ["cross-entropy", "exponential", "squared-hinge", "hinge", "quadratic"]
    assert all(LOSSES[name].name == name for name in LOSSES)


@pytest.mark.parametrize("loss", MARGIN, ids=lambda loss: loss.name)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_margin_losses_are_their_formulas(loss, dtype):
    z = torch.tensor(
        [-85, -30, -3.7, -1, -0.1, 0, 1e-3, 0.5, 0.9, 1, 1.1, 7, 19.9, 40, 80], dtype=dtype
    )
    values, slopes = of_margins(loss, z)
    assert values.dtype == slopes.dtype == dtype
    for at, value, slope in zip(z.tolist(), values.tolist(), slopes.tolist(), strict=True):
        rel = 8 * torch.finfo(dtype).eps
        assert value == pytest.approx(in_decimals(VALUES[loss.name], at), rel=rel, abs=0)
        assert slope == pytest.approx(in_decimals(SLOPES[loss.name], at), rel=rel, abs=0)


@settings(max_examples=100, deadline=None)
@given(st.floats(-700, 700))
def test_float64_keeps_its_digits_everywhere(at):
    for loss in (CROSS_ENTROPY, EXPONENTIAL):
        value, slope = (
            float(found) for found in of_margins(loss, torch.tensor([at], dtype=torch.float64))
        )
        assert value == pytest.approx(in_decimals(VALUES[loss.name], at), rel=1e-14, abs=0)
        assert slope == pytest.approx(in_decimals(SLOPES[loss.name], at), rel=1e-14, abs=0)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_tails_neither_overflow_nor_vanish(dtype):
    far = torch.tensor([-1e4, -1e30, 1e4, 1e30], dtype=dtype)
    values, slopes = of_margins(CROSS_ENTROPY, far)
    assert torch.equal(values, torch.tensor([-far[0], -far[1], 0, 0], dtype=dtype))
    assert torch.equal(slopes, torch.tensor([-1, -1, 0, 0], dtype=dtype))
    for loss in (CROSS_ENTROPY, EXPONENTIAL):
        value, slope = (float(found) for found in of_margins(loss, torch.tensor([40], dtype=dtype)))
        assert value == pytest.approx(math.exp(-40), rel=4 * torch.finfo(dtype).eps)
        assert -slope == pytest.approx(math.exp(-40), rel=4 * torch.finfo(dtype).eps)
    largest = math.log(torch.finfo(dtype).max)
    edge = torch.tensor([-0.999 * largest, -1.001 * largest], dtype=dtype)
    within, beyond = of_margins(EXPONENTIAL, edge)[0].tolist()
    assert math.isfinite(within)
    assert beyond == math.inf


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_derivatives_are_those_of_autograd_and_fleets_of_their_members(loss, seed):
    generator = torch.Generator().manual_seed(seed)
    predictions = 3 * torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    labels = torch.randn(5, generator=generator, dtype=torch.float64)
    labels = labels.sign() if loss.of_margin else labels
    leaf = predictions.clone().requires_grad_()
    values = loss.values(leaf, labels)
    (known,) = torch.autograd.grad(values.sum(), leaf)
    found = loss.derivatives(predictions, labels)
    assert found.shape == values.shape == predictions.shape
    assert torch.allclose(found, known, rtol=1e-13, atol=0)
    assert torch.equal(found[1, 2], loss.derivatives(predictions[1, 2], labels))
    assert torch.equal(values[1, 2], loss.values(predictions[1, 2], labels))


def test_quadratic_loss_takes_any_labels():
    predictions, labels = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, -2.5, 0.5])
    assert QUADRATIC.values(predictions, labels).tolist() == [2.0, 0.125, 0.0]
    assert QUADRATIC.derivatives(predictions, labels).tolist() == [-2.0, 0.5, 0.0]


def test_the_hinge_is_flat_at_its_kink():
    values, slopes = of_margins(HINGE, torch.tensor([1.0]))
    assert (float(values), float(slopes)) == (0.0, 0.0)


@pytest.mark.parametrize("loss", MARGIN, ids=lambda loss: loss.name)
def test_assumption_3_1(loss):
    values, slopes = of_margins(loss, GRID)
    assert bool((values.diff() <= 0).all())
    assert bool((slopes <= 0).all())
    assert float(values[-1]) < 1e-12
    assert float(-slopes[-1]) < 1e-12
    assert float(loss.values(torch.zeros(1, dtype=torch.float64), torch.ones(1))) == loss.value_at_0


def power(values: torch.Tensor, p: float) -> torch.Tensor:
    """l^p, and 1{l > 0} for p = 0."""
    return torch.where(values > 0, values**p, 0)


@pytest.mark.parametrize("loss", MARGIN, ids=lambda loss: loss.name)
def test_assumption_3_2_holds_and_is_sharp(loss):
    values, slopes = of_margins(loss, GRID)
    floor = (loss.alpha_1 * power(values, loss.p)).clamp(max=loss.alpha_0)
    assert bool((-slopes >= floor * (1 - 1e-14)).all())
    greater = (1.001 * loss.alpha_1 * power(values, loss.p)).clamp(max=1.001 * loss.alpha_0)
    assert bool((-slopes < greater).any())


def test_alphas_of_the_cross_entropy_are_each_the_largest():
    values, slopes = of_margins(CROSS_ENTROPY, GRID)
    for alpha_0, alpha_1 in [(0.5, 1.001 / (2 * math.log(2))), (0.501, 1 / (2 * math.log(2)))]:
        assert bool((-slopes < (alpha_1 * values).clamp(max=alpha_0)).any())


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 1.0])
def test_the_hinge_satisfies_3_2_with_every_p_and_4_4_with_none(p):
    values, slopes = of_margins(HINGE, GRID)
    assert bool((-slopes >= (HINGE.alpha_1 * values**p).clamp(max=HINGE.alpha_0)).all())
    close, steep = of_margins(HINGE, torch.tensor([1 - 2**-52], dtype=torch.float64))
    assert float(-steep) == 1
    assert float(close) ** p < 0.7
    assert HINGE.rho_0 is HINGE.rho_1 is HINGE.smoothness is None


@pytest.mark.parametrize("loss", MARGIN[:3], ids=lambda loss: loss.name)
def test_assumption_4_4_holds_and_is_sharp(loss):
    values, slopes = of_margins(loss, GRID)
    # -l' <= l of the cross-entropy is an equality in the limit, and within rounding before.
    ceiling = (loss.rho_1 * values**loss.p).clamp(max=loss.rho_0)
    assert bool((-slopes <= ceiling * (1 + 1e-14)).all())
    for rho_0, rho_1 in [(loss.rho_0 * 0.999, loss.rho_1), (loss.rho_0, loss.rho_1 * 0.999)]:
        if rho_0 < math.inf or rho_1 < loss.rho_1:
            assert bool((-slopes > (rho_1 * values**loss.p).clamp(max=rho_0)).any())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
def test_lipschitz_and_smoothness_constants_are_the_least(loss):
    _, slopes = of_margins(loss, GRID)
    steepest, spacing = float(slopes.abs().max()), float(GRID[1] - GRID[0])
    curvature = float(slopes.diff().abs().max()) / spacing
    if loss.lipschitz == math.inf:
        assert steepest > 30
    else:
        assert 0.999 * loss.lipschitz < steepest <= loss.lipschitz
    if loss.smoothness is None:
        assert curvature == pytest.approx(1 / spacing)  # a jump
    elif loss.smoothness == math.inf:
        assert curvature > 1e12
    else:
        assert curvature == pytest.approx(loss.smoothness, rel=1e-6)


@pytest.mark.parametrize("loss", MARGIN, ids=lambda loss: loss.name)
@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=10))
def test_corollary_4_3_a_mean_loss_below_its_value_at_0_over_n_is_zero_error(loss, margins):
    z = torch.tensor(margins, dtype=torch.float64)
    if float(of_margins(loss, z)[0].mean()) < loss.value_at_0 / len(z):
        assert bool((z > 0).all())


def test_labels_of_margin_losses_are_signs():
    for labels in (torch.tensor([1.0, -1.0]), torch.tensor([1, -1, -1])):
        assert check_labels(labels) is labels
    check_labels(torch.zeros(2, device="meta"))
    for labels, told in [
        ([1.0, 0.0], "label 1 is 0"),
        ([1.0, -1, 0.5], "2 is 0.5"),
        ([1.0, 3, 2], "1 is 3"),  # the first of them
        ([math.nan], "nan"),
    ]:
        with pytest.raises(InputError, match=told):
            check_labels(torch.tensor(labels))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
def test_bad_input_is_refused(loss):
    labels = torch.ones(3)
    for method in (loss.values, loss.derivatives):
        for shape in [(2,), (3, 1), (), (3, 2)]:
            with pytest.raises(InputError, match="do not fit labels of shape"):
                method(torch.zeros(shape), labels)
        for shape in [(3,), (4, 3), (2, 4, 3)]:
            with pytest.raises(InputError, match=r"do not fit labels of shape \(2, 3\)"):
                method(torch.zeros(shape), labels.expand(2, 3))
        for dtype in (torch.float16, torch.bfloat16, torch.int64):
            with pytest.raises(InputError, match="float32 or float64 is needed"):
                method(torch.zeros(3, dtype=dtype), labels)


def test_a_loss_needs_no_more_than_its_formula():
    """Differentiated by torch, also where a run computes no derivatives."""
    for known in (CROSS_ENTROPY, EXPONENTIAL, SQUARED_HINGE, QUADRATIC):
        mine = Loss("mine", of=known.of, of_margin=known.of_margin)
        f, y = GRID[::100], ONES[::100]
        with torch.no_grad():
            found = mine.derivatives(f, y)
        torch.testing.assert_close(found, known.derivatives(f, y), rtol=1e-14, atol=0)
        assert not found.requires_grad
        assert torch.equal(mine.values(f, y), known.values(f, y))
        assert mine.value_at_0 == known.value_at_0
        assert mine.derivatives(f.to("meta"), y.to("meta")).device.type == "meta"
        leaf = f.clone().requires_grad_()
        assert torch.equal(mine.derivatives(leaf, y), found)


def test_values_at_0_are_those_of_the_papers():
    known = [math.log(2), 1.0, 1.0, 1.0, 0.5]
    assert [loss.value_at_0 for loss in LOSSES.values()] == known
    lopsided = Loss("mine", of=lambda r: r.exp() - r - 1, of_margin=False)
    assert lopsided.value_at_0 == pytest.approx(math.exp(-1), rel=1e-15)


def test_a_loss_with_its_slope_is_not_differentiated():
    mine = Loss("mine", of=lambda z: (z < 0).to(z), slope_of=torch.zeros_like, of_margin=True)
    assert mine.derivatives(GRID, ONES).count_nonzero() == 0
    stepped = Loss("stepped", of=lambda z: (z < 0).to(z), of_margin=True)
    with pytest.raises(InputError, match="torch cannot differentiate the loss 'stepped'"):
        stepped.derivatives(GRID, ONES)


def test_a_loss_that_is_not_elementwise_is_refused():
    for of, shape in [(torch.mean, r"\(\)"), (lambda z: z.mean(dim=-1, keepdim=True), r"\(1,\)")]:
        mine = Loss("mine", of=of, of_margin=True)
        for method in (mine.values, mine.derivatives):
            with pytest.raises(InputError, match=rf"gives shape {shape} for \(60001,\) numbers"):
                method(GRID, ONES)


def test_a_constant_that_a_loss_lacks_is_named():
    mine = Loss("mine", of=torch.exp, of_margin=True, smoothness=2)
    assert mine.constant("smoothness") == 2
    assert CROSS_ENTROPY.constant("alpha_0") == 0.5
    assert EXPONENTIAL.constant("lipschitz") == math.inf
    assert HINGE.constant("p") == 0
    for name in ("p", "alpha_0", "alpha_1", "rho_0", "rho_1", "lipschitz"):
        with pytest.raises(InputError, match=f"the loss 'mine' states no {name}"):
            mine.constant(name)
    with pytest.raises(InputError, match=r"no constant of a loss 'alpha_2'; did you mean 'alpha_"):
        mine.constant("alpha_2")


def test_losses_by_name_and_by_themselves():
    for name, loss in LOSSES.items():
        assert loss_of(name) is loss_of(loss) is loss
    with pytest.raises(InputError, match="no loss 'cross-entropie'; did you mean 'cross-entropy'"):
        loss_of("cross-entropie")
    for wrong in (None, torch.nn.MSELoss(), lambda z: z):
        with pytest.raises(InputError, match="give a Loss, or the name of one, such as 'cross-ent"):
            loss_of(wrong)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
def test_arrays_are_predictions_and_labels(loss):
    f, y = np.array([0.5, -2.0, 1.0]), np.array([1, -1, 1])
    wide, narrow = torch.from_numpy(f), torch.from_numpy(f).float()
    signs = torch.tensor([1.0, -1.0, 1.0])
    for method in (loss.values, loss.derivatives):
        assert torch.equal(method(f, y), method(wide, signs.double()))
        assert torch.equal(method(narrow, y), method(narrow, signs))
        assert torch.equal(method(f.astype(np.float32), y), method(narrow, signs))
    assert torch.equal(check_labels(y), signs.double())
