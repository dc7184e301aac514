"""Ctrl-C between two states, never within one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done, so that what it changes is changed whole.

    Python raises KeyboardInterrupt between any two instructions of the main thread: half of a
    network's layers would have made a step, and no checkpoint could go on from there.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    arrived: list[tuple[int, object]] = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for number, frame in arrived[:1]:
            before(number, frame)  # type: ignore[arg-type]
