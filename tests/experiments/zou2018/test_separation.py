"""Distances of directions against loops and quadrature, and judges that can say no."""

from functools import partial

import numpy as np
import pytest

from companion.experiments.zou2018 import separation
from companion.experiments.zou2018._layers import (
    class_separations,
    correlation_above,
    least_products,
    separation_limits,
    twin_distances,
)
from companion.experiments.zou2018._problem import draw_twins
from tests.doctoring import doctored, outcomes
from tests.oracles import pair_expectation

TINY = separation.Settings(
    seeds=14, count=4, dimension=6, mu=0.8, depth=1, separation=0.8, deep=20, deep_width=16,
    separations=(0.8, 1.0), opposites_width=64, delta=0.2,
)  # fmt: skip
judged = partial(outcomes, separation, TINY)


@pytest.fixture(scope="module")
def found():
    return separation.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """Narrow networks scatter: here the limits are written into the run."""
    scatter = np.linspace(0.99, 1.01, TINY.seeds)[:, None]
    return doctored(
        found,
        kept=0.8,
        product=0.6,
        ratio=found.limit.values,
        opposite=scatter * found.opposite_limit.values,
    )


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == separation.EXPECTED


def test_distances_and_products_by_loops():
    problem = draw_twins(TINY, "cpu", seed=1, width=8, depth=2, separation=0.5)
    forward = problem.network.run(problem.x)
    for layer, hidden in enumerate(forward.hidden):
        rows = [np.array(row) / np.linalg.norm(row) for row in hidden.tolist()]
        pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
        known = min(np.linalg.norm(rows[i] - rows[j]) for i, j in pairs if (i - j) % 2)
        assert float(class_separations(forward, problem.y)[layer]) == pytest.approx(known)
        least = min(float(rows[i] @ rows[j]) for i, j in pairs)
        assert float(least_products(forward)[layer]) == pytest.approx(least)
        twins = [np.linalg.norm(rows[i] - rows[i + 1]) for i in (0, 2)]
        assert np.allclose(twin_distances(forward)[layer], twins)
    assert np.allclose(twin_distances(forward)[0], 0.5)


@pytest.mark.parametrize("rho", [-1.0, -0.82, -0.3, 0.0, 0.5, 0.99, 1.0])
def test_the_correlation_above_is_quadrature(rho):
    assert float(correlation_above(rho)) == pytest.approx(2 * pair_expectation(rho, 1), abs=1e-6)


def test_the_recursion_is_near_its_first_order():
    """phi_l = phi / (1 + l phi / (3 pi)) for small phi, and 3 pi / phi layers take one half."""
    limits = separation_limits(0.05, 100)
    known = 0.05 / (1 + np.arange(101) * 0.05 / (3 * np.pi))
    assert np.allclose(limits, known, rtol=0.01)
    small = separation.Settings(separations=(0.02,))
    assert small.crossings[0] * 0.02 == pytest.approx(3 * np.pi, rel=0.02)


def test_opposite_inputs_break_the_product_in_the_first_layer_only():
    """kappa_1(2 mu^2 - 1) is 8 mu^3 / (3 pi) for small mu; a layer on, it is above 0.3."""
    for mu in (0.01, 0.05):
        above = float(correlation_above(2 * mu**2 - 1))
        assert above == pytest.approx(8 * mu**3 / (3 * np.pi), rel=0.02)
        assert above < mu**2 / 2 < 0.3 < float(correlation_above(above))
    mu = separation._threshold()
    assert float(correlation_above(2 * mu**2 - 1)) == pytest.approx(mu**2 / 2, rel=1e-3)


def test_opposite_inputs_are_as_the_assumption_wants_them(found):
    gaps = found.opposite.mean("seed") / found.opposite_limit.isel(seed=0)
    assert np.allclose(gaps, 1, atol=0.5)


@pytest.mark.parametrize(
    ("claim", "change", "outcome"),
    [
        ("zou2018-thm5.1ii", {"kept": 0.49}, "fails"),
        ("zou2018-thm5.1ii-depth", {"ratio": 1.0}, "fails"),
        ("zou2018-thm5.1ii-depth", {"ratio": lambda a: a**3}, "fails"),
        ("zou2018-lemA.11-13", {"product": 0.1}, "fails"),
        ("zou2018-lemA.11-13", {"growth": lambda a: a - 0.01}, "fails"),
        ("zou2018-lemA.13-opposites", {"opposite": lambda a: 2 * a}, "fails"),
        ("zou2018-thm5.1ii", {"kept": np.nan}, "inconclusive"),
    ],
)
def test_the_judge_sees(settled, claim, change, outcome):
    assert judged(settled, **change)[claim] == outcome


def test_noise_decides_nothing(settled):
    coin = np.where(np.arange(14) % 7 == 0, 0.4, 0.8)[:, None]
    assert judged(settled, kept=coin)["zou2018-thm5.1ii"] == "inconclusive"
    wild = np.exp(np.random.default_rng(0).normal(size=(14, 3)))
    told = judged(settled, opposite=lambda a: a * wild)
    assert told["zou2018-lemA.13-opposites"] == "inconclusive"


def test_too_large_a_separation_is_outside_the_theorem(found):
    far = TINY.override({"depth": 2})
    (told,) = (v for v in separation.judge(far, found) if v.claim == "zou2018-thm5.1ii")
    assert told.outcome in ("outside-regime", "inconclusive")


def test_controls_are_seen(settled):
    before = judged(settled)
    for claim, lie in separation.CONTROLS.items():
        lied = separation.judge(TINY, lie.told(TINY, settled))
        assert {v.claim: v.outcome for v in lied}[claim] != before[claim]
