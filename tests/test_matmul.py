"""The product by every road against torch in float64, its layouts, and how it is chosen."""

import itertools
import time

import pytest
import torch

from companion import matmul
from companion.errors import InputError
from companion.matmul import PRODUCTS, chosen_precision, chosen_product, product, using


def factors(p, q, r, dtype=torch.float32):
    generator = torch.Generator().manual_seed(p + q + r)
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((p, q), (q, r))
    )


def stored(matrix, by_columns):
    return matrix.T.contiguous().T if by_columns else matrix


@pytest.mark.parametrize("road", PRODUCTS)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 7, 2), (300, 200, 190)])
@pytest.mark.parametrize("layouts", list(itertools.product([False, True], repeat=2)))
def test_products_of_all_layouts(road, relu, sizes, layouts):
    a, b = factors(*sizes)
    exact = a.double() @ b.double()
    exact = exact.relu() if relu else exact
    with using(road):
        found = product(stored(a, layouts[0]), stored(b, layouts[1]), relu=relu)
    error = (found.double() - exact).norm() / exact.norm()
    assert float(error) < 1e-6
    assert bool((found >= 0).all()) or not relu
    if layouts[0] and sizes[0] > 1:
        assert found.stride() == (1, sizes[0])  # stored as the left factor is


def test_large_products_take_the_named_road(monkeypatch):
    """Float64 and derivatives always go through torch; small ones, too."""
    calls = []

    def spy(*args):
        calls.append(args[0].dtype)
        return args[0] @ args[1].T

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    a, b = factors(300, 200, 190)
    with using("onednn"):
        product(a, b)
        assert calls == [torch.float32]
        product(a.double(), b.double())
        product(a[:3], b)
        product(a.clone().requires_grad_(), b)
        assert len(calls) == 1
    with using("torch"):
        product(a, b)
    assert len(calls) == 1


def test_derivatives_pass_through():
    a, b = factors(300, 200, 190)
    a.requires_grad_()
    with using("onednn"):
        product(a, b, relu=True).sum().backward()
    known = ((a @ b) > 0).float() @ b.T
    torch.testing.assert_close(a.grad, known, rtol=1e-4, atol=1e-4)


def test_the_choice_is_measured_named_or_set_by_the_environment(monkeypatch):
    monkeypatch.setattr(matmul, "_choice", matmul._Choice())
    monkeypatch.delenv(matmul.VARIABLE, raising=False)

    def slow(a, b, relu):
        time.sleep(2e-3)
        return a @ b

    monkeypatch.setitem(matmul.PRODUCTS, "onednn", slow)
    assert chosen_product() == "torch"
    with using("onednn"):
        assert chosen_product() == "onednn"
    assert chosen_product() == "torch"
    monkeypatch.setattr(matmul, "_choice", matmul._Choice())
    monkeypatch.setenv(matmul.VARIABLE, "onednn")
    assert chosen_product() == "onednn"
    monkeypatch.setattr(matmul, "_choice", matmul._Choice())
    monkeypatch.setenv(matmul.VARIABLE, "cublas")
    with pytest.raises(InputError, match=r"COMPANION_PRODUCT is 'cublas'; choose torch or onednn"):
        chosen_product()


def test_a_real_measurement_chooses_one_of_the_roads(monkeypatch):
    monkeypatch.setattr(matmul, "_choice", matmul._Choice())
    monkeypatch.delenv(matmul.VARIABLE, raising=False)
    assert chosen_product() in PRODUCTS


def test_bfloat16_rounds_to_eight_bits_and_only_float32():
    a, b = factors(64, 64, 64)
    exact = a.double() @ b.double()
    with using(precision="bfloat16"):
        assert chosen_precision() == "bfloat16"
        rough, fine = product(a, b), product(a.double(), b.double())
        with using("torch"):
            assert chosen_precision() == "bfloat16"  # what is not named stays
    assert chosen_precision() == "float32"
    assert rough.dtype == torch.float32
    assert torch.equal(fine, exact)
    error = float((rough.double() - exact).norm() / exact.norm())
    assert 2**-11 < error < 2**-7


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"product": "mkl"}, "product is 'mkl'; choose torch or onednn"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"precision": "tf32"}, "needs a CUDA device"),
    ],
)
def test_unknown_roads_and_precisions_are_refused(options, told):
    if options.get("precision") == "tf32" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    before = chosen_product(), chosen_precision()
    with pytest.raises(InputError, match=told), using(**options):
        pass
    assert (chosen_product(), chosen_precision()) == before


def test_naming_a_road_leaves_a_users_cuda_setting_alone():
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    try:
        settings.fp32_precision = "tf32"
        with using("torch"):
            assert settings.fp32_precision == "tf32"
        with using(precision="bfloat16"):
            assert settings.fp32_precision == "ieee"
        assert settings.fp32_precision == "tf32"
    finally:
        settings.fp32_precision = before
