"""Figures 1-3 by other roads: autograd and loops, interpolation by hand, doctored results."""

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from companion.datasets import with_bias
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.zou2020 import _images, figure1
from companion.experiments.zou2020._readings import compared, first_at, reading_steps
from companion.images import mnist
from companion.networks import draw_zou
from tests.doctoring import outcomes
from tests.oracles import zou_predictions

SETTINGS = figure1.QUICK.override(
    {"per_class": 5, "depth": 3, "widths": [8, 16, 32], "steps": 6, "every": 3, "seeds": 2,
     "step_size": 0.05, "other_step_size": 0.1, "dtype": "float64"}
)  # fmt: skip

judged = partial(outcomes, figure1, SETTINGS)


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return figure1.run(SETTINGS, "cpu")


@pytest.mark.parametrize("setup", ["the runs", "other step size", "other mu"])
def test_runs_agree_with_autograd_and_loops(found: xr.Dataset, setup: str) -> None:
    s, width, seed = SETTINGS, 16, 0
    eta = s.other_step_size if setup == "other step size" else s.step_size
    mu = s.other_mu if setup == "other mu" else s.mu
    runs = found if setup == "the runs" else _images.variant(found, setup)
    one = runs.isel(seed=seed).sel(width=width)
    data = mnist((3, 8), per_class=s.per_class)
    x = with_bias(data.x, mu)
    own = independent_seed(seed, 10, 785, 3, width)
    network = draw_zou(width, 785, own, depth=3, dtype=torch.float64)
    start = [w.clone() for w in network.weights]
    weights = [w.clone().requires_grad_() for w in network.weights]
    for step in range(s.steps + 1):
        margins = data.y * zou_predictions(weights, network.outputs, x)
        loss = torch.log1p(torch.exp(-margins)).mean()
        assert float(one.loss[step]) == pytest.approx(float(loss.detach()), rel=1e-12)
        if step % s.every == 0:
            look = step // s.every
            assert float(one.error[look]) == float((margins <= 0).double().mean())
            for layer, (now, before) in enumerate(zip(weights, start, strict=True)):
                change = (now - before).detach()
                frobenius, spectral = one.frobenius[look, layer], one.spectral[look, layer]
                assert float(frobenius) == pytest.approx(float(change.norm()), abs=1e-15)
                norm = float(torch.linalg.matrix_norm(change, 2))
                assert float(spectral) == pytest.approx(norm, rel=1e-6, abs=1e-15)
            assert one.flips[look].values == pytest.approx(
                flips_by_loops(start, [w.detach() for w in weights], x)
            )
        gradients = torch.autograd.grad(loss, weights)
        weights = [
            (w - eta * g).detach().requires_grad_()
            for w, g in zip(weights, gradients, strict=True)
        ]  # fmt: skip


def test_steps_that_raise_the_loss_are_told(found: xr.Dataset) -> None:
    falling = xr.zeros_like(found.loss) + 2 - 0.1 * np.arange(found.sizes["step"])
    assert _images.rises(found.assign(loss=falling)) == "every step lowers the loss"
    risen = falling.copy()
    risen[1, 2, 4] = 2.0  # 0.3 above the one before, of 2, rounded up
    assert _images.rises(found.assign(loss=risen)) == (
        "from step 4 on some steps raise the loss at $m$ = 32, by up to 15.1% of its start"
    )


def flips_by_loops(
    start: list[torch.Tensor], now: list[torch.Tensor], x: torch.Tensor
) -> list[float]:
    """Share of the pairs (unit, input) of each layer that are on in one and off in the other."""
    shares = []
    before, after = x, x
    for first, last in zip(start, now, strict=True):
        before, after = before @ first.T, after @ last.T
        flipped = [
            (float(before[i, j]) > 0) != (float(after[i, j]) > 0)
            for i in range(len(x))
            for j in range(len(first))
        ]
        shares.append(float(np.mean(flipped)))
        before, after = before.relu(), after.relu()
    return shares


