"""Reports a stage's progress: to a supervisor, to a listener in this process, or as marked lines to a person."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tasks.core.messages import WARNING, DisplayMessage, ProgressMessage, TextMessage, send

MARK = "· "
INTERVAL = 2.0  # seconds between two lines of progress

Item = TypeVar("Item")
Listener = Callable[[DisplayMessage], None]

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def say(text: str) -> None:
    """Sends or prints one line. In a distributed run, only rank 0 does."""
    _show(TextMessage(text))


def warn(text: str) -> None:
    """Says one line that a person must see; the terminal shows it even where it leaves out other lines."""
    say(f"{WARNING}{text}")


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


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Passes what this process says inside the block to `listener` instead of printing it."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def _show(message: DisplayMessage) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    if listener := _LISTENER.get():
        listener(message)
    elif not send(message):
        print(f"{MARK}{message}", flush=True)
