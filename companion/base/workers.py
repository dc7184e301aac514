"""Tiles computed by a few threads, each of which computes whole tiles by itself.

Threads inside an operation meet at its end. Where another program takes one of the processors
for a while, all others wait at every such meeting; whole tiles let them go on. And as every tile
is computed by one thread, its numbers do not depend on how many there are.
"""

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")

# Results that may wait for an earlier one whose thread has lost its processor, for each thread.
_AHEAD = 4


def available_workers(device: torch.device) -> int:
    """As many as torch may use threads here: `torch.set_num_threads` sets both."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def results_alive(workers: int, tasks: int) -> int:
    """How many results of `in_order` there can be at a time, that of its user's included."""
    return min(tasks, 2 if workers == 1 else _AHEAD * workers + 2)


def in_order(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """`work` of every task, in the order of the tasks.

    However it ends, by an error, Ctrl-C or because no more is asked for, no task is left behind,
    and torch's settings of threads are what they were.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in tasks:
            with alone():
                result = work(task)
            yield result
        return
    pool, rest = _pool(workers), iter(tasks)
    waiting: deque[Future[Result]] = deque()
    try:
        waiting.extend(pool.submit(work, task) for task in islice(rest, _AHEAD * workers))
        while waiting:
            result = waiting[0].result()
            waiting.popleft()
            waiting.extend(pool.submit(work, task) for task in islice(rest, 1))
            yield result
    finally:
        _abandon(waiting)


def _abandon(futures: Collection[Future[Result]]) -> None:
    """Begin no more of them, and be back when those begun are over."""
    try:
        wait([future for future in futures if not future.cancel()])
    finally:
        # A thread's setting is its own, but the last one set holds for threads yet to come.
        torch.set_num_threads(torch.get_num_threads())


@contextmanager
def alone() -> Iterator[None]:
    """Let torch use one thread for what this thread asks for.

    What is done before tiles is done so, too: the threads inside an operation wait for the next
    one by spinning, for milliseconds, on the processors that the tiles need.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that compute alone, and are kept: in new ones the libraries begin from nothing."""
    return ThreadPoolExecutor(workers, "companion-tiles", _compute_alone)


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread that has not asked would take on the others' number later
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    # No thread outlives a fork, and the child's first task would wait for one for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)
