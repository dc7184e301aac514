"""Arguments in one sentence: what is a number, a tensor, a whole number, and who asks."""

import math

import numpy as np
import pytest
import torch

from companion.base.arguments import (
    check_finite,
    check_tensors,
    check_type,
    described,
    positive,
    real,
    whole,
)
from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import (
    empirical_gram,
    gram_memory,
    infinite_width_gram,
    infinite_width_layer_ntks,
    infinite_width_nngp,
    infinite_width_ntk,
    infinite_width_output_gram,
    lambda_max,
    lambda_min,
    layer_grams,
    spectral_norm,
)
from companion.linearised import FrozenKernel, changes
from companion.losses import CROSS_ENTROPY, check_labels
from companion.networks import draw_zou
from companion.ntrf import (
    class_value,
    ji_telgarsky_margin,
    margin_target,
    ntrf_margin,
    regression_radius,
    smallest_radius,
)
from companion.spectra import (
    least_eigenvalue,
    norm_bounds,
    spectral_norm_bounds,
    start_directions,
)
from companion.training import training_memory


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), torch.tensor(3), np.array(3)])
def test_whole_numbers(value):
    found = whole("it", value, least=3)
    assert (type(found), found) == (int, 3)
    with pytest.raises(InputError, match="it is 3; it must be at least 4"):
        whole("it", value, least=4)


def test_true_is_one():
    assert whole("it", True) == 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3.0, "it is 3.0; it must be a whole number"),
        (np.float32(3), r"it is np.float32\(3.0\); it must"),
        ("3", "it is '3'; it must"),
        (None, "it is None; it must"),
        ([3], "it is a list; it must"),
        (torch.tensor(3.0), "it is a torch.Tensor of torch.float32; it must"),
        (torch.tensor([3, 4]), "it is a torch.Tensor of torch.int64; it must"),
        (np.array([3, 4]), "it is a numpy.ndarray; it must"),
    ],
)
def test_what_is_no_whole_number_is_refused(value, told):
    with pytest.raises(InputError, match=told):
        whole("it", value)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), np.array(0.5)])
def test_real_numbers(value):
    found = real("it", value)
    assert (type(found), found) == (float, 0.5)


@pytest.mark.parametrize("value", ["0.5", b"0.5", None, 1j, [0.5], np.ones(2), torch.ones(2)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"^it is .*; it must be a number\.$"):
        real("it", value)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), 2**70])
def test_positive_numbers(value):
    assert positive("it", value) == value
    assert type(positive("it", value)) is float


@pytest.mark.parametrize("value", [0, -0.0, -1.5, math.nan, math.inf, -math.inf])
def test_what_is_not_positive_is_refused(value):
    with pytest.raises(InputError, match=r"^it is .*; it must be a positive number\.$"):
        positive("it", value)
    with pytest.raises(InputError, match="it is '1'; it must be a number"):
        positive("it", "1")


def test_types_are_described_and_refused():
    assert described(np.ones(2)) == "a numpy.ndarray"
    assert described({}) == "a dict"
    assert described(object()) == "an object"
    assert (
        described(torch.eye(2).to_sparse()) == "a torch.Tensor of torch.float32, torch.sparse_coo"
    )
    with pytest.raises(InputError, match=r"^it is 'a'; give a number, 1\.$"):
        check_type("it", "a", int, "a number, 1")
    check_type("it", 1, int | str, "a number, 1")
    with pytest.raises(
        InputError, match=r"^y is a list; give a torch tensor, torch\.tensor\(y\)\.$"
    ):
        check_tensors(x=torch.ones(1), y=[1.0])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(number):
    for numbers in (torch.ones(5), torch.ones(5, 2), torch.ones(5, 2).T.contiguous().T):
        check_finite("row", numbers)
        numbers[3:] = number
        with pytest.raises(InputError, match="row 3 holds a number that is not finite"):
            check_finite("row", numbers)
        check_finite("row", numbers.to("meta"))


