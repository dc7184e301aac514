"""The experiment du2019/initialization against quadrature, exact variances, and its own failure."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import sphere
from companion.draws import independent_seed
from companion.errors import InputError
from companion.experiments.du2019 import initialization
from companion.kernels import empirical_gram, infinite_width_gram
from companion.networks import draw_du
from tests.doctoring import outcomes
from tests.oracles import gram_by_loops, pair_expectation, predictions_by_loops

TINY = initialization.Settings(
    angles=5,
    samples=(100, 1000, 10000, 100000),
    counts=(2, 3, 4),
    explicit_counts=(2, 3),
    widths=(64, 256, 1024, 4096),
    trials=30,
    misfit_networks=100,
    misfit_width=20,
    seeds=10,
)
judged = partial(outcomes, initialization, TINY)


def drawn(width, count, seed):
    """The network of that seed on as many inputs as dimensions."""
    return draw_du(width, count, independent_seed(seed, count, count, width), dtype=torch.float64)


@pytest.fixture(scope="module")
def found():
    return initialization.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle exponents: here the true ones are written into it."""
    scatter = np.linspace(0.99, 1.01, 30)
    law = np.array(TINY.widths) ** -0.5 * np.ones((3, 1))
    noise = np.linspace(0.9, 1.1, 10)[:, None]
    return found.assign(
        distance=(found.distance.dims, 1.3 * law[..., None] * scatter),
        error=(found.error.dims, noise * found.expected_error.values),
    )


def test_the_judge_can_say_yes(settled):
    assert judged(settled) == initialization.EXPECTED


def test_closed_form_is_quadrature(found):
    known = [math.cos(t) * pair_expectation(math.cos(t), 0) for t in found.angle.values]
    assert np.allclose(found.closed[0], known, atol=2e-5)


def test_expected_error_is_the_binomial_variance(found):
    """Var of one term is rho^2 p (1 - p), with p by quadrature."""
    angles = np.linspace(0, np.pi, TINY.angles)
    between = np.abs(angles[:, None] - angles[None, :])
    p = np.vectorize(lambda t: pair_expectation(math.cos(t), 0, points=20_000))(between)
    known = math.sqrt((np.cos(between) ** 2 * p * (1 - p)).mean() / 100)
    assert float(found.expected_error[0, 0]) == pytest.approx(known, rel=1e-3)


def test_entries_of_the_initial_gram_have_the_exact_variance():
    """E H(0) = H-infinity and Var H_ij(0) = rho^2 p (1 - p) / m, over 3000 networks."""
    x = sphere(3, 4, 0).x
    networks = (draw_du(10, 4, seed, dtype=torch.float64) for seed in range(3000))
    grams = torch.stack([empirical_gram(network, x) for network in networks])
    limit, rho = infinite_width_gram(x), x @ x.T
    p = limit / rho
    variance = rho.square() * p * (1 - p) / 10
    assert bool(((grams.mean(0) - limit).abs() <= 4 * (variance / 3000).sqrt()).all())
    assert torch.allclose(grams.var(0), variance, rtol=0.15)


def test_sufficient_width_is_the_last_to_recover():
    widths = (1, 2, 4, 8)
    cases = {
        (0.0, 0.5, 0.9, 1.0): 4,
        (0.9, 0.5, 1.0, 1.0): 4,
        (1.0, 1.0, 1.0, 1.0): 1,
    }
    for success, known in cases.items():
        assert initialization._sufficient(widths, np.array(success), 0.9) == known
    assert math.isnan(initialization._sufficient(widths, np.array([1, 1, 1, 0.5]), 0.9))


def test_success_is_both_events(found):
    """By loops over units and numpy's eigenvalues, on the data and networks of the trials."""
    both = []
    for number, trial in enumerate(TINY.each_trial):
        seed = independent_seed(trial, 3, 64)
        x = sphere(3, 3, seed).x
        gram = gram_by_loops(drawn(64, 3, seed), x).numpy()
        limit = infinite_width_gram(x).numpy()
        lambda_0 = np.linalg.eigvalsh(limit)[0]
        norm = np.linalg.norm(gram - limit, 2)
        assert float(found.distance.sel(count=3, width=64)[number]) == pytest.approx(norm)
        both.append(norm <= lambda_0 / 4 and np.linalg.eigvalsh(gram)[0] >= 0.75 * lambda_0)
    assert float(found.success.sel(count=3, width=64)) == pytest.approx(np.mean(both))
    assert 0 < np.mean(both) < 1


def test_explicit_width_is_that_of_the_data_drawn(found):
    seed = independent_seed(4, 2)
    x = sphere(2, 2, seed).x
    limit = infinite_width_gram(x)
    lambda_0 = np.linalg.eigvalsh(limit)[0]
    width = math.ceil(8 * 4 / lambda_0**2 * math.log(2 * 3 / 0.1))
    one = found.sel(explicit_count=2, trial=4)
    assert int(one.explicit_width) == width
    gram = empirical_gram(drawn(width, 2, seed), x)
    far = np.linalg.norm((gram - limit).numpy(), 2) / lambda_0
    assert float(one.explicit_distance) == pytest.approx(far)
    assert bool(one.explicit_good) == (far <= 0.25)


