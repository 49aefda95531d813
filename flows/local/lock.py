"""One flow at a time works in a checkout; another is told who does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json

HOLDER = "flow.json"


@contextmanager
def flow_lock(state: Path, what: str, wait: float = 0) -> Iterator[None]:
    """Holds the checkout's lock; the system frees it however the process ends. Who has it may take it again.

    Raises RootstockError if it is still taken after `wait` seconds.
    """
    state.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state / "flow.lock", thread_local=False, is_singleton=True)
    try:
        with lock.acquire(timeout=wait):
            write_json(
                state / HOLDER,
                {"what": what, "pid": os.getpid(), "since": datetime.now().astimezone().isoformat(timespec="seconds")},
            )
            yield
    except Timeout:
        raise RootstockError(f"this checkout is busy: {holder(state)}; wait for it, then run this again") from None


def holder(state: Path) -> str:
    """Who took the checkout's lock last."""
    try:
        who = read_json(state / HOLDER)
    except (OSError, ValueError):
        return "another flow is at work"
    return f"{who['what']} (process {who['pid']}) since {who['since']}"
