"""What the theorems ask for, against the formulas as the papers print them, at one point."""

import dataclasses
import math

import pytest
import torch

from companion.datasets import DataSet, sphere, with_bias
from companion.errors import InputError
from companion.regime import Measured, Quantities, demands, quantities


def number(value: float, lower: float | None = None, pair=(0, 1)) -> Measured:
    return Measured(value, value if lower is None else lower, value, "by hand", pair)


HAND = Quantities(
    count=10, dimension=4, depth=1, accuracy=0.1, norm_gap=0.0, normalised=False,
    labels=(-1.0, 1.0), of_each=(5, 5), duplicates=(), contradictions=(), bias=0.5,
    cross_class=number(0.5), all_pairs=number(0.4), angle=number(0.4), lambda_0=number(0.2, 0.1),
    misfit=number(30.0), margin=number(0.25), radius=number(3.0), field_margin=number(0.5),
)  # fmt: skip
DEEP = dataclasses.replace(HAND, depth=3, field_margin=None)


def asked(found: Quantities = HAND, **options) -> dict[tuple[str, str, bool], object]:
    every = demands(found, **options)
    return {(each.claim, each.statement, each.explicit): each for each in every}


def test_du_as_printed():
    told = asked()[("du2019-thm4.1", "Theorem 4.1", False)]
    assert told.width == pytest.approx(10**6 / (0.1**4 * 0.1**3))
    assert told.step_size == pytest.approx(0.1 / 10)  # n times lambda_0 / n^2
    assert told.constants == "unknown, taken as 1"
    assert told.work == "Du et al. (2019)"
    assert told.unmet == ()
    rate = 1 - (0.1 / 100) * 0.1 / 2
    left = 2 / 0.1 * (10 + 10 / 2) * rate**told.iterations
    assert left == pytest.approx(2 * 10 * 0.1, rel=1e-9)


def test_du_with_the_constants_of_its_proof():
    told = asked()
    flow = told[("du2019-width-explicit", "Theorem 3.2", True)]
    descent = told[("du2019-width-explicit", "Theorem 4.1", True)]
    radius = math.sqrt(2 * math.pi) * 0.05 * 0.1 / (16 * 100)
    misfit = (10 + 5) / 0.05
    assert flow.width == pytest.approx(4 * 10 * misfit / (0.1 * radius) ** 2)
    assert descent.width == pytest.approx(4 * flow.width)
    assert flow.constants == "explicit"
    assert flow.step_size is None
    assert flow.iterations is None
    # Of the mean loss the flow is n times as slow.
    assert misfit * math.exp(-0.1 * flow.time / 10) == pytest.approx(2)
    assert descent.step_size == pytest.approx(10 * 0.1 * (1 - 10**-0.5) / 400)


def test_zou_2018():
    told = asked(DEEP, width=100)
    descent = told[("zou2018-thm4.1", "Theorem 4.1", False)]
    # p = 1 and a finite alpha_0: n^26 and n^24 / eps.
    assert descent.width == pytest.approx((10**26 + 10**24 / 0.1) * 3.0**38 / 0.5**8)
    assert descent.step_size == pytest.approx(0.5 / (1000 * 3**9 * 100))
    sgd = told[("zou2018-thm4.5", "Theorem 4.5", False)]
    assert sgd.width == pytest.approx((10**28 + 10**24 / 0.1**2) * 3.0**38 / 0.5**8)
    assert sgd.algorithm == "sgd"


def test_zou_2020():
    told = asked(DEEP, width=100)[("zou2020-thm4.4-width", "Theorem 4.4", False)]
    assert told.width == pytest.approx((1e14 + 1e12 / 0.1) * 3**16 / 0.5**4)
    assert told.step_size == pytest.approx(1 / (100 * 27))
    assert told.iterations == pytest.approx((1e5 + 1e3 / 0.1) * 27 / 0.5)
    alone = asked(DEEP)[("zou2020-thm4.4-width", "Theorem 4.4", False)]
    assert alone.step_size == pytest.approx(1 / (alone.width * 27))
    assert told.shortfall(100) == pytest.approx(told.width / 100)


def test_chen():
    told = asked(DEEP, width=100, delta=0.05)
    measured = told[("chen2021-thm3.3-width", "Theorem 3.3", False)]
    logarithm = math.log(10 / 0.05) ** (4 / 3)
    assert measured.width == pytest.approx((3.0**4 * 4.0**11) ** 2 * logarithm)
    assert measured.step_size == pytest.approx(1 / (4 * 100))
    assert measured.iterations == pytest.approx((4 * 3) ** 2 / 0.1)
    separated = told[("chen2021-prop4.10", "Theorem 3.3", False)]
    radius = 10**1.5 / math.sqrt(0.5) * math.log(10 / (0.05 * 0.1))
    assert separated.width == pytest.approx((radius**4 * 4.0**11) ** 2 * logarithm)
    online = told[("chen2021-thm3.8", "Theorem 3.8", False)]
    assert online.width is None
    assert online.shortfall(100) is None
    assert online.iterations == pytest.approx(8 * 16 * 9 / 0.1)
    assert online.step_size == pytest.approx(min(4 * 9 / (10 * 0.1), 1 / 4) / 100)
    assert "of which there are 10" in online.unmet[-1]
    assert ("chen2021-prop4.7", "Proposition 4.7", True) not in told
    two = asked(delta=0.05)[("chen2021-prop4.7", "Proposition 4.7", True)]
    assert two.width == pytest.approx(32 * math.log(200) / 0.5**2)


