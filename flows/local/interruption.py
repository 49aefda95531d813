"""Remembers Ctrl-C: an exception that is raised inside a callback of a library, or by its cleanup, can get lost."""

from __future__ import annotations

import signal
import threading

RECEIVED = threading.Event()


def remember_interrupts() -> None:
    """Makes Ctrl-C raise KeyboardInterrupt as usual, and remembers it."""
    signal.signal(signal.SIGINT, _interrupt)


def check_interrupted() -> None:
    """Raises KeyboardInterrupt again if one was raised before."""
    if RECEIVED.is_set():
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: object) -> None:
    RECEIVED.set()
    raise KeyboardInterrupt
