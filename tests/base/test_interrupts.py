"""Ctrl-C waits for the end of a block, and is not lost."""

import signal
import threading

import pytest

from companion.base.interrupts import interruptible, uninterrupted


def test_ctrl_c_waits_for_the_end_of_the_block():
    done = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("first")
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
            done.append("second")
        done.append("never")
    assert done == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_of_blocks_ctrl_c_comes_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        with uninterrupted():
            pass
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert done == []
    with uninterrupted():  # nothing waits from last time
        pass


def test_what_ctrl_c_means_elsewhere_stays():
    """Another thread, a handler of one's own, and Ctrl-C that is ignored."""
    seen = []
    own = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with interruptible(), uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert seen == []
        assert seen == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with interruptible(), uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)
    failed = []

    def within():
        try:
            with interruptible(), uninterrupted():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert failed == []
