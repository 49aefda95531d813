"""What a stage says while it works: lines that start with a mark, so that a supervisor can tell them from others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

MARK = "· "
EVERY = 2.0  # seconds between two lines of progress

Item = TypeVar("Item")


def say(message: str) -> None:
    """Prints one marked line at once; of several processes, the first one does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"{MARK}{message}", flush=True)


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Passes `items` on, saying how many of `total` are done every two seconds."""
    last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= EVERY and done < total:
            last = time.monotonic()
            say(percent(done, total, what))


def percent(done: int, total: int, what: str) -> str:
    """A line of progress, such as '45% 450 of 1000 images read'; a supervisor reads its number."""
    return f"{100 * done // max(total, 1)}% {done} of {total} {what}"
