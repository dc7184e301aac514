"""What is measured of labelled inputs, against loops, numpy and a general optimiser."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize

from companion.datasets import DataSet, sphere, with_bias
from companion.errors import InputError
from companion.kernels import layer_grams
from companion.networks import draw_chen, draw_zou
from companion.ntrf import margin_target, smallest_radius
from companion.regime import quantities
from companion.regime.quantities import quantities_memory


def example(count: int = 8, dimension: int = 4) -> DataSet:
    data = sphere(count, dimension, seed=3)
    return DataSet(data.x, data.y.sign(), data.source)


def pairs(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def limit_of_one_layer(x: np.ndarray) -> np.ndarray:
    """H-infinity entry by entry: rho (pi - arccos rho) / 2 pi."""
    n = len(x)
    found = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            rho = 1.0 if i == j else float(x[i] @ x[j])
            found[i, j] = rho * (math.pi - math.acos(rho)) / (2 * math.pi)
    return found


def margin_by_hand(kernel: np.ndarray, y: np.ndarray) -> float:
    """The least norm of a point of the simplex, by sequential quadratic programming."""
    signed = kernel * np.outer(y, y)
    n = len(y)
    found = optimize.minimize(
        lambda q: q @ signed @ q,
        np.full(n, 1 / n),
        jac=lambda q: 2 * signed @ q,
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return math.sqrt(found.fun)


def test_distances_are_those_of_loops():
    data = example()
    x, y = data.x.numpy(), data.y.numpy()
    found = quantities(data.x, data.y)
    apart = {pair: float(np.linalg.norm(x[pair[0]] - x[pair[1]])) for pair in pairs(8)}
    across = {pair: far for pair, far in apart.items() if y[pair[0]] != y[pair[1]]}
    assert found.cross_class.pair == min(across, key=across.get)
    assert found.cross_class.value == pytest.approx(min(across.values()))
    assert found.all_pairs.pair == min(apart, key=apart.get)
    assert found.all_pairs.value == pytest.approx(min(apart.values()))
    angles = {pair: math.acos(abs(float(x[pair[0]] @ x[pair[1]]))) for pair in pairs(8)}
    assert found.angle.pair == min(angles, key=angles.get)
    assert found.angle.value == pytest.approx(min(angles.values()))
    assert (found.count, found.dimension, found.depth) == (8, 4, 1)
    assert found.of_each == (int((y < 0).sum()), int((y > 0).sum()))


def test_opposite_inputs_are_parallel():
    data = example()
    x = data.x.clone()
    x[5] = -x[2]
    found = quantities(x, data.y)
    assert found.angle.value < 1e-7
    assert found.angle.pair == (2, 5)
    assert found.all_pairs.value > 0.1


def test_lambda_0_and_the_misfit_are_those_of_all_eigenvalues():
    data = example()
    gram = limit_of_one_layer(data.x.numpy())
    found = quantities(data.x, data.y)
    least = np.linalg.eigvalsh(gram)[0]
    assert found.lambda_0.lower <= least * (1 + 1e-9)
    assert found.lambda_0.value == pytest.approx(least, rel=1e-8)
    y = data.y.numpy()
    assert found.misfit.value == pytest.approx(y @ np.linalg.solve(gram, y), rel=1e-8)


def test_the_margin_is_that_of_a_general_optimiser():
    data = example()
    x = data.x.numpy()
    rho = np.clip(x @ x.T, -1, 1)
    angle = np.arccos(rho)
    next_rho = (np.sin(angle) + (math.pi - angle) * rho) / math.pi
    kernel = rho * (math.pi - angle) / (2 * math.pi) + next_rho  # trained outputs add the second
    found = quantities(data.x, data.y).margin
    assert found.value == pytest.approx(margin_by_hand(kernel, data.y.numpy()), rel=1e-6)
    assert found.lower <= found.upper


def test_the_radius_comes_with_members_that_need_no_smaller_ball():
    """With one Gram matrix the radius is the margin asked for over gamma; two halve it at most."""
    data = example()
    found = quantities(data.x, data.y, accuracy=0.2)
    asked = -math.log(math.expm1(0.1))
    single = asked / found.margin.value
    assert single / math.sqrt(2) * (1 - 1e-7) <= found.radius.value <= single * (1 + 1e-7)


def test_at_a_network_margin_and_radius_are_those_of_its_gradients():
    data = example()
    network = draw_chen(64, 4, seed=0, depth=2, dtype=torch.float64)
    found = quantities(data.x, data.y, network=network)
    gradients = []
    for row in data.x:
        weights = [w.clone().requires_grad_() for w in network.parameters]
        network.moved(weights).predict(row[None]).sum().backward()
        gradients.append(torch.cat([w.grad.ravel() for w in weights]).numpy() / 8)
    kernel = np.array(gradients) @ np.array(gradients).T
    assert found.depth == 2
    assert found.margin.value == pytest.approx(margin_by_hand(kernel, data.y.numpy()), rel=1e-5)
    grams = [gram / 64 for gram in layer_grams(network, data.x)]
    start = network.predict(data.x)
    wanted = smallest_radius(grams, start, data.y, margin_target(0.05))
    assert found.radius.value == pytest.approx(wanted.value, rel=1e-6)
    assert "64" in found.radius.how


def test_the_margin_over_all_directions_is_less_than_that_of_the_layer_alone():
    """A field of norms up to 1 has mean square norm 1 at most."""
    data = example()
    kernel = 2 * limit_of_one_layer(data.x.numpy())  # E 1{z.x > 0} 1{z.x' > 0} x.x'
    found = quantities(data.x, data.y).field_margin
    assert 0 < found.value < 1.1 * margin_by_hand(kernel, data.y.numpy())
    assert quantities(data.x, data.y, depth=2).field_margin is None


def test_labels_of_two_values_become_signs():
    data = example()
    ones = torch.where(data.y > 0, 7.0, 3.0)
    found, plain = quantities(data.x, ones), quantities(data.x, data.y)
    assert found.labels == (3.0, 7.0)
    assert found.margin.value == plain.margin.value
    assert quantities(data.x.numpy(), data.y.numpy().astype(int)).labels == (-1.0, 1.0)


def test_duplicates_are_named_and_contradictions_leave_no_margin():
    data = example()
    x = data.x.clone()
    same = (data.y == data.y[0]).nonzero()[:, 0].tolist()
    x[same[1]] = x[0]
    found = quantities(x, data.y)
    assert found.duplicates == ((0, same[1]),)
    assert found.contradictions == ()
    assert found.cross_class.value > 0
    other = int((data.y != data.y[0]).nonzero()[0, 0])
    x[other] = x[0]
    found = quantities(x, data.y)
    assert found.contradictions == ((0, other),)
    assert found.cross_class.value == 0
    assert found.margin.upper < 1e-6
    assert math.isinf(found.radius.upper)
    assert found.lambda_0.lower <= 0


def test_a_constant_coordinate_is_seen():
    data = example()
    assert quantities(data.x, data.y).bias is None
    assert quantities(with_bias(data.x, 0.3), data.y).bias == 0.3


def test_inputs_of_another_norm_are_refused_or_divided_by_it():
    data = example()
    x = data.x * torch.linspace(0.5, 2.5, 8, dtype=torch.float64)[:, None]
    with pytest.raises(InputError, match=r"input 7 has norm 2\.5.*--normalise"):
        quantities(x, data.y)
    found, plain = quantities(x, data.y, normalise=True), quantities(data.x, data.y)
    assert (found.normalised, plain.normalised) == (True, False)
    assert found.norm_gap == pytest.approx(1.5)
    assert found.lambda_0.value == pytest.approx(plain.lambda_0.value)
    x[3] = 0
    with pytest.raises(InputError, match="input 3 is 0"):
        quantities(x, data.y, normalise=True)


def test_too_many_inputs_are_refused_before_anything_is_computed():
    data, few = example(), example(200)
    needed = quantities_memory(200, 4, 1)
    with pytest.raises(InputError, match=r"200 inputs need about .* GB.*inputs would fit"):
        quantities(few.x, few.y, memory_budget=needed / 2)
    assert quantities(data.x, data.y, memory_budget=needed).count == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x, y[:-1]), r"x has shape \(8, 4\) and y \(7,\)"),
        (lambda x, y: (x[:, 0], y), r"x has shape \(8,\)"),
        (lambda x, y: (x[:1], y[:1]), "n at least 2"),
        (lambda x, y: (x, y.abs()), "1 different values; two are needed"),
        (lambda x, y: (x, torch.arange(8.0)), "8 different values"),
        (lambda x, y: (x.clone().index_fill_(0, torch.tensor(2), math.nan), y), "input 2 holds"),
        (lambda x, y: (x, y.clone().index_fill_(0, torch.tensor(5), math.inf)), "label 5 holds"),
        (lambda x, y: (x.numpy().astype(str), y), "float64 is needed"),
        (lambda x, y: (x.tolist(), y), "x is a list"),
    ],
)
def test_bad_input_is_one_sentence(change, said):
    data = example()
    with pytest.raises(InputError, match=said) as told:
        quantities(*change(data.x, data.y))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"accuracy": 1.0}, "accuracy is 1"),
        ({"accuracy": 0}, "accuracy is 0"),
        ({"network": draw_zou(8, 4, seed=0, depth=1)}, "draw_chen"),
        ({"network": draw_chen(8, 5, seed=0, depth=1)}, "length 4"),
    ],
)
def test_bad_options_are_one_sentence(options, said):
    data = example()
    with pytest.raises(InputError, match=said):
        quantities(data.x, data.y, **options)
