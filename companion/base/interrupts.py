"""Ctrl-C between two states, never within one.

Python raises KeyboardInterrupt between any two instructions of the main thread: half of a network's
layers would have made a step, and no checkpoint could go on from there.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class _Thread(threading.local):
    """What each thread is at: blocks that must not be interrupted, and what waits for their end."""

    blocks = 0
    waiting: Callable[[], object] | None = None


_thread = _Thread()


@contextmanager
def interruptible() -> Iterator[None]:
    """While this lasts, Ctrl-C waits for the end of an `uninterrupted` block."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # Ctrl-C interrupts the main thread alone, or does something else altogether
        return
    interrupt: Callable[[int, FrameType | None], object] = before

    def wait_or_interrupt(number: int, frame: FrameType | None) -> None:
        if _thread.blocks:
            _thread.waiting = lambda: interrupt(number, frame)
        else:
            interrupt(number, frame)

    signal.signal(signal.SIGINT, wait_or_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that changes what it changes whole."""
    _thread.blocks += 1
    try:
        yield
    finally:
        _thread.blocks -= 1
        waiting = _thread.waiting
        if waiting is not None and not _thread.blocks:
            _thread.waiting = None
            waiting()
