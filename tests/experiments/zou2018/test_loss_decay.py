"""Theorem 4.1: runs against plain autograd, laws against laws that are written in."""

from functools import partial

import numpy as np
import pytest
import torch

from companion.errors import InputError
from companion.experiments.zou2018 import loss_decay
from companion.experiments.zou2018._descents import late_iterations, milestones
from companion.experiments.zou2018._problem import draw, draw_twins
from companion.losses import LOSSES
from companion.training import History
from tests.doctoring import doctored, outcomes
from tests.oracles import layer_grams_by_autograd, zou_predictions

TINY = loss_decay.QUICK.override(
    {
        **{"count": 4, "dimension": 5, "width": 16, "seeds": 2, "steps": 100},
        **{"looks": 10, "fast_halvings": 8},
    }
)
judged = partial(outcomes, loss_decay, TINY)
ON_MARGINS = {
    "hinge": lambda z: torch.relu(1 - z),
    "squared-hinge": lambda z: torch.relu(1 - z) ** 2,
    "cross-entropy": lambda z: torch.log1p(torch.exp(-z)),
    "exponential": lambda z: torch.exp(-z),
}


@pytest.fixture(scope="module")
def found():
    return loss_decay.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle laws: here they are written into it, with a level a seed."""
    level = np.array([1.0, 1.2])[None, :, None, None]
    inverse = 2.0**found.halving.values
    laws = np.stack([20 + 0 * inverse, 3 * np.log(inverse), 7 * inverse, 5 * inverse])
    asked = np.array([TINY.halvings(name) for name in loss_decay.NAMES])
    laws[found.halving.values > asked[:, None]] = np.nan
    return doctored(
        found,
        iterations=level * laws[:, None, None],
        mean_loss=level / found.look.values,
        least=np.array([0, 1, 1, 1])[:, None, None],
        early_slope=2.0,
        late_slope=1.9,
        first_small=30.0,
        first_right=29.0,
    )


def by_autograd(problem, of, step_size, steps):
    """Mean loss, largest slope and wrong examples after 0, ..., `steps` steps."""
    leaves = [weight.clone().requires_grad_() for weight in problem.network.weights]
    seen = []
    for _ in range(steps + 1):
        margins = problem.y * zou_predictions(leaves, problem.network.outputs, problem.x)
        slopes = torch.autograd.grad(of(margins).sum(), margins, retain_graph=True)[0]
        mean = of(margins).mean()
        seen.append([mean.item(), slopes.abs().max().item(), (margins <= 0).sum().item()])
        gradients = torch.autograd.grad(mean, leaves)
        leaves = [
            (leaf - step_size * gradient).detach().requires_grad_()
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
    return np.array(seen).T


@pytest.mark.parametrize("loss", loss_decay.NAMES)
@pytest.mark.parametrize("data", loss_decay.KINDS)
def test_a_run_is_descent_by_autograd(found, loss, data):
    """Of the second seed; the step size is half of n over the largest eigenvalue by autograd."""
    sizes = {"seed": 1, "width": 16, "depth": 2}
    if data == "sphere":
        problem = draw(TINY, "cpu", **sizes)
    else:
        problem = draw_twins(TINY, "cpu", separation=TINY.separation, **sizes)
    gram = sum(layer_grams_by_autograd(problem.network, problem.x, zou_predictions))
    eta = 0.5 * 4 / float(np.linalg.eigvalsh(gram)[-1])
    losses, slopes, wrong = by_autograd(problem, ON_MARGINS[loss], eta, TINY.steps)
    one = found.sel(loss=loss, seed=1, data=data)
    known = one.mean_loss.dropna("look")
    assert len(known) > 3
    np.testing.assert_allclose(known, losses[known.look.values], rtol=1e-7)
    np.testing.assert_allclose(one.slope.dropna("look"), slopes[known.look.values], rtol=1e-7)
    assert float(one.early_slope) >= float(one.first_slope) == pytest.approx(slopes[0])
    for halving in range(1, TINY.halvings(loss) + 1):
        at, reached = float(one.iterations.sel(halving=halving)), losses <= 0.5**halving
        assert at == np.flatnonzero(reached)[0] if reached.any() else np.isnan(at)
    if (wrong == 0).any():
        assert float(one.first_right) == np.flatnonzero(wrong == 0)[0]


def test_milestones_of_a_run_that_is_known():
    losses = np.array([2.0, 0.5, 0.6, 0.2, 0.0])
    record = {"loss": losses, "error": np.array([1.0, 0.25, 0, 0.25, 0])}
    history = History({}, record, None, 4, "budget")
    seen = milestones(TINY, "hinge", history)
    at = seen["iterations"][1]
    assert at.tolist() == [1, 3, 4, 4, 4, 4, 4, 4]  # 1/2 is reached at equality
    assert (seen["first_small"], seen["first_right"], seen["least"]) == (3, 2, 0)
    assert np.isnan(seen["mean_loss"][1][-1])


def test_iterations_over_their_law_are_constant_where_it_is_kept_to(settled):
    for name, known in zip(loss_decay.NAMES, (20, 3, 7 / 2, 5 / 2), strict=True):
        late = late_iterations(TINY, settled, name).isel(seed=0)
        np.testing.assert_allclose(late, known)


def test_the_start_does_not_bias_what_a_halving_costs(settled):
    """K = (1/epsilon - 1/L(0)) / c, of dL/dt = -c L^2, has a larger exponent."""
    shifted = settled.assign(iterations=settled.iterations - 12)
    late = late_iterations(TINY, shifted, "cross-entropy").isel(seed=0)
    np.testing.assert_allclose(late, 7 / 2)


def test_verdicts_on_the_laws(settled):
    assert judged(settled) == loss_decay.EXPECTED


@pytest.mark.parametrize(("power", "kept"), [(1.08, True), (0.92, True), (0.85, False)])
def test_the_tail_may_be_steeper_than_1_over_k(settled, power, kept):
    lied = judged(settled, mean_loss=lambda loss: loss**power)
    assert lied["zou2018-thm4.1"] == ("outside-regime" if kept else "inconclusive")


@pytest.mark.parametrize(
    ("lie", "claims"),
    [
        ({"least": 1e-9}, {"zou2018-thm4.1"}),
        ({"late_slope": 2.1}, {"zou2018-rem-v1-4.3"}),
        ({"first_right": np.nan}, {"zou2018-cor4.3"}),
        ({"iterations": lambda k: np.where(k == np.nanmax(k), np.nan, k)}, {"zou2018-rem4.2"}),
    ],
    ids=["the hinge stays", "slopes grow", "an error stays", "a target is not reached"],
)
def test_each_judge_can_say_no(settled, lie, claims):
    lied = judged(settled, **lie)
    assert claims <= {claim for claim, outcome in lied.items() if outcome != "outside-regime"}


@pytest.mark.parametrize("place", range(4))
def test_each_loss_is_held_to_its_law(settled, place):
    """The square of log(1/epsilon) where that is the law, a further quarter power elsewhere."""
    beyond = np.ones((4, 1, 1, 8))
    log = np.log(2.0) * settled.halving.values
    beyond[place] = log if loss_decay.NAMES[place] == "squared-hinge" else np.exp(log / 4)
    lied = judged(settled, iterations=lambda known: known * beyond)
    assert lied["zou2018-rem4.2"] == "inconclusive"


def test_the_implication_needs_no_regime(settled):
    assert judged(settled, first_right=31.0)["zou2018-cor4.3"] == "fails"


def test_noise_decides_nothing(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=settled.iterations.shape))
    bumps = np.exp(2 * np.random.default_rng(1).normal(size=settled.mean_loss.shape))
    lied = judged(settled, iterations=lambda k: k * noise, mean_loss=lambda loss: loss * bumps)
    assert {lied[name] for name in ("zou2018-thm4.1", "zou2018-rem4.2")} == {"inconclusive"}


@pytest.mark.parametrize("loss", loss_decay.NAMES)
def test_a_small_mean_loss_has_every_example_right(loss):
    """Also where all of it is one example's; beyond l(0) / n one may be wrong."""
    z = torch.from_numpy(np.random.default_rng(0).normal(1, 1, size=(20_000, 3)))
    small = ON_MARGINS[loss](z).mean(dim=1) <= LOSSES[loss].value_at_0 / 3
    assert bool(small.any())
    assert bool((z[small] >= 0).all())


def test_no_smooth_loss_has_p_below_one_half():
    """Because l'^2 <= 2 lambda l: the first case of the theorem has no loss in it."""
    z = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    for name in loss_decay.NAMES:
        loss = LOSSES[name]
        if loss.smoothness is not None and np.isfinite(loss.smoothness):
            assert loss.p >= 0.5
            values = ON_MARGINS[name](z)
            slopes = loss.slope_of(z)
            assert bool((slopes**2 <= 2 * loss.smoothness * values * (1 + 1e-12)).all())
    # max(1 - z, 0)^q has p = 1 - 1/q, and a bounded second derivative from q = 2 on alone.
    near = 1 - torch.logspace(-12, -1, 50, dtype=torch.float64)
    for q in (1.5, 1.9, 2.0, 3.0):
        second = q * (q - 1) * (1 - near) ** (q - 2)
        assert (float(second.max()) > 10) == (1 - 1 / q < 0.5)


def test_too_few_targets_for_an_exponent_are_refused():
    with pytest.raises(InputError, match="slow_halvings"):
        loss_decay.QUICK.override({"slow_halvings": 4})
