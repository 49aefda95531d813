"""Lets the workers that answer go first while another one is imported and loaded beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def in_background() -> Iterator[None]:
    """Runs the block so that this thread, on Linux, interrupts no other process. A nice value could not be undone."""
    _schedule("SCHED_BATCH")
    try:
        yield
    finally:
        _schedule("SCHED_OTHER")


def _schedule(policy: str) -> None:
    with suppress(AttributeError, OSError):  # of other systems, and where it is not allowed
        os.sched_setscheduler(0, getattr(os, policy), os.sched_param(0))
