"""Separations against loops over all pairs, where float32 cannot tell, and on odd labels."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from companion import nearest
from companion.datasets import sphere, twins, with_bias
from companion.errors import InputError
from companion.nearest import separation


def by_loops(x, y):
    """Least distances to another and to their own label, in plain Python."""
    least = {True: [math.inf] * len(x), False: [math.inf] * len(x)}
    for i, j in combinations(range(len(x)), 2):
        distance = math.dist(x[i].tolist(), x[j].tolist())
        mine = least[bool(y[i] != y[j])]
        mine[i], mine[j] = min(mine[i], distance), min(mine[j], distance)
    return least[True], least[False]


@pytest.fixture(params=[1024, 8, 7])
def tile(request, monkeypatch):
    """All in one tile, or in many, the last of them of another size."""
    monkeypatch.setattr(nearest, "_TILE", request.param)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kinds", [2, 5])
def test_distances_are_those_of_all_pairs(tile, dtype, kinds):
    x = sphere(50, 6, 0).x.to(dtype)
    y = torch.arange(50) % kinds
    found = separation(x, y)
    across, within = by_loops(x, y)
    # Not by more than float32 can tell of the square.
    np.testing.assert_allclose(found.across, across, atol=1e-5)
    np.testing.assert_allclose(found.within, within, atol=1e-5)
    assert found.cross_class == pytest.approx(min(across), rel=1e-12)
    assert found.all_pairs == pytest.approx(min(across + within), rel=1e-12)
    for pair, least, differ in (
        (found.across_pair, across, True),
        (found.within_pair, within, False),
    ):
        a, b = pair
        assert a < b
        assert bool(y[a] != y[b]) == differ
        assert math.dist(x[a].tolist(), x[b].tolist()) == pytest.approx(min(least), rel=1e-12)
    assert found.duplicates == ()


def test_the_closest_pair_is_found_where_float32_sees_many_alike(tile):
    """Sixty inputs within 1e-4 of each other, whose products are 1 to seven digits."""
    centre = sphere(1, 20, 0).x
    x = centre + 1e-5 * sphere(60, 20, 1).x
    x = x / x.norm(dim=1, keepdim=True)
    y = torch.arange(60) % 2
    across, within = by_loops(x, y)
    found = separation(x, y)
    assert found.cross_class == pytest.approx(min(across), rel=1e-4)
    assert found.all_pairs == pytest.approx(min(across + within), rel=1e-4)


def test_twins_are_as_far_apart_as_they_were_made_and_shrink_with_mu():
    data = twins(20, 10, 0.05, 3)
    found = separation(data.x, data.y)
    assert found.cross_class == pytest.approx(0.05, rel=1e-10)
    shrunk = separation(with_bias(data.x, 0.6), data.y)
    assert shrunk.cross_class == pytest.approx(0.8 * 0.05, rel=1e-10)
    assert shrunk.across_pair == found.across_pair
    torch.testing.assert_close(shrunk.across, 0.8 * found.across)


def test_equal_inputs_are_named_with_all_their_copies(tile):
    x = sphere(12, 5, 0).x
    x[7], x[9], x[11] = x[2], x[2], x[4]
    found = separation(x, torch.ones(12))
    assert found.duplicates == ((2, 7, 9), (4, 11))
    assert found.all_pairs == 0.0
    assert found.cross_class == math.inf
    assert found.across_pair is None
    mixed = separation(x, (torch.arange(12) < 8).double())
    assert mixed.cross_class == 0.0
    assert mixed.across_pair in ((2, 9), (7, 9), (4, 11))


def test_a_class_of_one_has_no_neighbour_of_its_own():
    x = sphere(3, 4, 0).x
    found = separation(x, torch.tensor([1.0, -1.0, 0.0]))
    assert found.within.tolist() == [math.inf] * 3
    assert found.within_pair is None
    assert found.all_pairs == found.cross_class


def test_arrays_are_taken_and_what_does_not_fit_is_refused():
    x, y = sphere(4, 3, 0).x, np.array([1, 1, -1, -1])
    assert separation(x.numpy(), y).cross_class == separation(x, torch.from_numpy(y)).cross_class
    for bad in ((x, y[:3]), (x[:1], y[:1]), (x, y[:, None])):
        with pytest.raises(InputError, match=r"\(n, d\) and \(n,\) with n at least 2"):
            separation(*bad)
    with pytest.raises(InputError, match="has norm 2; every input must have norm 1"):
        separation(2 * x, y)
