"""What a stage says while it works: messages to its supervisor, or marked lines if a person runs it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tasks.core.messages import DisplayMessage, ProgressMessage, TextMessage, send

MARK = "· "
EVERY = 2.0  # seconds between two lines of progress

Item = TypeVar("Item")


def say(text: str) -> None:
    """Sends or prints one line; of several processes, only the first one does."""
    _show(TextMessage(text))


def say_progress(done: int, total: int, what: str) -> None:
    """Sends or prints progress, such as '45% 450 of 1000 images read', as `say` does."""
    _show(ProgressMessage(done, total, what))


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Passes `items` on, saying how many of `total` are done every two seconds."""
    last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= EVERY and done < total:
            last = time.monotonic()
            say_progress(done, total, what)


def _show(message: DisplayMessage) -> None:
    if os.environ.get("RANK", "0") == "0" and not send(message):
        print(f"{MARK}{message}", flush=True)