def curves() -> xr.Dataset:
    """Two widths; the wider one is twice as fast: e^-k and e^-2k, distances k and 3 k."""
    steps = np.arange(11.0)
    return xr.Dataset(
        {
            "loss": (("seed", "width", "step"), [[np.exp(-steps), np.exp(-2 * steps)]]),
            "looks": ("look", [0, 2, 4, 6, 8, 10]),
            "far": (("seed", "width", "look"), [[steps[::2], 3 * steps[::2]]]),
        },
        {"width": [10, 20]},
    )


def test_readings_look_where_they_say() -> None:
    found = curves()
    steps = reading_steps(found).isel(seed=0)
    assert steps.sel(reading="iteration").values == pytest.approx([10, 10])
    assert steps.sel(reading="scaled time").values == pytest.approx([10, 5])
    # The lowest loss that both reach is e^-10, the wider one's after 5 steps.
    assert steps.sel(reading="loss").values == pytest.approx([10, 5])
    read = compared(found, found.far).isel(seed=0)
    assert read.sel(reading="iteration").values == pytest.approx([10, 30])
    assert read.sel(reading="loss").values == pytest.approx([10, 15])


def test_a_level_is_met_between_two_steps_of_the_logarithm() -> None:
    assert first_at(np.array([1.0, 0.5, 0.25]), 0.5 / np.sqrt(2)) == pytest.approx(1.5)
    assert first_at(np.array([1.0, 0.5, 0.7, 0.1]), 0.6) == pytest.approx(np.log(0.6) / np.log(0.5))
    assert first_at(np.array([1.0, 0.5]), 2.0) == 0
    assert np.isnan(first_at(np.array([1.0, 0.5]), 0.1))


def like(found: xr.Dataset, **powers: float) -> dict[str, xr.DataArray]:
    """Losses e^(-k m/10), and quantities that are loss reached times a power of the width."""
    steps = np.arange(SETTINGS.steps + 1)
    width = found.width.values.astype(float)
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal((2, 3))
    loss = noise[..., None] * np.exp(-0.01 * steps * width[:, None])
    looks = np.minimum(np.arange(0, SETTINGS.steps + 1, SETTINGS.every), SETTINGS.steps)
    progress = (looks * width[:, None])[None, ..., None] + np.zeros((2, 1, 1, 3))
    changes = {"loss": loss}
    for name, power in powers.items():
        law = noise[..., None, None] * progress * width[:, None, None] ** power
        changes[name] = law
    return changes


def test_figures_2_and_3_are_judged_where_their_readings_look(found: xr.Dataset) -> None:
    # Proportional to k m / m^1.5: at equal loss, which is equal k m, it falls like m^-1.5; at
    # equal k like m^-0.5.
    fast = judged(found, **like(found, spectral=-1.5, frobenius=-1.5, flips=-1.5))
    assert set(fast.values()) == {"holds"}
    # Like k m / m^0.5: at equal loss m^-0.5, at equal k m^0.5.
    slow = judged(found, **like(found, spectral=-0.5, frobenius=-0.5, flips=-0.5))
    assert slow["zou2020-fig2"] == slow["zou2020-fig3"] == "holds"
    assert slow["zou2020-fig2-iteration"] == slow["zou2020-fig3-iteration"] == "fails"
    # Like k m: the same at equal loss.
    level = judged(found, **like(found, spectral=0, frobenius=0, flips=0))
    assert level["zou2020-fig2"] == level["zou2020-fig3"] == "fails"
    # One norm of the two is not enough.
    mixed = judged(found, **like(found, spectral=-1.5, frobenius=0, flips=-1.5))
    assert mixed["zou2020-fig2"] == "fails"


def test_noise_does_not_decide(found: xr.Dataset) -> None:
    changes = like(found, spectral=-0.3, frobenius=-0.3, flips=-0.3)
    rough = np.exp(2 * np.random.default_rng(1).standard_normal((2, 3)))
    noisy = {key: np.asarray(array) * rough[(..., *[None] * (np.ndim(array) - 2))]
             for key, array in changes.items() if key != "loss"}  # fmt: skip
    seen = judged(found, **{**changes, **noisy})
    assert seen["zou2020-fig2"] == seen["zou2020-fig3"] == "inconclusive"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"widths": [8, 15, 32]}, "widths must be even"),
        ({"mu": 1.0}, "setting mu=1.0"),
        ({"widths": [8, 16]}, "at least 3"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        figure1.QUICK.override(changed)
