"""SIGHUP means "reload", unless it says that the terminal has closed in which the proxy was started."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

WORKERS_PARENT = "COPE_WORKERS_PARENT"
"""`serve` sets this variable to its own id if it runs several workers. It passes SIGHUP on to all of them."""
_WITH_TERMINAL = "COPE_WITH_TERMINAL"
"""`serve` sets this variable, so that its workers know it."""


def begin() -> None:
    """Note whether the proxy belongs to a terminal, and survive a SIGHUP until the config is loaded.

    A program that was started by nohup ignores SIGHUP, and goes on without its terminal.
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal():
        os.environ[_WITH_TERMINAL] = "1"
    survive()


def survive() -> None:
    """Do nothing on SIGHUP. Unlike an ignored signal, this is not inherited by other programs."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold SIGHUP back while the block runs. A program that it starts goes on to hold it back, until it calls `release`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Take SIGHUP from now on, and the one that was held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def terminal_has_closed() -> bool:
    """Return True if the terminal of this proxy is gone, so that it should end."""
    return _WITH_TERMINAL in os.environ and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
