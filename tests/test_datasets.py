"""Data sets: unit norm, seeds, refusals, and the geometry of the constructed pairs."""

import math
import zipfile
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from companion.datafiles import digits_source, read_digits
from companion.datasets import (
    digits,
    duplicate_inputs,
    own,
    own_shape,
    pair_at_angle,
    random_labels,
    sphere,
    twins,
    unit_rows,
    with_antipodes,
    with_bias,
)
from companion.errors import InputError


def test_sphere_has_unit_inputs_and_standard_labels():
    data = sphere(2000, 5, seed=1)
    assert data.x.dtype == torch.float64
    assert torch.allclose(data.x.norm(dim=1), torch.ones(2000, dtype=torch.float64), rtol=1e-14)
    # Four standard errors of the mean, of the variance, and of a coordinate's mean square 1/d.
    assert abs(float(data.y.mean())) < 4 / math.sqrt(2000)
    assert abs(float(data.y.var()) - 1) < 4 * math.sqrt(2 / 2000)
    assert torch.allclose(data.x.T @ data.x / 2000, torch.eye(5).double() / 5, atol=0.02)


def test_sphere_depends_on_the_seed_alone():
    first, again, other = sphere(4, 3, 7), sphere(4, 3, 7), sphere(4, 3, 8)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.x, other.x)


def test_moving_casts_the_same_numbers():
    data = sphere(4, 3, 0)
    moved = data.to(torch.float32, "cpu")
    assert moved.x.dtype == moved.y.dtype == torch.float32
    assert torch.equal(moved.x, data.x.float())
    assert moved.source == data.source
    assert unit_rows(moved.x) is moved.x


def test_digits_are_the_images_of_their_classes_in_order():
    source = digits_source()
    data = digits(source, (3, 8), 4)
    pixels, labels = read_digits(source)
    assert data.x.shape == (8, 784)
    assert data.y.tolist() == [1, -1] * 4
    assert unit_rows(data.x) is data.x
    third_eight = pixels[np.flatnonzero(labels == 8)[2]].astype(float)
    assert np.allclose(data.x[5].numpy(), third_eight / np.linalg.norm(third_eight))


def test_digits_refuse_more_images_than_there_are():
    with pytest.raises(InputError, match="per_class=100000 asks for more"):
        digits(digits_source(), (3, 8), 100_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (2.0, "2"), (1.001, r"1\.001"), (1 - 1.1e-4, r"0\.99989"), (1 + 1.1e-4, r"1\.00011"),
        (0.0, "0"), (math.nan, "nan"), (math.inf, "(inf|nan)"),
    ],
)  # fmt: skip
def test_inputs_off_the_sphere_are_refused_by_row(bad, told, dtype):
    x = sphere(3, 4, 0).x
    x[1] *= bad
    with pytest.raises(InputError, match=rf"input 1 has norm {told}; every input must have norm 1"):
        unit_rows(x.to(dtype))


def test_a_norm_true_to_the_dtypes_precision_is_left_as_it_is():
    x = sphere(200, 3000, 0).x
    single = x.float() / x.float().norm(dim=1, keepdim=True)
    for rows in (x, x.float(), single):
        assert unit_rows(rows) is rows


def test_rows_of_single_precision_are_divided_by_their_norms():
    x = sphere(20, 30, 0).x
    single = (x.float() / x.float().norm(dim=1, keepdim=True)).double()
    rows = torch.cat([x[:3], single])
    found = unit_rows(rows)
    assert float((single.norm(dim=1) - 1).abs().max()) > 1e-9
    assert torch.equal(found[:3], x[:3])
    for row, known in zip(found, rows, strict=True):
        exact = [Fraction(float(number)) for number in known]
        with localcontext() as context:
            context.prec = 40
            square = sum(number * number for number in exact)
            norm = (Decimal(square.numerator) / Decimal(square.denominator)).sqrt()
            for number, one in zip(row.tolist(), exact, strict=True):
                right = Decimal(one.numerator) / Decimal(one.denominator) / norm
                assert number == pytest.approx(float(right), rel=8e-16)


