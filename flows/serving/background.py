"""Lets processes that answer go first while another version is copied, imported and loaded beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

NICE = 10  # as of the command nice: about a tenth of the time of a process that wants the same core
Prepared = TypeVar("Prepared")


def go_behind_others() -> None:
    """Lowers the priority of this thread and of those that it starts, for good; on Linux only."""
    if sys.platform == "linux":  # elsewhere the value is the process's
        os.nice(NICE)


def prepare_behind_others(prepare: Callable[[], Prepared | None], then: Callable[[Prepared], object]) -> None:
    """Calls `prepare` at low priority, and `then` with its result at the usual one; not if that is None.

    A low priority cannot be taken back, but on Linux it is a thread's own: `then` runs in one that was started before.
    """
    queue: SimpleQueue[Prepared | None] = SimpleQueue()

    def wait() -> None:
        prepared = queue.get()
        if prepared is not None:
            then(prepared)

    thread = Thread(target=wait, name="serve")
    thread.start()
    prepared = None
    try:
        go_behind_others()
        prepared = prepare()
    finally:
        queue.put(prepared)
    thread.join()
