"""One wide layer: shares by sorting and by angles, and a judge that says no."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.draws import cpu_generator
from companion.errors import InputError
from companion.experiments.zou2018 import worst_case
from companion.experiments.zou2018._problem import draw
from companion.lab.controls import with_controls
from tests.doctoring import doctored, outcomes

TINY = worst_case.QUICK.override({"count": 8, "width": 512, "seeds": 6})
judged = partial(outcomes, worst_case, TINY)
CLAIM = "zou2018-thm5.3iii-order"


@pytest.fixture(scope="module")
def found():
    return worst_case.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run knows its shares to some percent: here the derived ones are written into it."""
    scatter = np.linspace(0.99, 1.01, 6)[:, None]
    return doctored(
        found,
        worst=scatter * found.worst_derived.values,
        blind=scatter * found.blind_derived.values,
    )


def test_recorded_shares_are_those_of_loops(found):
    known = draw(TINY, "cpu", seed=2, width=512, depth=1)
    z = (known.x @ known.network.weights[0].T).numpy()
    one = found.sel(seed=2)
    for radius, worst in zip(TINY.radii, one.worst.values, strict=True):
        counts = []
        for row in np.abs(z[: worst_case.ATTACKED]):
            spent, count = 0.0, 0
            for price in sorted(row):
                spent += (price * (1 + 1e-6)) ** 2
                if spent > radius**2:
                    break
                count += 1
            counts.append(count)
        assert worst == pytest.approx(np.mean(counts) / 512)
    gaussian = torch.randn((512, 24), generator=cpu_generator("directions", 2), dtype=torch.float64)
    q, r = np.linalg.qr(gaussian.numpy())
    push = known.x.numpy() @ (q * np.sign(np.diag(r))).T
    assert np.linalg.norm(push, axis=1) == pytest.approx(1)
    for radius, blind in zip(TINY.radii, one.blind.values, strict=True):
        assert blind == pytest.approx(np.mean((z > 0) != (z + radius * push > 0)))


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == {CLAIM: "holds"}


@pytest.mark.parametrize("name", ["worst", "blind"])
@pytest.mark.parametrize(
    "lie",
    [
        lambda share: 1.1 * share,
        lambda share: share * np.array([1, 1, 1, 1.05]),
        lambda share: share * (np.array(TINY.radii) / 0.03) ** 0.2,
    ],
    ids=["constant", "one radius", "power"],
)
def test_the_judge_sees_other_shares(settled, name, lie):
    assert judged(settled, **{name: lie})[CLAIM] == "fails"


@pytest.mark.parametrize("name", ["worst", "blind"])
def test_noise_decides_nothing(settled, name):
    wild = np.exp(np.random.default_rng(0).normal(size=(6, 4)))
    wild = wild / wild.mean(axis=0)
    assert judged(settled, **{name: lambda share: share * wild})[CLAIM] == "inconclusive"


@pytest.mark.parametrize("name", ["worst", "blind"])
def test_what_is_no_number_decides_nothing(settled, name):
    lied = judged(settled, **{name: lambda a: np.where(a == a.max(), np.nan, a)})
    assert lied[CLAIM] == "inconclusive"


def test_the_judge_sees_the_lie_that_its_card_tells(settled):
    told = with_controls(
        worst_case.judge(TINY, settled), worst_case.CONTROLS, TINY, settled, worst_case.judge
    )
    assert [verdict.control.outcome for verdict in told] == ["fails"]


def test_a_radius_beyond_the_formula_is_refused():
    with pytest.raises(InputError, match="radii"):
        worst_case.QUICK.override({"radii": [0.1, 0.5, 1.0]})
