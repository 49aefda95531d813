"""Reports a stage's progress: as messages to the supervisor, or as marked lines if a person runs the stage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tasks.core.messages import DisplayMessage, ProgressMessage, TextMessage, send

MARK = "· "
INTERVAL = 2.0  # seconds between two lines of progress

Item = TypeVar("Item")


def say(text: str) -> None:
    """Sends or prints one line. In a distributed run, only rank 0 does."""
    _show(TextMessage(text))


def say_progress(done: int, total: int, what: str) -> None:
    """Sends or prints progress, such as '45% 450 of 1000 images read', like `say`."""
    _show(ProgressMessage(done, total, what))


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yields `items` and reports every two seconds how many of `total` have been processed."""
    last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= INTERVAL and done < total:
            last = time.monotonic()
            say_progress(done, total, what)


def _show(message: DisplayMessage) -> None:
    if os.environ.get("RANK", "0") == "0" and not send(message):
        print(f"{MARK}{message}", flush=True)
