"""Ctrl-C waits for the end of a block, and is not lost."""

import signal
import threading

import pytest

from companion.base.interrupts import interruptible, uninterrupted


def interrupted_within(done):
    with interruptible():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("first")
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
            done.append("second")
        done.append("never")


def interrupted_outside(done):
    with interruptible():
        with uninterrupted():
            done.append("first")
        signal.raise_signal(signal.SIGINT)
        done.append("never")


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("work", "reached"),
    [(interrupted_within, ["first", "second"]), (interrupted_outside, ["first"])],
)
def test_ctrl_c_waits_for_the_end_of_the_block_and_no_longer(work, reached):
    done = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work(done)
    assert done == reached
    assert signal.getsignal(signal.SIGINT) is before
    with uninterrupted():  # nothing waits from last time
        pass


def test_what_ctrl_c_means_elsewhere_stays():
    """A handler of one's own, and Ctrl-C that is ignored."""
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


def test_other_threads_run_as_ever():
    done = []

    def within():
        with interruptible(), uninterrupted():
            done.append("all")

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert done == ["all"]
