"""The identity as the paper writes it, with dense matrices; and a judge that says no."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from companion.experiments.zou2018 import _flips
from companion.experiments.zou2018._problem import draw
from companion.experiments.zou2020 import telescoping
from companion.experiments.zou2020._change import Change
from companion.lab.controls import with_controls
from companion.networks import draw_zou
from tests.doctoring import doctored, outcomes

TINY = telescoping.QUICK.override(
    {
        "count": 5, "dimension": 6, "depth": 3, "widths": [16, 24, 32], "seeds": 2, "steps": 2,
        "attack_radii": [0.05, 0.1, 0.2], "descent_radii": [0.02, 0.04, 0.08], "longest": 20,
    }
)  # fmt: skip
judged = partial(outcomes, telescoping, TINY)
SEEN = telescoping.EXPECTED


@pytest.fixture(scope="module")
def found():
    return telescoping.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here known ones are written into it."""
    scatter = (1 + 0.001 * found.seed) * (1 + 0.001 * np.sin(found.width))
    laws = {
        "attack_flips": found.attacked ** (2 / 3),
        "attack_ratio": 2 + 0 * found.attacked,
        "descent_flips": 0.3 * found.reached,
        "descent_ratio": 0.7 + 0 * found.reached,
    }
    return doctored(
        found,
        **{name: (law * scatter).transpose(*found[name].dims) for name, law in laws.items()},
    )


def as_printed(network, other, row, later_above):
    """Both sides of the identity for one input, the sum with matrices as the paper writes it."""
    below, z, after = [row], [], []
    above = [row]
    for weight, new in zip(network.weights, other.weights, strict=True):
        z.append(weight @ below[-1])
        after.append(new @ above[-1])
        below.append(torch.relu(z[-1]))
        above.append(torch.relu(after[-1]))
    gates = []
    for now, then in zip(z, after, strict=True):
        entries = []
        for j in range(len(now)):
            on, on_then = float(now[j] > 0), float(then[j] > 0)
            top = then[j] if later_above else now[j]
            tilde = 0.0 if on == on_then else (on_then - on) * float(top / (then[j] - now[j]))
            entries.append(on + tilde)
        gates.append(torch.diag(torch.tensor(entries, dtype=torch.float64)))
    total = torch.zeros_like(below[-1])
    for layer in range(len(z)):
        product = torch.eye(len(z[layer]), dtype=torch.float64)
        for above_it in range(layer + 1, len(z)):
            product = gates[above_it] @ other.weights[above_it] @ product
        move = (other.weights[layer] - network.weights[layer]) @ below[layer]
        total = total + product @ gates[layer] @ move
    return above[-1] - below[-1], total


@pytest.fixture(scope="module")
def pair():
    one, other = (draw_zou([16, 24, 16], 6, seed, dtype=torch.float64) for seed in (0, 1))
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return one, other, x


def test_the_identity_is_exact_with_the_later_preactivation_above(pair):
    one, other, x = pair
    for row in x:
        left, total = as_printed(one, other, row, later_above=True)
        torch.testing.assert_close(left, total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("above", "later"), [("printed", False), ("mended", True)])
def test_gaps_are_those_of_the_sum_as_written(pair, above, later):
    one, other, x = pair
    gaps = []
    for row in x:
        left, total = as_printed(one, other, row, later_above=later)
        gaps.append(float((left - total).norm() / left.norm()))
    assert Change(*pair).gap(above) == pytest.approx(max(gaps), abs=1e-14)
    assert (max(gaps) > 0.5) == (above == "printed")


def test_without_switches_all_three_agree(pair):
    one, _, x = pair
    near = one.moved([weight * 1.001 for weight in one.weights])
    change = Change(one, near, x)
    assert change.switched() == 0
    for above in ("printed", "mended", "without"):
        assert change.gap(above) < 1e-11


def test_only_the_mended_entries_are_slopes(pair):
    change = Change(*pair)
    assert change.switched() > 0.3
    least, most = change.extremes("mended")
    assert 0 <= least < most <= 1
    least, most = change.extremes("printed")
    assert -1 < least < -0.9
    assert 1.9 < most < 2


