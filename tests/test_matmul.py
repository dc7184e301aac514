"""The product by every road against torch in float64, its layouts, and how it is chosen."""

import itertools
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import forward_ad

from companion import matmul
from companion.errors import InputError
from companion.lab.provenance import provenance
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

    a, b = factors(300, 200, 190)
    with using("onednn"):
        product(a, b)  # has been tried
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
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


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_derivatives_of_forward_mode_pass_through():
    """OneDNN's inner product knows none, and drops them without a word."""
    a, b = factors(300, 200, 190)
    direction = torch.ones_like(a)
    with using("onednn"), forward_ad.dual_level():
        found = product(forward_ad.make_dual(a, direction), b)
        torch.testing.assert_close(forward_ad.unpack_dual(found).tangent, direction @ b)


@pytest.mark.parametrize("road", PRODUCTS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("by_columns", [False, True])
def test_what_is_no_number_stays_none(road, precision, relu, by_columns):
    """oneDNN's own relu gives 0 for NaN, and a diverged run would look like a healthy one."""
    a, b = factors(300, 200, 190)
    a[3, 5], a[4, 6] = float("nan"), float("inf")
    with using(road, precision):
        found = product(stored(a, by_columns), b, relu=relu)
    assert bool(found[3].isnan().all())
    assert bool((found[4] == float("inf")).any())
    assert bool(found[5:].isfinite().all())


@pytest.mark.parametrize("hidden", [math.nan, math.inf, -math.inf])
def test_a_road_that_hides_what_is_no_number_is_not_taken(monkeypatch, hidden):
    """It does everything else right, and hides one kind of what is no number."""
    is_hidden = torch.isnan if math.isnan(hidden) else lambda c: c == hidden
    taken = []

    def hiding(a, b, relu):
        taken.append(len(a))
        result = matmul._torch(a, b, relu)
        return result.masked_fill_(is_hidden(result), 0.0)

    monkeypatch.setitem(matmul.PRODUCTS, "onednn", hiding)
    a, b = factors(300, 200, 190)
    with using("onednn"):
        product(a, b)
    assert taken == [128]  # tried once, and not taken for these factors


def test_derivatives_pass_through():
    a, b = factors(300, 200, 190)
    a.requires_grad_()
    with using("onednn"):
        product(a, b, relu=True).sum().backward()
    known = ((a @ b) > 0).float() @ b.T
    torch.testing.assert_close(a.grad, known, rtol=1e-4, atol=1e-4)


class Clock:
    """A clock that stands still but for the roads that move it on."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(matmul, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def taking(self, seconds, compute=matmul._torch):
        def road(a, b, relu):
            self.now += seconds
            return compute(a, b, relu)

        return road


def raising(*_):
    raise RuntimeError("could not create a primitive descriptor")


def unmeasured(monkeypatch, cache=os.devnull):
    """As in a new process; without a cache nothing of an earlier one is known."""
    monkeypatch.setattr(matmul, "_choice", matmul._Choice())
    monkeypatch.delenv(matmul.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.mark.parametrize(("quick", "slow"), [("torch", "onednn"), ("onednn", "torch")])
def test_the_fastest_road_is_chosen(monkeypatch, quick, slow):
    clock = Clock(monkeypatch)
    monkeypatch.setitem(matmul.PRODUCTS, quick, clock.taking(1.0))
    monkeypatch.setitem(matmul.PRODUCTS, slow, clock.taking(2.0))
    unmeasured(monkeypatch)
    assert chosen_product() == quick
    with using(slow):
        assert chosen_product() == slow
    assert chosen_product() == quick


def test_nothing_is_measured_for_other_devices(monkeypatch):
    """They have torch's product, and a result made there says so."""
    monkeypatch.setattr(matmul, "_fastest_here", raising)
    unmeasured(monkeypatch)
    a, b = (torch.ones(300, 300, device="meta") for _ in range(2))
    assert product(a, b).shape == (300, 300)
    assert chosen_product("cuda") == chosen_product(torch.device("cuda:1")) == "torch"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    known = provenance("no data", 1.0, "cuda")
    assert known["product"] == "torch"
    assert known["machine"].endswith(" cores, a GPU")
    with using("onednn"):
        assert provenance("no data", 1.0, "cuda")["product"] == "torch"
        assert provenance("no data", 1.0, "cpu")["product"] == "onednn"
    with pytest.raises(RuntimeError, match="primitive descriptor"):
        chosen_product("cpu")


@pytest.mark.parametrize("wrong", [raising, lambda a, b, relu: 2 * (a @ b)])
def test_a_road_that_fails_is_not_the_fastest(monkeypatch, wrong):
    clock = Clock(monkeypatch)
    monkeypatch.setitem(matmul.PRODUCTS, "torch", clock.taking(1.0))
    monkeypatch.setitem(matmul.PRODUCTS, "onednn", clock.taking(0.0, wrong))
    unmeasured(monkeypatch)
    assert chosen_product() == "torch"


def test_what_was_measured_once_holds_for_later_processes(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    for quick, slow in (("onednn", "torch"), ("torch", "onednn")):
        monkeypatch.setitem(matmul.PRODUCTS, quick, clock.taking(1.0))
        monkeypatch.setitem(matmul.PRODUCTS, slow, clock.taking(2.0))
        unmeasured(monkeypatch, tmp_path)
        assert chosen_product() == "onednn"
    unmeasured(monkeypatch, tmp_path / "another user's")
    assert chosen_product() == "torch"
    monkeypatch.setattr(matmul, "machine_name", lambda: "another machine")
    unmeasured(monkeypatch, tmp_path)
    assert chosen_product() == "torch"


def test_a_product_that_is_no_more_is_measured_anew(monkeypatch, tmp_path):
    unmeasured(monkeypatch, tmp_path)
    known = chosen_product()
    (kept,) = tmp_path.rglob("product.json")
    kept.write_text(kept.read_text().replace(known, "cublas"))
    unmeasured(monkeypatch, tmp_path)
    assert chosen_product() in PRODUCTS


def test_the_environment_names_the_choice(monkeypatch):
    unmeasured(monkeypatch)
    monkeypatch.setenv(matmul.VARIABLE, "onednn")
    assert chosen_product() == "onednn"
    monkeypatch.setattr(matmul, "_choice", matmul._Choice())
    monkeypatch.setenv(matmul.VARIABLE, "cublas")
    with pytest.raises(InputError, match=r"COMPANION_PRODUCT is 'cublas'; choose torch or onednn"):
        chosen_product()


def for_most(calls, special, fails):
    """A road that fails where `special` is true of its arguments."""

    def road(a, b, relu):
        calls.append((a.dtype, relu, len(a)))
        return fails(a, b, relu) if special(a, b, relu) else matmul._torch(a, b, relu)

    return road


SPECIAL = {
    "dtype": lambda a, b, relu: a.dtype == torch.bfloat16,
    "relu": lambda a, b, relu: relu,
    "layout": lambda a, b, relu: not b.is_contiguous(),
}
WRONG = {
    "raises": raising,
    "rounds": lambda a, b, relu: matmul._torch(a.bfloat16(), b.bfloat16(), relu).to(a.dtype) * 1.5,
    "casts": lambda a, b, relu: matmul._torch(a, b, relu).half(),
    "turns": lambda a, b, relu: matmul._torch(a, b, relu).T,
}


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("fails", WRONG.values(), ids=WRONG)
def test_a_road_is_taken_only_for_what_it_was_seen_to_do(monkeypatch, special, fails):
    calls = []
    monkeypatch.setitem(matmul.PRODUCTS, "onednn", for_most(calls, special, fails))
    a, b = factors(300, 200, 190)
    cases = itertools.product([torch.float32, torch.bfloat16], [False, True], [False, True])
    for dtype, relu, by_columns in cases:
        left, right = a.to(dtype), stored(b.to(dtype), by_columns)
        exact = left.double() @ right.double()
        with using("onednn"):
            calls.clear()
            found = [product(left, right, relu=relu) for _ in range(2)]
        for each in found:
            assert each.dtype == dtype
            error = each.double() - (exact.relu() if relu else exact)
            assert float(error.norm() / exact.norm()) < 8 * torch.finfo(dtype).eps
        large = [call for call in calls if call[2] == 300]
        assert len(large) == (0 if special(left, right, relu) else 2)
        assert len(calls) - len(large) <= 1  # tried once for the combination


def test_sizes_that_a_road_lacks_are_torchs(monkeypatch):
    road = for_most([], lambda a, b, relu: len(a) == 300, raising)
    monkeypatch.setitem(matmul.PRODUCTS, "onednn", road)
    a, b = factors(300, 200, 190)
    with using("onednn"):
        assert torch.equal(product(a, b), a @ b)
        with pytest.raises(RuntimeError, match="cannot be multiplied"):  # torch's own words
            product(a, b.T)


def test_products_work_where_onednn_has_no_bfloat16():
    """As on processors without AVX-512: the build died there on the page of the precision."""
    program = """
import torch
from companion.experiments.engines.precision import QUICK, run, values
from companion.matmul import chosen_product, product
generator = torch.Generator().manual_seed(0)
a, b = (torch.randn(shape, generator=generator).bfloat16() for shape in ((300, 200), (200, 190)))
assert chosen_product() == "onednn"
assert not torch.ops.mkldnn._is_mkldnn_bf16_supported()
for relu in (False, True):
    exact = a.double() @ b.double()
    exact = exact.relu() if relu else exact
    found = product(a, b, relu=relu)
    assert found.dtype == torch.bfloat16
    assert float((found.double() - exact).norm() / exact.norm()) < 2**-7
small = QUICK.override({"count": 100, "width": 128, "depth": 2, "seeds": 3, "steps": 2})
print(bool(values(small, run(small, "cpu"))["loss_bfloat16"] > 0))
"""
    settings = {"ONEDNN_MAX_CPU_ISA": "AVX2", matmul.VARIABLE: "onednn"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | settings, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_every_real_road_that_works_here_is_measured_as_often(monkeypatch):
    """Which one is chosen depends on the machine, that all have their chance does not."""
    calls = dict.fromkeys(PRODUCTS, 0)

    def counted(name, road):
        def count(a, b, relu):
            calls[name] += len(a) == 1024
            return road(a, b, relu)

        return count

    unmeasured(monkeypatch)
    a = torch.ones(1024, 512)
    works = [name for name, road in PRODUCTS.items() if matmul._works(road, a, a[:512], False)]
    for name, road in list(PRODUCTS.items()):
        monkeypatch.setitem(matmul.PRODUCTS, name, counted(name, road))
    # Torch's own road is recognised, as it is what all others fall back on.
    monkeypatch.setattr(matmul, "_torch", matmul.PRODUCTS["torch"])
    assert chosen_product() in works
    assert calls == {name: 20 if name in works else 0 for name in PRODUCTS}


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
