"""Runs on images by torch's own descent, tangents by automatic differentiation, known intervals."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from companion.draws import independent_seed
from companion.experiments.chen2021 import image_runs
from companion.experiments.chen2021._images import chosen, held_out, pool_of
from companion.experiments.zou2018._problem import Problem
from companion.lab.controls import with_controls
from companion.networks import draw_chen
from tests.doctoring import doctored, outcomes
from tests.oracles import chen_predictions, deep_jacobians

TINY = image_runs.QUICK.override(
    {"counts": [4, 6, 8], "widths": [4, 8, 16], "layers": 3, "seeds": 3, "alpha": 0.4, "pool": 20,
     "held_out": 15, "steps": 6, "every": 3, "dtype": "float64"}
)  # fmt: skip
judged = partial(outcomes, image_runs, TINY)
FORMULA = partial(chen_predictions, alpha=0.4)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return image_runs.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found: xr.Dataset) -> xr.Dataset:
    """A tiny run settles no exponents: laws are written into it, with some scatter."""
    scatter = np.array([0.98, 1.0, 1.02])[:, None, None]
    law = scatter * np.array(TINY.widths) ** -0.4
    fewer = scatter * np.array([8, 6, 4])[:, None] * np.array([1.2, 1.1, 1.0])
    return doctored(
        found,
        linearisation=40 * law[..., None] * np.array([0, 1, 2]),
        flips=law[..., None] * np.array([0, 0.5, 1]),
        wrong=np.round(fewer).clip(1, 15),
        error=0.0,
    )


def test_a_run_is_that_of_torch(found: xr.Dataset) -> None:
    seed, count, width = 1, 6, 8
    data, test = chosen(pool_of(TINY), count, seed), held_out(TINY)
    own = independent_seed(seed, count, 784, 3, width)
    network = draw_chen(width, 784, own, depth=2, alpha=0.4, dtype=torch.float64)
    jacobians = deep_jacobians(network, data.x, FORMULA)
    start = [p.clone() for p in (*network.weights, network.outputs)]
    leaves = [p.clone().requires_grad_() for p in start]
    optimiser = torch.optim.SGD(leaves, lr=TINY.step_size / width**0.8)
    one = found.sel(seed=seed, count=count, width=width)
    first = network.predict(data.x)
    for step in range(TINY.steps + 1):
        predictions = FORMULA(leaves[:-1], leaves[-1], data.x)
        margins = data.y * predictions
        loss = torch.log1p(torch.exp(-margins)).mean()
        if step % TINY.every == 0:
            now = one.isel(look=step // TINY.every)
            moves = [(a - b).detach() for a, b in zip(leaves, start, strict=True)]
            tangent = sum(j @ v.flatten() for j, v in zip(jacobians, moves, strict=True))
            off = float((predictions.detach() - first - tangent).abs().max())
            assert float(now.linearisation) == pytest.approx(off, rel=1e-8, abs=1e-12)
            assert float(now.loss) == pytest.approx(float(loss.detach()))
            assert float(now.error) == float((margins <= 0).double().mean())
            far = width**0.4 * max(float(move.norm()) for move in moves)
            assert float(now.distance) == pytest.approx(far, abs=1e-12)
            assert float(now.flips) == pytest.approx(flips(start, leaves, data.x))
        if step < TINY.steps:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    guesses = FORMULA(leaves[:-1], leaves[-1], test.x).detach()
    assert int(one.wrong) == sum(bool(y * f <= 0) for y, f in zip(test.y, guesses, strict=True))
    average = by_all_signs(jacobians)
    assert float(one.complexity) == pytest.approx(far * average / width**0.4, rel=0.1)


def flips(start: list, now: list, x: torch.Tensor) -> float:
    """The mean over layers of the share of pairs of image and unit that switched."""
    before, after, shares = x, x, []
    for first, last in zip(start[:-1], now[:-1], strict=True):
        before, after = (before @ first.T).relu(), (after @ last.detach().T).relu()
        shares.append(float(((before > 0) != (after > 0)).double().mean()))
    return float(np.mean(shares))


def by_all_signs(jacobians: list[torch.Tensor]) -> float:
    """Rademacher's average with every choice of signs."""
    count = len(jacobians[0])
    sums = [
        sum(float((torch.tensor(signs).double() @ rows).norm()) for rows in jacobians)
        for signs in itertools.product((-1, 1), repeat=count)
    ]
    return float(np.mean(sums)) / count


def test_the_signs_average_is_that_of_all_signs() -> None:
    data = chosen(pool_of(TINY), 6, 0)
    network = draw_chen(8, 784, 5, depth=2, alpha=0.4, dtype=torch.float64)
    told = image_runs.rademacher(Problem(network, data.x, data.y), 4000, seed=1)
    known = by_all_signs(deep_jacobians(network, data.x, FORMULA))
    assert told == pytest.approx(known, rel=0.02)


@pytest.mark.parametrize("wrong", [0, 1, 7, 30])
def test_intervals_are_those_of_scipy(wrong: int) -> None:
    known = stats.binomtest(wrong, 30).proportion_ci(0.95)
    np.testing.assert_allclose(image_runs.interval(wrong, 30), [known.low, known.high])


def test_the_verdicts_can_be_what_is_expected(settled: xr.Dataset) -> None:
    assert judged(settled) == image_runs.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        ("linearisation", {"linearisation": lambda a: a * 1e-3}),
        ("linearisation", {"linearisation": lambda a: a * [[1.0], [1.3], [1.7]]}),
        ("linearisation", {"flips": lambda a: a[:, :, ::-1]}),
        ("test-error", {"wrong": lambda a: a[:, ::-1]}),
        ("test-error", {"wrong": lambda a: a[..., ::-1]}),
        ("test-error", {"wrong": lambda a: a + 6}),
    ],
)
def test_a_claim_fails_where_it_is_not_so(settled: xr.Dataset, claim: str, lie: dict) -> None:
    assert judged(settled, **lie)[f"chen2021-regime-{claim}"] == "fails"


def test_what_was_not_fitted_may_be_as_bad_as_a_coin(settled: xr.Dataset) -> None:
    told = judged(settled, wrong=lambda a: a + 6, error=0.1)
    assert told["chen2021-regime-test-error"] == "holds"


def test_noise_decides_nothing(settled: xr.Dataset) -> None:
    generator = np.random.default_rng(0)
    noise = np.exp(2 * generator.normal(size=settled.flips.shape))
    told = judged(settled, flips=lambda a: a * noise)
    assert told["chen2021-regime-linearisation"] == "inconclusive"
    there_and_back = np.where(np.indices(settled.wrong.shape).sum(axis=0) % 2, 8, 4)
    told = judged(settled, wrong=there_and_back)
    assert told["chen2021-regime-test-error"] == "inconclusive"


def test_the_judge_sees_the_lies_of_its_cards(settled: xr.Dataset) -> None:
    verdicts = image_runs.judge(TINY, settled)
    told = with_controls(verdicts, image_runs.CONTROLS, TINY, settled, image_runs.judge)
    assert {v.control.outcome for v in told if v.control} == {"fails"}
