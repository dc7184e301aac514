"""Moments at initialisation against closed forms and loops, and judges that can say no."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.experiments.zou2018 import initialization
from companion.experiments.zou2018._layers import asked_width, growths, length_deviations
from companion.experiments.zou2018._problem import draw
from companion.networks import draw_zou
from tests.doctoring import doctored, outcomes
from tests.oracles import pair_expectation, zou_predictions

TINY = initialization.Settings(
    seeds=6, count=4, dimension=5, depth=2, widths=(16, 32, 64), depths=(1, 2, 3), depth_width=32,
    matrices=2,
)  # fmt: skip
judged = partial(outcomes, initialization, TINY)


@pytest.fixture(scope="module")
def found():
    return initialization.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run settles no exponent: here the true laws are written into it, with a scatter."""
    scatter = np.linspace(0.97, 1.03, TINY.seeds)[:, None]
    widths, depths = np.array(TINY.widths), np.array(TINY.depths)
    outputs = np.array([1.0, -1.0, 1.0, -1.0]) * math.sqrt(1 - 1 / math.pi)
    law = scatter * widths**-0.5
    return doctored(
        found,
        deviation=law[..., None],
        deep_deviation=scatter * depths**0.5,
        growth=5 * scatter / widths,
        output=(scatter * np.ones(3))[..., None] * outputs,
        deep_output=(scatter * np.ones(3))[..., None] * outputs,
        norm=2.8 * np.linspace(0.99, 1.01, TINY.matrices)[:, None],
        crowding=1.0,
        share=0.5 * scatter[..., None],
        law=0.5,
    )


def judged_often(settled, **changes):
    """With six draws no probability of 0.9 can be told: the settings ask for less."""
    modest = TINY.override({"delta": 0.5, "widths": TINY.widths})
    return outcomes(initialization, modest, settled, **changes)


def test_the_judge_can_say_yes(settled):
    told = judged_often(settled)
    assert {told[claim] for claim in told} <= {"holds", "outside-regime"}


def test_lengths_and_growths_by_loops():
    problem = draw(TINY, "cpu", seed=3, width=16, depth=2)
    forward = problem.network.run(problem.x)
    before, hidden = [[1.0] * 4], problem.x
    for weight in problem.network.weights:
        rows = hidden
        hidden = torch.stack([
            torch.stack([torch.clamp(unit @ row, min=0) for unit in weight]) for row in rows
        ])  # fmt: skip
        before.append([math.sqrt(sum(float(v) ** 2 for v in row)) for row in hidden])
    lengths = np.array(before)
    assert np.allclose(growths(forward).numpy(), lengths[1:] ** 2 / lengths[:-1] ** 2 - 1)
    root = np.sqrt(((lengths[1:] - 1) ** 2).mean(axis=1))
    assert np.allclose(length_deviations(forward).numpy(), root)


def test_the_variance_of_a_growth_is_five_over_m():
    """That of 2 relu(z)^2 is 5, and a layer of m units averages m of them."""
    z = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float((2 * z.relu().square()).var()) == pytest.approx(5, rel=0.02)
    x = torch.eye(3, dtype=torch.float64)[:1]
    rows = [draw_zou(20, 3, seed, depth=1, dtype=torch.float64).run(x) for seed in range(2000)]
    found = torch.cat([growths(row) for row in rows])
    assert float(found.square().mean()) == pytest.approx(5 / 20, rel=0.1)


def test_the_variance_of_an_output_has_no_width():
    """1 - 1 / pi, by networks of four units, and by quadrature of E relu^2 and (E relu)^2."""
    x = torch.eye(3, dtype=torch.float64)[:1]
    outputs = torch.cat([
        draw_zou(4, 3, seed, depth=2, dtype=torch.float64).predict(x) for seed in range(2500)
    ])  # fmt: skip
    assert float(outputs.square().mean()) == pytest.approx(initialization.OUTPUT_VARIANCE, rel=0.15)
    mean = 1 / math.sqrt(2 * math.pi)
    assert pair_expectation(1.0, 1) == pytest.approx(0.5, rel=1e-4)
    assert 2 * (pair_expectation(1.0, 1) - mean**2) == pytest.approx(1 - 1 / math.pi, rel=1e-4)


def test_outputs_and_counts_are_those_of_the_definition(found):
    problem = draw(TINY, "cpu", seed=2, width=32, depth=2)
    network = problem.network
    here = found.sel(seed=2, width=32)
    known = zou_predictions(network.weights, network.outputs, problem.x)
    assert np.allclose(here.output, known.numpy())
    beta = math.log(4 * 2 / 0.1) * 32**-1.5
    counts, below = [], problem.x
    for weight in network.weights:
        z = below @ weight.T
        counts += [sum(abs(float(value)) <= beta for value in row) for row in z]
        below = torch.relu(z)
    scale = 32**1.5 * beta
    assert float(here.crowding.sel(factor=1)) == pytest.approx(max(counts) / scale)
    assert float(here.share.sel(factor=1)) == pytest.approx(np.mean(counts) / scale)


def test_the_asked_width_is_the_larger_of_both():
    assert asked_width(10, 2, 0.5, 0.1) == pytest.approx(16 * 16 * math.log(2000))
    assert asked_width(10, 1, 1.0, 0.1) == pytest.approx(100 * math.log(100))


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("zou2018-thm5.1i", {"deviation": np.ones_like}),
        ("zou2018-thm5.1i", {"deep_deviation": lambda a: a**4}),
        ("zou2018-thm5.1i", {"norm": lambda a: a * np.array([1.0, 2.0, 4.0])}),
        ("zou2018-thm5.1iii", {"output": lambda a: 1.3 * a}),
        ("zou2018-thm5.1iii", {"output": lambda a: a * np.array([1.0, 2.0, 4.0])[:, None]}),
        ("zou2018-thm5.1iv", {"crowding": 2.1}),
        ("zou2018-thm5.1iv", {"share": lambda a: 1.5 * a}),
        ("zou2018-lemA.1-2", {"growth": lambda a: 0.4 * a}),
        ("zou2018-lemA.1-2", {"growth": lambda a: a**0.5}),
    ],
)
def test_the_judge_sees(settled, claim, change):
    assert judged_often(settled)[claim] != judged_often(settled, **change)[claim]
    assert judged_often(settled, **change)[claim] in ("fails", "inconclusive")


def test_noise_decides_nothing(settled):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(6, 3)))
    told = judged_often(settled, deviation=noise[..., None], growth=lambda a: a * noise)
    assert told["zou2018-thm5.1i"] == told["zou2018-lemA.1-2"] == "inconclusive"


def test_controls_are_seen(settled):
    for claim, lie in initialization.CONTROLS.items():
        modest = TINY.override({"delta": 0.5})
        before = {v.claim: v.outcome for v in initialization.judge(modest, settled)}
        after = {
            v.claim: v.outcome
            for v in initialization.judge(modest, lie.told(modest, settled))
        }  # fmt: skip
        if claim != "zou2018-thm5.1iv":  # a third of six draws is no surprise at one half
            assert before[claim] != after[claim], claim
