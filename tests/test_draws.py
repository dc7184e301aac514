"""Seeded draws: the same numbers everywhere, different ones for different purposes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.draws import Batches, cpu_generator
from companion.errors import InputError


def _numbers(purpose, seed):
    return torch.randn(8, generator=cpu_generator(purpose, seed))


def test_same_purpose_and_seed_give_the_same_numbers():
    assert torch.equal(_numbers("data", 3), _numbers("data", 3))


def test_purposes_and_seeds_have_streams_of_their_own():
    streams = [_numbers(p, s) for p in ("data", "weights") for s in (0, 1, -1, 10**30)]
    for index, first in enumerate(streams):
        for second in streams[index + 1 :]:
            assert not torch.equal(first, second)


def test_the_generator_does_not_touch_the_global_one():
    before = torch.get_rng_state()
    _numbers("data", 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [1, True, np.int64(1), np.uint8(1), torch.tensor(1)])
def test_a_seed_is_its_number(seed):
    assert torch.equal(_numbers("data", seed), _numbers("data", 1))
    rows = [Batches(3, order, seed).rows(2, 9) for order in ("subsets", "replacement")]
    known = [Batches(3, order, 1).rows(2, 9) for order in ("subsets", "replacement")]
    assert all(map(torch.equal, rows, known))


@pytest.mark.parametrize("seed", [3.0, "3", None, np.float64(3), torch.tensor(3.0)])
def test_a_seed_that_is_no_integer_is_refused(seed):
    """3.0 would silently have another stream than 3."""
    for draw in (lambda: cpu_generator("data", seed), lambda: Batches(3, seed=seed)):
        with pytest.raises(InputError, match=r"seed is .*; it must be a whole number"):
            draw()


def test_a_size_that_is_no_integer_is_refused():
    with pytest.raises(InputError, match=r"size is 3\.5; it must be a whole number"):
        Batches(3.5)


@pytest.mark.parametrize("size", [np.int64(3), np.uint8(3), torch.tensor(3), np.array(3)])
def test_a_size_is_its_number(size):
    found = Batches(size)
    assert found == Batches(3)
    assert type(found.size) is int
    found.check(9, 10)


def test_draws_are_frozen():
    """Published numbers rest on these streams: a change of the hash must not pass unseen."""
    generator = cpu_generator("weights", 0)
    drawn = torch.randn(2, generator=generator, dtype=torch.float64)
    known = torch.tensor([0.3385166492506557, 0.20852732888910547], dtype=torch.float64)
    assert torch.allclose(drawn, known, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.data())
def test_batches_are_what_they_say(count, data):
    size, seed = data.draw(st.integers(1, count)), data.draw(st.integers(0, 99))
    per_epoch = math.ceil(count / size)
    epochs = Batches(size, "epochs", seed)
    for epoch in range(2):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        rows = torch.cat([epochs.rows(step, count) for step in steps]).tolist()
        assert sorted(rows) == list(range(count))
    once = Batches(size, "once", seed)
    rows = torch.cat([once.rows(step, count) for step in range(per_epoch)])
    assert rows.tolist() == list(range(count))
    subset = Batches(size, "subsets", seed).rows(3, count)
    assert len(set(subset.tolist())) == size
    drawn = Batches(size, "replacement", seed)
    assert drawn.rows(4, count).tolist() == drawn.rows(4, count).tolist()
    assert all(0 <= row < count for row in drawn.rows(4, count).tolist())


def test_variance_of_batch_means_is_that_of_lemma_d2():
    """Zou et al. (2018): (n - B) / (B (n - 1)) of the mean square, for sums that vanish."""
    count, size, draws = 12, 4, 20_000
    u = torch.arange(count).double() - (count - 1) / 2
    mean_square = float(u.square().mean())
    for order, predicted in [
        ("subsets", mean_square * (count - size) / (size * (count - 1))),
        ("replacement", mean_square / size),
    ]:
        batches = Batches(size, order)
        means = torch.stack([u[batches.rows(step, count)].mean() for step in range(draws)])
        measured = float(means.square().mean())
        assert measured == pytest.approx(predicted, rel=5 * math.sqrt(2 / draws))
