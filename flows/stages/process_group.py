"""The processes of a group, and those that they have started in other groups."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

TICK = 0.05  # seconds between two looks at whether a group has ended


def family(group: int) -> set[psutil.Process]:
    """Returns the processes of a group and their descendants."""
    family: set[psutil.Process] = set()
    for process in members(group):
        with suppress(psutil.NoSuchProcess):
            family |= {process, *process.children(recursive=True)}
    return family


def members(group: int) -> Iterator[psutil.Process]:
    """Yields the processes of a group that have not ended."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def wait_for_end(group: int, seconds: float) -> None:
    """Returns when no process of a group is alive any more, or after `seconds`."""
    last = time.monotonic() + seconds
    while any(members(group)) and time.monotonic() < last:
        time.sleep(TICK)
