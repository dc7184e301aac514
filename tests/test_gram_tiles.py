"""Gram matrices too large for memory: tiles, files, operators; the threads that compute them."""

import math
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from companion.base import workers
from companion.base.workers import in_order
from companion.datasets import sphere
from companion.errors import InputError
from companion.kernels import (
    correlations,
    empirical_gram,
    gram_memory,
    gram_operator,
    gram_tiles,
    infinite_width_layer_ntks,
    infinite_width_nngp,
    infinite_width_ntk,
    infinite_width_tiles,
    layer_grams,
)
from companion.kernels.factors import Factors
from companion.matmul import chosen_product
from companion.networks import draw_zou
from tests.modes import PeakMemory
from tests.oracles import NETWORKS, gram_by_rows

DRAWS = {name: draw for name, (draw, _) in NETWORKS.items()}
EVERY = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.fixture
def threads():
    """A function that sets torch's number of threads, which is undone afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assembled(tiles, shape, dtype):
    """The matrix of the tiles, NaN where there are none."""
    found = torch.full(shape, math.nan, dtype=dtype)
    for rows, columns, values in tiles:
        assert bool(found[rows, columns].isnan().all())  # no entry comes twice
        found[rows, columns] = values
    return found


@EVERY
@pytest.mark.parametrize("budget", [None, 200_000])
def test_tiles_are_the_lower_triangle_of_the_gram_matrix(draw, budget):
    network = draw(16, 4, 0, depth=2, dtype=torch.float64)
    x, other = sphere(300, 4, 0).x, sphere(70, 4, 1).x
    tiles = list(gram_tiles(network, x, memory_budget=budget))
    assert all(tile.columns.stop <= tile.rows.stop for tile in tiles)
    found = assembled(tiles, (300, 300), torch.float64)
    triangle = torch.ones(300, 300).tril().bool()
    known = empirical_gram(network, x)
    torch.testing.assert_close(found[triangle], known[triangle], rtol=1e-12, atol=1e-12)
    cross = assembled(gram_tiles(network, x, other, memory_budget=budget), (300, 70), torch.float64)
    torch.testing.assert_close(cross, empirical_gram(network, x, other), rtol=1e-12, atol=1e-12)


def test_tiles_at_infinite_width():
    x, other = 3 * sphere(300, 4, 0).x, sphere(70, 4, 1).x
    options = {"depth": 3, "parameterisation": "du", "trained": "all"}
    known = infinite_width_ntk(x, **options)
    found = assembled(infinite_width_tiles(x, **options), known.shape, known.dtype)
    triangle = ~found.isnan()
    assert bool(triangle[torch.ones(300, 300).tril().bool()].all())
    assert torch.equal(found[triangle], known[triangle])
    cross = assembled(infinite_width_tiles(x, other, **options), (300, 70), x.dtype)
    assert torch.equal(cross, infinite_width_ntk(x, other, **options))


@pytest.mark.parametrize("many", [1, 3])
def test_tiles_keep_to_their_budget(threads, many):
    """Far less than the matrix; more threads are used only where there is memory for them."""
    threads(many)
    chosen_product()
    network, x = draw_zou(64, 4, 0, depth=2), sphere(1000, 4, 0).x.float()
    for budget in (2 * 10**5, 5 * 10**5, 3 * 10**6):
        for tiles in (
            lambda budget: gram_tiles(network, x, memory_budget=budget),
            lambda budget: infinite_width_tiles(x, depth=2, memory_budget=budget),
        ):
            with PeakMemory() as memory:
                entries = sum(values.numel() for _, _, values in tiles(budget))
            assert entries >= 1000 * 1001 / 2
            assert memory.peak <= budget


@pytest.mark.parametrize("other", [False, True])
def test_matrices_are_written_into_files(tmp_path, other):
    network, x = draw_zou(16, 4, 0, depth=2), sphere(300, 4, 0).x.float()
    given = [x, x[:40]] if other else [x]
    for name, function in {
        "empirical": lambda **options: empirical_gram(network, *given, **options),
        "infinite": lambda **options: infinite_width_ntk(*given, depth=2, **options),
    }.items():
        known = function()
        path = tmp_path / name
        file = np.memmap(path, dtype=np.float32, mode="w+", shape=tuple(known.shape))
        with PeakMemory() as memory:
            # The matrix does not count: it takes 360,000 bytes and this is all that may be taken.
            found = function(out=file, memory_budget=200_000)
        assert memory.peak <= 200_000
        file.flush()
        read = np.fromfile(path, dtype=np.float32).reshape(known.shape)
        np.testing.assert_allclose(read, known.numpy(), rtol=1e-5, atol=1e-5)
        assert np.array_equal(found.numpy(), read)
        tensor = torch.empty_like(known)
        assert function(out=tensor).data_ptr() == tensor.data_ptr()
        assert torch.equal(tensor, known)


def test_where_no_matrix_fits_is_refused(tmp_path):
    network, x = draw_zou(16, 4, 0, depth=2), sphere(30, 4, 0).x.float()
    readable = np.zeros((30, 30), np.float32)
    readable.flags.writeable = False
    for out, told in [
        ([], "out is a list; give a tensor or a NumPy array"),
        (readable, "out cannot be written; open the file with mode"),
        (np.zeros((30, 30)), r"out has shape \(30, 30\) and torch.float64; the matrix has"),
        (torch.zeros(30, 29), r"out has shape \(30, 29\) and .*; the matrix has \(30, 30\)"),
        (np.zeros((30, 30), ">f4"), "out is of >f4; it must be of torch.float32"),
    ]:
        for function in (
            lambda out: empirical_gram(network, x, out=out),
            lambda out: infinite_width_ntk(x, depth=2, out=out),
        ):
            with pytest.raises(InputError, match=told):
                function(out)


def test_the_refusal_names_the_ways_out_and_comes_at_once():
    network, x = draw_zou(16, 4, 0, depth=2), sphere(300, 4, 0).x.float()
    ways = "gram_tiles gives the matrix tile by tile, out=.* and gram_operator multiplies"
    with pytest.raises(InputError, match=ways):
        empirical_gram(network, x, memory_budget=1000)
    with pytest.raises(InputError, match=r"infinite_width_tiles gives .* out="):
        infinite_width_ntk(x, depth=2, memory_budget=1000)
    for tiles in (
        lambda **options: gram_tiles(network, x, **options),
        lambda **options: infinite_width_tiles(x, depth=2, **options),
    ):
        with pytest.raises(InputError, match="memory_budget is 100 bytes"):
            tiles(memory_budget=100)  # before the first tile is asked for
    with pytest.raises(InputError, match="memory_budget is 100 bytes"):
        gram_operator(network, x, memory_budget=100)


@EVERY
@pytest.mark.parametrize("depth", [1, 3])
def test_the_operator_multiplies_with_the_gram_matrix(draw, depth):
    network, x = draw(12, 4, 0, depth=depth, dtype=torch.float64), sphere(40, 4, 0).x
    known = gram_by_rows(network, x).numpy()
    vectors = np.random.default_rng(0).standard_normal((40, 3))
    for budget in (None, 8 * (2000 + 40 * 100)):
        operator = gram_operator(network, x, memory_budget=budget)
        size = np.abs(known).max()
        for given in (vectors, vectors[:, 0], vectors[:, 1:2], vectors + 1j * vectors[::-1]):
            found = operator @ given
            assert found.shape == given.shape
            np.testing.assert_allclose(found, known @ given, rtol=1e-12, atol=1e-11 * size)
        assert (operator.shape, operator.dtype) == ((40, 40), np.float64)
        np.testing.assert_allclose(operator.T @ vectors, operator @ vectors)
        np.testing.assert_allclose(operator.H @ vectors, operator @ vectors)
        found = operator.times(torch.from_numpy(vectors))
        np.testing.assert_allclose(found.numpy(), operator @ vectors)


def test_iterative_solvers_take_the_operator():
    network, x = draw_zou(64, 10, 0, depth=2, dtype=torch.float64), sphere(1300, 10, 0).x
    operator = gram_operator(network, x)
    assert len(operator.blocks) > 1
    known = torch.linalg.eigvalsh(empirical_gram(network, x)).numpy()
    found = scipy.sparse.linalg.eigsh(operator, k=2, return_eigenvectors=False, tol=1e-10)
    np.testing.assert_allclose(np.sort(found), known[-2:], rtol=1e-9)
    single = gram_operator(network.to(dtype=torch.float32), x.numpy())
    assert single.dtype == np.float32
    vector = np.random.default_rng(0).standard_normal(1300)
    far = np.linalg.norm(single @ vector - operator @ vector) / np.linalg.norm(operator @ vector)
    assert 0 < far < 1e-5


def test_the_operator_runs_the_network_once_for_all_vectors_where_it_has_the_memory(monkeypatch):
    network, x = draw_zou(12, 4, 0, depth=2, dtype=torch.float64), sphere(600, 4, 0).x
    seen = []
    run = type(network).run
    monkeypatch.setattr(
        type(network), "run", lambda self, x, *a: seen.append(len(x)) or run(self, x, *a)
    )
    operator = gram_operator(network, x)
    operator.times(torch.ones(600, 3).double())
    assert len(operator.blocks) > 1
    assert sum(seen) == 600


def test_what_the_operator_does_not_take_is_refused():
    network, x = draw_zou(12, 4, 0, depth=2, dtype=torch.float64), sphere(40, 4, 0).x
    operator = gram_operator(network, x)
    for vectors in (torch.ones(40).double(), torch.ones(39, 1).double(), torch.ones(40, 1)):
        with pytest.raises(InputError, match=r"vectors have shape .*; \(40, k\), torch.float64 is"):
            operator.times(vectors)
    assert operator.times(torch.ones(40, 0).double()).shape == (40, 0)
    with pytest.raises(InputError, match="input 3 holds a number that is not finite"):
        gram_operator(network, x.index_fill(0, torch.tensor([3]), math.inf))


def test_derivatives_stay_outside_of_the_operator():
    network, x = draw_zou(12, 4, 0, depth=2, dtype=torch.float64), sphere(40, 4, 0).x
    weights = tuple(torch.nn.Parameter(weight) for weight in network.weights)
    found = gram_operator(replace(network, weights=weights), x) @ np.ones(40)
    assert np.array_equal(found, gram_operator(network, x) @ np.ones(40))


@EVERY
def test_the_operator_keeps_to_its_budget(draw):
    chosen_product()
    network, x = draw(64, 10, 0, depth=3), sphere(1000, 10, 0).x.float()
    vector = torch.ones(1000, 1)
    known = gram_operator(network, x).times(vector)
    for budget in (2 * 10**5, 6 * 10**5, 10**6, 15 * 10**5, 3 * 10**6):
        with PeakMemory() as memory:
            operator = gram_operator(network, x, memory_budget=budget)
            found = operator.times(vector)
        assert memory.peak <= budget + 2 * vector.nbytes
        torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-4 * float(known.abs().max()))


def test_a_thread_keeps_the_block_it_asked_for_last():
    """So tiles that come row by row run the network once for a row of them."""
    network, x = draw_zou(12, 4, 0, depth=2, dtype=torch.float64), sphere(40, 4, 0).x
    factors = Factors(network, x, 16, workers=1, kept=False)
    first, second, _ = factors.blocks
    found = factors.of(first)
    thread = threading.Thread(target=factors.of, args=(second,))
    thread.start()
    thread.join()
    assert factors.of(first) is found
    assert factors.of(second) is not found


def all_kernels():
    """Every kind of matrix here, of sizes that need several tiles."""
    network, x = draw_zou(96, 40, 0, depth=3), sphere(500, 40, 0).x.float()
    close = x[:1] + 1e-2 * x
    yield empirical_gram(network, x)
    yield empirical_gram(network, x, x[:200])
    yield empirical_gram(network, x, memory_budget=gram_memory(network, 500) // 2 + 10**6)
    yield from layer_grams(network, x)
    yield infinite_width_ntk(x, depth=5)
    yield infinite_width_ntk(close, x, depth=5, parameterisation="chen")
    yield infinite_width_nngp(close, depth=2)
    yield from infinite_width_layer_ntks(close, depth=2)


def test_numbers_do_not_depend_on_the_threads_nor_on_who_comes_first(threads, monkeypatch):
    threads(1)
    known = list(all_kernels())
    for many in (2, 3, 5):
        threads(many)
        assert all(map(torch.equal, all_kernels(), known))
    # Half of the tiles, drawn anew each time, are late.
    draws, right = np.random.default_rng(0), workers.ThreadPoolExecutor.submit

    def submit(pool, work, task):
        late = draws.random() < 0.5
        return right(pool, lambda: (time.sleep(2e-3 * late), work(task))[1])

    monkeypatch.setattr(workers.ThreadPoolExecutor, "submit", submit)
    assert all(map(torch.equal, all_kernels(), known))


def test_torchscript_computes_what_python_does(monkeypatch):
    """And where torch has it no more, Python does."""
    x = sphere(300, 5, 0).x.float()
    known = infinite_width_ntk(x, depth=5), *infinite_width_layer_ntks(x, depth=3)
    assert correlations.filling_on(x.device) is not correlations.fill

    def gone(_):
        raise RuntimeError("torch.jit is no more")

    correlations._scripted.cache_clear()
    monkeypatch.setattr(torch.jit, "script", gone)
    try:
        assert correlations.filling_on(x.device) is correlations.fill
        found = infinite_width_ntk(x, depth=5), *infinite_width_layer_ntks(x, depth=3)
    finally:
        correlations._scripted.cache_clear()
    assert all(map(torch.equal, found, known))


def settings_here_and_in_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return torch.get_num_threads(), *found


@pytest.mark.parametrize("many", [1, 2, 4])
def test_tasks_are_done_in_order_by_threads_that_compute_alone(threads, many):
    threads(many)
    done = list(in_order(lambda t: (t, torch.get_num_threads()), range(100), many))
    assert done == [(task, 1) for task in range(100)]
    assert settings_here_and_in_a_new_thread() == (many, many)
    assert list(in_order(str, [], many)) == []


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("many", [1, 3])
def test_however_it_ends_no_task_is_left_and_settings_are_as_before(threads, many):
    threads(many)

    running = set()

    def counted(work):
        def run(task):
            running.add(task)
            try:
                return work(task)
            finally:
                running.discard(task)

        return run

    def fails(task):
        if task == 5:
            raise ZeroDivisionError
        return task

    def interrupted(task):
        if task == 5:
            signal.raise_signal(signal.SIGINT)
        time.sleep(1e-3)
        return task

    for work, error in [(fails, ZeroDivisionError), (interrupted, KeyboardInterrupt)]:
        with pytest.raises(error):
            list(in_order(counted(work), range(1000), many))
        assert settings_here_and_in_a_new_thread() == (many, many)
        assert not running
    some = in_order(counted(str), range(1000), many)
    assert (next(some), next(some)) == ("0", "1")
    assert torch.get_num_threads() == many  # while the user has a tile in hand, too
    some.close()
    assert settings_here_and_in_a_new_thread() == (many, many)
    assert not running


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(threads):
    threads(2)
    assert list(in_order(abs, range(5), 2)) == list(range(5))
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # waiting for the parent's threads would never end
        os._exit(int(list(in_order(abs, range(5), 2)) != list(range(5))))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("many", [2, 5])
def test_no_more_results_wait_than_was_said(threads, many):
    """The first task is done last: the others stop at what memory was asked for."""
    threads(many)
    waiting = workers._AHEAD * many
    others = threading.Semaphore(0)

    def work(task):
        if task == 0:
            for _ in range(waiting - 1):
                assert others.acquire(timeout=60)
        others.release()
        return task

    begun = []
    done = in_order(lambda t: (begun.append(t), work(t))[1], range(10 * waiting), many)
    assert next(done) == 0
    assert len(begun) <= waiting + 1
    assert list(done) == list(range(1, 10 * waiting))