def test_recorded_numbers_are_those_of_their_networks(found):
    one = found.sel(seed=1, width=24)
    known = draw(TINY, "cpu", seed=1, width=24, depth=3)
    units = _flips.directions(known.network, 1)
    for radius, gap in zip(TINY.near, one.near_printed.values, strict=True):
        other = known.network.moved(
            [w + radius * u for w, u in zip(known.network.weights, units, strict=True)]
        )
        gaps = []
        for row in known.x:
            left, total = as_printed(known.network, other, row, later_above=False)
            gaps.append(float((left - total).norm() / left.norm()))
        assert gap == pytest.approx(max(gaps), rel=1e-6, abs=1e-12)
    iterates = telescoping._iterates(TINY, known)
    assert len(iterates) == 3
    first = [
        float((a - b).norm()) for a, b in zip(iterates[1].weights, iterates[0].weights, strict=True)
    ]
    assert max(first) == pytest.approx(TINY.first)
    changes = [Change(a, b, known.x) for a, b in pairwise(iterates)]
    assert one.step_printed.values.tolist() == [change.gap("printed") for change in changes]
    assert float(one.mended_least) >= 0


def test_the_two_networks_of_a_pair_are_independent(found):
    assert float(found.apart_switched.min()) > 0.3
    assert len(set(found.apart_printed.values.ravel())) == found.apart_printed.size


def test_the_judge_can_see_all(settled):
    assert judged(settled) == SEEN


@pytest.mark.parametrize("pair", telescoping.PAIRS)
def test_each_pair_can_refute_either_identity(settled, pair):
    exact = {f"{each}_printed": 0.0 for each in telescoping.PAIRS}
    assert judged(settled, **exact)["zou2020-identity"] == "holds"
    assert judged(settled, **{**exact, f"{pair}_printed": 1e-6})["zou2020-identity"] == "fails"
    lied = judged(settled, **{f"{pair}_mended": 1e-9})
    assert lied == {**SEEN, "zou2020-identity-mended": "fails"}


@pytest.mark.parametrize("lie", [{"mended_least": -0.01}, {"mended_most": 1.01}])
def test_entries_that_are_no_slopes_are_seen(settled, lie):
    assert judged(settled, **lie)["zou2020-identity-mended"] == "fails"


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("attack_flips", lambda f: f.attacked**-0.1),
        ("attack_flips", lambda f: f.width**0.2),
        ("descent_flips", lambda f: f.reached**-0.5),
        ("attack_ratio", lambda f: f.attacked**-0.1),
        ("attack_ratio", lambda f: f.width**0.2),
        ("descent_ratio", lambda f: f.reached**-0.1),
    ],
)
def test_the_judge_sees_a_bound_that_is_outgrown(settled, monkeypatch, name, lie):
    told = settled.assign({name: (settled[name] * lie(settled)).transpose(*settled[name].dims)})

    def given():
        return {v.claim: v.outcome for v in telescoping.judge(TINY, told)}["zou2020-lemA.4"]

    assert given() == "inconclusive"
    monkeypatch.setattr(telescoping, "asked_radius", lambda depth, width: 1.0)
    assert given() == "fails"


@pytest.mark.parametrize(
    ("exponent", "outcome"), [(1.0, "holds"), (0.9, "holds"), (2 / 3, "fails")]
)
def test_the_path_is_told_from_an_adversary(settled, exponent, outcome):
    law = np.array(TINY.descent_radii) ** exponent * np.array([1.0, 1.1])[:, None, None]
    assert judged(settled, descent_flips=law)["zou2020-lemA.4-path"] == outcome


def test_neither_noise_nor_what_is_no_number_decides(settled, monkeypatch):
    monkeypatch.setattr(telescoping, "asked_radius", lambda depth, width: 1.0)
    wild = np.exp(3 * np.random.default_rng(1).normal(size=settled.descent_flips.shape))
    for lie in (lambda a: a * wild, lambda a: np.where(a == a.max(), np.nan, a)):
        lied = judged(settled, descent_flips=lie)
        assert lied["zou2020-lemA.4-path"] == "inconclusive"
        assert lied["zou2020-lemA.4"] == "inconclusive"


def test_the_judge_sees_the_lies_that_its_cards_tell(settled):
    told = with_controls(
        telescoping.judge(TINY, settled), telescoping.CONTROLS, TINY, settled, telescoping.judge
    )
    assert {verdict.claim: verdict.control.outcome for verdict in told} == {
        "zou2020-identity": "holds",
        "zou2020-identity-mended": "fails",
        "zou2020-lemA.4": "inconclusive",
        "zou2020-lemA.4-path": "fails",
    }
