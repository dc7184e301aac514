"""Arguments in one sentence: what is a number, a tensor, a whole number, and who asks."""

import math
from dataclasses import astuple

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
    tensor,
    whole,
)
from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import (
    empirical_gram,
    gram_change_bound,
    gram_memory,
    gram_operator,
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
from companion.linearised import FrozenKernel, changes, linearise
from companion.losses import CROSS_ENTROPY, check_labels
from companion.networks import draw_zou
from companion.ntrf import (
    Optimum,
    class_value,
    ji_telgarsky_margin,
    margin_target,
    ntrf_margin,
    regression_radius,
    smallest_radius,
)
from companion.regression import KernelRegression
from companion.spectra import (
    least_eigenvalue,
    norm_bounds,
    spectral_norm_bounds,
    start_directions,
)
from companion.training import train, training_memory


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


NUMBERS = np.array([[1.5, -2.0, 3.0], [0.0, -0.25, 7.0]])
ARRAYS = {
    "float64": NUMBERS,
    "float32": NUMBERS.astype(np.float32),
    "float16": NUMBERS.astype(np.float16),
    "big-endian": NUMBERS.astype(">f8"),
    "little-endian": NUMBERS.astype("<f4"),
    "by columns": np.asfortranarray(NUMBERS),
    "backwards": NUMBERS[::-1, ::-1].copy()[::-1, ::-1],
    "with gaps": np.repeat(NUMBERS, 2, axis=1)[:, ::2],
    "broadcast": np.broadcast_to(NUMBERS, (2, 2, 3))[1],
    "nothing masked": np.ma.MaskedArray(NUMBERS),
}


@pytest.mark.filterwarnings("error")  # torch warns of arrays that it may not write to
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_any_layout_become_tensors_of_their_numbers(array):
    locked = array.copy() if array.flags.writeable else array
    locked.flags.writeable = False
    for given in (array, locked):
        found = tensor("it", given)
        assert found.tolist() == NUMBERS.tolist()
        assert found.is_contiguous()
        assert found.dtype == getattr(torch, array.dtype.newbyteorder("=").name)
        like = tensor("it", given, torch.ones(1))
        assert (like.dtype, like.tolist()) == (torch.float32, NUMBERS.tolist())
        assert tensor("it", given, torch.ones(1, device="meta")).device.type == "meta"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint32, bool])
def test_arrays_of_whole_numbers_take_the_dtype_of_what_they_meet(dtype):
    numbers = np.array([0, 1, 1]).astype(dtype)
    assert torch.equal(tensor("it", numbers), torch.tensor([0.0, 1.0, 1.0]).double())
    assert torch.equal(tensor("it", numbers, torch.ones(1)), torch.tensor([0.0, 1.0, 1.0]))
    assert tensor("it", np.array(dtype(1))).shape == ()
    assert tensor("it", np.empty((0, 3), dtype)).shape == (0, 3)


def test_what_becomes_of_an_array_shares_no_memory_with_it():
    numbers = np.ones(3)
    for like in (None, torch.ones(1).double()):
        found = tensor("it", numbers, like)
        numbers[0] += 1
        assert found[0] == numbers[0] - 1


