"""Data sets: unit norm, seeds, refusals, and the geometry of the constructed pairs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from companion.datafiles import digits_source, read_digits
from companion.datasets import (
    check_unit_norm,
    digits,
    duplicate_inputs,
    own,
    pair_at_angle,
    sphere,
    with_antipodes,
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
    check_unit_norm(moved.x)


def test_digits_are_the_images_of_their_classes_in_order():
    source = digits_source()
    data = digits(source, (3, 8), 4)
    pixels, labels = read_digits(source)
    assert data.x.shape == (8, 784)
    assert data.y.tolist() == [1, -1] * 4
    check_unit_norm(data.x)
    third_eight = pixels[np.flatnonzero(labels == 8)[2]].astype(float)
    assert np.allclose(data.x[5].numpy(), third_eight / np.linalg.norm(third_eight))


def test_digits_refuse_more_images_than_there_are():
    with pytest.raises(InputError, match="per_class=100000 asks for more"):
        digits(digits_source(), (3, 8), 100_000)


@pytest.mark.parametrize("bad", [2.0, 1 + 1e-6, 0.0, math.nan, math.inf])
def test_inputs_off_the_sphere_are_refused_by_row(bad):
    x = sphere(3, 4, 0).x
    x[1] *= bad
    with pytest.raises(InputError, match="input 1 has norm"):
        check_unit_norm(x)


def test_rounding_of_the_norm_is_not_refused():
    x = sphere(200, 3000, 0).x
    check_unit_norm(x.float())
    check_unit_norm(x.float() / x.float().norm(dim=1, keepdim=True))


def test_duplicates_are_found_in_order():
    x = sphere(5, 3, 0).x
    assert duplicate_inputs(x) is None
    assert duplicate_inputs(torch.cat([x, x[2:3], x[:1]])) == (2, 5)
    assert duplicate_inputs(with_antipodes(x, 5)) is None


@given(st.floats(1e-9, math.pi), st.integers(2, 6))
def test_pair_at_angle_has_that_angle(angle, dimension):
    first, second = pair_at_angle(angle, dimension)
    check_unit_norm(torch.stack([first, second]))
    # Half the angle from the half chord; unlike arccos, exact to rounding for small angles.
    found = 2 * math.atan2(float((first - second).norm()), float((first + second).norm()))
    assert found == pytest.approx(angle, rel=1e-7)


def test_with_antipodes_appends_them():
    x = sphere(3, 4, 0).x
    assert torch.equal(with_antipodes(x, 0), x)
    assert torch.equal(with_antipodes(x, 2)[3:], -x[:2])


@pytest.mark.parametrize(("count", "dimension"), [(0, 3), (3, 0)])
def test_a_sphere_without_points_or_dimensions_is_refused(count: int, dimension: int) -> None:
    with pytest.raises(InputError, match="is 0; it must be at least 1"):
        sphere(count, dimension, 0)


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


GOOD = np.eye(3)


def test_own_data_comes_as_it_is(tmp_path: Path) -> None:
    data = own(write(tmp_path / "mine.npz", x=GOOD.astype(np.float32), y=np.array([1, -1, 1])))
    assert data.x.dtype == torch.float64
    assert data.y.tolist() == [1, -1, 1]
    assert data.source == "mine.npz, n=3, d=3"


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": GOOD}, "with numeric arrays x and y"),
        ({"x": GOOD, "y": np.array(["a", "b", "c"])}, "with numeric arrays x and y"),
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


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_text("x,y")
    with pytest.raises(InputError, match=r"is not an \.npz file"):
        own(tmp_path / "mine.npz")