def test_every_demand_is_a_claim_of_the_ledger():
    from companion.lab.catalog import claims

    for found in (HAND, DEEP):
        for each in demands(found):
            assert claims()[each.claim].paper == each.paper


@pytest.mark.parametrize(
    ("change", "claim", "said"),
    [
        ({"depth": 3}, "du2019-thm4.1", "on one hidden layer, and this network has 3"),
        ({"angle": number(0.0, pair=(2, 7))}, "du2019-thm3.2", "inputs 2 and 7 are parallel"),
        ({"lambda_0": number(1e-9, -1e-9)}, "du2019-thm3.2", "cannot be certified"),
        ({"bias": None}, "zou2020-thm4.4-width", "no constant last coordinate"),
        ({"cross_class": number(0.0)}, "zou2018-thm4.1", "phi = 0"),
        ({"cross_class": number(0.0)}, "chen2021-prop4.10", "phi = 0"),
        ({"radius": number(math.inf)}, "chen2021-thm3.3-width", "no radius"),
        ({"field_margin": None}, "chen2021-prop4.7", "was not measured"),
    ],
)
def test_what_is_unmet_is_said(change, claim, said):
    before = [each for each in demands(HAND) if each.claim == claim]
    after = [each for each in demands(dataclasses.replace(HAND, **change)) if each.claim == claim]
    assert not any(said in " ".join(each.unmet) for each in before)
    assert all(said in " ".join(each.unmet) for each in after)
    assert after


@pytest.mark.parametrize(
    ("change", "claims"),
    [
        ({"lambda_0": number(1e-9, -1e-9)}, {"du2019-thm3.2", "du2019-thm4.1",
                                             "du2019-width-explicit"}),
        ({"cross_class": number(0.0)}, {"zou2018-thm4.1", "zou2018-thm4.5",
                                        "zou2020-thm4.4-width", "chen2021-prop4.10"}),
        ({"radius": number(math.inf)}, {"chen2021-thm3.3-width"}),
        ({"field_margin": number(0.0)}, {"chen2021-prop4.7"}),
    ],
)  # fmt: skip
def test_without_what_a_theorem_needs_no_width_is_enough(change, claims):
    every = demands(dataclasses.replace(HAND, **change))
    assert {each.claim for each in every if each.width == math.inf} == claims
    assert {each.claim for each in demands(HAND) if each.width == math.inf} == set()


def test_a_loss_of_another_theorem_is_said():
    quadratic, entropy = (
        {each.claim: " ".join(each.unmet) for each in demands(HAND, loss=loss)}
        for loss in ("quadratic", "cross-entropy")
    )
    assert "on the quadratic loss" in entropy["du2019-thm4.1"]
    assert "on the quadratic loss" not in quadratic["du2019-thm4.1"]
    for claim in ("zou2018-thm4.1", "zou2020-thm4.4-width", "chen2021-thm3.3-width"):
        assert "loss" in quadratic[claim]
        assert "loss" not in entropy[claim]
    hinge = {each.claim: " ".join(each.unmet) for each in demands(HAND, loss="hinge")}
    assert "not smooth" in hinge["zou2018-thm4.1"]


def test_numbers_beyond_floating_point_are_infinite():
    many = dataclasses.replace(HAND, count=10**7, depth=10**4, cross_class=number(1e-6))
    assert asked(many)[("zou2018-thm4.1", "Theorem 4.1", False)].width == math.inf


def test_of_measured_data():
    data = sphere(6, 3, seed=1)
    labelled = DataSet(with_bias(data.x, 0.4), data.y.sign(), data.source)
    assert len(torch.unique(labelled.y)) == 2
    every = demands(quantities(labelled.x, labelled.y), width=64)
    assert all(each.width is None or 0 < each.width < math.inf for each in every)
    assert [each.unmet for each in every if each.paper != "chen2021"] == [()] * 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delta": 0}, "delta is 0"),
        ({"delta": 1.5}, "delta is 1.5"),
        ({"alpha": 0.6}, "alpha is 0.6"),
        ({"width": 0}, "width is 0"),
        ({"loss": "crossentropy"}, "did you mean 'cross-entropy'"),
    ],
)
def test_bad_options_are_one_sentence(options, said):
    with pytest.raises(InputError, match=said):
        demands(HAND, **options)
