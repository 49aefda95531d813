"""The lock of a checkout: only one flow works in it at a time, and an error names the flow that holds the lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from flows.local.state import open_state
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json

LOCK, HOLDER = "flow.lock", "flow.json"
FOR_EVER = -1.0  # seconds to wait
DEPLOYED_SECONDS = 4 * 3600.0  # longest wait of a deployed flow; one started by hand fails at once


@contextmanager
def flow_lock(state: Path, what: str, wait: float = 0) -> Iterator[None]:
    """Holds the checkout's lock for the flow `what`. The lock is reentrant; the system frees it when the process ends.

    Raises RootstockError if another process still holds it after `wait` seconds, which may be FOR_EVER.
    """
    open_state(state)
    lock = FileLock(state / LOCK, thread_local=False, is_singleton=True)
    try:
        with lock.acquire(timeout=wait):
            write_json(
                state / HOLDER,
                {"what": what, "pid": os.getpid(), "since": datetime.now().astimezone().isoformat(timespec="seconds")},
            )
            yield
    except Timeout:
        raise RootstockError(
            f"this checkout is busy: {holder(state)}; wait until it ends, then try again", key="checkout-busy"
        ) from None


@contextmanager
def idle(state: Path, what: str, say: Callable[[str], None], remedy: str) -> Iterator[None]:
    """Holds the checkout's lock like `flow_lock`, but waits for a running flow, and says so once with the remedy."""
    if is_held(state / LOCK):
        say(f"{holder(state)} is running: waiting until it ends; {remedy}")
    with flow_lock(state, what, wait=FOR_EVER):
        yield


def is_held(file: Path) -> bool:
    """Returns whether a process holds the lock of this file."""
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True


def holder(state: Path) -> str:
    """Describes the flow that last took the checkout's lock: its name, its process ID and its start time."""
    try:
        record = read_json(state / HOLDER)
        return f"{record['what']} (process {record['pid']}) since {record['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another flow is running"
