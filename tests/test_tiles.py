"""How matrices are cut into tiles, and how many of these there are at a time."""

import threading
import weakref

import pytest
import torch

from companion.base import workers
from companion.kernels import tiles


@pytest.mark.parametrize("count", [1, 17, 64, 100, 1001])
@pytest.mark.parametrize("rows", [16, 64, 100])
def test_blocks_cover_all_rows_and_none_is_too_long(count, rows):
    blocks = tiles.row_blocks(count, rows)
    assert [row for block in blocks for row in range(count)[block]] == list(range(count))
    lengths = {block.stop - block.start for block in blocks}
    assert max(lengths) <= rows
    assert max(lengths) - min(lengths) <= 1
    for other in (None, 30, 500):
        columns = blocks if other is None else tiles.row_blocks(other, rows)
        pairs = tiles.tile_pairs(blocks, columns, symmetric=other is None)
        assert tiles.tile_count(count, other, rows) == len(pairs)
    for device in ("cpu", "meta"):
        assert 1 <= tiles.tile_rows(count, torch.device(device)) <= count


def test_tiles_are_halved_down_to_the_least():
    assert tiles.halved(300) == [300, 150, 75, 37, 18, 16]
    assert tiles.halved(16) == [16]
    assert tiles.halved(5) == [5]


def test_a_gpu_has_one_worker_whatever_the_processor_has():
    assert workers.available_workers(torch.device("cpu")) == torch.get_num_threads()
    assert workers.available_workers(torch.device("meta")) == 1


@pytest.mark.parametrize("many", [1, 2, 3])
def test_no_more_results_are_alive_than_was_said(many):
    """Their user takes the next one as late as possible, and has the last one in hand till then."""
    lock, alive, counts = threading.Lock(), set(), []
    finished = threading.Semaphore(0)

    class Result:
        def __init__(self, task):
            self.task = task
            with lock:
                alive.add(task)
                counts.append(len(alive))
            weakref.finalize(self, alive.discard, task)
            finished.release()

    total, taken = 30, 0
    ahead = 0 if many == 1 else workers._AHEAD * many
    results = workers.in_order(Result, range(total), many)
    for task in range(total):
        result = next(results)
        assert result.task == task
        while taken < min(total, task + 1 + ahead):
            assert finished.acquire(timeout=60)
            taken += 1
    said = workers.results_alive(many, total)
    assert said - (many > 1) <= max(counts) <= said
    assert next(results, None) is None
    assert workers.results_alive(many, 1) == 1