def test_rows_in_single_precision_are_judged_and_divided_by_exact_norms():
    """On both sides of the four roundings from which on a row is divided."""
    spread = 1 + torch.linspace(-1e-6, 1e-6, 400, dtype=torch.float64)
    x = (sphere(400, 50, 0).x * spread[:, None]).float()
    norms = x.double().norm(dim=1, keepdim=True)
    off = (norms - 1).abs() > 4 * torch.finfo(torch.float32).eps
    assert 0 < int(off.sum()) < 400
    assert torch.equal(unit_rows(x), (x.double() / norms.where(off, 1)).float())


def test_norms_of_a_million_coordinates_are_those_of_float64():
    """In float32 torch's norm of such rows is off by 1e-5, and other libraries' otherwise."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 10**6)))
    by_numpy = (x / x.norm(dim=1, keepdim=True)).float()
    by_torch = x.float() / x.float().norm(dim=1, keepdim=True)
    for rows in (by_numpy, by_torch, by_torch.double()):
        found = unit_rows(rows)
        off = (found.double().norm(dim=1) - 1).abs().max()
        assert float(off) < 32 * torch.finfo(rows.dtype).eps


def test_arrays_are_rows():
    x = sphere(3, 4, 0).x
    assert torch.equal(unit_rows(x.numpy()), x)
    assert torch.equal(unit_rows(np.eye(3, dtype=int)), torch.eye(3).double())
    assert unit_rows(x.float().numpy()).dtype == torch.float32


@pytest.mark.parametrize(
    "x",
    [torch.ones(3), torch.ones(0, 3), torch.eye(3).int(), torch.eye(3).half(), torch.ones(1, 1, 1)],
)
def test_what_is_no_table_of_floats_is_refused(x):
    with pytest.raises(InputError, match=r"inputs have shape .* and are torch\..*; \(n, d\) and"):
        unit_rows(x)
    with pytest.raises(InputError, match="x is a list; give a torch tensor"):
        unit_rows(x.tolist())


@pytest.mark.parametrize("mu", [1e-6, 0.3, np.float32(0.5), 1 - 1e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bias_coordinate_keeps_norms_and_shrinks_all_distances_alike(mu, dtype):
    x = sphere(6, 4, 0).x.to(dtype)
    found = with_bias(x, mu)
    assert (found.dtype, found.shape) == (dtype, (6, 5))
    assert found[:, -1].unique().tolist() == [torch.tensor(float(mu), dtype=dtype).item()]
    assert unit_rows(found) is found
    inner = (1 - float(mu) ** 2) * (x @ x.T) + float(mu) ** 2
    torch.testing.assert_close(found @ found.T, inner)
    assert torch.equal(with_bias(x.numpy(), mu), found)


@pytest.mark.parametrize("mu", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_a_bias_coordinate_outside_its_interval_is_refused(mu):
    with pytest.raises(InputError, match=r"mu is .*; it must lie in \(0, 1\)"):
        with_bias(sphere(3, 4, 0).x, mu)


def test_a_bias_coordinate_is_for_inputs_of_norm_1():
    with pytest.raises(InputError, match="input 0 has norm 2; every input must have norm 1"):
        with_bias(2 * torch.eye(3), 0.5)
    with pytest.raises(InputError, match=r"mu is '0\.5'; it must be a number"):
        with_bias(torch.eye(3), "0.5")


def test_twins_have_their_distance_and_different_labels():
    data = twins(count=40, dimension=7, separation=0.3, seed=1)
    first, second = data.x[::2], data.x[1::2]
    gaps = (first - second).norm(dim=1)
    torch.testing.assert_close(gaps, torch.full_like(gaps, 0.3), rtol=1e-13, atol=0)
    torch.testing.assert_close(data.x.norm(dim=1), torch.ones(40).double())
    assert torch.equal(data.y[::2], torch.ones(20).double())
    assert torch.equal(data.y[1::2], -torch.ones(20).double())
    assert torch.equal(twins(40, 7, 0.3, seed=1).x, data.x)
    assert not torch.equal(twins(40, 7, 0.3, seed=2).x, data.x)
    antipodes = twins(4, 3, 2.0, seed=0).x
    torch.testing.assert_close(antipodes[::2], -antipodes[1::2])
    # The side to which an input is turned is uniform: in d dimensions each share is 1 / d.
    many = twins(count=4000, dimension=4, separation=1.0, seed=0).x
    moments = (many[1::2].T @ many[1::2]) / 2000
    torch.testing.assert_close(moments, torch.eye(4).double() / 4, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2, 0.5), "count is 3; it must be even"),
        ((4, 1, 0.5), "dimension is 1"),
        ((4, 2, 0.0), "separation is 0.0; on the unit sphere it lies in"),
        ((4, 2, 2.1), "separation is 2.1"),
        ((4, 2, float("nan")), "separation"),
    ],
)
def test_twins_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        twins(*arguments, seed=0)


def test_random_labels_are_fair_coins_of_their_seed():
    data = sphere(4000, 3, 0)
    found = random_labels(data, 1)
    assert found.x is data.x
    assert set(found.y.tolist()) == {-1.0, 1.0}
    assert abs(float(found.y.sum())) < 4 * math.sqrt(4000)
    assert torch.equal(random_labels(data, np.int64(1)).y, found.y)
    other = random_labels(data, 2).y
    assert abs(float(found.y @ other)) < 4 * math.sqrt(4000)
    moved = random_labels(data.to(torch.float32, "meta"), 1).y
    assert (moved.dtype, moved.device.type) == (torch.float32, "meta")
    assert found.source.endswith(", random labels")


def test_duplicates_are_found_in_order():
    x = sphere(5, 3, 0).x
    assert duplicate_inputs(x) is None
    assert duplicate_inputs(torch.cat([x, x[2:3], x[:1]])) == (2, 5)
    assert duplicate_inputs(with_antipodes(x, 5)) is None


@given(st.floats(1e-9, math.pi), st.integers(2, 6))
def test_pair_at_angle_has_that_angle(angle, dimension):
    first, second = pair_at_angle(angle, dimension)
    pair = torch.stack([first, second])
    assert unit_rows(pair) is pair
    # Half the angle from the half chord; unlike arccos, exact to rounding for small angles.
    found = 2 * math.atan2(float((first - second).norm()), float((first + second).norm()))
    assert found == pytest.approx(angle, rel=1e-7)


def test_with_antipodes_appends_them():
    x = sphere(3, 4, 0).x
    assert torch.equal(with_antipodes(x, 0), x)
    assert torch.equal(with_antipodes(x, 2)[3:], -x[:2])


@pytest.mark.parametrize(
    ("angle", "dimension", "told"),
    [
        (1.0, 1, "dimension is 1; it must be at least 2"),
        (1.0, 2.0, "dimension is 2.0; it must be a whole number"),
        ("1", 2, "angle is '1'; it must be a number"),
    ],
)
def test_a_pair_needs_an_angle_and_a_plane(angle, dimension, told):
    with pytest.raises(InputError, match=told):
        pair_at_angle(angle, dimension)


@pytest.mark.parametrize(("count", "dimension"), [(0, 3), (3, 0)])
def test_a_sphere_without_points_or_dimensions_is_refused(count: int, dimension: int) -> None:
    with pytest.raises(InputError, match="is 0; it must be at least 1"):
        sphere(count, dimension, 0)


@pytest.mark.parametrize("bad", [(2.0, 3, 0), (2, "3", 0), (2, 3, 0.0)])
def test_a_sphere_takes_whole_numbers(bad: Any) -> None:
    with pytest.raises(InputError, match="it must be a whole number"):
        sphere(*bad)
    known = sphere(2, 3, 1)
    assert torch.equal(sphere(np.int64(2), np.int8(3), np.int64(1)).x, known.x)


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


GOOD = np.eye(3)


def test_own_data_comes_as_it_is(tmp_path: Path) -> None:
    data = own(write(tmp_path / "mine.npz", x=GOOD.astype(np.float32), y=np.array([1, -1, 1])))
    assert data.x.dtype == torch.float64
    assert data.y.tolist() == [1, -1, 1]
    assert data.source == "mine.npz, n=3, d=3"
    assert torch.equal(own(str(tmp_path / "mine.npz")).x, data.x)
    assert own_shape(str(tmp_path / "mine.npz")) == (3, 3)


def test_own_float32_rows_are_accepted_and_made_unit(tmp_path: Path) -> None:
    x = sphere(40, 7, 0).x.float()
    x = x / x.norm(dim=1, keepdim=True)
    data = own(write(tmp_path / "mine.npz", x=x.numpy(), y=np.ones(40)))
    assert data.x.dtype == torch.float64
    assert float((data.x.norm(dim=1) - 1).abs().max()) < 1e-15
    assert float((data.x - x).abs().max()) < 1e-7


def test_own_unit_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    x = sphere(40, 7, 0).x
    data = own(write(tmp_path / "mine.npz", x=x.numpy(), y=np.ones(40)))
    assert torch.equal(data.x, x)


def test_the_shape_of_own_data_is_read_without_it(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.npz", x=np.zeros((3, 5)), y=np.ones(3))
    assert own_shape(path) == (3, 5)
    np.savez_compressed(path, x=np.asfortranarray(np.zeros((4, 6), dtype=np.float32)), y=np.ones(4))
    assert own_shape(path) == (4, 6)
    with zipfile.ZipFile(path, "w") as members, members.open("x.npy", "w") as member:
        np.lib.format.write_array_header_2_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
        )
    assert own_shape(path) == (10**9, 10**6)  # there are no numbers to read


@pytest.mark.parametrize("reader", [own, own_shape])
@pytest.mark.parametrize("kind", ["npy", "text", "pickle", "missing", "cut", "empty"])
def test_what_is_no_npz_file_is_refused(tmp_path: Path, reader: Any, kind: str) -> None:
    path = tmp_path / "a.npy"
    if kind == "npy":
        np.save(path, GOOD)
    elif kind == "missing":
        path = tmp_path / "none"
    elif kind == "cut":
        path = write(tmp_path / "a.npz", x=GOOD, y=np.ones(3))
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_bytes({"text": b"x,y", "pickle": b"\x80\x04N.", "empty": b""}[kind])
    with pytest.raises(InputError, match=r"is not an \.npz file with numeric arrays x and y"):
        reader(path)


def test_a_shape_that_is_no_table_is_refused(tmp_path: Path) -> None:
    for x in (np.ones(3), np.ones((3, 3, 3)), np.array(1.0)):
        with pytest.raises(InputError, match=r"has x of shape .*; \(n, d\)"):
            own_shape(write(tmp_path / "mine.npz", x=x, y=np.ones(3)))
    with pytest.raises(InputError, match="with numeric arrays x and y"):
        own_shape(write(tmp_path / "mine.npz", y=np.ones(3)))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": GOOD}, "with numeric arrays x and y"),
        ({"x": GOOD, "y": np.array(["a", "b", "c"])}, "with numeric arrays x and y"),
        ({"x": GOOD, "y": 1j * np.ones(3)}, "with numeric arrays x and y"),
        ({"x": GOOD, "y": np.array(["1", "2", "3"])}, "with numeric arrays x and y"),
        ({"x": GOOD, "y": np.array([True, False, True])}, "with numeric arrays x and y"),
        ({"x": GOOD, "y": np.ones(2)}, r"y of shape \(2,\)"),
        ({"x": np.ones(3), "y": np.ones(3)}, r"x of shape \(3,\)"),
        ({"x": GOOD * np.nan, "y": np.ones(3)}, "not finite"),
        ({"x": 2 * GOOD, "y": np.ones(3)}, "input 0 has norm 2; every input must have norm 1"),
        ({"x": GOOD[[0, 1, 0]], "y": np.ones(3)}, "inputs 0 and 2 of .* equal, so lambda_0 = 0"),
    ],
)
def test_bad_own_data_is_refused(tmp_path: Path, arrays: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        own(write(tmp_path / "mine.npz", **arrays))