@pytest.mark.parametrize("value", [torch.ones(2), torch.ones(2).half(), torch.ones(2).int()])
def test_tensors_stay_what_they_are(value):
    assert tensor("it", value, torch.ones(1).double()) is value
    leaf = torch.ones(2, requires_grad=True)
    assert tensor("it", leaf, torch.ones(1).double()) is leaf


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1j * NUMBERS, "it is an array of complex128; float32 or float64 is needed"),
        (np.array([1.5, "a"], dtype=object), "it is an array of object; float32 or"),
        (np.array(["1", "2"]), "it is an array of <U1; float32 or"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), r"it is an array of datetime64\[D\]"),
        (np.zeros(2, dtype=[("x", float), ("y", float)]), "it is an array of .*; float32 or"),
        (np.ma.MaskedArray([1.0, 2.0], [False, True]), "it is an array with masked entries"),
        ([[1.0, 2.0]], r"it is a list; give a torch tensor, torch\.tensor\(it\)"),
        (1.5, r"it is 1\.5; give a torch tensor"),
        (np.float64(1.5), r"it is np\.float64\(1\.5\); give a torch tensor"),
        (None, "it is None; give a torch tensor"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(value, told):
    with pytest.raises(InputError, match=told):
        tensor("it", value)


@pytest.mark.skipif(np.longdouble(1).itemsize == 8, reason="long doubles are doubles here")
def test_long_doubles_would_lose_digits_and_are_refused():
    with pytest.raises(InputError, match=r"it is an array of .*; float32 or float64 is needed"):
        tensor("it", NUMBERS.astype(np.longdouble))


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
NTRF = ("ntrf_margin", "class_value", "smallest_radius", "regression_radius")
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


EVERY_TAKER = pytest.mark.parametrize(
    ("taker", "right"),
    [
        *((taker, X) for taker in TAKERS.values()),
        *((taker, GRAM) for taker in MATRIX_TAKERS.values()),
        *((taker, SIGNS) for taker in VECTOR_TAKERS.values()),
    ],
)


@EVERY_TAKER
def test_lists_are_refused_in_a_sentence_and_derivatives_left_outside(taker, right):
    taker(right)
    taker(right.clone().requires_grad_())
    with pytest.raises(InputError, match=r"is a list; give a torch tensor, torch\.tensor\("):
        taker(right.tolist())


@pytest.mark.parametrize(
    ("taker", "right"),
    [
        (TAKERS["ji_telgarsky"], X),
        (TAKERS["directions"], X),
        *((MATRIX_TAKERS[name], GRAM) for name in NTRF if name in MATRIX_TAKERS),
        *((VECTOR_TAKERS[name], SIGNS) for name in NTRF if name in VECTOR_TAKERS),
        (VECTOR_TAKERS["predictions"], SIGNS),
        (VECTOR_TAKERS["labels"], SIGNS),
        (VECTOR_TAKERS["check_labels"], SIGNS),
        (VECTOR_TAKERS["loss"], SIGNS),
    ],
)
def test_arrays_give_what_tensors_give(taker, right):
    known, found = taker(right), taker(right.numpy())
    if isinstance(known, Optimum):
        known, found = astuple(known), astuple(found)
    torch.testing.assert_close(found, known, rtol=0, atol=0)


ELSEWHERE = {
    "inputs": lambda: empirical_gram(DEEP, X.to("meta")),
    "other inputs": lambda: infinite_width_ntk(X, X.to("meta"), depth=1),
    "vectors": lambda: gram_operator(DEEP, X).times(X.to("meta")),
    "preactivations": lambda: gram_change_bound(X, X.to("meta"), 0.1),
    "labels of a run": lambda: train(
        DEEP, X, SIGNS.to("meta"), loss=CROSS_ENTROPY, step_size=0.1, steps=1
    ),
    "labels of a loss": lambda: CROSS_ENTROPY.values(SIGNS, SIGNS.to("meta")),
    "slopes": lambda: DEEP.gradients(DEEP.run(X), SIGNS.to("meta")),
    "rows of signals": lambda: next(DEEP.signals(DEEP.run(X), SIGNS.to("meta"))),
    "directions": lambda: norm_bounds(GRAM, start_directions(GRAM).to("meta")),
    "start": lambda: FrozenKernel(GRAM).descent(SIGNS.to("meta"), SIGNS, step_size=1, steps=[1]),
    "impulse": lambda: changes(DEEP, X, SIGNS.to("meta")),
    "kernel": lambda: linearise(DEEP, X, SIGNS, loss="quadratic", steps=1, kernel=GRAM.to("meta")),
    "cross": lambda: linearise(
        DEEP, X, SIGNS, loss="quadratic", steps=1, kernel=GRAM, test=X, cross=GRAM.to("meta")
    ),
    "fitted labels": lambda: KernelRegression("ntk", depth=1).fit(X, SIGNS.to("meta")),
    "new inputs": lambda: KernelRegression("ntk", depth=1).fit(X, SIGNS).predict(X.to("meta")),
    "new labels": lambda: KernelRegression("ntk", depth=1).fit(X, SIGNS).error(X, SIGNS.to("meta")),
}


@pytest.mark.parametrize("call", ELSEWHERE.values(), ids=ELSEWHERE)
def test_tensors_on_two_devices_are_refused_in_a_sentence(call):
    with pytest.raises(InputError, match="is on meta but meets tensors on cpu; move one to"):
        call()


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