def test_widths_that_the_proofs_ask_for_are_means_over_the_data(found):
    xs = [sphere(3, 3, independent_seed(trial, 3)).x for trial in TINY.each_trial]
    spectra = [np.linalg.eigvalsh(infinite_width_gram(x)) for x in xs]
    hoeffding = [8 * 9 / v[0] ** 2 * math.log(3 * 4 / 0.1) for v in spectra]
    assert float(found.hoeffding.sel(count=3)) == pytest.approx(np.mean(hoeffding))
    bernstein = [
        32 * np.linalg.norm(x, 2) ** 2 * (v[-1] + v[0] / 12) / v[0] ** 2 * math.log(2 * 3 / 0.1)
        for x, v in zip(xs, spectra, strict=True)
    ]
    assert float(found.bernstein.sel(count=3)) == pytest.approx(np.mean(bernstein))
    assert float(found.lambda_0.sel(count=3)) == pytest.approx(np.mean([v[0] for v in spectra]))


def test_every_size_has_draws_of_its_own():
    seeds = {
        independent_seed(trial, *sizes)
        for trial in (0, 1, 100)
        for sizes in ((10,), (10, 64), (10, 128), (64, 10))
    }
    assert len(seeds) == 12


def test_misfit_is_that_of_fresh_networks(found):
    data = sphere(4, 4, 2)
    network = drawn(20, 4, 2_000_003)
    known = float((predictions_by_loops(network, data.x) - data.y).square().sum())
    assert float(found.misfit.sel(seed=2)[3]) == pytest.approx(known)
    assert float(found.printed.sel(seed=2)) == pytest.approx(float(data.y.square().sum()) + 4)


@pytest.mark.parametrize(
    "change",
    [
        {"estimate": lambda a: 1.1 * a},
        {"error": lambda a: 10 * a},
        {"error": lambda a: a[:, :1] * np.ones(4)},
    ],
    ids=["off the closed form", "too large an error", "an error that stays"],
)
def test_judge_sees_an_average_off_the_closed_form(settled, change):
    assert judged(settled, **change)["du2019-def-Hinf"] == "fails"


def test_judge_sees_an_average_that_is_off_at_one_angle(settled):
    """Of 0, 45, 90, 135 and 180 degrees: at the third and the last there is nothing to judge."""
    for place, outcome in enumerate(("fails", "fails", "holds", "fails", "holds")):
        off = np.where(np.arange(5) == place, 0.03, 0)
        lied = judged(settled, estimate=lambda a, off=off: a + off)
        assert lied["du2019-def-Hinf"] == outcome, place


def test_judge_sees_another_exponent_of_the_distance(settled):
    assert judged(settled, distance=np.ones_like)["du2019-rem3.1a"] == "fails"
    assert judged(settled, distance=lambda a: a**0.8)["du2019-rem3.1a"] == "fails"
    assert judged(settled, distance=lambda a: a**2)["du2019-rem3.1a"] == "holds"  # it is a bound


def test_judge_sees_too_many_failures_at_the_explicit_width(settled):
    def good(share):
        """Of the second n; all are good of the first."""
        return np.arange(30) < np.array([[30], [share]])

    assert judged(settled, explicit_good=good(20))["du2019-lem3.1"] == "fails"
    assert judged(settled, explicit_good=good(28))["du2019-lem3.1"] == "inconclusive"


def test_noise_decides_nothing(settled):
    noise = np.exp(np.random.default_rng(0).normal(size=(3, 4, 30)))
    assert judged(settled, distance=lambda a: a * noise)["du2019-rem3.1a"] == "inconclusive"
    wild = np.exp(np.random.default_rng(0).normal(size=(10, 4)))
    assert judged(settled, error=lambda a: a * wild)["du2019-def-Hinf"] == "inconclusive"


@pytest.mark.parametrize("name", ["estimate", "error", "distance", "misfit"])
def test_what_is_no_number_decides_nothing(settled, name):
    lied = judged(settled, **{name: lambda a: np.where(a == a.max(), np.nan, a)})
    assert "inconclusive" in lied.values()


def test_the_printed_misfit_would_be_recognised(settled):
    ratio = settled.misfit.values / settled.misfit.values.mean(axis=1)[:, None]
    scatter = np.linspace(0.99, 1.01, 10)[:, None]
    printed = scatter * ratio * settled.printed.values[:, None]
    assert judged(settled, misfit=printed)["du2019-init-misfit"] == "holds"
    wild = printed * np.linspace(0.5, 1.5, 10)[:, None]
    assert judged(settled, misfit=wild)["du2019-init-misfit"] == "inconclusive"


def test_too_few_sizes_to_fit_are_refused():
    with pytest.raises(InputError, match=r"counts.*at least 3"):
        initialization.QUICK.override({"counts": (10, 20)})