X = sphere(5, 4, 0).x
SIGNS = sphere(5, 4, 0).y.sign()
DEEP = draw_zou(8, 4, 0, depth=2, dtype=torch.float64)
GRAM = infinite_width_gram(X)
TAKERS = {
    "empirical_gram": lambda x: empirical_gram(DEEP, x),
    "cross": lambda x: empirical_gram(DEEP, X, x),
    "layer_grams": lambda x: layer_grams(DEEP, x),
    "infinite_width_gram": infinite_width_gram,
    "infinite_width_output_gram": infinite_width_output_gram,
    "infinite_width_ntk": lambda x: infinite_width_ntk(x, depth=2),
    "infinite_cross": lambda x: infinite_width_ntk(X, x, depth=2),
    "infinite_width_layer_ntks": lambda x: infinite_width_layer_ntks(x, depth=2),
    "infinite_width_nngp": lambda x: infinite_width_nngp(x, depth=2),
    "ji_telgarsky": lambda x: ji_telgarsky_margin(x, SIGNS, X),
    "directions": lambda x: ji_telgarsky_margin(X, SIGNS, x),
    "changes": lambda x: changes(DEEP, x, SIGNS),
}
MATRIX_TAKERS = {
    "lambda_min": lambda_min,
    "lambda_max": lambda_max,
    "spectral_norm": spectral_norm,
    "least_eigenvalue": least_eigenvalue,
    "spectral_norm_bounds": spectral_norm_bounds,
    "norm_bounds": lambda k: norm_bounds(k, start_directions(GRAM)),
    "ntrf_margin": lambda k: ntrf_margin(k, SIGNS),
    "class_value": lambda k: class_value([k], SIGNS, SIGNS, 1.0),
    "smallest_radius": lambda k: smallest_radius([k], SIGNS, SIGNS, 1.0),
    "regression_radius": lambda k: regression_radius(k, SIGNS),
    "frozen kernel": FrozenKernel,
}
VECTOR_TAKERS = {
    "ntrf_margin": lambda y: ntrf_margin(GRAM, y),
    "predictions": lambda y: class_value([GRAM], y, SIGNS, 1.0),
    "labels": lambda y: class_value([GRAM], SIGNS, y, 1.0),
    "regression_radius": lambda y: regression_radius(GRAM, y),
    "check_labels": check_labels,
    "loss": lambda y: CROSS_ENTROPY.values(y, SIGNS),
    "start": lambda y: FrozenKernel(GRAM).descent(y, SIGNS, step_size=1, steps=[1]),
    "start of a flow": lambda y: FrozenKernel(GRAM).flow(y, SIGNS, times=[1], loss=CROSS_ENTROPY),
    "labels of a flow": lambda y: FrozenKernel(GRAM).flow(SIGNS, y, times=[1]),
    "impulse": lambda y: changes(DEEP, X, y),
}


@pytest.mark.parametrize(
    ("taker", "right"),
    [
        *((taker, X) for taker in TAKERS.values()),
        *((taker, GRAM) for taker in MATRIX_TAKERS.values()),
        *((taker, SIGNS) for taker in VECTOR_TAKERS.values()),
    ],
)
def test_arrays_and_lists_are_refused_in_a_sentence_and_derivatives_left_outside(taker, right):
    taker(right)
    taker(right.clone().requires_grad_())
    for wrong, recipe in [(right.numpy(), "from_numpy"), (right.tolist(), "tensor")]:
        with pytest.raises(InputError, match=rf"is a .*; give a torch tensor, torch\.{recipe}\("):
            taker(wrong)


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
def test_rows_that_are_not_finite_are_refused(taker, number):
    x = X.clone()
    x[3, 1] = number
    with pytest.raises(InputError, match=r"input 3 |inputs hold a number|directions hold a number"):
        taker(x)


@pytest.mark.parametrize(
    "taker",
    [
        lambda network: empirical_gram(network, X),
        lambda network: layer_grams(network, X),
        lambda network: gram_memory(network, 5),
        lambda network: training_memory(network, 5),
        lambda network: changes(network, X, SIGNS),
    ],
)
def test_what_is_no_network_is_refused(taker):
    taker(DEEP)
    with pytest.raises(InputError, match=r"network is a torch\.nn.*Linear; give a ReLUNetwork"):
        taker(torch.nn.Linear(4, 1))


@pytest.mark.parametrize(
    "taker",
    [
        margin_target,
        lambda number: class_value([GRAM], SIGNS, SIGNS, number),
        lambda number: smallest_radius([GRAM], SIGNS, SIGNS, number),
    ],
)
def test_radii_and_margins_are_numbers(taker):
    taker(np.float32(1))
    taker(torch.tensor(1.0))
    with pytest.raises(InputError, match="is '1'; it must be a number"):
        taker("1")
