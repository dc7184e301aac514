"""The experiment zou2018/losses against other formulas and closed forms, and its own failure."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.experiments.zou2018 import _constants, losses
from companion.lab.controls import with_controls
from companion.losses import Loss
from tests.doctoring import outcomes

SMALL = losses.QUICK.override({"reaches": [5.0, 10.0, 20.0], "fineness": 0.05})
judged = partial(outcomes, losses, SMALL)
# l and -l', written down once more.
FORMULAS = {
    "cross-entropy": (lambda z: math.log(1 + math.exp(-z)), lambda z: 1 / (1 + math.exp(z))),
    "exponential": (lambda z: math.exp(-z), lambda z: math.exp(-z)),
    "squared-hinge": (lambda z: max(1 - z, 0) ** 2, lambda z: 2 * max(1 - z, 0)),
    "hinge": (lambda z: max(1 - z, 0), lambda z: float(z < 1)),
    "cubed-hinge": (lambda z: max(1 - z, 0) ** 3, lambda z: 3 * max(1 - z, 0) ** 2),
    "sigmoid": (
        lambda z: 1 / (1 + math.exp(z)), lambda z: 1 / (2 + math.exp(z) + math.exp(-z))
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return losses.run(SMALL, "cpu")


def test_small_run_holds(found):
    assert judged(found) == losses.EXPECTED


@pytest.mark.parametrize("name", FORMULAS)
def test_every_loss_is_its_formula(found, name):
    one, (value, slope) = found.sel(loss=name), FORMULAS[name]
    margins = found.margin.values.tolist()
    np.testing.assert_allclose(one.value, [value(z) for z in margins], rtol=1e-12)
    np.testing.assert_allclose(one.slope, [slope(z) for z in margins], rtol=1e-12)


def test_extremes_are_those_of_calculus(found):
    last = found.isel(reach=-1)
    steepest = {"cross-entropy": 1, "exponential": math.exp(20), "squared-hinge": 42, "hinge": 1,
                "cubed-hinge": 3 * 21**2, "sigmoid": 1 / 4}  # fmt: skip
    curvature = {"cross-entropy": 1 / 4, "squared-hinge": 2, "hinge": 400,
                 "cubed-hinge": 6 * 21, "sigmoid": 1 / (6 * math.sqrt(3))}  # fmt: skip
    for name, known in steepest.items():
        assert float(last.steepest.sel(loss=name)) == pytest.approx(known, rel=1e-6), name
    for name, known in curvature.items():
        assert float(last.curvature.sel(loss=name)) == pytest.approx(known, rel=1e-3), name
    flattest = float(last.least_slope.sel(loss="sigmoid"))
    assert flattest == pytest.approx(1 / (2 + 2 * math.cosh(20)), rel=1e-6)
    assert float(last.least_slope.sel(loss="cross-entropy")) == pytest.approx(1 / 2)
    needed = found.needed.values
    for row, p in zip(needed, SMALL.exponents, strict=True):
        np.testing.assert_allclose(row, [2 ** (k * p) for k in range(1, 21)])


def test_shares_are_those_of_a_loop():
    loss, margins = losses.CUBED_HINGE, torch.tensor([-2.0, 0.0, 0.5, 1.0, 2.0]).double()
    shares = _constants.shares_of_cut(loss, margins, 4.0, 2.5, 0.5)
    known = [3 * (1 - z) ** 2 / min(4.0, 2.5 * (1 - z) ** 1.5) for z in margins.tolist() if z < 1]
    np.testing.assert_allclose(shares, known)


def test_sharper_constants_are_what_is_left(found):
    """Where the tight place is known: everywhere, at the ends, or at the margin 0."""
    left = found.sharper
    assert float(left.sel(loss="exponential", constant="alpha_1")) == pytest.approx(1 / 1.01)
    assert float(left.sel(loss="squared-hinge", constant="rho_1")) == pytest.approx(0.99)
    assert float(left.sel(loss="hinge", constant="alpha_0")) == pytest.approx(1 / 1.01)
    z = np.linspace(0, 0.1, 100_001)
    slope, value = 1 / (1 + np.exp(z)), np.log1p(np.exp(-z))
    floor = np.minimum(0.5, 1.01 * value / (2 * math.log(2)))
    known = (slope / floor).min()
    found_ = float(left.sel(loss="cross-entropy", constant="alpha_1"))
    assert found_ == pytest.approx(known, abs=1e-3)
    assert math.isnan(float(left.sel(loss="hinge", constant="alpha_1")))
    assert int(left.notnull().sum()) == 15


def test_a_loss_that_jumps_or_rises_is_seen():
    margins = losses._margins(5.0, 0.05, torch.float64)
    jumping = Loss(
        "jumping",
        of=lambda z: (-z).exp() + 1e-2 * (z < 0.5),
        slope_of=lambda z: -(-z).exp(),
        of_margin=True,
    )
    assert losses._on_grid(jumping, margins, ())["jump"] > 1e-3
    rising = Loss("rising", of=lambda z: (1 - z) ** 2, of_margin=True)
    assert losses._on_grid(rising, margins, ())["rise"] == pytest.approx(8)


def only(name, factor=1.0, value=None):
    """An array of which one loss is told otherwise."""
    place = list(FORMULAS).index(name)

    def lie(array):
        array[place] = factor * array[place] if value is None else value
        return array

    return lie


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("zou2018-ass3.1", {"rise": only("hinge", value=1e-12)}),
        ("zou2018-ass3.1", {"jump": only("squared-hinge", value=1e-6)}),
        ("zou2018-ass3.1", {"ending": only("exponential", value=0.1)}),
        ("zou2018-ass3.2", {"floor": only("hinge", 0.999)}),
        ("zou2018-ass3.3L", {"steepest": only("hinge", 1.001)}),
        ("zou2018-ass3.3L", {"steepest": only("squared-hinge", value=42.0)}),
        ("zou2018-ass3.3S", {"curvature": only("cross-entropy", 1.001)}),
        ("zou2018-ass3.3S", {"curvature": only("hinge", value=400.0)}),
        ("zou2018-ass4.4", {"ceiling": only("exponential", 1.001)}),
        ("zou2018-ass4.4", {"needed": lambda needed: np.ones_like(needed)}),
        ("zou2018-losses-sharp", {"sharper": only("cubed-hinge", value=1.0)}),
    ],
)
def test_each_lie_fails(found, claim, lie):
    told = judged(found, **lie)
    assert told[claim] == "fails"
    assert {other for other, outcome in told.items() if outcome != "holds"} == {claim}


def test_losses_beside_the_paper_s_decide_nothing_of_its_claims(found):
    lie = {name: only("sigmoid", value=9.0) for name in ("rise", "steepest", "curvature")}
    assert judged(found, **lie) == losses.EXPECTED


def test_what_is_no_number_decides_nothing(found):
    assert judged(found, floor=only("hinge", math.nan))["zou2018-ass3.2"] == "inconclusive"


@pytest.mark.parametrize("claim", losses.EXPECTED)
def test_the_judge_sees_the_lie_that_its_card_tells(found, claim):
    verdicts = losses.judge(SMALL, found)
    told = with_controls(verdicts, losses.CONTROLS, SMALL, found, losses.judge)
    assert {v.claim: v.control.outcome for v in told}[claim] == "fails"


def test_single_precision_is_judged_by_its_own_rounding():
    single = SMALL.override({"dtype": "float32"})
    assert outcomes(losses, single, losses.run(single, "cpu")) == losses.EXPECTED
