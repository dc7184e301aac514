"""Widths and eigenvalues by other roads, and judges that see what they should."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from companion.datasets import random_labels, sphere
from companion.draws import independent_seed
from companion.experiments.zou2020 import comparison
from companion.networks import draw_zou
from tests.doctoring import doctored, outcomes
from tests.oracles import layer_grams_by_autograd, zou_predictions

WIDTH, REMARK = "zou2020-thm4.4-width", "zou2020-rem4.2"
TINY = comparison.QUICK.override(
    {"counts": [6, 12, 24], "seeds": 3, "dimension": 5, "depth": 2, "digits_per_class": [2, 3, 5],
     "grid_counts": [2, 9]}
)  # fmt: skip
judged = partial(outcomes, comparison, TINY)


@pytest.fixture(scope="module")
def found():
    return comparison.run(TINY, "cpu")


@pytest.fixture(scope="module")
def settled(found):
    """A small run does not settle an exponent: here 1/n is written into it."""
    law = np.array([1.0, 1.1, 1.2])[:, None] / np.array([6, 12, 24])
    return doctored(found, lambda_0=law)


def inputs(count, seed):
    """The data of one point, with the bias coordinate by hand."""
    own = independent_seed(seed, count, 5)
    plain = random_labels(sphere(count, 4, own), own)
    x = plain.x.numpy() * math.sqrt(1 - 0.09)
    return np.c_[x, np.full(count, 0.3)], plain.y.numpy()


def kernel(x, depth):
    """Equation by equation, entry by entry: the recursion of arc-cosine kernels."""
    n = len(x)
    total = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            rho = [min(1.0, max(-1.0, float(x[i] @ x[j])))] if i != j else [1.0]
            for _ in range(depth):
                angle = math.acos(rho[-1])
                rho.append((math.sin(angle) + rho[-1] * (math.pi - angle)) / math.pi)
            for layer in range(depth):
                slopes = [1 - math.acos(min(1.0, r)) / math.pi for r in rho[layer:depth]]
                total[i, j] += rho[layer] * math.prod(slopes) / 2
    return total


def test_lambda_0_and_separations_by_loops(found):
    x, y = inputs(6, 1)
    one = found.sel(seed=1, count=6)
    assert float(one.lambda_0) == pytest.approx(np.linalg.eigvalsh(kernel(x, 2))[0])
    pairs = [(i, j) for i in range(6) for j in range(i)]
    apart = {pair: np.linalg.norm(x[pair[0]] - x[pair[1]]) for pair in pairs}
    assert float(one.closest) == pytest.approx(min(apart.values()))
    unlike = min(apart[i, j] for i, j in pairs if y[i] != y[j])
    assert float(one.separation) == pytest.approx(unlike)
    assert float(one.zou2020) == pytest.approx(6.0**14 * 2.0**16 / unlike**4)
    assert float(one.allen_zhu) == pytest.approx(6.0**24 * 2**12 / min(apart.values()) ** 8)
    assert float(one.du_deep) == pytest.approx(4 * (6 / float(one.lambda_0)) ** 4)
    old = (6.0**26 + 6.0**24 / (math.log(2) / 6)) * 2.0**38 / unlike**8
    assert float(one.zou2018) == pytest.approx(old)


def test_the_kernel_is_the_limit_of_networks():
    """Jacobians of wide networks, by automatic differentiation, over m."""
    x = torch.from_numpy(inputs(6, 1)[0])
    mean = np.zeros((6, 6))
    for seed in range(12):
        network = draw_zou(500, 5, seed, depth=2, dtype=torch.float64)
        grams = layer_grams_by_autograd(network, x, zou_predictions)
        mean += sum(grams).numpy() / 500 / 12
    np.testing.assert_allclose(mean, kernel(x.numpy(), 2), atol=0.07)


def test_digits_are_nested(found):
    """So their least eigenvalue cannot rise: eigenvalues of a part interlace."""
    for name in ("digits_lambda_0", "digits_separation", "digits_closest"):
        assert (np.diff(found[name].values) <= 1e-12).all()
    assert "digits 3 and 8" in found.attrs["data"]


def test_equal_images_of_one_label_end_lambda_0_and_not_phi():
    data = random_labels(sphere(6, 4, 0), 0)
    y = torch.tensor([1.0, 1, 1, -1, -1, -1]).double()
    x = data.x.clone()
    x[1] = x[0]
    told = comparison._measured(TINY, "cpu", type(data)(x, y, ""))
    assert abs(told["lambda_0"]) < 1e-12
    assert told["closest"] == 0
    assert told["allen_zhu"] == math.inf
    assert told["zou2020"] < math.inf
    assert told["separation"] > 0.1


def test_points_of_the_grid_in_logarithms(found):
    """The last: n = 9, L = 15, phi = 0.5, eps = 1e-6."""
    n, depth, phi = math.log(9), math.log(15), math.log(0.5)
    one = found.isel(point=-1)
    terms = [14 * n + 16 * depth - 4 * phi, 12 * n + 16 * depth - 4 * phi + 6 * math.log(10)]
    assert math.log(float(one.printed)) == pytest.approx(np.logaddexp(*terms))
    assert math.log(float(one.closed)) == pytest.approx(np.logaddexp(*terms))
    assert math.log(float(one.radius_share)) == pytest.approx(-1.5 * n - 6 * depth)
    assert math.log(float(one.width_share)) == pytest.approx(np.logaddexp(*terms) - 2 * n + phi)
    assert math.log(float(one.depth_share)) == pytest.approx(depth - 1.5 * n + phi / 2)
    assert math.log(float(one.width_quotient)) == pytest.approx(10 * n - 4 * depth - 4 * phi)
    assert math.log(float(one.steps_quotient)) == pytest.approx(n - depth - phi)


def test_values_of_known_laws(settled):
    told = comparison.values(TINY, settled)
    assert float(told["sphere_slope"]) == pytest.approx(1)
    steep = doctored(settled, digits_lambda_0=np.array([4.0, 6, 10]) ** -2.0)
    assert float(comparison.values(TINY, steep)["digits_slope"]) == pytest.approx(2)
    assert told["digits_count"] == 10
    largest = settled.zou2020.values[:, -1].mean()
    assert float(told["sphere_zou2020"]) == pytest.approx(largest)


def test_the_judges_can_say_yes(settled):
    assert judged(settled) == comparison.EXPECTED


@pytest.mark.parametrize(
    ("claim", "lie"),
    [
        (WIDTH, {"printed": lambda a: a * (1 + 1e-9)}),
        (WIDTH, {"closed": lambda a: 2 * a}),
        (WIDTH, {"radius_share": 1.01}),
        (WIDTH, {"width_share": 0.99}),
        (REMARK, {"width_quotient": lambda a: a * (1 + 1e-9)}),
        (REMARK, {"steps_quotient": lambda a: a / 3}),
        (REMARK, {"lambda_0": lambda a: np.ones_like(a) * np.array([[1], [1.1], [1.2]])}),
    ],
)
def test_each_check_can_refute(settled, claim, lie):
    lied = judged(settled, **lie)
    assert lied[claim] == "fails"
    other = {WIDTH: REMARK, REMARK: WIDTH}[claim]
    assert lied[other] == "holds"


def test_noise_settles_nothing(settled):
    noise = np.exp(2 * np.random.default_rng(0).normal(size=(3, 3)))
    assert judged(settled, lambda_0=lambda a: a * noise)[REMARK] == "inconclusive"


@pytest.mark.parametrize(("power", "outcome"), [(0.11, "holds"), (0.09, "fails")])
def test_what_counts_as_shrinking(settled, power, outcome):
    law = np.array([1.0, 1.1, 1.2])[:, None] * np.array([6.0, 12, 24]) ** -power
    assert judged(settled, lambda_0=law)[REMARK] == outcome


@pytest.mark.parametrize("claim", comparison.EXPECTED)
def test_every_control_is_seen(settled, claim):
    lied = comparison.judge(TINY, comparison.CONTROLS[claim].told(TINY, settled))
    assert {v.claim: v.outcome for v in lied}[claim] == "fails"
